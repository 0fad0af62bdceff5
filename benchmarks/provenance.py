"""Provenance of a figure: command, commit, date and machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, which holds docs/."""
CPU_INFO = Path("/proc/cpuinfo")


def provenance(bench: str) -> str:
    """The provenance sentence of a bench's table."""
    return sentence(f"duotempo bench {bench}")


def sentence(command: str) -> str:
    """One sentence: the command, commit, date and machine."""
    return f"`{command}`, commit {commit()}, {datetime.now(UTC):%Y-%m-%d}, {machine()}."


def commit() -> str:
    """The commit of the checkout, with `-dirty` when files outside docs/ differ from it; `none` without a checkout.

    Changes in docs/ do not count, because the tables are written there.
    """
    description = _git("describe", "--always", "--abbrev=12", "--exclude=*")
    if description is None:
        return "none"
    return (
        f"{description}-dirty" if _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs") else description
    )


def _git(*arguments: str) -> str | None:
    """Output of a git command in the checkout; None when it fails."""
    answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def machine() -> str:
    """CPU model, number of cores, and the name of the GPU if there is one."""
    parts = [cpu(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def cpu() -> str:
    """The CPU model, from /proc/cpuinfo on Linux, otherwise from Python's `platform`."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
