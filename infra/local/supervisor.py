"""supervisord, which owns every long-lived process: started, asked and stopped over its Unix socket."""

import http.client
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

from supervisor.states import ProcessStates
from supervisor.xmlrpc import SupervisorTransport

from infra.local.errors import failure
from infra.local.home import Home
from infra.local.sweep import sweep

LOG = logging.getLogger(__name__)
START_SECONDS = 15.0
PAUSE_SECONDS = 0.1
GONE = (OSError, http.client.HTTPException, ProtocolError)
"""What a call meets when supervisord is not there."""
ENDED = {ProcessStates.STOPPED, ProcessStates.EXITED, ProcessStates.FATAL}


@dataclass(frozen=True)
class Process:
    state: int
    pid: int | None
    started: float
    """Epoch seconds."""

    @property
    def given_up(self) -> bool:
        return self.state == ProcessStates.FATAL

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def wavers(self) -> bool:
        """Whether it ended too soon, and the supervisor is about to start it again or to give it up."""
        return self.state == ProcessStates.BACKOFF

    @property
    def settled(self) -> bool:
        """Whether it has run longer than a failed start takes."""
        return self.state == ProcessStates.RUNNING


class Supervisor:
    def __init__(self, home: Home) -> None:
        self._home = home

    def alive(self) -> bool:
        try:
            self._call("getState")
        except GONE:
            return False
        return True

    def processes(self) -> dict[str, Process]:
        """The programs by name; none when supervisord is not there."""
        try:
            listed = self._call("getAllProcessInfo")
        except GONE:
            return {}
        return {one["name"]: Process(one["state"], one["pid"] or None, one["start"]) for one in listed}

    def start(self, environment: dict[str, str]) -> None:
        """Starts supervisord and with it all programs, after a sweep of what an earlier one left behind."""
        sweep(self._home.id)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._home.config)]
        done = subprocess.run(
            command,
            env=environment,
            cwd=self._home.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self.alive():
            if done.returncode or time.monotonic() > deadline:
                raise failure("supervisord", f"did not start: {done.stderr.strip()}", self._home.log("supervisord"), [])
            time.sleep(PAUSE_SECONDS)

    def apply(self) -> None:
        """Makes what runs what the configuration says: stops what left it or changed in it, starts what is new."""
        [[added, changed, removed]] = self._call("reloadConfig")
        for name in (*removed, *changed):
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def start_stopped(self) -> None:
        """Starts the programs that were stopped or given up."""
        for name, process in self.processes().items():
            if process.ended:
                self.start_program(name)

    def stop_program(self, name: str) -> None:
        """Ends it in good order; returns when it has ended."""
        self._stop([name])

    def start_program(self, name: str) -> None:
        LOG.info("starting %s again", name)
        self._try("startProcess", name, False)

    def stop(self) -> None:
        """Stops the sentinel, then all together, Postgres last, then supervisord; and sweeps what outlives it."""
        self._stop(["sentinel"])
        self._stop([name for name in self.processes() if name != "postgres"])
        self._stop(["postgres"])
        if self.alive():
            self._try("shutdown")
        deadline = time.monotonic() + START_SECONDS
        while self.alive() and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        sweep(self._home.id)

    def _stop(self, names: list[str]) -> None:
        """Asks again until they have ended: one that was between two lives at the first time begins another."""
        while running := [n for n, one in self.processes().items() if n in names and not one.ended]:
            for name in running:
                self._try("stopProcess", name, False)
            time.sleep(PAUSE_SECONDS)

    def _try(self, method: str, *arguments: object) -> None:
        """A call whose refusal is of no matter: the program already is as it was asked to be."""
        try:
            self._call(method, *arguments)
        except Fault as fault:
            LOG.debug("supervisord: %s%s: %s", method, arguments, fault.faultString)
        except GONE as error:
            LOG.debug("supervisord is gone: %s", error)

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self._home.socket}")
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)
