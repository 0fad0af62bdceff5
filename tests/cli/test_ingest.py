"""`duotempo ingest`: loaded rows, quarantined rows, and errors."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, func, select

from components.store.schema import Event, Item, Quarantined
from tests.support.command_result import Answer, Run
from tests.support.datasets import LAST, catalogue, toy_events, write_dataset
from tests.support.ports import free_port
from tests.support.postgres import emptied


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    with emptied(database) as engine:
        yield engine


def events(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "event"])


def write_csv(folder: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(folder / "events.csv", index=False)
    return folder / "events.csv"


def count(engine: Engine, model: type) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(model)) or 0)


def reasons(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Quarantined.reason).order_by(Quarantined.quarantine_id)))


def cell(answer: Answer, name: str) -> int:
    """Reads the count in the row `name` of the printed table."""
    (line,) = [line for line in answer.out.splitlines() if f" {name} " in line]
    return int(line.split("│")[-2])


def test_ingesting_a_folder_twice_adds_nothing(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    first = duotempo("ingest", folder, DUOTEMPO_DATABASE_URL=database)
    assert first.code == 0, first.err
    assert cell(first, "accepted") == len(toy_events()) == count(engine, Event)
    assert cell(first, "items added") == len(catalogue()) == count(engine, Item)
    again = duotempo("ingest", folder, DUOTEMPO_DATABASE_URL=database)
    assert (cell(again, "accepted"), cell(again, "duplicates")) == (0, len(toy_events()))
    assert count(engine, Event) == len(toy_events())


def test_bad_rows_are_quarantined_with_reasons(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    rows = events(
        ("u1", "i1", LAST, "view"),
        ("u1", "i1", LAST, "view"),
        ("u1", "i2", LAST, "stare"),
        ("u1", "i3", LAST * 1000, "view"),
        ("u1", "i4", int(time.time()) + 86_400, "view"),
        ("u1", "i5", "yesterday", "view"),
        ("u1", "nowhere", LAST, "view"),
        ("", "i6", LAST, "view"),
        *(("u1", "i1", LAST - n, "view") for n in range(1, 93)),
    )
    catalogue().to_csv(tmp_path / "items.csv", index=False)
    files = ("--events", write_csv(tmp_path, rows), "--items", tmp_path / "items.csv")
    answer = duotempo("ingest", *files, DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    assert (cell(answer, "accepted"), cell(answer, "duplicates")) == (93, 1)
    codes = ["unknown_event", "timestamp_in_milliseconds", "future_timestamp", "bad_timestamp"]
    codes += ["unknown_item", "missing_user_id"]
    for code in codes:
        assert cell(answer, f"rejected: {code}") == 1
    kept = reasons(engine)
    assert sorted(reason.split(":")[0] for reason in kept) == sorted(codes)
    assert any("'stare' is none of view, click" in reason for reason in kept)
    assert any("divide by 1,000" in reason for reason in kept)


def test_duplicate_item_id_keeps_the_first(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    twice = pd.concat([catalogue(), catalogue().head(1).assign(title="another")], ignore_index=True)
    answer = duotempo("ingest", write_dataset(tmp_path / "shop", toy_events(), twice), DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    assert cell(answer, "rejected: duplicate_item") == 1
    with engine.connect() as connection:
        assert connection.scalar(select(Item.title).where(Item.item_id == "i0")) == "garden tool 0"


def test_duplicate_event_id_is_stored_once(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    rows = events(("u1", "i1", LAST, "view"), ("u2", "i2", LAST, "view")).assign(event_id="e1")
    answer = duotempo("ingest", "--events", write_csv(tmp_path, rows), DUOTEMPO_DATABASE_URL=database)
    assert (cell(answer, "accepted"), cell(answer, "duplicates")) == (1, 1)


def test_item_without_text_is_accepted(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    bare = pd.DataFrame({"item_id": ["i1", "i2"], "title": ["", None]})
    folder = write_dataset(tmp_path / "shop", events(("u1", "i1", LAST, "view")), bare)
    answer = duotempo("ingest", folder, DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    assert cell(answer, "items added") == 2


def test_custom_column_names_are_mapped(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"uid": ["u1"], "sku": ["i1"], "when": [LAST], "value": [4.0]})
    mapped = "user_id=uid,item_id=sku,timestamp=when,event=rating"
    answer = duotempo("ingest", "--events", write_csv(tmp_path, rows), "--map", mapped, DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    with engine.connect() as connection:
        assert connection.execute(select(Event.user_id, Event.event, Event.value)).all() == [("u1", "rating", 4.0)]


def test_what_is_not_certain_is_asked_with_the_line_to_add(duotempo: Run, database: str, tmp_path: Path) -> None:
    file = write_csv(tmp_path, toy_events().drop(columns="item_id"))
    answer = duotempo("ingest", "--events", file, DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 2
    assert "no column is known to hold item_id" in answer.text
    assert '[events] item_id = "COLUMN"' in answer.text
    assert "`duotempo inspect`" in answer.text


def test_a_name_that_matches_no_column_is_an_error(
    duotempo: Run, engine: Engine, database: str, tmp_path: Path
) -> None:
    file = write_csv(tmp_path, toy_events())
    answer = duotempo("ingest", "--events", file, "--map", "value=valeu", DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 1
    assert "--map value=valeu: no column valeu; the columns of events are user_id, item_id" in answer.text
    assert count(engine, Event) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--delimiter", ""), "the delimiter '' is not one to 4 characters"),
        (("--quote", "''"), "more than one character"),
        (("--sheet", "Orders"), "is csv and has no sheets"),
        (("--encoding", "klingon"), "no encoding is named klingon"),
        (("--timezone", "Mars/Olympus"), "no timezone 'Mars/Olympus'"),
        (("--mapping", "missing.toml"), "missing.toml cannot be read"),
        (("--write", "no/folder/m.toml"), "cannot be written"),
    ],
)
def test_wrong_options_are_explained(duotempo: Run, tmp_path: Path, options: tuple[str, str], message: str) -> None:
    answer = duotempo("inspect", write_csv(tmp_path, toy_events()), *options)
    assert answer.code == 1
    assert message in answer.text


def test_a_tab_is_named(duotempo: Run, tmp_path: Path) -> None:
    toy_events().to_csv(tmp_path / "events.txt", sep="\t", index=False)
    answer = duotempo("inspect", tmp_path / "events.txt", "--delimiter", "tab")
    assert answer.code == 0, answer.text
    assert "would be accepted" in answer.out


def test_values_of_a_wrong_type_are_rejected(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events().assign(value="five"))
    answer = duotempo("ingest", folder, DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 3
    assert cell(answer, "rejected: bad_value") == len(toy_events())
    assert "100% of the rows were rejected" in answer.text and "--undo" in answer.text
    assert "'five' is no number" in answer.out


def test_empty_file_is_rejected(duotempo: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing.csv").write_text("")
    answer = duotempo("ingest", "--events", "nothing.csv")
    assert answer.code == 1
    assert "nothing.csv is empty; it needs a header and rows" in answer.text
    (tmp_path / "header.csv").write_text("user_id,item_id,timestamp,event\n")
    answer = duotempo("ingest", "--events", "header.csv")
    assert answer.code == 1
    assert "header.csv" in answer.text and "no rows" in answer.text


def test_unreadable_parquet_is_rejected(duotempo: Run, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "shop", toy_events())
    file = folder / "interactions.parquet"
    file.write_bytes(file.read_bytes()[:500])
    answer = duotempo("ingest", folder)
    assert answer.code == 1
    assert f"{file} cannot be read as parquet" in answer.text


def test_missing_or_empty_folder_is_rejected(duotempo: Run, tmp_path: Path) -> None:
    assert "no-such-shop does not exist" in duotempo("ingest", "no-such-shop").text
    (tmp_path / "empty").mkdir()
    answer = duotempo("ingest", "empty")
    assert answer.code == 1
    assert "empty holds no Parquet files" in answer.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name files, a dataset folder, or --events FILE"),
        (("--events", "events.csv", "--map", "user_id"), "expected our_name=their_name"),
    ],
)
def test_conflicting_arguments_are_rejected(duotempo: Run, arguments: tuple[str, ...], message: str) -> None:
    answer = duotempo("ingest", *arguments)
    assert answer.code == 2
    assert message in answer.text


def test_database_down_error_hides_password(duotempo: Run, tmp_path: Path) -> None:
    port = free_port()
    url = f"postgresql://me:s3cret@127.0.0.1:{port}/shop"
    answer = duotempo("ingest", write_dataset(tmp_path / "shop", toy_events()), DUOTEMPO_DATABASE_URL=url)
    assert answer.code == 1
    assert f"127.0.0.1:{port}" in answer.text
    assert "s3cret" not in answer.text


def test_missing_schema_error_suggests_up(duotempo: Run, database: str, postgres_url: str, tmp_path: Path) -> None:
    answer = duotempo("ingest", write_dataset(tmp_path / "shop", toy_events()), DUOTEMPO_DATABASE_URL=postgres_url)
    assert answer.code == 1
    assert "duotempo up" in answer.text


def test_ingest_without_platform_suggests_up(duotempo: Run, tmp_path: Path) -> None:
    answer = duotempo("ingest", write_dataset(tmp_path / "shop", toy_events()))
    assert answer.code == 1
    assert "duotempo up" in answer.text


@pytest.mark.parametrize("option", ["--items", "--events"])
def test_file_options_with_a_folder_are_rejected(duotempo: Run, tmp_path: Path, option: str) -> None:
    answer = duotempo("ingest", write_dataset(tmp_path / "shop", toy_events()), option, "items.csv")
    assert answer.code == 2
    assert "a dataset folder has its own items" in answer.text


def test_unknown_event_types_are_reported_with_counts(
    duotempo: Run, engine: Engine, database: str, tmp_path: Path
) -> None:
    rows = (
        [("u", "x", LAST, "gaze")] * 2 + [("u", "x", LAST, "stare")] + [("u", "x", LAST - n, "pv") for n in range(97)]
    )
    answer = duotempo("ingest", "--events", str(write_csv(tmp_path, events(*rows))), DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.err
    assert cell(answer, "accepted") == 97
    assert "unknown event types: 'gaze' (2), 'stare' (1); known ones: view, click" in " ".join(answer.out.split())


def test_export_of_unknown_user_writes_nothing(duotempo: Run, database: str, tmp_path: Path) -> None:
    file = tmp_path / "nobody.json"
    answer = duotempo("export", "nobody", "--out", str(file), DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 1
    assert "nobody is known as 'nobody'" in answer.err
    assert not file.exists()


def test_inspect_writes_a_mapping_that_ingest_reads(
    duotempo: Run, engine: Engine, database: str, tmp_path: Path
) -> None:
    shop = tmp_path / "orders.csv"
    shop.write_text("Kunde;Artikel;Datum;Menge\n0071;x;24.12.2025 18:00;2\n0071;y;25.12.2025 08:00;-1\n")
    names = "user_id=Kunde,item_id=Artikel,timestamp=Datum,value=Menge,event=purchase"
    looked = duotempo("inspect", shop, "--map", names, "--timezone", "Europe/Berlin")
    assert looked.code == 0, looked.text
    assert "events, 2 rows of csv, delimiter ;" in looked.out
    assert "would be accepted: 2 events" in looked.out
    mapping = tmp_path / "mapping.toml"
    assert 'timestamp = { column = "Datum"' in mapping.read_text()
    again = duotempo("inspect", shop)
    assert again.code == 2 and "mapping.toml exists" in again.text
    mapping.write_text(mapping.read_text().replace('kind = "number"', 'kind = "quantity"'))
    answer = duotempo("ingest", shop, "--mapping", "mapping.toml", DUOTEMPO_DATABASE_URL=database)
    assert answer.code == 0, answer.text
    assert cell(answer, "left out: return") == 1
    with engine.connect() as connection:
        [(user, value, at)] = connection.execute(select(Event.user_id, Event.value, Event.occurred_at)).all()
    assert (user, value, at.astimezone(UTC)) == ("0071", 2.0, datetime(2025, 12, 24, 17, tzinfo=UTC))


def test_a_load_is_listed_and_taken_back(duotempo: Run, engine: Engine, database: str, tmp_path: Path) -> None:
    first = duotempo("ingest", write_dataset(tmp_path / "shop", toy_events()), DUOTEMPO_DATABASE_URL=database)
    number = re.search(r"load (\d+)", first.out)
    assert number is not None
    listed = duotempo("ingest", "--list", DUOTEMPO_DATABASE_URL=database)
    assert "complete" in listed.out and str(len(toy_events())) in listed.out
    undone = duotempo("ingest", "--undo", number[1], DUOTEMPO_DATABASE_URL=database)
    assert undone.code == 0, undone.err
    assert f"load {number[1]} is undone: {len(toy_events()):,} events" in undone.out
    assert count(engine, Event) == count(engine, Item) == 0
    again = duotempo("ingest", "--undo", number[1], DUOTEMPO_DATABASE_URL=database)
    assert again.code == 1 and "undone already" in again.text
    assert "there is no load 999999" in duotempo("ingest", "--undo", "999999", DUOTEMPO_DATABASE_URL=database).text


def test_folders_of_killed_processes_are_removed(duotempo: Run, cache: Path, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left_over, in_use = (cache / "ingest" / f"{pid}-x" for pid in (int(gone.stdout), os.getpid()))
    for folder in (left_over, in_use):
        folder.mkdir(parents=True)
    assert duotempo("inspect", write_csv(tmp_path, toy_events())).code == 0
    assert [folder.exists() for folder in (left_over, in_use)] == [False, True]
