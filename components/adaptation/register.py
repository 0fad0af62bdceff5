"""Registers an adapted encoder in MLflow as the model `duotempo-encoder`."""

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from components.adaptation.comparison import Comparison
from components.adaptation.run import AdaptationRun
from components.registry.connection import connect, experiment
from components.registry.register import COMPONENTS, Registered, flatten, git_commit
from components.registry.versions import AT

if TYPE_CHECKING:
    from components.adaptation.training import Adaptation

NAME = "duotempo-encoder"
"""Name of the registered model and of the experiment of its runs."""
ARTIFACT = "encoder"


def register_encoder(
    run: AdaptationRun, adaptation: "Adaptation", comparison: Comparison, tracking_uri: str
) -> Registered:
    """Logs a run with the encoder's folder as an artifact, and registers it as a new version.

    The version's tags hold the gate's verdict. The version is created last, after everything is uploaded.

    Raises:
        RegistryError: MLflow cannot register the encoder.
        RegistryUnavailable: MLflow does not answer; a retry may help.
    """
    tags = {
        "gate": "passed" if comparison.passed else "failed",
        "gate_reason": "; ".join(comparison.reasons),
        "git_commit": git_commit(COMPONENTS),
        "snapshot_id": str(run.base.snapshot.manifest["id"]),
        "cut": run.base.cut("twin").isoformat(),
        "encoder": run.name,
        "base": f"{adaptation.base}@{adaptation.base_revision}",
    }
    with connect(tracking_uri) as client:
        import mlflow

        with mlflow.start_run(experiment_id=experiment(client, NAME), run_name=run.name, tags=tags) as active:
            mlflow.log_params(dict(flatten(run.base.settings.model_dump(mode="json"))))
            mlflow.log_metrics(metrics_of(adaptation, comparison))
            mlflow.log_text(comparison.report, "report.md")
            mlflow.log_artifacts(str(run.encoder), ARTIFACT)
        if not client.search_registered_models(f"name='{NAME}'"):
            client.create_registered_model(NAME)
        source = f"{active.info.artifact_uri}/{ARTIFACT}"
        number = str(client.create_model_version(NAME, source, active.info.run_id, tags=tags).version)
    url = f"{tracking_uri.rstrip('/')}/#/models/{NAME}/versions/{number}"
    return Registered(number, active.info.run_id, url)


def metrics_of(adaptation: "Adaptation", comparison: Comparison) -> dict[str, float]:
    """Metrics under names that MLflow allows, such as `adapted.ndcg_at_10`, `adapted.cold_items.ndcg_at_10`,
    `difference.cold_items.low` and `held_out.mrr`."""
    metrics = {f"held_out.{name}": asdict(adaptation)[name] for name in ("mrr_base", "mrr")}
    tables = {"": comparison.metrics, **{f"{name}.": part["models"] for name, part in comparison.slices.items()}}
    for slice_prefix, models in tables.items():
        for model, figures in models.items():
            numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
            metrics |= {f"{model}.{slice_prefix}{name}": float(value) for name, value in numbers.items()}
    for slice_prefix, difference in comparison.differences.items():
        metrics |= {f"difference.{slice_prefix}.{name}": value for name, value in difference._asdict().items()}
    return {re.sub(r"\s", "_", name.replace("@", AT)): value for name, value in metrics.items()}
