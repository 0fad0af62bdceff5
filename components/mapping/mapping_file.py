"""Reads and writes mapping.toml."""

import json
import re
import tomllib
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.core.columns import Columns
from components.files.table import ReadOptions
from components.mapping.rules import NAMES, ROLES, ColumnRule, Mapping, Role, RoleMapping, check_rules
from components.mapping.source import MappingError

_OPTIONS: dict[str, type] = {"each": str, "separator": str, "distinct": bool}
_READ: dict[str, type] = {"encoding": str, "delimiter": str, "header": bool, "quote": str, "sheet": str}
_EXPLAINED = {
    "each": "each element of this column is a row",
    "distinct": "the first row of each item counts",
}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_mapping(file: Path) -> Mapping:
    """Reads a mapping.toml. Raises MappingError that names the file and the line or the entry."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"{file} cannot be read ({error}); check the path") from error
    except ValueError as error:
        raise MappingError(f"{file} is no TOML: {error}") from error
    try:
        return mapping_from(tables)
    except MappingError as error:
        raise MappingError(f"{file}: {error}") from error


def mapping_from(tables: Dict[str, Any]) -> Mapping:
    """A mapping from the tables of a TOML file. Raises MappingError."""
    for key in tables:
        if key not in (*ROLES, "layout"):
            raise MappingError(f"there is no {key!r}; the parts are layout, [events] and [items]")
    layout = tables.get("layout")
    if not isinstance(layout, str | None):
        raise MappingError(f"layout is {layout!r}; it is a name in quotes")
    parts = {role: _role_from(role, tables[role]) for role in ROLES if role in tables}
    return Mapping(parts.get("events"), parts.get("items"), layout)


def write_mapping(file: Path, mapping: Mapping, comments: Dict[str, str] | None = None) -> None:
    """Writes a mapping.toml; see `mapping_text`. Raises MappingError when it cannot be written."""
    try:
        file.write_text(mapping_text(mapping, comments), encoding="utf-8")
    except OSError as error:
        raise MappingError(f"{file} cannot be written ({error}); name another file with --write") from error


def mapping_text(mapping: Mapping, comments: Dict[str, str] | None = None) -> str:
    """A mapping as TOML.

    Args:
        comments: What to write behind an entry, by names such as `events.timestamp`.
    """
    comments = comments or {}
    lines = ["# How Duotempo reads these files: its own name, then the column of the file."]
    if mapping.layout is not None:
        lines.append(f"layout = {_inline(mapping.layout)}")
    for role in ROLES:
        part = mapping.events if role == "events" else mapping.items
        if part is not None:
            lines += ["", f"[{role}]", *_lines(role, part, comments)]
            missing = [name for name in NAMES[role] if name not in part.fields]
            if missing:
                lines.append(f"# not in the file: {', '.join(missing)}")
            if part.attributes:
                lines += ["", f"[{role}.attributes]", *(rule_text(*entry) for entry in part.attributes.items())]
    return "\n".join(lines) + "\n"


def rule_text(name: str, rule: ColumnRule) -> str:
    """One line of mapping.toml."""
    if rule.column is not None and not rule.how:
        return f"{name} = {_inline(rule.column)}"
    column = {} if rule.column is None else {"column": rule.column}
    return f"{name} = {_inline({**column, **rule.how})}"


def _role_from(role: Role, table: object) -> RoleMapping:
    if not isinstance(table, dict):
        raise MappingError(f"{role} is {table!r}; write it as a table [{role}]")
    fields: dict[str, ColumnRule] = {}
    options: dict[str, Any] = {}
    for name, value in table.items():
        if name in _OPTIONS:
            if not isinstance(value, _OPTIONS[name]):
                raise MappingError(f"{role}.{name} is {value!r}, which has the wrong type")
            options[name] = value
        elif name == "read":
            options["read"] = _read_options(role, value)
        elif name == Columns.ATTRIBUTES:
            if not isinstance(value, dict):
                raise MappingError(f"{role}.{name} is {value!r}; write a table [{role}.{name}] of NAME = COLUMN")
            options[name] = {key: _rule(f"{role}.{name}", key, rule) for key, rule in value.items()}
        else:
            fields[name] = _rule(role, name, value)
    part = RoleMapping(fields, **options)
    check_rules(part, role)
    return part


def _rule(where: str, name: str, value: object) -> ColumnRule:
    if isinstance(value, str):
        return ColumnRule(value)
    if not isinstance(value, dict):
        raise MappingError(f'{where}.{name} is {value!r}; write {name} = "COLUMN" or {{ column = "COLUMN" }}')
    column = value.get("column")
    if not isinstance(column, str | None):
        raise MappingError(f"{where}.{name}: column is {column!r}; it is a name in quotes")
    return ColumnRule(column, {key: part for key, part in value.items() if key != "column"})


def _read_options(role: Role, table: object) -> ReadOptions:
    if not isinstance(table, dict):
        raise MappingError(f'{role}.read is {table!r}; write read = {{ delimiter = ";" }}')
    for name, value in table.items():
        if name not in _READ:
            raise MappingError(f"{role}.read: there is no {name}; there are {', '.join(_READ)}")
        if not isinstance(value, _READ[name]):
            raise MappingError(f"{role}.read: {name} is {value!r}, which has the wrong type")
    return ReadOptions(**table)


def _lines(role: Role, part: RoleMapping, comments: Dict[str, str]) -> Iterable[str]:
    for name, rule in part.fields.items():
        comment = comments.get(f"{role}.{name}")
        yield rule_text(name, rule) + (f"  # {_one_line(comment)}" if comment else "")
    if read := {name: value for name, value in asdict(part.read).items() if value is not None}:
        yield f"read = {_inline(read)}"
    for option in _OPTIONS:
        value = getattr(part, option)
        if value:
            explained = f"  # {_EXPLAINED[option]}" if option in _EXPLAINED else ""
            yield f"{option} = {_inline(value)}{explained}"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(str(key))} = {_inline(part)}" for key, part in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _inline(key)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
