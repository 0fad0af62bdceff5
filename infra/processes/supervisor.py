"""Starts, queries and stops supervisord, which owns every long-lived process, over its Unix socket."""

import configparser
import http.client
import logging
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy

import psutil
from supervisor.states import ProcessStates
from supervisor.xmlrpc import SupervisorTransport

from components.core.polling import poll
from infra.home.errors import failure
from infra.home.home import Home
from infra.processes.liveness import adopted_process, living
from infra.processes.orphans import end_orphans

LOG = logging.getLogger(__name__)
START_SECONDS, STOP_SECONDS = 120.0, 15.0
PAUSE_SECONDS = 0.1
UNREACHABLE = (OSError, http.client.HTTPException, ProtocolError)
"""Errors of a call while supervisord does not run."""
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
    def in_backoff(self) -> bool:
        """Whether its start failed and the supervisor will retry it or give it up."""
        return self.state == ProcessStates.BACKOFF

    @property
    def settled(self) -> bool:
        """Whether it has run longer than `start_seconds`."""
        return self.state == ProcessStates.RUNNING


class Supervisor:
    def __init__(self, home: Home, start_seconds: float = START_SECONDS) -> None:
        """start_seconds: time limit for supervisord to answer."""
        self._home = home
        self._start_seconds = start_seconds

    def alive(self) -> bool:
        try:
            self._call("getState")
        except UNREACHABLE:
            return False
        return True

    def processes(self) -> dict[str, Process]:
        """Returns the programs by name; empty if supervisord does not run."""
        try:
            listed = self._call("getAllProcessInfo")
        except UNREACHABLE:
            return {}
        return {info_row["name"]: self._process(info_row) for info_row in listed}

    def surviving_programs(self) -> dict[str, Process]:
        """Returns the programs that still run without supervisord, by name."""
        return {
            name: Process(ProcessStates.RUNNING, process.pid, process.create_time())
            for name, process in self.surviving_processes().items()
        }

    def surviving_processes(self) -> dict[str, psutil.Process]:
        """Returns the running processes of the configured programs, whichever supervisor started them."""
        configured = configparser.RawConfigParser(strict=False)
        configured.read(self._home.config)
        names = [name for kind, _, name in (section.partition(":") for section in configured.sections()) if name]
        return {name: process for name in names if (process := living(self._home, name))}

    def start(self, environment: dict[str, str]) -> None:
        """Starts supervisord and all programs; adopts those that still run, and ends all other orphans."""
        end_orphans(self._home.id, keep=list(self.surviving_processes().values()))
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
        if done.returncode or not poll(self.alive, self._start_seconds, PAUSE_SECONDS):
            raise failure("supervisord", f"did not start: {done.stderr.strip()}", self._home.log("supervisord"), [])

    def apply(self) -> None:
        """Applies the configuration: stops removed programs, restarts changed ones, starts new ones."""
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
        """Stops a program gracefully and waits for its end."""
        self._stop([name])

    def start_program(self, name: str) -> None:
        LOG.info("starting %s again", name)
        self._try("startProcess", name, False)

    def stop(self) -> None:
        """Stops the sentinel, then all programs, Postgres last, then supervisord, and ends the orphans."""
        self._stop(["sentinel"])
        self._stop([name for name in self.processes() if name != "postgres"])
        self._stop(["postgres"])
        if self.alive():
            self._try("shutdown")
        poll(lambda: not self.alive(), STOP_SECONDS, PAUSE_SECONDS)
        end_orphans(self._home.id)

    def _process(self, info: dict[str, Any]) -> Process:
        """Converts supervisord's process info; for an adopted process, with its own pid, not the launcher's."""
        pid, started = info["pid"] or None, info["start"]
        if pid and (adopted := adopted_process(self._home, info["name"], pid)):
            with suppress(psutil.NoSuchProcess):
                pid, started = adopted.pid, adopted.create_time()
        return Process(info["state"], pid, started)

    def _stop(self, names: list[str]) -> None:
        """Repeats the stop request until all have ended: a program that was restarting ignores the first one."""
        while running := [n for n, info_row in self.processes().items() if n in names and not info_row.ended]:
            for name in running:
                self._try("stopProcess", name, False)
            time.sleep(PAUSE_SECONDS)

    def _try(self, method: str, *arguments: object) -> None:
        """Makes a call and ignores its failure: the program is already in the requested state."""
        try:
            self._call(method, *arguments)
        except Fault as fault:
            LOG.debug("supervisord: %s%s: %s", method, arguments, fault.faultString)
        except UNREACHABLE as error:
            LOG.debug("supervisord is gone: %s", error)

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self._home.socket}")
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)
