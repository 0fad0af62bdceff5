"""months that come > in use > remove what is old and not in use. What was removed, and how much, stands on the run's
page."""

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
from components.store.item_vectors import forget_vectors
from components.store.partitions import make_ahead
from components.store.promotions import SERVING, list_promotions
from flows.policies import PATIENT, by_time
from infra.local.platform import Platform


@task(timeout_seconds=300, persist_result=False, **PATIENT)
def in_use(settings: Settings) -> InUse:
    """The versions that bear an alias, serve, served before (a rollback needs them) or are new; and their snapshots."""
    known = registry.versions(os.environ["MLFLOW_TRACKING_URI"])
    engine = make_engine(settings.database_url or "")
    served = [line.version for line in list_promotions(engine) if line.state == SERVING]
    engine.dispose()
    now = (Platform(settings).served() or {}).get("model_version")
    before = next((version for version in reversed(served) if version != now), None)
    kept = {one.version for one in known[: settings.retention.keep_versions]}
    kept |= {one.version for one in known if one.aliases} | {version for version in (now, before) if version}
    return InUse(kept, {one.tags["snapshot_id"] for one in known if one.version in kept and "snapshot_id" in one.tags})


@task(timeout_seconds=1800, persist_result=False)
def remove(settings: Settings, used: InUse, before: datetime) -> list[Removed]:
    """Removes what is older and not in use."""
    return remove_old(settings.home, used, before)


@task(timeout_seconds=300, persist_result=False, **PATIENT)
def forget_item_vectors(settings: Settings, before: datetime) -> int:
    """Removes the text vectors that were asked for before that moment: a service that needs one asks again."""
    engine = make_engine(settings.database_url or "")
    with engine.begin() as connection:
        count = forget_vectors(connection, before)
    engine.dispose()
    return count


@task(timeout_seconds=300, persist_result=False, **PATIENT)
def make_room(settings: Settings) -> int:
    """Makes the monthly partitions that come next, so that no request waits for one."""
    engine = make_engine(settings.database_url or "")
    count = make_ahead(engine.begin, datetime.now(UTC))
    engine.dispose()
    return count


@flow(
    name="retention",
    flow_run_name=by_time("retention"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=3600,
)
def retention() -> dict[str, Any]:
    """Removes what the settings of `retention` let go, as of the time the run was due; makes the months that come."""
    settings = Settings()
    get_run_logger().info("%d partitions made ahead", make_room(settings))
    before = flow_run.scheduled_start_time - timedelta(days=settings.retention.days)
    used = in_use(settings)
    gone = remove(settings, used, before)
    get_run_logger().info("%d vectors of items removed", forget_item_vectors(settings, before))
    freed = sum(one.bytes for one in gone)
    said = (
        f"{len(gone)} removed, {freed:,} bytes; versions in use: {', '.join(sorted(used.versions, key=int)) or 'none'}"
    )
    get_run_logger().info(said)
    rows = [{"kind": one.kind, "name": one.name, "bytes": one.bytes} for one in gone]
    create_table_artifact(table=rows, key="retention", description=said)
    return {"removed": rows, "bytes": freed}
