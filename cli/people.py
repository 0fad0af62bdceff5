"""Commands `forget` and `export`: erasure and export of a person's data (GDPR)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console import busy, enter_platform, fail, load_settings, open_store, out, print_json, table
from cli.platform import JSON
from components.core.ids import PersonId, validated_id


def user_id(given: str) -> PersonId:
    """Normalises a user id as all other endpoints do. Raises typer.BadParameter if it is invalid."""
    try:
        return PersonId(validated_id(given), given)
    except ValueError as error:
        raise typer.BadParameter(f"the id {error}") from error


OWN_FILES = ("snapshot_events", "interests", "cached_vectors")
"""Counts of an erasure report that cover only this person's data."""
USER = Annotated[str, typer.Argument(help="A user id.")]


def add_to(app: typer.Typer) -> None:
    for command in (forget, export):
        app.command()(command)


def forget(user: USER, as_json: JSON = False) -> None:
    """Erases a person: from the tables at once, from snapshots, training runs and caches by a flow.

    A tombstone, which holds no id, rejects late events. Lists the registered models that were trained on the person.
    Exits with 1 if there was no data for this id.

    \b
    duotempo forget 42
    """
    from components.store.erasure import forget_all, read_report
    from components.store.privacy import Privacy
    from infra.orchestration.client import DeploymentError, run_deployment
    from serving.storage.spool import open_spool

    person, settings = user_id(user), load_settings()
    with open_store(settings) as engine:
        enter_platform(settings)
        privacy = Privacy(settings)
        names = privacy.names(person)
        with engine.begin() as connection:
            forgotten = forget_all(connection, privacy, names)
        removed = {**forgotten.removed, "spool": sum(map(open_spool(settings).forget, names))}
        why = "a training that started earlier is still running"
        try:
            with busy("erasing snapshots, training runs and caches"):
                run_deployment("erase/waiting", {})
        except DeploymentError as error:
            why = str(error)
        with engine.connect() as connection:
            files = read_report(connection, forgotten.erasure_id)
    found = any(removed.values()) or any((files or {}).get("erased", {}).get(name) for name in OWN_FILES)
    if as_json:
        print_json({"erasure_id": forgotten.erasure_id, "found": found, "removed": removed, "files": files})
    else:
        show(removed, files, why)
    if not found:
        fail(f"nobody is known as {str(person)!r}: nothing was erased; a tombstone rejects later events")


def show(removed: dict[str, int], files: dict[str, Any] | None, why: str) -> None:
    """Prints what was erased and what remains."""
    rows = [[name.replace("_", " "), str(count)] for name, count in removed.items()]
    rows += [[name.replace("_", " "), str(count)] for name, count in (files or {}).get("erased", {}).items()]
    table("erased", ["what", "count"], rows)
    if files is None:
        out.print(f"the files are erased later, by a flow that runs every quarter of an hour: {why}")
        return
    for model in files["models"]:
        names = f" ({', '.join(model['aliases'])})" if model["aliases"] else ""
        out.print(f"version {model['version']}{names} was trained on this person's data, until it is deleted")


def export(
    user: USER, file: Annotated[Path, typer.Option("--out", help="JSON file to write; only its owner may read it.")]
) -> None:
    """Writes all stored data of a person as JSON.

    \b
    duotempo export 42 --out 42.json
    """
    import json
    import os

    from components.store.consent import export_user
    from components.store.privacy import Privacy
    from serving.storage.spool import open_spool

    person, settings = user_id(user), load_settings()
    with open_store(settings) as engine:
        privacy = Privacy(settings)
        names, spool = privacy.names(person), open_spool(settings)
        with engine.connect() as connection:
            found = export_user(connection, privacy, names)
        found["spooled"] = [row.export() for name in names for row in spool.pending_and_dead(name)]
    if not any(value for name, value in found.items() if name != "user_id"):
        fail(f"nobody is known as {str(person)!r}: {file} was not written")
    with open(file, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        json.dump(found, stream, indent=1, ensure_ascii=False)
    out.print(f"{len(found['events'])} events and {len(found['impressions'])} answers: {file}")
