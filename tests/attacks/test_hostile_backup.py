"""Folders forged to look like a backup: each is refused before a restore changes anything."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from components.settings import Settings
from infra.home.errors import PlatformError
from infra.local.backup import MANIFEST, Backup, Manifest, digests
from infra.local.platform import Platform
from infra.local.restore import restore

TAG = "duotempo:v1-0123456789ab"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A valid backup except for its dump, which only Postgres' own program recognizes as invalid."""
    folder = tmp_path / "backup"
    (folder / "home" / "mlflow" / "artifacts").mkdir(parents=True)
    (folder / "home" / "secrets").mkdir()
    (folder / "home" / "mlflow" / "artifacts" / "model").write_text("a model")
    (folder / "home" / "secrets" / "webhook").write_text("s" * 48)
    (folder / "duotempo.dump").write_bytes(b"PGDMP, and then nothing")
    write_manifest(folder)
    return folder


def write_manifest(folder: Path, **changes: object) -> None:
    """Writes a manifest that matches the files, as an attacker would; `changes` override its fields."""
    defaults = {"made": "2026-01-01", "duotempo": "0.1", "databases": ["duotempo"], "files": digests(folder)}
    served = {"bento_tag": TAG, "model_version": "1"}
    manifest = Manifest.model_validate({**defaults, "served": served}).model_dump()
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def home_with_a_platform(tmp_path: Path) -> Platform:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "platform.json").write_text("{}")
    return Platform(Settings(home=tmp_path / "home"))


def add_file(name: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("harm")
        write_manifest(folder)

    return add


def manifest(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / MANIFEST).write_bytes(content)


def with_changes(**changes: object) -> Callable[[Path], None]:
    return lambda folder: write_manifest(folder, **changes)


def add_socket(folder: Path) -> None:
    with chdir(folder / "home"), socket.socket(socket.AF_UNIX) as own:
        own.bind("socket")


def replace_home_with_link(folder: Path) -> None:
    shutil.rmtree(folder / "home")
    (folder / "home").symlink_to("/etc")


def replace_manifest_with_link(folder: Path) -> None:
    (folder / MANIFEST).rename(folder.parent / "manifest")
    (folder / MANIFEST).symlink_to("../manifest")


def remove_home(folder: Path) -> None:
    shutil.rmtree(folder / "home")
    write_manifest(folder)


def add_sparse_file(folder: Path) -> None:
    with (folder / "home" / "mlflow" / "bomb").open("wb") as file:
        file.truncate(2**42)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file": (lambda folder: (folder / "home" / "mlflow" / "x").symlink_to("/etc/passwd"), "a link, device"),
    "a link to a folder": (lambda folder: (folder / "home" / "mlflow" / "x").symlink_to("/etc"), "a link, device"),
    "a link as home": (replace_home_with_link, "a link, device"),
    "a link that leads nowhere": (lambda folder: (folder / "x").symlink_to("nowhere"), "a link, device"),
    "a pipe": (lambda folder: os.mkfifo(folder / "home" / "mlflow" / "pipe"), "a link, device"),
    "a socket": (add_socket, "a link, device"),
    "a manifest that is a link": (replace_manifest_with_link, "is no backup"),
    "supervisor settings": (add_file("home/supervisor/supervisord.conf"), "no backup holds: home/supervisor"),
    "a platform's state": (add_file("home/platform.json"), "no backup holds: home/platform"),
    "the database's password": (add_file("home/secrets/postgres"), "no backup holds: home/secrets/postgres"),
    "a folder of secrets": (add_file("home/secrets/deep/er"), "no backup holds: home/secrets/deep"),
    "a database's files": (add_file("home/postgres/PG_VERSION"), "no backup holds: home/postgres"),
    "another dump": (add_file("template1.dump"), "no backup holds: template1"),
    "a name with escape codes": (add_file("home/mlflow\x1b[2J\nall is well/x"), r"mlflow\\x1b\[2J\\nall"),
    "a sparse file": (add_sparse_file, r"4,096\.0 GiB"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "is no backup"),
    "no JSON": (manifest(b"\xff{"), "is no backup"),
    "deep JSON": (manifest(b'{"format":' + b"[" * 200_000), "is no backup"),
    "a list": (manifest(b"[1, 2]"), "is no backup"),
    "a manifest without files": (manifest(b'{"format": 1}'), "is no backup"),
    "files that are a list": (with_changes(files=["home"]), "files"),
    "another format": (with_changes(format=2), "has format 2, not 1"),
    "a tag that is a path": (with_changes(served={"bento_tag": "duotempo:../../x", "model_version": "1"}), "bento_tag"),
    "a tag of two lines": (
        with_changes(served={"bento_tag": f"{TAG}\n[program:x]\ncommand=id", "model_version": "1"}),
        "bento_tag",
    ),
    "a version of two lines": (with_changes(served={"bento_tag": TAG, "model_version": "1\n2"}), "model_version"),
    "a time with escape codes": (with_changes(made="\x1b[2J"), "made"),
    "an unknown database": (with_changes(databases=["duotempo", "postgres"]), "databases"),
    "a database without its dump": (with_changes(databases=["duotempo", "mlflow"]), r"mlflow\.dump"),
    "paths outside the backup": (with_changes(files={"../../etc/passwd": "0" * 64}), "damaged"),
    "a wrong checksum": (lambda folder: (folder / "home" / "secrets" / "webhook").write_text("other"), "webhook"),
    "a missing file": (lambda folder: (folder / "home" / "secrets" / "webhook").unlink(), "webhook"),
    "no home": (remove_home, "damaged"),
    "an invalid dump": (lambda folder: None, r"duotempo\.dump is no dump of a database"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_backup_is_refused_and_nothing_is_changed(kind: str, folder: Path, tmp_path: Path) -> None:
    attack, message = HOSTILE[kind]
    attack(folder)
    platform = home_with_a_platform(tmp_path)
    with pytest.raises(PlatformError, match=message) as raised:
        restore(platform, folder, force=True, progress=lambda stage: None)
    assert [path.name for path in platform.home.path.iterdir()] == ["platform.json"]
    assert str(raised.value).isprintable()


def test_a_forged_backup_fails_the_checksum(folder: Path, tmp_path: Path) -> None:
    own = Backup.open(folder).checksum
    (folder / "home" / "secrets" / "webhook").write_text("another one")
    write_manifest(folder)
    platform = home_with_a_platform(tmp_path)
    with pytest.raises(PlatformError, match="is another backup than the one of that checksum"):
        restore(platform, folder, force=True, checksum=own, progress=lambda stage: None)
    with pytest.raises(PlatformError, match="is no dump"):
        restore(platform, folder, force=True, checksum=Backup.open(folder).checksum, progress=lambda stage: None)
