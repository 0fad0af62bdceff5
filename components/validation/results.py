"""Results of a validation, and its report as HTML and JSON."""

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
    """The validation could not run, as a suite is broken or an input missing; the message says how to fix it."""


@dataclass(frozen=True)
class Check:
    """An expectation and its result.

    Attributes:
        column: Empty for an expectation on the whole table.
        failing_rows: None for an expectation on an aggregate.
        rows: Checked rows; None for an expectation on an aggregate.
        observed: Value of an aggregate.
        bounds: Limits of an aggregate, such as "at least 3".
        examples: Some failing values, each with the keys of its row.
        event_ids: All failing rows, if they are few events of a single source.
        problem: Why the expectation could not be checked, which counts as failed.
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
        """What was expected and, if it failed, what was found."""
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
        value = "nothing" if self.observed is None else self.observed
        return f"Found {value}, expected {self.bounds}." if self.bounds else f"Found {value}."


@dataclass(frozen=True)
class Failure:
    """A failed check; `message` is ready for display."""

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
    """The outcome of a validation.

    Attributes:
        success: Whether no critical expectation failed.
        docs: The report's index.html.
        remedy: Command that quarantines the failing events, if they are few; else empty.
        statistics: rows, evaluated, successful and seconds by suite.
    """

    success: bool
    critical_failures: list[Failure]
    warnings: list[Failure]
    docs: Path
    remedy: str
    statistics: dict[str, dict[str, float]]


def write_report(results: Sequence[SuiteResult], folder: Path, cut: datetime, command: str) -> Path:
    """Writes index.html and result.json into `folder`, created when missing.

    Args:
        command: The remedy; may be empty.

    Returns:
        The path of index.html.

    Raises:
        ValidationError: The files cannot be written.
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
            f"the report cannot be written to {folder} ({error}): free some space or choose another folder"
        ) from error
    return docs


def remedy(results: Sequence[SuiteResult], folder: Path) -> str:
    """The command that quarantines the failing events, if they are few and of one source; else empty."""
    checks = [check for result in results for check in result.checks]
    has_ids = any(check.event_ids and check.severity == "critical" and not check.success for check in checks)
    return f"duotempo quarantine --validation {folder}" if has_ids else ""


def failing_events(folder: Path) -> dict[str, str]:
    """Reads the failed critical expectation by event_id from the report in `folder`.

    Raises:
        ValidationError: There is no valid report.
    """
    file = folder / RESULT
    try:
        document: dict[str, Any] = json.loads(file.read_bytes())
        checks = [check for suite in document["suites"].values() for check in suite["checks"]]
        failed = [check for check in checks if not check["success"] and check["severity"] == "critical"]
        return {str(event_id): str(check["description"]) for check in failed for event_id in check["event_ids"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValidationError(
            f"{file} is not a validation report ({type(error).__name__}): give the folder that the failed retraining "
            "printed"
        ) from error
