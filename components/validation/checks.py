"""Converts the results of Great Expectations to checks."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from components.core.columns import Columns
from components.validation.results import Check

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

KEY_COLUMNS = (Columns.EVENT_ID, Columns.ITEM, "text_hash")  # no user ids: a report outlives the erasure of a user
VALUE_LENGTH = 60
MAX_NAMED_ROWS = 100
"""Most failing rows that are listed individually."""
EXAMPLES = 5


def read_checks(outcomes: "ExpectationSuiteValidationResult", frame: pd.DataFrame) -> list[Check]:
    """Converts results to one check per expectation, failed and critical ones first.

    Args:
        frame: The validated frame, with row labels from zero.
    """
    checks = [_check(outcome, frame) for outcome in outcomes.results]
    return sorted(checks, key=lambda check: (check.success, check.severity != "critical"))


def _check(outcome: "ExpectationValidationResult", frame: pd.DataFrame) -> Check:
    config = outcome.expectation_config
    if config is None:
        raise TypeError("Great Expectations gave a result without its expectation")
    result: dict[str, Any] = outcome.to_json_dict()["result"]  # type: ignore[assignment]
    columns = [config.kwargs["column"]] if "column" in config.kwargs else config.kwargs.get("column_list", [])
    labels = result.get("partial_unexpected_index_list") or []
    return Check(
        expectation=config.type,
        description=config.description or "",
        column=", ".join(columns),
        severity=str(config.severity.value),
        success=bool(outcome.success),
        failing_rows=result.get("unexpected_count"),
        rows=result.get("element_count"),
        observed=result.get("observed_value"),
        bounds=_bounds(config.kwargs),
        examples=_examples(labels[:EXAMPLES], columns, frame),
        event_ids=_event_ids(labels, frame) if result.get("unexpected_count") == len(labels) else [],
        problem=_problem(outcome, columns, frame),
    )


def _event_ids(labels: list[int], frame: pd.DataFrame) -> list[str]:
    """The event_ids of rows, if they are events of a single source; else empty."""
    if not labels or not {Columns.EVENT_ID, Columns.SOURCE} <= set(frame.columns):
        return []
    rows = frame.iloc[labels]
    ids = rows[Columns.EVENT_ID]
    return list(ids.unique()) if rows[Columns.SOURCE].nunique() == 1 and ids.notna().all() else []


def _examples(labels: list[int], columns: list[str], frame: pd.DataFrame) -> list[str]:
    """Formats the failing values, each with the keys of its row."""
    keys = [name for name in KEY_COLUMNS if name in frame and name not in columns]
    return [_example(frame.iloc[label], columns, keys) for label in labels]


def _example(row: pd.Series, columns: list[str], keys: list[str]) -> str:
    values = ", ".join(_shown(row[column]) for column in columns)
    return f"{values} ({', '.join(f'{key} {_shown(row[key])}' for key in keys)})" if keys else values


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, pd.Timestamp) else repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 1] + "…"


def _problem(outcome: "ExpectationValidationResult", columns: list[str], frame: pd.DataFrame) -> str:
    """Why the expectation could not be computed; "" when it could."""
    if missing := [column for column in columns if column not in frame]:
        return f"There is no column {', '.join(missing)}."
    # either one record for the whole expectation, or one per metric of it
    info = outcome.exception_info or {}
    records = [info] if "raised_exception" in info else list(info.values())
    messages = [str(record["exception_message"]) for record in records if record.get("raised_exception")]
    return f"Could not be checked: {' '.join(messages)}" if messages else ""


def _bounds(kwargs: dict[str, Any]) -> str:
    words = {"min_value": "at least", "max_value": "at most"}
    return " and ".join(f"{word} {kwargs[name]}" for name, word in words.items() if kwargs.get(name) is not None)
