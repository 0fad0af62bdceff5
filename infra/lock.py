"""`python -m infra.lock`: the exact version of every package that the project needs, as requirements.lock: `make lock`.

Follows the requirements of the installed packages from the project's own, so that what else lies in the environment
stays out; a package that only Linux needs says so, and torch keeps no suffix of the build that happens to be installed.
"""

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MACOS = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}


def needed(project: str, extra: str, system: dict[str, str]) -> dict[str, str]:
    """Name and version of each installed package that the project needs, with one extra, on a system."""
    found: dict[str, str] = {}
    open_ends = [(project, frozenset([extra]))]
    done = set()
    while open_ends:
        name, extras = open_ends.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = package.version.split("+")[0]
        for requirement in map(Requirement, package.requires or []):
            markers = [{**system, "extra": one} for one in (extras or {""})]
            if requirement.marker is None or any(requirement.marker.evaluate(one) for one in markers):
                open_ends.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    del found[project]
    return found


def main() -> None:
    here = {name: str(value) for name, value in default_environment().items()}
    everywhere = needed("duotempo", "dev", {**here, **MACOS})
    lines = [
        f"{name}=={version}" + ("" if name in everywhere else f' ; sys_platform == "{sys.platform}"')
        for name, version in sorted(needed("duotempo", "dev", here).items())
    ]
    sys.stdout.write("\n".join(["# Made by `make lock`.", *lines, ""]))


if __name__ == "__main__":
    main()
