"""Commands `inspect` and `ingest`: what files hold, and loads of files into Postgres."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import fail, load_settings, open_store, out, report_errors, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.file_session import FileRequest
    from cli.source_rows import SourceRows
    from components.datasets.opened_files import InputFiles
    from components.settings import Settings

TOO_MANY_REJECTED = 3
"""Exit code if no row is accepted, or more than `ingest.max_rejected_share` of the rows are rejected."""

Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of events or items in any format, or a dataset folder.", show_default=False),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="NAME|ADDRESS", help="A source of the settings, or postgresql://…, https://…, s3://…."
    ),
]
Query = Annotated[str | None, typer.Option(help="What to select, with --from postgresql://….")]
EventsFile = Annotated[Path | None, typer.Option(help="A file of events.")]
ItemsFile = Annotated[Path | None, typer.Option(help="A file of items.")]
Assignments = Annotated[
    str, typer.Option("--map", help="Duotempo's names for the file's columns: user_id=uid,item_id=sku,event=rating")
]
MappingFile = Annotated[Path | None, typer.Option("--mapping", help="A mapping that `duotempo inspect` wrote.")]
Encoding = Annotated[str | None, typer.Option(help="The text's encoding, such as gb18030; else it is found out.")]
Delimiter = Annotated[str | None, typer.Option(help="What separates the columns, ; or tab; else it is found out.")]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="Whether the first line names the columns.")]
Quote = Annotated[str | None, typer.Option(help="The character around values; '' if quotes are part of them.")]
Sheet = Annotated[str | None, typer.Option(help="The sheet of a workbook; else the first.")]
Timezone = Annotated[str | None, typer.Option(help="Of times without one, such as Europe/Berlin; else UTC.")]


def add_to(app: typer.Typer) -> None:
    app.command()(inspect)
    app.command()(ingest)


def inspect(
    files: Files = None,
    events: EventsFile = None,
    items: ItemsFile = None,
    source_from: From = None,
    query: Query = None,
    columns: Assignments = "",
    mapping_file: MappingFile = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    quote: Quote = None,
    sheet: Sheet = None,
    timezone: Timezone = None,
    write: Annotated[
        Path | None, typer.Option(help="Where to write the mapping; else into mapping.toml.", show_default=False)
    ] = None,
) -> None:
    """Shows what files hold and how they would be read, and writes a mapping to edit. Stores nothing.

    With --mapping it shows what that mapping makes of the files, and writes nothing. Of a source all rows are read.

    \b
    duotempo inspect orders.csv products.xlsx
    duotempo inspect --events clicks.json.gz --timezone Europe/Berlin --write clicks.toml
    duotempo inspect --from orders
    """
    from cli.file_session import FileSession, print_questions
    from cli.inspection import comments, show_file, show_verdicts
    from cli.source_rows import all_rows
    from components.mapping.mapping_file import write_mapping

    settings = load_settings()
    reading = {"encoding": encoding, "delimiter": delimiter, "header": header, "quote": quote, "sheet": sheet}
    with report_errors(), ExitStack() as stack:
        rows = stack.enter_context(_rows(settings, files, events, items, source_from, query, all_rows))
        if rows.inputs is None:
            return out.print(f"{rows.name} has no rows")
        if rows.mapping is not None and rows.mapping.is_file():
            mapping_file = mapping_file or rows.mapping
        write = write or rows.mapping or Path("mapping.toml")
        if mapping_file is None and write.exists():
            fail(f"{write} exists: name another file with --write, or show what it does with --mapping {write}", code=2)
        request = _request(rows.inputs, columns, mapping_file, reading, timezone)
        session = stack.enter_context(FileSession(settings, request))
        opened = session.open()
        for role in opened.files:
            show_file(opened, role)
        if opened.questions:
            print_questions(opened)
        else:
            show_verdicts(session.judge(opened, "inspect", None))
        if mapping_file is None:
            write_mapping(write, opened.mapping, comments(opened))
            out.print(f"{write} is written; look at it, then use it: --mapping {write}")


def ingest(
    files: Files = None,
    events: EventsFile = None,
    items: ItemsFile = None,
    source_from: From = None,
    query: Query = None,
    columns: Assignments = "",
    mapping_file: MappingFile = None,
    source: Annotated[str, typer.Option(help="Name of the rows' origin; part of a derived event_id.")] = "",
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    quote: Quote = None,
    sheet: Sheet = None,
    timezone: Timezone = None,
    list_loads: Annotated[bool, typer.Option("--list", help="List all loads, newest first.")] = False,
    undo: Annotated[
        int | None, typer.Option(metavar="LOAD", help="Take a load back: its events, items and quarantined rows.")
    ] = None,
) -> None:
    """Loads events and items into Postgres. Loading the same files twice adds nothing; bad rows go to quarantine.

    The same command continues a load that was interrupted. Exits with 3 if no row is accepted, or if more than the
    share `ingest.max_rejected_share` of the rows is rejected.

    \b
    duotempo ingest orders.csv products.xlsx
    duotempo ingest --events clicks.csv --items items.csv --map user_id=uid,timestamp=time
    duotempo ingest --events clicks.csv --mapping mapping.toml
    duotempo ingest --from orders
    duotempo ingest --undo 7
    """
    settings = load_settings()
    if list_loads:
        return _list_loads(settings)
    if undo is not None:
        return _undo(settings, undo)
    from cli.file_session import FileSession
    from cli.inspection import show_load, show_notes
    from cli.source_rows import new_rows

    reading = {"encoding": encoding, "delimiter": delimiter, "header": header, "quote": quote, "sheet": sheet}
    with report_errors(), ExitStack() as stack:
        rows = stack.enter_context(_rows(settings, files, events, items, source_from, query, new_rows))
        if rows.inputs is None:
            return out.print(f"{rows.name}: nothing new")
        request = _request(rows.inputs, columns, mapping_file or rows.mapping, reading, timezone)
        session = stack.enter_context(FileSession(settings, request))
        opened = session.open_settled()
        show_notes(opened)
        name = source or rows.name or opened.name
        with open_store(settings) as engine:
            judged = session.judge(opened, name, engine)
            report = session.load(opened, judged, name, engine, rows.at_completion)
        rows.loaded()
    show_load(name, report, judged)
    if judged.too_many_rejected(settings.ingest.max_rejected_share):
        fail(
            f"{judged.rejected_share:.0%} of the rows were rejected: correct the mapping (`duotempo inspect`), "
            f"take the load back (`duotempo ingest --undo {report.load_id}`) and load again",
            code=TOO_MANY_REJECTED,
        )


def _rows(
    settings: "Settings",
    files: list[Path] | None,
    events: Path | None,
    items: Path | None,
    source: str | None,
    query: str | None,
    fetch: "Callable[[Settings, str, str | None], AbstractContextManager[SourceRows]]",
) -> "AbstractContextManager[SourceRows]":
    """The files that a command names, or the rows that `fetch` gets of its source."""
    from cli.file_session import input_files
    from cli.source_rows import SourceRows

    if source is not None:
        if files or events or items:
            fail("--from and files exclude each other: load them one after the other", code=2)
        return fetch(settings, source, query)
    if query is not None:
        fail("--query needs --from postgresql://…", code=2)
    return nullcontext(SourceRows("", input_files(files, events, items)))


def _request(
    inputs: "InputFiles",
    columns: str,
    mapping_file: Path | None,
    reading: dict[str, Any],
    timezone: str | None,
) -> "FileRequest":
    from cli.file_session import FileRequest
    from components.files.table import ReadOptions

    given = {name: value for name, value in reading.items() if value is not None}
    if given.get("delimiter") in ("tab", r"\t"):
        given["delimiter"] = "\t"
    options = ReadOptions(**given) if given else None
    return FileRequest(inputs, mapping_file, assignments(columns), options, timezone)


def assignments(text: str) -> dict[str, str]:
    """Parses `user_id=uid,timestamp=time` into a dictionary. Exits with 2 on any other format."""
    pairs = [pair.split("=", 1) for pair in text.split(",") if pair]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        fail(f"--map {text!r}: expected our_name=their_name, joined by commas", code=2)
    return {ours.strip(): theirs.strip() for ours, theirs in pairs}


def _list_loads(settings: "Settings") -> None:
    from components.store.loads import list_loads

    with open_store(settings) as engine:
        loads = list_loads(engine)
    rows = []
    for load in loads:
        counts = load.counts
        rejected = sum(counts.get("rejected", {}).values())
        figures = [str(counts.get(name, "")) for name in ("accepted", "duplicates", "items_added", "items_updated")]
        rows.append(
            [str(load.load_id), load.state, f"{load.started_at:%Y-%m-%d %H:%M}", load.source, *figures, str(rejected)]
        )
    names = ["load", "state", "started", "source", "events", "duplicates", "items added", "updated", "rejected"]
    table("loads", names, rows)


def _undo(settings: "Settings", load_id: int) -> None:
    from components.store.undo import undo_load

    with open_store(settings) as engine:
        undone = undo_load(engine, load_id)
    out.print(
        f"load {load_id} is undone: {undone.events:,} events, {undone.items_removed:,} items and "
        f"{undone.quarantined:,} quarantined rows removed, {undone.items_restored:,} items restored"
    )
