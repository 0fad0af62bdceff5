"""What other writers change in Postgres, told at their commit (LISTEN), or found by looking again and again; see the
migrations 0006 and 0008."""

import logging
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from threading import Event, Thread
from typing import Protocol

import orjson
import psycopg
from sqlalchemy import Connection

from components.store.engine import GONE, ITEMS, USERS, VECTORS, check_alive, listen
from serving.storage.postgres import Database, DatabaseAway

logger = logging.getLogger(__name__)
CHECK_SECONDS = 1.0
"""Between two looks at whether the server is alive, and between two tries."""
STOP_SECONDS = 0.1
"""How long an end waits for the thread."""


class Poller:
    """Looks at once and then every few seconds. While Postgres is away, what was found stays in force."""

    def __init__(self, name: str, seconds: float, database: Database, poll: Callable[[Connection], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._database = database
        self._poll = poll
        self._stopped = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._poll_once()
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._poll_once()

    def _poll_once(self) -> None:
        try:
            with self._database.begin() as connection:
                self._poll(connection)
        except DatabaseAway as error:
            logger.warning("%s: as before, %s", self._name, error)


class ChangeSubscriber(Protocol):
    """What is kept in memory of Postgres. An id of None stands for all."""

    def users_changed(self, user_id: str | None) -> None:
        """A user's events or vectors are others now."""

    def users_removed(self, user_id: str | None) -> None:
        """A user was erased, or changed the consent: what is in memory must go."""

    def items_changed(self, *item_ids: str | None) -> None:
        """Items are others now, or gone."""

    def vectors_changed(self) -> None:
        """Items that came after the training have vectors now, or other ones."""

    def set_listening(self, listening: bool) -> None:
        """Whether changes are told from now on. When it becomes true, anything may have changed before."""


@dataclass
class ChangeListener:
    """One connection and one thread of its own. While it is not there, `memory.followed(False)` holds."""

    url: str
    subscriber: ChangeSubscriber
    own_pids: Container[int]
    """Server processes that write for this process, which knows of their users already."""

    def __post_init__(self) -> None:
        self._stopped = Event()
        self._attempted = Event()
        self._thread = Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        """Returns when changes are told, or cannot be now."""
        self._thread.start()
        self._attempted.wait()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (psycopg.Error, DatabaseAway) as error:
                logger.warning("changes by others are not told: %s", str(error).partition("\n")[0])
            except Exception:  # whatever went wrong with one look must not end the looking
                logger.exception("changes by others are not told")
            self._attempted.set()
            self.subscriber.set_listening(False)
            self._stopped.wait(CHECK_SECONDS)

    def _listen(self) -> None:
        with listen(self.url, (USERS, GONE, ITEMS, VECTORS), "duotempo changes") as connection:
            self.subscriber.set_listening(True)
            self._attempted.set()
            while not self._stopped.is_set():
                until = time.monotonic() + CHECK_SECONDS
                while not self._stopped.is_set() and (left := until - time.monotonic()) > 0:
                    for change in connection.notifies(timeout=min(left, STOP_SECONDS)):
                        self._dispatch(change)
                check_alive(connection)

    def _dispatch(self, change: psycopg.Notify) -> None:
        ids: list[str | None] = orjson.loads(change.payload) if change.payload else [None]
        if change.channel == ITEMS:
            self.subscriber.items_changed(*ids)
        elif change.channel == VECTORS:
            self.subscriber.vectors_changed()
        elif change.channel == GONE or change.pid not in self.own_pids:
            notify = self.subscriber.users_removed if change.channel == GONE else self.subscriber.users_changed
            for user_id in ids:
                notify(user_id)
