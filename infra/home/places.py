"""Where the services of a platform are: on this machine, or somebody else's."""

from dataclasses import dataclass

from components.settings import Settings
from infra.home.databases import Databases, embedded, outside
from infra.home.errors import PlatformError
from infra.home.home import Home, State
from infra.pools import DEPLOY_QUEUE, POOLS

WORKERS = {**{f"worker-{pool}": (pool, pool) for pool in POOLS}, f"worker-{DEPLOY_QUEUE}": ("cpu", DEPLOY_QUEUE)}
"""Pool of each program that is a worker, and the name it has there."""


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
