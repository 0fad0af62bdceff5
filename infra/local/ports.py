"""Ports of 127.0.0.1: the usual one where it is free, else another."""

import random
import socket
from collections.abc import Collection

ELSEWHERE = range(20000, 32000)
"""Where a port is looked for when the usual one is taken: below what systems give to outgoing connections."""


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1, and one could."""
    with socket.socket() as caller:
        caller.settimeout(0.5)
        if caller.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(usual: int, taken: Collection[int]) -> int:
    """`usual` when it is free and not in `taken`, else a random free one."""
    if usual not in taken and is_free(usual):
        return usual
    elsewhere = (port for port in random.sample(ELSEWHERE, len(ELSEWHERE)) if port not in taken and is_free(port))
    return next(elsewhere)
