"""Errors of the platform, with how to fix them."""

import re
from pathlib import Path

from components.core.errors import DuotempoError

TAIL = 12
"""Lines of a log shown in an error."""

REMEDIES = (
    (r"address already in use|port \d+ is already in use", "its port was taken meanwhile: `duotempo down`, then `up`"),
    (r"no space left on device", "the disk is full: free some space, then `duotempo up` again"),
    (r"permission denied", "a file is not accessible to this user: fix its owner or mode, then `duotempo up` again"),
    (r"password authentication failed", "the password in the folder `secrets` is not the database's: restore it"),
    (
        r"incompatible with server",
        "the data are of another Postgres version: dump them with that version, load them here",
    ),
    (r"flask-wtf|no module named", "the environment is older than the code: `make setup`, then `duotempo up` again"),
    (r"out of memory|cannot allocate memory", "out of memory: free some, then `duotempo up` again"),
)
"""Patterns in a log, and how to fix their cause; the first match counts."""


class PlatformError(DuotempoError):
    """An operation of the platform failed; the message names the log and how to fix it."""


class SmokeTestFailed(PlatformError):
    """A Bento failed its smoke test; the message says how, with the end of its log."""


def failure(name: str, problem: str, log: Path, secrets: list[str], remedy: str = "") -> PlatformError:
    """Builds the error of a program, with the end of its log and how to fix it.

    Args:
        problem: What the program does, such as "does not start".
        secrets: Strings to mask in the log.
        remedy: How to fix it, if the log matches none of REMEDIES.
    """
    tail = log_tail(log, secrets)
    matched = next((text for pattern, text in REMEDIES if re.search(pattern, tail, re.IGNORECASE)), "")
    advice = matched or remedy or "read the log, fix what it names, then `duotempo up` again"
    return PlatformError(f"{name} {problem}. Its log {log} ends with\n{tail}\n{advice}")


def log_tail(log: Path, secrets: list[str]) -> str:
    """Returns the last lines of a log, with `secrets` masked."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.is_file() else []
    tail = "\n".join(f"  | {line}" for line in lines or ["(empty)"])
    for secret in secrets:
        tail = tail.replace(secret, "***")
    return tail
