"""What can be read of a platform without changing it: addresses, environment, health, and what it serves."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection

from components.settings import Settings
from components.store.engine import StoreError, make_engine
from components.store.item_vectors import encoder_is_listening
from components.store.variants import CHAMPION, ServingVariant, read_variants
from infra.home import environment, health, logins
from infra.home.addresses import WORKERS, Addresses, AddressResolver
from infra.home.databases import Databases
from infra.home.errors import PlatformError
from infra.home.home import Home
from infra.processes.bento import program_name
from infra.processes.supervisor import Process, Supervisor

Answer = TypeVar("Answer")
UNKNOWN = "unknown"
"""The served version while neither Postgres nor the service answers."""


class PlatformView:
    """Read access to a platform whose state is in `settings.home`; `Platform` starts and stops it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = Home(settings.home)
        self._resolver = AddressResolver(settings, self.home)
        self._supervisor = Supervisor(self.home, settings.platform.start_timeout_seconds)

    @property
    def addresses(self) -> Addresses:
        """URLs of the services. Raises PlatformError before the first start."""
        return self._resolver.addresses

    @property
    def databases(self) -> Databases:
        """The databases. Raises PlatformError before the first start, unless they are external."""
        return self._resolver.databases(self.home.state)

    @property
    def external(self) -> Databases | None:
        """The databases, if they are external."""
        return self._resolver.external

    @property
    def database_url(self) -> str:
        """URL of Duotempo's own database. Raises PlatformError before the first start, unless it is external."""
        return self.databases.url

    def environment(self) -> dict[str, str]:
        """Environment variables for clients of the platform. Raises PlatformError before the first start."""
        at, databases = self.addresses, self.databases
        return environment.client_variables(self.settings, self.home, databases, at.prefect_api_url, at.mlflow_url)

    def enter(self) -> None:
        """Sets the platform's variables in this process's environment. Raises PlatformError before the first start."""
        os.environ.update(self.environment())

    def entered(self) -> AbstractContextManager[None]:
        """Like `enter`, for the duration of the context."""
        return environment.variables_set(self.environment())

    @property
    def is_up(self) -> bool:
        """Whether the supervisor runs, whatever the state of the services."""
        return self._supervisor.alive()

    @property
    def runs(self) -> bool:
        """Whether the supervisor runs, or programs still run without it."""
        return self.is_up or bool(self._supervisor.surviving_processes())

    @property
    def service_url(self) -> str:
        """URL of the service. Raises PlatformError if another platform's service answers there."""
        url = self.addresses.serving_url
        if (other := health.platform_id(url)) not in (None, self.home.id):
            raise PlatformError(
                f"{url} is answered by another platform ({other}), this one is {self.home.id}, of {self.home.path}: "
                "`duotempo up` assigns it a separate port"
            )
        return url

    def status(self) -> dict[str, Any]:
        """Checks all services.

        Returns:
            `{"services": {name: {"url", "healthy", "pid", "login"}}, "served": {"model_version", "bento_tag"} | None,
            "variants": [{"variant", "model_version", "share"}]}`. `login` is the command that shows it, or None;
            `variants` is empty while Postgres is down.
        """
        state = self.home.state
        processes = self._supervisor.processes() or self._supervisor.surviving_programs()
        names = ["postgres", "prefect", "mlflow", "hook", *self._resolver.workers]
        names += ["encoder"] if self.settings.platform.encoder else []
        names += ["bento"] if state.bento else []
        running = {name: processes.get(self.program(name)) for name in names}
        with ThreadPoolExecutor(len(names)) as pool:
            healthy = list(pool.map(self.is_healthy, names, running.values()))
        services = {
            name: {
                "url": self._resolver.display_url(name, state),
                "healthy": is_healthy,
                "pid": process.pid if (process := running[name]) else None,
                "login": f"duotempo secrets show {name}" if name in logins.SERVICES else None,
            }
            for name, is_healthy in zip(names, healthy, strict=True)
        }
        variants = self._variants()
        return {
            "services": services,
            "served": self._served(variants),
            "variants": [asdict(variant) for variant in variants.values()],
        }

    def served(self) -> dict[str, str] | None:
        """`bento_tag` and `model_version` of what is served, or None.

        The version is the champion of the table `variants`; while that cannot be read, or has none yet, the one that
        the service names, else `unknown`.
        """
        return self._served(self._variants())

    def is_healthy(self, name: str, process: Process | None) -> bool:
        """Whether a service answers.

        Args:
            process: The process of its program; None if there is none.
        """
        if not self._resolver.is_external(name) and (process is None or process.pid is None):
            return False
        if name == "bento" and process and process.pid and not self.home.ready_file(process.pid).is_file():
            return False
        if name == "postgres":
            return self.databases.answers()
        if name == "bento" and health.platform_id(self.addresses.serving_url) not in (None, self.home.id):
            return False
        if name == "encoder":
            return self.query(encoder_is_listening, default=False)
        at = self.addresses
        if name in WORKERS:
            variables = {**os.environ, **self.environment()}
            return process is not None and health.worker_is_online(variables, *WORKERS[name], process.started)
        paths = {
            "prefect": f"{at.prefect_api_url}/health", "mlflow": f"{at.mlflow_url}/health",
            "hook": f"http://127.0.0.1:{self.home.state.ports['hook']}/livez", "bento": f"{at.serving_url}/readyz",
        }  # fmt: skip
        return health.http(paths[name])

    def program(self, name: str) -> str:
        """Supervisord's name of a service's program."""
        bento = self.home.state.bento
        return program_name(bento) if name == "bento" and bento else name

    def query(self, query_function: Callable[[Connection], Answer], default: Answer) -> Answer:
        """Runs a query on Duotempo's database; returns `default` if it is down."""
        engine = make_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return query_function(connection)
        except StoreError:
            return default
        finally:
            engine.dispose()

    def _variants(self) -> dict[str, ServingVariant]:
        """The active variants; none while Postgres is down."""
        started = self.home.state.bento and self.home.state.ports
        return self.query(read_variants, default=dict[str, ServingVariant]()) if started else {}

    def _served(self, variants: Mapping[str, ServingVariant]) -> dict[str, str] | None:
        state = self.home.state
        if state.bento is None:
            return None
        version = variants[CHAMPION].model_version if CHAMPION in variants else None
        if version is None and state.ports:
            version = health.model_version(self.addresses.serving_url)
        return {"bento_tag": state.bento, "model_version": version or UNKNOWN}
