"""`duotempo report online` and `report drift`: tables, JSON, and messages without data."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from components.store.impressions import record_shadow
from tests.support.command_result import Run
from tests.support.impressions import show, store_feedback
from tests.support.ports import free_port
from tests.support.postgres import emptied


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine


@pytest.fixture
def answered(engine: Engine) -> None:
    """Stores four answers each of the champion and a canary, with one like each."""
    now = datetime.now(UTC)
    for number in range(4):
        show(engine, f"r{number}", f"u{number}", [("i0", 1.0), ("i1", 1.0)], now=now)
        show(
            engine, f"q{number}", f"v{number}", [("i0", 0.5, True), ("i1", 1.0)], now=now, variant="canary", version="2"
        )
    store_feedback(engine, [("u0", "i0", "like", 0.5, "r0", None), ("v0", "i1", "like", 0.5, "q0", None),
                  ("v0", "i0", "like", 0.5, "lost", None)], now=now)  # fmt: skip


@pytest.mark.usefixtures("answered")
def test_online_report_compares_variants(duotempo: Run, database: str) -> None:
    answer = duotempo("report", "online", DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    lines = {cells[0]: cells for line in answer.out.splitlines() if len(cells := line.strip("│").split("│")) == 4}
    rows = {name.strip(): [cell.strip() for cell in cells[1:]] for name, cells in lines.items()}
    assert rows["version"] == ["1", "2", "-"]
    assert rows["impressions"] == ["4", "4", "-"]
    assert [cell.split()[0] for cell in rows["ctr@10"]] == ["0.25", "0.25", "0"]
    assert rows["rating"] == ["-", "-", "-"]
    assert rows["ess"][0] == "-" and float(rows["ess"][1]) == pytest.approx(8)
    assert "canary - champion" in answer.out
    assert "no exploration in the answers of champion (setting ranking.exploration)" in answer.text
    assert "1 events refer to no shown item" in answer.text


@pytest.mark.usefixtures("answered")
def test_online_report_includes_shadow(duotempo: Run, engine: Engine, database: str) -> None:
    now = datetime.now(UTC)
    for number, overlap in enumerate((0.5, 1.0, None)):
        with engine.begin() as connection:
            record_shadow(
                connection, request_id=f"r{number}", answered_at=now, model_version="3", overlap=overlap, seconds=0.02,
                error=None if overlap else "ValueError: no",
            )  # fmt: skip
    answer = duotempo("report", "online", DUOTEMPO_DATABASE_URL=database)
    assert "shadow, version 3: 3 answers, 1 failed, 0.75 of the shown list, 95 % within 20 ms" in answer.text
    payload = json.loads(duotempo("report", "online", "--json", DUOTEMPO_DATABASE_URL=database).out)
    assert payload["shadows"] == [
        {"model_version": "3", "answers": 3, "failed": 1, "overlap": 0.75, "seconds": pytest.approx(0.02)}
    ]


@pytest.mark.usefixtures("answered")
def test_online_report_as_json(duotempo: Run, database: str) -> None:
    answer = duotempo("report", "online", "--days", "3", "--json", DUOTEMPO_DATABASE_URL=database)
    payload = json.loads(answer.out)
    assert set(payload["variants"]) == {"champion", "canary"}
    assert payload["variants"]["champion"]["metrics"]["ctr@10"]["mean"] == 0.25
    assert payload["variants"]["champion"]["metrics"]["rating"] == {"mean": None, "low": None, "high": None}
    assert payload["variants"]["canary"]["against_champion"]["ctr@10"]["mean"] == 0
    assert (payload["unmatched"], payload["history"]) == (1, [])
    assert payload["shadows"] == []
    since, until = (datetime.fromisoformat(payload[end]) for end in ("from", "to"))
    assert (until - since).days == 3


@pytest.mark.usefixtures("answered")
def test_drift_report_with_too_few_events(duotempo: Run, database: str) -> None:
    answer = duotempo("report", "drift", DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    assert "too few events: 0 before and 3 in the window, 500 are needed in each" in answer.text
    payload = json.loads(duotempo("report", "drift", "--json", DUOTEMPO_DATABASE_URL=database).out)
    assert set(payload["features"]) == {"events", "categories", "popularity", "hours", "scores", "texts"}
    assert payload["features"]["hours"]["value"] is None and payload["reference"]["to"] == payload["from"]


@pytest.mark.usefixtures("engine")
def test_online_report_without_answers_suggests_next_step(duotempo: Run, database: str) -> None:
    answer = duotempo("report", "online", DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0
    assert "no recommendations were served" in answer.text and "duotempo status" in answer.text


@pytest.mark.parametrize("what", ["online", "drift"])
def test_report_without_database_names_the_cause(duotempo: Run, what: str) -> None:
    answer = duotempo("report", what)
    assert answer.code == 1 and "duotempo up" in answer.text
    port = free_port()
    away = duotempo("report", what, DUOTEMPO_DATABASE_URL=f"postgresql://me:s3cret@127.0.0.1:{port}/shop")
    assert away.code == 1 and f"127.0.0.1:{port}" in away.text and "s3cret" not in away.text
    assert duotempo("report", what, "--days", "0").code == 2
