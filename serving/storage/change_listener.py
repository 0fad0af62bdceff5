"""Changes by other writers: notified at their commit (LISTEN/NOTIFY), or polled."""

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
"""Interval of the liveness checks of the server, and of reconnects."""
STOP_SECONDS = 0.1
"""How long `close` waits for the thread at most, as the timeout of each wait for notifications."""


class Poller:
    """Calls `poll` at start and then periodically. While Postgres is away, the last state stays in force."""

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
            logger.warning("%s: not refreshed, %s", self._name, error)


class ChangeSubscriber(Protocol):
    """In-memory state that follows changes in Postgres. An id of None stands for all."""

    def users_changed(self, user_id: str | None) -> None:
        """A user's events or vectors have changed."""

    def users_removed(self, user_id: str | None) -> None:
        """A user was erased or changed consent: their data must be removed from memory."""

    def items_changed(self, *item_ids: str | None) -> None:
        """Items have changed or were deleted."""

    def vectors_changed(self) -> None:
        """Vectors of new items were added or have changed."""

    def set_listening(self, listening: bool) -> None:
        """Whether changes are notified from now on. When set, any earlier changes may have been missed."""


@dataclass
class ChangeListener:
    """A LISTEN connection with a thread of its own; it reconnects by itself.

    Attributes:
        own_pids: Postgres backends of this process; their user changes are known already and ignored.
    """

    url: str
    subscriber: ChangeSubscriber
    own_pids: Container[int]

    def __post_init__(self) -> None:
        self._stopped = Event()
        self._attempted = Event()
        self._thread = Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        """Starts the thread; returns after the first attempt to connect."""
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
                logger.warning("changes by other writers are not received: %s", str(error).partition("\n")[0])
            except Exception:  # no error may end the thread
                logger.exception("changes by other writers are not received")
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
