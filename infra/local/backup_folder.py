"""A backup as a folder, and what is asked of it before a restore touches anything: its files are those that were
backed up, and nothing in it leads elsewhere or is more than there is room for."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from components.core.files import sha256
from components.core.logs import one_line
from infra.home.errors import PlatformError

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 64 * 2**20
KEPT = ("mlflow", "bentoml", "presets", "encoders")
"""Folders of the home that cannot be made again, or not soon: artefacts, Bentos, presets, adapted encoders."""
SNAPSHOTS = "snapshots"
NOT_KEPT = "postgres"
"""The secret that is not kept: after a restore the database has a new one. The others go with it: without the webhook's
MLflow cannot read its own database."""
Role = Literal["duotempo", "prefect", "mlflow"]
ROLES: tuple[Role, Role, Role] = ("duotempo", "prefect", "mlflow")
"""What the databases are for, in the order of `Databases.names`."""
_PLACE = re.compile(
    rf"({'|'.join(ROLES)})\.dump|home/({'|'.join((*KEPT, SNAPSHOTS))})/.+|home/secrets/(?!{NOT_KEPT}$)[^/]+", re.DOTALL
)
"""Where a file of a backup may lie."""
_SHOWN = 5

Short = Annotated[str, StringConstraints(max_length=100, pattern=r"^[ -~]*$")]


class Served(BaseModel):
    """What the platform served; the tag becomes the name of a program."""

    model_config = ConfigDict(extra="forbid", strict=True)

    bento_tag: Annotated[str, StringConstraints(max_length=200, pattern=r"^duotempo:[A-Za-z0-9._-]+$")]
    model_version: Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]


class Format(BaseModel):
    """What each release's manifest says."""

    format: int


class Manifest(BaseModel):
    """`files` has the SHA-256 of each file by its path."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1] = FORMAT
    made: Short
    duotempo: Short
    databases: list[Role] = Field(max_length=len(ROLES))
    served: Served | None
    files: dict[str, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]]


@dataclass(frozen=True)
class Backup:
    """A folder and what its manifest says; `checksum` is the manifest's SHA-256."""

    folder: Path
    manifest: Manifest
    checksum: str

    @classmethod
    def open(cls, folder: Path) -> "Backup":
        """Reads the manifest alone. Raises PlatformError when it is none."""
        file = folder / MANIFEST
        try:
            if not file.is_file() or file.is_symlink() or file.stat().st_size > LARGEST_MANIFEST:
                raise ValueError(f"{MANIFEST} is missing, a link or too large")
            written = file.read_bytes()
            if (other := Format.model_validate_json(written).format) != FORMAT:
                raise PlatformError(f"{folder} has format {other}, not {FORMAT}: restore it with its release")
            manifest = Manifest.model_validate_json(written)
        except (OSError, ValueError) as error:
            raise PlatformError(
                f"{folder} is no backup ({_first(error)}): name a folder that `duotempo backup` made"
            ) from error
        return cls(folder, manifest, sha256(file))

    @classmethod
    def read(cls, folder: Path) -> "Backup":
        """As `open` and `check`."""
        found = cls.open(folder)
        found.check()
        return found

    def size(self) -> int:
        """Bytes of its files. Raises PlatformError when there is a link, a device or the like among them, or a file
        that no backup has."""
        sizes = dict(_files(self.folder))
        strange = [name for name in sizes if not _PLACE.fullmatch(name)]
        if strange:
            raise PlatformError(f"{self.folder} holds what no backup holds: {_shown(strange)}. Take another one")
        return sum(sizes.values())

    def check(self) -> None:
        """Raises PlatformError when a file is missing, added or changed."""
        self.size()
        told, now = self.manifest.files, digests(self.folder)
        wrong = {name for name in told.keys() | now.keys() if told.get(name) != now.get(name)}
        wrong |= {name for role in self.manifest.databases if (name := f"{role}.dump") not in now}
        if wrong or not (self.folder / "home").is_dir():
            raise PlatformError(
                f"{self.folder} is damaged, these files are not what was backed up: {_shown(wrong or {'home'})}. "
                "Take another one"
            )


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder but its manifest."""
    return {name: sha256(folder / name) for name, _ in _files(folder)}


def _files(folder: Path, within: str = "") -> Iterator[tuple[str, int]]:
    """Path and size of each file but the manifest; no link is followed. Raises PlatformError at anything else."""
    with os.scandir(folder / within) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            name, found = f"{within}{entry.name}", entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                yield from _files(folder, f"{name}/")
            elif not stat.S_ISREG(found.st_mode):
                raise PlatformError(f"{folder} holds a link, device or pipe, which no backup does: {one_line(name)}")
            elif name != MANIFEST:
                yield name, found.st_size


def _shown(names: set[str] | list[str]) -> str:
    listed = [one_line(name) for name in sorted(names)]
    return ", ".join(listed[:_SHOWN]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return one_line(f"{'.'.join(map(str, first['loc'])) or MANIFEST}: {first['msg']}")
    return one_line(str(error))
