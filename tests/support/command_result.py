"""The result of a command."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Exit code, stdout and stderr of a command; `text` is both with whitespace collapsed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return " ".join(f"{self.out} {self.err}".split())


Run = Callable[..., Answer]
