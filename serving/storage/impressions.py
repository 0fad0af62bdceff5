"""Write-behind queue of impressions: flushed to Postgres in batches every 50 ms."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from threading import Event, Lock, Thread

from components.store.impressions import ServedList, record_impressions
from components.store.privacy import Privacy
from components.store.variants import ServingVariant
from serving.storage.postgres import Database, DatabaseAway, DatabaseBusy
from serving.telemetry.metrics import Metrics

FLUSH_SECONDS = 0.05
"""From the first queued impression to the flush: what a crash of this process can lose."""
RETRY_SECONDS = 0.5
"""Between two attempts while Postgres is away."""
BATCH_SIZE = 2000
MAX_QUEUED = 20_000
"""Impressions queued while Postgres is away; beyond that the oldest are dropped and counted."""
logger = logging.getLogger(__name__)


class Impressions:
    """The queue and its writer thread. Thread-safe."""

    def __init__(self, database: Database, privacy: Privacy, metrics: Metrics) -> None:
        self._database = database
        self._privacy = privacy
        self._metrics = metrics
        self._queue: deque[ServedList] = deque()
        self._by_request: dict[str, ServedList] = {}
        self._lock = Lock()
        self._writing = Lock()
        self._has_work = Event()
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="impressions", daemon=True)
        self._batch_size = BATCH_SIZE
        self.away = False

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stops the thread and flushes the queue."""
        with self._lock:
            self._stopped.set()
            self._has_work.set()
        self._thread.join()
        self.flush()

    def add(self, answer: ServedList) -> None:
        """Queues an impression."""
        with self._lock:
            self._queue.append(answer)
            self._has_work.set()
            self._by_request[answer.request_id] = answer
            if len(self._queue) > MAX_QUEUED:
                oldest = self._queue.popleft()
                self._by_request.pop(oldest.request_id, None)
                self._metrics.impressions_lost.inc()

    def served_by(self, request_ids: Iterable[str]) -> dict[tuple[str, str], ServingVariant]:
        """Variant and version of queued impressions, by (request_id, user_id)."""
        with self._lock:
            queued = [self._by_request[answer] for answer in request_ids if answer in self._by_request]
        return {
            (answer.request_id, answer.user_id): ServingVariant(answer.variant, answer.model_version)
            for answer in queued
        }

    def flush(self) -> None:
        """Writes the queue, in batches; leaves it as it is while Postgres is away."""
        with self._writing:
            has_more = True
            while has_more and (batch := self._next_batch()):
                has_more = len(batch) == self._batch_size
                try:
                    self._write(batch)
                except DatabaseAway as error:
                    if isinstance(error, DatabaseBusy):
                        self._batch_size = max(1, len(batch) // 2)
                    if not self.away:
                        logger.warning("impressions stay queued: %s", error)
                    self.away = True
                    return
                self.away = False
                self._batch_size = min(2 * self._batch_size, BATCH_SIZE)
                self._dequeue(batch)

    def _run(self) -> None:
        while self._has_work.wait() and not self._stopped.wait(RETRY_SECONDS if self.away else FLUSH_SECONDS):
            self.flush()
            with self._lock:
                if not (self._queue or self._stopped.is_set()):
                    self._has_work.clear()

    def _next_batch(self) -> list[ServedList]:
        with self._lock:
            return list(islice(self._queue, self._batch_size))

    def _write(self, batch: Sequence[ServedList]) -> None:
        try:
            with self._database.autocommit() as connection:
                self._database.ensure_partitions(connection, [answer.served_at for answer in batch], "impressions")
                record_impressions(connection, self._privacy, batch)
        except DatabaseAway:
            raise
        except Exception:  # one bad impression must not block the others
            logger.exception("%d impressions cannot be written", len(batch))
            if len(batch) == 1:
                self._metrics.impressions_lost.inc()
                return
            for answer in batch:
                self._write([answer])

    def _dequeue(self, batch: Sequence[ServedList]) -> None:
        written = {answer.request_id for answer in batch}
        with self._lock:
            while self._queue and self._queue[0].request_id in written:
                self._by_request.pop(self._queue.popleft().request_id, None)
