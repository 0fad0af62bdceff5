"""Attributes of items in a mapping: declared types, proposals, and mistakes."""

from pathlib import Path
from typing import Any

import pytest

from components.mapping.mapping_file import mapping_from, mapping_text, read_mapping, write_mapping
from components.mapping.propose import propose
from components.mapping.rules import ColumnRule, Mapping, RoleMapping
from components.mapping.source import MappingError
from tests.components.mapping.tables import connect, mapped, query, texts


def read(values: list[str | None], **how: Any) -> list[tuple[Any, str | None]]:
    """The attribute `x` and the rejection of each row."""
    connection = connect()
    table = texts(connection, {"i": [str(n) for n in range(len(values))], "X": values})
    part = RoleMapping({"item_id": ColumnRule("i")}, attributes={"x": ColumnRule("X", how)})
    return [(row["attributes"]["x"], row["reject"]) for row in mapped(connection, table, Mapping(None, part), "items")]


@pytest.mark.parametrize(
    ("written", "how", "number"),
    [
        ("12.50", {}, 12.5), (" 7 ", {}, 7), ("-3e2", {}, -300), ("1,299.00", {}, 1299), ("$12.50", {}, 12.5),
        ("12.50 EUR", {}, 12.5), ("0", {}, 0), ("N/A", {}, None), ("-", {}, None), (None, {}, None),
        ("12,50", {"decimal_comma": True}, 12.5), ("1.299,00 €", {"decimal_comma": True}, 1299),
        ("1 299", {"decimal_comma": True}, 1299),
    ],
)  # fmt: skip
def test_numbers_are_read(written: str | None, how: dict[str, Any], number: float | None) -> None:
    assert read([written], type="number", **how) == [(number, None)]


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("cheap", {}), ("12,50", {}), ("1e999", {}), ("12.5", {"decimal_comma": True}), ("3 pieces", {}), ("1-2", {}),
    ],
)  # fmt: skip
def test_what_is_no_number_rejects_the_row(written: str, how: dict[str, Any]) -> None:
    assert read([written], type="number", **how) == [(None, f"bad_attributes: x is '{written}', no number")]


def test_texts_and_booleans_are_read() -> None:
    assert read(["12", "NULL", "yes"]) == [("12", None), (None, None), ("yes", None)]
    assert read(["Yes", "0", "NA", "often"], type="boolean") == [
        (True, None), (False, None), (None, None), (None, "bad_attributes: x is 'often', neither true nor false"),
    ]  # fmt: skip
    assert read(["N5-1"], pattern="^(N.*)-") == [("N5", None)]


def test_without_a_declared_type_that_of_the_column_counts() -> None:
    connection = connect()
    table = query(connection, "SELECT 'i' AS i, 2.5 AS a, true AS b, 7::BIGINT AS c, '7' AS d")
    part = RoleMapping({"item_id": ColumnRule("i")}, attributes={name: ColumnRule(name) for name in "abcd"})
    [row] = mapped(connection, table, Mapping(None, part), "items")
    assert row["attributes"] == {"a": 2.5, "b": True, "c": 7, "d": "7"}


def test_nested_values_are_rejected_and_paths_read() -> None:
    connection = connect()
    table = query(connection, "SELECT 'i' AS i, {'price': 3, 'tags': ['a']} AS more")
    for path, expected in [("more.price", ({"x": 3.0}, None)), ("more.tags", ({"x": None}, "bad_attributes"))]:
        rule = ColumnRule(path, {"type": "number"})
        part = RoleMapping({"item_id": ColumnRule("i")}, attributes={"x": rule})
        [row] = mapped(connection, table, Mapping(None, part), "items")
        assert (row["attributes"], row["reject"] and row["reject"].split(":")[0]) == expected


def test_well_known_columns_are_proposed_and_others_named() -> None:
    connection = connect()
    table = texts(
        connection,
        {
            "SKU": ["1", "2"], "Name": ["Lamp", "Pan"], "Preis": ["1.299,00", "3,50"], "Brand": ["Lux", None],
            "Size": ["L", "38"], "Seller": ["Ida", "Ole"], "Lager": ["4", "5"], "Colour": [None, None],
        },
    )  # fmt: skip
    proposal = propose(connection, table, "items")
    part = proposal.mapping.role("items")
    assert part.fields["creator_id"] == ColumnRule("Seller")
    assert part.attributes == {
        "price": ColumnRule("Preis", {"type": "number", "decimal_comma": True}),
        "brand": ColumnRule("Brand", {"type": "text"}),
        "size": ColumnRule("Size", {"type": "text"}),
    }
    assert any("price (number, column Preis), brand (text, column Brand)" in note for note in proposal.notes)
    assert proposal.unused == ("Lager", "Colour")
    rows = mapped(connection, table, proposal.mapping, "items")
    assert [row["attributes"] for row in rows] == [
        {"price": 1299.0, "brand": "Lux", "size": "L"}, {"price": 3.5, "brand": None, "size": "38"},
    ]  # fmt: skip


def test_a_proposal_rejects_no_row() -> None:
    connection = connect()
    table = texts(connection, {"item_id": ["1", "2"], "price": ["3", "on request"], "url": ["u" * 1001, "v"]})
    assert propose(connection, table, "items").mapping.role("items").attributes == {
        "price": ColumnRule("price", {"type": "text"})
    }
    nested = query(connection, "SELECT 1 AS item_id, {'id': 4} AS author, ['a'] AS brand", "nested")
    part = propose(connection, nested, "items").mapping.role("items")
    assert (set(part.fields), part.attributes) == ({"item_id"}, {})


def test_the_attributes_that_a_person_names_are_the_only_ones() -> None:
    connection = connect()
    table = texts(connection, {"item_id": ["1"], "price": ["3"], "stock": ["3"]})
    given = mapping_from({"items": {"attributes": {"stock": {"column": "stock", "type": "number"}}}})
    proposal = propose(connection, table, "items", given)
    assert proposal.mapping.role("items").attributes == given.role("items").attributes
    assert proposal.unused == ("price",)


def test_attributes_are_a_table_of_the_file(tmp_path: Path) -> None:
    attributes = {"price": ColumnRule("Preis in €", {"type": "number"}), "brand": ColumnRule("Marke")}
    mapping = Mapping(None, RoleMapping({"item_id": ColumnRule("i")}, distinct=True, attributes=attributes))
    file = tmp_path / "mapping.toml"
    write_mapping(file, mapping)
    assert read_mapping(file) == mapping
    assert mapping_text(mapping).endswith(
        '\n\n[items.attributes]\nprice = { column = "Preis in €", type = "number" }\nbrand = "Marke"\n'
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[items]\nattributes = ['price']", r"items.attributes is \['price'\]; write a table"),
        ("[items.attributes]\nPrice = 'p'", "items.attributes.Price: a name has 1 to 64 characters from a-z"),
        ("[items.attributes]\nprice = 5", "items.attributes.price is 5"),
        ("[items.attributes]\nprice = { type = 'number' }", "items.attributes.price names no column"),
        ("[items.attributes]\nprice = { column = 'p', type = 'money' }", "type is 'money'; it is one of text, number"),
        ("[items.attributes]\nprice = { column = 'p', unit = 'EUR' }", "there is no option unit"),
        ("[events.attributes]\nprice = 'p'", "events have no attributes"),
        ("[items.attributes]\n" + "\n".join(f"a{n} = 'p'" for n in range(51)), "has 51 names; at most 50"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, written: str, message: str) -> None:
    file = tmp_path / "mapping.toml"
    file.write_text(written)
    with pytest.raises(MappingError, match=message):
        read_mapping(file)


def test_a_column_that_is_not_there_is_named() -> None:
    connection = connect()
    table = texts(connection, {"item_id": ["1"]})
    with pytest.raises(MappingError, match=r"items.attributes.price: no column p; the columns are item_id"):
        propose(connection, table, "items", mapping_from({"items": {"attributes": {"price": "p"}}}))
