"""When the sentinel tries a program again that the supervisor has given up."""

from supervisor.states import ProcessStates

from infra.local.sentinel import FIRST_SECONDS, LONGEST_SECONDS, Retries
from infra.local.supervisor import Process

STARTING, FATAL = ({"bento": Process(state, None, 0.0)} for state in (ProcessStates.STARTING, ProcessStates.FATAL))


def test_it_is_tried_soon_then_less_often_and_soon_again_once_it_was_well() -> None:
    retries, now, pauses = Retries(), 0.0, []
    for _ in range(8):
        ended = now
        while not retries.due(FATAL, {}, now):
            now += 0.5
        pauses.append(now - ended)
        retries.due(STARTING, {}, now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert (pauses[0], pauses[-1]) == (FIRST_SECONDS, LONGEST_SECONDS)
    retries.due(STARTING, {"bento"}, now)
    assert retries.due(FATAL, {}, now) == []
    assert retries.due(FATAL, {}, now + FIRST_SECONDS) == ["bento"]
