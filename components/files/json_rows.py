"""Opens JSON: an object a line, an array of objects, or objects one after the other."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from components.core.logs import one_line
from components.files.errors import DatasetError, unreadable
from components.files.names import check_names
from components.files.sql import column_types, create_view, file_list, identifier, single_row
from components.files.table import Table

MAX_DEPTH = 128
"""Nested arrays and objects that DuckDB reads."""
_SAMPLE = 1 << 20
_MAX_WRAPPED = 6
"""Most names of an object around an array of rows."""
_MAX_LINE = 16 << 20
"""The longest object that DuckDB reads, in bytes."""
_DIGITS = "[0-9]{{1000}}"
"""Numbers from which on Python may not read them, see `sys.int_info`."""
_SUMMARY = f"""
WITH combinations AS MATERIALIZED (
    SELECT
        json_keys(json) AS names,
        count(*) AS rows,
        count(*) FILTER (json_type(json) <> 'OBJECT') AS others,
        count(*) FILTER (length(json) > 1000 AND regexp_matches(json::VARCHAR, '{_DIGITS}')) AS long_numbers
    FROM {{}}
    GROUP BY json_keys(json)
),
places AS (
    SELECT unnest(names) AS name, generate_subscripts(names, 1) AS place, rows FROM combinations
),
ordered AS (
    SELECT name, sum(rows) AS rows, min(place) AS place FROM places GROUP BY name
)
SELECT
    sum(rows), sum(others), sum(long_numbers), (SELECT list(name ORDER BY rows DESC, place, name) FROM ordered)
FROM combinations
"""
"""What is to know of all objects; their names with the most frequent first, else in the order of the file."""
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_LINES = "newline_delimited"
_NOTES = {"array": "JSON array", "unstructured": "JSON objects over several lines"}


def open_json(connection: duckdb.DuckDBPyConnection, source: object, file: Path, view: str, ending: str) -> Table:
    """Opens a UTF-8 file; each column is JSON, so that an odd value is the problem of its row.

    Args:
        source: The file as the user named it, for messages.
        ending: The file's ending without its dot, for messages.

    Raises:
        DatasetError: The file holds no objects or a damaged one, or names too many columns.
    """
    layout = _layout(file)
    objects = f"read_json_objects({file_list([file])}, format='{layout}')"
    try:
        rows, others, long_numbers, all_names = single_row(connection, _SUMMARY.format(objects))
        if not rows:
            raise DatasetError(f"{source} holds no rows; check what wrote it")
        if others:
            raise unreadable(source, ending, _first_problem(file, layout) or "a value is not a JSON object")
        if long_numbers and (problem := _first_problem(file, layout)):
            raise unreadable(source, ending, problem)
        names = [name for name in all_names or () if name]
        check_names(source, ending, names)
        if not names:
            raise unreadable(source, ending, "its objects have no names")
        reader = f"read_json({file_list([file])}, format='{layout}', columns={column_types(names, 'JSON')})"
        single_row(connection, f"SELECT count(COLUMNS(*)) FROM {reader}")
    except duckdb.Error as error:
        problem = _first_problem(file, layout) or one_line(str(error).split("\n")[0])
        raise unreadable(source, ending, problem) from error
    if rows == 1 and (wrapper := _wrapper(connection, reader, names)):
        fix = f"write the objects of {one_line(wrapper)} one a line, such as with: jq -c '.{one_line(wrapper)}[]'"
        raise unreadable(source, ending, f"its only object holds the rows in {one_line(wrapper)}", fix)
    columns = create_view(connection, view, f"SELECT * FROM {reader}")
    notes = [_NOTES[layout]] if layout in _NOTES else []
    if len(names) < len(all_names):
        notes.append("values without a name are not read")
    return Table(view, columns, "json", tuple(notes), header=True, rows=rows)


def _wrapper(connection: duckdb.DuckDBPyConnection, reader: str, names: Sequence[str]) -> str | None:
    """The name with an array of objects, if the others hold single values as in the answer of an API."""
    kinds = single_row(
        connection, f"SELECT {', '.join(f'json_type({identifier(name)})' for name in names)} FROM {reader}"
    )
    arrays = [name for name, kind in zip(names, kinds, strict=True) if kind == "ARRAY"]
    if len(arrays) != 1:
        return None
    path = f"json_type({identifier(arrays[0])}, '$[0]')"
    is_rows = single_row(connection, f"SELECT coalesce({path} = 'OBJECT', false) FROM {reader}")[0]
    return arrays[0] if is_rows and not {"item_id", "user_id"} & set(names) and len(names) <= _MAX_WRAPPED else None


def _layout(file: Path) -> str:
    """DuckDB's name for the way in which the objects follow each other."""
    with file.open("rb") as stream:
        sample = stream.read(_SAMPLE).decode("utf-8-sig", errors="ignore").lstrip()
    if sample.startswith("["):
        return "array"
    first, line_break, _ = sample.partition("\n")
    try:
        json.loads(first)
    except RecursionError:
        return _LINES
    except ValueError:
        return "unstructured" if line_break and first.strip() in ("{", "{}") else _LINES
    return _LINES


def _first_problem(file: Path, layout: str) -> str | None:
    """What Python says about the first line that is not a JSON object. None when lines are not objects anyway."""
    if layout != _LINES:
        return None
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE + 1), ""), start=1):
            if len(line) > _MAX_LINE:
                return f"line {number} is longer than {_MAX_LINE >> 20} MB"
            if line.strip() and (problem := _problem(line)):
                return f"line {number} {problem}" if problem.startswith("is ") else f"line {number}: {problem}"
    return None


def _problem(line: str) -> str | None:
    try:
        record = json.loads(line, object_pairs_hook=_with_single_names)
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return one_line(str(error))
    if not isinstance(record, dict):
        return "is not a JSON object"
    return "is nested too deeply" if _depth(line) > MAX_DEPTH else None


def _with_single_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"a name appears twice in one object ({', '.join(name for name, _ in pairs)})")
    return record


def _depth(line: str) -> int:
    """The depth of nested arrays and objects in a valid JSON text."""
    depth = deepest = 0
    for sign in _TEXT.sub("", line):
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    return deepest
