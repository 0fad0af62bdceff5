"""Opens files as events and items: which file is which, and what its columns mean."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from components.core.columns import Columns
from components.core.normalize import MAX_EPOCH_SECONDS
from components.files.connection import scratch_errors
from components.files.errors import DatasetError
from components.files.opening import open_table
from components.files.sql import single_row
from components.files.table import ReadOptions, Table
from components.mapping.assignments import assigned, assigned_role
from components.mapping.functions import register_functions
from components.mapping.propose import Proposal, propose, role_of
from components.mapping.question import Question
from components.mapping.rules import ROLES, Role, RoleMapping, check_columns, missing_names
from components.mapping.rules import Mapping as FileMapping
from components.mapping.select import mapped_sql
from components.mapping.source import MappingError

PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
EVENTS_IN, ITEMS_IN = "events_in", "items_in"
_VIEWS: dict[Role, str] = {"events": EVENTS_IN, "items": ITEMS_IN}


@dataclass(frozen=True)
class InputFiles:
    """Which files to open.

    Attributes:
        unknown: Files of which it is not known whether they hold events or items.
        without: Names of item columns that are not read.
    """

    events: Path | None = None
    items: Path | None = None
    unknown: Sequence[Path] = ()
    without: Collection[str] = ()


@dataclass(frozen=True)
class OpenedFiles:
    """Files whose rows are the views `events_in` and `items_in` of a connection.

    Attributes:
        files: The path of each role's file.
        proposals: What was found out; empty if the mapping was given.
        derived_items: Whether the items are only the ids of the events; such items do not change existing ones.
    """

    files: Mapping[Role, Path]
    tables: Mapping[Role, Table]
    mapping: FileMapping
    proposals: Mapping[Role, Proposal] = field(default_factory=dict)
    derived_items: bool = False

    @property
    def name(self) -> str:
        """The name of the events file, or of the items file, without its ending and that of its compression."""
        path = self.files.get("events") or self.files["items"]
        return Path(path.stem).stem if path.suffix in PACKED else path.stem

    @property
    def questions(self) -> tuple[Question, ...]:
        """What a person has to decide."""
        return tuple(question for proposal in self.proposals.values() for question in proposal.questions)


def open_files(
    connection: DuckDBPyConnection,
    inputs: InputFiles,
    *,
    mapping: FileMapping | None = None,
    assignments: Mapping[str, str] | None = None,
    answers: FileMapping | None = None,
    options: ReadOptions | None = None,
    timezone: str | None = None,
) -> OpenedFiles:
    """Opens an events file, an items file, or both, and makes the views by their mapping.

    Without an items file the items are those that the events file describes, or else the ids of its events.

    Args:
        connection: From `components.files.connection.connect`.
        mapping: How the files are read; what is None is proposed by `components.mapping.propose`.
        assignments: Duotempo's names with the columns of the file, which the proposal keeps; only without a mapping.
        answers: Rules that settle questions of an earlier proposal; only without a mapping.
        options: What is known about the files' format.
        timezone: Of times without one.

    Raises:
        DatasetError: A file cannot be read, or it is not clear which file is which.
        MappingError: The mapping or an assignment does not fit the files.
        ScratchError: The disk of the connection's folder is full.
    """
    with scratch_errors(connection):
        return _opened(connection, inputs, mapping, assignments or {}, answers, options, timezone)


def shift_times(connection: DuckDBPyConnection, last: datetime) -> int:
    """Shifts all times of the views by a constant so that the last event is at `last` (timezone-aware).

    Returns:
        The shift in whole seconds.

    Raises:
        DatasetError: No time can be read.
    """
    credible = f"timestamp >= 0 AND timestamp < {MAX_EPOCH_SECONDS}"
    (latest,) = single_row(connection, f"SELECT max(timestamp) FROM {EVENTS_IN} WHERE {credible}")
    if latest is None:
        raise DatasetError("no time of an event can be read; see `duotempo inspect`")
    shift = int(last.timestamp() - latest)
    for view, column in ((EVENTS_IN, Columns.TIMESTAMP), (ITEMS_IN, Columns.PUBLISHED_AT)):
        columns = [name for name, *_ in connection.execute(f"DESCRIBE {view}").fetchall()]
        if column in columns:
            connection.execute(f"ALTER VIEW {view} RENAME TO unshifted_{view}")
            shifted = f"SELECT * REPLACE ({column} + {shift} AS {column}) FROM unshifted_{view}"
            connection.execute(f"CREATE VIEW {view} AS {shifted}")
    return shift


def _opened(
    connection: DuckDBPyConnection,
    inputs: InputFiles,
    mapping: FileMapping | None,
    assignments: Mapping[str, str],
    answers: FileMapping | None,
    options: ReadOptions | None,
    timezone: str | None,
) -> OpenedFiles:
    register_functions(connection)
    files, tables = _open(connection, inputs, mapping, assignments, options)
    if mapping is not None:
        opened = OpenedFiles(files, tables, _fitting(mapping, tables))
    else:
        given = _with_answers(assigned(assignments, dict(tables)), answers)
        proposals = {role: propose(connection, table, role, given, timezone) for role, table in tables.items()}
        opened = OpenedFiles(files, tables, _joined(proposals, options), proposals)
    return _with_views(connection, opened, inputs.without)


def _open(
    connection: DuckDBPyConnection,
    inputs: InputFiles,
    mapping: FileMapping | None,
    assignments: Mapping[str, str],
    options: ReadOptions | None,
) -> tuple[dict[Role, Path], dict[Role, Table]]:
    files: dict[Role, Path] = {}
    tables: dict[Role, Table] = {}
    named: list[tuple[Role | None, Path | None]] = [("events", inputs.events), ("items", inputs.items)]
    for number, (role, path) in enumerate([*named, *((None, path) for path in inputs.unknown)]):
        if path is None:
            continue
        part = mapping.role(role) if mapping is not None and role is not None else None
        table = open_table(connection, path, f"file{number}", options or (part.read if part else ReadOptions()))
        found = role
        if found is None and mapping is not None:
            found = _fitting_role(table, mapping, path)
        found = found or assigned_role(assignments, table) or role_of(connection, table)
        if found in tables:
            raise DatasetError(
                f"{files[found]} and {path} are both read as {found}; load them one after the other, "
                "or say which is which with --events and --items"
            )
        files[found], tables[found] = path, table
    return files, tables


def _fitting_role(table: Table, mapping: FileMapping, path: Path) -> Role:
    """The part of a mapping whose columns a file has."""
    reasons = []
    for role in ROLES:
        part = mapping.events if role == "events" else mapping.items
        if part is not None:
            try:
                check_columns(part, role, table)
            except MappingError as error:
                reasons.append(str(error))
            else:
                return role
    raise MappingError(f"{path} fits no part of the mapping: " + "; ".join(reasons))


def _fitting(mapping: FileMapping, tables: Mapping[Role, Table]) -> FileMapping:
    """A mapping without the parts for which there is no file. Raises MappingError when one is needed."""
    events = mapping.role("events") if "events" in tables else None
    items = mapping.role("items") if "items" in tables else None
    parts: dict[Role, RoleMapping | None] = {"events": events, "items": items}
    for role, part in parts.items():
        if part is not None and (missing := missing_names(part, role)):
            raise MappingError(f"the mapping has no {missing[0]} in [{role}]; add a line {missing[0]} = COLUMN")
    if events is not None and items is None and mapping.items is not None and mapping.items.distinct:
        items = mapping.items
    return replace(mapping, events=events, items=items)


def _with_answers(given: FileMapping, answers: FileMapping | None) -> FileMapping:
    """Rules of which the answers go before the others."""
    if answers is None:
        return given
    parts = []
    for first, second in ((given.events, answers.events), (given.items, answers.items)):
        if first is not None and second is not None:
            second = replace(second, fields={**first.fields, **second.fields})
        parts.append(second or first)
    events, items = parts
    return FileMapping(events, items)


def _joined(proposals: Mapping[Role, Proposal], options: ReadOptions | None) -> FileMapping:
    """The mapping of all files, with what the user said about their format."""
    events, items = proposals.get("events"), proposals.get("items")
    of_events = events.mapping.events if events is not None else None
    of_items = items.mapping.items if items is not None else events.mapping.items if events is not None else None
    if options is not None:
        of_events = replace(of_events, read=options) if of_events is not None else None
        of_items = replace(of_items, read=options) if of_items is not None else None
    layout = next((proposal.layout for proposal in proposals.values() if proposal.layout), None)
    return FileMapping(of_events, of_items, layout)


def _with_views(connection: DuckDBPyConnection, opened: OpenedFiles, without: Collection[str]) -> OpenedFiles:
    """Makes the view of each role whose mapping is complete; what a proposal lacks is among its questions."""
    events, items = opened.mapping.events, opened.mapping.items
    derived = items is None
    if items is None and events is not None and Columns.ITEM in events.fields:
        items = RoleMapping({Columns.ITEM: events.fields[Columns.ITEM]}, events.each, events.separator, True)
    elif items is not None and without:
        items = replace(items, fields={name: rule for name, rule in items.fields.items() if name not in without})
    mapping = replace(opened.mapping, items=items)
    parts: dict[Role, RoleMapping | None] = {"events": events, "items": items}
    for role, part in parts.items():
        if part is not None and not missing_names(part, role):
            table = opened.tables.get(role) or opened.tables["events"]
            connection.execute(f"CREATE OR REPLACE VIEW {_VIEWS[role]} AS {mapped_sql(table, mapping, role)}")
    return replace(opened, mapping=opened.mapping if derived else mapping, derived_items=derived)
