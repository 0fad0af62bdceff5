"""Commands `report online` (metrics of the served variants) and `report drift`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import load_settings, open_store, out, print_json, table
from cli.platform import JSON

if TYPE_CHECKING:
    from components.store.analytics import Window

Days = Annotated[
    int | None, typer.Option(min=1, max=36_500, help="Days back from now.", show_default="monitoring.window_days")
]
reports = typer.Typer(help="Online metrics of the served variants, and drift.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(reports, name="report")


@reports.command("online")
def report_online(days: Days = None, as_json: JSON = False) -> None:
    """Compares the served variants: clicks, ranks, satisfaction, with 95 % intervals by bootstrap over users.

    Needs only Postgres. The JSON includes, as `history`, what the flow monitor measured in the same days.

    \b
    duotempo report online
    duotempo report online --days 30 --json
    """
    from components.monitoring.measure import measure_online
    from components.monitoring.report import online_table
    from components.store.analytics import online_history

    settings = load_settings()
    with open_store(settings) as engine:
        report = measure_online(engine, settings, datetime.now(UTC), days or settings.monitoring.window_days)
        history = online_history(engine, report.window.since) if as_json else []
    if as_json:
        variants = {
            variant.name: {
                "model_version": variant.model_version,
                "impressions": variant.impressions,
                "users": variant.users,
                "metrics": {name: figure._asdict() for name, figure in variant.figures.items()},
                "against_champion": {name: figure._asdict() for name, figure in variant.against_champion.items()},
            }
            for variant in report.online.variants
        }
        unmatched = report.online.unmatched
        shadows = [asdict(shadow) for shadow in report.shadows]
        payload = {"variants": variants, "unmatched": unmatched, "shadows": shadows, "history": history}
        print_json({**bounds(report.window), **payload})
        return
    if not report.online.variants:
        out.print(f"no recommendations were served {shown(report.window)}: try more --days, or see duotempo status")
        return
    table(f"variants {shown(report.window)}", *online_table(report.online))
    if unexplored := [variant.name for variant in report.online.variants if variant.figures["ips"].mean is None]:
        out.print(
            f"no exploration in the answers of {', '.join(unexplored)} (setting ranking.exploration): "
            "no item was randomised, so ips, snips and ess cannot be estimated"
        )
    if report.online.unmatched:
        out.print(f"{report.online.unmatched} events refer to no shown item of these answers and do not count")
    for shadow in report.shadows:
        overlap = "-" if shadow.overlap is None else f"{shadow.overlap:.2f}"
        out.print(
            f"shadow, version {shadow.model_version}: {shadow.answers} answers, {shadow.failed} failed, "
            f"{overlap} of the shown list, 95 % within {1000 * shadow.seconds:.0f} ms"
        )


@reports.command("drift")
def report_drift(days: Days = None, as_json: JSON = False) -> None:
    """Compares user behaviour and scores with the weeks before: below 0.1 stable, above 0.25 strong drift.

    Needs only Postgres. The JSON includes, as `history`, what the flow monitor measured in the same days.

    \b
    duotempo report drift
    duotempo report drift --days 14 --json
    """
    from components.monitoring.measure import measure_drift
    from components.monitoring.report import drift_table
    from components.store.analytics import drift_history

    settings = load_settings()
    with open_store(settings) as engine:
        report = measure_drift(engine, settings, datetime.now(UTC), days or settings.monitoring.window_days)
        history = drift_history(engine, report.window.since) if as_json else []
    if as_json:
        features = {drift.feature: {"value": drift.value, "reading": drift.note} for drift in report.drifts}
        windows = {**bounds(report.window), "reference": bounds(report.reference)}
        print_json({**windows, "features": features, "history": history})
        return
    table(f"drift: {shown(report.window)}, against the time {shown(report.reference)}", *drift_table(report.drifts))


def bounds(window: "Window") -> dict[str, str]:
    return {"from": window.since.isoformat(), "to": window.until.isoformat()}


def shown(window: "Window") -> str:
    return f"from {window.since:%Y-%m-%d %H:%M} to {window.until:%Y-%m-%d %H:%M} UTC"
