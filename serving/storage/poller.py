"""Looks at Postgres again and again, beside the requests: what it finds there is then in force."""

import logging
from collections.abc import Callable
from threading import Event, Thread

from sqlalchemy import Connection

from serving.storage.postgres import Database, DatabaseAway

logger = logging.getLogger(__name__)


class Poller:
    """Looks at once and then every few seconds. While Postgres is away, what was found stays in force."""

    def __init__(self, name: str, seconds: float, database: Database, look: Callable[[Connection], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._database = database
        self._ask = look
        self._over = Event()
        self._thread = Thread(target=self._look_again, name=name, daemon=True)

    def start(self) -> None:
        self._look()
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _look_again(self) -> None:
        while not self._over.wait(self._seconds):
            self._look()

    def _look(self) -> None:
        try:
            with self._database.begin() as connection:
                self._ask(connection)
        except DatabaseAway as error:
            logger.warning("%s: as before, %s", self._name, error)
