"""A backup of a platform: a folder with dumps of its databases, what its home keeps, and a manifest of all files.

The databases are dumped one after the other, each as of one moment, MLflow's before its artefacts are copied: so every
version in the dump has its artefacts, as a registry only adds to them.
"""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg
from sqlalchemy import URL

from infra.home import postgres
from infra.home.databases import Databases
from infra.home.errors import PlatformError
from infra.local.backup_folder import KEPT, MANIFEST, NOT_KEPT, ROLES, SNAPSHOTS, Backup, Manifest, digests
from infra.local.platform import Platform, Progress


def backup(platform: Platform, folder: Path, *, snapshots: bool = False, progress: Progress) -> Backup:
    """Writes a backup of a platform whose Postgres answers into a new folder that only its owner reads.

    Raises PlatformError when the folder holds something, Postgres does not answer, or the disk is full.
    """
    apart(platform, folder)
    if folder.exists() and any(folder.iterdir()):
        raise PlatformError(f"{folder} is not empty: name a new folder")
    databases = platform.databases
    if not databases.answers():
        raise PlatformError(f"{databases.shown} does not answer: `duotempo up` first")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        served = platform.served()
        there = {role: name for role, name in zip(ROLES, databases.names, strict=True) if _exists(databases, name)}
        for role, name in there.items():
            progress(f"dumping the database {name}")
            dump(databases, name, folder / f"{role}.dump")
        _copy(platform, folder / "home", snapshots, progress)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest.model_validate(
            {
                "made": made,
                "duotempo": version("duotempo"),
                "databases": list(there),
                "served": served,
                "files": digests(folder),
            }
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise PlatformError(
            f"the backup in {folder} is not whole ({error}): remove it, and name a better place"
        ) from error
    return Backup.open(folder)


def dump(databases: Databases, name: str, file: Path) -> None:
    """Raises PlatformError with pg_dump's words."""
    run_tool(databases, name, ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={file}"])


def run_tool(databases: Databases, name: str, command: list[str]) -> None:
    """Runs one of Postgres' programs on a database; the password stays out of its command line."""
    url = databases.duotempo
    place = URL.create("postgresql", url.username, None, url.host, url.port, name, url.query)
    where = f"--dbname={place.render_as_string()}"
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}
    program, *options = command
    done = subprocess.run(
        [str(postgres.package() / "pginstall" / "bin" / program), *options, where],
        env={**os.environ, **secret}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise PlatformError(f"{program} of the database {name} failed: {done.stderr.strip()[-2000:]}")


def apart(platform: Platform, folder: Path) -> None:
    """Raises PlatformError when the backup would lie in the home, which a restore removes."""
    if folder.resolve().is_relative_to(platform.home.path):
        raise PlatformError(
            f"{folder} lies in the platform's own home {platform.home.path}: name a place outside of it"
        )


def _exists(databases: Databases, name: str) -> bool:
    """Whether the server has the database: Prefect and MLflow may have theirs somewhere else."""
    with psycopg.connect(databases.url, dbname=databases.maintenance, connect_timeout=10) as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _copy(platform: Platform, target: Path, snapshots: bool, progress: Progress) -> None:
    target.mkdir(mode=0o700)
    for name in (*KEPT, *([SNAPSHOTS] if snapshots else [])):
        if (source := platform.home.path / name).is_dir():
            progress(f"copying {name}")
            shutil.copytree(source, target / name)
    (target / "secrets").mkdir(mode=0o700)
    for secret in platform.home.secrets.glob("*"):
        if secret.name != NOT_KEPT:
            shutil.copy2(secret, target / "secrets" / secret.name)
