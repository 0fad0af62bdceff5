"""Shadow evaluation: another version answers a sample of requests afterwards; its lists are never shown."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Semaphore

from components.store.impressions import record_shadow
from serving.contract.requests import RecommendRequest
from serving.recommend.ranking import Answer
from serving.recommend.recommender import Recommender
from serving.storage.postgres import Database, DatabaseAway
from serving.telemetry.metrics import Metrics

MAX_QUEUED = 32
"""Requests queued for the shadow at most; more are skipped."""
logger = logging.getLogger(__name__)


class Shadow:
    """Runs the shadow in its own thread, so that a slow one does not delay responses."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._slots = Semaphore(MAX_QUEUED)

    def compare(self, recommender: Recommender, request: RecommendRequest, shown: Answer) -> None:
        """Schedules the comparison: records the share of the shown list that the shadow would have shown too."""
        if self._slots.acquire(blocking=False):
            self._pool.submit(self._compare, recommender, request, shown)
        else:
            self._count(recommender, "skipped")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _compare(self, recommender: Recommender, request: RecommendRequest, shown: Answer) -> None:
        started = time.perf_counter()
        overlap, error = None, None
        try:
            listed = asyncio.run(recommender.rank(request))
            overlap = len(set(listed) & set(shown.listed.item_ids)) / max(1, len(shown.listed.item_ids))
        except Exception as failure:
            logger.exception("shadow %s failed", recommender.model_version)
            error = f"{type(failure).__name__}: {failure}"
        finally:
            self._slots.release()
        seconds = time.perf_counter() - started
        self._count(recommender, "error" if error else "ok")
        if overlap is not None:
            self._metrics.shadow_overlap.labels(recommender.model_version).observe(overlap)
        self._record(shown.request_id, recommender.model_version, overlap, seconds, error)

    def _count(self, recommender: Recommender, outcome: str) -> None:
        self._metrics.answers.labels("shadow", recommender.model_version, outcome).inc()

    def _record(
        self, request_id: str, model_version: str, overlap: float | None, seconds: float, error: str | None
    ) -> None:
        try:
            with self._database.begin() as connection:
                record_shadow(
                    connection,
                    request_id=request_id,
                    answered_at=datetime.now(UTC),
                    model_version=model_version,
                    overlap=overlap,
                    seconds=seconds,
                    error=error,
                )
        except DatabaseAway as away:
            logger.warning("the answer of the shadow is not stored: %s", away)
