"""The histories of users, cached once for all versions of the process."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event

from sqlalchemy import Connection

from components.ranking.filters import Exclusion
from components.settings import EventSettings, Settings
from components.store.consent import refused
from components.store.privacy import Privacy
from components.store.rows import EventRow
from serving.recommend.recent_feedback import RecentFeedback
from serving.recommend.user_cache import UserCache
from serving.recommend.user_history import (
    EMPTY_HISTORY,
    REFUSED,
    BundleView,
    HistoryReader,
    ItemNumbers,
    UserHistory,
)
from serving.storage.batched_reads import RequestReads
from serving.storage.spool import Spool, SpoolError, spooled_events
from serving.telemetry.metrics import Metrics


class Histories:
    """Answers with a user's history from memory, or reads it from Postgres. Thread-safe."""

    def __init__(self, settings: Settings, spool: Spool, metrics: Metrics) -> None:
        self._metrics = metrics
        self._privacy = Privacy(settings)
        self._spool = spool
        self._recent_feedback = RecentFeedback()
        self._numbers = ItemNumbers()
        exclusion = Exclusion.of(settings.ranking, settings.events)
        self._reader = HistoryReader(self._numbers, set(), settings.ranking.history, exclusion)
        self._cache: UserCache[UserHistory, EventRow] = UserCache()
        self.listening_started = Event()
        """Set when the change listener has connected: the cached histories are outdated then."""

    def __len__(self) -> int:
        """Number of users whose cached history is current."""
        return len(self._cache)

    @property
    def listening(self) -> bool:
        """Whether changes by others are notified."""
        return self._cache.listening

    def view(self, rows: Mapping[str, int], encoder: str, settings: EventSettings) -> BundleView:
        """How a version reads the histories. Called before the first read, as its encoder's vectors are read too.

        Args:
            rows: Row of its bundle by item id.
            settings: As in its training.
        """
        self._reader.encoders.add(encoder)
        return BundleView(rows, self._numbers, encoder, settings)

    async def of(self, reads: RequestReads, user_id: str) -> UserHistory:
        """The user's history with spooled events; the last cached one when Postgres is away."""
        spooled = self._spooled(reads, user_id)  # before Postgres: an event replayed in between is then not missed
        stored = self._cached(user_id)
        if stored is None:
            last_known = self._cache.last_known(user_id, self._reader.with_events) or EMPTY_HISTORY
            with self._metrics.stage("history"):
                stored = await reads.read("history", self._read, user_id, None)
            if stored is None:
                stored = self._reader.with_spooled(last_known, self._recent_feedback.of(user_id))
        return self._reader.with_spooled(stored, spooled)

    def warm_up(self, connection: Connection, user_ids: Sequence[str]) -> None:
        """Loads the users into the cache that are absent or outdated."""
        self._read(connection, [user for user in user_ids if self._cached(user) is None])

    def writing(self, user_ids: Collection[str]) -> AbstractContextManager[None]:
        """Context from before the commit of these users' events until `events_stored` has been called."""
        return self._cache.writing(user_ids)

    def events_stored(self, rows: Collection[EventRow]) -> None:
        """Adds newly stored events; the listener ignores the notifications of this process."""
        self._recent_feedback.add(rows)
        self._cache.add_events(_by_user(rows))

    def events_spooled(self, rows: Collection[EventRow]) -> None:
        """Adds spooled events. Postgres may contain them: the commit may have succeeded without a reply."""
        self._recent_feedback.add(rows)
        for user_id in {row.user_id for row in rows}:
            self.invalidate(user_id)

    def invalidate(self, user_id: str | None) -> None:
        """Marks a user, or with None all users, as outdated."""
        self._cache.invalidate(user_id)

    def remove(self, user_id: str | None) -> None:
        """Removes a user from memory, or with None all users."""
        self._recent_feedback.remove(user_id)
        self._cache.remove(user_id)

    def set_listening(self, listening: bool) -> None:
        """Sets whether the change listener is connected."""
        self._cache.set_listening(listening)
        if listening:
            self.listening_started.set()

    def _cached(self, user_id: str) -> UserHistory | None:
        return self._cache.get(user_id, self._reader.with_events)

    def _spooled(self, reads: RequestReads, user_id: str) -> list[EventRow]:
        try:
            return spooled_events(self._spool.pending(user_id))
        except SpoolError as error:
            reads.degrade("spool", error)
            return []

    def _read(self, connection: Connection, user_ids: Sequence[str]) -> Mapping[str, UserHistory]:
        return self._cache.read(user_ids, lambda: self._read_histories(connection, user_ids))

    def _read_histories(self, connection: Connection, user_ids: Sequence[str]) -> dict[str, UserHistory]:
        out = dict.fromkeys(refused(connection, self._privacy, user_ids), REFUSED)
        return out | self._reader.read(connection, [user for user in user_ids if user not in out])


def _by_user(rows: Iterable[EventRow]) -> dict[str, list[EventRow]]:
    """The events by user, without their texts, which are not kept in memory."""
    events: dict[str, list[EventRow]] = {}
    for row in rows:
        events.setdefault(row.user_id, []).append(row if row.text is None else row._replace(text=None))
    return events
