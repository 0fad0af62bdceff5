"""What goes wrong with the platform, said so that a person can fix it."""

import re
from pathlib import Path

from components.core.errors import DuotempoError

TAIL = 12
"""Lines of a log that an error shows."""

REMEDIES = (
    (r"address already in use|port \d+ is already in use", "its port was taken meanwhile: `duotempo down`, then `up`"),
    (r"no space left on device", "the disk is full: free some space, then `duotempo up` again"),
    (r"permission denied", "a file is not accessible to this user: fix its owner or mode, then `duotempo up` again"),
    (r"password authentication failed", "the password in the folder `secrets` is not the database's: restore it"),
    (
        r"incompatible with server",
        "another version of Postgres made these data: dump them with that one, load them here",
    ),
    (r"flask-wtf|no module named", "the environment is older than the code: `make setup`, then `duotempo up` again"),
    (r"out of memory|cannot allocate memory", "memory is short: close something, then `duotempo up` again"),
)
"""What a log says, and what to do about it; the first that fits counts."""


class PlatformError(DuotempoError):
    """The platform cannot do what was asked; the message names the log and says how to fix it."""


class SmokeTestFailed(PlatformError):
    """A Bento does not do what callers rely on; the message says what, with the end of its log."""


def failure(name: str, problem: str, log: Path, secrets: list[str], remedy: str = "") -> PlatformError:
    """The error of a program, with the last lines of its `log` (`secrets` blotted out) and the remedy they suggest."""
    tail = log_tail(log, secrets)
    known = next((text for pattern, text in REMEDIES if re.search(pattern, tail, re.IGNORECASE)), "")
    advice = known or remedy or "read the log, fix what it names, then `duotempo up` again"
    return PlatformError(f"{name} {problem}. Its log {log} ends with\n{tail}\n{advice}")


def log_tail(log: Path, secrets: list[str]) -> str:
    """The last lines of a log, `secrets` blotted out."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.is_file() else ["(empty)"]
    tail = "\n".join(f"  | {line}" for line in lines)
    for secret in secrets:
        tail = tail.replace(secret, "***")
    return tail
