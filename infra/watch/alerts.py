"""Which problems there are, since when, and whether somebody was told of them, by a webhook or by mail.

It needs neither Prometheus nor Prefect.
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
from components.core.files import replacing
from components.registry import Problem
from components.settings import MonitoringSettings

TIMEOUT_SECONDS = 10.0
LOOKS = 4
"""In a row that find a problem, before it is told: what a restart fixes in a moment wakes nobody."""
log = logging.getLogger(__name__)


class NotTold(DuotempoError):
    """Nobody was reached; the message names the server and no secret of the address."""


def notify(settings: MonitoringSettings, subject: str, facts: dict[str, Any]) -> None:
    """Sends a message to where `monitoring.notify` says, if it says anything.

    facts: JSON values; the webhook gets them beside `text`, the subject, which chats show. Raises NotTold.
    """
    if settings.notify is None:
        return
    to = settings.notify.get_secret_value()
    if to.startswith("mailto:"):
        assert settings.smtp is not None, "the settings see to it"
        _mail(to.removeprefix("mailto:"), settings.smtp.get_secret_value(), subject, facts)
    else:
        _post(to, {"text": subject, **facts})


def _post(url: str, body: dict[str, Any]) -> None:
    """A redirect is no answer: it could lead the message anywhere."""
    try:
        httpx.post(url, json=body, timeout=TIMEOUT_SECONDS, trust_env=False).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise NotTold(f"monitoring.notify: {urlsplit(url).hostname} answers {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotTold(f"monitoring.notify: {urlsplit(url).hostname}: {type(error).__name__}") from None


def _mail(to: str, server: str, subject: str, facts: dict[str, Any]) -> None:
    at = urlsplit(server)
    message = EmailMessage()
    user = unquote(at.username or "")
    message["From"] = user if "@" in user else f"duotempo@{at.hostname}"
    message["To"], message["Subject"] = to, " ".join(subject.split())
    message.set_content("\n".join(f"{name}: {value}" for name, value in facts.items()))
    secure = at.scheme == "smtps"
    connect = smtplib.SMTP_SSL if secure else smtplib.SMTP
    try:
        with connect(at.hostname or "", at.port or (465 if secure else 587), timeout=TIMEOUT_SECONDS) as talk:
            talk.ehlo()
            if not secure and talk.has_extn("starttls"):
                talk.starttls()
            if user:
                talk.login(user, unquote(at.password or ""))
            talk.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise NotTold(f"monitoring.smtp: {at.hostname}: {type(error).__name__}") from None


@dataclass(frozen=True)
class Alert:
    """A problem that is there. since: ISO 8601. looks: that have found it. told: whether somebody knows."""

    problem: Problem
    since: str
    looks: int = 0
    told: bool = False


class Alerts:
    """Tells of each problem once, and once when it is over; what was told is kept in a file over restarts.

    Whom nobody could reach is told at the next look.
    """

    def __init__(self, file: Path, platform: str) -> None:
        """platform: the name by which a message tells this one from others."""
        self._file = file
        self._platform = platform
        self._alerts = _read(file)

    def look(self, problems: Iterable[Problem], settings: MonitoringSettings, unknown: Collection[str] = ()) -> None:
        """problems: all that there are now. unknown: names of which nobody can say now; they stay as they were."""
        before, now = self._alerts, datetime.now(UTC).isoformat(timespec="seconds")
        found = {problem.name: problem for problem in problems}
        alerts = {name: alert for name, alert in before.items() if name in unknown and name not in found}
        for name, problem in found.items():
            alert = before.get(name, Alert(problem, now))
            alert = replace(alert, problem=problem, looks=min(alert.looks + 1, LOOKS))
            if alert.looks >= LOOKS and not alert.told:
                alert = replace(alert, told=self._tell(alert, "problem", settings))
            alerts[name] = alert
        for name in before.keys() - alerts.keys():
            if before[name].told and not self._tell(before[name], "over", settings):
                alerts[name] = before[name]
        if alerts != before:
            self._alerts = alerts
            _write(self._file, alerts)

    def _tell(self, alert: Alert, state: str, settings: MonitoringSettings) -> bool:
        problem = alert.problem
        subject = f"duotempo: {'over: ' if state == 'over' else ''}{problem.what}"
        log.warning("%s%s", subject, f"; {problem.remedy}" if state == "problem" else "")
        facts = {"state": state, **asdict(problem), "since": alert.since, "platform": self._platform}
        try:
            notify(settings, subject, facts)
        except NotTold as error:
            log.warning("nobody was told: %s", error)
            return False
        return True


def _read(file: Path) -> dict[str, Alert]:
    """What was kept; a file that cannot be read tells of nothing, and problems are told again."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {name: Alert(Problem(**alert.pop("problem")), **alert) for name, alert in kept.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        log.warning("%s is damaged and made anew: %s", file, error)
        return {}


def _write(file: Path, alerts: dict[str, Alert]) -> None:
    """A disk that is full costs no more than that a restart tells of the same problems again."""
    try:
        with replacing(file) as part:
            part.write_text(json.dumps({name: asdict(alert) for name, alert in alerts.items()}), encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written: %s", file, error)
