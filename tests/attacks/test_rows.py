"""Malicious rows: each is stored, or rejected and kept in quarantine, and none blocks another."""

import json
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from cli.main import app
from components.core.columns import EVENTS
from components.datasets.sources import Dataset
from components.settings import EventSettings, Settings, ValidationSettings
from components.store.consent import export_user
from components.store.db_errors import Fault, classify_error
from components.store.engine import StoreError
from components.store.load import quarantine
from components.store.partitions import create_upcoming_partitions, missing_months
from components.store.privacy import Privacy
from components.store.rows import Rejected
from components.store.snapshot import take_snapshot
from components.store.timed_connection import QueryTimeout
from components.validation import ValidationReport, validate
from tests.support.loading import ingest
from tests.support.postgres import emptied, empty
from tests.support.raw_events import NOW, raw_events, shop

SUPPRESSED_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@pytest.fixture
def store(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine


def rows(store: Engine, query: str) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("08006", Fault.AWAY), ("57P01", Fault.AWAY), ("57P03", Fault.AWAY), ("53300", Fault.AWAY),
        ("53100", Fault.TRANSIENT), ("57014", Fault.TRANSIENT), ("55P03", Fault.TRANSIENT), ("25P03", Fault.TRANSIENT),
        ("40001", Fault.TRANSIENT), ("40P01", Fault.TRANSIENT), ("42P01", Fault.TRANSIENT), ("42883", Fault.TRANSIENT),
        ("54000", Fault.ROW), ("22003", Fault.ROW), ("22021", Fault.ROW), ("23514", Fault.ROW), ("P0001", Fault.ROW),
    ],
)  # fmt: skip
def test_errors_are_classified_by_sqlstate(store: Engine, state: str, fault: Fault) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$"
    with store.connect() as connection, pytest.raises(Exception, match="made up") as caught:
        connection.execute(text(statement))
    assert classify_error(caught.value) is fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (psycopg.OperationalError("the connection is lost"), Fault.AWAY),
        (QueryTimeout("too late"), Fault.TRANSIENT),
        (psycopg.DataError("no NUL"), Fault.ROW),
        (ValueError("a text holds the character 0"), Fault.ROW),
    ],
)
def test_errors_without_an_sqlstate_are_classified(error: Exception, fault: Fault) -> None:
    assert classify_error(error) is fault


VALUES = st.one_of(
    st.text(max_size=50),
    st.sampled_from(["x" * 5000, "é" * 3000, "\x00\ud800", "u"]).map(lambda text: text * 2),
    st.integers(),
    st.sampled_from([10**400, -(2**70), float("inf"), float("nan"), None, True]),
)


@given(st.lists(st.dictionaries(st.text(max_size=300), VALUES, max_size=80), min_size=1, max_size=5), VALUES)
@settings(max_examples=30, deadline=None, suppress_health_check=SUPPRESSED_CHECKS)
def test_quarantine_accepts_any_row_and_bounds_its_size(store: Engine, raw: list[dict[str, Any]], user: Any) -> None:
    with store.begin() as connection:
        connection.execute(text("TRUNCATE quarantine"))
        for _ in range(2):
            quarantine(connection, "test", [Rejected(0, {**row, "user_id": user}, "bad_row: made up") for row in raw])
    sizes = [size for (size,) in rows(store, 'SELECT octet_length("row"::text) FROM quarantine')]
    assert 1 <= len(sizes) <= len(raw), "a duplicate row is kept once"
    assert max(sizes) < 200_000


def test_export_matches_rejected_rows_by_the_whole_user_id(store: Engine) -> None:
    user = "é" * 200
    rejected = [Rejected(0, {"user_id": name}, "bad: made up") for name in (user, f" {user} ", user + "!", "x" * 3000)]
    with store.begin() as connection:
        quarantine(connection, "test", rejected)
        rejected_rows = export_user(connection, Privacy(Settings()), [user])["rejected_rows"]
    assert [rejected["row"]["user_id"] for rejected in rejected_rows] == [user, f" {user} "]


def test_a_file_is_never_aborted_for_one_row(store: Engine) -> None:
    events = raw_events([("u", "a", 1_600_000_000 + n, "view") for n in range(500)], text="fine")
    events.loc[[3, 77, 499], "text"] = "poison"
    dataset = shop(events, items=["a", "b", "poison"])
    with store.begin() as connection:
        connection.execute(text("ALTER TABLE events ADD CONSTRAINT shut CHECK (text <> 'poison')"))
        connection.execute(text("ALTER TABLE items ADD CONSTRAINT shut CHECK (item_id <> 'poison')"))
        connection.execute(text("ALTER TABLE quarantine ADD CONSTRAINT shut CHECK (\"row\" ->> 'text' <> 'poison')"))
    try:
        report = ingest(store, dataset, Settings(), source="test", now=NOW)
    finally:
        with store.begin() as connection:
            for table in ("events", "items", "quarantine"):
                connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT shut"))
    assert (report.accepted, report.items_added, report.rejected) == (497, 2, {"refused": 4})
    assert rows(store, "SELECT count(*) FROM events") == [(497,)]
    kept = rows(store, "SELECT \"row\" ? 'sha256', count(*) FROM quarantine GROUP BY 1 ORDER BY 1")
    assert kept == [(False, 1), (True, 3)], "for a row that quarantine refuses, the digest is kept"


def test_a_missing_table_rejects_no_rows(store: Engine) -> None:
    with store.begin() as connection:
        connection.execute(text("ALTER TABLE event_keys RENAME TO elsewhere"))
    try:
        with pytest.raises(StoreError, match="duotempo up"):
            ingest(store, shop(raw_events([("u", "a", 1_600_000_000, "view")])), Settings(), source="test", now=NOW)
    finally:
        with store.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO event_keys"))
    assert rows(store, "SELECT count(*) FROM quarantine") == [(0,)]


def test_partitions_are_created_in_advance(store: Engine) -> None:
    now = datetime(2041, 11, 30, 23, tzinfo=UTC)
    assert create_upcoming_partitions(store.begin, now) == 6
    assert create_upcoming_partitions(store.begin, now) == 0
    with store.connect() as connection:
        assert missing_months(connection, [now, now + timedelta(days=60)]) == set()
        assert len(missing_months(connection, [now + timedelta(days=95)])) == 1


NUMBERS = st.one_of(
    st.floats(), st.integers(), st.sampled_from([1e308, 1e12, -1e12, 1.0000001e12, "5", "1e400", None, True, "٣"])
)
IDS = st.one_of(st.text(max_size=4), st.sampled_from(["a", " a ", "u" * 200, "u" * 201, "7", "é"]), st.just(7))
RAW_EVENTS = st.fixed_dictionaries(
    {
        "user_id": IDS,
        "item_id": st.sampled_from(["a", "b", " a", "zz"]),
        "event": st.sampled_from([*EVENTS, "RATING", "gaze"]),
        "timestamp": st.one_of(
            st.floats(0, NOW.timestamp() + 600), st.sampled_from([0, "1989-12-31", "1990-01-01", "2024-05", True, -1])
        ),
        "value": NUMBERS,
        "text": st.one_of(st.none(), st.text(max_size=20)),
        "event_id": st.one_of(st.none(), st.text(string.ascii_letters, max_size=3)),
    }
)
RAW_ITEMS = st.fixed_dictionaries(
    {
        "title": st.one_of(st.none(), st.text(max_size=600)),
        "category": st.one_of(st.none(), st.just("|".join(map(str, range(1001)))), st.text(max_size=9)),
        "available": st.sampled_from([None, True, "no", "0", "maybe"]),
        "published_at": st.sampled_from([None, 0, -62_135_596_800, "9999-12-31", "2024-05", "soon"]),
    }
)


@given(st.lists(RAW_EVENTS, min_size=60, max_size=200), st.lists(RAW_ITEMS, min_size=5, max_size=5))
@settings(max_examples=2, deadline=None, suppress_health_check=[*SUPPRESSED_CHECKS, HealthCheck.data_too_large])
def test_accepted_rows_pass_the_expectations(
    store: Engine, tmp_path_factory: pytest.TempPathFactory, raw: list[dict[str, Any]], items: list[dict[str, Any]]
) -> None:
    empty(store)
    good = {"user_id": "u", "item_id": "a", "event": "rating", "value": 1e12, "timestamp": 1.7e9}
    all_items = [{"item_id": "a"}, {"item_id": "b"}, *({"item_id": f"i{n}", **item} for n, item in enumerate(items))]
    dataset = Dataset("shop", pd.DataFrame([good, *raw], dtype=object), pd.DataFrame(all_items, dtype=object))
    assert ingest(store, dataset, Settings(), source="test", now=NOW).accepted >= 1
    report = validate_snapshot(store, tmp_path_factory.mktemp("run"))
    assert [failure.message for failure in report.critical_failures] == []


def validate_snapshot(store: Engine, folder: Path) -> ValidationReport:
    snapshot = take_snapshot(store, NOW, folder / "snapshots")
    frames = {"events": snapshot.events(), "items": snapshot.items()}
    return validate(frames, folder / "report", cut=NOW, settings=ValidationSettings())


def test_few_failing_rows_are_named_and_can_be_quarantined(store: Engine, database: str, tmp_path: Path) -> None:
    events = raw_events([("u", "a", 1.7e9 + n, "view") for n in range(9)])
    ingest(store, shop(events), Settings(), source="test", now=NOW)
    two_events = "(SELECT event_id FROM events LIMIT 2)"
    with store.begin() as connection:
        connection.execute(text(f"UPDATE events SET value = 1e308 WHERE event_id IN {two_events}"))
    report = validate_snapshot(store, tmp_path)
    assert not report.success
    event_ids = json.loads((tmp_path / "report/result.json").read_text())["suites"]["events"]["checks"][0]["event_ids"]
    assert len(event_ids) == 2
    assert all(named in report.docs.read_text() for named in (*event_ids, report.remedy))
    program, *arguments = report.remedy.split()
    done = CliRunner(env={"DUOTEMPO_DATABASE_URL": database, "DUOTEMPO_HOME": str(tmp_path)}).invoke(app, arguments)
    assert (program, done.exit_code, done.stdout.split()[0]) == ("duotempo", 0, "2"), done.stderr
    assert validate_snapshot(store, tmp_path / "again").success
    reasons = rows(store, "SELECT \"row\" ->> 'event_id', split_part(reason, ':', 1) FROM quarantine")
    assert sorted(reasons) == sorted((event_id, "failed_validation") for event_id in event_ids)


def test_events_before_the_earliest_setting_are_rejected(store: Engine) -> None:
    events = raw_events([("u", "a", "1989-12-31T23:59:59", "view"), ("u", "a", "1990-01-01", "view")])
    report = ingest(store, shop(events), Settings(), source="test", now=NOW)
    assert (report.accepted, report.rejected) == (1, {"timestamp_before_1990-01-01": 1})
    years = raw_events([("u", "a", f"{year}-{month:02d}-01", "view") for year in range(1975, 1978) for month in (1, 7)])
    early = Settings(events=EventSettings.model_validate({"earliest": "1975-01-01"}))
    assert ingest(store, shop(years), early, source="test", now=NOW).accepted == 6
