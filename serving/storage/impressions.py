"""Impressions on their way into Postgres: written every few milliseconds, many at once."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from threading import Event, Lock, Thread

from components.store.impressions import Answered, record_impressions
from components.store.privacy import Privacy
from components.store.variants import Part
from serving.storage.postgres import Database, DatabaseAway, DatabaseUnable
from serving.telemetry.metrics import Metrics

SECONDS = 0.05
"""From the first answer that waits to the write: what a crash of this process can lose."""
AWAY_SECONDS = 0.5
"""Between two tries while Postgres is away."""
MOST_AT_ONCE = 2000
MOST_WAITING = 20_000
"""Answers that wait while Postgres is away; more push out the oldest, and that is counted."""
logger = logging.getLogger(__name__)


class Impressions:
    """Any thread may add and ask; one thread of its own writes."""

    def __init__(self, database: Database, privacy: Privacy, metrics: Metrics) -> None:
        self._database = database
        self._privacy = privacy
        self._metrics = metrics
        self._waiting: deque[Answered] = deque()
        self._by_request: dict[str, Answered] = {}
        self._lock = Lock()
        self._writing = Lock()
        self._some = Event()
        self._over = Event()
        self._thread = Thread(target=self._run, name="impressions", daemon=True)
        self._most = MOST_AT_ONCE
        self.away = False

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Writes what waits."""
        with self._lock:
            self._over.set()
            self._some.set()
        self._thread.join()
        self.flush()

    def add(self, answered: Answered) -> None:
        """To be written soon."""
        with self._lock:
            self._waiting.append(answered)
            self._some.set()
            self._by_request[answered.request_id] = answered
            if len(self._waiting) > MOST_WAITING:
                oldest = self._waiting.popleft()
                self._by_request.pop(oldest.request_id, None)
                self._metrics.impressions_lost.inc()

    def answerers(self, request_ids: Iterable[str]) -> dict[tuple[str, str], Part]:
        """Variant and version of the answers that are not written yet, by (request_id, user_id)."""
        with self._lock:
            waiting = [self._by_request[one] for one in request_ids if one in self._by_request]
        return {(one.request_id, one.user_id): Part(one.variant, one.model_version) for one in waiting}

    def flush(self) -> None:
        """Writes what waits, unless Postgres is away; it then goes on waiting. What comes meanwhile waits its turn."""
        with self._writing:
            full = True
            while full and (batch := self._batch()):
                full = len(batch) == self._most
                try:
                    self._write(batch)
                except DatabaseAway as error:
                    if isinstance(error, DatabaseUnable):
                        self._most = max(1, len(batch) // 2)
                    if not self.away:
                        logger.warning("impressions wait: %s", error)
                    self.away = True
                    return
                self.away = False
                self._most = min(2 * self._most, MOST_AT_ONCE)
                self._done(batch)

    def _run(self) -> None:
        while self._some.wait() and not self._over.wait(AWAY_SECONDS if self.away else SECONDS):
            self.flush()
            with self._lock:
                if not (self._waiting or self._over.is_set()):
                    self._some.clear()

    def _batch(self) -> list[Answered]:
        with self._lock:
            return list(islice(self._waiting, self._most))

    def _write(self, batch: Sequence[Answered]) -> None:
        try:
            with self._database.at_once() as connection:
                self._database.ensure_partitions(connection, [one.served_at for one in batch], "impressions")
                record_impressions(connection, self._privacy, batch)
        except DatabaseAway:
            raise
        except Exception:  # whatever is wrong with one of them must not keep the others, nor later ones, from it
            logger.exception("%d impressions cannot be written", len(batch))
            if len(batch) == 1:
                self._metrics.impressions_lost.inc()
                return
            for one in batch:
                self._write([one])

    def _done(self, batch: Sequence[Answered]) -> None:
        written = {one.request_id for one in batch}
        with self._lock:
            while self._waiting and self._waiting[0].request_id in written:
                self._by_request.pop(self._waiting.popleft().request_id, None)
