"""Where the services of a platform are: on this machine, or somebody else's."""

import fcntl
import os
import random
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from components.settings import Settings
from infra.home.databases import Databases, embedded, outside
from infra.home.errors import PlatformError
from infra.home.home import Home, State
from infra.pools import DEPLOY_QUEUE, POOLS

ELSEWHERE = range(20000, 32000)
"""Where a port is looked for when the usual one is taken: below what systems give to outgoing connections."""
WORKERS = {**{f"worker-{pool}": (pool, pool) for pool in POOLS}, f"worker-{DEPLOY_QUEUE}": ("cpu", DEPLOY_QUEUE)}
"""Pool of each program that is a worker, and the name it has there."""


def is_port_free(port: int) -> bool:
    """Whether nobody listens on the port of 127.0.0.1, and one could."""
    with socket.socket() as caller:
        caller.settimeout(0.5)
        if caller.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(usual: int, taken: Collection[int], fits: Callable[[int], bool] = is_port_free) -> int:
    """`usual` when it fits and is not in `taken`, else a random one that does."""
    candidates = (usual, *random.sample(ELSEWHERE, len(ELSEWHERE)))
    return next(port for port in candidates if port not in taken and fits(port))


def claim_port(port: int, platform_id: str) -> IO[str] | None:
    """Claims the port for a platform as long as the file stays open, in whatever process; None: another one has it.

    The kernel lets all processes of a user share the port of the service, so that its keeper can be started again while
    a Bento listens; this tells whose. The keeper and each Bento claim it, and so each outlives the others.
    Raises PlatformError where another user has put something in the way.
    """
    file = (_claims() / str(port)).open("a+")
    if _locked(file, fcntl.LOCK_SH) and _claimant(file) == platform_id:
        return file
    fcntl.flock(file, fcntl.LOCK_UN)
    if _locked(file, fcntl.LOCK_EX):  # nobody has it: the name in it is of old
        file.truncate(0)
        file.write(platform_id)
        file.flush()
        if _locked(file, fcntl.LOCK_SH) and _claimant(file) == platform_id:
            return file
    file.close()
    return None


def _claims() -> Path:
    """One folder for all platforms of this user; the kernel keeps those of others off a port."""
    folder = Path(f"/tmp/duotempo-ports-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PlatformError(f"{folder} belongs to another user: remove it")
    return folder


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claimant(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


@dataclass(frozen=True)
class Addresses:
    """Where the services are; they stay from one start to the next."""

    database_url: str
    prefect_url: str
    prefect_api_url: str
    mlflow_url: str
    hook_url: str
    serving_url: str


class Places:
    """By the settings, and by what the home knows of earlier starts."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home

    @property
    def addresses(self) -> Addresses:
        """Raises PlatformError before the first start."""
        state = self._home.state
        if not state.ports:
            raise PlatformError(f"there is no platform in {self._home.path} yet: `duotempo up` makes it")
        given = self._settings.platform
        web = {name: f"http://127.0.0.1:{port}" for name, port in state.ports.items()}
        api = given.prefect_api_url or f"{web['prefect']}/api"
        mlflow, hook = given.mlflow_url or web["mlflow"], given.hook_url or web["hook"]
        return Addresses(self.databases(state).url, api.removesuffix("/api"), api, mlflow, hook, web["bento"])

    def databases(self, state: State) -> Databases:
        """Raises PlatformError before the first start, unless somebody else runs them."""
        if found := self.outside:
            return found
        password = self._home.secret("postgres")
        if password is None or not state.ports:
            raise PlatformError(f"there is no database in {self._home.path} yet: `duotempo up` makes it")
        return embedded(state.ports["postgres"], password)

    @property
    def outside(self) -> Databases | None:
        """The databases of the settings, if somebody else runs them.

        The platform's processes are told of its own the same way, maybe with the port of an earlier start.
        """
        if self._settings.database_url is None:
            return None
        named, password = outside(self._settings.database_url), self._home.secret("postgres")
        own = embedded(named.duotempo.port or 5432, password).duotempo if password else None
        return None if named.duotempo == own else named

    @property
    def workers(self) -> list[str]:
        """The workers that run here: beside an outside Prefect only the one of deployments."""
        own = self._settings.platform.prefect_api_url is None
        return [f"worker-{name}" for name in (POOLS if own else (DEPLOY_QUEUE,))]

    def elsewhere(self, name: str) -> bool:
        """Whether the service is somebody else's."""
        given = self._settings.platform
        others = {"postgres": self.outside, "prefect": given.prefect_api_url, "mlflow": given.mlflow_url}
        return bool(others.get(name))

    def usual_ports(self) -> dict[str, int]:
        """The ports of the settings, of the services that run here."""
        wanted = self._settings.platform
        usual = {
            "postgres": wanted.postgres_port, "prefect": wanted.prefect_port,
            "mlflow": wanted.mlflow_port, "hook": wanted.hook_port, "bento": wanted.serving_port,
        }  # fmt: skip
        return {name: port for name, port in usual.items() if name == "postgres" or not self.elsewhere(name)}

    def shown(self, name: str, state: State) -> str | None:
        """The address that a person may see: without a password."""
        if name == "postgres" and (self.outside or state.ports):
            return self.databases(state).shown
        if not state.ports or name == "encoder":
            return None
        at = self.addresses
        if name in WORKERS:
            return f"{at.prefect_url}/work-pools/work-pool/{WORKERS[name][0]}"
        return {"prefect": at.prefect_url, "mlflow": at.mlflow_url, "hook": at.hook_url}.get(name, at.serving_url)
