"""promoted version > gate > Bento > smoke test > canary > serving. A refusal leaves the old version serving."""

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
    Part,
    begin_canary,
    end_canary,
    parts,
    promote_canary,
    put_beside,
    put_champion,
)
from infra.deploy import bento, promotion
from infra.deploy import smoke_test as smoke
from infra.deploy.canary import CanaryWorse, Pair, watch
from infra.deploy.promotion import PromotionRefused, Superseded
from infra.home.errors import PlatformError, SmokeTestFailed
from infra.local.platform import Platform

REFUSALS = (PromotionRefused, RegistryError, BundleError, bento.BentoBuildError, PlatformError, CanaryWorse)
"""What speaks against the version, which is then tagged. After all else (a server is down) it may be tried again."""
AWAY = (RegistryUnavailable, StoreError)


class Unfit(Exception):
    """A challenger or shadow that fails its smoke test; the promoted version is not to suffer for it."""

    def __init__(self, part: Part, error: SmokeTestFailed) -> None:
        super().__init__(str(error))
        self.part = part


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
def find_serving(platform: Platform) -> str | None:
    """The version that answers now. A canary that an earlier deployment left behind ends."""
    with store(platform) as engine:
        if canary := parts(engine).get(CANARY):
            end_canary(engine, canary.model_version)
        return promotion.serving_version(platform, engine)


@task(**PATIENT)
def check_wanted(platform: Platform, version: str, before: str | None, named: bool = False) -> None:
    """Raises Superseded when another version has become the champion since this deployment was asked for.

    named: the alias must have come by now, which `duotempo promote` sets just after it has started this run.
    """
    champion = registry.champion_number(platform.addresses.mlflow_url)
    if champion != version and (named or champion not in (None, before)):
        raise Superseded(f"version {champion or 'none'} became the champion meanwhile")


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


@task(**PATIENT)
def find_beside(platform: Platform, deploy: DeploySettings, taken: set[str | None]) -> list[Part]:
    """The challenger and the shadow that the settings ask for; a challenger must have passed the gate."""
    address = platform.addresses.mlflow_url
    shares = {CHALLENGER: deploy.challenger_share, SHADOW: deploy.shadow_share}
    wanted = {alias: registry.bearer(address, alias) for alias, share in shares.items() if share}
    return [
        Part(alias, found.version, shares[alias])
        for alias, found in wanted.items()
        if found and found.version not in taken and (alias == SHADOW or found.gate_passed)
    ]


@task(timeout_seconds=360)
def build(platform: Platform, bundles: dict[str, Path], version: str, champion: str) -> str:
    """The Bento that serves; or one of the versions, built once for each state of the code, where that lacks some."""
    home, served = platform.home.bentoml, platform.served()
    tag = served["bento_tag"] if served else ""
    holds_all = bundles.keys() <= bento.versions_of(tag, home)
    if holds_all and bento.is_of_this_code(tag, home) and bento.is_whole(tag, home):
        return tag
    return bento.build_bento(bundles, newest=version, champion=champion, bentoml_home=home)


@task(timeout_seconds=360)
def serve(platform: Platform, tag: str, version: str, before: str | None, beside: list[Part]) -> None:
    """Puts the Bento at the address that callers keep, once each of its versions has answered real requests.

    Raises SmokeTestFailed, of those `beside` as Unfit; the old Bento goes on then.
    """
    home = platform.home.bentoml
    if tag == (platform.served() or {}).get("bento_tag"):
        return
    champion = before if before and before in bento.versions_of(tag, home) else version
    with store(platform) as engine:
        users = smoke.known_users(engine)

        def check(client: httpx.Client) -> None:
            smoke.smoke_test(client, sorted({version, champion}), users)
            for part in beside:
                try:
                    smoke.smoke_test(client, [part.model_version], users)
                except SmokeTestFailed as error:
                    raise Unfit(part, error) from error
            if (now := promotion.serving_version(platform, engine)) != before:
                raise Superseded(f"version {now} became the champion meanwhile")

        platform.serve(tag, champion, check)
    bento.mark_tested(tag, home)


@task(**PATIENT)
def serve_beside(platform: Platform, beside: list[Part]) -> None:
    """The challenger and the shadow, and no others."""
    with store(platform) as engine:
        put_beside(engine, beside)


@task
def try_out(platform: Platform, version: str, before: str, share: float) -> str:
    """The version answers some of the users, and is compared with the champion."""
    with store(platform) as engine:
        pair = Pair(version, before, datetime.now(UTC))
        begin_canary(engine, before, version, share)
        wanted = partial(check_wanted.fn, platform, version, before, named=True)
        return watch(platform.service_url, engine, pair, Settings, wanted)


@task(**PATIENT)
def serve_all(platform: Platform, version: str, was_canary: bool) -> None:
    """The version answers everybody. Raises Superseded when a rollback has taken it back meanwhile."""
    with store(platform) as engine:
        if not was_canary:
            put_champion(engine, version)
        elif not promote_canary(engine, version):
            raise Superseded("the canary was taken back meanwhile")
    platform.name_champion(version)
    promotion.await_champion(platform, version)


@task(**PATIENT)
def take_back(platform: Platform, version: str) -> None:
    """The champion answers alone."""
    with store(platform) as engine:
        end_canary(engine, version)


@task(**PATIENT)
def record(platform: Platform, version: str, before: str | None, actor: str, reason: str, state: str) -> None:
    """A line in the promotions table, and on the version's page in the registry."""
    with store(platform) as engine:
        promotion.record(platform, engine, version, before, actor, reason, state)


@task(**PATIENT)
def give_back(platform: Platform, version: str, before: str | None) -> None:
    """Gives the alias back to the version that serves."""
    promotion.give_back(platform.addresses.mlflow_url, version, before)


@task(**PATIENT)
def tag_refused(platform: Platform, version: str, why: str) -> None:
    """Tags the refused version with the reason."""
    registry.tag_refused(platform.addresses.mlflow_url, version, why)


@flow(name="deploy", flow_run_name="deploy version {version}")
def deploy(version: str, actor: str = "registry", reason: str = "", force: bool = False) -> str | State:
    """Serves a registered version, and returns the tag of its Bento.

    A version that is refused (by the gate, the build, the smoke test, the platform or its canary) fails the run with
    the reason, as does whatever else goes wrong; the old version goes on serving and gets the alias back. When another
    version becomes the champion before the end, the run is cancelled.
    """
    settings = Settings()
    platform = Platform(settings)
    before = find_serving(platform)
    found = find(platform, version)
    try:
        check_wanted(platform, version, before)
        check_gate(found, reason, force)
        tag, has_canary = prepare(platform, version, before, settings.deploy)
        check_wanted(platform, version, before, named=True)
        if before and has_canary:
            record(platform, version, before, actor, reason, CANARY_STATE)
            get_run_logger().info(try_out(platform, version, before, settings.deploy.canary_share))
        serve_all(platform, version, has_canary)
    except Superseded as error:
        take_back(platform, version)
        record(platform, version, before, actor, str(error), SUPERSEDED)
        tell(version, before, actor, reason, f"{SUPERSEDED}: {error}")
        return Cancelled(message=str(error))
    except Exception as error:
        refused = isinstance(error, REFUSALS) and not isinstance(error, AWAY)
        state, why = REFUSED if refused else FAILED, platform.home.named(str(error))
        take_back(platform, version)
        give_back(platform, version, before)
        if refused:
            tag_refused(platform, version, why)
        record(platform, version, before, actor, why, state)
        tell(version, before, actor, reason, f"{state}, {before or 'nothing'} goes on serving: {why}")
        raise
    record(platform, version, before, actor, reason, SERVING)
    tell(version, before, actor, reason, f"`{tag}` serves at {platform.addresses.serving_url}")
    return tag


def prepare(platform: Platform, version: str, before: str | None, deploy: DeploySettings) -> tuple[str, bool]:
    """The tag of a Bento at the address that holds the version, and whether the version is to be tried out first.

    The champion stays the champion inside it, unless this code cannot read it any more: then the version takes over.
    """
    bundles = {version: fetch(platform, version)}
    beside = find_beside(platform, deploy, {version, before})
    for other in {before or version, *(part.model_version for part in beside)} - {version}:
        try:
            bundles[other] = fetch(platform, other)
        except (BundleError, RegistryError) as error:
            if isinstance(error, AWAY):
                raise
            get_run_logger().warning("version %s cannot be served beside it: %s", other, error)
    champion = before if before in bundles else None
    beside = [part for part in beside if part.model_version in bundles]
    while True:
        tag = build(platform, bundles, version, champion or version)
        try:
            serve(platform, tag, version, before, beside)
            break
        except Unfit as error:
            get_run_logger().warning("there is no %s: %s", error.part.variant, error)
            beside.remove(error.part)
            del bundles[error.part.model_version]
    serve_beside(platform, beside)
    return tag, champion not in (None, version) and bool(deploy.canary_share and deploy.canary_seconds)


@contextmanager
def store(platform: Platform) -> Iterator[Engine]:
    engine = make_engine(platform.addresses.database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def tell(version: str, before: str | None, actor: str, reason: str, result: str) -> None:
    """What happened, on the page of the flow run."""
    get_run_logger().info("version %s: %s", version, result)
    lines = {"Version": version, "Before": before or "none", "Asked by": actor, "Why": reason or "not said"}
    page = [f"# Deployment of version {escaped(version)}", table(["", ""], list(lines.items())), escaped(result)]
    create_markdown_artifact("\n\n".join(page), key="deployment")
