"""Micro-batching: requests that arrive during a transaction are queued and committed together in the next one."""

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
Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Queued(Generic[Request, Result]):
    request: Request
    result: asyncio.Future[Result]
    context: Context


class MicroBatcher(Generic[Request, Result]):
    """A thread that works on the queued requests of all event loops, a batch at a time.

    Args:
        work: Takes a batch and returns the result or the exception of each request. If it raises, each request of the
            batch is retried alone, so that a bad one does not fail the others.
        size: Size of a request, such as its number of events.
        max_size: A batch is closed when it reaches this size; a request is never split.
        second_worker_at: Queue length, in sizes, from which a second thread works too, so that cleaning overlaps
            committing.
        min_interval: Seconds between the starts of two batches of the first thread, unless `second_worker_at` is
            reached: a batch costs about the same, however many requests share it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Request]], Sequence[Result | Exception]],
        *,
        size: Callable[[Request], int],
        max_size: int,
        second_worker_at: int | None = None,
        min_interval: float = 0.0,
    ) -> None:
        self._work = work
        self._size = size
        self._max_size = max_size
        self._queue: deque[_Queued[Request, Result]] = deque()
        self._queued_size = 0
        self._closed = False
        self._lock = Lock()
        self._reached = {length: Condition(self._lock) for length in (1, second_worker_at) if length}
        self._min_interval = dict.fromkeys(self._reached, 0.0) | {1: min_interval}
        self._threads = [Thread(target=self._run, args=(length,), name=name, daemon=True) for length in self._reached]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Works off the queue, then ends the threads."""
        with self._lock:
            self._closed = True
            for condition in self._reached.values():
                condition.notify_all()
        for thread in self._threads:
            thread.join()

    async def submit(self, request: Request) -> Result:
        """The result of the request, which is worked on even if the caller is cancelled meanwhile."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._queue.append(_Queued(request, result, copy_context()))
            self._queued_size += self._size(request)
            for length, condition in self._reached.items():
                if length <= self._queued_size:
                    condition.notify()
        return await result

    def _run(self, length: int) -> None:
        while batch := self._next_batch(length):
            started = time.monotonic()
            for queued, outcome in zip(batch, self._outcomes(batch), strict=True):
                with suppress(RuntimeError):  # the loop is closed: no caller is left
                    queued.result.get_loop().call_soon_threadsafe(_resolve, queued.result, outcome)
            with self._lock:
                remaining = started + self._min_interval[length] - time.monotonic()
                self._wait_for(max(self._reached), max(remaining, 0.0))

    def _next_batch(self, length: int) -> list[_Queued[Request, Result]]:
        """The next batch once the queue has this length; empty after `close`."""
        with self._lock:
            self._wait_for(length)
            batch, size = [], 0
            while self._queue and size < self._max_size:
                batch.append(self._queue.popleft())
                size += self._size(batch[-1].request)
            self._queued_size -= size
            return batch

    def _wait_for(self, length: int, seconds: float | None = None) -> None:
        """Returns once the queue has this length, is closed, or the seconds have passed."""
        self._reached[length].wait_for(lambda: self._closed or self._queued_size >= length, seconds)

    def _outcomes(self, batch: Sequence[_Queued[Request, Result]]) -> Sequence[Result | Exception]:
        try:
            return batch[0].context.run(self._work, [queued.request for queued in batch])
        except Exception as error:
            if len(batch) == 1:
                return [error]
            logger.exception("a batch of %d requests failed, each is retried alone", len(batch))
            return [outcome for queued in batch for outcome in self._outcomes([queued])]


def _resolve(result: asyncio.Future[Result], outcome: Result | Exception) -> None:
    if result.done():
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
