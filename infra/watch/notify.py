"""Tells a person, by a webhook or by mail; it needs neither Prometheus nor Prefect."""

import smtplib
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from components.core.errors import DuotempoError
from components.settings import MonitoringSettings

TIMEOUT_SECONDS = 10.0


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
