"""promoted version > gate > Bento > smoke test > serving. A refusal or a failure leaves the old version serving."""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from components import registry
from components.bundle import Bundle, BundleError
from components.registry import RegistryError, RegistryUnavailable, Version
from components.settings import Settings
from components.store.engine import StoreError, make_engine
from components.store.promotions import FAILED, REFUSED, SERVING, SUPERSEDED, record_promotion
from infra import bento, promotion, smoke
from infra.local.errors import PlatformError
from infra.local.platform import Platform
from infra.promotion import PromotionRefused

REFUSALS = (PromotionRefused, RegistryError, BundleError, bento.BentoBuildError, smoke.SmokeTestFailed, PlatformError)
"""What speaks against the version, which is then tagged. After all else (a server is down) it may be tried again."""
AWAY = (RegistryUnavailable, StoreError)


def is_away(_task: Any, _run: Any, state: State) -> bool:
    """Whether a task failed because a server was down, which may pass."""
    return isinstance(state.data, AWAY)


PATIENT: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 5, 15],
    "retry_condition_fn": is_away,
    "timeout_seconds": 120,
}


@task(**PATIENT)
def find(platform: Platform, version: str) -> Version:
    """The version as the registry knows it, with its tags."""
    return registry.version(platform.addresses.mlflow_url, version)


@task(**PATIENT)
def superseding(platform: Platform, version: str, before: str | None) -> str | None:
    """The version that has become the champion since this deployment was asked for."""
    champion = registry.champion_number(platform.addresses.mlflow_url)
    return None if champion in (None, version, before) else champion


@task
def check_gate(found: Version, reason: str, force: bool) -> None:
    """Refuses what the gate failed, unless it is forced with a reason."""
    promotion.check_gate(found, force=force, reason=reason)


@task(**PATIENT)
def fetch(platform: Platform, version: str) -> Path:
    """The bundle of the version, out of the registry. What this code cannot read is refused here."""
    folder = registry.download_bundle(platform.addresses.mlflow_url, version, platform.home.path / "bundles" / version)
    Bundle.read(folder)
    return folder


@task(timeout_seconds=360)
def build(platform: Platform, bundle: Path, version: str) -> str:
    """The Bento of the version, built once for each state of the code."""
    return bento.build_bento(bundle, version, bentoml_home=platform.home.bentoml)


@task(timeout_seconds=360)
def smoke_test(platform: Platform, tag: str, version: str, start_seconds: float) -> None:
    """Real requests to the Bento, on a port of its own."""
    smoke.smoke_test(
        tag,
        model_version=version,
        database_url=platform.addresses.database_url,
        bentoml_home=platform.home.bentoml,
        start_seconds=start_seconds,
    )


@task(timeout_seconds=360)
def serve(platform: Platform, tag: str, version: str) -> None:
    """Puts the Bento at the address that callers keep."""
    platform.serve(tag, version)


@task(**PATIENT)
def record(platform: Platform, version: str, before: str | None, actor: str, reason: str, state: str) -> None:
    """A line in the promotions table."""
    engine = make_engine(platform.addresses.database_url)
    record_promotion(engine, version, before, actor, reason, state)
    engine.dispose()


@task(**PATIENT)
def give_back(platform: Platform, version: str, before: str | None) -> None:
    """Gives the alias back to the version that serves."""
    promotion.give_back(platform.addresses.mlflow_url, version, before)


@task(**PATIENT)
def tag_refused(platform: Platform, version: str, why: str) -> None:
    """Tags the refused version with the reason."""
    registry.tag_refused(platform.addresses.mlflow_url, version, why)


@flow(name="deploy", timeout_seconds=1200)
def deploy(version: str, actor: str = "registry", reason: str = "", force: bool = False) -> str | State:
    """Serves a registered version, and returns the tag of its Bento.

    A version that is refused (by the gate, the build, the smoke test or the platform) fails the run with the reason, as
    does whatever else goes wrong; the old version goes on serving and gets the alias back. When another version has
    become the champion before the run began, it is cancelled.
    """
    settings = Settings()
    platform = Platform(settings)
    before = (platform.served() or {}).get("model_version")
    found = find(platform, version)
    if newer := superseding(platform, version, before):
        why = f"version {newer} became the champion meanwhile"
        record(platform, version, before, actor, why, SUPERSEDED)
        return Cancelled(message=why)
    try:
        check_gate(found, reason, force)
        bundle = fetch(platform, version)
        tag = build(platform, bundle, version)
        smoke_test(platform, tag, version, settings.platform.start_timeout_seconds)
        serve(platform, tag, version)
    except Exception as error:
        refused = isinstance(error, REFUSALS) and not isinstance(error, AWAY)
        state = REFUSED if refused else FAILED
        give_back(platform, version, before)
        if refused:
            tag_refused(platform, version, str(error))
        record(platform, version, before, actor, str(error), state)
        tell(version, before, actor, reason, f"{state}, {before or 'nothing'} goes on serving: {error}")
        raise
    record(platform, version, before, actor, reason, SERVING)
    tell(version, before, actor, reason, f"`{tag}` serves at {platform.addresses.serving_url}")
    return tag


def tell(version: str, before: str | None, actor: str, reason: str, result: str) -> None:
    """What happened, on the page of the flow run."""
    get_run_logger().info("version %s: %s", version, result)
    lines = {"Version": version, "Before": before or "none", "Asked by": actor, "Why": reason or "not said"}
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in lines.items())])
    create_markdown_artifact(f"# Deployment of version {version}\n\n{table}\n\n{result}\n", key="deployment")
