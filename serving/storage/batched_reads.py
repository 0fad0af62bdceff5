"""What Postgres knows of the users who ask just now, read many at once."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from serving.storage.microbatch import MicroBatcher
from serving.storage.postgres import Database, DatabaseAway
from serving.telemetry.metrics import Metrics

MAX_USERS = 64
"""Users of one transaction."""
Result = TypeVar("Result")
Fallback = TypeVar("Fallback")
UserQuery = Callable[[Connection, Sequence[str]], Mapping[str, Result]]
"""What is asked of some users, none of them twice; the answer by user."""
_QueuedRead = tuple[UserQuery[Any], str]
logger = logging.getLogger(__name__)


class Reads:
    """seconds: how long somebody waits."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self.reader: MicroBatcher[_QueuedRead, Any] = MicroBatcher(
            "reads", self._read, size=lambda _: 1, max_size=MAX_USERS
        )

    @property
    def is_away(self) -> bool:
        """Whether Postgres is not asked now."""
        return self._database.breaker.open

    async def read(self, query: UserQuery[Result], user_id: str) -> Result:
        """Raises DatabaseAway after `seconds` at most; what was asked may go on, and keep what it finds."""
        if self.is_away:
            raise DatabaseAway("it did not answer in time")
        try:
            async with asyncio.timeout(self._seconds):
                answer: Result = await self.reader.submit((query, user_id))
                return answer
        except TimeoutError as error:
            self._database.breaker.failed()
            raise DatabaseAway(f"no answer within {self._seconds:g} s") from error

    def _read(self, queued: Sequence[_QueuedRead]) -> list[Any]:
        users: dict[UserQuery[Any], dict[str, None]] = {}
        for query, user_id in queued:
            users.setdefault(query, {})[user_id] = None
        try:
            with self._database.begin() as connection:
                results = {query: query(connection, list(ids)) for query, ids in users.items()}
        except DatabaseAway as error:
            return [error] * len(queued)
        return [results[query][user_id] for query, user_id in queued]


class Session:
    """Postgres during one request that can do without it."""

    def __init__(self, reads: Reads, metrics: Metrics) -> None:
        self._reads = reads
        self._metrics = metrics
        self.degraded = False

    async def read(self, cause: str, query: UserQuery[Result], user_id: str, fallback: Fallback) -> Result | Fallback:
        """The answer to `question`, or `otherwise` when Postgres is away, or slow."""
        try:
            return await self._reads.read(query, user_id)
        except DatabaseAway as error:
            self.degrade(cause, error)
            return fallback

    def degrade(self, cause: str, error: Exception) -> None:
        """Notes that the answer is made without something; the breaker tells the log of what lasts."""
        self.degraded = True
        self._metrics.degraded.labels(cause).inc()
        if not self._reads.is_away:
            logger.warning("degraded, %s: %s", cause, error)
