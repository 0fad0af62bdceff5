"""duotempo: the command of the platform."""

import typer

from cli import (
    backup,
    bench,
    chaos,
    data,
    encoders,
    keys,
    models,
    people,
    platform,
    recommendations,
    report,
    search,
    secrets,
)

app = typer.Typer(
    name="duotempo",
    help="Recommendations that fuse a person's long-term and short-term interests, from Postgres and back.",
    epilog="First time? `duotempo demo` runs every stage once on a public dataset.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
MODULES = (
    platform, backup, data, models, search, recommendations, report, encoders, people, keys, secrets, bench, chaos,
)  # fmt: skip
for module in MODULES:
    module.add_to(app)

if __name__ == "__main__":
    app()
