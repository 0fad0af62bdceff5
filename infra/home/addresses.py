"""Addresses and ports of a platform's services, on this machine or external."""

import fcntl
import os
import random
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from components.settings import Settings
from infra.home.databases import Databases, embedded, external
from infra.home.errors import PlatformError
from infra.home.home import Home, State
from infra.pools import DEPLOY_QUEUE, POOLS

ELSEWHERE = range(20000, 32000)
"""Fallback ports if the configured one is taken; below the ephemeral range of outgoing connections."""
WORKERS = {**{f"worker-{pool}": (pool, pool) for pool in POOLS}, f"worker-{DEPLOY_QUEUE}": ("cpu", DEPLOY_QUEUE)}
"""Work pool and worker name of each worker program."""


def is_port_free(port: int) -> bool:
    """Whether no process listens on the port of 127.0.0.1 and it can be bound."""
    with socket.socket() as client:
        client.settimeout(0.5)
        if client.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(preferred: int, taken: Collection[int], fits: Callable[[int], bool] = is_port_free) -> int:
    """Returns `preferred` if it fits and is not in `taken`, else a random port of the fallback range that does."""
    candidates = (preferred, *random.sample(ELSEWHERE, len(ELSEWHERE)))
    return next(port for port in candidates if port not in taken and fits(port))


def claim_port(port: int, platform_id: str) -> IO[str] | None:
    """Claims the port for a platform while the returned file is open in any process.

    With SO_REUSEPORT the kernel lets all processes of a user share the service's port, so that the address process can
    be restarted while a Bento listens; the claim keeps other platforms off. The address process and each Bento hold
    it, so it survives the end of any of them.

    Returns:
        The lock file, or None if another platform holds the port.

    Raises:
        PlatformError: The folder of the lock files belongs to another user.
    """
    file = (_claims() / str(port)).open("a+")
    if _locked(file, fcntl.LOCK_SH) and _claimant(file) == platform_id:
        return file
    fcntl.flock(file, fcntl.LOCK_UN)
    if _locked(file, fcntl.LOCK_EX):  # unclaimed: the id in it is stale
        file.truncate(0)
        file.write(platform_id)
        file.flush()
        if _locked(file, fcntl.LOCK_SH) and _claimant(file) == platform_id:
            return file
    file.close()
    return None


def _claims() -> Path:
    """Folder of the lock files of all platforms of this user; the kernel keeps other users off a port."""
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
    """URLs of the services; they stay the same between starts."""

    database_url: str
    prefect_url: str
    prefect_api_url: str
    mlflow_url: str
    hook_url: str
    serving_url: str


class AddressResolver:
    """Resolves addresses from the settings and the home's state."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home

    @property
    def addresses(self) -> Addresses:
        """URLs of all services. Raises PlatformError before the first start."""
        state = self._home.state
        if not state.ports:
            raise PlatformError(f"there is no platform in {self._home.path} yet: `duotempo up` makes it")
        platform_settings = self._settings.platform
        local_urls = {name: f"http://127.0.0.1:{port}" for name, port in state.ports.items()}
        api = platform_settings.prefect_api_url or f"{local_urls['prefect']}/api"
        mlflow, hook = (
            platform_settings.mlflow_url or local_urls["mlflow"],
            platform_settings.hook_url or local_urls["hook"],
        )
        return Addresses(self.databases(state).url, api.removesuffix("/api"), api, mlflow, hook, local_urls["bento"])

    def databases(self, state: State) -> Databases:
        """The external or embedded databases. Raises PlatformError before the first start, unless they are external."""
        if databases := self.external:
            return databases
        password = self._home.secret("postgres")
        if password is None or not state.ports:
            raise PlatformError(f"there is no database in {self._home.path} yet: `duotempo up` makes it")
        return embedded(state.ports["postgres"], password)

    @property
    def external(self) -> Databases | None:
        """The databases of the settings, if they are external.

        The platform's processes get the URL of its embedded database in the same variable, possibly with the port of
        an earlier start; that one is recognised by its password and returns None.
        """
        if self._settings.database_url is None:
            return None
        configured, password = external(self._settings.database_url), self._home.secret("postgres")
        own = embedded(configured.duotempo.port or 5432, password).duotempo if password else None
        return None if configured.duotempo == own else configured

    @property
    def workers(self) -> list[str]:
        """Workers that run here; with an external Prefect, only the one for deployments."""
        own = self._settings.platform.prefect_api_url is None
        return [f"worker-{name}" for name in (POOLS if own else (DEPLOY_QUEUE,))]

    def is_external(self, name: str) -> bool:
        """Whether the service is external."""
        platform_settings = self._settings.platform
        others = {
            "postgres": self.external,
            "prefect": platform_settings.prefect_api_url,
            "mlflow": platform_settings.mlflow_url,
        }
        return bool(others.get(name))

    def configured_ports(self) -> dict[str, int]:
        """Configured ports of the services that run here."""
        wanted = self._settings.platform
        ports = {
            "postgres": wanted.postgres_port, "prefect": wanted.prefect_port,
            "mlflow": wanted.mlflow_port, "hook": wanted.hook_port, "bento": wanted.serving_port,
        }  # fmt: skip
        return {name: port for name, port in ports.items() if name == "postgres" or not self.is_external(name)}

    def display_url(self, name: str, state: State) -> str | None:
        """Address of a service for display, without a password."""
        if name == "postgres" and (self.external or state.ports):
            return self.databases(state).masked_url
        if not state.ports or name == "encoder":
            return None
        addresses = self.addresses
        if name in WORKERS:
            return f"{addresses.prefect_url}/work-pools/work-pool/{WORKERS[name][0]}"
        return {"prefect": addresses.prefect_url, "mlflow": addresses.mlflow_url, "hook": addresses.hook_url}.get(
            name, addresses.serving_url
        )
