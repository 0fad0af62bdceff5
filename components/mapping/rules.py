"""The mapping: for each of Duotempo's names the column of a file, and how its values read.

Options of every rule: `pattern` (a regular expression whose first group is read), `or` (the column that is read where
the first one has no value), `null_words` (further words for a missing value). Options of single names:

- ids: `whole_numbers` (without the `.0` of a float column)
- event: `constant`, `words` (word of the file to event, or to `ignore`), `flags` (column to event; the first that is
  set), `otherwise` (without a flag), `without_value` (the event of rows that have no value)
- timestamp, published_at: `format` (one of TIME_FORMATS), `timezone` (of times without one), `constant`
- value: `kind` (one of VALUE_KINDS), `scale` (lowest and highest rating), `zero_is_missing`, `decimal_comma`, `divide`
- category: `format` (one of CATEGORY_FORMATS), `also` (further columns), `flags` (column to category), `constant`
- available: `invert` (the column says what is hidden), `words` (word of the file to true or false)
- title, description, text: `format` (`list`: a list of texts is joined)

Items may have attributes, names of the user's choice. Their options: `type` (one of ATTRIBUTE_TYPES), and
`decimal_comma` of numbers.
"""

import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from components.core.columns import ATTRIBUTE_NAME, EVENTS, MAX_ATTRIBUTES, Columns
from components.files.table import ReadOptions, Table
from components.mapping.source import MappingError, column_type, shown_columns

Role = Literal["events", "items"]
ROLES: tuple[Role, ...] = ("events", "items")
ID_NAMES = (Columns.USER, Columns.ITEM, Columns.EVENT_ID, Columns.SESSION, Columns.REQUEST, Columns.CREATOR)
TEXT_NAMES = (Columns.TEXT, Columns.TITLE, Columns.DESCRIPTION)
TIME_NAMES = (Columns.TIMESTAMP, Columns.PUBLISHED_AT)
NAMES: dict[Role, tuple[str, ...]] = {
    "events": (
        Columns.USER, Columns.ITEM, Columns.EVENT, Columns.TIMESTAMP, Columns.VALUE, Columns.TEXT, Columns.EVENT_ID,
        Columns.SESSION, Columns.REQUEST, Columns.MODEL_VERSION, Columns.VARIANT,
    ),
    "items": (
        Columns.ITEM, Columns.TITLE, Columns.DESCRIPTION, Columns.CATEGORY, Columns.AVAILABLE, Columns.PUBLISHED_AT,
        Columns.IMAGE, Columns.CREATOR,
    ),
}  # fmt: skip
REQUIRED: dict[Role, tuple[str, ...]] = {
    "events": (Columns.USER, Columns.ITEM, Columns.EVENT, Columns.TIMESTAMP),
    "items": (Columns.ITEM,),
}
IGNORE = "ignore"
"""The event of words whose rows are left out."""
TIME_FORMATS = (
    "iso", "seconds", "milliseconds", "microseconds", "nanoseconds", "yyyymmdd", "yyyymmddhhmm", "yyyymmddhhmmss",
    "yyyymm", "year", "spreadsheet", "day-first", "month-first",
)  # fmt: skip
VALUE_KINDS = ("rating", "count", "quantity", "price", "dwell", "number")
ATTRIBUTE_TYPES = ("text", "number", "boolean")
CATEGORY_FORMATS = ("auto", "list", "json", "python", "path", "pipe", "comma", "semicolon", "space", "single")

_COMMON = {"pattern": str, "or": str, "null_words": list}
_HOW: dict[str, dict[str, type | tuple[type, ...]]] = {
    **{name: {"whole_numbers": bool} for name in ID_NAMES},
    **{name: {"format": str} for name in TEXT_NAMES},
    **{name: {"format": str, "timezone": str} for name in TIME_NAMES},
    Columns.EVENT: {"words": dict, "flags": dict, "otherwise": str, "without_value": str},
    Columns.VALUE: {
        "kind": str, "scale": list, "zero_is_missing": bool, "decimal_comma": bool, "divide": (int, float),
    },
    Columns.CATEGORY: {"format": str, "also": list, "flags": dict},
    Columns.AVAILABLE: {"invert": bool, "words": dict},
}  # fmt: skip
_ATTRIBUTE_OPTIONS: dict[str, type | tuple[type, ...]] = {**_COMMON, "type": str, "decimal_comma": bool}
_CONSTANT = (Columns.EVENT, Columns.TIMESTAMP, Columns.CATEGORY, Columns.VARIANT, Columns.AVAILABLE)
_FORMATS = {
    **dict.fromkeys(TEXT_NAMES, ("list",)),
    **dict.fromkeys(TIME_NAMES, TIME_FORMATS),
    Columns.CATEGORY: CATEGORY_FORMATS,
}


@dataclass(frozen=True)
class ColumnRule:
    """Where a value comes from.

    Attributes:
        column: A column of the file, or a path into a nested one (`properties.product_id`); None for a constant.
        how: How its values read, such as {"format": "milliseconds"}.
    """

    column: str | None
    how: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RoleMapping:
    """How one file is read as events or as items.

    Attributes:
        fields: Rule of each of Duotempo's names.
        each: A column with an array, or with text that `separator` splits; each of its elements is a row.
        distinct: Only the first row of each item counts: the items are columns of an events file.
        attributes: Rule of each attribute; of items only.
        read: What is known about the file's format.
    """

    fields: Dict[str, ColumnRule]
    each: str | None = None
    separator: str | None = None
    distinct: bool = False
    attributes: Dict[str, ColumnRule] = field(default_factory=dict)
    read: ReadOptions = field(default_factory=ReadOptions)

    def unused(self, table: Table) -> tuple[str, ...]:
        """The columns of a table that no rule names."""
        used = {column.partition(".")[0] for column in self.columns()} | set(self.columns())
        return tuple(column.name for column in table.columns if column.name not in used)

    def columns(self) -> tuple[str, ...]:
        """All columns and paths that the rules name."""
        named: list[Any] = [self.each]
        for rule in (*self.fields.values(), *self.attributes.values()):
            flags = rule.how.get("flags", {})
            named += [rule.column, rule.how.get("or"), *rule.how.get("also", ()), *flags]
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True)
class Mapping:
    """How files are read.

    Attributes:
        layout: Name of the known layout that it follows.
    """

    events: RoleMapping | None = None
    items: RoleMapping | None = None
    layout: str | None = None

    def role(self, role: Role) -> RoleMapping:
        """The mapping of one role. Raises MappingError when there is none."""
        mapping = self.events if role == "events" else self.items
        if mapping is None:
            raise MappingError(f"the mapping has no part [{role}]; add it, or leave out the {role} file")
        return mapping


def check_rules(mapping: RoleMapping, role: Role) -> None:
    """Raises MappingError for a name or an option that does not exist, or an option with a wrong value."""
    for name, rule in mapping.fields.items():
        where = f"{role}.{name}"
        if name not in NAMES[role]:
            raise MappingError(f"{where}: {role} have no {name}; the names are {', '.join(NAMES[role])}")
        if rule.column is None and not {"constant", "flags"} & set(rule.how):
            raise MappingError(f"{where} names no column; write {name} = COLUMN")
        allowed = {**_COMMON, **_HOW.get(name, {}), **({"constant": (str, int, float)} if name in _CONSTANT else {})}
        _check_options(where, rule.how, allowed)
        _check_values(where, name, rule.how)
    if mapping.attributes:
        _check_attributes(mapping.attributes, role)


def check_columns(mapping: RoleMapping, role: Role, table: Table) -> None:
    """Raises MappingError for a column that the table does not have."""
    attributes = {f"{Columns.ATTRIBUTES}.{name}": rule for name, rule in mapping.attributes.items()}
    for name, rule in {**mapping.fields, **attributes}.items():
        part = RoleMapping({name: rule})
        for column in part.columns():
            _check_column(table, column, f"{role}.{name}")
    if mapping.each is not None:
        _check_column(table, mapping.each, role)


def missing_names(mapping: RoleMapping, role: Role) -> list[str]:
    """The names without which a file cannot be read."""
    return [name for name in REQUIRED[role] if name not in mapping.fields]


def _check_column(table: Table, column: str, where: str) -> None:
    if column_type(table, column) is None:
        raise MappingError(f"{where}: no column {column}; the columns are {shown_columns(table)}")


def _check_options(where: str, how: Dict[str, Any], allowed: Dict[str, type | tuple[type, ...]]) -> None:
    for option, value in how.items():
        if option not in allowed:
            raise MappingError(f"{where}: there is no option {option}; the options are {', '.join(allowed)}")
        if not isinstance(value, allowed[option]):
            raise MappingError(f"{where}: {option} is {value!r}, which has the wrong type")


def _check_attributes(attributes: Dict[str, ColumnRule], role: Role) -> None:
    if role == "events":
        raise MappingError("events have no attributes; items have: [items.attributes]")
    if len(attributes) > MAX_ATTRIBUTES:
        raise MappingError(f"items.attributes has {len(attributes)} names; at most {MAX_ATTRIBUTES} are kept")
    for name, rule in attributes.items():
        where = f"items.attributes.{name}"
        if not re.fullmatch(ATTRIBUTE_NAME, name):
            raise MappingError(f"{where}: a name has 1 to 64 characters from a-z, 0-9, _ and -")
        if rule.column is None:
            raise MappingError(f"{where} names no column; write {name} = COLUMN")
        _check_options(where, rule.how, _ATTRIBUTE_OPTIONS)
        if rule.how.get("type", ATTRIBUTE_TYPES[0]) not in ATTRIBUTE_TYPES:
            raise MappingError(f"{where}: type is {rule.how['type']!r}; it is one of {', '.join(ATTRIBUTE_TYPES)}")
        if pattern := rule.how.get("pattern"):
            _check_pattern(where, pattern)


def _check_pattern(where: str, pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise MappingError(f"{where}: pattern {pattern!r} is no regular expression: {error}") from error
    if not groups:
        raise MappingError(f"{where}: pattern {pattern!r} has no group; put what is to be read into brackets: id-(.*)")


def _check_values(where: str, name: str, how: Dict[str, Any]) -> None:
    formats = _FORMATS.get(name)
    if formats and how.get("format", formats[0]) not in formats:
        raise MappingError(f"{where}: format is {how['format']!r}; it is one of {', '.join(formats)}")
    if how.get("kind", VALUE_KINDS[0]) not in VALUE_KINDS:
        raise MappingError(f"{where}: kind is {how['kind']!r}; it is one of {', '.join(VALUE_KINDS)}")
    if pattern := how.get("pattern"):
        _check_pattern(where, pattern)
    if (scale := how.get("scale")) is not None:
        numbers = [end for end in scale if isinstance(end, int | float) and not isinstance(end, bool)]
        if len(scale) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1] or numbers[1] <= 0:
            raise MappingError(f"{where}: scale is {scale!r}; write the lowest and the highest rating: [1, 10]")
    if how.get("divide", 1) <= 0:
        raise MappingError(f"{where}: divide is {how['divide']!r}; it is above 0")
    if zone := how.get("timezone"):
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise MappingError(f"{where}: no timezone {zone!r}; write it like Europe/Berlin") from error
    if name == Columns.EVENT:
        results = [*how.get("words", {}).values(), *how.get("flags", {}).values()]
        results += [how[option] for option in ("constant", "otherwise", "without_value") if option in how]
        for event in results:
            if event not in (*EVENTS, IGNORE):
                raise MappingError(f"{where}: {event!r} is no event; the events are {', '.join(EVENTS)}, or {IGNORE}")
