"""The users who were there lately, read before they ask."""

import logging
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from components.histories.signals import RECENT_SECONDS
from components.store.history import read_users_since
from serving.process import garbage
from serving.recommend.variants import Variants
from serving.storage.postgres import Database, DatabaseAway

MOST = 10_000
"""Users, those who were there last first."""
AT_ONCE, PAUSE_SECONDS = 50, 0.02
"""Users of one transaction, and the time for others between two."""
logger = logging.getLogger(__name__)


class CacheWarmer:
    """One thread of its own, which begins anew when changes of users are told again."""

    def __init__(self, database: Database, variants: Variants) -> None:
        self._database = database
        self._variants = variants
        self._over = Event()
        self._thread = Thread(target=self._run, name="ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._variants.followed_anew.set()
        self._thread.join()

    def _run(self) -> None:
        while self._variants.followed_anew.wait() and not self._over.is_set():
            self._variants.followed_anew.clear()
            try:
                self._read()
            except DatabaseAway as error:
                logger.warning("users are read when they ask: %s", error)

    def _read(self) -> None:
        since = datetime.now(UTC) - timedelta(seconds=RECENT_SECONDS)
        with self._database.begin() as connection:
            users = read_users_since(connection, since, MOST)
        for start in range(0, len(users), AT_ONCE):
            if self._over.wait(PAUSE_SECONDS):
                return
            with self._database.begin() as connection:
                self._variants.read(connection, users[start : start + AT_ONCE])
        garbage.freeze()
