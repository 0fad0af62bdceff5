"""Commands `backup` and `restore`: write a platform to a folder and rebuild it from there."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import load_settings, out, report_errors


def add_to(app: typer.Typer) -> None:
    for command in (backup, restore):
        app.command()(command)


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, outside the platform's own.")],
    snapshots: Annotated[bool, typer.Option("--snapshots", help="Include the snapshots of events and items.")] = False,
) -> None:
    """Writes databases, artefacts, Bentos and secrets of the running platform into a folder.

    \b
    duotempo backup /backups/$(date +%F)
    """
    from infra.local.backup import backup as make
    from infra.local.platform import Platform

    with report_errors():
        settings = load_settings()
        written = make(Platform(settings), folder, snapshots=snapshots, progress=lambda stage: out.print(f"  {stage}"))
    contents = f"{', '.join(written.manifest.databases)} and {len(written.manifest.files)} files"
    out.print(f"{folder} holds {contents}; it holds secrets too: keep it safe")
    out.print(f"its checksum, for restore --checksum (keep it elsewhere): {written.checksum}", soft_wrap=True)
    if settings.platform.mlflow_url:
        out.print("the artefacts are stored by the external MLflow and are not in this backup: back them up there")


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder written by `duotempo backup`.")],
    force: Annotated[bool, typer.Option("--force", help="Remove the platform's existing data first.")] = False,
    checksum: Annotated[
        str | None, typer.Option(help="As printed by `duotempo backup`; any other backup is refused.")
    ] = None,
) -> None:
    """Restores a platform from a backup after verifying each file; `duotempo up` then starts it.

    \b
    duotempo restore /backups/2026-01-01
    DUOTEMPO_HOME=/srv/other duotempo restore /backups/2026-01-01
    """
    from infra.local.platform import Platform
    from infra.local.restore import restore as load

    with report_errors():
        platform = Platform(load_settings())
        manifest = load(
            platform, folder, force=force, checksum=checksum, progress=lambda stage: out.print(f"  {stage}")
        ).manifest
    serving_note = f", which serves version {manifest.served.model_version}" if manifest.served else ""
    out.print(f"restored the platform of {manifest.made}{serving_note}: duotempo up starts it")
