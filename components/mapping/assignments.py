"""Rules from `--map user_id=uid,items.title=name,event=rating`."""

from collections.abc import Mapping as Dict

from components.core.columns import EVENTS, Columns
from components.files.table import Table
from components.mapping.rules import NAMES, ROLES, ColumnRule, Mapping, Role, RoleMapping
from components.mapping.source import MappingError, column_type, shown_columns


def assigned(assignments: Dict[str, str], tables: Dict[Role, Table]) -> Mapping:
    """The rules that the user gave by name, for `propose` to complete.

    A name applies to every file that has the column; `events.NAME` and `items.NAME` apply to one of them. One column
    may have several names. `event` may also be an event, which is then that of every row.

    Raises:
        MappingError: A name does not exist, or no file has the column.
    """
    fields: dict[Role, dict[str, ColumnRule]] = {role: {} for role in tables}
    for key, column in assignments.items():
        for role in _roles(key, column, tables):
            name = key.rpartition(".")[2]
            if name in fields[role] and "." not in key:
                continue  # the name for one file goes before the general one
            is_column = column_type(tables[role], column) is not None
            fields[role][name] = ColumnRule(column) if is_column else ColumnRule(None, {"constant": column})
    parts = {role: RoleMapping(rules) for role, rules in fields.items()}
    return Mapping(parts.get("events"), parts.get("items"))


def assigned_role(assignments: Dict[str, str], table: Table) -> Role | None:
    """What a file holds by the names that only events, or only items, have; None if no such name is assigned to it."""
    for key, column in assignments.items():
        prefix, _, name = key.rpartition(".")
        roles = [role for role in ROLES if prefix in ("", role) and name in NAMES[role]]
        if len(roles) == 1 and column_type(table, column) is not None:
            return roles[0]
    return None


def _roles(key: str, column: str, tables: Dict[Role, Table]) -> list[Role]:
    """The files that a name applies to."""
    prefix, _, name = key.rpartition(".")
    roles = [role for role in ROLES if prefix in ("", role) and name in NAMES[role]]
    if not roles:
        names = ", ".join(dict.fromkeys(name for role in ROLES for name in NAMES[role]))
        raise MappingError(f"--map {key}={column}: there is no name {key}; the names are {names}")
    given = [role for role in roles if role in tables]
    if not given:
        raise MappingError(f"--map {key}={column}: there is no file of {roles[0]}; give one with --{roles[0]}")
    found = [role for role in given if _fits(tables[role], name, column)]
    if not found:
        columns = "; ".join(f"the columns of {role} are {shown_columns(tables[role])}" for role in given)
        raise MappingError(f"--map {key}={column}: no column {column}; {columns}")
    return found


def _fits(table: Table, name: str, column: str) -> bool:
    return column_type(table, column) is not None or (name == Columns.EVENT and column in EVENTS)
