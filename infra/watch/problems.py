"""What is not well on a platform, in words: its services, and what the registry knows of the version that serves."""

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from components.registry import REGISTRY_PROBLEMS, Problem, RegistryError, champion_number, find_problems, versions
from components.settings import Settings
from components.store.engine import StoreError
from components.store.promotions import note_problem
from components.store.variants import CHAMPION
from infra.deploy.promotion import current_settings
from infra.home import postgres
from infra.local.platform import Platform
from infra.watch.alerts import Alerts
from serving.storage.spool import SpoolError, dead_letters, spool_folder

ACTOR = "registry"
HEALTHY, UNWELL, DOWN = "healthy", "unwell", "down"
LEAST_ROOM, LEAST_SHARE = 2**30, 0.05
"""Bytes, and of the whole disk, that must be free: the smaller counts. Of the files that it can hold, the share."""
KEEPERS_DOWN = Problem(
    "supervisor_down",
    "supervisor and sentinel are gone: the programs go on, and nothing starts them again",
    "duotempo up takes them over",
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What was found of a platform."""

    status: dict[str, Any]
    """`Platform.status()`."""
    runs: bool
    services: list[Problem]
    registry: list[Problem] | None
    """None: it cannot be asked."""
    unserved: str | None = None
    """The newest registered version, where none serves and none is the champion."""

    @property
    def problems(self) -> list[Problem]:
        return [*self.services, *(self.registry or [])]

    @property
    def state(self) -> str:
        """`healthy`, `unwell` or `down`."""
        return (UNWELL if self.problems else HEALTHY) if self.runs else DOWN

    def json(self) -> dict[str, Any]:
        """The status with `state`, `problems` ({name, what, remedy} each) and `unserved` beside it."""
        problems = [asdict(problem) for problem in self.problems]
        return {**self.status, "state": self.state, "problems": problems, "unserved": self.unserved}


def examine(platform: Platform) -> Findings:
    """Asks all services and the registry. This process must have the platform's environment, if that is up."""
    status = platform.status()
    services = [_down(name) for name, service in status["services"].items() if not service["healthy"]]
    services += [*_refused(platform.settings), *_full_disks(platform)]
    if not platform.runs:
        return Findings(status, False, services, None)
    services += [] if platform.is_up else [KEEPERS_DOWN]
    if not status["services"]["mlflow"]["healthy"]:
        return Findings(status, True, services, None)
    tracking_uri, served = platform.addresses.mlflow_url, _served(status)
    try:
        unserved = None if served else _unserved(tracking_uri)
        return Findings(status, True, services, find_problems(tracking_uri, served), unserved)
    except RegistryError as error:
        log.warning("the registry cannot be compared with what serves: %s", error)
        return Findings(status, True, [*services, _down("mlflow")], None)


def watch(platform: Platform, engine: Engine, alerts: Alerts) -> list[Problem]:
    """Looks at the platform, notes in `promotions` what is wrong with the registry, and tells of all problems."""
    found = examine(platform)
    if found.registry is not None and (served := _served(found.status)):
        texts = [f"{problem.what}; {problem.remedy}" for problem in found.registry]
        try:
            if note_problem(engine, served[CHAMPION], ACTOR, ". ".join(texts)):
                log.warning("registry: %s", ". ".join(texts) or "what was wrong is over")
        except StoreError as error:
            log.warning("the registry's problems are not noted: %s", error)
    unknown = REGISTRY_PROBLEMS if found.registry is None else ()
    alerts.look(found.problems, current_settings(platform).monitoring, unknown)
    return found.problems


def _down(name: str) -> Problem:
    remedy = f"it is started again by itself; where that does not help, its log in HOME/logs ({name}*.log) says why"
    return Problem(f"{name}_down", f"{name} is down", remedy)


def _refused(settings: Settings) -> list[Problem]:
    try:
        count = dead_letters(settings)
    except SpoolError as error:
        return [Problem("spool", str(error), "docs/reliability.md says how to read what is left")]
    what = f"rows of feedback that Postgres refuses, even for the table quarantine: {count}"
    remedy = "docs/reliability.md says how to read them; they hold up no others"
    return [Problem("dead_letters", what, remedy)] if count else []


def _full_disks(platform: Platform) -> list[Problem]:
    """Each disk once that has hardly room for more."""
    folders = {"home": platform.home.path, "spool": spool_folder(platform.settings)}
    folders |= {"postgres": postgres.data_folder(platform.home)} if platform.outside is None else {}
    disks = {folder.stat().st_dev: (role, folder) for role, folder in reversed(folders.items()) if folder.is_dir()}
    return [problem for role, folder in disks.values() if (problem := _full(role, folder))]


def _full(role: str, folder: Path) -> Problem | None:
    disk = os.statvfs(folder)
    room, least = disk.f_bavail * disk.f_frsize, min(LEAST_ROOM, LEAST_SHARE * disk.f_blocks * disk.f_frsize)
    if room < least:
        left = f"{room / 2**20:,.0f} MiB"
    elif disk.f_favail < LEAST_SHARE * disk.f_files:
        left = f"{disk.f_favail:,} more files"
    else:
        return None
    what = f"the disk of {folder} has room for {left}"
    return Problem(f"{role}_full", what, "free some space, or give the platform a larger disk; what serves goes on")


def _served(status: dict[str, Any]) -> dict[str, str]:
    """The version of each variant that answers; of the champion alone while Postgres cannot tell."""
    if not status["served"]:
        return {}
    parts = {part["variant"]: part["model_version"] for part in status["variants"]}
    return {CHAMPION: status["served"]["model_version"], **parts}


def _unserved(tracking_uri: str) -> str | None:
    if champion_number(tracking_uri) is not None:
        return None
    return next((one.version for one in versions(tracking_uri)), None)
