"""The registry's webhook: MLflow tells an address, signed, when an alias is set or goes and when a version comes."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

from components.core.errors import DuotempoError
from components.registry.connection import connect

EVENTS: Final = ("model_version_alias.created", "model_version_alias.deleted", "model_version.created")
WEBHOOK = "duotempo-promotion"
TIMESTAMP_DIGITS = 12
"""Of seconds since 1970, and room to spare."""
FRESH_SECONDS = 300.0
"""How old a delivery may be, and how far ahead its clock may go."""


class WebhookRefused(DuotempoError):
    """The delivery is not MLflow's, or not of now; the message says why."""


def ensure_webhook(tracking_uri: str, url: str, secret: str) -> None:
    """Makes MLflow tell `url` of aliases and new versions, each delivery signed with `secret`. Raises RegistryError.

    An earlier webhook of ours that tells another address, or less, is replaced.
    """
    with connect(tracking_uri) as client:
        from mlflow.entities.webhook import WebhookEvent

        ours = [webhook for webhook in client.list_webhooks() if webhook.name == WEBHOOK]
        wanted = set(EVENTS)
        if any(one.url == url and one.status.is_active() and set(map(str, one.events)) == wanted for one in ours):
            return
        for webhook in ours:
            client.delete_webhook(webhook.webhook_id)
        client.create_webhook(
            name=WEBHOOK, url=url, events=[WebhookEvent(*event.split(".")) for event in EVENTS], secret=secret
        )


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature that MLflow gives a delivery (its `mlflow.webhooks.delivery`)."""
    digest = hmac.new(secret.encode(), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def check_delivery(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """The id of a delivery that bears our signature and was sent just now. Raises WebhookRefused.

    headers: by name, in whatever case the mapping finds them.
    """
    names = ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")
    delivery, timestamp, signature = (headers.get(name) for name in names)
    if not delivery or not timestamp or not signature:
        raise WebhookRefused(f"the headers {', '.join(names)} must be there")
    if not hmac.compare_digest(sign(secret, delivery, timestamp, body).encode(), signature.encode()):
        raise WebhookRefused("the signature is wrong: the webhook's secret is not this platform's")
    is_number = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= TIMESTAMP_DIGITS
    if not is_number or abs(time.time() - int(timestamp)) > FRESH_SECONDS:
        raise WebhookRefused(f"the delivery is not of the last {FRESH_SECONDS:.0f} seconds")
    return delivery
