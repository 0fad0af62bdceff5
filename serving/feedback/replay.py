"""Replay of the spool into Postgres, in order of arrival, exactly once.

A rejected row is isolated by bisection and goes to quarantine; one that is rejected there too becomes a dead letter.
After a transient error the batch size is halved, and a row that fails alone is retried with backoff. It is given up
only after several attempts between which other batches succeeded, so that a struggling server loses no row.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import NamedTuple

from sqlalchemy import Connection

from components.core.columns import Columns
from components.ingestion.admission import Admission, admit
from components.store.db_errors import named, unstorable
from components.store.impressions import read_serving_variants
from components.store.load import append_events, quarantine
from components.store.privacy import Privacy, PrivacyError
from components.store.rows import EventRow, Rejected
from serving.recommend.histories import Histories
from serving.storage.postgres import Database, DatabaseAway, DatabaseBusy
from serving.storage.spool import Row, Spool, SpoolError, spooled_events
from serving.telemetry.metrics import Metrics

POLL_SECONDS = 0.5
"""Poll interval."""
PAUSE_SECONDS = 5.0
"""Pause after an error that needs an operator."""
BATCH_SIZE = 500
MAX_TRIES = 6
"""Attempts of a row that fails alone, counted while other batches succeed."""
MAX_BACKOFF_SECONDS = 10.0
"""Longest pause between two attempts."""
logger = logging.getLogger(__name__)


class _Retry(NamedTuple):
    """The retry state of a row that failed alone.

    Attributes:
        tries: Failed attempts.
        until: End of the backoff, by time.monotonic().
        stored_batches: Batches that had succeeded at the last attempt.
    """

    tries: int
    until: float
    stored_batches: int


class Replay:
    """The replay thread. A batch leaves the spool only after its commit; storing it twice is idempotent."""

    def __init__(
        self, spool: Spool, database: Database, privacy: Privacy, metrics: Metrics, histories: Histories, source: str
    ) -> None:
        self._spool = spool
        self._database = database
        self._privacy = privacy
        self._metrics = metrics
        self._histories = histories
        self._source = source
        self._batch_size = BATCH_SIZE
        self._retries: dict[int, _Retry] = {}
        self._stored_batches = 0
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="replay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        pause = POLL_SECONDS
        while not self._stopped.wait(pause):
            pause = POLL_SECONDS
            try:
                self._replay()
            except DatabaseAway as error:
                logger.info("the spool waits: %s", error)
            except (SpoolError, PrivacyError) as error:
                logger.error("the spool waits: %s", error)
                pause = PAUSE_SECONDS
            except Exception:  # no error may end the thread
                logger.exception("the spool waits")
                pause = PAUSE_SECONDS

    def _replay(self) -> None:
        with self._spool.replay_lock() as locked:
            while (
                locked and not self._stopped.is_set() and (rows := self._spool.oldest(self._batch_size, self._retries))
            ):
                size = self._batch_size
                self._store(rows)
                self._batch_size = min(2 * size, BATCH_SIZE)
                if len(rows) < size:
                    self._spool.truncate_log()
            if locked:
                self._retry_due()

    def _retry_due(self) -> None:
        now = time.monotonic()
        for position in [position for position, retry in self._retries.items() if retry.until <= now]:
            if rows := self._spool.at(position):
                self._store(rows)
            else:
                del self._retries[position]

    def _store(self, rows: Sequence[Row]) -> None:
        """Stores rows and removes them from the spool. Raises DatabaseAway or PrivacyError: the rows stay spooled."""
        try:
            with self._database.begin() as connection:
                counts = self._write(connection, rows)
        except DatabaseBusy as error:
            if len(rows) > 1:
                self._batch_size = len(rows) // 2
            elif self._is_given_up(rows[0]):
                self._give_up(rows[0], error)
                return
            raise
        except (DatabaseAway, PrivacyError):
            raise
        except Exception as error:  # one bad row must not block the others
            logger.error("%d spooled rows cannot be stored", len(rows), exc_info=True)
            if len(rows) == 1:
                self._give_up(rows[0], error)
                return
            for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                self._store(half)
            return
        for user in {row.user_id for row in rows if row.user_id}:
            self._histories.invalidate(user)
        for outcome, count in counts.items():
            self._metrics.feedback.labels(outcome).inc(count)
        self._spool.remove(rows)
        self._stored_batches += 1
        for row in rows:
            self._retries.pop(row.position, None)

    def _is_given_up(self, row: Row) -> bool:
        """Whether a row that failed alone is out of attempts; otherwise starts its backoff."""
        previous = self._retries.get(row.position) or _Retry(0, 0.0, -1)
        tries = previous.tries + (self._stored_batches > previous.stored_batches)
        backoff = min(POLL_SECONDS * 2**tries, MAX_BACKOFF_SECONDS)
        self._retries[row.position] = _Retry(tries, time.monotonic() + backoff, self._stored_batches)
        return tries >= MAX_TRIES

    def _give_up(self, row: Row, error: Exception) -> None:
        """Quarantines a row; moves it to the dead letters if quarantine rejects it."""
        if row.reason is None:
            self._store([replace(row, reason=unstorable(error))])
            self._metrics.feedback.labels("rejected").inc()
        else:
            logger.error("a spooled row is now a dead letter: quarantine rejects it too (%s)", named(error))
            self._spool.mark_dead(row, f"{row.reason}; {unstorable(error)}")

    def _write(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        """Stores rows in Postgres. Returns the counts of accepted, duplicate and newly rejected events."""
        items = {row.values[Columns.ITEM] for row in rows if row.reason is None}
        admission = admit(connection, (row.user_id for row in rows), self._privacy, items)
        checked = [_checked(row, admission) for row in rows]
        events = spooled_events(checked)
        self._database.ensure_partitions(connection, [event.occurred_at for event in events])
        accepted = len(events) - len(append_events(connection, _attributed(connection, events)))
        rejected = [
            Rejected(position, dict(row.values), row.reason)
            for position, row in enumerate(checked)
            if row.reason is not None
        ]
        quarantine(connection, self._source, rejected)
        sound = sum(row.reason is None for row in rows)
        return {"accepted": accepted, "duplicate": len(events) - accepted, "rejected": sound - len(events)}


def _checked(row: Row, admission: Admission) -> Row:
    """The row with a reason if it must be rejected. For a refused user only the reason is kept."""
    if refusal := admission.refused.get(row.user_id or ""):
        return replace(row, values={}, reason=refusal)
    if row.reason is None and (item := row.values[Columns.ITEM]) not in admission.items:
        return replace(row, reason=f"unknown_item: {item!r} is not in the catalogue; load the item first")
    return row


def _attributed(connection: Connection, events: Sequence[EventRow]) -> list[EventRow]:
    """The events with version and variant of the response that they name, if its impression is stored."""
    served_by = read_serving_variants(connection, {event.request_id for event in events if event.request_id})
    served = (served_by.get((event.request_id or "", event.user_id)) for event in events)
    return [
        event.with_variant(shown.model_version, shown.variant) if shown else event
        for event, shown in zip(events, served, strict=True)
    ]
