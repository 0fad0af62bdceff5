"""creator_id and attributes of items: cleaning, updates of some columns, undo."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from components.datasets.opened_files import InputFiles
from components.ingestion.clean import clean_items
from components.mapping.mapping_file import mapping_from
from components.mapping.rules import Mapping
from components.store.undo import Undone, undo_load
from tests.support.loading import Loaded, load
from tests.support.raw_events import NOW

MAPPING = mapping_from(
    {
        "items": {
            "item_id": "sku",
            "title": "name",
            "creator_id": "seller",
            "attributes": {
                "price": {"column": "Price", "type": "number"},
                "brand": "Brand",
                "fragile": {"column": "Fragile", "type": "boolean"},
            },
        }
    }
)
STORED = "SELECT item_id, title, creator_id, attributes FROM items ORDER BY item_id"


def only(*names: str) -> Mapping:
    """The mapping of a file that has some of the columns."""
    part = MAPPING.role("items")
    fields = {name: rule for name, rule in part.fields.items() if rule.column in names}
    attributes = {name: rule for name, rule in part.attributes.items() if rule.column in names}
    return Mapping(None, type(part)(fields, attributes=attributes))


def load_rows(store: Engine, folder: Path, header: str, *lines: str) -> Loaded:
    """Loads a file of items that has some of the columns of MAPPING."""
    file = folder / "items.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return load(store, InputFiles(items=file), now=NOW, mapping=only(*header.split(",")))


def stored(store: Engine, query: str = STORED) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_attributes_are_cleaned() -> None:
    raw = {
        "price": 5.0, "weight": 0.25, "brand": "  A &amp;\n B ", "fragile": False, "big": 2**53 + 1, "none": None,
        "nan": float("nan"), "empty": " ",
    }  # fmt: skip
    [item] = clean_items([{"item_id": "x", "creator_id": " 8.0 ", "attributes": raw}], source="test").rows
    assert item.creator_id == "8.0"
    assert item.attributes == {"price": 5, "weight": 0.25, "brand": "A & B", "fragile": False, "big": 2**53}
    assert type(item.attributes["price"]) is int, "whole numbers are stored alike, however they were written"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("red", "they are no object"),
        (["red"], "they are no object"),
        ({"Price": 1}, "'Price' is no name"),
        ({"a" * 65: 1}, "is no name"),
        ({"": 1}, "'' is no name"),
        ({f"a{n}": n for n in range(51)}, "51 names, more than 50"),
        ({"brand": "b" * 1001}, "brand has 1001 characters, more than 1000"),
        ({"tags": ["a"]}, "tags is neither text nor a number"),
        ({"maker": {"name": "a"}}, "maker is neither text nor a number"),
        ({"price": float("inf")}, "price is no finite number"),
        ({"price": 10**400}, "price is no finite number"),
    ],
)
def test_bad_attributes_are_named(attributes: object, reason: str) -> None:
    [rejected] = clean_items([{"item_id": "x", "attributes": attributes}], source="test").rejected
    assert rejected.reason.startswith("bad_attributes: ")
    assert reason in rejected.reason


def test_a_bad_creator_is_rejected() -> None:
    raw: list[dict[str, object]] = [{"item_id": "x", "creator_id": "a\x07b"}, {"item_id": "y", "creator_id": 1.5}]
    reasons = [entry.reason for entry in clean_items(raw, source="test").rejected]
    assert [reason.split(":")[0] for reason in reasons] == ["bad_creator_id"] * 2


def test_the_content_hash_covers_creator_and_attributes() -> None:
    plain: dict[str, object] = {"title": "same"}
    contents = [plain, plain | {"creator_id": "c"}, plain | {"attributes": {"a": 1}}, plain | {"attributes": {"a": 2}}]
    raw = [{"item_id": str(number), **content} for number, content in enumerate(contents)]
    assert len({item.content_hash for item in clean_items(raw, source="test").rows}) == 4
    orders: list[dict[str, object]] = [{"a": 1, "b": "x", "c": None}, {"b": "x", "a": 1.0}]
    same = [{"item_id": str(number), "attributes": order} for number, order in enumerate(orders)]
    assert len({item.content_hash for item in clean_items(same, source="test").rows}) == 1


def test_an_item_without_them_keeps_the_hash_of_earlier_releases() -> None:
    [item] = clean_items([{"item_id": "x", "title": "A lamp"}], source="test").rows
    assert [item.content_hash] == [
        "119094237997422f9a0128e5ed4ea11cf9470593dbca3ad013681fbb6ced0d5f",
    ]


def test_a_file_changes_its_own_columns_and_attributes_only(store: Engine, tmp_path: Path) -> None:
    load_rows(store, tmp_path, "sku,name,seller,Price,Brand,Fragile", "a,Lamp,Ida,12.5,Lux,yes", "b,Pan,,,,")
    assert stored(store) == [
        ("a", "Lamp", "Ida", {"price": 12.5, "brand": "Lux", "fragile": True}),
        ("b", "Pan", None, {}),
    ]
    report = load_rows(store, tmp_path, "sku,Price", "a,9", "b,4").report
    assert (report.items_added, report.items_updated) == (0, 2)
    assert stored(store)[0] == ("a", "Lamp", "Ida", {"price": 9, "brand": "Lux", "fragile": True})
    assert stored(store)[1] == ("b", "Pan", None, {"price": 4})
    assert load_rows(store, tmp_path, "sku,Price", "a,", "b,4").report.items_updated == 0, "an empty price removes none"
    load_rows(store, tmp_path, "sku,seller", "a,", "b,Ole")
    assert [row[2:] for row in stored(store)] == [
        (None, {"price": 9, "brand": "Lux", "fragile": True}),
        ("Ole", {"price": 4}),
    ]


def test_a_value_of_another_type_rejects_its_row(store: Engine, tmp_path: Path) -> None:
    loaded = load_rows(store, tmp_path, "sku,Price,Fragile", "a,cheap,no", "b,3,perhaps", "c,3,no", "c,cheap,no")
    assert loaded.report.rejected == {"bad_attributes": 2, "duplicate_item": 1}
    reasons = stored(store, "SELECT reason FROM quarantine ORDER BY reason")
    assert [reason for (reason,) in reasons] == [
        "bad_attributes: fragile is 'perhaps', neither true nor false",
        "bad_attributes: price is 'cheap', no number",
        "duplicate_item: an earlier row describes 'c'; keep one",
    ]
    assert [row[0] for row in stored(store)] == ["c"]


def test_the_undo_of_a_load_restores_creator_and_attributes(store: Engine, tmp_path: Path) -> None:
    load_rows(store, tmp_path, "sku,seller,Price,Brand", "a,Ida,12.5,Lux")
    before = stored(store, "SELECT item_id, creator_id, attributes, content_hash, text_hash FROM items")
    second = load_rows(store, tmp_path, "sku,seller,Price", "a,Ole,7").report
    assert stored(store)[0][2:] == ("Ole", {"price": 7, "brand": "Lux"})
    assert undo_load(store, second.load_id) == Undone(0, 0, 0, 1)
    assert stored(store, "SELECT item_id, creator_id, attributes, content_hash, text_hash FROM items") == before


def test_attributes_do_not_grow_without_bound(store: Engine, tmp_path: Path) -> None:
    load_rows(store, tmp_path, "sku,name", "a,Lamp")
    with store.begin() as connection:
        many = "SELECT jsonb_object_agg('a' || n, n) FROM generate_series(1, 49) AS n"
        connection.execute(text(f"UPDATE items SET attributes = ({many})"))
    assert load_rows(store, tmp_path, "sku,Price", "a,9").report.rejected == {}
    report = load_rows(store, tmp_path, "sku,Price,Brand", "a,8,Lux").report
    assert report.rejected == {"refused": 1}
    [(reason,)] = stored(store, "SELECT reason FROM quarantine")
    assert reason == "bad_attributes: with the stored ones there are 51 names, more than 50"
    assert stored(store, "SELECT attributes -> 'price' FROM items") == [(9,)]
