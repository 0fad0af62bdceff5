"""Who asks while others are being written shares the next write, and gets an answer of its own."""

import asyncio
import time
from collections.abc import Sequence
from threading import Event, Lock

import pytest

from serving.storage.microbatch import MicroBatcher


class Doubler:
    """Writes numbers slowly, and keeps which were written together; -1 spoils a group, and 0 is refused."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def write(self, numbers: Sequence[int]) -> list[int | Exception]:
        time.sleep(0.05)
        if -1 in numbers:
            raise ValueError("spoilt")
        self.groups.append(list(numbers))
        return [2 * number if number else LookupError("refused") for number in numbers]


def answers(numbers: Sequence[int], max_size: int = 100) -> tuple[list[int | BaseException], list[list[int]]]:
    """What all were answered who asked at once, and the groups that were written."""
    doubler = Doubler()

    async def ask() -> list[int | BaseException]:
        commit = MicroBatcher("test", doubler.write, size=lambda number: 1, max_size=max_size)
        commit.start()
        told = await asyncio.gather(*map(commit.submit, numbers), return_exceptions=True)
        commit.close()
        return told

    return asyncio.run(ask()), doubler.groups


def test_each_gets_its_own_answer_out_of_a_few_writes() -> None:
    told, groups = answers(range(1, 51))
    assert told == [2 * number for number in range(1, 51)]
    assert [number for group in groups for number in group] == list(range(1, 51))
    assert len(groups) <= 3


def test_a_group_is_not_larger_than_it_may_be() -> None:
    _, groups = answers(range(1, 21), max_size=8)
    assert max(map(len, groups)) <= 8


@pytest.mark.parametrize(("bad", "error"), [(-1, ValueError), (0, LookupError)])
def test_what_is_wrong_with_one_costs_the_others_nothing(bad: int, error: type[Exception]) -> None:
    told, _ = answers([1, 2, bad, 3])
    assert isinstance(told.pop(2), error)
    assert told == [2, 4, 6]


def test_who_waits_at_the_end_is_answered() -> None:
    doubler = Doubler()

    async def end() -> list[int]:
        commit: MicroBatcher[int, int] = MicroBatcher("test", doubler.write, size=lambda number: 1, max_size=2)
        asked = [asyncio.create_task(commit.submit(number)) for number in range(1, 10)]
        await asyncio.sleep(0)
        commit.start()
        commit.close()
        return await asyncio.gather(*asked)

    assert asyncio.run(end()) == [2 * number for number in range(1, 10)]


def test_who_gave_up_disturbs_nobody() -> None:
    doubler = Doubler()

    async def give_up() -> int:
        commit: MicroBatcher[int, int] = MicroBatcher("test", doubler.write, size=lambda number: 1, max_size=100)
        commit.start()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(commit.submit(1), 0.001)
        told = await commit.submit(2)
        commit.close()
        return told

    assert asyncio.run(give_up()) == 4
    assert [number for group in doubler.groups for number in group] == [1, 2]


@pytest.mark.parametrize(("size", "at_once"), [(10, 2), (9, 1)], ids=["enough", "not enough"])
def test_a_second_thread_helps_where_enough_waits(size: int, at_once: int) -> None:
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

    async def ask() -> list[int]:
        gathered: MicroBatcher[int, int] = MicroBatcher(
            "test", work, size=lambda one: one, max_size=100, second_worker_at=10
        )
        gathered.start()
        first = asyncio.create_task(gathered.submit(1))
        while not busy:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(gathered.submit(size))
        await asyncio.wait([second], timeout=10 if at_once == 2 else 0.1)
        assert second.done() is (at_once == 2)
        first_may_end.set()
        told = [await first, await second]
        gathered.close()
        return told

    assert asyncio.run(ask()) == [1, size]
    assert most_busy == at_once


@pytest.mark.parametrize("size", [9, 10], ids=["waits for company", "is enough by itself"])
def test_groups_begin_apart_unless_enough_waits(size: int) -> None:
    groups: list[list[int]] = []

    def work(sizes: Sequence[int]) -> list[int | Exception]:
        groups.append(list(sizes))
        return list(sizes)

    async def ask() -> None:
        gathered: MicroBatcher[int, int] = MicroBatcher(
            "test", work, size=lambda one: one, max_size=100, second_worker_at=10, min_interval=60
        )
        gathered.start()
        await gathered.submit(1)
        second = asyncio.create_task(gathered.submit(size))
        await asyncio.wait([second], timeout=10 if size >= 10 else 0.2)
        assert second.done() is (size >= 10)
        third = asyncio.create_task(gathered.submit(1))
        await asyncio.sleep(0)
        gathered.close()
        await asyncio.gather(second, third)

    began = time.monotonic()
    asyncio.run(ask())
    assert groups == ([[1], [10], [1]] if size >= 10 else [[1], [9, 1]])
    assert time.monotonic() - began < 30, "what waits is done when it closes"
