"""Backup of a platform: a folder with dumps of its databases, files of its home, and a manifest of all files.

The databases are dumped one after the other, each consistently. MLflow's is dumped before its artefacts are copied, so
every version in the dump has its artefacts: a registry only adds to them.
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import psycopg
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy import URL

from components.core.files import sha256
from components.core.logs import one_line
from infra.home import postgres
from infra.home.databases import Databases
from infra.home.errors import PlatformError
from infra.local.platform import Platform, Progress

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64 * 2**20
BACKUP_FOLDERS = ("mlflow", "bentoml", "presets", "encoders")
"""Folders of the home that cannot be rebuilt, or not quickly: artefacts, Bentos, presets, adapted encoders."""
SNAPSHOTS = "snapshots"
NOT_BACKED_UP = "postgres"
"""The secret that is left out: a restored database gets a new one. All others are kept: without the webhook's secret
MLflow cannot read its own database."""
Role = Literal["duotempo", "prefect", "mlflow"]
ROLES: tuple[Role, Role, Role] = ("duotempo", "prefect", "mlflow")
"""Roles of the databases, in the order of `Databases.names`."""
ALLOWED_PATH = re.compile(
    rf"({'|'.join(ROLES)})\.dump|home/({'|'.join((*BACKUP_FOLDERS, SNAPSHOTS))})/.+"
    rf"|home/secrets/(?!{NOT_BACKED_UP}$)[^/]+",
    re.DOTALL,
)
"""Allowed paths of files in a backup."""
MAX_LISTED = 5
Short = Annotated[str, StringConstraints(max_length=100, pattern=r"^[ -~]*$")]


class Served(BaseModel):
    """The served Bento; its tag becomes the name of a program, hence the strict pattern."""

    model_config = ConfigDict(extra="forbid", strict=True)

    bento_tag: Annotated[str, StringConstraints(max_length=200, pattern=r"^duotempo:[A-Za-z0-9._-]+$")]
    model_version: Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]


class Format(BaseModel):
    """The part of a manifest that every release can read."""

    format: int


class Manifest(BaseModel):
    """Content of a backup; `files` maps each path to the file's SHA-256."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1] = FORMAT
    made: Short
    duotempo: Short
    databases: list[Role] = Field(max_length=len(ROLES))
    served: Served | None
    files: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]


@dataclass(frozen=True)
class Backup:
    """A backup folder and its manifest; `checksum` is the manifest's SHA-256."""

    folder: Path
    manifest: Manifest
    checksum: str

    @classmethod
    def open(cls, folder: Path) -> "Backup":
        """Reads only the manifest. Raises PlatformError if it is missing, invalid or of another format."""
        file = folder / MANIFEST
        try:
            if not file.is_file() or file.is_symlink() or file.stat().st_size > MAX_MANIFEST_BYTES:
                raise ValueError(f"{MANIFEST} is missing, a link or too large")
            written = file.read_bytes()
            if (other := Format.model_validate_json(written).format) != FORMAT:
                raise PlatformError(f"{folder} has format {other}, not {FORMAT}: restore it with its release")
            manifest = Manifest.model_validate_json(written)
        except (OSError, ValueError) as error:
            raise PlatformError(
                f"{folder} is no backup ({_first_error(error)}): name a folder that `duotempo backup` made"
            ) from error
        return cls(folder, manifest, sha256(file))

    @classmethod
    def read(cls, folder: Path) -> "Backup":
        """Reads the manifest and verifies all files. Raises PlatformError."""
        file_stat = cls.open(folder)
        file_stat.check()
        return file_stat

    def size(self) -> int:
        """Total size of the files in bytes.

        Raises PlatformError if the folder holds a link, a device or the like, or a file that no backup has.
        """
        sizes = dict(_files(self.folder))
        unexpected = [name for name in sizes if not ALLOWED_PATH.fullmatch(name)]
        if unexpected:
            raise PlatformError(f"{self.folder} holds what no backup holds: {_listed(unexpected)}. Take another one")
        return sum(sizes.values())

    def check(self) -> None:
        """Verifies all files. Raises PlatformError if one is missing, added or changed."""
        self.size()
        expected, now = self.manifest.files, digests(self.folder)
        wrong = {name for name in expected.keys() | now.keys() if expected.get(name) != now.get(name)}
        wrong |= {name for role in self.manifest.databases if (name := f"{role}.dump") not in now}
        if wrong or not (self.folder / "home").is_dir():
            raise PlatformError(
                f"{self.folder} is damaged, these files are not what was backed up: {_listed(wrong or {'home'})}. "
                "Take another one"
            )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder except its manifest, by path."""
    return {name: sha256(folder / name) for name, _ in _files(folder)}


def _files(folder: Path, within: str = "") -> Iterator[tuple[str, int]]:
    """Yields path and size of each file except the manifest. Raises PlatformError for links, devices and pipes."""
    with os.scandir(folder / within) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            name, file_stat = f"{within}{entry.name}", entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(file_stat.st_mode):
                yield from _files(folder, f"{name}/")
            elif not stat.S_ISREG(file_stat.st_mode):
                raise PlatformError(f"{folder} holds a link, device or pipe, which no backup does: {one_line(name)}")
            elif name != MANIFEST:
                yield name, file_stat.st_size


def _listed(names: set[str] | list[str]) -> str:
    listed = [one_line(name) for name in sorted(names)]
    return ", ".join(listed[:MAX_LISTED]) + (
        f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    )


def _first_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return one_line(f"{'.'.join(map(str, first['loc'])) or MANIFEST}: {first['msg']}")
    return one_line(str(error))


def backup(platform: Platform, folder: Path, *, snapshots: bool = False, progress: Progress) -> Backup:
    """Writes a backup of a running platform into a new folder that only its owner can read.

    Args:
        snapshots: Whether to include the snapshots of events and items.

    Raises:
        PlatformError: The folder is not empty or inside the home, Postgres does not answer, or the disk is full.
    """
    check_outside_home(platform, folder)
    if folder.exists() and any(folder.iterdir()):
        raise PlatformError(f"{folder} is not empty: name a new folder")
    databases = platform.databases
    if not databases.answers():
        raise PlatformError(f"{databases.masked_url} does not answer: `duotempo up` first")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        served = platform.served()
        existing = {role: name for role, name in zip(ROLES, databases.names, strict=True) if _exists(databases, name)}
        for role, name in existing.items():
            progress(f"dumping the database {name}")
            dump(databases, name, folder / f"{role}.dump")
        _copy(platform, folder / "home", snapshots, progress)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest.model_validate(
            {
                "made": made,
                "duotempo": version("duotempo"),
                "databases": list(existing),
                "served": served,
                "files": digests(folder),
            }
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise PlatformError(
            f"the backup in {folder} is incomplete ({error}): remove it, and name another place"
        ) from error
    return Backup.open(folder)


def dump(databases: Databases, name: str, file: Path) -> None:
    """Dumps a database to a file. Raises PlatformError with pg_dump's message."""
    run_tool(databases, name, ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={file}"])


def run_tool(databases: Databases, name: str, command: list[str]) -> None:
    """Runs a Postgres program on a database, with the password in the environment, not on the command line.

    Raises PlatformError with the program's message.
    """
    url = databases.duotempo
    place = URL.create("postgresql", url.username, None, url.host, url.port, name, url.query)
    where = f"--dbname={place.render_as_string()}"
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}
    program, *options = command
    done = subprocess.run(
        [str(postgres.wheel_folder() / "pginstall" / "bin" / program), *options, where],
        env={**os.environ, **secret}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise PlatformError(f"{program} of the database {name} failed: {done.stderr.strip()[-2000:]}")


def check_outside_home(platform: Platform, folder: Path) -> None:
    """Raises PlatformError if the backup folder is inside the home, which a restore removes."""
    if folder.resolve().is_relative_to(platform.home.path):
        raise PlatformError(f"{folder} is inside the platform's home {platform.home.path}: name a place outside of it")


def _exists(databases: Databases, name: str) -> bool:
    """Whether the server has the database; those of an external Prefect or MLflow may be elsewhere."""
    with psycopg.connect(databases.url, dbname=databases.maintenance, connect_timeout=10) as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _copy(platform: Platform, target: Path, snapshots: bool, progress: Progress) -> None:
    target.mkdir(mode=0o700)
    for name in (*BACKUP_FOLDERS, *([SNAPSHOTS] if snapshots else [])):
        if (source := platform.home.path / name).is_dir():
            progress(f"copying {name}")
            shutil.copytree(source, target / name)
    (target / "secrets").mkdir(mode=0o700)
    for secret in platform.home.secrets.glob("*"):
        if secret.name != NOT_BACKED_UP:
            shutil.copy2(secret, target / "secrets" / secret.name)
