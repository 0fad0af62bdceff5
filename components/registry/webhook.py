"""The registry's webhook: signed deliveries from MLflow when an alias is set or removed or a version is created."""

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
"""Most digits of a timestamp in epoch seconds, with a margin."""
FRESH_SECONDS = 300.0
"""Maximum age of a delivery, and maximum clock skew into the future."""


class WebhookRefused(DuotempoError):
    """The delivery is not authentic or not recent; the message says why."""


def ensure_webhook(tracking_uri: str, url: str, secret: str) -> None:
    """Registers a webhook for aliases and new versions, with deliveries signed with `secret`. Raises RegistryError.

    Replaces an earlier webhook with another URL or other events.
    """
    with connect(tracking_uri) as client:
        from mlflow.entities.webhook import WebhookEvent

        existing = [webhook for webhook in client.list_webhooks() if webhook.name == WEBHOOK]
        expected_events = set(EVENTS)
        if any(
            webhook.url == url and webhook.status.is_active() and set(map(str, webhook.events)) == expected_events
            for webhook in existing
        ):
            return
        for webhook in existing:
            client.delete_webhook(webhook.webhook_id)
        client.create_webhook(
            name=WEBHOOK, url=url, events=[WebhookEvent(*event.split(".")) for event in EVENTS], secret=secret
        )


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Computes the signature that MLflow gives a delivery (see its `mlflow.webhooks.delivery`)."""
    digest = hmac.new(secret.encode(), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def check_delivery(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """Verifies the signature and the age of a delivery.

    Args:
        headers: By lower-case name, or a case-insensitive mapping.

    Returns:
        The delivery's id.

    Raises:
        WebhookRefused: The delivery is not authentic or not recent.
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
