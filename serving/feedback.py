"""What users and shops tell the service, stored before it is answered."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from components.columns import Columns
from components.privacy import Privacy
from components.settings import EventSettings
from components.store.admission import Admission, admit
from components.store.clean import clean_events, clean_items
from components.store.history import Behaviour
from components.store.impressions import read_answerers
from components.store.load import append_events, quarantine, upsert_items
from components.store.normalize import clean_id
from components.store.rows import EventRow, Rejected
from components.store.variants import Part
from serving.catalogue import read_items
from serving.database import Database, DatabaseAway
from serving.errors import unavailable
from serving.impressions import Impressions
from serving.metrics import Metrics
from serving.requests import FeedbackRequest, ItemsRequest
from serving.spool import Spool, SpoolError
from serving.variants import Variants
from serving.waiting import spool_events, spool_rejected

FEEDBACK = "feedback"
CATALOGUE = "api"
logger = logging.getLogger(__name__)


class Intake:
    """Takes feedback and items in: cleaned by the rules of ingest, one transaction a batch, rejected rows kept."""

    def __init__(
        self,
        database: Database,
        settings: EventSettings,
        privacy: Privacy,
        metrics: Metrics,
        variants: Variants,
        impressions: Impressions,
        spool: Spool,
        write_seconds: float,
    ) -> None:
        self._database = database
        self._settings = settings
        self._privacy = privacy
        self._metrics = metrics
        self._variants = variants
        self._impressions = impressions
        self._spool = spool
        self._write_seconds = write_seconds

    def feedback(self, request: FeedbackRequest) -> dict[str, object]:
        """The answer of /feedback, after the commit, or once it is in the spool.

        Raises ApiError (503) when nothing was kept.
        """
        now = time.time()
        raw = [event.model_dump() for event in request.events]
        for row in raw:
            row[Columns.TIMESTAMP] = now if row[Columns.TIMESTAMP] is None else row[Columns.TIMESTAMP]
        items = {item for row in raw if (item := clean_id(row[Columns.ITEM])) and "\x00" not in item}
        try:
            with self._metrics.stage("store"), self._database.begin_if_there(self._write_seconds) as connection:
                admission = admit(connection, (row[Columns.USER] for row in raw), self._privacy)
                cleaned = clean_events(
                    raw,
                    source=FEEDBACK,
                    settings=self._settings,
                    known_items=read_items(connection, items),
                    now=datetime.fromtimestamp(now, UTC),
                    admission=admission,
                )
                rows = self._attributed(cleaned.rows, self._shown(connection, cleaned.rows))
                accepted = append_events(connection, rows)
                quarantine(connection, FEEDBACK, cleaned.rejected)
        except DatabaseAway as error:
            if not self._database.breaker.open:
                logger.warning("feedback goes to the spool: %s", error)
            return self._spooled(raw, items, now)
        self._tell_users(cleaned.rows, all_new=accepted == len(cleaned.rows))
        duplicates = cleaned.duplicates + len(cleaned.rows) - accepted
        return self._answer(accepted, duplicates, cleaned.rejected)

    def _spooled(self, raw: Sequence[Mapping[str, Any]], items: Collection[str], now: float) -> dict[str, object]:
        """Has the batch wait for Postgres, which alone knows the items and whom to refuse."""
        users = {user for row in raw if (user := clean_id(row[Columns.USER]))}
        cleaned = clean_events(
            raw,
            source=FEEDBACK,
            settings=self._settings,
            known_items=items,
            now=datetime.fromtimestamp(now, UTC),
            admission=Admission({user: self._privacy.pseudonym(user) for user in users}, {}),
        )
        for user in {row.user_id for row in cleaned.rows}:
            self._variants.users_changed(user)  # the commit may have been all that arrived
        shown = self._impressions.answerers({row.request_id for row in cleaned.rows if row.request_id})
        rows = self._attributed(cleaned.rows, shown)
        try:
            spooled = self._spool.add([*spool_events(rows), *spool_rejected(cleaned.rejected)])
        except SpoolError as error:
            logger.error("%s", error)
            raise unavailable(
                "database_away",
                "nothing was stored: Postgres is away, and the spool takes no more; send the same batch again",
            ) from error
        spooled -= len(cleaned.rejected)
        return self._answer(0, len(rows) + cleaned.duplicates - spooled, cleaned.rejected, spooled)

    def _answer(
        self, accepted: int, duplicates: int, rejected: Sequence[Rejected], spooled: int = 0
    ) -> dict[str, object]:
        counts = {"accepted": accepted, "duplicate": duplicates, "rejected": len(rejected), "spooled": spooled}
        for outcome, count in counts.items():
            self._metrics.feedback.labels(outcome).inc(count)
        return {"accepted": accepted, "duplicates": duplicates, "rejected": _told(rejected), "spooled": spooled}

    def _shown(self, connection: Connection, rows: Sequence[EventRow]) -> dict[tuple[str, str], Part]:
        named = {row.request_id for row in rows if row.request_id}
        shown = self._impressions.answerers(named)
        return shown | read_answerers(connection, named - {request for request, _ in shown})

    def _attributed(self, rows: Sequence[EventRow], shown: Mapping[tuple[str, str], Part]) -> list[EventRow]:
        """The rows with version and variant: of the user's answer that they name, else of who answers the user now."""
        by = (shown.get((row.request_id or "", row.user_id)) or self._variants.assigned(row.user_id) for row in rows)
        return [
            row._replace(model_version=part.model_version, variant=part.variant)
            for row, part in zip(rows, by, strict=True)
        ]

    def items(self, request: ItemsRequest) -> dict[str, object]:
        """The answer of /items: an item that is there already is replaced. Raises ApiError (503)."""
        cleaned = clean_items((item.model_dump() for item in request.items), source=CATALOGUE)
        try:
            with self._database.begin() as connection:
                upsert_items(connection, cleaned.rows)
                quarantine(connection, CATALOGUE, cleaned.rejected)
        except DatabaseAway as error:
            raise unavailable(
                "database_away", "no item was stored: Postgres is away; send the same batch again"
            ) from error
        self._tell_items(item.item_id for item in cleaned.rows)
        return {"accepted": len(cleaned.rows), "rejected": _told(cleaned.rejected)}

    def _tell_users(self, rows: Iterable[EventRow], *, all_new: bool) -> None:
        """Has what is in memory of their users follow: what Postgres tells of them is of this process, and ignored."""
        by_user: dict[str, list[Behaviour]] = {}
        for row in rows:
            behaviour = Behaviour(row.item_id, row.event, row.value, row.occurred_at.timestamp())
            by_user.setdefault(row.user_id, []).append(behaviour)
        for user, events in by_user.items():
            if all_new:
                self._variants.happened(user, events)
            else:
                self._variants.users_changed(user)

    def _tell_items(self, item_ids: Iterable[str]) -> None:
        try:
            self._variants.items_changed(*item_ids)
        except DatabaseAway as error:
            logger.warning("changed items are known once Postgres is back: %s", error)


def _told(rejected: Sequence[Rejected]) -> list[dict[str, object]]:
    return [{"index": one.index, "reason": one.reason} for one in rejected]
