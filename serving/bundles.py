"""The bundles that a Bento holds, and which of them is the champion until the table `variants` is read.

A folder with a bundle for each version, whose manifest names it, and a file `champion` that names one of them.
`infra/bento.py` writes it.
"""

import json
from pathlib import Path

from components.bundle import BundleError

CHAMPION_FILE = "champion"


def bundle_folders(place: Path) -> dict[str, Path]:
    """The folders by version. Raises BundleError when there is none."""
    folders = {_version(file): file.parent for file in sorted(place.glob("*/manifest.json"))}
    if not folders:
        raise BundleError(f"{place} holds no bundle: a manifest.json is missing; register the version again")
    return folders


def built_champion(place: Path, versions: list[str]) -> str:
    """The version that the file names, else the last one."""
    file = place / CHAMPION_FILE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else versions[-1]


def _version(manifest: Path) -> str:
    return str(json.loads(manifest.read_text(encoding="utf-8")).get("model_version", manifest.parent.name))
