"""pending erasures > snapshots, training runs, caches, results of flows > report."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow, get_client, get_run_logger, task
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from components import registry
from components.housekeeping.erasure import erase_files, report
from components.settings import Settings
from components.store.engine import make_engine
from components.store.erasure import expire_tombstones, finish, first_event_times, open_erasures
from components.store.schema import Erasure
from flows.policies import named_by_time

READER_FLOWS = ["retrain", "batch", "search", "adapt", "ingest"]
"""Flows that read user histories and write data derived from them."""
MAX_RUN_AGE = timedelta(days=1)
"""A run that started longer ago counts as dead, whatever state Prefect reports."""
UNFINISHED_STATES = [StateType.RUNNING, StateType.CANCELLING]


@task(task_run_name="under way", retries=3, retry_delay_seconds=[2, 5, 15], persist_result=False)
def count_running(requested_at: datetime) -> int:
    """Counts running flows that started before the request and may still write the user's data."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=READER_FLOWS)),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED_STATES)),
                start_time=FlowRunFilterStartTime.model_validate(
                    {"before_": requested_at, "after_": datetime.now(UTC) - MAX_RUN_AGE}
                ),
            ),
        )
    return len(runs)


@task(task_run_name="erase {erasure.erasure_id}", retries=2, retry_delay_seconds=10, persist_result=False)
def erase_user(settings: Settings, erasure: Erasure) -> None:
    """Erases the user's data from files, then the id from the erasure's row; the report remains there."""
    assert erasure.user_id is not None
    erased = erase_files(settings.home, settings.cache, erasure.user_id, erasure.requested_at)
    versions = registry.versions(os.environ["MLFLOW_TRACKING_URI"])
    engine = make_engine(settings.database_url or "")
    with engine.begin() as connection:
        finish(connection, erasure, report(erased, versions, *first_event_times(connection, erasure.user_hash)))
    engine.dispose()


@flow(
    name="erase",
    flow_run_name=named_by_time("erase"),
    timeout_seconds=3600,
    persist_result=True,
    result_serializer="json",
)
def erase() -> dict[str, Any]:
    """Completes the erasures that `/forget` and `duotempo forget` requested; the next run redoes an interrupted one.

    An erasure waits for trainings that started before it.
    """
    settings = Settings()
    engine = make_engine(settings.database_url or "")
    with engine.begin() as connection:
        pending = open_erasures(connection)
        expired = expire_tombstones(connection, datetime.now(UTC), settings.privacy.tombstone_days)
    engine.dispose()
    done, postponed = [], []
    for erasure in pending:
        if runs := count_running(erasure.requested_at):
            get_run_logger().info("erasure %d waits for %d runs that started before it", erasure.erasure_id, runs)
            postponed.append(erasure.erasure_id)
        else:
            erase_user(settings, erasure)
            done.append(erasure.erasure_id)
    return {"done": done, "waiting": postponed, "tombstones_expired": expired}
