"""CPU and memory of an idle platform, by program.

Starts its own platform with synthetic data. Memory is the proportional set size: a page that several processes share
counts once.
"""

import time
from collections import defaultdict
from pathlib import Path

import psutil
from tqdm import trange

from benchmarks.chaos import synthetic_platform
from benchmarks.doc_tables import table, write_between
from benchmarks.provenance import ROOT, provenance
from components.settings import Settings
from infra.processes.orphans import PROGRAM, environment_of, tagged_processes
from infra.services.encoder import IDLE_SECONDS

PAGE = ROOT / "docs" / "performance.md"
MARKER = "idle"
SETTLE_SECONDS, SECONDS = int(IDLE_SECONDS) + 90, 180
"""Waiting time after the start, until the encoder has left memory, then measuring time."""
SUPERVISOR = "supervisord"

Usage = dict[str, tuple[float, float]]
"""(CPU seconds since the start, bytes of memory) by program."""


def run(settings: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures. Raises PlatformError if the start fails."""
    with synthetic_platform(settings) as platform:
        figures = measure(platform.home.id)
    write_between(page, MARKER, report(figures))
    return figures


def measure(home_id: str) -> dict[str, float]:
    """`{program}_core` (share of one core) and `{program}_mb` of each program and of `total`; also `processes`."""
    for _ in trange(SETTLE_SECONDS, desc="settle"):
        time.sleep(1)
    before, started = usage(home_id), time.monotonic()
    for _ in trange(SECONDS, desc="idle"):
        time.sleep(1)
    after, seconds = usage(home_id), time.monotonic() - started
    figures: dict[str, float] = {"processes": len(platform_processes(home_id))}
    for program, (cpu, memory) in sorted(after.items(), key=lambda entry: -entry[1][0] + before[entry[0]][0]):
        figures[f"{program}_core"] = (cpu - before[program][0]) / seconds
        figures[f"{program}_mb"] = memory / 1e6
    for unit in ("core", "mb"):
        figures[f"total_{unit}"] = sum(value for name, value in figures.items() if name.endswith(f"_{unit}"))
    return figures


def usage(home_id: str) -> Usage:
    """Usage of all processes of the platform, including ended children of its processes."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for process, program in platform_processes(home_id).items():
        try:
            with process.oneshot():
                sums[program][0] += sum(process.cpu_times()[:4])
                sums[program][1] += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return {program: (cpu, memory) for program, (cpu, memory) in sums.items()}


def platform_processes(home_id: str) -> dict[psutil.Process, str]:
    """The platform's processes and the program of each."""
    programs: dict[psutil.Process, str] = {}
    for process in tagged_processes(home_id):
        program = environment_of(process).get(PROGRAM, SUPERVISOR)
        programs[process] = program.split("-")[0] if program.startswith("bento") else program
        if program == "postgres":  # the environment of its children cannot be read
            programs |= dict.fromkeys(process.children(recursive=True), program)
    return programs


def report(figures: dict[str, float]) -> str:
    names = [name.removesuffix("_core") for name in figures if name.endswith("_core")]
    rows = [
        [f"**{name}**" if name == "total" else name, f"{figures[f'{name}_core']:.1%}", f"{figures[f'{name}_mb']:,.0f}"]
        for name in names
    ]
    note = f"{figures['processes']:.0f} processes, measured for {SECONDS} s."
    return f"{provenance('idle')} {note}\n\n{table(['program', 'share of one core', 'MB'], rows)}"
