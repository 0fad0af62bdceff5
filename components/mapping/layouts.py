"""Known layouts of files, described in `layouts/*.toml`.

A file of a layout is recognised by `columns` (its header holds them all) or, without a header, by `kinds` (one for each
column). The layouts name columns as in the original; `optional` ones may be missing.
"""

import re
import tomllib
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.files.table import Table
from components.mapping.mapping_file import mapping_from
from components.mapping.rules import ROLES, Mapping
from components.mapping.synonyms import plain_name

LAYOUTS = Path(__file__).parent / "layouts"
SAMPLE_ROWS = 500
_KINDS = {
    "any": None,
    "text": re.compile(r".*\S.*", re.DOTALL),
    "integer": re.compile(r"-?[0-9]+"),
    "flag": re.compile(r"[01]"),
    "stars": re.compile(r"[0-5](\.[05]0?)?"),
    "epoch": re.compile(r"[0-9]{9,10}"),
    "iso": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?"),
    "us-date": re.compile(r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} .*"),
}
"""Patterns of the kinds of columns; `~` before a kind makes it a pattern of its own."""
_MAY_BE_EMPTY = ("any", "text")


@dataclass(frozen=True)
class LayoutFile:
    """One kind of file of a layout.

    Attributes:
        mapping: How it is read, by the names of the original.
        note: Why it cannot be read as it is, and what to do.
    """

    layout: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    tables: Dict[str, Any]
    note: str | None


@dataclass(frozen=True)
class Recognised:
    """A layout that a table follows; the mapping names the table's own columns."""

    layout: str
    mapping: Mapping
    note: str | None


@cache
def layout_files() -> tuple[LayoutFile, ...]:
    """All files of all layouts."""
    files = []
    for path in sorted(LAYOUTS.glob("*.toml")):
        layout = tomllib.loads(path.read_text(encoding="utf-8"))
        for file in layout["files"]:
            tables: dict[str, Any] = {role: file[role] for role in ROLES if role in file}
            columns, kinds = tuple(file.get("columns", ())), tuple(file.get("kinds", ()))
            files.append(LayoutFile(layout["name"], columns, kinds, tables, file.get("note")))
    return tuple(files)


def recognise(table: Table, rows: Sequence[Dict[str, str | None]]) -> Recognised | None:
    """The layout of a table, the one with most columns if it follows several.

    Args:
        rows: The first rows, as text.
    """
    names = [column.name for column in table.columns]
    if table.header:
        own = {plain_name(name): name for name in reversed(names)}
        fitting = [file for file in layout_files() if file.columns and _has_columns(file, own)]
        fitting.sort(key=lambda file: -len(file.columns))
    else:
        own = {f"column{number}": name for number, name in enumerate(names)}
        fitting = [file for file in layout_files() if file.kinds and _has_kinds(file, names, rows)]
    if not fitting:
        return None
    file = fitting[0]
    tables = {role: _renamed(part, own) for role, part in file.tables.items()}
    return Recognised(file.layout, mapping_from({**tables, "layout": file.layout}), file.note)


def _has_columns(file: LayoutFile, own: Dict[str, str]) -> bool:
    return all(plain_name(column) in own for column in file.columns)


def _has_kinds(file: LayoutFile, names: Sequence[str], rows: Sequence[Dict[str, str | None]]) -> bool:
    if len(file.kinds) != len(names) or not rows:
        return False
    return all(_has_kind(kind, [row[name] for row in rows]) for kind, name in zip(file.kinds, names, strict=True))


def _has_kind(kind: str, values: Sequence[str | None]) -> bool:
    pattern = re.compile(kind[1:]) if kind.startswith("~") else _KINDS[kind]
    present = [value for value in values if value is not None]
    if pattern is None:
        return True
    return (bool(present) or kind in _MAY_BE_EMPTY) and all(pattern.fullmatch(value) for value in present)


def _renamed(part: Dict[str, Any], own: Dict[str, str]) -> dict[str, Any]:
    """A part of a layout with a table's own columns, without what the table does not have."""
    renamed: dict[str, Any] = {}
    for name, value in part.items():
        if name in ("distinct", "separator"):
            renamed[name] = value
        elif name == "each":
            renamed[name] = _own_name(value, own)
        elif (rule := _renamed_rule({"column": value} if isinstance(value, str) else value, own)) is not None:
            renamed[name] = rule
    return renamed


def _renamed_rule(rule: Dict[str, Any], own: Dict[str, str]) -> dict[str, Any] | None:
    renamed = {key: value for key, value in rule.items() if key not in ("column", "or")}
    if named := [rule[key] for key in ("column", "or") if key in rule]:
        columns = [own_column for column in named if (own_column := _own_name(column, own)) is not None]
        if not columns:
            return None
        renamed |= dict(zip(("column", "or"), columns, strict=False))
    if "also" in rule:
        renamed["also"] = [own_column for column in rule["also"] if (own_column := _own_name(column, own)) is not None]
    if isinstance(rule.get("flags"), dict):
        renamed["flags"] = {_own_name(column, own) or column: result for column, result in rule["flags"].items()}
    return renamed


def _own_name(column: str, own: Dict[str, str]) -> str | None:
    if column in own:
        return own[column]
    root, dot, path = column.partition(".")
    found = own.get(plain_name(column)) or own.get(plain_name(root) if dot else "")
    return f"{found}.{path}" if dot and found == own.get(plain_name(root)) else found
