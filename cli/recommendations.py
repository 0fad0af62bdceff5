"""Commands `recommend` (one user) and `batch` (all users)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console import busy, enter_platform, load_settings, out, report_errors, styled_prefix, table
from cli.people import user_id


def add_to(app: typer.Typer) -> None:
    for command in (recommend, batch):
        app.command()(command)


def recommend(
    user: Annotated[str, typer.Argument(help="A user id; an unknown one gets a new user's list.", callback=user_id)],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show the reason for each item.")] = False,
) -> None:
    """Requests recommendations from the running service.

    \b
    duotempo recommend 42
    duotempo recommend 42 -k 5 --explain
    """
    from infra.deploy.service import ask_service
    from infra.local.platform import Platform

    with report_errors():
        url = Platform(load_settings()).service_url
        answer = ask_service(url, "/recommend", {"user_id": user, "k": k, "explain": explain})
    show_answer(answer, explain)


def show_answer(answer: dict[str, Any], explain: bool) -> None:
    """Prints a response of /recommend."""
    interest = answer["interest"]
    columns = ["rank", "item", "title", "score"] + (["why"] if explain else [])
    rows = [
        [str(item["rank"]), item["item_id"], item["title"], f"{item['score']:.3f}"]
        + ([item["why"]["text"]] if explain else [])
        for item in answer["items"]
    ]
    table(f"{answer['user_state']} user, version {answer['model_version']}", columns, rows)
    if answer["user_state"] != "new":
        for tempo in ("long", "short"):
            words = ", ".join(interest[tempo]) or "no words for it"
            out.print(f"{tempo}-term {interest[f'{tempo}_weight']:.0%}: {words}")
    if answer["degraded"]:
        out.print(styled_prefix("degraded:", "yellow", "it may lack some of the history; see the service's log"))


def batch(
    file: Annotated[Path, typer.Option("--out", help="Parquet file to write: user_id, rank, item_id, score.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each user.")] = 100,
) -> None:
    """Writes the champion's recommendations for all users to Parquet and to the table batch_recommendations.

    \b
    duotempo batch --out recommendations.parquet -k 100
    """
    from infra.orchestration.client import run_deployment

    with report_errors():
        enter_platform(load_settings())
        with busy("scoring all users"):
            result = run_deployment("batch/daily", {"file": str(file.absolute()), "k": k})
    out.print(f"{result['users']} users, up to {k} items each: {file} and the table batch_recommendations")
