"""Validates the artefacts of a retraining with the suites of `expectations/`, and writes a report. Drops no rows."""

from components.validation.frames import embedding_frame
from components.validation.results import Check, Failure, SuiteResult, ValidationError, ValidationReport
from components.validation.run import validate

__all__ = [
    "Check", "Failure", "SuiteResult", "ValidationError", "ValidationReport", "embedding_frame", "validate",
]  # fmt: skip
