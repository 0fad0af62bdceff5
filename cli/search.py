"""Command `search`: hyper-parameter search; the best trial becomes a preset."""

from typing import Annotated, Any

import typer

from cli.console import busy, enter_platform, load_settings, out, report_errors, styled_prefix, table
from cli.models import stages


def add_to(app: typer.Typer) -> None:
    app.command()(search)


def search(
    trials: Annotated[int, typer.Option(min=1, help="Number of trials; the first uses the current settings.")] = 20,
    name: Annotated[str, typer.Option(help="Name of the preset for the best trial.")] = "searched",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the preset is written.")] = False,
) -> None:
    """Searches hyper-parameters on a validation split of the training events and saves the best as a preset.

    \b
    duotempo search --trials 30 --name our-shop --wait
    """
    from components.search.preset import custom_preset_file
    from infra.orchestration.client import run_deployment, start_deployment

    settings = load_settings()
    with report_errors():
        custom_preset_file(settings.home, name)
        enter_platform(settings)
        parameters = {"trials": trials, "name": name}
        if not wait:
            out.print(f"started: {start_deployment('search/on-demand', parameters).page}")
        else:
            with busy("searching") as spinner:
                show_search(run_deployment("search/on-demand", parameters, on_update=stages(spinner)))
    out.print(f"{'train' if wait else 'when it is done, train'} with it: ", end="")
    out.print(f"DUOTEMPO_PRESET={name} duotempo up && DUOTEMPO_PRESET={name} duotempo retrain")


def show_search(result: dict[str, Any]) -> None:
    """Prints the trials of a search, the settings that override its preset, and the preset's file."""
    columns = list(result["trials"][0])
    searched = [name for name in columns if "." in name]
    summary_columns = ["trial", *(name for name in columns if name not in ("trial", *searched))]
    summary = f"search for preset {result['preset']}, the best is trial {result['best']}"
    for title, names in ((summary, summary_columns), ("what was tried", ["trial", *searched])):
        rows = [[_cell(trial[name]) for name in names] for trial in result["trials"]]
        table(title, [name.rpartition(".")[2].replace("_", " ") for name in names], rows)
    if result["best"] == result["trials"][0]["trial"]:
        out.print("no trial was better than the current settings: the preset holds those")
    for setting in result["shadowed"]:
        why = "is set in the settings file or a variable, which wins over the preset: remove it there"
        out.print(styled_prefix("warning:", "yellow", f"{setting} {why}"))
    out.print(f"preset: {result['file']}")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
