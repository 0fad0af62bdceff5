"""Postgres as the service sees it: there, or away."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from components.store.engine import StoreError, make_engine
from serving.metrics import Metrics

STATEMENT_TIMEOUT = "-c statement_timeout=2000"
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class DatabaseAway(Exception):
    """Postgres did not answer, or not in time."""


class Database:
    """Short transactions; a statement that takes longer than 2 s counts as away."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = make_engine(impatient(url))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block. Raises DatabaseAway."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError, PoolTimeout, StoreError) as error:
            raise DatabaseAway(str(error).splitlines()[0]) from error

    def close(self) -> None:
        self._engine.dispose()


def impatient(url: str) -> str:
    """The URL, with the time limit for statements among the server options that it may already have."""
    parsed = make_url(url)
    options = parsed.query.get("options", "")
    waiting = parsed.update_query_dict({"options": f"{options} {STATEMENT_TIMEOUT}".strip()})
    return waiting.render_as_string(hide_password=False)


class Session:
    """The database during one request that can do without it: away once, it is not asked again, and that shows."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self.degraded = False

    def ask(self, cause: str, question: Callable[[Connection], Result], otherwise: Result) -> Result:
        """The answer to `question` in a transaction of its own, or `otherwise` when Postgres is away."""
        if self.degraded:
            return otherwise
        try:
            with self._database.begin() as connection:
                return question(connection)
        except DatabaseAway as error:
            self.degraded = True
            self._metrics.degraded.labels(cause).inc()
            logger.warning("degraded, %s: %s", cause, error)
            return otherwise
