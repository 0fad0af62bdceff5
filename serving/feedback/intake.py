"""Intake of feedback and catalogue items: stored before the response is sent."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from components.core.columns import Columns
from components.core.ids import clean_id
from components.ingestion.admission import Admission, cleaned_ids
from components.ingestion.clean import Cleaned, clean_events, clean_items
from components.ingestion.item_columns import merge_with_stored
from components.settings import EventSettings
from components.store.consent import claim_key
from components.store.db_errors import named, rejected_row
from components.store.impressions import read_serving_variants
from components.store.load import InsertResult, insert_admitted, quarantine, quarantine_all, upsert_valid_items
from components.store.partitions import missing_months, month_of
from components.store.privacy import Privacy
from components.store.rows import EventRow, Rejected
from components.store.variants import ServingVariant
from serving.contract.errors import unavailable
from serving.contract.requests import CatalogueItem, FeedbackRequest, ItemsRequest
from serving.recommend.variants import Variants
from serving.storage.impressions import Impressions
from serving.storage.microbatch import MicroBatcher
from serving.storage.postgres import Database, DatabaseAway
from serving.storage.spool import Spool, SpoolError, spool_events, spool_rejected
from serving.telemetry.metrics import Metrics

FEEDBACK = "feedback"
CATALOGUE = "api"
BATCH_SIZE = 2000
"""Events per transaction; a single larger request is not split."""
SECOND_WORKER_AT = 100
"""Queue length, in events, at which a second worker starts, so that cleaning overlaps committing."""
MIN_INTERVAL = 0.02
"""Seconds between two transactions of fewer events: how long feedback may wait to be batched."""
MAX_NEW_MONTHS = 12
"""New monthly partitions that a request may create; a bulk load may create any number."""
MAX_QUARANTINED = 100
"""Rejected rows per request that are kept in quarantine."""
OUTCOMES = ("accepted", "duplicate", "rejected", "spooled")
Answer = dict[str, object]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Batch:
    """The feedback of one request.

    Attributes:
        raw: The events, each with a timestamp.
        now: Time of arrival, epoch seconds.
        due: Deadline for storing it, by time.monotonic().
    """

    raw: Sequence[Mapping[str, Any]]
    now: float
    due: float

    @property
    def items(self) -> set[str]:
        """Item ids that can be looked up in Postgres (no NUL bytes)."""
        return {item for row in self.raw if (item := clean_id(row[Columns.ITEM])) and "\x00" not in item}


class _TooManyMonths(Exception):
    """A request needs too many new partitions.

    Attributes:
        closed: Per request, the months that its events must not have.
    """

    def __init__(self, closed: Sequence[Set[datetime]]) -> None:
        super().__init__()
        self.closed = closed


class Intake:
    """Stores feedback and items, cleaned by the rules of ingestion; rejected rows go to quarantine.

    Feedback is micro-batched: concurrent requests share a transaction and are answered after its commit.
    """

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
        self._key_claimed = not privacy.pseudonyms
        # tombstones exist only in a store that has a privacy key
        self._check_tombstones = privacy.pseudonyms
        self._counted = {outcome: metrics.feedback.labels(outcome) for outcome in OUTCOMES}
        self.writer: MicroBatcher[_Batch, Answer] = MicroBatcher(
            FEEDBACK,
            self._write,
            size=lambda batch: len(batch.raw),
            max_size=BATCH_SIZE,
            second_worker_at=SECOND_WORKER_AT,
            min_interval=MIN_INTERVAL,
        )

    async def feedback(self, request: FeedbackRequest) -> Answer:
        """The response of /feedback, after the commit, or once the events are spooled.

        Raises:
            ApiError: 503, nothing was stored.
            PrivacyError: The privacy key is missing or wrong.
        """
        now = time.time()
        raw = [event if event.get("timestamp") is not None else {**event, "timestamp": now} for event in request.events]
        return await self.writer.submit(_Batch(raw, now, time.monotonic() + self._write_seconds))

    def _write(self, batches: Sequence[_Batch]) -> list[Answer | Exception]:
        """Stores a batch of requests in one transaction.

        Returns:
            The response or the error of each request.

        Raises:
            DBAPIError: Postgres rejects a row of the batch; the requests are then retried one by one.
        """
        users, earlier = cleaned_ids(self._privacy, (row[Columns.USER] for batch in batches for row in batch.raw))
        admission = Admission(self._names(users), {}, {item for batch in batches for item in batch.items})
        closed: Sequence[Set[datetime]] = [frozenset()] * len(batches)
        try:
            while True:  # optimistic: repeat with the users and items that Postgres rejected
                cleaned = [self._cleaned(*part, admission) for part in zip(batches, closed, strict=True)]
                new = _deduplicated(cleaned)
                queried = {admission.names.get(user, user) for user in users} - admission.refused.keys()
                queried |= {name for name, user in earlier.items() if user not in admission.refused}
                with self._variants.histories.writing({row.user_id for row in new.values()}):
                    try:
                        result = self._insert(queried, cleaned, list(new.values()), _seconds_left(batches))
                    except _TooManyMonths as too_many:
                        closed = too_many.closed
                        continue
                    if result.stored:
                        for event_id in result.duplicates:
                            del new[event_id]
                        self._variants.histories.events_stored(new.values())
                        break
                refused = {earlier.get(name, name): reason for name, reason in result.refused.items()}
                admission = admission.without(refused, result.unknown_items)
        except DatabaseAway as error:
            if not self._database.breaker.open:
                logger.warning("feedback is spooled: %s", error)
            return [self._spool_batch(batch) for batch in batches]
        except (DBAPIError, ValueError) as error:  # a row is unstorable: the replay will isolate it
            if len(batches) > 1:
                raise
            logger.warning("feedback is spooled, to be stored row by row: %s", named(error))
            return [self._spool_batch(batch) for batch in batches]
        if len(new) == sum(len(part.rows) for part in cleaned):
            return [self._answer(len(part.rows), part) for part in cleaned]
        for user in {row.user_id for part in cleaned for row in part.rows if row.event_id in result.duplicates}:
            self._variants.users_changed(user)
        return [self._answer(sum(new.get(row.event_id) is row for row in part.rows), part) for part in cleaned]

    def _insert(
        self, users: Collection[str], cleaned: Sequence[Cleaned[EventRow]], rows: Sequence[EventRow], seconds: float
    ) -> InsertResult:
        """Stores the events in one statement; rejected rows are quarantined in the same transaction.

        Raises:
            DatabaseAway: The events must be spooled.
            _TooManyMonths: A request needs too many new partitions.
        """
        if self._database.breaker.open:
            raise DatabaseAway("it did not answer in time")
        rejected = [row for part in cleaned for row in part.rejected[:MAX_QUARANTINED]]
        with self._metrics.stage("store"):
            if not self._key_claimed:
                with self._database.begin(seconds) as connection:
                    claim_key(connection, self._privacy)
                self._key_claimed = True
            with (self._database.begin if rejected else self._database.autocommit)(seconds) as connection:
                self._make_months(connection, cleaned)
                attributed = self._attributed(rows, self._served_by(connection, rows))
                result = insert_admitted(
                    connection, self._privacy, users, attributed, check_tombstones=self._check_tombstones
                )
                if result.stored:
                    quarantine(connection, FEEDBACK, rejected)
        self._check_tombstones |= result.tombstones_exist
        return result

    def _make_months(self, connection: Connection, cleaned: Sequence[Cleaned[EventRow]]) -> None:
        """Creates missing partitions. Raises _TooManyMonths if a request needs too many."""
        times = [row.occurred_at for part in cleaned for row in part.rows]
        if not (missing := missing_months(connection, times)):
            return
        needed = [missing & {month_of(row.occurred_at) for row in part.rows} for part in cleaned]
        closed = [months if len(months) > MAX_NEW_MONTHS else frozenset() for months in needed]
        if any(closed):
            raise _TooManyMonths(closed)
        self._database.ensure_partitions(connection, times)

    def _names(self, users: Iterable[str]) -> dict[str, str]:
        return {user: self._privacy.pseudonym(user) for user in users} if self._privacy.pseudonyms else {}

    def _cleaned(self, batch: _Batch, closed: Set[datetime], admission: Admission) -> Cleaned[EventRow]:
        return clean_events(
            batch.raw,
            source=FEEDBACK,
            settings=self._settings,
            known_items=admission.items,
            now=datetime.fromtimestamp(batch.now, UTC),
            admission=admission,
            closed=closed,
        )

    def _spool_batch(self, batch: _Batch) -> Answer | Exception:
        """Spools the feedback of a request. Items and consent are checked at replay, as they need Postgres."""
        users = {user for row in batch.raw if (user := clean_id(row[Columns.USER]))}
        cleaned = self._cleaned(batch, frozenset(), Admission(self._names(users), {}, batch.items))
        kept = cleaned.rejected[:MAX_QUARANTINED]
        served_by = self._impressions.served_by({row.request_id for row in cleaned.rows if row.request_id})
        rows = self._attributed(cleaned.rows, served_by)
        try:
            spooled = self._spool.add([*spool_events(rows), *spool_rejected(kept)])
        except SpoolError as error:
            logger.error("%s", error)
            refusal = unavailable(
                "database_away",
                "nothing was stored: Postgres is away and the spool takes no more; send the same batch again",
            )
            refusal.__cause__ = error
            return refusal
        self._variants.histories.events_spooled(rows)
        return self._answer(0, cleaned, spooled - len(kept))

    def _answer(self, accepted: int, cleaned: Cleaned[EventRow], spooled: int = 0) -> Answer:
        duplicates = cleaned.duplicates + len(cleaned.rows) - accepted - spooled
        rejected = len(cleaned.rejected)
        counts = {"accepted": accepted, "duplicate": duplicates, "rejected": rejected, "spooled": spooled}
        for outcome, count in counts.items():
            self._counted[outcome].inc(count)
        return {
            "accepted": accepted,
            "duplicates": duplicates,
            "rejected": _rejections(cleaned.rejected),
            "spooled": spooled,
            "dropped": max(0, rejected - MAX_QUARANTINED),
        }

    def _served_by(self, connection: Connection, rows: Sequence[EventRow]) -> dict[tuple[str, str], ServingVariant]:
        request_ids = {row.request_id for row in rows if row.request_id}
        served_by = self._impressions.served_by(request_ids)
        return served_by | read_serving_variants(connection, request_ids - {request for request, _ in served_by})

    def _attributed(
        self, rows: Sequence[EventRow], served_by: Mapping[tuple[str, str], ServingVariant]
    ) -> list[EventRow]:
        """The rows with version and variant: of the response that they name, else of the user's current variant."""
        now = self._variants.assigned
        by = ((row.request_id and served_by.get((row.request_id, row.user_id))) or now(row.user_id) for row in rows)
        return [row.with_variant(shown.model_version, shown.variant) for row, shown in zip(rows, by, strict=True)]

    def items(self, request: ItemsRequest) -> dict[str, object]:
        """The response of /items; of existing items only the given fields change. Raises ApiError (503)."""
        cleaned = clean_items((item.model_dump(exclude_unset=True) for item in request.items), source=CATALOGUE)
        invalid = {entry.index for entry in cleaned.rejected}
        places = [place for place in range(len(request.items)) if place not in invalid]
        place_of = {row.item_id: place for row, place in zip(cleaned.rows, places, strict=True)}
        given = [_given_columns(request.items[place]) for place in places]
        try:
            with self._database.begin() as connection:
                merged = merge_with_stored(connection, cleaned.rows, given)
                _, _, unstorable = upsert_valid_items(connection, merged.rows)
                refused = [replace(entry, index=places[entry.index]) for entry in merged.refused]
                refused += [rejected_row(row, error, place_of[row.item_id]) for row, error in unstorable]
                rejected = [*cleaned.rejected, *refused]
                quarantine_all(connection, CATALOGUE, rejected[:MAX_QUARANTINED])
        except DatabaseAway as error:
            raise unavailable(
                "database_away", "no item was stored: Postgres is away; send the same batch again"
            ) from error
        self._refresh_items(item.item_id for item in cleaned.rows)
        return {
            "accepted": len(cleaned.rows) - len(refused),
            "rejected": _rejections(rejected),
            "dropped": max(0, len(rejected) - MAX_QUARANTINED),
        }

    def _refresh_items(self, item_ids: Iterable[str]) -> None:
        try:
            self._variants.items_changed(*item_ids)
        except DatabaseAway as error:
            logger.warning("changed items are refreshed once Postgres is back: %s", error)


def _deduplicated(cleaned: Sequence[Cleaned[EventRow]]) -> dict[str, EventRow]:
    """The events by event_id; of duplicates the first."""
    events: dict[str, EventRow] = {}
    for part in cleaned:
        for row in part.rows:
            events.setdefault(row.event_id, row)
    return events


def _seconds_left(batches: Sequence[_Batch]) -> float:
    """Seconds until the earliest deadline. Raises DatabaseAway if it has passed."""
    seconds = min(batch.due for batch in batches) - time.monotonic()
    if seconds <= 0:
        raise DatabaseAway("the queue is past its deadline")
    return seconds


def _given_columns(item: CatalogueItem) -> Set[str]:
    """The columns of an item that change; `attributes` only if they are removed, see `with_stored_columns`."""
    return item.model_fields_set if not item.attributes else item.model_fields_set - {Columns.ATTRIBUTES}


def _rejections(rejected: Sequence[Rejected]) -> list[dict[str, object]]:
    return [{"index": row.index, "reason": row.reason} for row in rejected]
