"""Flow `batch`: the champion's recommendations for all users, to Parquet and to Postgres."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from components import registry
from components.bundle.bundle import Bundle
from components.core.columns import Columns
from components.core.errors import DuotempoError
from components.core.files import atomic_write
from components.histories.sequences import Documents, build_sequences
from components.ranking.batch import recommend_all
from components.ranking.filters import Exclusion
from components.settings import Settings
from components.store.engine import make_engine
from components.store.history import read_all_documents
from components.store.impressions import replace_recommendations
from components.store.snapshot import latest_snapshot, take_snapshot
from flows.policies import RETRY, named_by_time


class NoChampion(DuotempoError):
    """No version has been promoted yet."""


@task(task_run_name="fetch", timeout_seconds=600, cache_policy=NO_CACHE, **RETRY)
def fetch(settings: Settings) -> tuple[str, Path] | None:
    """Downloads the champion's bundle; returns its version and folder, or None if there is no champion."""
    tracking_uri = os.environ["MLFLOW_TRACKING_URI"]
    champion = registry.champion(tracking_uri)
    if champion is None:
        return None
    folder = settings.home / "bundles" / champion.version
    return champion.version, registry.download_bundle(tracking_uri, champion.version, folder)


@task(task_run_name="recommend", timeout_seconds=6 * 3600, cache_policy=NO_CACHE, **RETRY)
def recommend(settings: Settings, bundle: Path, version: str, file: Path, k: int) -> int:
    """Scores all users as of now, writes the lists to `file` and to Postgres, and returns the number of users."""
    engine = make_engine(settings.database_url or "")
    loaded, now = Bundle.read(bundle), datetime.now(UTC)
    folder = settings.home / "snapshots"
    previous = latest_snapshot(folder)
    snapshot = take_snapshot(engine, now, folder, previous=previous.path if previous else None)
    documents = Documents(*read_all_documents(engine, loaded.manifest["encoder"], loaded.manifest["dimension"]))
    rows = {item: row for row, item in enumerate(loaded.items["item_id"].to_pylist())}
    events = snapshot.events()
    sequences = build_sequences(events, rows, settings.events, documents)
    excluded = Exclusion.of(settings.ranking, settings.events).rows(events, rows)
    items = snapshot.items()
    available = set(items.loc[items[Columns.AVAILABLE], Columns.ITEM])
    table = recommend_all(
        loaded, sequences, documents, available, excluded, settings.ranking, now=now, k=k, show_progress=True
    )
    with atomic_write(file) as part:
        pq.write_table(table, part)
    replace_recommendations(engine, table, version)
    engine.dispose()
    return len(sequences.users)


@flow(
    name="batch",
    flow_run_name=named_by_time("batch"),
    persist_result=True,
    result_serializer="json",
    timeout_seconds=8 * 3600,
)
def batch(file: str | None = None, k: Annotated[int, Field(ge=1)] = 100) -> dict[str, Any] | State:
    """Writes the top k items of every user to a Parquet file and to the table batch_recommendations.

    Args:
        file: Absolute path of the Parquet file. Without it, as in scheduled runs, HOME/recommendations.parquet, and a
            missing champion is no error.
        k: Items per user.

    Raises:
        NoChampion: A file was requested and no version is the champion.
    """
    settings = Settings()
    champion = fetch(settings)
    if champion is None and file is None:
        return Completed(message="there is no champion yet, and nothing to recommend")
    if champion is None:
        raise NoChampion("there is no champion yet: duotempo retrain --wait, then duotempo promote VERSION")
    version, bundle = champion
    target = Path(file) if file else settings.home.absolute() / "recommendations.parquet"
    users = recommend(settings, bundle, version, target, k)
    return {"users": users, "version": version, "file": str(target)}
