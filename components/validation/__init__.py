"""Runs the suites of `expectations/` on the artefacts of a retraining and writes a report. It never drops a row."""

from components.validation.frames import embedding_frame
from components.validation.results import Check, Failure, SuiteResult, ValidationError, ValidationReport
from components.validation.run import validate

__all__ = [
    "Check", "Failure", "SuiteResult", "ValidationError", "ValidationReport", "embedding_frame", "validate",
]  # fmt: skip
