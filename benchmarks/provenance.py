"""Where a figure comes from: the command, the commit, the date and the machine."""

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
    """One sentence for the head of a table."""
    return sentence(f"duotempo bench {bench}")


def sentence(command: str) -> str:
    """The command that a table comes from, and what it ran on."""
    return f"`{command}`, commit {commit()}, {datetime.now(UTC):%Y-%m-%d}, {machine()}."


def commit() -> str:
    """The commit of the checkout, with `-dirty` where files other than its documents, which hold the tables, differ
    from it; `none` outside of a checkout."""
    description = _git("describe", "--always", "--abbrev=12", "--exclude=*")
    if description is None:
        return "none"
    return (
        f"{description}-dirty" if _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs") else description
    )


def _git(*arguments: str) -> str | None:
    """What git says of the checkout; None where it cannot."""
    answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def machine() -> str:
    """CPU model and cores, and the GPU's name where there is one."""
    parts = [cpu(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def cpu() -> str:
    """The CPU's model, by Linux' /proc/cpuinfo or else by what Python knows of the platform."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
