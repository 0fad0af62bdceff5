"""Waits for the end of processes that are not this one's children, at once where the system tells of it."""

import logging
import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cache

LOG = logging.getLogger(__name__)


def await_an_end(pids: Iterable[int], seconds: float) -> None:
    """Returns when one of these processes has ended, or after that time; only then where the system tells of no end."""
    if not _are_told():
        time.sleep(seconds)
        return
    with ExitStack() as opened:
        ends = select.poll()
        for pid in pids:
            try:
                end = os.pidfd_open(pid)
            except ProcessLookupError:
                return
            opened.callback(os.close, end)
            ends.register(end, select.POLLIN)
        ends.poll(seconds * 1000)


@cache
def _are_told() -> bool:
    """There are systems that do not tell, and sandboxes that forbid it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        LOG.warning("ends are seen by a look now and then, as this system does not tell of them: %s", error)
        return False
    return True
