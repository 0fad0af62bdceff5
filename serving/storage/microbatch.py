"""Many requests, one transaction: what comes while one is under way gathers, and shares the next."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
Asked = TypeVar("Asked")
Told = TypeVar("Told")


@dataclass(frozen=True)
class _Waiting(Generic[Asked, Told]):
    asked: Asked
    answer: asyncio.Future[Told]
    context: Context


class MicroBatcher(Generic[Asked, Told]):
    """One thread of its own works for all who ask, from any event loop.

    work: does what a group asked, and gives the answer, or what went wrong, of each. Where it raises, it is done for
    each of the group alone, so that what is wrong with one costs the others nothing. A group has `most` of `size`
    together, or one who asks for more. helped_from: while so much waits a second thread works too. apart: seconds
    between the starts of two groups of the first thread, unless so much waits: a group costs about the same, however
    many share it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Asked]], Sequence[Told | Exception]],
        *,
        size: Callable[[Asked], int],
        most: int,
        second_worker_at: int | None = None,
        apart: float = 0.0,
    ) -> None:
        self._work = work
        self._size = size
        self._most = most
        self._waiting: deque[_Waiting[Asked, Told]] = deque()
        self._waiting_size = 0
        self._over = False
        self._lock = Lock()
        self._turns = {enough: Condition(self._lock) for enough in (1, second_worker_at) if enough}
        self._apart = dict.fromkeys(self._turns, 0.0) | {1: apart}
        self._threads = [Thread(target=self._run, args=(turn,), name=name, daemon=True) for turn in self._turns]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Does what waits."""
        with self._lock:
            self._over = True
            for turn in self._turns.values():
                turn.notify_all()
        for thread in self._threads:
            thread.join()

    async def ask(self, asked: Asked) -> Told:
        """The answer, once it is done. It is done all the same for who is cancelled meanwhile."""
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append(_Waiting(asked, answer, copy_context()))
            self._waiting_size += self._size(asked)
            for enough, turn in self._turns.items():
                if enough <= self._waiting_size:
                    turn.notify()
        return await answer

    def _run(self, enough: int) -> None:
        while group := self._next(enough):
            began = time.monotonic()
            for one, outcome in zip(group, self._outcomes(group), strict=True):
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    one.answer.get_loop().call_soon_threadsafe(_tell, one.answer, outcome)
            with self._lock:
                self._wait(max(self._turns), max(began + self._apart[enough] - time.monotonic(), 0.0))

    def _next(self, enough: int) -> list[_Waiting[Asked, Told]]:
        """What is done next, once there is enough; nothing at the end."""
        with self._lock:
            self._wait(enough)
            return self._gathered()

    def _wait(self, enough: int, seconds: float | None = None) -> None:
        """Until so much waits, or the end, or so many seconds have passed."""
        self._turns[enough].wait_for(lambda: self._over or self._waiting_size >= enough, seconds)

    def _gathered(self) -> list[_Waiting[Asked, Told]]:
        group, size = [], 0
        while self._waiting and size < self._most:
            one = self._waiting.popleft()
            group.append(one)
            size += self._size(one.asked)
        self._waiting_size -= size
        return group

    def _outcomes(self, group: Sequence[_Waiting[Asked, Told]]) -> Sequence[Told | Exception]:
        try:
            return group[0].context.run(self._work, [one.asked for one in group])
        except Exception as error:
            if len(group) == 1:
                return [error]
            logger.exception("%d requests cannot be done together", len(group))
            return [outcome for one in group for outcome in self._outcomes([one])]


def _tell(answer: asyncio.Future[Told], outcome: Told | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
