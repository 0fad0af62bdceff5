"""Finds a platform's problems: services, disks, feedback, and the served version's state in the registry."""

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from components.registry import REGISTRY_PROBLEMS, Problem, RegistryError, champion_number, find_problems, versions
from components.settings import Settings
from components.store.engine import StoreError
from components.store.promotions import record_problem
from components.store.variants import CHAMPION
from infra.deploy.promotion import current_settings
from infra.home import postgres
from infra.local.platform import Platform
from infra.local.status import UNKNOWN
from infra.watch.alerts import Alerts
from serving.storage.spool import SpoolError, dead_letters, spool_folder

ACTOR = "registry"
HEALTHY, UNWELL, DOWN = "healthy", "unwell", "down"
MIN_FREE_BYTES, MIN_FREE_SHARE = 2**30, 0.05
"""Minimum free space, as bytes and as a share of the disk: the smaller applies. The share also applies to inodes."""
SUPERVISOR_DOWN = Problem(
    "supervisor_down",
    "supervisor and sentinel are gone: the programs still run, but nothing restarts them",
    "duotempo up takes them over",
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """Result of examining a platform."""

    status: dict[str, Any]
    """`Platform.status()`."""
    runs: bool
    services: list[Problem]
    registry: list[Problem] | None
    """None if the registry cannot be queried."""
    unserved: str | None = None
    """The newest registered version, if none serves and none is the champion."""

    @property
    def problems(self) -> list[Problem]:
        return [*self.services, *(self.registry or [])]

    @property
    def state(self) -> str:
        """`healthy`, `unwell` or `down`."""
        return (UNWELL if self.problems else HEALTHY) if self.runs else DOWN

    def json(self) -> dict[str, Any]:
        """The status plus `state`, `problems` (each {name, what, remedy}) and `unserved`."""
        problems = [asdict(problem) for problem in self.problems]
        return {**self.status, "state": self.state, "problems": problems, "unserved": self.unserved}


def examine(platform: Platform) -> Findings:
    """Checks all services and the registry. If the platform is up, this process must have its environment."""
    status = platform.status()
    services = [_service_down(name) for name in _services_down(status["services"])]
    services += [*_dead_letter_problems(platform.settings), *_full_disks(platform)]
    if not platform.runs:
        return Findings(status, False, services, None)
    services += [] if platform.is_up else [SUPERVISOR_DOWN]
    if not status["services"]["mlflow"]["healthy"]:
        return Findings(status, True, services, None)
    tracking_uri, served = platform.addresses.mlflow_url, _served(status)
    try:
        unserved = None if status["served"] else _unserved(tracking_uri)
        return Findings(status, True, services, find_problems(tracking_uri, served), unserved)
    except RegistryError as error:
        log.warning("the registry cannot be compared with what serves: %s", error)
        return Findings(status, True, [*services, _service_down("mlflow")], None)


def watch(platform: Platform, engine: Engine, alerts: Alerts) -> list[Problem]:
    """Examines the platform, records the registry's problems in `promotions`, and sends notifications."""
    findings = examine(platform)
    if findings.registry is not None and (served := _served(findings.status)):
        texts = [f"{problem.what}; {problem.remedy}" for problem in findings.registry]
        try:
            if record_problem(engine, served[CHAMPION], ACTOR, ". ".join(texts)):
                log.warning("registry: %s", ". ".join(texts) or "the problems are over")
        except StoreError as error:
            log.warning("the registry's problems are not recorded: %s", error)
    unknown = REGISTRY_PROBLEMS if findings.registry is None else ()
    alerts.update(findings.problems, current_settings(platform).monitoring, unknown)
    return findings.problems


def _services_down(services: dict[str, Any]) -> list[str]:
    """Names of the services that are down; not of a worker that runs, while Prefect's server cannot tell of it."""
    down = [name for name, service in services.items() if not service["healthy"]]
    if "prefect" in down:
        down = [name for name in down if not (name.startswith("worker-") and services[name]["pid"])]
    return down


def _service_down(name: str) -> Problem:
    remedy = f"it is restarted automatically; if that does not help, see its log in HOME/logs ({name}*.log)"
    return Problem(f"{name}_down", f"{name} is down", remedy)


def _dead_letter_problems(settings: Settings) -> list[Problem]:
    try:
        count = dead_letters(settings)
    except SpoolError as error:
        return [Problem("spool", str(error), "docs/reliability.md says how to recover what is left")]
    what = f"rows of feedback that Postgres refuses, even for the table quarantine: {count}"
    remedy = "docs/reliability.md says how to read them; they block no others"
    return [Problem("dead_letters", what, remedy)] if count else []


def _full_disks(platform: Platform) -> list[Problem]:
    """Returns a problem for each disk that is nearly full."""
    folders = {"home": platform.home.path, "spool": spool_folder(platform.settings)}
    folders |= {"postgres": postgres.data_folder(platform.home)} if platform.external is None else {}
    disks = {folder.stat().st_dev: (role, folder) for role, folder in reversed(folders.items()) if folder.is_dir()}
    return [problem for role, folder in disks.values() if (problem := _full(role, folder))]


def _full(role: str, folder: Path) -> Problem | None:
    disk = os.statvfs(folder)
    free_bytes, minimum = (
        disk.f_bavail * disk.f_frsize,
        min(MIN_FREE_BYTES, MIN_FREE_SHARE * disk.f_blocks * disk.f_frsize),
    )
    if free_bytes < minimum:
        left = f"{free_bytes / 2**20:,.0f} MiB"
    elif disk.f_favail < MIN_FREE_SHARE * disk.f_files:
        left = f"{disk.f_favail:,} more files"
    else:
        return None
    what = f"the disk of {folder} has room for {left}"
    return Problem(f"{role}_full", what, "free some space, or give the platform a larger disk; serving continues")


def _served(status: dict[str, Any]) -> dict[str, str]:
    """Version of each served variant; only the champion's while Postgres is down."""
    if not status["served"] or status["served"]["model_version"] == UNKNOWN:
        return {}
    versions = {variant["variant"]: variant["model_version"] for variant in status["variants"]}
    return {CHAMPION: status["served"]["model_version"], **versions}


def _unserved(tracking_uri: str) -> str | None:
    if champion_number(tracking_uri) is not None:
        return None
    return next((one.version for one in versions(tracking_uri)), None)
