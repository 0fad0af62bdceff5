"""What Postgres knows of the users who ask just now, read many at once."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from serving.storage.microbatch import MicroBatcher
from serving.storage.postgres import Database, DatabaseAway
from serving.telemetry.metrics import Metrics

MOST_AT_ONCE = 64
"""Users of one transaction."""
Result = TypeVar("Result")
Other = TypeVar("Other")
Question = Callable[[Connection, Sequence[str]], Mapping[str, Result]]
"""What is asked of some users, none of them twice; the answer by user."""
_Asked = tuple[Question[Any], str]
logger = logging.getLogger(__name__)


class Reads:
    """seconds: how long somebody waits."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self.reader: MicroBatcher[_Asked, Any] = MicroBatcher("reads", self._read, size=lambda _: 1, most=MOST_AT_ONCE)

    @property
    def away(self) -> bool:
        """Whether Postgres is not asked now."""
        return self._database.breaker.open

    async def ask(self, question: Question[Result], user_id: str) -> Result:
        """Raises DatabaseAway after `seconds` at most; what was asked may go on, and keep what it finds."""
        if self.away:
            raise DatabaseAway("it did not answer in time")
        try:
            async with asyncio.timeout(self._seconds):
                answer: Result = await self.reader.submit((question, user_id))
                return answer
        except TimeoutError as error:
            self._database.breaker.failed()
            raise DatabaseAway(f"no answer within {self._seconds:g} s") from error

    def _read(self, asked: Sequence[_Asked]) -> list[Any]:
        users: dict[Question[Any], dict[str, None]] = {}
        for question, user_id in asked:
            users.setdefault(question, {})[user_id] = None
        try:
            with self._database.begin() as connection:
                found = {question: question(connection, list(them)) for question, them in users.items()}
        except DatabaseAway as error:
            return [error] * len(asked)
        return [found[question][user_id] for question, user_id in asked]


class Session:
    """Postgres during one request that can do without it."""

    def __init__(self, reads: Reads, metrics: Metrics) -> None:
        self._reads = reads
        self._metrics = metrics
        self.degraded = False

    async def ask(self, cause: str, question: Question[Result], user_id: str, otherwise: Other) -> Result | Other:
        """The answer to `question`, or `otherwise` when Postgres is away, or slow."""
        try:
            return await self._reads.ask(question, user_id)
        except DatabaseAway as error:
            self.lacks(cause, error)
            return otherwise

    def lacks(self, cause: str, error: Exception) -> None:
        """Notes that the answer is made without something; the breaker tells the log of what lasts."""
        self.degraded = True
        self._metrics.degraded.labels(cause).inc()
        if not self._reads.away:
            logger.warning("degraded, %s: %s", cause, error)
