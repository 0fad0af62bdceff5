"""Proposes a mapping for a file: by its layout, the names of its columns, and what they hold."""

from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from typing import Literal

from duckdb import DuckDBPyConnection

from components.core.columns import EVENTS, Columns
from components.files.table import Table
from components.mapping.attribute_rules import propose_attributes
from components.mapping.event_words import event_of
from components.mapping.field_rules import FieldRules, profile_kind
from components.mapping.functions import register_functions
from components.mapping.layouts import SAMPLE_ROWS, Recognised, recognise
from components.mapping.mapping_file import rule_text
from components.mapping.profile import count_words, first_values, profile_columns, samples
from components.mapping.question import Question
from components.mapping.rules import NAMES, REQUIRED, ColumnRule, Mapping, Role, RoleMapping, check_columns, check_rules
from components.mapping.select import mapped_sql
from components.mapping.source import column_type, is_nested
from components.mapping.synonyms import EVENT_CATEGORIES, matching_column, plain_name

Confidence = Literal["sure", "likely", "unsure"]
MIN_KNOWN_WORDS = 0.5
"""Share of rows whose word must be a known event, for a column to be taken for the event by its content."""


MAX_UNKNOWN_WORDS = 0.05
"""Share of rows with unknown words above which a person has to say what they are."""


@dataclass(frozen=True)
class Proposal:
    """A mapping with what speaks for it.

    Attributes:
        role: What the file was taken for.
        mapping: Its part for the other role is there too if an events file also describes items.
        confidence: Of each field of the role.
        questions: What a person has to decide.
        notes: How columns were read, such as `timestamp: numbers read as YYYYMMDD`.
        layout: Name of the known layout.
        samples: Some values of each field.
        null_shares: The share of missing values of each field.
        time_range: First and last time in epoch seconds.
        event_words: The words of the event column with their counts.
        unused: Columns that nothing is read from.
    """

    role: Role
    mapping: Mapping
    confidence: dict[str, Confidence] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    layout: str | None = None
    samples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    null_shares: dict[str, float] = field(default_factory=dict)
    time_range: tuple[float, float] | None = None
    event_words: dict[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def propose(
    connection: DuckDBPyConnection,
    table: Table,
    role: Role | None = None,
    given: Mapping | None = None,
    timezone: str | None = None,
) -> Proposal:
    """Proposes how to read a table.

    Args:
        role: None to find it out.
        given: Rules that are decided; the options they leave open are proposed.
        timezone: Of times without one.

    Raises:
        MappingError: A given rule names a column that the table does not have.
    """
    register_functions(connection)
    recognised = recognise(table, first_values(connection, table, SAMPLE_ROWS))
    role = role or _role_of(table, recognised)
    fixed = (given.events if role == "events" else given.items) if given is not None else None
    if fixed is not None:
        check_rules(fixed, role)
        check_columns(fixed, role, table)
    return _Proposer(connection, table, role, recognised, fixed or RoleMapping({}), timezone).proposal()


def role_of(connection: DuckDBPyConnection, table: Table) -> Role:
    """What a table holds, by its layout or the names of its columns."""
    return _role_of(table, recognise(table, first_values(connection, table, SAMPLE_ROWS)))


def _role_of(table: Table, recognised: Recognised | None) -> Role:
    if recognised is not None and (recognised.mapping.events or recognised.mapping.items):
        return "events" if recognised.mapping.events is not None else "items"
    names = [column.name for column in table.columns]
    has_user = matching_column("events", Columns.USER, names) is not None
    return "events" if has_user or matching_column("events", Columns.TIMESTAMP, names) == Columns.TIMESTAMP else "items"


class _Proposer:
    def __init__(
        self,
        connection: DuckDBPyConnection,
        table: Table,
        role: Role,
        recognised: Recognised | None,
        fixed: RoleMapping,
        timezone: str | None,
    ) -> None:
        self._connection, self._table, self._role, self._fixed = connection, table, role, fixed
        self._recognised, self._timezone = recognised, timezone
        self._confidence: dict[str, Confidence] = {}
        self._questions: list[Question] = []
        self._notes: list[str] = []
        self._words: dict[str, int] = {}

    def proposal(self) -> Proposal:
        part = self._columns()
        columns = {
            name: (rule.column, profile_kind(name, rule))
            for name, rule in part.fields.items()
            if rule.column is not None and self._readable(part, rule.column)
        }
        profiles = profile_columns(self._connection, self._table, columns)
        rules = FieldRules(self._table, profiles, self._role, self._questions, self._notes, self._timezone)
        fields: dict[str, ColumnRule] = {}
        for name, rule in part.fields.items():
            fields[name], certain = rules.complete(name, rule)
            if not certain:
                self._confidence[name] = "unsure"
        part = replace(part, fields=fields)
        if self._role == "items" and self._table.header:
            part = self._with_attributes(part)
        if self._role == "events":
            part = self._with_event(part)
            if Columns.TIMESTAMP not in part.fields:
                self._ask(
                    'no column holds times (if all have one: timestamp = { constant = "2024-01-01" })',
                    'timestamp = "COLUMN"',
                )
        for name in REQUIRED[self._role]:
            if name not in part.fields and name not in (Columns.EVENT, Columns.TIMESTAMP):
                self._ask(f"no column is known to hold {name}", f'{name} = "COLUMN"')
        mapping = self._mapping(part)
        sampled = {
            name: rule.column
            for name, rule in part.fields.items()
            if rule.column is not None and self._readable(part, rule.column)
        }
        return Proposal(
            self._role,
            mapping,
            self._confidence,
            tuple(self._questions),
            tuple(self._notes),
            mapping.layout,
            samples(self._connection, self._table, sampled),
            {name: profiles[name].null_share for name in sampled if name in profiles},
            self._time_range(mapping, part),
            self._words,
            self._unused(mapping),
        )

    def _ask(self, what: str, line: str = "") -> None:
        self._questions.append(Question(self._role, what, line))

    def _columns(self) -> RoleMapping:
        """The column of each field, and the options that the layout or the user gave."""
        part = self._layout_part()
        fields = dict(part.fields) if part is not None else {}
        self._confidence |= dict.fromkeys(fields, "sure")
        if part is None and self._table.header:
            fields = self._by_name()
        for name, rule in self._fixed.fields.items():
            fields[name] = rule
            self._confidence[name] = "sure"
        fixed = self._fixed
        return RoleMapping(
            {name: fields[name] for name in NAMES[self._role] if name in fields},
            fixed.each or (part.each if part else None),
            fixed.separator or (part.separator if part else None),
            fixed.distinct or (part.distinct if part else False),
            fixed.attributes,
        )

    def _layout_part(self) -> RoleMapping | None:
        if self._recognised is None:
            return None
        if self._recognised.note is not None:
            self._ask(f"{self._recognised.layout}: {self._recognised.note}")
        mapping = self._recognised.mapping
        return mapping.events if self._role == "events" else mapping.items

    def _by_name(self) -> dict[str, ColumnRule]:
        taken = set(self._fixed.columns())
        names = [column.name for column in self._table.columns if column.name not in taken]
        fields: dict[str, ColumnRule] = {}
        for name in NAMES[self._role]:
            free = [column for column in names if column not in {rule.column for rule in fields.values()}]
            if name == Columns.CREATOR:
                free = [column for column in free if not is_nested(column_type(self._table, column) or "")]
            if name in self._fixed.fields or (column := matching_column(self._role, name, free)) is None:
                continue
            fields[name] = ColumnRule(column)
            self._confidence[name] = "sure" if plain_name(column) == plain_name(name) else "likely"
        return fields

    def _with_attributes(self, part: RoleMapping) -> RoleMapping:
        """Keeps unread columns with well-known names as attributes, unless a person says which are kept."""
        if part.attributes or part.each is not None:
            return part
        attributes = propose_attributes(self._connection, self._table, part.unused(self._table))
        if attributes:
            kept = (f"{name} ({rule.how['type']}, column {rule.column})" for name, rule in attributes.items())
            self._notes.append(f"attributes: kept are {', '.join(kept)}")
        return replace(part, attributes=attributes)

    def _with_event(self, part: RoleMapping) -> RoleMapping:
        """Settles what the events are: the words of a column, or one event for all rows."""
        rule = part.fields.get(Columns.EVENT)
        constant_column = rule.column if rule is not None and rule.column in EVENTS else None
        if rule is not None and rule.column is not None and self._readable(part, rule.column):
            self._words = count_words(self._connection, self._table, rule.column)
            known_rows = sum(
                count for word, count in self._words.items() if event_of(word) or word in rule.how.get("words", {})
            )
            enough = bool(self._words) and known_rows >= MIN_KNOWN_WORDS * sum(self._words.values())
            if constant_column is not None and not enough:
                rule, self._words = ColumnRule(None, {"constant": constant_column}), {}
            elif (
                enough or plain_name(str(rule.column)) in ("event", "eventtype") or Columns.EVENT in self._fixed.fields
            ):
                rule = self._with_words(rule)
            else:
                rule, self._words = None, {}
        if rule is None:
            rule = self._constant_event(part)
        fields = {name: other for name, other in part.fields.items() if name != Columns.EVENT}
        return replace(part, fields={**fields, Columns.EVENT: rule} if rule is not None else fields)

    def _with_words(self, rule: ColumnRule) -> ColumnRule:
        given: Dict[str, str] = {word.lower(): event for word, event in rule.how.get("words", {}).items()}
        words = {word: event for word in self._words if (event := event_of(word)) is not None and event != word}
        unknown = [word for word in self._words if word not in given and event_of(word) is None]
        if unknown:
            shown = ", ".join(f"{word} ({self._words[word]:,} rows)" for word in unknown[:10])
            what = f"{len(unknown)} words of {rule.column} are no known events: {shown}"
            if sum(self._words[word] for word in unknown) > MAX_UNKNOWN_WORDS * sum(self._words.values()):
                self._confidence[Columns.EVENT] = "unsure"
                self._ask(
                    f"{what}; say what they are",
                    rule_text(Columns.EVENT, ColumnRule(rule.column, {"words": {unknown[0]: "view"}})),
                )
            else:
                self._notes.append(f"event: {what}; their rows are rejected")
        words = {**words, **given}
        return ColumnRule(rule.column, {**rule.how, **({"words": words} if words else {})})

    def _constant_event(self, part: RoleMapping) -> ColumnRule | None:
        kind = part.fields[Columns.VALUE].how.get("kind") if Columns.VALUE in part.fields else None
        event = {"rating": "rating", "quantity": "purchase"}.get(kind or "")
        if event is None and Columns.TEXT in part.fields:
            event = "review"
        if event is None:
            self._ask(
                'no column says what happened (if a column does: event = "COLUMN")', 'event = { constant = "view" }'
            )
            return None
        self._confidence[Columns.EVENT] = "likely"
        self._notes.append(f"event: every row is one {event}")
        return ColumnRule(None, {"constant": event})

    def _mapping(self, part: RoleMapping) -> Mapping:
        layout = self._recognised.layout if self._recognised is not None else None
        if self._role == "items":
            return Mapping(None, part, layout)
        items = self._recognised.mapping.items if self._recognised is not None else None
        if items is None:
            items = self._items_of_events(part)
        return Mapping(part, items, layout)

    def _items_of_events(self, part: RoleMapping) -> RoleMapping | None:
        """The items of an events file with a column of categories."""
        columns = {plain_name(column): column for column in part.unused(self._table)}
        found = next((columns[name] for name in EVENT_CATEGORIES if name in columns), None)
        item = part.fields.get(Columns.ITEM)
        if found is None or item is None or part.each is not None:
            return None
        return RoleMapping({Columns.ITEM: item, Columns.CATEGORY: ColumnRule(found)}, distinct=True)

    def _readable(self, part: RoleMapping, column: str | None) -> bool:
        """Whether a column can be looked through as a whole: it is no array whose elements are rows."""
        if column is None or column_type(self._table, column) is None:
            return False
        return part.each is None or column.partition(".")[0] != part.each

    def _time_range(self, mapping: Mapping, part: RoleMapping) -> tuple[float, float] | None:
        if self._role != "events" or Columns.TIMESTAMP not in part.fields:
            return None
        rows = f"SELECT min(timestamp), max(timestamp) FROM ({mapped_sql(self._table, mapping, 'events')})"
        first, last = self._connection.execute(rows).fetchall()[0]
        return None if first is None else (first, last)

    def _unused(self, mapping: Mapping) -> tuple[str, ...]:
        parts = [part for part in (mapping.events, mapping.items) if part is not None]
        return tuple(
            column.name for column in self._table.columns if all(column.name in p.unused(self._table) for p in parts)
        )
