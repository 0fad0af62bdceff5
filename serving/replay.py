"""The way back: what waits in the spool goes into Postgres, in the order it came, once each."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Thread

from sqlalchemy import Connection

from components.columns import Columns
from components.privacy import Privacy, PrivacyError
from components.store.admission import Admission, admit
from components.store.impressions import read_answerers
from components.store.load import append_events, quarantine
from components.store.rows import EventRow, Rejected
from serving.database import Database, DatabaseAway
from serving.metrics import Metrics
from serving.spool import Row, Spool, SpoolError
from serving.variants import Variants
from serving.waiting import waiting_events

SECONDS = 0.5
"""Between two looks at whether Postgres is back."""
PAUSE_SECONDS = 5.0
"""After what only a person can mend."""
MOST_AT_ONCE = 500
logger = logging.getLogger(__name__)


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
            while alone and not self._over.is_set() and (rows := self._spool.first(MOST_AT_ONCE)):
                self._store(rows)
                if len(rows) < MOST_AT_ONCE:
                    self._spool.tidy()

    def _store(self, rows: Sequence[Row]) -> None:
        """Raises DatabaseAway, PrivacyError: the rows then stay in the spool."""
        try:
            with self._database.begin() as connection:
                counts = self._write(connection, rows)
        except (DatabaseAway, PrivacyError):
            raise
        except Exception as error:  # whatever is wrong with one of them must not keep the others from it
            logger.exception("%d rows of the spool cannot be stored", len(rows))
            self._store_apart(rows, error)
            return
        for user in {row.user_id for row in rows if row.user_id}:
            self._variants.users_changed(user)
        for outcome, count in counts.items():
            self._metrics.feedback.labels(outcome).inc(count)
        self._spool.remove(rows)

    def _store_apart(self, rows: Sequence[Row], error: Exception) -> None:
        """Each row by itself; one that failed by itself goes to quarantine."""
        if len(rows) > 1:
            for row in rows:
                self._store([row])
        elif rows[0].reason is None:
            self._store([replace(rows[0], reason=f"unstorable: {type(error).__name__}")])
        else:
            raise error

    def _write(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        """How many events were new, and how many not; those that only Postgres could reject count as rejected."""
        items = {row.values[Columns.ITEM] for row in rows if row.reason is None}
        admission = admit(connection, (row.user_id for row in rows), self._privacy, items)
        judged = [_judged(row, admission) for row in rows]
        events = waiting_events(judged)
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
