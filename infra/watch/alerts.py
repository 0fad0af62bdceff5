"""Tracks problems and notifies by webhook or mail, once per problem and once when it is over.

Needs neither Prometheus nor Prefect.
"""

import json
import logging
import smtplib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from components.core.errors import DuotempoError
from components.core.files import atomic_write
from components.registry import Problem
from components.settings import MonitoringSettings

TIMEOUT_SECONDS = 10.0
MIN_CHECKS = 4
"""Consecutive checks that must find a problem before a notification, so that a quick restart triggers none."""
log = logging.getLogger(__name__)


class NotificationError(DuotempoError):
    """The notification failed; the message names the server without secrets of its URL."""


def notify(settings: MonitoringSettings, subject: str, facts: dict[str, Any]) -> None:
    """Sends a notification to `monitoring.notify`, if it is set.

    Args:
        subject: Subject of a mail; the field `text` of a webhook, which chats display.
        facts: JSON values for the body.

    Raises:
        NotificationError: The server does not answer or rejects the notification.
    """
    if settings.notify is None:
        return
    to = settings.notify.get_secret_value()
    if to.startswith("mailto:"):
        assert settings.smtp is not None, "validated by the settings"
        _mail(to.removeprefix("mailto:"), settings.smtp.get_secret_value(), subject, facts)
    else:
        _post(to, {"text": subject, **facts})


def _post(url: str, body: dict[str, Any]) -> None:
    """Posts JSON without following redirects, which could lead the message anywhere."""
    try:
        httpx.post(url, json=body, timeout=TIMEOUT_SECONDS, trust_env=False).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise NotificationError(
            f"monitoring.notify: {urlsplit(url).hostname} answers {error.response.status_code}"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotificationError(f"monitoring.notify: {urlsplit(url).hostname}: {type(error).__name__}") from None


def _mail(to: str, server: str, subject: str, facts: dict[str, Any]) -> None:
    server_url = urlsplit(server)
    message = EmailMessage()
    user = unquote(server_url.username or "")
    message["From"] = user if "@" in user else f"duotempo@{server_url.hostname}"
    message["To"], message["Subject"] = to, " ".join(subject.split())
    message.set_content("\n".join(f"{name}: {value}" for name, value in facts.items()))
    secure = server_url.scheme == "smtps"
    connect = smtplib.SMTP_SSL if secure else smtplib.SMTP
    try:
        with connect(
            server_url.hostname or "", server_url.port or (465 if secure else 587), timeout=TIMEOUT_SECONDS
        ) as connection:
            connection.ehlo()
            if not secure and connection.has_extn("starttls"):
                connection.starttls()
            if user:
                connection.login(user, unquote(server_url.password or ""))
            connection.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise NotificationError(f"monitoring.smtp: {server_url.hostname}: {type(error).__name__}") from None


@dataclass(frozen=True)
class Alert:
    """A current problem, as stored in alerts.json.

    Attributes:
        since: Time of the first check that found it, ISO 8601.
        looks: Number of consecutive checks that found it, at most MIN_CHECKS.
        told: Whether a notification was sent.
    """

    problem: Problem
    since: str
    looks: int = 0
    told: bool = False


class Alerts:
    """Notifies once of each problem and once of its end; the state is kept in a file across restarts.

    A failed notification is retried at the next check.
    """

    def __init__(self, file: Path, platform: str) -> None:
        """platform: name of the platform in messages."""
        self._file = file
        self._platform = platform
        self._alerts = _read(file)

    def update(self, problems: Iterable[Problem], settings: MonitoringSettings, unknown: Collection[str] = ()) -> None:
        """Compares the current problems with the stored ones and sends the notifications.

        Args:
            problems: All current problems.
            unknown: Names of problems that cannot be checked now; they keep their state.
        """
        before, now = self._alerts, datetime.now(UTC).isoformat(timespec="seconds")
        current = {problem.name: problem for problem in problems}
        alerts = {name: alert for name, alert in before.items() if name in unknown and name not in current}
        for name, problem in current.items():
            alert = before.get(name, Alert(problem, now))
            alert = replace(alert, problem=problem, looks=min(alert.looks + 1, MIN_CHECKS))
            if alert.looks >= MIN_CHECKS and not alert.told:
                alert = replace(alert, told=self._notify(alert, "problem", settings))
            alerts[name] = alert
        for name in before.keys() - alerts.keys():
            if before[name].told and not self._notify(before[name], "over", settings):
                alerts[name] = before[name]
        if alerts != before:
            self._alerts = alerts
            _write(self._file, alerts)

    def _notify(self, alert: Alert, state: str, settings: MonitoringSettings) -> bool:
        problem = alert.problem
        subject = f"duotempo: {'over: ' if state == 'over' else ''}{problem.what}"
        log.warning("%s%s", subject, f"; {problem.remedy}" if state == "problem" else "")
        facts = {"state": state, **asdict(problem), "since": alert.since, "platform": self._platform}
        try:
            notify(settings, subject, facts)
        except NotificationError as error:
            log.warning("the notification failed: %s", error)
            return False
        return True


def _read(file: Path) -> dict[str, Alert]:
    """Reads the stored alerts; none if the file is damaged, so that problems are notified again."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {name: Alert(Problem(**alert.pop("problem")), **alert) for name, alert in stored.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        log.warning("%s is damaged and will be rewritten: %s", file, error)
        return {}


def _write(file: Path, alerts: dict[str, Alert]) -> None:
    """Writes the alerts; on a full disk only logs: after a restart the same problems are notified again."""
    try:
        with atomic_write(file) as part:
            part.write_text(json.dumps({name: asdict(alert) for name, alert in alerts.items()}), encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written: %s", file, error)
