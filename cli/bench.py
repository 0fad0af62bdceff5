"""Command `bench`: runs the benchmarks of benchmarks/."""

from typing import Annotated

import typer

from cli.console import load_settings, out, print_json, report_errors, table


def add_to(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    name: Annotated[str | None, typer.Argument(help="The benchmark to run; without a name, lists them.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "--only", help="quality, ablation: only this dataset, a name from `data list`."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="ablation: only this split: loo, temporal or rolling.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="ablation: number of seeds, 1 by default.")] = None,
    fusion: Annotated[str | None, typer.Option(help="ablation: also evaluate this custom fusion.")] = None,
    beauty: Annotated[
        bool | None, typer.Option("--beauty", help="train: memory and ranking on Amazon Beauty too; takes minutes.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="ingest: number of rows, 20,000,000 by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON and nothing else.")] = False,
) -> None:
    """Runs one benchmark, writes its table into docs/ and prints the figures.

    \b
    duotempo bench
    duotempo bench quality --only ml-100k
    duotempo bench ablation --split rolling --fusion my_fusion:Mine
    duotempo bench train --json
    """
    from benchmarks.registry import BENCHES, run

    if name is None:
        table("duotempo bench NAME", ["name", "measures"], [[key, each.measures] for key, each in BENCHES.items()])
        return
    given = {"dataset": dataset, "split": split, "seeds": seeds, "fusion": fusion, "beauty": beauty, "rows": rows}
    with report_errors():
        options = {option: value for option, value in given.items() if value is not None}
        result = run(name, load_settings(), **options)
    if as_json:
        print_json(result)
        return
    figures = [[figure, f"{value:.5g}"] for figure, value in result["figures"].items()]
    table(f"{name}, commit {result['commit']}, {result['machine']}", ["figure", "value"], figures)
    out.print("the tables are in docs/")
