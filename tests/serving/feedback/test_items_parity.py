"""The same rows of items have the same fate at POST /items and in a file that `duotempo ingest` loads."""

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from components.datasets.opened_files import InputFiles, open_files
from components.files.connection import connect
from components.ingestion.load_files import judge_files, load_files
from components.mapping.mapping_file import mapping_from
from components.mapping.rules import Mapping as FileMapping
from components.mapping.texts import NULL_NUMBERS, NULL_TEXTS
from components.settings import Settings
from tests.support.postgres import emptied, stored
from tests.support.raw_events import NOW
from tests.support.service import RunningService

Row = dict[str, Any]
Verdicts = tuple[int, list[tuple[int, str]]]
NULL_WORDS = {*NULL_NUMBERS, *NULL_TEXTS} - {""}
TYPES = {"price": "number", "brand": "text", "fragile": "boolean"}

word = st.text(st.sampled_from("abzé7&;|.-  \t\x07中"), max_size=12).filter(lambda text: text.strip() not in NULL_WORDS)
"""Texts without null words: what they mean is up to the mapping of a file."""
nested = st.sampled_from([[1], ["a"], {"name": "a"}, []])
values: dict[str, st.SearchStrategy[Any]] = {
    "title": word | st.none(),
    "description": word | st.just("&amp;lt; A   &amp; B") | st.none(),
    "category": st.lists(word, max_size=3) | st.none(),
    "available": st.booleans() | st.none(),
    "published_at": st.integers(0, 2_000_000_000)
    | st.floats(0, 2e9).map(lambda seconds: round(seconds, 3))
    | st.sampled_from(["2020-01-02", "2020-01-02T03:04:05Z", "2020-01-02 03:04:05+02:00", "last spring", ""])
    | st.none(),
    "image_uri": word | st.none(),
    "creator_id": st.sampled_from(
        ["Ida", " Ida ", "e\u0301", "\u00e9", "a\x07b", "a\u200bb", "\ufeffOle", "i" * 201, ""]
    )
    | st.none(),
    "attributes": st.fixed_dictionaries(
        {
            "price": st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
            "brand": word | st.sampled_from(["b" * 1000, "b" * 1001]) | st.none() | nested,
            "fragile": st.booleans() | st.none(),
        }
    ),
}
item_ids = st.sampled_from(["Pa", "Pa", " Pa ", "Pb", "Pb", "Pb\ufeff", "", "Pc\x07d", "Pc\u200bd", "P" * 7])
columns = st.sets(st.sampled_from(list(values)))


@st.composite
def batches(draw: st.DrawFn) -> list[list[Row]]:
    """Files, each with columns of its own, of items that repeat."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        names = draw(columns)
        fields = {"item_id": item_ids, **{name: values[name] for name in sorted(names)}}
        found.append(draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=6)))
    return found


def mapping_of(rows: list[Row]) -> FileMapping:
    table: dict[str, Any] = {name: name for name in rows[0] if name not in ("attributes", "published_at")}
    if "published_at" in rows[0]:
        table["published_at"] = {"column": "published_at", "format": "seconds"}
    if "attributes" in rows[0]:
        rules = {name: {"column": f"attributes.{name}", "type": kind} for name, kind in TYPES.items()}
        table["attributes"] = rules
    return mapping_from({"items": table})


def load_file(engine: Engine, rows: list[Row]) -> Verdicts:
    """The number of accepted rows, and the reasons of the others by their number."""
    with TemporaryDirectory() as folder, connect(Path(folder)) as connection:
        file = Path(folder) / "items.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        opened = open_files(connection, InputFiles(items=file), mapping=mapping_of(rows))
        judged = judge_files(connection, opened, Settings(), source="test", now=NOW, engine=engine)
        rejected = connection.execute("SELECT row, reason FROM rejected_items ORDER BY row").fetchall()
        load_files(connection, opened, judged, engine, Settings(), source="test")
        return judged.items.accepted, rejected


def post(client: httpx.Client, admin: Mapping[str, str], rows: list[Row]) -> Verdicts:
    response = client.post("/items", json={"items": rows}, headers=admin)
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["accepted"], sorted((row["index"], row["reason"]) for row in answer["rejected"])


@pytest.fixture(scope="module")
def store(database: str) -> Iterator[tuple[str, Engine]]:
    with emptied(database) as engine:
        yield database, engine


def test_both_doors_have_the_same_rules(
    client: httpx.Client, service: RunningService, admin: Mapping[str, str], store: tuple[str, Engine]
) -> None:
    url, engine = store

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(batches())
    def compare(batches: list[list[Row]]) -> None:
        prefix = uuid.uuid4().hex
        for batch in batches:
            rows = [row | {"item_id": row["item_id"].replace("P", prefix)} for row in batch]
            assert load_file(engine, rows) == post(client, admin, rows)
            query = "SELECT to_jsonb(items) - 'updated_at' FROM items WHERE item_id LIKE %s ORDER BY item_id"
            pairs = zip(stored(url, query, f"{prefix}%"), stored(service.database, query, f"{prefix}%"), strict=True)
            assert [(one, other) for one, other in pairs if one != other] == []

    compare()
