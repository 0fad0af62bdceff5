"""Many requests, one transaction: what comes while one is under way gathers, and shares the next."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
Asked = TypeVar("Asked")
Told = TypeVar("Told")


@dataclass(frozen=True)
class _Waiting(Generic[Asked, Told]):
    asked: Asked
    answer: asyncio.Future[Told]
    context: Context


class Gathered(Generic[Asked, Told]):
    """One thread of its own works for all who ask, from any event loop.

    work: does what a group asked, and gives the answer, or what went wrong, of each. Where it raises, it is done for
    each of the group alone, so that what is wrong with one costs the others nothing. A group has `most` of `size`
    together, or one who asks for more.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Asked]], Sequence[Told | Exception]],
        *,
        size: Callable[[Asked], int],
        most: int,
    ) -> None:
        self._work = work
        self._size = size
        self._most = most
        self._queue: SimpleQueue[_Waiting[Asked, Told] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Does what waits."""
        self._queue.put(None)
        self._thread.join()

    async def ask(self, asked: Asked) -> Told:
        """The answer, once it is done. It is done all the same for who is cancelled meanwhile."""
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(asked, answer, copy_context()))
        return await answer

    def _run(self) -> None:
        while first := self._queue.get():
            group = self._gathered(first)
            for one, outcome in zip(group, self._outcomes(group), strict=True):
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    one.answer.get_loop().call_soon_threadsafe(_tell, one.answer, outcome)

    def _gathered(self, first: _Waiting[Asked, Told]) -> list[_Waiting[Asked, Told]]:
        group, size = [first], self._size(first.asked)
        while size < self._most:
            try:
                another = self._queue.get_nowait()
            except Empty:
                break
            if another is None:
                self._queue.put(None)
                break
            group.append(another)
            size += self._size(another.asked)
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
