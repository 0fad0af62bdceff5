"""Ports of 127.0.0.1: the usual one where it is free, else another; and which platform may listen there."""

import fcntl
import os
import random
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

from infra.home.errors import PlatformError

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


def choose(usual: int, taken: Collection[int], fits: Callable[[int], bool] = is_free) -> int:
    """`usual` when it fits and is not in `taken`, else a random one that does."""
    candidates = (usual, *random.sample(ELSEWHERE, len(ELSEWHERE)))
    return next(port for port in candidates if port not in taken and fits(port))


def claim(port: int, platform_id: str) -> IO[str] | None:
    """Claims the port for a platform as long as the file stays open, in whatever process; None: another one has it.

    The kernel lets all processes of a user share the port of the service, so that its keeper can be started again while
    a Bento listens; this tells whose. The keeper and each Bento claim it, and so each outlives the others.
    Raises PlatformError where another user has put something in the way.
    """
    file = (_claims() / str(port)).open("a+")
    if _locked(file, fcntl.LOCK_SH) and _claimant(file) == platform_id:
        return file
    fcntl.flock(file, fcntl.LOCK_UN)
    if _locked(file, fcntl.LOCK_EX):  # nobody has it: the name in it is of old
        file.truncate(0)
        file.write(platform_id)
        file.flush()
        if _locked(file, fcntl.LOCK_SH) and _claimant(file) == platform_id:
            return file
    file.close()
    return None


def _claims() -> Path:
    """One folder for all platforms of this user; the kernel keeps those of others off a port."""
    folder = Path(f"/tmp/duotempo-ports-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PlatformError(f"{folder} belongs to another user: remove it")
    return folder


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claimant(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
