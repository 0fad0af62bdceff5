"""Registered versions and their promotions."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from mlflow import MlflowClient
from sqlalchemy import Engine

from components import registry
from components.bundle.bundle import CHECKSUM, SCHEMA_VERSION, Bundle, checksum
from components.registry.webhook import sign
from components.store.promotions import list_promotions
from infra.deploy.promotion import previous_champion, rollback
from infra.local.platform import Platform
from tests.support.toy_data import tiny_bundle
from tests.support.waiting import eventually

SOUND, FAILED_GATE, BROKEN, NEXT, OF_OTHER_CODE, WITHOUT_BUNDLE, FRAGILE = "1", "2", "3", "4", "5", "6", "7"


Canary = Callable[[float], None]
SHORT_CANARY_SECONDS = 0.2
"""Seconds of a canary in tests that do not examine it."""


def canary_settings(seconds: float, **more: float) -> dict[str, Any]:
    """Settings of a canary for 30 % of the users."""
    deploy = {"canary_share": 0.3, "min_requests": 20, "max_latency_ratio": 50, "canary_seconds": seconds}
    return {"deploy": {**deploy, **more}}


def register(
    address: str,
    folder: Path,
    *,
    bundle: Bundle | None = None,
    reasons: list[str] | None = None,
    without: str = "",
    schema: int = SCHEMA_VERSION,
) -> str:
    """Registers a new version and returns its number.

    Args:
        reasons: Why the gate failed; None or empty for a version that passed.
        without: A key to remove from the bundle's manifest.
        schema: The bundle's schema version.
    """
    bundle = bundle or tiny_bundle()
    bundle.manifest.pop(without, None)
    bundle.write(folder / "bundle")
    manifest = folder / "bundle" / "manifest.json"
    content = {**json.loads(manifest.read_text()), "schema_version": schema}
    manifest.write_text(json.dumps({**content, CHECKSUM: checksum(content)}))
    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    (snapshot / "manifest.json").write_text(json.dumps({"id": folder.name}))
    registered = registry.register(
        address,
        bundle=folder / "bundle",
        twin=tiny_bundle().write(folder / "twin"),
        snapshot=snapshot,
        metrics={"duotempo/ndcg@10": 0.1},
        settings={},
        passed=not reasons,
        reasons=reasons or [],
        reports={},
    )
    return registered.version


def register_without_bundle(client: MlflowClient) -> None:
    """Registers a version whose artifacts are missing."""
    run = client.create_run(client.create_experiment("lost")).info
    source = f"{run.artifact_uri}/model"
    client.create_model_version(registry.NAME, source=source, run_id=run.run_id, tags={"gate": "passed"})


def served_version(platform: Platform) -> str:
    """The version that answers a request at the service's address."""
    answer = httpx.post(f"{platform.addresses.serving_url}/recommend", json={"user_id": "u0", "k": 3}, timeout=20)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    assert len(body["items"]) == 3
    return str(body["model_version"])


def champion(address: str) -> str | None:
    """The version with the alias `champion`, if any."""
    found = registry.champion(address)
    return found.version if found else None


def latest_promotion(engine: Engine) -> tuple[str, str | None, str, str, str]:
    """(version, from_version, actor, reason, state) of the latest row in `promotions`."""
    line = list_promotions(engine)[-1]
    return line.version, line.from_version, line.actor, line.reason, line.state


DEPLOY_SECONDS = 240.0


def set_alias(address: str, version: str, alias: str = "champion") -> None:
    """Sets an alias, as MLflow's UI does."""
    MlflowClient(address).set_registered_model_alias(registry.NAME, alias, version)


def promotions_since(engine: Engine, count: int) -> list[tuple[str, str, str]]:
    """(version, actor, state) of the rows in `promotions` after the first `count`."""
    return [(line.version, line.actor, line.state) for line in list_promotions(engine)[count:]]


def wait_for_promotion(engine: Engine, version: str, state: str) -> None:
    """Waits until the latest row in `promotions` is of this version and state."""

    def ended() -> bool:
        line = latest_promotion(engine)
        return (line[0], line[4]) == (version, state)

    try:
        eventually(ended, seconds=DEPLOY_SECONDS)
    except AssertionError as error:
        raise AssertionError(
            f"version {version} is not {state}; the last line is {latest_promotion(engine)}"
        ) from error


def send_webhook(
    platform: Platform, body: bytes, *, secret: str | None = None, age: float = 0.0, key: str = "", at: str = ""
) -> int:
    """Sends a signed webhook to the promotion hook and returns the HTTP status.

    Args:
        secret: Signing secret; the platform's by default.
        age: Seconds to subtract from the current time for the timestamp.
        key: Delivery id; a new one by default.
        at: Timestamp header, instead of `age`.
    """
    delivery, timestamp = key or uuid.uuid4().hex, at or str(int(time.time() - age))
    secret = secret or platform.home.ensure_secret("webhook")
    headers = {
        "x-mlflow-delivery-id": delivery,
        "x-mlflow-timestamp": timestamp,
        "x-mlflow-signature": sign(secret, delivery, timestamp, body),
    }
    return httpx.post(
        f"{platform.addresses.hook_url}/alias",
        content=body,
        headers=httpx.Headers(headers, encoding="utf-8"),
        timeout=60,
    ).status_code


def alias_event(version: str, alias: str = "champion") -> bytes:
    """The body of MLflow's webhook for an alias that was set."""
    return json.dumps({"data": {"name": registry.NAME, "alias": alias, "version": version}}).encode()


def serve_sound_version(platform: Platform, address: str, engine: Engine) -> None:
    """Makes SOUND the champion: by a rollback if it is the previous champion (faster), else by the alias."""
    if champion(address) == SOUND == served_version(platform):
        return
    if previous_champion(engine) == SOUND:
        rollback(settings=platform.settings, actor="test")
    else:
        set_alias(address, SOUND)
        wait_for_promotion(engine, SOUND, "serving")
    eventually(lambda: served_version(platform) == SOUND, 60)
