"""Commands `retrain`, `promote`, `rollback` and `evaluate`."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.status import Status

from cli.console import busy, enter_platform, fail, load_settings, out, report_errors, styled_prefix, table


def add_to(app: typer.Typer) -> None:
    for command in (retrain, promote, rollback, evaluate):
        app.command()(command)


def retrain(
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the version is registered.")] = False,
) -> None:
    """Trains a new version on all events so far and registers it as the challenger.

    \b
    duotempo retrain --wait
    """
    from infra.orchestration.client import run_deployment, start_deployment

    with report_errors():
        enter_platform(load_settings())
        if not wait:
            out.print(f"started: {start_deployment('retrain/nightly', {}).page}")
            return
        with busy("retraining") as spinner:
            result = run_deployment("retrain/nightly", {}, on_update=stages(spinner))
    show_version(result)


def stages(spinner: Status) -> Callable[[str, str], None]:
    """Returns a callback that shows the running stage on the spinner and prints a line for each completed one."""
    began: dict[str, float] = {}

    def track(stage: str, state: str) -> None:
        if state == "Running":
            spinner.update(stage)
            began.setdefault(stage, time.monotonic())
        elif state == "Completed" and stage in began:
            out.print(f"  {stage:<24} {time.monotonic() - began.pop(stage):6.1f} s")

    return track


def show_version(result: dict[str, Any]) -> None:
    """Prints the result of a retraining: metrics, data warnings and the gate's verdict."""
    if result["unchanged"]:
        out.print(f"nothing has changed since version {result['version']}: no new one was registered")
    names = [name for name in next(iter(result["metrics"].values())) if not name.endswith("_interval")]
    rows = [[model, *(cell(values, name) for name in names)] for model, values in result["metrics"].items()]
    table(f"version {result['version']}, on rolling", ["model", *names], rows)
    embedded, gate = result["embedding"], result["gate"]
    out.print(f"{embedded['encoder']}: {embedded['computed']} texts embedded, {embedded['reused']} from the cache")
    for warning in [*embedded["warnings"], *(text for check in result["validation"] for text in check["warnings"])]:
        out.print(styled_prefix("warning:", "yellow", warning))
    out.print(f"gate: {'passed' if gate['passed'] else 'failed'}: {'; '.join(gate['reasons'])}")
    if gate["passed"]:
        out.print(f"serve it with: duotempo promote {result['version']}")
    else:
        force = f'duotempo promote {result["version"]} --force --why "TEXT"'
        out.print(f"the gate advises against it; to serve it anyway: {force}")


def promote(
    version: Annotated[str, typer.Argument(help="A registered version, such as 3.")],
    force: Annotated[bool, typer.Option("--force", help="Promote even if the gate failed; needs --why.")] = False,
    why: Annotated[str, typer.Option(help="The reason, recorded with the promotion.")] = "",
) -> None:
    """Makes a version the champion: builds and tests its Bento, then serves it, first to some users as a canary.

    \b
    duotempo promote 3
    duotempo promote 3 --force --why "the gate compares with a broken champion"
    """
    from infra.deploy import promotion

    settings = load_settings()
    with report_errors():
        platform = enter_platform(settings)
        with busy(f"deploying version {version}"):
            promotion.promote(version, actor="command line", reason=why, force=force, settings=settings)
        show_served(platform.served())


def rollback() -> None:
    """Serves the previous champion again, within seconds; while a canary runs, ends the canary instead.

    \b
    duotempo rollback
    """
    from infra.deploy import promotion

    settings = load_settings()
    with report_errors():
        platform = enter_platform(settings)
        with busy("rolling back"):
            promotion.rollback(actor="command line", settings=settings)
        show_served(platform.served())


def show_served(served: dict[str, str] | None) -> None:
    if served:
        out.print(f"serving version {served['model_version']} ({served['bento_tag']})")


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A dataset folder: interactions.parquet and items.parquet.")],
    split: Annotated[str, typer.Option(help="loo, temporal or rolling.")] = "loo",
    file: Annotated[Path | None, typer.Option("--out", help="Write the figures to this file, as JSON.")] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Models to evaluate: duotempo (with the current settings); duotempo with another fusion (weighted, "
            "concat, attention, gated, long, short, or a custom module:Class); pop, pop7, itemknn, ease, als.",
        ),
    ] = "duotempo,pop,pop7",
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of the training, overriding the settings.")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Also evaluate item-kNN, EASE and ALS.")] = False,
) -> None:
    """Trains and evaluates models on a dataset folder, without a running server.

    \b
    duotempo evaluate $(duotempo data get ml-100k | tail -1) --split loo --out figures.json
    duotempo evaluate ./my-shop --split rolling --model duotempo,long,short,my_fusion:Mine
    """
    from components.evaluation.baselines import PEERS
    from components.evaluation.offline import evaluate_folder

    if file and not file.parent.is_dir():
        fail(f"--out {file}: there is no folder {file.parent}", code=2)
    with report_errors():
        settings = load_settings()
        if seed is not None:
            settings.fusion.seed = seed
        models = [*map(str.strip, model.split(",")), *(PEERS if peers else ())]
        figures = evaluate_folder(folder, split, settings, models=models, show_progress=True)
    if file:
        file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    show_figures(figures)


def show_figures(figures: dict[str, Any]) -> None:
    """Prints the metrics of an evaluation, NDCG with its 95 % interval, and NDCG on cold items.

    The file of --out holds all metrics.
    """
    models = figures["models"]
    names = [name for name in next(iter(models.values())) if not name.endswith("_interval")]
    rows = [[model, *(cell(values, name) for name in names)] for model, values in models.items()]
    table(f"{figures['dataset']}, {figures['split']}, {figures['test_users']} targets", ["model", *names], rows)
    out.print(cold_items(figures["slices"]))


def cold_items(slices: dict[str, Any]) -> str:
    """One line with each model's NDCG on targets whose item has no training event."""
    if "cold items" not in slices:
        return "cold items: every target has a training event"
    cold = slices["cold items"]
    metric = next(name for name in next(iter(cold["models"].values())) if name.startswith("ndcg"))
    ndcg_by_model = ", ".join(f"{model} {cell(values, metric)}" for model, values in cold["models"].items())
    return f"cold items, {cold['targets']} targets: {metric} {ndcg_by_model}"


def cell(values: dict[str, Any], name: str) -> str:
    """Formats a metric; a dash if it cannot be measured."""
    if (value := values.get(name)) is None:
        return "-"
    low, high = values.get(f"{name}_interval") or (None, None)
    return f"{value:.4f} [{low:.4f}, {high:.4f}]" if name.startswith("ndcg") else f"{value:.4g}"
