"""Waiting for a condition that nothing notifies of."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def poll(condition: Callable[[], Value], seconds: float, pause: float) -> Value:
    """Calls the condition until it is true or the time is over, with a pause between calls. Returns its last value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(pause)
    return value
