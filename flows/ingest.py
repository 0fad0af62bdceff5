"""new rows of a source > judge > store > move the watermark. Killed anywhere, the next run continues."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from components.core.errors import DuotempoError
from components.ingestion import load_source as steps
from components.ingestion.load_source import SourceLoad
from components.settings import Settings
from components.sources.source import Fetched
from components.store.engine import make_engine
from components.store.watermarks import exclusive_source
from flows.policies import RETRY, RETRY_LONG_RUNNING, named_by_time

NOTHING_NEW = {"accepted": 0, "duplicates": 0, "items_added": 0, "items_updated": 0, "rejected": 0}


class SourcesFailed(DuotempoError):
    """Some sources could not be loaded; the others were."""


@task(task_run_name="fetch {name}", timeout_seconds=6 * 3600, persist_result=False, cache_policy=NO_CACHE, **RETRY)
def fetch(settings: Settings, name: str) -> Fetched:
    """Fetches what is new in the source since its watermark, to disk."""
    engine = make_engine(settings.database_url or "")
    fetched = steps.fetch_source(settings, name, engine)
    engine.dispose()
    return fetched


@task(
    task_run_name="load {name}",
    timeout_seconds=6 * 3600,
    persist_result=False,
    cache_policy=NO_CACHE,
    **RETRY_LONG_RUNNING,
)
def load(settings: Settings, name: str, fetched: Fetched) -> SourceLoad:
    """Judges and stores the fetched rows; the watermark moves with the end of the load."""
    engine = make_engine(settings.database_url or "")
    loaded = steps.load_source(settings, name, fetched, engine, datetime.now(UTC))
    engine.dispose()
    return loaded


@flow(
    name="ingest",
    flow_run_name=named_by_time("ingest"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=12 * 3600,
)
def ingest(source: str | None = None) -> dict[str, dict[str, Any]]:
    """Loads what is new in a source of the settings, and returns the counts by source.

    Args:
        source: Its name. Without it, as in scheduled runs, all sources: first those of items, which events refer to.

    Raises:
        SourcesFailed: Sources could not be loaded; the message says why.
    """
    settings = Settings()
    sources = settings.ingest.sources
    names = [source] if source is not None else sorted(sources, key=lambda name: sources[name].role != "items")
    counts, errors = {}, []
    for name in names:
        try:
            counts[name] = _ingest(settings, name)
        except DuotempoError as error:
            get_run_logger().error("%s", error)
            errors.append(str(error))
    rows = [{"source": name} | values for name, values in counts.items()]
    create_table_artifact(table=rows, key="ingest", description="Rows by source")
    if errors:
        raise SourcesFailed("; ".join(errors))
    return counts


def _ingest(settings: Settings, name: str) -> dict[str, Any]:
    engine = make_engine(settings.database_url or "")
    try:
        with exclusive_source(engine, name):
            fetched = fetch(settings, name)
            if fetched.path is None:
                get_run_logger().info("%s: nothing new", name)
                return dict(NOTHING_NEW)
            report = load(settings, name, fetched).report
    finally:
        engine.dispose()
    get_run_logger().info("%s: %s", name, report)
    return {
        "load": report.load_id,
        "accepted": report.accepted,
        "duplicates": report.duplicates,
        "items_added": report.items_added,
        "items_updated": report.items_updated,
        "rejected": sum(report.rejected.values()),
    }
