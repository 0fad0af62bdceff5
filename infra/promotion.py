"""Promotion and rollback: what a person asks for; the deploy flow does it."""

from sqlalchemy import Engine

from components import registry
from components.errors import DuotempoError
from components.registry import Version
from components.settings import Settings
from components.store.engine import make_engine
from components.store.promotions import list_promotions, record_promotion
from infra.client import run_deployment
from infra.local.platform import Platform

DEPLOYMENT = "deploy/local"
DEPLOY_SECONDS = 1500.0
REQUESTED, SERVING, REFUSED = "requested", "serving", "refused"
"""The states of a line in the promotions table."""


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
    at = Platform(settings or Settings()).addresses
    check_gate(registry.version(at.mlflow_url, version), force=force, reason=reason)
    _deploy(at.mlflow_url, make_engine(at.database_url), version, actor=actor, reason=reason, force=force)


def rollback(*, actor: str, reason: str = "rollback", settings: Settings | None = None) -> str:
    """Serves the version that served before the present one, and returns it; a second rollback undoes the first.

    It served once, so the gate is not asked again. Raises as `promote` does; PromotionRefused without an earlier one.
    """
    at = Platform(settings or Settings()).addresses
    engine = make_engine(at.database_url)
    version = previous_champion(engine)
    _deploy(at.mlflow_url, engine, version, actor=actor, reason=reason, force=True)
    return version


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


def _deploy(tracking_uri: str, engine: Engine, version: str, *, actor: str, reason: str, force: bool) -> None:
    before = registry.champion(tracking_uri)
    registry.set_champion(tracking_uri, version)
    record_promotion(engine, version, before.version if before else None, actor, reason, REQUESTED)
    parameters = {"version": version, "actor": actor, "reason": reason, "force": force}
    run_deployment(DEPLOYMENT, parameters, timeout=DEPLOY_SECONDS)
