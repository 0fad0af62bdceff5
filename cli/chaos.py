"""Command `chaos`: measures what killed processes cost."""

from typing import Annotated

import typer

from cli.console import load_settings, out, print_json, report_errors, table


def add_to(app: typer.Typer) -> None:
    app.command()(chaos)


def chaos(
    rounds: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 200,
    seed: Annotated[int, typer.Option(help="Random seed for which process is killed, and when.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Write the tables into docs/reliability.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON and nothing else.")] = False,
) -> None:
    """Kills services, supervisor and sentinel under load, freezes Postgres, and counts failed requests and lost rows.

    Runs on its own platform with synthetic data. A round takes about ten seconds.

    \b
    duotempo chaos --rounds 20
    """
    from benchmarks import chaos as bench

    with report_errors():
        result = bench.run(load_settings(), rounds, seed)
        if write:
            bench.write(result["figures"], rounds)
    if as_json:
        print_json(result)
        return
    rows = [[name, f"{value:.5g}"] for name, value in result["figures"].items()]
    table(f"chaos, {rounds} rounds, commit {result['commit']}, {result['machine']}", ["figure", "value"], rows)
    if write:
        out.print("the tables are in docs/reliability.md")
