"""online metrics > drift > record > plots > early retraining, after strong drift or many new events."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run

from components import registry
from components.core.markdown import data_uri, escaped
from components.monitoring import measure as steps
from components.monitoring.canary import Decision, TrainingState, decide
from components.monitoring.measure import DriftReport, OnlineReport
from components.monitoring.report import drift_table, online_table, plot_drift, plot_variants
from components.settings import Settings
from components.store.analytics import count_events_since, record_drift, record_online
from components.store.engine import make_engine
from flows import policies
from flows.policies import named_by_time
from infra.orchestration.client import start_deployment

RETRAIN = "retrain/nightly"
MAX_RUNS = 50
"""Number of latest retrainings that are examined."""
RETRY: dict[str, Any] = {**policies.RETRY, "persist_result": False, "timeout_seconds": 600}


@task(**RETRY)
def measure_online(settings: Settings, now: datetime) -> OnlineReport:
    """Measures the online metrics of each variant."""
    engine = make_engine(settings.database_url or "")
    report = steps.measure_online(engine, settings, now, settings.monitoring.window_days)
    engine.dispose()
    return report


@task(**RETRY)
def measure_drift(settings: Settings, now: datetime) -> DriftReport:
    """Measures the drift of the window against the reference before it."""
    engine = make_engine(settings.database_url or "")
    report = steps.measure_drift(engine, settings, now, settings.monitoring.window_days)
    engine.dispose()
    return report


@task(**RETRY)
def record(settings: Settings, online: OnlineReport, drift: DriftReport) -> None:
    """Writes both reports to the tables online_metrics and drift."""
    engine = make_engine(settings.database_url or "")
    record_online(engine, online.rows())
    record_drift(engine, drift.rows())
    engine.dispose()


@task(**RETRY)
def trainings(settings: Settings) -> TrainingState:
    """Collects the state of past trainings from the registry, Postgres and Prefect."""
    versions = registry.versions(os.environ["MLFLOW_TRACKING_URI"])
    if not versions:
        return TrainingState(None, 0, False, None)
    cut = datetime.fromisoformat(versions[0].tags["cut"])
    engine = make_engine(settings.database_url or "")
    new_events = count_events_since(engine, cut)
    engine.dispose()
    due = FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)})
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain"])),
            flow_run_filter=FlowRunFilter(expected_start_time=due),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=MAX_RUNS,
        )
    running = any(run.state is None or not run.state.is_final() for run in runs)
    return TrainingState(
        cut, new_events, running, max((run.start_time for run in runs if run.start_time), default=None)
    )


@task(**RETRY)
def start_retraining(now: datetime) -> str:
    """Starts a retraining and returns its run's page; idempotent for the same `now`."""
    return start_deployment(RETRAIN, {}, key=f"monitor {now.isoformat()}").page


@flow(
    name="monitor",
    flow_run_name=named_by_time("monitor"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=1800,
)
def monitor() -> dict[str, Any]:
    """Measures the window that ends at the run's scheduled time, and starts an early retraining if needed.

    A retried run measures the same window and records it once.
    """
    settings = Settings()
    now = flow_run.scheduled_start_time
    online, drift = measure_online(settings, now), measure_drift(settings, now)
    record(settings, online, drift)
    folder = settings.home / "reports"
    plots = [
        plot_variants(folder / "variants.png", online.online),
        plot_drift(folder / "drift.png", drift.drifts),
    ]
    decision = decide(drift.drifts, trainings(settings), now, settings.monitoring)
    page = start_retraining(now) if decision.retrain else None
    publish_artifacts(online, drift, decision, page, plots)
    return {
        "drift": {entry.feature: entry.value for entry in drift.drifts},
        "decision": decision.reason,
        "retraining": page,
        "plots": [str(plot) for plot in plots],
    }


def publish_artifacts(
    online: OnlineReport, drift: DriftReport, decision: Decision, page: str | None, plots: list[Path]
) -> None:
    """Publishes the run's artifacts and logs the decision."""
    verdict = f"[Retraining]({page}) started." if page else "No retraining started."
    get_run_logger().info("%s %s", f"Retraining started: {page}." if page else verdict, decision.reason)
    table = drift_table(drift.drifts)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    create_table_artifact(table=rows, key="drift", description="Drift of the window against the reference before it")
    window = f"{online.window.since:%Y-%m-%d %H:%M} to {online.window.until:%Y-%m-%d %H:%M} UTC"
    sections = [
        f"# {window}\n\n{verdict} {escaped(decision.reason)}",
        f"## Variants\n\n{online_table(online.online).markdown()}",
        f"Feedback that names no answer of the window: {online.online.unmatched}",
        f"## Drift\n\n{table.markdown()}",
    ]
    for plot in plots:
        create_image_artifact(data_uri(plot), key=f"plot-{plot.stem}", description=f"{plot.stem} of {window}")
    create_markdown_artifact("\n\n".join(sections), key="monitoring", description="Variants, drift, early retraining")
