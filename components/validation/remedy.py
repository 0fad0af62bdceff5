"""The few events that fail a critical expectation, and the command that puts them into quarantine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.validation.results import SuiteResult, ValidationError

RESULT = "result.json"


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
