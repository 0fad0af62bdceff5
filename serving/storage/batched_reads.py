"""Batched reads: the users of concurrent requests are read from Postgres in one transaction."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from serving.storage.microbatch import MicroBatcher
from serving.storage.postgres import Database, DatabaseAway
from serving.telemetry.metrics import Metrics

MAX_USERS = 64
"""Users per transaction."""
Result = TypeVar("Result")
Fallback = TypeVar("Fallback")
UserQuery = Callable[[Connection, Sequence[str]], Mapping[str, Result]]
"""Reads the given distinct users; the results by user id."""
_QueuedRead = tuple[UserQuery[Any], str]
logger = logging.getLogger(__name__)


class BatchedReads:
    """Reads with a timeout and a circuit breaker.

    Args:
        seconds: How long a request waits for its read.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self.reader: MicroBatcher[_QueuedRead, Any] = MicroBatcher(
            "reads", self._read, size=lambda _: 1, max_size=MAX_USERS
        )

    @property
    def is_away(self) -> bool:
        """Whether the circuit breaker is open: Postgres is not read from."""
        return self._database.breaker.open

    async def read(self, query: UserQuery[Result], user_id: str) -> Result:
        """The user's result. Raises DatabaseAway after `seconds`; the query may still complete and cache its result."""
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


class RequestReads:
    """The reads of one request, which degrades without Postgres instead of failing."""

    def __init__(self, reads: BatchedReads, metrics: Metrics) -> None:
        self._reads = reads
        self._metrics = metrics
        self.degraded = False

    async def read(self, cause: str, query: UserQuery[Result], user_id: str, fallback: Fallback) -> Result | Fallback:
        """The result of `query`, or `fallback` when Postgres is away or slow.

        Args:
            cause: Label of the metric of degraded responses.
        """
        try:
            return await self._reads.read(query, user_id)
        except DatabaseAway as error:
            self.degrade(cause, error)
            return fallback

    def degrade(self, cause: str, error: Exception) -> None:
        """Marks the response as degraded. Logged here only while the breaker is closed; the breaker logs outages."""
        self.degraded = True
        self._metrics.degraded.labels(cause).inc()
        if not self._reads.is_away:
            logger.warning("degraded, %s: %s", cause, error)
