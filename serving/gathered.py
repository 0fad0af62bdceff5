"""Work for Postgres that gathers while other such work is under way, and is then done at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from serving.database import DatabaseAway

Asked = TypeVar("Asked")
Told = TypeVar("Told")


@dataclass(frozen=True)
class Waiting(Generic[Asked, Told]):
    """One that asked, and what it will be told."""

    asked: Asked
    told: "Future[Told]" = field(default_factory=Future)
    context: Context = field(default_factory=copy_context)


class Gathered(Generic[Asked, Told]):
    """Threads of its own, each of which takes all that waits, up to `most`, and does it as one."""

    def __init__(
        self, name: str, work: Callable[[Sequence[Asked]], Sequence[Told]], *, threads: int = 1, most: int = 64
    ) -> None:
        """work: what each one is told, in their order. It runs in the context of the first of them."""
        self._work, self._most = work, most
        self._queue: SimpleQueue[Waiting[Asked, Told] | None] = SimpleQueue()
        self._threads = [Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def ask(self, asked: Asked) -> "Future[Told]":
        """To be done soon. What is wrong with one of those that are done at once costs the others nothing."""
        waiting = Waiting[Asked, Told](asked)
        self._queue.put(waiting)
        return waiting.told

    def close(self) -> None:
        """Does what waits, and ends."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._batch()
            batch = [one for one in batch if one.told.set_running_or_notify_cancel()]
            if batch:
                self._do(batch)

    def _batch(self) -> tuple[list[Waiting[Asked, Told]], bool]:
        """What waits, and whether more may come."""
        batch: list[Waiting[Asked, Told]] = []
        try:
            one = self._queue.get()
            while one is not None:
                batch.append(one)
                if len(batch) == self._most:
                    return batch, True
                one = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _do(self, batch: Sequence[Waiting[Asked, Told]]) -> None:
        try:
            told = batch[0].context.run(self._work, [one.asked for one in batch])
        except Exception as error:  # noqa: BLE001  # those who wait are told, whatever it is
            if len(batch) == 1 or isinstance(error, DatabaseAway):
                for one in batch:
                    one.told.set_exception(error)
            else:
                for one in batch:
                    self._do([one])
            return
        for one, answer in zip(batch, told, strict=True):
            one.told.set_result(answer)
