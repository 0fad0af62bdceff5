"""chaos: what it costs when processes are killed."""

from typing import Annotated

import typer

from cli.console import load_settings, out, print_json, reported, table


def add_to(app: typer.Typer) -> None:
    app.command()(chaos)


def chaos(
    rounds: Annotated[int, typer.Option(min=1, help="How many kills.")] = 200,
    seed: Annotated[int, typer.Option(help="Of who is killed when.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Put the tables into docs/reliability.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON and nothing else.")] = False,
) -> None:
    """Kills services, supervisor and sentinel under load, freezes Postgres, and counts what that cost.

    On a platform of its own, with a made-up shop. Some ten seconds a round.

    \b
    duotempo chaos --rounds 20
    """
    from benchmarks import chaos as bench

    with reported():
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
