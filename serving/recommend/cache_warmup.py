"""Cache warm-up: loads recently active users into the user cache before their next request."""

import logging
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from components.histories.signals import RECENT_SECONDS
from components.store.history import read_active_users
from serving.process import garbage
from serving.recommend.histories import Histories
from serving.storage.postgres import Database, DatabaseAway

MAX_USERS = 10_000
"""Users loaded at most, the most recently active first."""
BATCH_SIZE, PAUSE_SECONDS = 50, 0.02
"""Users per transaction, and the pause between transactions, which leaves Postgres to requests."""
logger = logging.getLogger(__name__)


class CacheWarmer:
    """A thread that warms the cache on startup and whenever the change listener has reconnected."""

    def __init__(self, database: Database, histories: Histories) -> None:
        self._database = database
        self._histories = histories
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="cache-warmup", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._histories.listening_started.set()
        self._thread.join()

    def _run(self) -> None:
        while self._histories.listening_started.wait() and not self._stopped.is_set():
            self._histories.listening_started.clear()
            try:
                self._warm_up()
            except DatabaseAway as error:
                logger.warning("cache warm-up stopped, users are read on request: %s", error)

    def _warm_up(self) -> None:
        since = datetime.now(UTC) - timedelta(seconds=RECENT_SECONDS)
        with self._database.begin() as connection:
            users = read_active_users(connection, since, MAX_USERS)
        for start in range(0, len(users), BATCH_SIZE):
            if self._stopped.wait(PAUSE_SECONDS):
                return
            with self._database.begin() as connection:
                self._histories.warm_up(connection, users[start : start + BATCH_SIZE])
        garbage.freeze()
