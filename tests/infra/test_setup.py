"""`make setup`: the same packages whether uv or pip installs them, and whichever build of torch the index has."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = ["infra", "components", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads of a checkout."""
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    return tmp_path


def packages(checkout: Path, setup: str = "infra/setup.sh") -> str:
    done = subprocess.run(["sh", setup, ".venv"], cwd=checkout, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    uv, python = checkout / ".venv/bin/uv", checkout / ".venv/bin/python"
    subprocess.run([uv, "pip", "check", "--python", python], check=True)
    listed = subprocess.run([uv, "pip", "freeze", "--python", python], capture_output=True, text=True, check=True)
    return listed.stdout


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_pip_installs_what_uv_installs(checkout: Path) -> None:
    by_uv = packages(checkout)
    assert "torch==2.13.0" in by_uv
    shutil.rmtree(checkout / ".venv")
    script = (checkout / "infra/setup.sh").read_text()
    without_uv = script.replace("'^uv==[^ ]*'", "'^no-such-package==.*'")
    assert without_uv != script
    (checkout / "infra/setup-pip.sh").write_text(without_uv)
    assert packages(checkout, "infra/setup-pip.sh") == by_uv


@pytest.mark.long
def test_a_cuda_build_of_torch_brings_its_libraries_and_keeps_the_lock(checkout: Path) -> None:
    """Resolved only, as the libraries have gigabytes; PyPI's build for Linux is the one for CUDA."""
    packages(checkout)
    uv, python = checkout / ".venv/bin/uv", checkout / ".venv/bin/python"
    dry_run = [str(uv), "pip", "install", "--dry-run", "--reinstall-package", "torch", "--python", str(python)]
    dry_run += ["--python-platform", "x86_64-unknown-linux-gnu", "torch==2.13.0"]
    done = subprocess.run(dry_run, cwd=checkout.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    changes = [line.split()[1:2] for line in done.stderr.splitlines() if line.startswith(" + ")]
    added = {name.partition("==")[0] for [name] in changes}
    assert "torch" in added and any(name.startswith("nvidia-") for name in added), done.stderr
    assert all(name == "torch" or name.startswith(("nvidia-", "cuda-", "triton")) for name in added), done.stderr
