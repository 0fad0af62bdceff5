"""The bundles in a Bento, and which of them is the champion until the table `variants` is read.

The layout, written by `infra/deploy/bento.py`: a folder per version with its bundle, whose manifest names the version,
and a file `champion` that names one of them.
"""

import logging
from pathlib import Path

from components.bundle.bundle import MANIFEST, REMEDY, VERSION, BundleError, read_manifest

CHAMPION_FILE = "champion"
logger = logging.getLogger(__name__)


def bundle_folders(place: Path) -> dict[str, Path]:
    """The bundle folders by version; a folder with an unreadable manifest is listed under the folder's name.

    Raises:
        BundleError: There is no bundle.
    """
    folders = {_version(file.parent): file.parent for file in sorted(place.glob(f"*/{MANIFEST}"))}
    if not folders:
        raise BundleError(f"{place} holds no bundle: a {MANIFEST} is missing; register the version again")
    return folders


def built_champion(place: Path, versions: list[str]) -> str:
    """The version named in the champion file, or the last version without that file.

    Raises:
        BundleError: The file names a version that is not there.
    """
    file = place / CHAMPION_FILE
    if not file.is_file():
        return versions[-1]
    version = file.read_text(encoding="utf-8", errors="replace").strip()
    if version not in versions:
        raise BundleError(f"{file} is damaged: it names {version[:60]!r}, none of {', '.join(versions)}. {REMEDY}")
    return version


def _version(folder: Path) -> str:
    try:
        return str(read_manifest(folder).get(VERSION, folder.name))
    except BundleError as error:
        logger.error("%s", error)
        return folder.name
