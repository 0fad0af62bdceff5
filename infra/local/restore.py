"""Restores a platform from a backup, which is verified first; `duotempo up` then starts it."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.logs import one_line
from components.core.polling import poll
from infra.home import postgres
from infra.home.addresses import choose_port
from infra.home.databases import Databases, embedded
from infra.home.errors import PlatformError, failure
from infra.home.home import State
from infra.home.postgres import Cluster
from infra.local.backup import ROLES, Backup, check_outside_home, run_tool
from infra.local.platform import Platform, Progress

STOP_SECONDS = 60.0
PAUSE_SECONDS = 0.1


def restore(
    platform: Platform, folder: Path, *, force: bool = False, checksum: str | None = None, progress: Progress
) -> Backup:
    """Restores the platform's state at the time of the backup. The platform is down before and after.

    Args:
        force: Removes the platform's existing data first: its home, and its databases on an external server.
        checksum: As printed by `duotempo backup`; without it, the backup may be forged by anyone who can write to
            the folder.

    Raises:
        PlatformError: The backup is damaged or has another checksum, the disk is too small, the platform is up, or it
            has data and `force` is not set.
    """
    check_outside_home(platform, folder)
    progress(f"verifying {folder}")
    source = Backup.open(folder)
    if checksum is not None and checksum.strip().lower() != source.checksum:
        raise PlatformError(f"{folder} is another backup than the one of that checksum; its own is {source.checksum}")
    _check_room(platform.home.path, source.size())
    source.check()
    for role in source.manifest.databases:
        _check_dump(folder / f"{role}.dump")
    if platform.runs:
        raise PlatformError(f"the platform in {platform.home.path} is up: `duotempo down` first")
    if _holds_something(platform) and not force:
        raise PlatformError(
            f"there is a platform already, in {platform.home.path} or its databases: restore into another "
            "DUOTEMPO_HOME and DUOTEMPO_DATABASE_URL, or with --force, which removes it"
        )
    platform.remove()
    platform.home.make()
    shutil.copytree(folder / "home", platform.home.path, dirs_exist_ok=True)
    with _databases(platform) as databases:
        databases.create()
        databases.clear()
        for role, name in zip(ROLES, databases.names, strict=True):
            if role in source.manifest.databases:
                progress(f"loading the database {name}")
                options = ["--no-owner", "--no-privileges", "--no-comments", "--exit-on-error"]
                run_tool(databases, name, ["pg_restore", *options, str(folder / f"{role}.dump")])
    served = source.manifest.served
    platform.home.save(State(bento=served.bento_tag if served else None))
    return source


def _check_room(home: Path, needed: int) -> None:
    place = next(parent for parent in (home, *home.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise PlatformError(
            f"the backup has {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free in {place}: free some "
            "space, or set DUOTEMPO_HOME to a folder on another disk"
        )


def _check_dump(file: Path) -> None:
    """Raises PlatformError if pg_restore cannot list the file's contents."""
    program = postgres.wheel_folder() / "pginstall" / "bin" / "pg_restore"
    done = subprocess.run([str(program), "--list", str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlatformError(f"{file} is no dump of a database ({one_line(done.stderr.strip())}): take another backup")


def _holds_something(platform: Platform) -> bool:
    """Whether the home is not empty or the external database has tables."""
    databases = platform.external
    if databases and not databases.answers():
        raise PlatformError(f"{databases.masked_url} does not answer: check DUOTEMPO_DATABASE_URL and that server")
    home = platform.home.path
    return (home.is_dir() and any(home.iterdir())) or bool(databases and databases.count_tables())


@contextmanager
def _databases(platform: Platform) -> Iterator[Databases]:
    """Yields the platform's databases, on the external server or on a new embedded one that runs meanwhile."""
    if databases := platform.external:
        yield databases
        return
    cluster, password = postgres.locate(platform.home), platform.home.ensure_secret("postgres")
    cluster.initialise(password)
    port = choose_port(platform.settings.platform.postgres_port, ())
    with _running(cluster, port, platform.home.log("postgres")):
        databases = embedded(port, password)
        if not poll(databases.answers, platform.settings.platform.start_timeout_seconds, PAUSE_SECONDS):
            raise failure("postgres", "does not start", platform.home.log("postgres"), [password])
        yield databases


@contextmanager
def _running(cluster: Cluster, port: int, log: Path) -> Iterator[None]:
    user = {"user": cluster.user.pw_uid, "group": cluster.user.pw_gid, "extra_groups": []} if cluster.user else {}
    with log.open("ab") as output:
        server = subprocess.Popen(cluster.command(port), cwd="/", stdout=output, stderr=output, **user)  # type: ignore[call-overload]
    try:
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(STOP_SECONDS)
