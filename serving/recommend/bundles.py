"""The bundles that a Bento holds, and which of them is the champion until the table `variants` is read.

A folder with a bundle for each version, whose manifest names it, and a file `champion` that names one of them.
`infra/deploy/bento.py` writes it.
"""

import logging
from pathlib import Path

from components.bundle.bundle import MANIFEST, REMEDY, VERSION, BundleError, read_manifest

CHAMPION_FILE = "champion"
logger = logging.getLogger(__name__)


def bundle_folders(place: Path) -> dict[str, Path]:
    """The folders by version; one whose manifest cannot be read goes by its name. Raises BundleError when there is
    none."""
    folders = {_version(file.parent): file.parent for file in sorted(place.glob(f"*/{MANIFEST}"))}
    if not folders:
        raise BundleError(f"{place} holds no bundle: a {MANIFEST} is missing; register the version again")
    return folders


def built_champion(place: Path, versions: list[str]) -> str:
    """The version that the file names, else the last one. Raises BundleError when it names none of them."""
    file = place / CHAMPION_FILE
    if not file.is_file():
        return versions[-1]
    named = file.read_text(encoding="utf-8", errors="replace").strip()
    if named not in versions:
        raise BundleError(f"{file} is damaged: it names {named[:60]!r}, none of {', '.join(versions)}. {REMEDY}")
    return named


def _version(folder: Path) -> str:
    try:
        return str(read_manifest(folder).get(VERSION, folder.name))
    except BundleError as error:
        logger.error("%s", error)
        return folder.name
