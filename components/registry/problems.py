"""Detects inconsistencies between the registry and the served versions, and says how to fix them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.registry.connection import NAME, connect
from components.store.variants import CHAMPION

if TYPE_CHECKING:
    from mlflow import MlflowClient

NO_MODEL, NO_VERSION, NO_CHAMPION, NO_EXPERIMENT = "no_model", "no_version", "no_champion", "no_experiment"
REGISTRY_PROBLEMS = (NO_MODEL, NO_VERSION, NO_CHAMPION, NO_EXPERIMENT)


@dataclass(frozen=True)
class Problem:
    """A problem to be reported.

    Attributes:
        name: Stable identifier while the problem lasts.
        remedy: How to fix it.
    """

    name: str
    what: str
    remedy: str


def find_problems(tracking_uri: str, served: Mapping[str, str]) -> list[Problem]:
    """Checks that the registry still has the served versions. Raises RegistryError, RegistryUnavailable.

    Args:
        served: Versions by variant, including `champion`; empty before the first promotion.
    """
    if CHAMPION not in served:
        return []
    with connect(tracking_uri) as client:
        models = client.search_registered_models(f"name='{NAME}'")
        if not models:
            return [_no_model(client, served[CHAMPION])]
        registered = {str(entry.version) for entry in client.search_model_versions(f"name='{NAME}'")}
        deleted = [_no_version(variant, version) for variant, version in served.items() if version not in registered]
        lacks_alias = CHAMPION not in models[0].aliases and served[CHAMPION] in registered
        problems = [*deleted, *([_no_champion(served[CHAMPION])] if lacks_alias else [])]
        experiment = client.get_experiment_by_name(NAME)
        if experiment and experiment.lifecycle_stage != "active":
            problems.append(_no_experiment(experiment.experiment_id))
    return problems


def _no_model(client: "MlflowClient", version: str) -> Problem:
    what = f"version {version} serves, but MLflow has no registered model `{NAME}`"
    if name := _renamed(client, version):
        return Problem(NO_MODEL, f"{what}: it is named `{name}` now", f"rename `{name}` back to `{NAME}` in MLflow")
    return Problem(
        NO_MODEL, what, "the service keeps running, but comparison and rollback are impossible: duotempo retrain "
        "--wait, then duotempo promote 1; or restore MLflow's database from a backup",
    )  # fmt: skip


def _renamed(client: "MlflowClient", version: str) -> str | None:
    """The current name of Duotempo's registered model, if it was renamed."""
    from mlflow.exceptions import RestException

    for model in client.search_registered_models():
        try:
            entry = client.get_model_version(model.name, version)
        except RestException:
            continue
        if {"gate", "snapshot_id"} <= entry.tags.keys() and not str(entry.source).startswith(f"models:/{NAME}/"):
            return str(model.name)
    return None


def _no_version(variant: str, version: str) -> Problem:
    return Problem(
        NO_VERSION, f"version {version} serves as {variant}, but it was deleted in MLflow",
        "the service keeps running on its own copy, but no gate can compare with it and no rollback can restore it: "
        "duotempo rollback, or promote another version (duotempo promote VERSION)",
    )  # fmt: skip


def _no_champion(version: str) -> Problem:
    return Problem(
        NO_CHAMPION, f"version {version} serves, but no version bears the alias `{CHAMPION}` in MLflow, so the next "
        "gate has nothing to compare with",
        f"duotempo promote {version}, or set the alias `{CHAMPION}` on version {version} in MLflow",
    )  # fmt: skip


def _no_experiment(experiment_id: str) -> Problem:
    return Problem(
        NO_EXPERIMENT, f"the experiment `{NAME}` was deleted in MLflow, so no retraining can register its version",
        f"restore it: mlflow experiments restore --experiment-id {experiment_id}",
    )  # fmt: skip
