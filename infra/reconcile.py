"""Makes what is served what the registry says: the alias `champion` is the wish, the platform's state the fact.

A webhook is only a hint to look, so that a lost, doubled, late or forged one can do no harm.
"""

from sqlalchemy import Engine

from components import registry
from components.store.promotions import (
    FAILED,
    failures_in_a_row,
    is_open,
    record_promotion,
    request_promotion,
)
from infra.client import start_deployment
from infra.local.platform import Platform
from infra.promotion import DEPLOYMENT, deployment_key, give_back

ACTOR = "registry"
TRIES = 3
"""Deployments of a version that fail one after the other before it is refused."""


def reconcile(platform: Platform, engine: Engine, *, hint: str = "") -> str:
    """Starts the deployment of a champion that does not serve, once, and says what was found.

    hint: why somebody thinks that the alias has just been set; such a one overrules an earlier refusal, without it a
    refused version only loses the alias. A deployment that ended without a word, as its worker died, is recorded as
    failed and tried again.
    Raises RegistryError, StoreError, DeploymentError: nothing is lost then, the next call finds the same.
    """
    tracking_uri = platform.addresses.mlflow_url
    version = registry.champion_number(tracking_uri)
    serving = (platform.served() or {}).get("model_version")
    if version is None:
        return "no version is the champion"
    if version == serving:
        return f"version {version} is the champion and serves"
    if "refused" in registry.version(tracking_uri, version).tags and not hint:
        give_back(tracking_uri, version, serving)
        return f"version {version} was refused: {serving or 'nothing'} keeps the alias"
    request, new = request_promotion(engine, version, serving, ACTOR, hint or "the registry's champion does not serve")
    parameters = {"version": version, "actor": request.actor, "reason": request.reason}
    run = start_deployment(DEPLOYMENT, parameters, key=deployment_key(request))
    if run.over and is_open(engine, request):
        return _lost(platform, engine, version, serving, f"its deployment ended as {run.state}, see {run.page}")
    return f"version {version} is {'to be ' if new else 'being '}deployed, see {run.page}"


def _lost(platform: Platform, engine: Engine, version: str, serving: str | None, why: str) -> str:
    """Records the end of a deployment that could not do it itself; the last of several costs the version its alias."""
    record_promotion(engine, version, serving, ACTOR, why, FAILED)
    if failures_in_a_row(engine, version) < TRIES:
        return f"version {version}: {why}; it is tried again"
    registry.tag_refused(platform.addresses.mlflow_url, version, f"{TRIES} deployments failed, the last one: {why}")
    give_back(platform.addresses.mlflow_url, version, serving)
    return f"version {version} is given up: {why}"
