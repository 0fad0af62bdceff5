"""Commands `demo`, `up`, `down`, `status` (the platform on this machine) and `worker` (on another one)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.console import enter_platform, load_settings, out, print_json, report_errors, styled_prefix, table

if TYPE_CHECKING:
    from infra.local.platform import Platform

EXIT_CODES = {"healthy": 0, "unwell": 1, "down": 3}
"""Exit codes of `duotempo status`."""
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    for command in (demo, up, down, status, worker):
        app.command()(command)


def demo(
    data: Annotated[
        Path | None, typer.Option(help="A dataset folder (interactions.parquet, items.parquet) instead of ml-100k.")
    ] = None,
) -> None:
    """Runs every stage once, on a separate platform with its own folder, and prints the results.

    \b
    duotempo demo
    duotempo demo --data $(duotempo data get chinese-sample | tail -1)
    DEMO_EXIT=1 duotempo demo      # stops everything at the end, even on a terminal
    """
    from cli.demo import run_demo

    with report_errors():
        run_demo(data)


def up() -> None:
    """Starts the platform: Postgres, Prefect with its workers, MLflow, and the Bento once there is a champion.

    \b
    duotempo up
    DUOTEMPO_DATABASE_URL=postgresql://me:secret@db:5432/duotempo duotempo up
    """
    from infra.local.platform import Platform

    with report_errors():
        platform = Platform(load_settings())
        platform.up(lambda stage: out.print(f"  {stage}"))
        status = examined(platform)
        show(status)
        if hint := rebuild_hint(status["served"], platform.home.bentoml):
            out.print(hint)


def rebuild_hint(served: dict[str, str] | None, bentoml_home: Path) -> str | None:
    """Says how to rebuild the served Bento if it holds the code of another release; None if it is current."""
    from infra.deploy.bento import has_current_code

    if served is None or has_current_code(served["bento_tag"], bentoml_home):
        return None
    return (
        f"{served['bento_tag']} keeps the code of the release that built it: `duotempo promote "
        f"{served['model_version']}` rebuilds it with the code of this one"
    )


def down() -> None:
    """Stops everything that `up` started. Data stays on disk.

    \b
    duotempo down
    """
    from infra.local.platform import Platform

    with report_errors():
        Platform(load_settings()).down()
    out.print("the platform is down")


def status(as_json: JSON = False) -> None:
    """Shows the services and their addresses, the version that is served, and problems with how to fix them.

    Exits with 0 if the platform is healthy, 1 if there is a problem, 3 if it is down.

    \b
    duotempo status
    duotempo status --json
    duotempo status || echo "something is wrong"      # for cron or other external monitoring
    """
    from infra.local.platform import Platform

    with report_errors():
        report = examined(Platform(load_settings()))
    if as_json:
        print_json(report)
    else:
        show(report)
    raise typer.Exit(EXIT_CODES[report["state"]])


def examined(platform: "Platform") -> dict[str, Any]:
    """Returns the status and problems of a platform; `down` if it was never started."""
    from infra.watch.problems import examine

    if platform.runs:
        platform.enter()
    return examine(platform).json()


def worker(
    pool: Annotated[Literal["gpu", "cpu"], typer.Argument(help="The work pool to take runs from.")] = "gpu",
    name: Annotated[str, typer.Option(help="Distinguishes this worker from others on the machine.")] = "",
) -> None:
    """Runs a worker of a pool on this machine, beside those that `up` started, until it is stopped.

    \b
    PREFECT_API_URL=http://127.0.0.1:4200/api DUOTEMPO_HOME=/shared/duotempo duotempo worker gpu
    duotempo worker gpu --name second      # another one on the platform's own machine
    """
    from infra.orchestration.worker import serve

    with report_errors():
        settings = load_settings()
        if "PREFECT_API_URL" not in os.environ:
            enter_platform(settings)
        serve(pool, name)


def show(status: dict[str, Any]) -> None:
    """Prints a status: the services, the problems and the served versions."""
    from components.store.variants import CHAMPION

    rows = [
        [name, "healthy" if service["healthy"] else "down", service["url"] or "", str(service["pid"] or "")]
        for name, service in status["services"].items()
    ]
    table("services", ["service", "state", "address", "pid"], rows)
    for problem in status["problems"] if status["state"] != "down" else []:
        out.print(styled_prefix("problem:", "red", f"{problem['what']}; to fix it: {problem['remedy']}"))
    out.print(served_line(status))
    for part in status["variants"]:
        if part["variant"] != CHAMPION:
            out.print(f"  {part['variant']}: version {part['model_version']}, share {part['share']:g}")


def served_line(status: dict[str, Any]) -> str:
    """One line that names the served version, or why there is none."""
    served = status["served"]
    if status["state"] == "down":
        last = f", with {served['bento_tag']}, which it served" if served else ""
        return f"the platform is down{last}: duotempo up starts it"
    if served and status["services"]["bento"]["healthy"]:
        return f"serving version {served['model_version']} ({served['bento_tag']})"
    if served:
        return f"version {served['model_version']} ({served['bento_tag']}) does not answer"
    if status["unserved"]:
        return f"nothing is served yet, as no version is the champion: duotempo promote {status['unserved']}"
    return "nothing is served yet: duotempo retrain --wait, then duotempo promote VERSION"
