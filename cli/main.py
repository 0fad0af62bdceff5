"""The command-line interface `duotempo`."""

from importlib.metadata import version
from typing import Annotated

import typer

from cli import (
    backup,
    bench,
    chaos,
    data,
    encoders,
    ingest,
    keys,
    models,
    people,
    platform,
    recommendations,
    report,
    search,
    secrets,
    service,
)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duotempo {version('duotempo')}")
        raise typer.Exit


app = typer.Typer(
    name="duotempo",
    help="Recommendations that fuse a person's long-term and short-term interests, from Postgres and back.",
    epilog="First time? `duotempo demo` runs every stage once on a public dataset.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


MODULES = (
    platform, service, backup, data, ingest, models, search, recommendations, report, encoders, people, keys,
    secrets, bench, chaos,
)  # fmt: skip
for module in MODULES:
    module.add_to(app)

if __name__ == "__main__":
    app()
