"""Promotion and rollback as requested by a person. A promotion runs the deploy flow, a rollback switches directly."""

import logging

from sqlalchemy import Engine

from components import registry
from components.core.errors import DuotempoError
from components.core.polling import poll
from components.registry import RegistryError, RegistryUnavailable, Version
from components.settings import Settings
from components.store.engine import make_engine
from components.store.promotions import FAILED, SERVING, is_open, list_promotions, record_promotion, request_promotion
from components.store.schema import Promotion
from components.store.variants import CANARY, CHAMPION, current_variants, end_canary, set_serving_champion
from infra.deploy.bento import build_bento, latest_tested_bento, versions_of
from infra.home import health
from infra.local.platform import Platform
from infra.local.status import UNKNOWN
from infra.orchestration.client import DeploymentError, run_deployment, start_deployment

DEPLOYMENT = "deploy/promoted"
DEPLOY_SECONDS = 1500.0
"""Time limit of a deployment without its canary."""
SWITCH_TIMEOUT_SECONDS = 10.0
PAUSE_SECONDS = 0.1
log = logging.getLogger(__name__)


class Superseded(DuotempoError):
    """Another version was made champion meanwhile; the message names it."""


class PromotionRefused(DuotempoError):
    """The version may not be promoted; the message says why and how to proceed."""


def promote(
    version: str, *, actor: str, reason: str = "", force: bool = False, settings: Settings | None = None
) -> None:
    """Makes a version the champion and returns once it serves. PREFECT_API_URL must be set.

    Args:
        actor: Who promotes; recorded.
        reason: Recorded; required to force a version that failed the gate.
        force: Whether to promote a version that failed the gate.
        settings: Settings of the platform, by default this process's.

    Raises:
        PromotionRefused: The version failed the gate and is not forced.
        RegistryError: There is no such version.
        DeploymentError: The deployment failed; the old version keeps serving.
    """
    platform = Platform(settings or Settings())
    check_gate(registry.version(platform.addresses.mlflow_url, version), force=force, reason=reason)
    _deploy(platform, make_engine(platform.database_url), version, actor=actor, reason=reason, force=force)


def rollback(*, actor: str, reason: str = "rollback", settings: Settings | None = None) -> str:
    """Serves the previous version again and returns it; a second rollback undoes the first.

    While a canary runs, a rollback only ends the canary. Otherwise it switches inside the running Bento, or, if that
    lacks the version, to a kept Bento. The version has served before, so gate, smoke test and canary are skipped.

    Raises:
        PromotionRefused: There is no previous version.
        StoreError, PlatformError: A server is down, or the Bento does not start.
    """
    platform = Platform(settings or Settings())
    engine = make_engine(platform.database_url)
    serving = serving_version(platform, engine)
    if (canary := current_variants(engine).get(CANARY)) and serving:
        end_canary(engine, canary.model_version)
        _set_alias(platform, serving)
        return serving
    version = previous_champion(engine)
    switch(platform, engine, version, serving)
    record(platform, engine, version, serving, actor, reason, SERVING)
    _set_alias(platform, version)
    return version


def switch(platform: Platform, engine: Engine, version: str, before: str | None) -> None:
    """Makes a version that has served before the champion, in the running Bento if it holds it, else in a kept one.

    Raises PlatformError or BentoBuildError; the old version keeps serving.
    """
    home = platform.home.bentoml
    # a Bento without it keeps serving its own version; a running deployment gives up
    set_serving_champion(engine, version)
    try:
        tag = platform.settled()
        if tag is None or version not in versions_of(tag, home):
            platform.serve(latest_tested_bento(version, home) or _build_version(platform, version))
    except DuotempoError:
        if before:
            set_serving_champion(engine, before)
        raise
    await_champion(platform, version)


def serving_version(platform: Platform, engine: Engine) -> str | None:
    """Version that serves as champion: of the table `variants`, or, while that is empty, the one the service names.

    Raises StoreError.
    """
    champion = current_variants(engine).get(CHAMPION)
    if champion and platform.home.state.bento:
        return champion.model_version
    served = platform.served()
    return None if served is None or served["model_version"] == UNKNOWN else served["model_version"]


def await_champion(platform: Platform, version: str) -> None:
    """Waits until the service uses its new champion, normally within a second; logs a warning on timeout."""
    url = platform.service_url
    if not poll(lambda: health.model_version(url) == version, SWITCH_TIMEOUT_SECONDS, PAUSE_SECONDS):
        log.warning("the service does not switch to version %s of the table `variants`: see its /readyz", version)


def _build_version(platform: Platform, version: str) -> str:
    folder = registry.download_bundle(platform.addresses.mlflow_url, version, platform.home.path / "bundles" / version)
    return build_bento({version: folder}, newest=version, champion=version, bentoml_home=platform.home.bentoml)


def _set_alias(platform: Platform, version: str) -> None:
    """Moves the alias to a version that serves already.

    If the registry is down, the reconciler does it later; if the version was deleted, `duotempo status` reports it.
    """
    try:
        registry.set_champion(platform.addresses.mlflow_url, version)
    except RegistryUnavailable as error:
        log.warning("the alias is not updated until the registry is back: %s", error)
    except RegistryError as error:
        log.warning("version %s serves without the alias: %s", version, error)


def check_gate(registered: Version, *, force: bool, reason: str) -> None:
    """Raises PromotionRefused if the version failed the gate, unless it is forced with a reason."""
    if registered.gate_passed:
        return
    override = f"`duotempo promote {registered.version} --force --why TEXT`"
    if not force:
        raise PromotionRefused(
            f"version {registered.version} did not pass the gate: {registered.gate_reason}. Retrain, or override it: "
            f"{override}"
        )
    if not reason:
        raise PromotionRefused(
            f"version {registered.version} did not pass the gate; forcing it needs a why: {override}"
        )


def previous_champion(engine: Engine) -> str:
    """Returns the version that served before the current one. Raises PromotionRefused if there is none."""
    served = [line.version for line in list_promotions(engine) if line.state == SERVING]
    previous = [version for version in served if version != served[-1]]
    if not previous:
        raise PromotionRefused("no version served before the present one: promote one with `duotempo promote VERSION`")
    return previous[-1]


def return_alias(tracking_uri: str, version: str, serving: str | None) -> bool:
    """Moves the alias from a version that does not serve back to the serving one.

    If none serves, or the serving one was deleted, the alias is removed.

    Returns:
        Whether `version` had the alias.
    """
    champion = registry.champion(tracking_uri)
    if champion is None or champion.version != version or version == serving:
        return False
    if serving and any(candidate.version == serving for candidate in registry.versions(tracking_uri)):
        registry.set_champion(tracking_uri, serving)
    else:
        registry.clear_champion(tracking_uri)
    return True


def record(
    platform: Platform, engine: Engine, version: str, before: str | None, actor: str, reason: str, state: str
) -> None:
    """Adds a row to `promotions` and updates the version's state in the registry. Raises StoreError."""
    record_promotion(engine, version, before, actor, reason, state)
    publish_statuses(platform, engine)


def publish_statuses(platform: Platform, engine: Engine) -> None:
    """Writes each version's state from `promotions` to its page in the registry. Raises StoreError.

    The webhook receiver repeats this at each poll, so that pages are corrected after an outage or a manual change.
    """
    deploy = current_settings(platform).deploy
    try:
        registry.publish_statuses(
            platform.addresses.mlflow_url, registry.version_statuses(list_promotions(engine), deploy)
        )
    except RegistryError as error:
        log.warning("the registry's pages are not updated: %s", error)


def current_settings(platform: Platform) -> Settings:
    """Reads the current settings; falls back to the platform's if the file is invalid now."""
    try:
        return Settings()
    except ValueError as error:
        log.warning("the settings are invalid, those of the start are used: %s", error)
        return platform.settings


def deployment_key(request: Promotion) -> str:
    """Idempotency key of a request's deployment in Prefect."""
    return f"promotion-{request.promotion_id}-{request.at.isoformat()}"


def _deploy(platform: Platform, engine: Engine, version: str, *, actor: str, reason: str, force: bool) -> None:
    """Starts the deployment, sets the alias and waits; the webhook for the alias finds the same run."""
    tracking_uri = platform.addresses.mlflow_url
    champion = registry.champion(tracking_uri)
    before = champion.version if champion else None
    request, _ = request_promotion(engine, version, before, actor, reason, forced=force)
    parameters, key = {"version": version, "actor": actor, "reason": reason, "force": force}, deployment_key(request)
    try:
        start_deployment(DEPLOYMENT, parameters, key)
        registry.set_champion(tracking_uri, version)
        canary_seconds = platform.settings.deploy.canary_seconds
        run_deployment(DEPLOYMENT, parameters, key=key, timeout=DEPLOY_SECONDS + canary_seconds)
    except (
        RegistryError,
        DeploymentError,
    ) as error:  # the flow may not have started, or crashed before recording its end
        if is_open(engine, request):
            record(platform, engine, version, before, actor, str(error), FAILED)
            return_alias(tracking_uri, version, serving_version(platform, engine))
        raise
