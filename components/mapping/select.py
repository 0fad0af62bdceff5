"""The SELECT that reads a table as events or items, by a mapping."""

from dataclasses import dataclass

from components.core.columns import Columns
from components.files.sql import identifier, literal
from components.files.table import Table
from components.mapping.attributes import (
    attribute_null_words,
    attribute_sql,
    declared,
    misfit_sql,
    nested_attribute_sql,
)
from components.mapping.categories import SEPARATORS
from components.mapping.event_words import event_sql, flag_sql
from components.mapping.functions import PARSE_LIST, STRIP_HTML
from components.mapping.rules import (
    ID_NAMES,
    IGNORE,
    NAMES,
    TEXT_NAMES,
    TIME_NAMES,
    ColumnRule,
    Mapping,
    Role,
    RoleMapping,
    check_columns,
    check_rules,
)
from components.mapping.source import ELEMENT, SOURCE, column_sql, column_type, is_float, is_nested
from components.mapping.texts import (
    NULL_NUMBERS,
    NULL_TEXTS,
    NULL_WORDS,
    matched_sql,
    nested_sql,
    null_words_sql,
    stripped_sql,
    whole_number_sql,
)
from components.mapping.times import native_time_sql, time_sql
from components.mapping.values import value_rejection_sql, value_sql

_LISTS = "regexp_matches({0}, '^[\\[{{(]')"


def mapped_sql(table: Table, mapping: Mapping, role: Role) -> str:
    """The SELECT of Duotempo's columns from a table; `register_functions` must have been called on the connection.

    Its columns:
        row: Number of the input row, from 0 in the order of the file; the same for all elements of `each`.
        raw: The columns of the input row as a STRUCT; JSON of all rows would take longer than everything else.
        reject: Why the row cannot be accepted, as `code: explanation`, or NULL: a nested value where one is needed, a
            `return`, an `ignored` event, a rating outside of its scale, an attribute of another type. Cleaning finds
            all other faults.
        user_id, item_id, ...: Text, NULL if missing. Events have all names of `NAMES`, items the mapped ones only.
        timestamp, published_at: Epoch seconds (DOUBLE), NULL if it is no time; the text is in raw_timestamp and
            raw_published_at.
        category: VARCHAR[].
        attributes: A struct of the attributes, each of its declared type; only if there are some.

    Raises:
        MappingError: The mapping names a column that the table does not have, or has a wrong option.
    """
    part = mapping.role(role)
    check_rules(part, role)
    check_columns(part, role, table)
    return _Select(table, part, role).sql()


@dataclass(frozen=True)
class _Select:
    table: Table
    part: RoleMapping
    role: Role

    def sql(self) -> str:
        names = [name for name in NAMES[self.role] if name in self.part.fields or self.role == "events"]
        inner = ["duotempo_row AS row", "duotempo_raw AS raw"]
        rules = {**self.part.fields, **{name: rule for _, name, rule in self._attributes}}
        for name, rule in rules.items():
            inner += self._inner(name, rule)
        inner.append(f"{self._nested_rejection()} AS nested_rejection")
        rows = f"SELECT {', '.join(inner)} FROM ({self._source()}) AS {SOURCE}"
        texts = ["*"] + [f"{self._text(name, rule)} AS {_text(name)}" for name, rule in rules.items()]
        outer = ["row", "raw", f"{self._rejection()} AS reject"]
        for name in names:
            outer += self._outer(name)
        if self._attributes:
            values = (f"{literal(name)}: {attribute_sql(_text(key), rule.how)}" for name, key, rule in self._attributes)
            outer.append(f"{{{', '.join(values)}}} AS {Columns.ATTRIBUTES}")
        value = self.part.fields.get(Columns.VALUE)
        valued = f"*, {value_sql(_text(Columns.VALUE), value.how) if value else 'NULL'} AS value"
        # one level each, so that the expressions do not multiply
        sql = f"SELECT {', '.join(texts)} FROM ({rows})"
        sql = f"SELECT {valued} FROM ({sql})"
        if (event := self.part.fields.get(Columns.EVENT)) is not None:
            sql = f"SELECT *, {self._event(event)} AS event FROM ({sql})"
        sql = f"SELECT {', '.join(outer)} FROM ({sql})"
        return _first_of_each_item(sql) if self.part.distinct else sql

    @property
    def _attributes(self) -> list[tuple[str, str, ColumnRule]]:
        """Each attribute's name, the name of its columns in the inner queries, and its rule."""
        rules = enumerate(self.part.attributes.items())
        return [(name, f"attribute_{number}", declared(self.table, rule)) for number, (name, rule) in rules]

    def _source(self) -> str:
        element = ""
        if self.part.each is not None:
            kind = column_type(self.table, self.part.each) or ""
            column = column_sql(self.table, self.part.each)
            if self.part.separator is not None:
                parts = f"string_split(trim({column}), {literal(self.part.separator)})"
            elif kind.endswith("]"):
                parts = column
            else:
                parts = f"json_extract({column}, '$[*]')"
            filled = f"CASE WHEN coalesce(len({parts}), 0) = 0 THEN [NULL] ELSE {parts} END"
            element = f", unnest({filled}) AS {ELEMENT}"
        return (
            f"SELECT {SOURCE}.*, row_number() OVER () - 1 AS duotempo_row, {SOURCE} AS duotempo_raw{element}"
            f" FROM {identifier(self.table.view)} AS {SOURCE}"
        )

    def _column(self, column: str) -> tuple[str, str]:
        """A column in SQL, and its type."""
        kind = column_type(self.table, column) or "VARCHAR"
        if column == self.part.each:
            kind = "VARCHAR" if self.part.separator is not None else kind.removesuffix("[]")
        return column_sql(self.table, column, self.part.each), kind

    def _stripped(self, column: str) -> str:
        return stripped_sql(*self._column(column))

    def _inner(self, name: str, rule: ColumnRule) -> list[str]:
        if name == Columns.CATEGORY:
            return [f"{self._categories(rule)} AS lists_category"]
        parts = []
        if rule.column is not None:
            column, kind = self._column(rule.column)
            parts.append(f"{self._stripped(rule.column)} AS stripped_{name}")
            if name == Columns.USER and kind in ("VARCHAR", "JSON"):
                given = column if kind == "VARCHAR" else f"({column} ->> '$')"
                parts.append(f"{given} AS given_{name}")
            if name in TIME_NAMES and (native := native_time_sql(column, kind, rule.how)):
                parts.append(f"{native} AS native_{name}")
        if "or" in rule.how:
            parts.append(f"{self._stripped(rule.how['or'])} AS other_{name}")
        if name == Columns.EVENT:
            for number, column in enumerate(rule.how.get("flags", {})):
                parts.append(f"{flag_sql(self._stripped(column))} AS flag_{number}")
        return parts

    def _text(self, name: str, rule: ColumnRule) -> str:
        """The text of a field: without null words, matched by its pattern."""
        if name == Columns.CATEGORY:
            return "lists_category"
        if "constant" in rule.how and rule.column is None:
            return literal(str(rule.how["constant"]))
        if rule.column is None:
            return "NULL"
        known = attribute_null_words(rule.how) if "type" in rule.how else _null_words(name)
        words = known + tuple(map(str, rule.how.get("null_words", ())))
        text = null_words_sql(f"stripped_{name}", words)
        if "or" in rule.how:
            text = f"coalesce({text}, {null_words_sql(f'other_{name}', words)})"
        if "pattern" in rule.how:
            text = matched_sql(text, rule.how["pattern"])
        if rule.how.get("whole_numbers"):
            text = whole_number_sql(text)
        if name in TEXT_NAMES:
            text = self._plain_text(text, rule)
        if self._is_as_given(name, rule):
            text = f"CASE WHEN {text} IS NOT NULL THEN given_{name} END"
        return text

    def _is_as_given(self, name: str, rule: ColumnRule) -> bool:
        """Whether a value keeps its blanks: a user may have withdrawn consent under the very spelling of the file."""
        plain = not {"or", "pattern", "whole_numbers"} & set(rule.how)
        return name == Columns.USER and plain and self._column(rule.column or "")[1] in ("VARCHAR", "JSON")

    def _plain_text(self, text: str, rule: ColumnRule) -> str:
        kind = self._column(rule.column or "")[1]
        if rule.how.get("format") == "list" or kind.endswith("]") or kind == "JSON":
            joined = f"array_to_string({PARSE_LIST}({text}), ' ')"
            text = f"CASE WHEN starts_with({text}, '[') THEN {joined} ELSE {text} END"
        html = f"contains({text}, '<') OR contains({text}, '&lt;')"
        return f"CASE WHEN {html} THEN nullif({STRIP_HTML}({text}), '') ELSE {text} END"

    def _outer(self, name: str) -> list[str]:
        rule = self.part.fields.get(name)
        if rule is None:
            missing = "CAST(NULL AS DOUBLE)" if name in TIME_NAMES else "CAST(NULL AS VARCHAR)"
            raw = [f"CAST(NULL AS VARCHAR) AS raw_{name}"] if name in TIME_NAMES else []
            return [f"{missing} AS {name}", *raw]
        if name in TIME_NAMES:
            return [f"{self._time(name, rule)} AS {name}", f"{_text(name)} AS raw_{name}"]
        if name == Columns.AVAILABLE:
            return [f"{_available(_text(name), rule)} AS {name}"]
        if name in (Columns.VALUE, Columns.EVENT):
            return [f"CAST({name} AS VARCHAR) AS {name}"]
        return [f"{_text(name)} AS {name}"]

    def _time(self, name: str, rule: ColumnRule) -> str:
        if rule.column is not None and native_time_sql("", self._column(rule.column)[1], rule.how):
            return f"native_{name}"
        return f"CAST({time_sql(_text(name), rule.how)} AS DOUBLE)"

    def _event(self, rule: ColumnRule) -> str:
        flags = {f"flag_{number}": event for number, event in enumerate(rule.how.get("flags", {}).values())}
        return event_sql(_text(Columns.EVENT) if rule.column is not None else None, rule.how, flags)

    def _categories(self, rule: ColumnRule) -> str:
        parts = []
        if "constant" in rule.how:
            parts.append(f"[{literal(str(rule.how['constant']))}]")
        for column in [rule.column, *rule.how.get("also", ())]:
            if column is not None:
                parts.append(self._category_list(column, rule))
        for column, category in rule.how.get("flags", {}).items():
            parts.append(f"CASE WHEN {flag_sql(self._stripped(column))} THEN [{literal(category)}] ELSE [] END")
        together = parts[0] if len(parts) == 1 else f"flatten([{', '.join(parts)}])"
        return f"CAST({together} AS VARCHAR[])"

    def _category_list(self, column: str, rule: ColumnRule) -> str:
        sql, kind = self._column(column)
        if kind == "VARCHAR[]":
            return f"coalesce({sql}, [])"
        words = NULL_WORDS + NULL_NUMBERS + tuple(map(str, rule.how.get("null_words", ())))
        text = null_words_sql(self._stripped(column), words)
        if "pattern" in rule.how:
            text = matched_sql(text, rule.how["pattern"])
        return f"CASE WHEN {text} IS NULL THEN [] {_split_sql(text, rule.how.get('format', 'auto'))} END"

    def _nested_rejection(self) -> str:
        """The reason of the first field that holds an object or an array, or a fraction as an id."""
        cases = []
        for name, rule in self.part.fields.items():
            if name == Columns.CATEGORY or rule.column is None:
                continue
            column, kind = self._column(rule.column)
            if is_nested(kind):
                test = nested_sql(column, kind)
                if name in TEXT_NAMES:
                    test = f"(coalesce(json_type(to_json({column})) = 'OBJECT', false))"
                what = "text nor a list of texts" if name in TEXT_NAMES else "text nor a number"
                shown = f"left(CAST(to_json({column}) AS VARCHAR), 60)"
                cases.append(f"WHEN {test} THEN 'bad_{name}: ' || {shown} || ' is neither {what}'")
            elif name in ID_NAMES and is_float(kind):
                number = f"CAST({column} AS DOUBLE)"
                fraction = f"NOT isnan({number}) AND coalesce({number} <> trunc({number}), false)"
                cases.append(
                    f"WHEN {fraction} THEN 'bad_{name}: ' || CAST({column} AS VARCHAR) || ' is no whole number'"
                )
        for name, _, rule in self._attributes:
            if case := nested_attribute_sql(name, *self._column(rule.column or "")):
                cases.append(case)
        return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS VARCHAR)"

    def _rejection(self) -> str:
        reasons = ["nested_rejection"]
        if Columns.EVENT in self.part.fields:
            word = f"coalesce({_text(Columns.EVENT)}, event)"
            reasons.append(f"CASE WHEN event = '{IGNORE}' THEN 'ignored: the mapping leaves out ' || {word} END")
        value = self.part.fields.get(Columns.VALUE)
        if value and (reason := value_rejection_sql(_text(Columns.VALUE), value.how)):
            reasons.append(reason)
        misfits = (misfit_sql(name, _text(key), rule.how) for name, key, rule in self._attributes)
        reasons += filter(None, misfits)
        return f"coalesce({', '.join(reasons)})" if len(reasons) > 1 else reasons[0]


def _first_of_each_item(rows: str) -> str:
    """The first row of each item. Finds them by their numbers, so that no other column of all rows has to be kept."""
    firsts = f"SELECT item_id, min(row) AS row FROM ({rows}) WHERE item_id IS NOT NULL GROUP BY item_id"
    return (  # elements of one row share its number
        f"SELECT * FROM ({rows}) SEMI JOIN ({firsts}) AS firsts USING (item_id, row)"
        " QUALIFY row_number() OVER (PARTITION BY item_id) = 1"
    )


def _text(name: str) -> str:
    return f"text_{name}"


def _null_words(name: str) -> tuple[str, ...]:
    if name in TEXT_NAMES:
        return NULL_TEXTS
    return NULL_WORDS + NULL_NUMBERS if name in (*TIME_NAMES, Columns.VALUE, Columns.AVAILABLE) else NULL_WORDS


def _split_sql(text: str, style: str) -> str:
    """The branches of a CASE that turn a text into a list, without the one for NULL."""
    if style == "single":
        return f"ELSE [{text}]"
    if style in SEPARATORS:
        return f"ELSE string_split_regex({text}, {literal(SEPARATORS[style])})"
    listed = f"WHEN {_LISTS.format(text)} THEN {PARSE_LIST}({text})"
    path = f"WHEN regexp_matches({text}, ' [>›»] ') THEN string_split_regex({text}, {literal(SEPARATORS['path'])})"
    return f"{listed} {path} ELSE string_split({text}, '|')" if style == "auto" else f"{listed} ELSE [{text}]"


def _available(text: str, rule: ColumnRule) -> str:
    words = {word.lower(): available for word, available in rule.how.get("words", {}).items()}
    cases = " ".join(f"WHEN {literal(word)} THEN {literal(str(value).lower())}" for word, value in words.items())
    available = f"CASE lower({text}) {cases} ELSE {text} END" if cases else text
    if not rule.how.get("invert"):
        return available
    yes, no = "('true', '1', 'yes', 'y', 't', '1.0')", "('false', '0', 'no', 'n', 'f', '0.0')"
    return (
        f"CASE WHEN lower({available}) IN {yes} THEN 'false' WHEN lower({available}) IN {no} THEN 'true' "
        f"ELSE {available} END"
    )
