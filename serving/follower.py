"""Follows the table `variants`: a switch between versions that this Bento holds is one transaction on it."""

import logging
from threading import Event, Thread

from components.store.variants import read_parts
from serving.database import Database, DatabaseAway
from serving.variants import Variants

LOOK_SECONDS = 1.0
logger = logging.getLogger(__name__)


class Follower:
    """Looks at once and then every second. While Postgres is away, what was known stays in force."""

    def __init__(self, database: Database, variants: Variants) -> None:
        self._database = database
        self._variants = variants
        self._over = Event()
        self._thread = Thread(target=self._look_again, name="variants", daemon=True)

    def start(self) -> None:
        self._look()
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _look_again(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            with self._database.begin() as connection:
                found = read_parts(connection)
        except DatabaseAway as error:
            logger.warning("the variants stay as they are: %s", error)
            return
        self._variants.follow(found)
