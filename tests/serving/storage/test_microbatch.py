"""Micro-batching: queued requests share the next batch, and each gets its own result."""

import asyncio
import time
from collections.abc import Sequence
from threading import Event, Lock

import pytest

from serving.storage.microbatch import MicroBatcher


class Doubler:
    """A slow writer that records its batches; -1 fails the whole batch, 0 fails alone."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def write(self, numbers: Sequence[int]) -> list[int | Exception]:
        time.sleep(0.05)
        if -1 in numbers:
            raise ValueError("spoilt")
        self.batches.append(list(numbers))
        return [2 * number if number else LookupError("refused") for number in numbers]


def run(numbers: Sequence[int], max_size: int = 100) -> tuple[list[int | BaseException], list[list[int]]]:
    """Submits all numbers at once. Returns the results and the batches."""
    doubler = Doubler()

    async def submit_all() -> list[int | BaseException]:
        batcher = MicroBatcher("test", doubler.write, size=lambda number: 1, max_size=max_size)
        batcher.start()
        results = await asyncio.gather(*map(batcher.submit, numbers), return_exceptions=True)
        batcher.close()
        return results

    return asyncio.run(submit_all()), doubler.batches


def test_each_request_gets_its_own_result_of_a_shared_batch() -> None:
    results, batches = run(range(1, 51))
    assert results == [2 * number for number in range(1, 51)]
    assert [number for batch in batches for number in batch] == list(range(1, 51))
    assert len(batches) <= 3


def test_batches_are_limited_in_size() -> None:
    _, batches = run(range(1, 21), max_size=8)
    assert max(map(len, batches)) <= 8


@pytest.mark.parametrize(("bad", "error"), [(-1, ValueError), (0, LookupError)])
def test_a_failing_request_does_not_fail_the_others(bad: int, error: type[Exception]) -> None:
    results, _ = run([1, 2, bad, 3])
    assert isinstance(results.pop(2), error)
    assert results == [2, 4, 6]


def test_queued_requests_are_processed_on_close() -> None:
    doubler = Doubler()

    async def end() -> list[int]:
        batcher: MicroBatcher[int, int] = MicroBatcher("test", doubler.write, size=lambda number: 1, max_size=2)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(1, 10)]
        await asyncio.sleep(0)
        batcher.start()
        batcher.close()
        return await asyncio.gather(*tasks)

    assert asyncio.run(end()) == [2 * number for number in range(1, 10)]


def test_a_cancelled_request_does_not_affect_others() -> None:
    doubler = Doubler()

    async def cancel() -> int:
        batcher: MicroBatcher[int, int] = MicroBatcher("test", doubler.write, size=lambda number: 1, max_size=100)
        batcher.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.submit(1), 0.001)
        results = await batcher.submit(2)
        batcher.close()
        return results

    assert asyncio.run(cancel()) == 4
    assert [number for batch in doubler.batches for number in batch] == [1, 2]


@pytest.mark.parametrize(("size", "concurrent"), [(10, 2), (9, 1)], ids=["at the length", "below it"])
def test_a_second_worker_starts_at_its_queue_length(size: int, concurrent: int) -> None:
    busy, most_busy, lock, first_may_end = 0, 0, Lock(), Event()

    def work(sizes: Sequence[int]) -> list[int | Exception]:
        nonlocal busy, most_busy
        with lock:
            busy += 1
            most_busy = max(most_busy, busy)
        if 1 in sizes:
            first_may_end.wait(10)
        with lock:
            busy -= 1
        return list(sizes)

    async def submit_all() -> list[int]:
        batcher: MicroBatcher[int, int] = MicroBatcher(
            "test", work, size=lambda request: request, max_size=100, second_worker_at=10
        )
        batcher.start()
        first = asyncio.create_task(batcher.submit(1))
        while not busy:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(batcher.submit(size))
        await asyncio.wait([second], timeout=10 if concurrent == 2 else 0.1)
        assert second.done() is (concurrent == 2)
        first_may_end.set()
        results = [await first, await second]
        batcher.close()
        return results

    assert asyncio.run(submit_all()) == [1, size]
    assert most_busy == concurrent


@pytest.mark.parametrize("size", [9, 10], ids=["below the length", "at the length"])
def test_batches_start_at_the_minimum_interval_unless_the_queue_is_long(size: int) -> None:
    batches: list[list[int]] = []

    def work(sizes: Sequence[int]) -> list[int | Exception]:
        batches.append(list(sizes))
        return list(sizes)

    async def submit_all() -> None:
        batcher: MicroBatcher[int, int] = MicroBatcher(
            "test", work, size=lambda request: request, max_size=100, second_worker_at=10, min_interval=60
        )
        batcher.start()
        await batcher.submit(1)
        second = asyncio.create_task(batcher.submit(size))
        await asyncio.wait([second], timeout=10 if size >= 10 else 0.2)
        assert second.done() is (size >= 10)
        third = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0)
        batcher.close()
        await asyncio.gather(second, third)

    started = time.monotonic()
    asyncio.run(submit_all())
    assert batches == ([[1], [10], [1]] if size >= 10 else [[1], [9, 1]])
    assert time.monotonic() - started < 30, "close does not wait for the interval"
