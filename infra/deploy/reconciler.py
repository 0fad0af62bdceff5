"""Reconciles the served version with the registry: the alias `champion` is the desired state, `variants` the actual.

A webhook is only a hint to check, so lost, duplicate, late or forged ones do no harm.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from components import registry
from components.store.promotions import (
    FAILED,
    SERVING,
    consecutive_failures,
    failed_forced_request,
    is_open,
    last_promotion,
    open_request,
    open_requests,
    record_promotion,
    request_promotion,
)
from components.store.schema import Promotion
from components.store.variants import CANARY, current_variants, end_canary
from infra.deploy.promotion import DEPLOYMENT, deployment_key, return_alias, serving_version
from infra.local.platform import Platform
from infra.orchestration.client import Run, start_deployment

ACTOR = "registry"
GRACE_PERIOD = timedelta(minutes=1)
"""Age after which a request's client must have started its deployment and set the alias, or has died."""
MAX_FAILURES = 3
"""Consecutive failed deployments of a version before it is refused."""


class Reconciler:
    """Compares the registry with the platform at each call of `check`; calls must not overlap."""

    def __init__(self, platform: Platform, engine: Engine) -> None:
        self._platform = platform
        self._engine = engine
        self._to_revert: str | None = None

    def check(self, hint: str = "") -> str:
        """Deploys the champion if it does not serve, once, and returns a sentence on what was done.

        Without a hint, a refused version loses the alias, but only at the second check: at the first its webhook may
        still be on the way. A deployment whose worker died is recorded as failed and retried.

        Args:
            hint: Why the alias is known to have been set just now; it overrides an earlier refusal.

        Raises:
            RegistryError, StoreError, DeploymentError: A server is down; the next check finds the same state.
        """
        platform, engine = self._platform, self._engine
        to_revert, self._to_revert = self._to_revert, None
        tracking_uri = platform.addresses.mlflow_url
        hint = registry.promote_newest_copy(tracking_uri) or hint
        version = registry.champion_number(tracking_uri)
        serving = serving_version(platform, engine)
        if (canary := current_variants(engine).get(CANARY)) and canary.model_version != version:
            _end_orphaned_canary(engine, canary.model_version, serving)
        _close_abandoned(engine, version, serving)
        if version is None:
            return "no version is the champion"
        if version == serving:
            return _confirm_serving(engine, version)
        if not hint and (why := _rejection(tracking_uri, engine, version, serving)):
            if version != to_revert:
                self._to_revert = version
                return f"version {version} {why}: it loses the alias, unless that was set just now"
            return_alias(tracking_uri, version, serving)
            return f"version {version} {why}: {serving or 'nothing'} keeps the alias"
        if hint:
            registry.clear_refusal(tracking_uri, registry.version(tracking_uri, version))
        why = (
            hint
            or registry.recent_copy_message(tracking_uri, version, datetime.now(UTC) - GRACE_PERIOD)
            or "the registry's champion does not serve"
        )
        forced = failed_forced_request(engine, version)
        why = f"{why}; forced by {forced.actor}: {forced.reason}" if forced else why
        request, new = request_promotion(engine, version, serving, ACTOR, why, forced=forced is not None)
        run = _run_of(request)
        if run.is_final and is_open(engine, request):
            return _record_crash(
                platform, engine, version, serving, f"its deployment ended as {run.state}, see {run.page}"
            )
        return f"version {version} is {'to be ' if new else 'being '}deployed, see {run.page}"


def _rejection(tracking_uri: str, engine: Engine, version: str, serving: str | None) -> str | None:
    """Returns why a version with the alias must not be deployed unless the alias was just set, or None."""
    if open_request(engine, version):
        return None
    if "refused" in registry.version(tracking_uri, version).tags:
        return "was refused"
    last = last_promotion(engine)
    if last and (last.state, last.version, last.from_version) == (SERVING, serving, version):
        return "was replaced while the registry was down"
    return None


def _run_of(request: Promotion) -> Run:
    """Returns the run of the request's deployment; starts it if there is none."""
    parameters = {
        "version": request.version,
        "actor": request.actor,
        "reason": request.reason,
        "force": request.forced,
    }
    return start_deployment(DEPLOYMENT, parameters, key=deployment_key(request))


def _confirm_serving(engine: Engine, version: str) -> str:
    """Closes the request of a deployment that died after the switch, before it recorded its end."""
    request = open_request(engine, version)
    if request and request.from_version != version and (run := _run_of(request)).is_final and is_open(engine, request):
        why = f"its deployment ended as {run.state} after the switch, see {run.page}"
        record_promotion(engine, version, request.from_version, ACTOR, why, SERVING)
    return f"version {version} is the champion and serves"


def _close_abandoned(engine: Engine, champion: str | None, serving: str | None) -> None:
    """Closes requests of versions without the alias, whose client died before setting it.

    Their deployment ends itself as superseded; if it crashed instead, it is recorded as failed.
    """
    for request in open_requests(engine):
        if request.version != champion and datetime.now(UTC) - request.at > GRACE_PERIOD:
            run = _run_of(request)
            if run.is_final and is_open(engine, request):
                why = f"its deployment ended as {run.state}, see {run.page}"
                record_promotion(engine, request.version, serving, ACTOR, why, FAILED)


def _end_orphaned_canary(engine: Engine, version: str, serving: str | None) -> None:
    """Ends a canary that is no longer the champion-to-be and whose deployment is gone."""
    request = open_request(engine, version)
    if request is None:
        end_canary(engine, version)
    elif (run := _run_of(request)).is_final and is_open(engine, request):
        end_canary(engine, version)
        record_promotion(
            engine, version, serving, ACTOR, f"its deployment ended as {run.state}, see {run.page}", FAILED
        )


def _record_crash(platform: Platform, engine: Engine, version: str, serving: str | None, why: str) -> str:
    """Records the failure of a crashed deployment; after MAX_FAILURES the version is refused and loses the alias."""
    end_canary(engine, version)
    record_promotion(engine, version, serving, ACTOR, why, FAILED)
    if consecutive_failures(engine, version) < MAX_FAILURES:
        return f"version {version}: {why}; it is retried"
    registry.tag_refused(
        platform.addresses.mlflow_url, version, f"{MAX_FAILURES} deployments failed, the last one: {why}"
    )
    return_alias(platform.addresses.mlflow_url, version, serving)
    return f"version {version} is given up: {why}"
