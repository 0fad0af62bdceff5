from typing import Any

import pytest

from components.mapping.rules import ColumnRule, Mapping, RoleMapping
from components.mapping.select import mapped_sql
from components.mapping.source import MappingError
from tests.components.mapping.tables import Table, connect, events, items, mapped, query, texts


def one_column(name: str, values: list[str | None], **how: Any) -> list[Any]:
    connection = connect()
    table = texts(connection, {"c": values})
    return [row[name] for row in mapped(connection, table, events(**{name: ColumnRule("c", how)}))]


def categories(values: list[str | None], **how: Any) -> list[list[str]]:
    connection = connect()
    table = texts(connection, {"c": values})
    return [row["category"] for row in mapped(connection, table, items(category=ColumnRule("c", how)), "items")]


def test_ids_stay_as_they_stand_without_blanks_and_null_words() -> None:
    values = ["007", " ann\t", "\\N", "NULL", "nan", "None", "", None, "NA", "055356451X", "17850.0", "\u3000李\xa0"]
    expected = ["007", "ann", None, None, None, None, None, None, "NA", "055356451X", "17850.0", "李"]
    assert one_column("item_id", values) == expected


def test_a_user_keeps_the_spelling_of_the_file() -> None:
    assert one_column("user_id", [" ann ", " NULL ", "bob"]) == [" ann ", None, "bob"]


def test_whole_numbers_lose_their_point_zero() -> None:
    assert one_column("user_id", ["17850.0", "17850", "007.00"], whole_numbers=True) == ["17850", "17850", "007"]


def test_ids_of_float_columns_are_whole_numbers_or_rejected() -> None:
    connection = connect()
    table = query(connection, "SELECT unnest(['17850.0', '1.5', 'nan', NULL]::DOUBLE[]) AS u")
    rows = mapped(connection, table, events(user_id="u"))
    assert [row["user_id"] for row in rows] == ["17850", "1.5", None, None]
    assert [row["reject"] for row in rows] == [None, "bad_user_id: 1.5 is no whole number", None, None]


def test_nested_values_where_one_is_needed_are_rejected_in_their_row_only() -> None:
    connection = connect()
    table = query(connection, """SELECT unnest(['"u1"', '{"id":5}', '5', 'null']::JSON[]) AS u""")
    rows = mapped(connection, table, events(user_id="u"))
    assert [row["user_id"] for row in rows if row["reject"] is None] == ["u1", "5", None]
    assert rows[1]["reject"].startswith('bad_user_id: {"id":5} is neither')


def test_rows_are_numbered_in_order_and_kept_as_they_stand() -> None:
    connection = connect()
    table = texts(connection, {"u": ["a", "b"], "row": ["x", "y"], "odd \"name'": ["1", None]})
    rows = mapped(connection, table, events(user_id="u", item_id="odd \"name'"))
    assert [(row["row"], row["user_id"], row["item_id"]) for row in rows] == [(0, "a", "1"), (1, "b", None)]
    assert rows[0]["raw"] == {"u": "a", "row": "x", "odd \"name'": "1"}


def test_one_column_may_serve_two_names() -> None:
    connection = connect()
    table = texts(connection, {"game": ["Portal"]})
    (row,) = mapped(connection, table, items(item_id="game", title="game"), "items")
    assert (row["item_id"], row["title"]) == ("Portal", "Portal")


def test_items_have_the_mapped_columns_only() -> None:
    connection = connect()
    table = texts(connection, {"id": ["1"], "stock": ["no"]})
    (row,) = mapped(connection, table, items(item_id="id", available="stock"), "items")
    assert set(row) == {"row", "raw", "reject", "item_id", "available"}


def test_categories_are_read_in_every_notation() -> None:
    values = [
        '["x", "y"]', "['x', 'z']", "Home > Kitchen > Pans", "NULL", '[["A","B"],["C"]]', "a|b", "[]", "[REC]",
        "[{'id': 16, 'name': 'Animation'}, {'id': 1, 'name': 'Comedy'}]", "Salt, Pepper", None, "['a', None, 'nan']",
    ]  # fmt: skip
    assert categories(values) == [
        ["x", "y"], ["x", "z"], ["Home", "Kitchen", "Pans"], [], ["A", "B", "C"], ["a", "b"], [], ["[REC]"],
        ["Animation", "Comedy"], ["Salt, Pepper"], [], ["a"],
    ]  # fmt: skip


def test_the_format_of_categories_may_be_given() -> None:
    assert categories(["a, b"], format="comma") == [["a", " b"]]
    assert categories(["a>b"], format="path") == [["a", "b"]]
    assert categories(["a > b|c"], format="single") == [["a > b|c"]]
    assert categories(["[" * 5000, "[1]"], format="list") == [["[" * 5000], ["1"]]


def test_categories_of_several_columns_and_flags() -> None:
    connection = connect()
    table = texts(connection, {"a": ["x", None], "b": ["y", "z"], "f": ["1", "0"]})
    rows = mapped(connection, table, items(category=ColumnRule("a", {"also": ["b"], "flags": {"f": "F"}})), "items")
    assert [row["category"] for row in rows] == [["x", "y", "F"], ["z"]]


@pytest.mark.parametrize("value", ["['a', 'b']::VARCHAR[]", "[['a'], ['b']]", '\'["a", ["b"]]\'::JSON'])
def test_lists_of_parquet_and_json_are_categories(value: str) -> None:
    connection = connect()
    table = query(connection, f"SELECT {value} AS c")
    assert mapped(connection, table, items(category="c"), "items")[0]["category"] == ["a", "b"]


def test_html_is_stripped_from_texts() -> None:
    values = [
        "<p>Great<br />lamp</p><script>alert(1)</script> &amp; <b>bo</b>ld",
        "1 < 2",
        "List<String>",
        "&lt;p&gt;x",
    ]
    assert one_column("text", [*values, "<br>"]) == ["Great lamp & bold", "1 < 2", "List<String>", "x", None]


def test_lists_of_texts_are_joined() -> None:
    connection = connect()
    table = query(connection, """SELECT '["a", "b"]'::JSON AS d, '{"a": 1}'::JSON AS t""")
    (row,) = mapped(connection, table, items(description="d", title="t"), "items")
    assert row["description"] == "a b"
    assert row["reject"].startswith("bad_title: ")


def test_event_words_are_translated_in_any_case() -> None:
    words = {"PV": "view", "buy": "purchase", "show": "ignore"}
    connection = connect()
    table = texts(connection, {"e": ["pv", "BUY ", "odd", "show"]})
    rows = mapped(connection, table, events(event=ColumnRule("e", {"words": words})))
    assert [row["event"] for row in rows] == ["view", "purchase", "odd", "ignore"]
    assert [row["reject"] for row in rows] == [None, None, None, "ignored: the mapping leaves out show"]


def test_the_first_flag_that_is_set_is_the_event() -> None:
    connection = connect()
    table = texts(connection, {"like": ["1", "0", "false"], "click": ["1", "1", "0"]})
    how = {"flags": {"like": "like", "click": "click"}, "otherwise": "view"}
    rows = mapped(connection, table, events(event=ColumnRule(None, how)))
    assert [row["event"] for row in rows] == ["like", "click", "view"]


def test_rows_without_a_value_may_be_another_event() -> None:
    connection = connect()
    table = texts(connection, {"r": ["0", "8"]})
    value = ColumnRule("r", {"kind": "rating", "scale": [1, 10], "zero_is_missing": True})
    rule = ColumnRule(None, {"constant": "rating", "without_value": "view"})
    rows = mapped(connection, table, events(event=rule, value=value))
    assert [(row["event"], row["value"], row["reject"]) for row in rows] == [
        ("view", None, None),
        ("rating", "4.0", None),
    ]


@pytest.mark.parametrize(
    ("how", "values", "expected"),
    [
        ({"kind": "rating", "scale": [0.5, 5]}, ["3.5", "x"], ["3.5", "x"]),
        ({"kind": "rating", "scale": [1, 10]}, ["8", "NA"], ["4.0", None]),
        ({"kind": "rating", "scale": [-10, 10]}, ["0", "-10"], ["2.5", "0.0"]),
        ({"kind": "price"}, ["$1,234.50", "12 EUR"], ["1234.50", "12"]),
        ({"decimal_comma": True}, ["4,5"], ["4.5"]),
        ({"kind": "dwell", "divide": 1000}, ["1500"], ["1.5"]),
    ],
)
def test_values_are_read_by_their_kind(
    how: dict[str, Any], values: list[str | None], expected: list[str | None]
) -> None:
    assert one_column("value", values, **how) == expected


def test_negative_quantities_are_returns() -> None:
    connection = connect()
    table = texts(connection, {"q": ["6", "-6"]})
    rows = mapped(connection, table, events(value=ColumnRule("q", {"kind": "quantity"})))
    assert [row["reject"] for row in rows] == [None, "return: a quantity of -6 is a return, no purchase"]


def test_ratings_outside_of_the_scale_are_rejected() -> None:
    connection = connect()
    table = texts(connection, {"r": ["10", "11"]})
    rows = mapped(connection, table, events(value=ColumnRule("r", {"kind": "rating", "scale": [1, 10]})))
    assert [row["reject"] for row in rows] == [None, "value_out_of_scale: 11 is not within 1 and 10"]


def test_each_element_of_an_array_is_a_row() -> None:
    connection = connect()
    table = query(connection, """SELECT unnest(['u1', 'u2']) u, unnest(['[{"id":"a"},{"id":"b"}]', '[]']::JSON[]) l""")
    fields = {"user_id": ColumnRule("u"), "item_id": ColumnRule("l.id")}
    rows = mapped(connection, table, Mapping(RoleMapping(fields, each="l")))
    assert [(row["row"], row["user_id"], row["item_id"]) for row in rows] == [
        (0, "u1", "a"),
        (0, "u1", "b"),
        (1, "u2", None),
    ]


def test_items_of_an_events_file_are_distinct() -> None:
    connection = connect()
    table = texts(connection, {"i": ["1", "2", "1", None], "c": ["x", "y", "z", "w"]})
    part = RoleMapping({"item_id": ColumnRule("i"), "category": ColumnRule("c")}, distinct=True)
    rows = mapped(connection, table, Mapping(None, part), "items")
    assert [(row["item_id"], row["category"]) for row in rows] == [("1", ["x"]), ("2", ["y"])]


def test_a_second_column_and_a_pattern() -> None:
    connection = connect()
    table = texts(connection, {"u": [None, "b"], "anonymous": ["x", "y"], "i": ["N5-1", "odd"]})
    rule = ColumnRule("i", {"pattern": "^(N.*)-[01]$"})
    rows = mapped(connection, table, events(user_id=ColumnRule("u", {"or": "anonymous"}), item_id=rule))
    assert [(row["user_id"], row["item_id"]) for row in rows] == [("x", "N5"), ("b", None)]


def test_kept_columns_are_attributes() -> None:
    connection = connect()
    table = texts(connection, {"i": ["a"], "country": ["NL"]})
    part = RoleMapping({"item_id": ColumnRule("i")}, attributes={"land": ColumnRule("country")})
    (row,) = mapped(connection, table, Mapping(None, part), "items")
    assert row["attributes"] == {"land": "NL"}


def test_hidden_items_are_unavailable() -> None:
    connection = connect()
    table = texts(connection, {"hidden": ["True", "0", "maybe", None]})
    rows = mapped(connection, table, items(available=ColumnRule("hidden", {"invert": True})), "items")
    assert [row["available"] for row in rows] == ["false", "true", "maybe", None]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (events(value="ratign"), "events.value: no column ratign; the columns are rating"),
        (events(heading="rating"), "events.heading: events have no heading"),
        (events(timestamp=ColumnRule("rating", {"format": "hours"})), "format is 'hours'"),
        (events(timestamp=ColumnRule("rating", {"timezone": "Mars"})), "no timezone 'Mars'"),
        (events(event=ColumnRule("rating", {"words": {"a": "b"}})), "'b' is no event"),
        (events(value=ColumnRule("rating", {"scale": [5, 1]})), "lowest and the highest"),
        (events(user_id=ColumnRule("rating", {"pattern": "("})), "no regular expression"),
        (events(user_id=ColumnRule("rating", {"colour": "red"})), "no option colour"),
        (items(item_id="rating"), r"no part \[events\]"),
    ],
)
def test_mistakes_in_a_mapping_are_named(mapping: Mapping, message: str) -> None:
    connection = connect()
    table: Table = texts(connection, {"rating": ["5"]})
    with pytest.raises(MappingError, match=message):
        mapped_sql(table, mapping, "events")
