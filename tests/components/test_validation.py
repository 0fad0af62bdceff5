"""Validation with Great Expectations and the packaged suites."""

import json
import re
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.settings import ValidationSettings
from components.validation import ValidationError, ValidationReport, embedding_frame, validate
from components.validation.run import SUITES
from tests.support.interests import CUT, catalogue, event, history, interests

NOW: datetime = CUT.to_pydatetime()
ROWS = [event(f"u{n % 4}", "d1" if n % 2 else "c1", 9 - n / 4, "rating", n % 5 + 1) for n in range(32)]


def events() -> pd.DataFrame:
    frame = history(*ROWS)
    return frame.assign(event_id=[f"e{n}" for n in range(len(frame))], source="test")


def items() -> pd.DataFrame:
    return catalogue().assign(available=True)


def run(folder: Path, frames: Mapping[str, pd.DataFrame] | None = None, **more: Any) -> ValidationReport:
    return validate(
        frames or {"events": events(), "items": items()}, folder, cut=NOW, **{"settings": ValidationSettings(), **more}
    )


def critical_columns(report: ValidationReport) -> set[tuple[str, str]]:
    return {(failure.suite, failure.column) for failure in report.critical_failures}


def test_a_good_snapshot_passes_and_has_a_report(tmp_path: Path) -> None:
    report = run(tmp_path / "docs")
    assert report.success and report.critical_failures == report.warnings == []
    assert {name: statistics["rows"] for name, statistics in report.statistics.items()} == {
        "events": 32,
        "feedback": 32,
        "items": 11,
    }
    assert all(statistics["evaluated"] == statistics["successful"] > 5 for statistics in report.statistics.values())
    assert report.docs == tmp_path / "docs" / "index.html"
    assert "Validation passed" in report.docs.read_text()


BAD_EVENTS: list[tuple[str, Any, tuple[str, str, str]]] = [
    ("event_id", "e0", ("events", "event_id", "event_id is unique.")),
    ("event_id", None, ("events", "event_id", "Every event has event_id.")),
    ("user_id", "", ("events", "user_id", "user_id has 1 to 200 characters.")),
    ("item_id", "d" * 201, ("events", "item_id", "item_id has 1 to 200 characters.")),
    ("user_id", 7, ("events", "user_id", "user_id is a string.")),
    ("item_id", None, ("events", "item_id", "Every event has item_id.")),
    ("event", "stare", ("events", "event", "Every event has a known kind")),
    ("event", None, ("events", "event", "Every event has a kind.")),
    ("value", np.inf, ("events", "value", "Every value is finite.")),
    ("value", np.nan, ("feedback", "value", "Every rating has a value.")),
    ("occurred_at", CUT, ("events", "age_days", "No event is at or after the cut.")),
    ("occurred_at", pd.NaT, ("events", "occurred_at", "Every event has a time.")),
]


def test_each_invalid_event_is_a_critical_failure(tmp_path: Path) -> None:
    frame = events().astype({"user_id": object})
    for row, (column, value, _) in enumerate(BAD_EVENTS, start=1):
        frame.loc[row, column] = value
    report = run(tmp_path, {"events": frame, "items": items()})
    assert not report.success
    for *_, (suite, column, message) in BAD_EVENTS:
        failures = [
            f
            for f in report.critical_failures
            if (f.suite, f.column) == (suite, column) and f.message.startswith(message)
        ]
        assert [failure.failing_rows for failure in failures] == [2 if "unique" in message else 1], message
    unknown = next(failure for failure in report.critical_failures if failure.column == "item_known")
    assert unknown.failing_rows == 2


def test_the_cut_is_compared_in_utc(tmp_path: Path) -> None:
    frame = events()
    frame["occurred_at"] = frame["occurred_at"].dt.tz_convert("Asia/Shanghai")
    frame.loc[3, "occurred_at"] = CUT + pd.Timedelta(microseconds=1)
    assert {("events", "age_days"), ("feedback", "age_days")} == critical_columns(
        run(tmp_path, {"events": frame, "items": items()})
    )


def test_the_last_microsecond_before_the_cut_is_included(tmp_path: Path) -> None:
    frame = events()
    frame.loc[3, "occurred_at"] = CUT - pd.Timedelta(microseconds=1)
    assert run(tmp_path, {"events": frame, "items": items()}).success


def test_a_failure_names_rows_but_no_users(tmp_path: Path) -> None:
    frame = events()
    frame.loc[[3, 4], "event"] = "<b>stare</b>"
    report = run(tmp_path, {"events": frame, "items": items()})
    (failure,) = (failure for failure in report.critical_failures if failure.suite == "events")
    assert failure.message.startswith("Every event has a known kind; map other kinds at ingest. 2 of 32 rows")
    assert "'<b>stare</b>' (event_id 'e3', item_id 'd1')" in failure.message
    assert "user_id" not in failure.message
    page = report.docs.read_text()
    assert "&lt;b&gt;stare&lt;/b&gt;" in page and "<b>stare" not in page
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["success"] is False and result["critical"] == 1
    assert result["suites"]["events"]["checks"][0]["failing_rows"] == 2


def test_the_report_needs_no_network(tmp_path: Path) -> None:
    assert not re.search(r"""(src|href)\s*=|url\(|@import|<script""", run(tmp_path).docs.read_text())


def test_missing_columns_are_named(tmp_path: Path) -> None:
    missing = ["event_id", "event", "value", "text", "occurred_at"]
    report = run(tmp_path, {"events": events().drop(columns=missing), "items": items()})
    messages = " ".join(failure.message for failure in report.critical_failures)
    assert [column for column in missing if f"There is no column {column}." in messages] == missing


def test_a_wrong_type_is_named(tmp_path: Path) -> None:
    frame = events().assign(user_id=range(32), occurred_at="yesterday")
    assert {("events", "user_id"), ("events", "occurred_at")} <= critical_columns(
        run(tmp_path, {"events": frame, "items": items()})
    )


def test_empty_and_shrunken_snapshots_are_critical_failures(tmp_path: Path) -> None:
    empty = run(tmp_path, {"events": events().iloc[:0], "items": items()})
    assert "Found 0, expected at least 1." in " ".join(failure.message for failure in empty.critical_failures)
    assert run(tmp_path, previous_rows={"events": 64, "items": 11}).success
    shrunken = run(tmp_path, previous_rows={"events": 65})
    assert [failure.message.endswith("Found 32, expected at least 33.") for failure in shrunken.critical_failures] == [
        True
    ]
    assert run(tmp_path, previous_rows={"events": 65}, settings=ValidationSettings(volume_ratio=0.4)).success


def test_stale_snapshots_and_items_without_text_are_warnings(tmp_path: Path) -> None:
    silent = items()
    silent.loc[3:, ["title", "category"]] = ["", None]
    silent["category"] = silent["category"].map(lambda names: names or [])
    report = run(tmp_path, {"events": events(), "items": silent}, settings=ValidationSettings(freshness_days=0.5))
    assert report.success
    assert {failure.column for failure in report.warnings} == {"age_days", "has_text", "title"}


def test_feedback_may_be_missing(tmp_path: Path) -> None:
    report = run(tmp_path, {"events": events().assign(event="view"), "items": items()})
    assert report.success and report.statistics["feedback"]["rows"] == 0


def test_duplicate_items_and_categories_that_are_no_list_are_critical(tmp_path: Path) -> None:
    frame = items()
    frame.loc[1, "item_id"] = "d1"
    frame.loc[2, "category"] = "drama"
    assert critical_columns(run(tmp_path, {"events": events(), "items": frame})) == {
        ("items", "item_id"),
        ("items", "category_count"),
    }


def features(**columns: Any) -> dict[str, pd.DataFrame]:
    vectors = np.eye(3, 8, dtype=np.float32)
    vectors[2] = 0
    frame = interests(events(), ["u0", "u1", "u2"]).assign(**columns)
    return {"interests": frame, "embeddings": embedding_frame(["Fargo", "Alien", ""], vectors)}


KNOWN = {"user_id": ["u0", "u1", "u2", "u3"], "item_id": items()["item_id"].tolist()}


def test_interests_and_embeddings_can_be_validated_separately(tmp_path: Path) -> None:
    report = run(tmp_path, features(), references=KNOWN)
    assert report.success
    assert [(warning.suite, warning.column) for warning in report.warnings] == [("embeddings", "has_text")]


def test_invalid_interests_are_critical(tmp_path: Path) -> None:
    bad = features(
        user_id=["u0", "u0", "gone"],
        document_short=["", None, ""],
        long_items=[["d1"], ["gone"], []],
        short_keywords="words",
    )
    failing = ["user_id, as_of", "user_known", "document_short", "unknown_items", "short_keywords_count"]
    assert critical_columns(run(tmp_path, bad, references=KNOWN)) == {("interests", column) for column in failing}
    late = features(as_of=CUT + pd.Timedelta(seconds=1))
    assert critical_columns(run(tmp_path, late, references=KNOWN)) == {("interests", "age_days")}


def test_texts_need_finite_unit_vectors_and_empty_texts_zero_vectors(tmp_path: Path) -> None:
    vectors = np.eye(8)
    vectors[1] = np.nan
    vectors[2] = 2.0
    vectors[3] = 0.0
    report = run(tmp_path, {"embeddings": embedding_frame([*"abcdefg", ""], vectors)})
    failures = {failure.message.partition(".")[0]: failure.failing_rows for failure in report.critical_failures}
    assert failures == {
        "All components of a vector are finite": 1,
        "The vector of a text has unit length": 2,
        "The vector of a missing text is zero": 1,
    }


def test_a_wrong_number_of_vectors_is_refused() -> None:
    with pytest.raises(ValidationError, match="2 vectors for 1 texts"):
        embedding_frame(["one"], np.zeros((2, 4)))


def test_a_missing_reference_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"references=.*item_id"):
        run(tmp_path, {"events": events()})


def with_expectation(tmp_path: Path, expectation: object) -> Path:
    suites = tmp_path / "expectations"
    shutil.copytree(SUITES, suites)
    document = json.loads((suites / "items.json").read_text())
    document["expectations"].append(expectation)
    (suites / "items.json").write_text(json.dumps(document))
    return suites


def test_an_expectation_can_be_added_in_json(tmp_path: Path) -> None:
    added = {
        "type": "expect_column_values_to_not_match_regex",
        "kwargs": {"column": "title", "regex": "Harvest"},
        "severity": "warning",
    }
    report = run(tmp_path / "docs", suites=with_expectation(tmp_path, added))
    assert report.success
    assert [(warning.suite, warning.failing_rows) for warning in report.warnings] == [("items", 3)]
    assert "expect_column_values_to_not_match_regex title 3 of 11 rows fail" in report.warnings[0].message


@pytest.mark.parametrize(
    ("expectation", "named"),
    [
        ({"type": "expect_miracles", "kwargs": {}}, "expect_miracles"),
        ({"type": "expect_column_values_to_be_unique", "kwargs": {}}, "column"),
        ({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "title"}, "severity": "dire"}, "dire"),
        ({"kwargs": {}}, "type"),
        ("expect_something", "expectation 15"),
        (
            {
                "type": "expect_column_mean_to_be_between",
                "kwargs": {"column": "has_text", "min_value": {"$PARAMETER": "hope"}},
            },
            "hope",
        ),
    ],
)
def test_an_invalid_expectation_is_named_and_never_skipped(tmp_path: Path, expectation: object, named: str) -> None:
    with pytest.raises(ValidationError, match=rf"items\.json.*{named}"):
        run(tmp_path / "docs", suites=with_expectation(tmp_path, expectation))


@pytest.mark.parametrize("content", ["{", "[]", '{"expectations": []}', '{"name": "items"}', "é".encode("latin-1")])
def test_an_invalid_suite_is_named(tmp_path: Path, content: str | bytes) -> None:
    suites = with_expectation(tmp_path, {})
    (suites / "items.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValidationError, match=r"items\.json"):
        run(tmp_path / "docs", suites=suites)


def test_a_frame_without_a_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"no suite for 'surprise'.*events, feedback"):
        run(tmp_path, {"surprise": items()})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").write_text("a file")
    with pytest.raises(ValidationError, match="docs"):
        run(tmp_path / "docs")
