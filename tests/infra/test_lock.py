"""requirements.lock: the exact version and the hashes of every package but torch, for every system and Python."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked_versions() -> dict[str, str]:
    pins = [line.partition(" ")[0] for line in LOCK.splitlines() if re.match(r"[a-z0-9].*==", line)]
    return {canonicalize_name(pin.partition("==")[0].partition("[")[0]): pin.partition("==")[2] for pin in pins}


def test_the_lock_has_an_allowed_version_of_each_requirement() -> None:
    extras = PROJECT["optional-dependencies"].values()
    required = map(Requirement, [*PROJECT["dependencies"], *(line for extra in extras for line in extra)])
    locked = locked_versions()
    missing = [
        str(requirement)
        for requirement in required
        if (name := canonicalize_name(requirement.name)) not in (PROJECT["name"], "torch")
        and not (name in locked and requirement.specifier.contains(locked[name]))
    ]
    assert not missing, "run `make lock`"


def test_torch_is_pinned_but_not_locked_because_its_builds_have_other_hashes() -> None:
    assert "torch==2.13.0" in PROJECT["dependencies"]
    assert "torch" not in locked_versions()
    assert not locked_versions().keys() & {"triton", "nvidia-cublas", "cuda-toolkit"}


def test_every_locked_package_has_hashes_and_no_address() -> None:
    for entry in re.split(r"\n(?=[a-z0-9])", LOCK.partition("\n\n")[0])[1:]:
        assert "--hash=sha256:" in entry, entry
    assert not re.search(r"https?://|file:", LOCK)
