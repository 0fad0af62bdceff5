"""When the sentinel tries a program again that the supervisor has given up."""

import subprocess
import time

import pytest
from supervisor.states import ProcessStates

from infra.processes.lives import wait_for_any_exit
from infra.processes.sentinel import BACKOFF_POLL_SECONDS, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, POLL_SECONDS, Retries
from infra.processes.supervisor import Process

STARTING, FATAL = ({"bento": Process(state, None, 0.0)} for state in (ProcessStates.STARTING, ProcessStates.FATAL))


def test_it_is_tried_soon_then_less_often_and_at_once_when_it_was_well() -> None:
    retries, now, backoff_pauses = Retries(), 0.0, []
    for _ in range(9):
        ended = now
        while not retries.due(FATAL, {}, now):
            now += 0.25
        backoff_pauses.append(now - ended)
        retries.due(STARTING, {}, now)
    assert backoff_pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert (backoff_pauses[0], backoff_pauses[-1]) == (FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)
    retries.due(STARTING, {"bento"}, now)
    assert retries.due(FATAL, {}, now) == ["bento"]


def test_one_that_was_well_but_ends_at_once_each_time_is_paused_too() -> None:
    retries = Retries()
    retries.due(STARTING, {"bento"}, 0.0)
    assert retries.due(FATAL, {}, 1.0) == ["bento"]
    retries.due(STARTING, {}, 1.1)
    assert retries.due(FATAL, {}, 1.2) == []
    assert retries.due(FATAL, {}, 1.2 + FIRST_PAUSE_SECONDS) == ["bento"]


def test_the_next_look_is_when_one_is_due_and_soon_while_one_is_about_to_be_given_up() -> None:
    retries = Retries()
    assert retries.wait(STARTING, 0.0) == POLL_SECONDS
    assert retries.due(FATAL, {}, 0.0) == []
    assert retries.wait(FATAL, 0.1) == pytest.approx(FIRST_PAUSE_SECONDS - 0.1)
    assert retries.due(FATAL, {}, FIRST_PAUSE_SECONDS) == ["bento"]
    assert (
        retries.wait({"bento": Process(ProcessStates.BACKOFF, None, 0.0)}, FIRST_PAUSE_SECONDS) == BACKOFF_POLL_SECONDS
    )


def test_one_whose_start_fails_at_once_is_paused_as_well() -> None:
    retries, tries = Retries(), 0
    for tick in range(100):
        tries += len(retries.due(FATAL, {}, tick / 10))
    assert tries == 5


def test_the_end_of_a_process_is_noticed_at_once() -> None:
    with subprocess.Popen(["sleep", "60"]) as lasting, subprocess.Popen(["sleep", "60"]) as killed:
        began = time.monotonic()
        wait_for_any_exit([lasting.pid, killed.pid], 0.3)
        assert time.monotonic() - began >= 0.3
        killed.kill()
        wait_for_any_exit([lasting.pid, killed.pid], 30)
        lasting.kill()
    assert time.monotonic() - began < 30
