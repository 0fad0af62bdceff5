"""Proposes the options of a field from what its column holds."""

from collections.abc import Mapping as Dict
from typing import Any

from components.core.columns import Columns
from components.files.table import Table
from components.mapping.mapping_file import rule_text
from components.mapping.profile import ColumnProfile, Kind, NumberProfile
from components.mapping.question import Question
from components.mapping.rules import ID_NAMES, TIME_NAMES, ColumnRule, Role
from components.mapping.synonyms import plain_name, value_kind

_TOP_RATINGS = (1, 5, 10, 20, 100)


def profile_kind(name: str, rule: ColumnRule) -> Kind:
    """What has to be found out about the column of a field."""
    if name in TIME_NAMES and "format" not in rule.how:
        return "time"
    if name == Columns.VALUE:
        return "number"
    if name in ID_NAMES:
        return "id"
    return "list" if name == Columns.CATEGORY and "format" not in rule.how else "text"


class FieldRules:
    """Completes the rules of a mapping; what has to be decided goes to `questions`, how columns are read to `notes`."""

    def __init__(
        self,
        table: Table,
        profiles: Dict[str, ColumnProfile],
        role: Role,
        questions: list[Question],
        notes: list[str],
        timezone: str | None = None,
    ) -> None:
        self._table, self._profiles = table, profiles
        self._role, self._questions, self._notes, self._timezone = role, questions, notes, timezone

    def complete(self, name: str, rule: ColumnRule) -> tuple[ColumnRule, bool]:
        """A rule with its options, and whether they are certain."""
        column = rule.column
        if column is None or name not in self._profiles:
            return rule, True
        if name in TIME_NAMES:
            return self._time(name, column, dict(rule.how))
        if name == Columns.VALUE:
            return self._value(column, dict(rule.how))
        if name in ID_NAMES:
            return self._id(name, column, dict(rule.how)), True
        if name == Columns.CATEGORY and "format" not in rule.how:
            return self._category(column, dict(rule.how))
        return rule, True

    def _ask(self, what: str, line: str) -> None:
        self._questions.append(Question(self._role, what, line))

    def _time(self, name: str, column: str, how: dict[str, Any]) -> tuple[ColumnRule, bool]:
        if self._timezone is not None:
            how.setdefault("timezone", self._timezone)
        if "format" in how:
            self._notes.append(f"{name}: {column} read as {how['format']}")
            return ColumnRule(column, how), True
        profile = self._profiles[name].time
        assert profile is not None
        if profile.format is not None:
            how["format"] = profile.format
            read_as = profile.format.upper() if profile.format.startswith("yyyy") else profile.format
            others = f"; {1 - profile.fit:.2%} of the values are no such times" if profile.fit < 1 else ""
            self._notes.append(f"{name}: {column} read as {read_as} (such as {profile.example}){others}")
        if profile.question is not None:
            example = rule_text(name, ColumnRule(column, {**how, "format": "day-first"}))
            self._ask(f"{name}: {column} {profile.question}; say how it reads", example)
        elif not profile.certain and not (profile.format == "year" and "year" in plain_name(column)):
            line = rule_text(name, ColumnRule(column, how))
            doubt = "is a guess" if profile.fit == 1 else f"fits only {profile.fit:.0%} of the values"
            self._ask(f"{name}: {profile.format} for {column} {doubt}; confirm or correct it", line)
            return ColumnRule(column, how), False
        return ColumnRule(column, how), profile.question is None

    def _value(self, column: str, how: dict[str, Any]) -> tuple[ColumnRule, bool]:
        kind = how.setdefault("kind", value_kind(column))
        profile = self._profiles[Columns.VALUE].numbers
        assert profile is not None
        commas_certain = "decimal_comma" in how or self._commas(column, how, profile)
        if kind == "quantity" and profile.negatives:
            self._notes.append(f"value: {profile.negatives:,} rows with a negative {column} are returns and left out")
        if kind != "rating" or not profile.count or profile.highest is None or "scale" in how:
            return ColumnRule(column, how), commas_certain
        lowest = profile.lowest if profile.lowest is not None else 0.0
        highest = next((top for top in _TOP_RATINGS if profile.highest <= top), profile.highest)
        if lowest < 0:
            how["scale"] = [lowest, highest]
        elif highest == 1:
            how["scale"] = [0, 1]
        else:
            how["scale"] = [0.5 if highest == 5 and profile.fractions else 1, highest]
            if lowest < how["scale"][0]:
                how["scale"][0] = lowest
        self._notes.append(f"value: ratings from {how['scale'][0]:g} to {how['scale'][1]:g}, stored as stars of 5")
        has_zeros = self._zero(column, how, profile.zeros) if lowest >= 0 and highest > 1 else False
        usual = highest in (5, 10) and lowest >= 0
        return ColumnRule(column, how), commas_certain and usual and not has_zeros

    def _commas(self, column: str, how: dict[str, Any], profile: NumberProfile) -> bool:
        """Proposes what a comma in a number means. Returns whether that is certain."""
        if not (profile.decimal_commas or profile.grouped or profile.ambiguous):
            return True
        how["decimal_comma"] = profile.decimal_commas > profile.grouped
        if bool(profile.decimal_commas) != bool(profile.grouped):
            meaning = "a decimal comma" if how["decimal_comma"] else "commas between thousands"
            self._notes.append(f"value: {column} has {meaning}")
            return True
        self._ask(
            f"value: a comma in {column}, such as in {profile.ambiguous}, may be a decimal comma or set thousands apart"
            if profile.ambiguous
            else f"value: some numbers of {column} have a decimal comma, others set thousands apart with it",
            rule_text(Columns.VALUE, ColumnRule(column, {**how, "decimal_comma": True})),
        )
        return False

    def _zero(self, column: str, how: dict[str, Any], zeros: int) -> bool:
        """Proposes that 0 is no rating. Returns whether there are zeros."""
        if not zeros or "zero_is_missing" in how:
            return False
        how["zero_is_missing"] = True
        kept = rule_text(
            Columns.VALUE, ColumnRule(column, {**how, "scale": [0, how["scale"][1]], "zero_is_missing": False})
        )
        self._ask(
            f"value: {zeros:,} rows have {column} 0, taken as not rated, and are left out (if 0 is the lowest rating, "
            f'write {kept}; to keep them as views, event = {{ constant = "rating", without_value = "view" }})',
            rule_text(Columns.VALUE, ColumnRule(column, how)),
        )
        return True

    def _id(self, name: str, column: str, how: dict[str, Any]) -> ColumnRule:
        if "whole_numbers" not in how and self._profiles[name].float_ids:
            how["whole_numbers"] = True
            self._notes.append(f"{column}: whole numbers, read without .0")
        return ColumnRule(column, how)

    def _category(self, column: str, how: dict[str, Any]) -> tuple[ColumnRule, bool]:
        separator = self._profiles[Columns.CATEGORY].separator
        if separator is None:
            return ColumnRule(column, how), True
        rule = ColumnRule(column, {**how, "format": separator})
        single = rule_text(Columns.CATEGORY, ColumnRule(column, {**how, "format": "single"}))
        self._notes.append(f"category: {column} is split at each {separator}; if it holds one category, write {single}")
        return rule, False
