"""What a validation found."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from components.core.errors import DuotempoError

RESULT = "result.json"


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


def write_report(results: Sequence[SuiteResult], folder: Path, cut: datetime, command: str) -> Path:
    """Writes both files into `folder`, which is made when it is missing; returns the path of index.html. command: the
    remedy, "" where there is none.

    Raises ValidationError when they cannot be written.
    """
    counts = {
        "critical": sum(len(result.failures(critical=True)) for result in results),
        "warnings": sum(len(result.failures(critical=False)) for result in results),
    }
    document = {
        "success": counts["critical"] == 0,
        "cut": cut.isoformat(),
        **counts,
        "suites": {
            result.suite: {**result.statistics(), "checks": list(map(asdict, result.checks))} for result in results
        },
    }
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html.jinja").render(results=results, cut=cut, command=command, **counts)
    docs = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        docs.write_text(page, encoding="utf-8")
        (folder / RESULT).write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise ValidationError(
            f"the report cannot be written to {folder} ({error}): free or choose the folder"
        ) from error
    return docs


def remedy(results: Sequence[SuiteResult], folder: Path) -> str:
    """The command, where a critical expectation fails on few events of one source; else ""."""
    checks = [check for result in results for check in result.checks]
    named = any(check.event_ids and check.severity == "critical" and not check.success for check in checks)
    return f"duotempo quarantine --validation {folder}" if named else ""


def failing_events(folder: Path) -> dict[str, str]:
    """By the event_ids that the report in `folder` names: the critical expectation that they fail.

    Raises ValidationError when there is no report.
    """
    file = folder / RESULT
    try:
        document: dict[str, Any] = json.loads(file.read_bytes())
        checks = [check for suite in document["suites"].values() for check in suite["checks"]]
        failed = [check for check in checks if not check["success"] and check["severity"] == "critical"]
        return {str(name): str(check["description"]) for check in failed for name in check["event_ids"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValidationError(
            f"{file} is no report of a validation ({type(error).__name__}): name the folder that the failed retraining "
            "has named"
        ) from error
