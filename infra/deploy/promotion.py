"""Promotion and rollback: what a person asks for. The deploy flow does the one, the other is a switch."""

import logging
import time

import httpx
from sqlalchemy import Engine

from components import registry
from components.core.errors import DuotempoError
from components.registry import RegistryError, RegistryUnavailable, Version
from components.settings import Settings
from components.store.engine import make_engine
from components.store.promotions import FAILED, SERVING, is_open, list_promotions, record_promotion, request_promotion
from components.store.schema import Promotion
from components.store.variants import CANARY, CHAMPION, end_canary, parts, put_champion
from infra.deploy.bento import build_bento, kept_bento, versions_of
from infra.local.platform import Platform
from infra.orchestration.client import DeploymentError, run_deployment, start_deployment

DEPLOYMENT = "deploy/promoted"
DEPLOY_SECONDS = 1500.0
"""What a deployment may take beside its canary."""
FOLLOW_SECONDS = 10.0
PAUSE_SECONDS = 0.1
log = logging.getLogger(__name__)


class Superseded(DuotempoError):
    """Somebody wants another champion meanwhile; the message says which."""


class PromotionRefused(DuotempoError):
    """The version may not be promoted; the message says why, and what would help."""


def promote(
    version: str, *, actor: str, reason: str = "", force: bool = False, settings: Settings | None = None
) -> None:
    """Makes a version the champion and returns once it serves.

    A version that the gate failed needs `force` and a `reason`, which is recorded. The platform is that of `settings`,
    by default this process' own; PREFECT_API_URL must be set.
    Raises PromotionRefused, RegistryError (no such version), DeploymentError (the old version goes on serving).
    """
    platform = Platform(settings or Settings())
    check_gate(registry.version(platform.addresses.mlflow_url, version), force=force, reason=reason)
    _deploy(platform, make_engine(platform.database_url), version, actor=actor, reason=reason, force=force)


def rollback(*, actor: str, reason: str = "rollback", settings: Settings | None = None) -> str:
    """Serves the version that served before the present one, and returns it; a second rollback undoes the first.

    While a canary runs, that ends it: the champion goes on alone. Else, where the running Bento holds the version, it
    is a switch inside it; where not, a Bento that was kept takes over. It served once, so neither the gate nor a smoke
    test nor a canary is asked. Raises PromotionRefused without an earlier one, StoreError, PlatformError.
    """
    platform = Platform(settings or Settings())
    engine = make_engine(platform.database_url)
    serving = serving_version(platform, engine)
    if (canary := parts(engine).get(CANARY)) and serving:
        end_canary(engine, canary.model_version)
        _name(platform, serving)
        return serving
    version = previous_champion(engine)
    switch(platform, engine, version, serving)
    record(platform, engine, version, serving, actor, reason, SERVING)
    _name(platform, version)
    return version


def switch(platform: Platform, engine: Engine, version: str, before: str | None) -> None:
    """Makes a version that served once the champion, in the running Bento if it is there, else in one that was kept.

    Raises PlatformError, BentoBuildError: the old one goes on serving.
    """
    home = platform.home.bentoml
    put_champion(engine, version)  # a Bento that lacks it goes on with what it has, a deployment gives up
    try:
        served = platform.settled()
        if served is None or version not in versions_of(served["bento_tag"], home):
            platform.serve(kept_bento(version, home) or _built(platform, version), version)
        platform.name_champion(version)
    except DuotempoError:
        if before:
            put_champion(engine, before)
        raise
    await_champion(platform, version)


def serving_version(platform: Platform, engine: Engine) -> str | None:
    """The champion that answers: the table `variants` knows, or what was served before there was one."""
    if (served := platform.served()) is None:
        return None
    champion = parts(engine).get(CHAMPION)
    return champion.model_version if champion else served["model_version"]


def await_champion(platform: Platform, version: str) -> None:
    """Returns once the service answers by its new champion, which it does within about a second."""
    deadline, url = time.monotonic() + FOLLOW_SECONDS, f"{platform.service_url}/readyz"
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=FOLLOW_SECONDS).json()["model_version"] == version:
                return
        except httpx.HTTPError as error:
            log.debug("the service does not answer: %s", error)
        time.sleep(PAUSE_SECONDS)
    log.warning("the service does not follow the table `variants` to version %s: see its /readyz", version)


def _built(platform: Platform, version: str) -> str:
    folder = registry.download_bundle(platform.addresses.mlflow_url, version, platform.home.path / "bundles" / version)
    return build_bento({version: folder}, newest=version, champion=version, bentoml_home=platform.home.bentoml)


def _name(platform: Platform, version: str) -> None:
    """Moves the alias to a version that serves already; `reconcile` does it later when the registry is down, and
    `duotempo status` tells of a version that the registry does not have any more."""
    try:
        registry.set_champion(platform.addresses.mlflow_url, version)
    except RegistryUnavailable as error:
        log.warning("the alias stays behind until the registry is back: %s", error)
    except RegistryError as error:
        log.warning("version %s serves without the alias: %s", version, error)


def check_gate(found: Version, *, force: bool, reason: str) -> None:
    """Raises PromotionRefused when the gate failed the version, unless it is forced with a reason."""
    if found.gate_passed:
        return
    override = f"`duotempo promote {found.version} --force --why TEXT`"
    if not force:
        raise PromotionRefused(
            f"version {found.version} did not pass the gate: {found.gate_reason}. Retrain, or override it: {override}"
        )
    if not reason:
        raise PromotionRefused(f"version {found.version} did not pass the gate; forcing it needs a why: {override}")


def previous_champion(engine: Engine) -> str:
    """The version that served before the present one. Raises PromotionRefused when there is none."""
    served = [line.version for line in list_promotions(engine) if line.state == SERVING]
    earlier = [version for version in served if version != served[-1]]
    if not earlier:
        raise PromotionRefused("no version served before the present one: promote one with `duotempo promote VERSION`")
    return earlier[-1]


def give_back(tracking_uri: str, version: str, serving: str | None) -> bool:
    """Gives the alias of a version that does not serve back to the one that does; whether it had it.

    No version has it then, if none serves, or if the one that does was deleted.
    """
    champion = registry.champion(tracking_uri)
    if champion is None or champion.version != version or version == serving:
        return False
    if serving and any(known.version == serving for known in registry.versions(tracking_uri)):
        registry.set_champion(tracking_uri, serving)
    else:
        registry.clear_champion(tracking_uri)
    return True


def record(
    platform: Platform, engine: Engine, version: str, before: str | None, actor: str, reason: str, state: str
) -> None:
    """Adds a line to `promotions`, and shows in the registry what became of the version. Raises StoreError."""
    record_promotion(engine, version, before, actor, reason, state)
    show_standings(platform, engine)


def show_standings(platform: Platform, engine: Engine) -> None:
    """Makes the registry's pages say what `promotions` says of each version. Raises StoreError.

    The hook does so at each look, so that a registry that is down, or a page that somebody changed, is right again.
    """
    deploy = current_settings(platform).deploy
    try:
        registry.show_standings(platform.addresses.mlflow_url, registry.standings(list_promotions(engine), deploy))
    except RegistryError as error:
        log.warning("the registry's pages stay behind: %s", error)


def current_settings(platform: Platform) -> Settings:
    """Those of now; the platform's own, where somebody has just spoilt the file."""
    try:
        return Settings()
    except ValueError as error:
        log.warning("the settings of the start hold on: %s", error)
        return platform.settings


def deployment_key(request: Promotion) -> str:
    """What tells Prefect that a deployment of this request was started before."""
    return f"promotion-{request.promotion_id}-{request.at.isoformat()}"


def _deploy(platform: Platform, engine: Engine, version: str, *, actor: str, reason: str, force: bool) -> None:
    """Starts the deployment, sets the alias and follows: the hook, which hears of the alias, finds the same run."""
    tracking_uri = platform.addresses.mlflow_url
    champion = registry.champion(tracking_uri)
    before = champion.version if champion else None
    request, _ = request_promotion(engine, version, before, actor, reason)
    parameters, key = {"version": version, "actor": actor, "reason": reason, "force": force}, deployment_key(request)
    try:
        start_deployment(DEPLOYMENT, parameters, key)
        registry.set_champion(tracking_uri, version)
        canary_seconds = platform.settings.deploy.canary_seconds
        run_deployment(DEPLOYMENT, parameters, key=key, timeout=DEPLOY_SECONDS + canary_seconds)
    except (RegistryError, DeploymentError) as error:  # the flow may not have begun, or not have come to its own end
        if is_open(engine, request):
            record(platform, engine, version, before, actor, str(error), FAILED)
            give_back(tracking_uri, version, serving_version(platform, engine))
        raise
