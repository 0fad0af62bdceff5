"""What a person has to decide about a mapping."""

from dataclasses import dataclass

from components.mapping.rules import Role


@dataclass(frozen=True)
class Question:
    """A doubt about one field.

    Attributes:
        what: The doubt in words.
        line: The line of mapping.toml that settles it; COLUMN stands for what only a person can say.
    """

    role: Role
    what: str
    line: str = ""

    def __str__(self) -> str:
        return f"[{self.role}] {self.what}" + (f": {self.line}" if self.line else "")
