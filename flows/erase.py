"""erasures that wait > snapshots, training runs, caches, results of flows > report."""

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
from components.store.erasure import expire_tombstones, finish, first_events, open_erasures
from components.store.schema import Erasure
from flows.policies import by_time

READERS = ["retrain", "batch", "search", "adapt"]
"""Flows that read people's histories and write what they make of them."""
LONGEST = timedelta(days=1)
"""A run that began longer ago is dead, whatever Prefect says of it."""
GOING_ON = [StateType.RUNNING, StateType.CANCELLING]


@task(task_run_name="under way", retries=3, retry_delay_seconds=[2, 5, 15], persist_result=False)
def under_way(asked_at: datetime) -> int:
    """How many flows that began before may still write what they read of the user."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=READERS)),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=GOING_ON)),
                start_time=FlowRunFilterStartTime.model_validate(
                    {"before_": asked_at, "after_": datetime.now(UTC) - LONGEST}
                ),
            ),
        )
    return len(runs)


@task(task_run_name="erase {erasure.erasure_id}", retries=2, retry_delay_seconds=10, persist_result=False)
def erase_one(settings: Settings, erasure: Erasure) -> None:
    """The user's traces in the files, then the row's own: with it the report remains, without the id."""
    assert erasure.user_id is not None
    erased = erase_files(settings.home, settings.cache, erasure.user_id, erasure.requested_at)
    versions = registry.versions(os.environ["MLFLOW_TRACKING_URI"])
    engine = make_engine(settings.database_url or "")
    with engine.begin() as connection:
        finish(connection, erasure, report(erased, versions, *first_events(connection, erasure.user_hash)))
    engine.dispose()


@flow(name="erase", flow_run_name=by_time("erase"), timeout_seconds=3600, persist_result=True, result_serializer="json")
def erase() -> dict[str, Any]:
    """Works off what `/forget` and `duotempo forget` left to do; a run that was cut off is done again by the next.

    An erasure waits as long as a training from before it goes on.
    """
    settings = Settings()
    engine = make_engine(settings.database_url or "")
    with engine.begin() as connection:
        waiting = open_erasures(connection)
        expired = expire_tombstones(connection, datetime.now(UTC), settings.privacy.tombstone_days)
    engine.dispose()
    done, later = [], []
    for erasure in waiting:
        if runs := under_way(erasure.requested_at):
            get_run_logger().info("erasure %d waits for %d runs that began before", erasure.erasure_id, runs)
            later.append(erasure.erasure_id)
        else:
            erase_one(settings, erasure)
            done.append(erasure.erasure_id)
    return {"done": done, "waiting": later, "tombstones_expired": expired}
