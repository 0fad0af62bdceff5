"""requirements.lock holds all that pyproject.toml asks for."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def test_the_lock_has_an_allowed_version_of_each_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    locked = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            [pinned] = requirement.specifier
            locked[canonicalize_name(requirement.name)] = pinned.version
    missing = []
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        if name != project["name"] and not (name in locked and requirement.specifier.contains(locked[name])):
            missing.append(str(requirement))
    assert not missing, "run `make lock`"
