"""When the sentinel retries a program that the supervisor has given up."""

import subprocess
import time

import pytest
from supervisor.states import ProcessStates

from infra.processes.liveness import wait_for_any_exit
from infra.processes.sentinel import BACKOFF_POLL_SECONDS, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, POLL_SECONDS, Retries
from infra.processes.supervisor import Process

STARTING, FATAL = ({"bento": Process(state, None, 0.0)} for state in (ProcessStates.STARTING, ProcessStates.FATAL))


def test_retries_back_off_and_reset_when_healthy() -> None:
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


def test_program_that_crashes_again_after_a_retry_backs_off() -> None:
    retries = Retries()
    retries.due(STARTING, {"bento"}, 0.0)
    assert retries.due(FATAL, {}, 1.0) == ["bento"]
    retries.due(STARTING, {}, 1.1)
    assert retries.due(FATAL, {}, 1.2) == []
    assert retries.due(FATAL, {}, 1.2 + FIRST_PAUSE_SECONDS) == ["bento"]


def test_polling_interval_follows_due_retries_and_backoff() -> None:
    retries = Retries()
    assert retries.wait(STARTING, 0.0) == POLL_SECONDS
    assert retries.due(FATAL, {}, 0.0) == []
    assert retries.wait(FATAL, 0.1) == pytest.approx(FIRST_PAUSE_SECONDS - 0.1)
    assert retries.due(FATAL, {}, FIRST_PAUSE_SECONDS) == ["bento"]
    assert (
        retries.wait({"bento": Process(ProcessStates.BACKOFF, None, 0.0)}, FIRST_PAUSE_SECONDS) == BACKOFF_POLL_SECONDS
    )


def test_failing_starts_back_off() -> None:
    retries, attempts = Retries(), 0
    for tick in range(100):
        attempts += len(retries.due(FATAL, {}, tick / 10))
    assert attempts == 5


def test_process_exit_is_noticed_at_once() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeping, subprocess.Popen(["sleep", "60"]) as killed:
        began = time.monotonic()
        wait_for_any_exit([sleeping.pid, killed.pid], 0.3)
        assert time.monotonic() - began >= 0.3
        killed.kill()
        wait_for_any_exit([sleeping.pid, killed.pid], 30)
        sleeping.kill()
    assert time.monotonic() - began < 30
