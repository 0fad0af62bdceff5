"""Full disks, out of bytes or inodes: programs start nevertheless, and the problem is reported."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.settings import Settings
from infra.home.home import Home
from infra.local.platform import Platform
from infra.processes.liveness import living
from infra.watch.problems import examine

BEGIN_SCRIPT = """
import sys
from pathlib import Path
from infra.home.home import Home
from infra.processes.liveness import begin
begin(Home(Path(sys.argv[1])), "postgres", "settings")
"""


def forbid_writes() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_a_program_starts_although_its_state_file_cannot_be_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    for previous in ("", "1"):
        result = subprocess.run(
            [sys.executable, "-c", BEGIN_SCRIPT, tmp_path], preexec_fn=forbid_writes, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "begins without a note" in result.stderr
        assert home.program_pid_file("postgres").read_text() == previous
        assert living(home, "postgres") is None
        home.program_pid_file("postgres").write_text("1")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "tmpfs", tmp_path]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_reported(disk: Path) -> None:
    platform = Platform(Settings(home=disk / "home"))

    def home_full_problems() -> str:
        return " ".join(problem.what for problem in examine(platform).problems if problem.name == "home_full")

    platform.home.make()
    assert home_full_problems() == ""
    (disk / "fill").write_bytes(bytes(2**20 - 2**15))
    assert "has room for 0 MiB" in home_full_problems()
    (disk / "fill").unlink()
    for number in range(90):
        (disk / str(number)).touch()
    assert "more files" in home_full_problems()
