"""Starts and stops the platform: Postgres, Prefect, MLflow, the encoder and the served Bento, on one machine."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from components import registry
from components.settings import Settings
from infra.home import environment, logins, postgres
from infra.home.addresses import choose_port, claim_port, is_port_free
from infra.home.databases import Databases
from infra.home.errors import PlatformError, failure
from infra.local.smoke_test import Check, run_smoke_test
from infra.local.status import PlatformView
from infra.orchestration.deployments import Deployments
from infra.processes.bento import program_name
from infra.processes.orphans import end_orphans
from infra.processes.programs import PROJECT, configuration, programs

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2
Progress = Callable[[str], None]


class Platform(PlatformView):
    """Starts and stops a platform whose state is in `settings.home`, and serves its Bentos.

    Args:
        project: Folder with prefect.yaml, in which flows run.
    """

    def __init__(self, settings: Settings, project: Path = PROJECT) -> None:
        super().__init__(settings)
        self._project = project.resolve()

    def up(self, progress: Progress = LOG.info) -> None:
        """Starts all services that do not run, and returns when they are ready.

        Args:
            progress: Called with a message at each stage.

        Raises:
            PlatformError: A service does not start; the message names its log and how to fix it.
        """
        self.home.make()
        deployments = Deployments(
            self._project,
            schedules=self.settings.platform.schedules,
            sources=bool(self.settings.ingest.sources),
            seconds=self.settings.platform.start_timeout_seconds,
        )
        with ExitStack() as claims:
            with self.home.locked("start"):
                self._start(progress, claims)
            self._bring_up(deployments, progress)

    def _bring_up(self, deployments: Deployments, progress: Progress) -> None:
        databases = self.databases
        self._await("postgres")
        self._migrate(databases)
        progress(f"postgres is ready at {databases.masked_url}")
        for name in ("prefect", *self._resolver.workers):
            self._await(name)
        progress(f"prefect is ready at {self.addresses.prefect_url}, with {' and '.join(self._resolver.workers)}")
        self._deploy(deployments, progress)
        self._await("mlflow")
        self._await("hook")
        with self.entered():
            registry.ensure_webhook(
                self.addresses.mlflow_url, f"{self.addresses.hook_url}/alias", self.home.ensure_secret("webhook")
            )
            registry.ensure_model_pages(self.addresses.mlflow_url)
        progress(f"mlflow is ready at {self.addresses.mlflow_url}, its alias `champion` promotes")
        if self.settings.platform.encoder:
            self._await_encoder(progress)
        if bento := self.home.state.bento:
            self._await("bento")
            progress(f"{bento} is served at {self.addresses.serving_url}")

    def remove(self) -> None:
        """Removes the home and the data outside of it; the platform must be down."""
        shutil.rmtree(self.home.path, ignore_errors=True)
        shutil.rmtree(postgres.ELSEWHERE / self.home.id, ignore_errors=True)

    def down(self) -> None:
        """Stops everything and leaves no process behind. Data stays on disk."""
        if not self.home.supervisor.is_dir():
            return
        with self.home.locked("start"):
            self._supervisor.stop()

    def serve(self, bento_tag: str, check: Check | None = None) -> None:
        """Serves a Bento at the fixed address: it starts beside the old one, which then hands over and ends.

        On any error the old Bento keeps serving without interruption.

        Args:
            check: Smoke test, called with a client of the new Bento before it takes over; its errors are re-raised.

        Raises:
            PlatformError: The platform is down, or the Bento does not become ready.
            SmokeTestFailed: The Bento failed `check`.
        """
        if not self.is_up:
            raise PlatformError("the platform is not up: `duotempo up` starts it")
        with self.home.locked("serve"):
            try:
                self._put(coming=bento_tag, on_trial=bento_tag if check else None)
                if check:
                    secrets, limit = self._secrets, self.settings.platform.start_timeout_seconds
                    run_smoke_test(bento_tag, check, self.home, self._supervisor, secrets, limit)
                self._await("bento", program_name(bento_tag))
                self._put(bento=bento_tag)
            finally:
                self._put(coming=None, on_trial=None)

    def settled(self) -> str | None:
        """Tag of the served Bento, after waiting for one that is about to take over; None if there is none."""
        with self.home.locked("serve"):
            return self.home.state.bento

    def _start(self, progress: Progress, claims: ExitStack) -> None:
        logins.make(self.home, self.settings)
        alive, surviving = self._supervisor.alive(), self._supervisor.surviving_processes()
        unchanged = bool(alive or surviving) and self._unchanged()
        if alive and unchanged:
            progress("the platform is already up")
            return self._reconcile()
        if (alive or surviving) and not unchanged:
            progress("the settings have changed: restarting the platform")
        if alive:
            self._supervisor.stop()
        surviving = {} if alive or not unchanged or postgres.is_still_in_home(self.home) else surviving
        if surviving:
            progress(f"the supervisor has died; {', '.join(surviving)} kept running without it")
        end_orphans(self.home.id, keep=list(surviving.values()))
        postgres.move_out_of_home(self.home)
        self.home.restrict_access()
        self.home.clear_process_state([process.pid for process in surviving.values()])
        self._assign_ports(progress, claims, surviving)
        self._prepare_database(progress)
        variables = self._servers_environment()
        self.home.save(replace(self.home.state, environment=environment.fingerprint(variables)))
        self._configure()
        progress("starting postgres, prefect, mlflow and the workers")
        self._supervisor.start(variables)

    def _unchanged(self) -> bool:
        """Whether the running programs were started with the current settings."""
        state = self.home.state
        return "hook" in state.ports and environment.fingerprint(self._servers_environment()) == state.environment

    def _reconcile(self) -> None:
        """Applies the current configuration to a running supervisor and starts stopped programs."""
        self._configure()
        self._supervisor.apply()
        self._supervisor.start_stopped()

    def _assign_ports(self, progress: Progress, claims: ExitStack, surviving: Collection[str]) -> None:
        """Chooses a port for each service and saves them.

        Args:
            claims: Holds the ports against other platforms of this machine until the programs listen.
            surviving: Programs that run, and listen, already.
        """
        state, configured = self.home.state, self._resolver.configured_ports()
        listening = {"bento" if name == "address" or name.startswith("bento-") else name for name in surviving}
        chosen: dict[str, int] = {}
        for name, port in configured.items():
            last = state.ports[name] if state.usual.get(name) == port else port
            own_port = last if name in listening else None
            chosen[name] = choose_port(last, chosen.values(), partial(self._claim, claims, own_port))
            if chosen[name] != last:
                progress(f"port {last} is taken: {name} gets {chosen[name]}")
        self.home.save(replace(state, ports=chosen, usual=configured))

    def _claim(self, claims: ExitStack, own_port: int | None, port: int) -> bool:
        """Whether the port is free or the platform listens on it (`own_port`); claims it while `claims` is open."""
        if (held := claim_port(port, self.home.id)) is None:
            return False
        claims.enter_context(held)
        return port == own_port or is_port_free(port)

    def _prepare_database(self, progress: Progress) -> None:
        if databases := self.external:
            if not databases.answers():
                raise PlatformError(
                    f"{databases.masked_url} does not answer: check DUOTEMPO_DATABASE_URL and that server"
                )
            return
        cluster = postgres.locate(self.home)
        if not cluster.exists:
            progress(f"creating the database in {cluster.data}")
            cluster.initialise(self.home.ensure_secret("postgres"))

    def _configure(self) -> None:
        state, cluster = self.home.state, None if self.external else postgres.locate(self.home)
        databases = self._resolver.databases(state)
        listed = programs(self.home, state, cluster, databases, self._project, encoder=self.settings.platform.encoder)
        self.home.config.write_text(configuration(self.home, listed))

    def _migrate(self, databases: Databases) -> None:
        from infra.migrations import migrate

        databases.create()
        migrate(databases.url)

    def _deploy(self, deployments: Deployments, progress: Progress) -> None:
        state, now = self.home.state, deployments.fingerprint()
        variables = {**os.environ, **self.environment()}
        if state.deployed == now and deployments.are_registered(variables):
            return
        progress("deploying the flows")
        deployments.deploy(variables)
        with self.home.locked("start"):
            self.home.save(replace(self.home.state, deployed=now))

    def _put(self, **changes: Any) -> None:
        with self.home.locked("start"):
            self.home.save(replace(self.home.state, **changes))
            self._reconcile()

    def _await(self, name: str, program: str | None = None) -> None:
        """Waits until a service is healthy. Raises PlatformError if it does not start in time.

        program: supervisord's program of the service, if it is not the current one.
        """
        program = program or self.program(name)
        limit = self.settings.platform.start_timeout_seconds
        deadline = time.monotonic() + limit
        while not self.is_healthy(name, process := self._supervisor.processes().get(program)):
            if process and process.given_up:
                raise self._failure(program, "does not start")
            if time.monotonic() > deadline:
                slow = "if the machine is slow, raise DUOTEMPO_PLATFORM__START_TIMEOUT_SECONDS"
                raise self._failure(program, f"is not ready after {limit:.0f} s", slow)
            time.sleep(PAUSE_SECONDS)

    def _await_encoder(self, progress: Progress) -> None:
        """Waits for the encoder; if it fails, only new items are affected, until the next model version."""
        try:
            self._await("encoder")
        except PlatformError as error:
            progress(f"new items are not embedded: {error}")
        else:
            progress("the encoder is loaded: new items are recommended within seconds")

    def _failure(self, name: str, problem: str, remedy: str = "") -> PlatformError:
        return failure(name, problem, self.home.log(name), self._secrets, remedy)

    @property
    def _secrets(self) -> list[str]:
        return [*self.databases.secrets, *filter(None, map(self.home.secret, logins.SERVICES))]

    def _servers_environment(self) -> dict[str, str]:
        servers = environment.server_variables(self.home, self.databases, self._project, self.addresses.prefect_url)
        return {**os.environ, **self.environment(), **servers}
