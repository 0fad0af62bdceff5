"""Command `adapt`: fine-tunes the text encoder."""

from typing import Annotated, Any

import typer

from cli.console import busy, enter_platform, load_settings, out, report_errors, table
from cli.models import stages


def add_to(app: typer.Typer) -> None:
    app.command()(adapt)


def adapt(
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the encoder is registered.")] = False,
) -> None:
    """Fine-tunes the encoder on the latest snapshot, evaluates it against its base and registers it.

    \b
    duotempo adapt --wait
    """
    from infra.orchestration.client import run_deployment, start_deployment

    with report_errors():
        enter_platform(load_settings())
        if not wait:
            out.print(f"started: {start_deployment('adapt/gpu', {}).page}")
            return
        with busy("adapting") as spinner:
            result = run_deployment("adapt/gpu", {}, on_update=stages(spinner))
    show_encoder(result)


def show_encoder(result: dict[str, Any]) -> None:
    """Prints the adaptation's metrics, overall and by slice, the gate's verdict, and how to use the encoder."""
    metric = next(name for name in result["metrics"]["base"] if name.startswith("ndcg@"))
    groups = {"all targets": result["metrics"]}
    groups |= {name: part["models"] for name, part in result["slices"].items()}
    rows = [
        [group, *(f"{models[model][metric]:.4f}" for model in ("base", "adapted")), interval(result, group)]
        for group, models in groups.items()
    ]
    title = f"duotempo-encoder version {result['version']}, {metric} on rolling"
    table(title, ["targets", "base", "adapted", "difference, 95 %"], rows)
    held_out, gate = result["held_out"], result["gate"]
    ranks = f"{held_out['mrr_base']:.4f} before, {held_out['mrr']:.4f} after"
    out.print(f"mean reciprocal rank on {held_out['pairs']} held-out pairs: {ranks}")
    out.print(f"gate: {'passed' if gate['passed'] else 'failed'}: {'; '.join(gate['reasons'])}")
    use = "set DUOTEMPO_EMBEDDING__MODEL to this folder, then duotempo up and duotempo retrain --wait"
    out.print(f"use it: {use}" if gate["passed"] else f"the gate advises against it; to use it all the same, {use}")
    out.print(result["encoder"], soft_wrap=True)


def interval(result: dict[str, Any], group: str) -> str:
    mean, low, high = result["differences"][group]
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]".replace("[", r"\[")
