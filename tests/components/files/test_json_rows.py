"""JSON: each column is JSON, so that an odd value is its row's problem; a broken line is named."""

import json

import pytest

from tests.components.files.conftest import Open, Refused


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.txt"])
def test_names_are_found_over_all_rows_and_values_stay_json(name: str, open_file: Open) -> None:
    lines = [
        '{"user": "u1", "at": 1700000000}',
        "",
        '{"user": {"id": 5}, "at": null, "tags": ["a", 2]}',
        '{"price": 1.5, "user": "007"}',
    ]
    table, rows = open_file(name, "\n".join(lines) + "\r\n")
    assert (table.format, table.header, table.rows, table.notes) == ("json", True, 3, ())
    assert [(column.name, column.type) for column in table.columns] == [
        ("user", "JSON"),
        ("at", "JSON"),
        ("price", "JSON"),
        ("tags", "JSON"),
    ]
    assert rows == [
        ('"u1"', "1700000000", None, None),
        ('{"id":5}', None, None, '["a",2]'),
        ('"007"', None, "1.5", None),
    ]


def test_a_line_ends_only_at_a_line_feed(open_file: Open) -> None:
    _, rows = open_file("rows.jsonl", '{"a": "A\u2028B"}\n{"a": "C\x85D"}\n')
    assert [json.loads(value) for (value,) in rows] == ["A\u2028B", "C\x85D"]


def test_arrays_and_objects_over_several_lines_are_read(open_file: Open) -> None:
    records = [{"a": 1, "b": [1, {"c": None}]}, {"a": "x"}]
    for content in (json.dumps(records), json.dumps(records, indent=2)):
        table, rows = open_file("rows.json", content)
        assert rows == [("1", '[1,{"c":null}]'), ('"x"', None)]
        assert table.notes == ("JSON array",)
    table, rows = open_file("rows.json", "\n".join(json.dumps(record, indent=2) for record in records))
    assert rows == [("1", '[1,{"c":null}]'), ('"x"', None)]
    assert table.notes == ("JSON objects over several lines",)


def test_lines_of_python_dictionaries_are_read(open_file: Open, refused: Refused) -> None:
    lines = [
        "{'asin': '0001', 'title': \"It's\", 'price': None}",
        "",
        "{'asin': '2', 'tags': [['a', u'é']], 'ok': True}",
    ]
    table, rows = open_file("meta.json", "\n".join(lines))
    assert [column.name for column in table.columns] == ["asin", "tags", "title", "ok", "price"]
    assert rows == [('"0001"', None, '"It\'s"', None, None), ('"2"', '[["a","é"]]', None, "true", None)]
    assert table.notes == ("Python dictionaries",)
    assert "line 2: " in refused("meta.json", "{'a': 1}\n{'a': open('x')}\n")
    assert "line 1: " in refused("meta.json", "{'a': " + "[" * 100_000)


def test_odd_names_and_values_are_kept(open_file: Open) -> None:
    record = {'it\'s "a"': "nul \x00", "": 2**70, "größe": float("nan")}
    table, rows = open_file("rows.jsonl", json.dumps(record) + "\n")
    assert [column.name for column in table.columns] == ['it\'s "a"', "größe"]
    assert rows == [('"nul \\u0000"', "NaN")]
    assert table.notes == ("values without a name are not read",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n[1, 2]\n', "line 2 is not a JSON object"),
        ('{"a": 1}\n"x"\n', "line 2 is not a JSON object"),
        ('{"a": \n', "cannot be read as jsonl (line 1: Expecting value"),
        ('{"a": 1}\n{"a": 1\n{"a": 2}\n', "line 2: Expecting ',' delimiter"),
        ('{"a": 1}{"a": 2}\n', "line 1: Extra data"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "line 1 is nested too deeply"),
        ('{"a": 1}\n{"a":' + "[" * 200 + "]" * 200 + "}", "line 2 is nested too deeply"),
        ('{"a":' + "9" * 5000 + "}", "line 1: Exceeds the limit"),
        ('{"a\\ud800": 1}', "surrogates not allowed"),
        ('{"a": 1}\n{"a": "\\ud800"}', "line 2: 'utf-8' codec can't encode"),
        ('{"a": 1, "a": 2}\n', "line 1: a name appears twice"),
        ('{"a": 1, "A": 2}\n', "two columns are named a and A"),
        (json.dumps({f"c{n}": 1 for n in range(1001)}), "1,001 columns, more than 1,000"),
        ('{"a": 1}\n{"a": "' + "x" * (40 << 20) + '"}\n', "line 2 is longer than 16 MB"),
        ("[]", "holds no rows"),
        ("{}\n", "have no names"),
        ('[{"a": 1}, 5]', "not a JSON object"),
        ('[{"a": 1}, {"a":', "unexpected end of data"),
        ("id,title\n1,x\n", "line 1: Expecting value"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(content: str, message: str, refused: Refused) -> None:
    assert message in refused("a.jsonl", content)
