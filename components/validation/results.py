"""What a validation found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import DuotempoError


class ValidationError(DuotempoError):
    """The validation could not run: a suite is broken or an input is missing; says which and how to fix it."""


@dataclass(frozen=True)
class Check:
    """One expectation and how it went.

    column: "" when the expectation is about the whole table. failing_rows and rows (that were looked at): None when it
    is not about single rows; then `observed` and `bounds` (such as "at least 3") tell. examples: some failing values,
    each with the keys of its row. event_ids: of all failing rows, where they are few events of one source. problem: why
    the expectation could not be checked; it counts as failed.
    """

    expectation: str
    description: str
    column: str
    severity: str
    success: bool
    failing_rows: int | None
    rows: int | None
    observed: Any
    bounds: str
    examples: list[str]
    event_ids: list[str]
    problem: str

    @property
    def message(self) -> str:
        """One sentence: what was expected and what is there."""
        expected = self.description or f"{self.expectation} {self.column}".strip()
        return expected if self.success else f"{expected} {self.finding}"

    @property
    def finding(self) -> str:
        """What was found, such as "3 of 10 rows fail, such as event_id=a: -1.0." """
        if self.problem:
            return self.problem
        if self.failing_rows is None:
            return self._aggregate()
        examples = f", such as {'; '.join(self.examples)}" if self.examples else ""
        return f"{self.failing_rows} of {self.rows} rows fail{examples}."

    def _aggregate(self) -> str:
        if self.observed is None and not self.bounds:
            return ""
        found = "nothing" if self.observed is None else self.observed
        return f"Found {found}, expected {self.bounds}." if self.bounds else f"Found {found}."


@dataclass(frozen=True)
class Failure:
    """A check that failed; `message` can be shown to a person as it is."""

    suite: str
    expectation: str
    column: str
    failing_rows: int | None
    message: str


@dataclass(frozen=True)
class SuiteResult:
    suite: str
    rows: int
    seconds: float
    checks: list[Check]

    def statistics(self) -> dict[str, float]:
        """rows, evaluated, successful, seconds."""
        successful = sum(check.success for check in self.checks)
        return {
            "rows": self.rows,
            "evaluated": len(self.checks),
            "successful": successful,
            "seconds": round(self.seconds, 3),
        }

    def failures(self, critical: bool) -> list[Failure]:
        """The failed checks that are critical, or those that are not."""
        return [
            Failure(self.suite, check.expectation, check.column, check.failing_rows, check.message)
            for check in self.checks
            if not check.success and (check.severity == "critical") == critical
        ]


@dataclass(frozen=True)
class ValidationReport:
    """success: no critical expectation failed. docs: the report's index.html. remedy: the command that puts the few
    events aside that fail; "" where there is none.

    statistics: of each suite its rows, evaluated, successful and seconds.
    """

    success: bool
    critical_failures: list[Failure]
    warnings: list[Failure]
    docs: Path
    remedy: str
    statistics: dict[str, dict[str, float]]
