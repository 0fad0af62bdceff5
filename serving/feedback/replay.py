"""The way back: what waits in the spool goes into Postgres, in the order it came, once each.

A row that Postgres refuses is found by halves and goes to quarantine; one that it refuses there too becomes a dead
letter. What it could not do for now is tried again with fewer rows, and a row that fails alone comes back later: it is
given up only after several tries between which others came through, so that a server in trouble costs no row.
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
from components.store.faults import named, unstorable
from components.store.impressions import read_answerers
from components.store.load import append_events, quarantine
from components.store.privacy import Privacy, PrivacyError
from components.store.rows import EventRow, Rejected
from serving.recommend.variants import Variants
from serving.storage.postgres import Database, DatabaseAway, DatabaseUnable
from serving.storage.spool import Row, Spool, SpoolError, waiting_events
from serving.telemetry.metrics import Metrics

SECONDS = 0.5
"""Between two looks at whether Postgres is back."""
PAUSE_SECONDS = 5.0
"""After what only a person can fix."""
MOST_AT_ONCE = 500
MOST_TRIES = 6
"""Of a row alone, while others come through."""
LONGEST_REST = 10.0
"""Seconds between two of them."""
logger = logging.getLogger(__name__)


class _Late(NamedTuple):
    """A row that Postgres was unable to store alone: how often, until when it rests (time.monotonic()), and how many
    batches had come through then."""

    tries: int
    until: float
    stored: int


class Replay:
    """One thread of its own. A batch leaves the spool after its commit only; one that comes twice is harmless."""

    def __init__(
        self, spool: Spool, database: Database, privacy: Privacy, metrics: Metrics, variants: Variants, source: str
    ) -> None:
        self._spool = spool
        self._database = database
        self._privacy = privacy
        self._metrics = metrics
        self._variants = variants
        self._source = source
        self._most = MOST_AT_ONCE
        self._late: dict[int, _Late] = {}
        self._stored = 0
        self._over = Event()
        self._thread = Thread(target=self._run, name="replay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        pause = SECONDS
        while not self._over.wait(pause):
            pause = SECONDS
            try:
                self._replay()
            except DatabaseAway as error:
                logger.info("the spool waits: %s", error)
            except (SpoolError, PrivacyError) as error:
                logger.error("the spool waits: %s", error)
                pause = PAUSE_SECONDS
            except Exception:  # whatever went wrong with one try must not end the trying
                logger.exception("the spool waits")
                pause = PAUSE_SECONDS

    def _replay(self) -> None:
        with self._spool.alone() as alone:
            while alone and not self._over.is_set() and (rows := self._spool.first(self._most, self._late)):
                asked = self._most
                self._store(rows)
                self._most = min(2 * asked, MOST_AT_ONCE)
                if len(rows) < asked:
                    self._spool.tidy()
            if alone:
                self._try_late()

    def _try_late(self) -> None:
        now = time.monotonic()
        for place in [place for place, late in self._late.items() if late.until <= now]:
            if rows := self._spool.at(place):
                self._store(rows)
            else:
                del self._late[place]

    def _store(self, rows: Sequence[Row]) -> None:
        """Raises DatabaseAway, PrivacyError: the rows then stay in the spool."""
        try:
            with self._database.begin() as connection:
                counts = self._write(connection, rows)
        except DatabaseUnable as error:
            if len(rows) > 1:
                self._most = len(rows) // 2
            elif self._is_given_up(rows[0]):
                self._give_up(rows[0], error)
                return
            raise
        except (DatabaseAway, PrivacyError):
            raise
        except Exception as error:  # whatever is wrong with one of them must not keep the others from it
            logger.error("%d rows of the spool cannot be stored", len(rows), exc_info=True)
            if len(rows) == 1:
                self._give_up(rows[0], error)
                return
            for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                self._store(half)
            return
        for user in {row.user_id for row in rows if row.user_id}:
            self._variants.users_changed(user)
        for outcome, count in counts.items():
            self._metrics.feedback.labels(outcome).inc(count)
        self._spool.remove(rows)
        self._stored += 1
        for row in rows:
            self._late.pop(row.place, None)

    def _is_given_up(self, row: Row) -> bool:
        """Whether a row that failed alone has had its tries; else it rests."""
        before = self._late.get(row.place) or _Late(0, 0.0, -1)
        tries = before.tries + (self._stored > before.stored)
        rest = min(SECONDS * 2**tries, LONGEST_REST)
        self._late[row.place] = _Late(tries, time.monotonic() + rest, self._stored)
        return tries >= MOST_TRIES

    def _give_up(self, row: Row, error: Exception) -> None:
        """Into quarantine, and what cannot be kept there becomes a dead letter."""
        if row.reason is None:
            self._store([replace(row, reason=unstorable(error))])
            self._metrics.feedback.labels("rejected").inc()
        else:
            logger.error("a row of the spool is a dead letter: not even quarantine takes it (%s)", named(error))
            self._spool.bury(row, f"{row.reason}; {unstorable(error)}")

    def _write(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        """How many events were new, and how many not; those that only Postgres could reject count as rejected."""
        items = {row.values[Columns.ITEM] for row in rows if row.reason is None}
        admission = admit(connection, (row.user_id for row in rows), self._privacy, items)
        judged = [_judged(row, admission) for row in rows]
        events = waiting_events(judged)
        self._database.ensure_partitions(connection, [one.occurred_at for one in events])
        accepted = len(events) - len(append_events(connection, _attributed(connection, events)))
        rejected = [
            Rejected(place, dict(row.values), row.reason) for place, row in enumerate(judged) if row.reason is not None
        ]
        quarantine(connection, self._source, rejected)
        sound = sum(row.reason is None for row in rows)
        return {"accepted": accepted, "duplicate": len(events) - accepted, "rejected": sound - len(events)}


def _judged(row: Row, admission: Admission) -> Row:
    """The row with a reason, if Postgres knows one. Of a refused user the reason alone is kept."""
    if refusal := admission.refused.get(row.user_id or ""):
        return replace(row, values={}, reason=refusal)
    if row.reason is None and (item := row.values[Columns.ITEM]) not in admission.items:
        return replace(row, reason=f"unknown_item: {item!r} is not in the catalogue; load the item first")
    return row


def _attributed(connection: Connection, events: Sequence[EventRow]) -> list[EventRow]:
    """The events with version and variant of the user's answer that they name, where it is known by now."""
    shown = read_answerers(connection, {one.request_id for one in events if one.request_id})
    parts = (shown.get((one.request_id or "", one.user_id)) for one in events)
    return [
        one.shown_by(part.model_version, part.variant) if part else one for one, part in zip(events, parts, strict=True)
    ]
