"""promoted version > gate > Bento > smoke test > canary > serving. After a refusal the old version keeps serving."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled
from sqlalchemy import Engine

from components import registry
from components.bundle.bundle import Bundle, BundleError
from components.core.markdown import escaped, table
from components.registry import RegistryError, RegistryUnavailable, Version
from components.settings import DeploySettings, Settings
from components.store.engine import StoreError, make_engine
from components.store.promotions import CANARY as CANARY_STATE
from components.store.promotions import FAILED, REFUSED, SERVING, SUPERSEDED
from components.store.variants import (
    CANARY,
    CHALLENGER,
    SHADOW,
    ServingVariant,
    current_variants,
    end_canary,
    promote_canary,
    set_challenger_and_shadow,
    set_serving_champion,
    start_canary,
)
from infra.deploy import bento, promotion
from infra.deploy import smoke_test as smoke
from infra.deploy.canary import CanaryWorse, VersionPair, watch
from infra.deploy.promotion import PromotionRefused, Superseded
from infra.home.errors import PlatformError, SmokeTestFailed
from infra.local.platform import Platform

REFUSALS = (PromotionRefused, RegistryError, BundleError, bento.BentoBuildError, PlatformError, CanaryWorse)
"""Errors that mean the version is unfit: it is tagged as refused. After any other (a server is down) it is retried."""
UNAVAILABLE = (RegistryUnavailable, StoreError)


class VariantRejected(Exception):
    """A challenger or shadow failed its smoke test; it is dropped, and the promotion continues without it."""

    def __init__(self, variant: ServingVariant, error: SmokeTestFailed) -> None:
        super().__init__(str(error))
        self.variant = variant


def is_unavailable(_task: Any, _run: Any, state: State) -> bool:
    """Whether a task failed because a server was down, so that a retry may help."""
    return isinstance(state.data, UNAVAILABLE)


RETRY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [2, 5, 15],
    "retry_condition_fn": is_unavailable,
    "timeout_seconds": 120,
}


@task(**RETRY)
def find_version(platform: Platform, version: str) -> Version:
    """Returns the version and its tags from the registry."""
    return registry.version(platform.addresses.mlflow_url, version)


@task(**RETRY)
def find_serving(platform: Platform) -> str | None:
    """Returns the version that serves now, and ends a canary that an earlier deployment left behind."""
    with store(platform) as engine:
        if canary := current_variants(engine).get(CANARY):
            end_canary(engine, canary.model_version)
        return promotion.serving_version(platform, engine)


@task(**RETRY)
def check_wanted(platform: Platform, version: str, before: str | None, named: bool = False) -> None:
    """Raises Superseded if another version has become the champion since this deployment was requested.

    Args:
        before: The version that serves.
        named: Whether the version must have the alias by now; `duotempo promote` sets it just after starting this run.
    """
    champion = registry.champion_number(platform.addresses.mlflow_url)
    if champion != version and (named or champion not in (None, before)):
        raise Superseded(f"version {champion or 'none'} became the champion meanwhile")


@task
def check_gate(registered: Version, reason: str, force: bool) -> None:
    """Raises PromotionRefused if the version failed the gate, unless it is forced with a reason."""
    promotion.check_gate(registered, force=force, reason=reason)


@task(**RETRY)
def fetch(platform: Platform, version: str) -> Path:
    """Downloads the bundle of the version. Raises BundleError if this code cannot read it."""
    folder = registry.download_bundle(platform.addresses.mlflow_url, version, platform.home.path / "bundles" / version)
    Bundle.read(folder)
    return folder


@task(**RETRY)
def find_side_variants(platform: Platform, deploy: DeploySettings, taken: set[str | None]) -> list[ServingVariant]:
    """Returns the challenger and the shadow that the settings enable; a challenger must have passed the gate."""
    address = platform.addresses.mlflow_url
    shares = {CHALLENGER: deploy.challenger_share, SHADOW: deploy.shadow_share}
    wanted = {alias: registry.version_with_alias(address, alias) for alias, share in shares.items() if share}
    return [
        ServingVariant(alias, registered.version, shares[alias])
        for alias, registered in wanted.items()
        if registered and registered.version not in taken and (alias == SHADOW or registered.gate_passed)
    ]


@task(timeout_seconds=360)
def build(platform: Platform, bundles: dict[str, Path], version: str, champion: str) -> str:
    """Returns the tag of a Bento that holds all versions: the served one if it does, else a new one.

    A Bento is built once for the same versions, bundles and code.
    """
    home, tag = platform.home.bentoml, platform.home.state.bento or ""
    holds_all = bundles.keys() <= bento.versions_of(tag, home)
    if holds_all and bento.has_current_code(tag, home) and bento.is_intact(tag, home):
        return tag
    return bento.build_bento(bundles, newest=version, champion=champion, bentoml_home=home)


@task(timeout_seconds=360)
def serve(platform: Platform, tag: str, version: str, before: str | None, side_variants: list[ServingVariant]) -> None:
    """Serves the Bento at the platform's fixed address, after each of its versions has passed the smoke test.

    Raises:
        SmokeTestFailed: The version or the champion failed; the old Bento keeps serving.
        VariantRejected: A version in `side_variants` failed; the old Bento keeps serving.
        Superseded: Another version has become the champion meanwhile.
    """
    home = platform.home.bentoml
    if tag == platform.home.state.bento:
        return
    champion = before if before and before in bento.versions_of(tag, home) else version
    with store(platform) as engine:
        users = smoke.active_users(engine)

        def check(client: httpx.Client) -> None:
            smoke.smoke_test(client, sorted({version, champion}), users)
            for variant in side_variants:
                try:
                    smoke.smoke_test(client, [variant.model_version], users)
                except SmokeTestFailed as error:
                    raise VariantRejected(variant, error) from error
            if (now := promotion.serving_version(platform, engine)) != before:
                raise Superseded(f"version {now} became the champion meanwhile")

        platform.serve(tag, check)
    bento.mark_tested(tag, home)


@task(**RETRY)
def serve_side_variants(platform: Platform, side_variants: list[ServingVariant]) -> None:
    """Makes these the only challenger and shadow."""
    with store(platform) as engine:
        set_challenger_and_shadow(engine, side_variants)


@task
def run_canary(platform: Platform, version: str, before: str, share: float) -> str:
    """Serves the version to a share of the users as a canary and compares it with the champion."""
    with store(platform) as engine:
        pair = VersionPair(version, before, datetime.now(UTC))
        start_canary(engine, before, version, share)
        wanted = partial(check_wanted.fn, platform, version, before, named=True)
        return watch(platform.service_url, engine, pair, Settings, wanted)


@task(**RETRY)
def serve_all(platform: Platform, version: str, was_canary: bool) -> None:
    """Serves the version to all users. Raises Superseded if a rollback has ended its canary meanwhile."""
    with store(platform) as engine:
        if not was_canary:
            set_serving_champion(engine, version)
        elif not promote_canary(engine, version):
            raise Superseded("the canary was withdrawn meanwhile")
    promotion.await_champion(platform, version)


@task(**RETRY)
def withdraw_canary(platform: Platform, version: str) -> None:
    """Ends the canary: the champion serves all users."""
    with store(platform) as engine:
        end_canary(engine, version)


@task(**RETRY)
def record(platform: Platform, version: str, before: str | None, actor: str, reason: str, state: str) -> None:
    """Records the state in the table `promotions` and on the version's page in the registry."""
    with store(platform) as engine:
        promotion.record(platform, engine, version, before, actor, reason, state)


@task(**RETRY)
def return_alias(platform: Platform, version: str, before: str | None) -> None:
    """Returns the alias to the version that serves."""
    promotion.return_alias(platform.addresses.mlflow_url, version, before)


@task(**RETRY)
def tag_refused(platform: Platform, version: str, why: str) -> None:
    """Tags the refused version with the reason."""
    registry.tag_refused(platform.addresses.mlflow_url, version, why)


@flow(name="deploy", flow_run_name="deploy version {version}")
def deploy(version: str, actor: str = "registry", reason: str = "", force: bool = False) -> str | State:
    """Serves a registered version, and returns the tag of its Bento.

    If the version is refused (by the gate, the build, the smoke test, the platform or its canary), or on any other
    error, the run fails with the reason; the old version keeps serving and gets the alias back. If another version
    becomes the champion meanwhile, the run is cancelled.
    """
    settings = Settings()
    platform = Platform(settings)
    before = find_serving(platform)
    registered = find_version(platform, version)
    try:
        check_wanted(platform, version, before)
        check_gate(registered, reason, force)
        tag, has_canary = prepare(platform, version, before, settings.deploy)
        check_wanted(platform, version, before, named=True)
        if before and has_canary:
            record(platform, version, before, actor, reason, CANARY_STATE)
            get_run_logger().info(run_canary(platform, version, before, settings.deploy.canary_share))
        serve_all(platform, version, has_canary)
    except Superseded as error:
        withdraw_canary(platform, version)
        record(platform, version, before, actor, str(error), SUPERSEDED)
        publish_result(version, before, actor, reason, f"{SUPERSEDED}: {error}")
        return Cancelled(message=str(error))
    except Exception as error:
        refused = isinstance(error, REFUSALS) and not isinstance(error, UNAVAILABLE)
        state, why = REFUSED if refused else FAILED, platform.home.mask_path(str(error))
        withdraw_canary(platform, version)
        return_alias(platform, version, before)
        if refused:
            tag_refused(platform, version, why)
        record(platform, version, before, actor, why, state)
        publish_result(version, before, actor, reason, f"{state}, {before or 'nothing'} keeps serving: {why}")
        raise
    record(platform, version, before, actor, reason, SERVING)
    publish_result(version, before, actor, reason, f"`{tag}` serves at {platform.addresses.serving_url}")
    return tag


def prepare(platform: Platform, version: str, before: str | None, deploy: DeploySettings) -> tuple[str, bool]:
    """Serves a Bento that holds the version beside the champion.

    The champion stays champion inside it; if this code can no longer read its bundle, the version replaces it.

    Returns:
        The tag of the Bento, and whether the version is to run as a canary first.
    """
    bundles = {version: fetch(platform, version)}
    side_variants = find_side_variants(platform, deploy, {version, before})
    for other in {before or version, *(variant.model_version for variant in side_variants)} - {version}:
        try:
            bundles[other] = fetch(platform, other)
        except (BundleError, RegistryError) as error:
            if isinstance(error, UNAVAILABLE):
                raise
            get_run_logger().warning("version %s cannot be served beside it: %s", other, error)
    champion = before if before in bundles else None
    side_variants = [variant for variant in side_variants if variant.model_version in bundles]
    while True:
        tag = build(platform, bundles, version, champion or version)
        try:
            serve(platform, tag, version, before, side_variants)
            break
        except VariantRejected as error:
            get_run_logger().warning("there is no %s: %s", error.variant.variant, error)
            side_variants.remove(error.variant)
            del bundles[error.variant.model_version]
    serve_side_variants(platform, side_variants)
    return tag, champion not in (None, version) and bool(deploy.canary_share and deploy.canary_seconds)


@contextmanager
def store(platform: Platform) -> Iterator[Engine]:
    engine = make_engine(platform.addresses.database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def publish_result(version: str, before: str | None, actor: str, reason: str, result: str) -> None:
    """Logs the result and publishes it as an artifact of the flow run."""
    get_run_logger().info("version %s: %s", version, result)
    lines = {"Version": version, "Before": before or "none", "Requested by": actor, "Why": reason or "not given"}
    page = [f"# Deployment of version {escaped(version)}", table(["", ""], list(lines.items())), escaped(result)]
    create_markdown_artifact("\n\n".join(page), key="deployment")
