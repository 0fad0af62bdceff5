"""partitions ahead > versions in use > remove old, unused files. The removed files are an artifact of the run."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from components import registry
from components.housekeeping.retention import InUse, Removed, remove_old
from components.settings import Settings
from components.store.engine import make_engine
from components.store.item_vectors import delete_old_vectors
from components.store.partitions import create_upcoming_partitions
from components.store.promotions import SERVING, list_promotions
from flows.policies import RETRY, named_by_time
from infra.local.platform import Platform


@task(timeout_seconds=300, persist_result=False, **RETRY)
def in_use(settings: Settings) -> InUse:
    """Returns the versions to keep, and their snapshots: those with an alias, serving, serving before, or recent.

    A rollback needs the version that served before.
    """
    versions = registry.versions(os.environ["MLFLOW_TRACKING_URI"])
    engine = make_engine(settings.database_url or "")
    served = [line.version for line in list_promotions(engine) if line.state == SERVING]
    engine.dispose()
    now = (Platform(settings).served() or {}).get("model_version")
    before = next((version for version in reversed(served) if version != now), None)
    kept = {entry.version for entry in versions[: settings.retention.keep_versions]}
    kept |= {entry.version for entry in versions if entry.aliases} | {version for version in (now, before) if version}
    return InUse(
        kept, {entry.tags["snapshot_id"] for entry in versions if entry.version in kept and "snapshot_id" in entry.tags}
    )


@task(timeout_seconds=1800, persist_result=False)
def remove(settings: Settings, used: InUse, before: datetime) -> list[Removed]:
    """Removes files older than `before` that are not in use."""
    return remove_old(settings.home, used, before)


@task(timeout_seconds=300, persist_result=False, **RETRY)
def remove_item_vectors(settings: Settings, before: datetime) -> int:
    """Removes item vectors requested before that time; a service that still needs one requests it again."""
    engine = make_engine(settings.database_url or "")
    with engine.begin() as connection:
        count = delete_old_vectors(connection, before)
    engine.dispose()
    return count


@task(timeout_seconds=300, persist_result=False, **RETRY)
def make_partitions(settings: Settings) -> int:
    """Creates the next monthly partitions ahead of time, so that no request waits for one."""
    engine = make_engine(settings.database_url or "")
    count = create_upcoming_partitions(engine.begin, datetime.now(UTC))
    engine.dispose()
    return count


@flow(
    name="retention",
    flow_run_name=named_by_time("retention"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=3600,
)
def retention() -> dict[str, Any]:
    """Creates the next partitions, and removes data past its retention as of the run's scheduled time."""
    settings = Settings()
    get_run_logger().info("%d partitions created ahead", make_partitions(settings))
    before = flow_run.scheduled_start_time - timedelta(days=settings.retention.days)
    used = in_use(settings)
    removed = remove(settings, used, before)
    get_run_logger().info("%d vectors of items removed", remove_item_vectors(settings, before))
    freed = sum(entry.bytes for entry in removed)
    kept = ", ".join(sorted(used.versions, key=int)) or "none"
    summary = f"{len(removed)} removed, {freed:,} bytes; versions in use: {kept}"
    get_run_logger().info(summary)
    rows = [{"kind": entry.kind, "name": entry.name, "bytes": entry.bytes} for entry in removed]
    create_table_artifact(table=rows, key="retention", description=summary)
    return {"removed": rows, "bytes": freed}
