"""Builds the Bento of registered versions: the service, the components it imports, and a bundle for each version."""

import ast
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from components.bundle.bundle import MANIFEST, VERSION, read_manifest
from components.core.errors import DuotempoError
from components.core.files import sha256
from serving.recommend.bundles import CHAMPION_FILE

PROJECT = Path(__file__).resolve().parents[2]
NAME = "duotempo"
SERVICE = "serving.service:Duotempo"
REQUIREMENTS = "serving/requirements.txt"
DATA_FOLDERS = ("components/presets",)
"""Data folders that the code reads."""
TESTED_MARKER = "tested"
BUILD_SECONDS = 300
TAIL = 15
"""Lines of a log shown in an error."""
log = logging.getLogger(__name__)


class BentoBuildError(DuotempoError):
    """The Bento could not be built; the message holds the end of BentoML's output."""


def build_bento(bundles: Mapping[str, Path], *, newest: str, champion: str, bentoml_home: Path) -> str:
    """Builds `duotempo:v<newest>-<hash>` into the store of `bentoml_home` and returns this tag.

    The hash covers the whole content, so a Bento of the same versions, bundles and code is built once.

    Args:
        bundles: Folder of each version's bundle, including `newest` and `champion`.

    Raises:
        BentoBuildError: The build failed or timed out.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="duotempo-bento-") as scratch:
        context = Path(scratch)
        write_context(context, bundles, champion)
        tag = f"{NAME}:v{newest}-{fingerprint(context)}"
        stored = bento_folder(tag, bentoml_home)
        if is_intact(tag, bentoml_home):
            log.info("%s exists already", tag)
            return tag
        shutil.rmtree(stored, ignore_errors=True)  # damaged; a process that serves it has read its files
        _build(context, tag, bentoml_home)
    size = sum(file.stat().st_size for file in stored.rglob("*") if file.is_file())
    log.info("built %s in %.1f s, %.1f MB", tag, time.monotonic() - started, size / 1e6)
    return tag


def bento_folder(tag: str, bentoml_home: Path) -> Path:
    return bentoml_home / "bentos" / tag.replace(":", "/")


def versions_of(tag: str, bentoml_home: Path) -> frozenset[str]:
    """Versions in a built Bento; empty if it does not exist or was not built by Duotempo."""
    return frozenset(_labels(tag, bentoml_home).get("versions", "").split()) - {""}


def has_current_code(tag: str, bentoml_home: Path) -> bool:
    """Whether a built Bento holds the current code, whatever its bundles."""
    with tempfile.TemporaryDirectory(prefix="duotempo-code-") as scratch:
        _copy_code(Path(scratch))
        return _labels(tag, bentoml_home).get("code") == fingerprint(Path(scratch))


def is_intact(tag: str, bentoml_home: Path) -> bool:
    """Whether a built Bento exists and its files match the hash in its tag."""
    stored = bento_folder(tag, bentoml_home)
    try:
        return bool(_labels(tag, bentoml_home)) and tag.endswith(f"-{fingerprint(stored / 'src')}")
    except OSError as error:
        log.warning("%s is damaged: %s", tag, error)
        return False


def mark_tested(tag: str, bentoml_home: Path) -> None:
    """Marks a Bento whose versions have all passed the smoke test."""
    (bento_folder(tag, bentoml_home) / TESTED_MARKER).touch()


def latest_tested_bento(version: str, bentoml_home: Path) -> str | None:
    """Tag of the latest undamaged Bento that holds a version and has passed the smoke test, or None."""
    folders = [file.parent for file in (bentoml_home / "bentos" / NAME).glob(f"*/{TESTED_MARKER}")]
    folders.sort(key=lambda folder: (folder / "bento.yaml").stat().st_mtime, reverse=True)
    tags = (tag for folder in folders if version in versions_of(tag := f"{NAME}:{folder.name}", bentoml_home))
    return next((tag for tag in tags if is_intact(tag, bentoml_home)), None)


def write_context(context: Path, bundles: Mapping[str, Path], champion: str) -> None:
    """Fills the folder `context` with all files of a Bento of these versions."""
    _copy_code(context)
    code = fingerprint(context)
    for version, bundle in bundles.items():
        shutil.copytree(bundle, context / "bundles" / version)
        manifest = read_manifest(bundle) | {VERSION: version}
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (context / "bundles" / version / MANIFEST).write_text(text, encoding="utf-8")
    (context / "bundles" / CHAMPION_FILE).write_text(champion, encoding="utf-8")
    options = {
        "service": SERVICE,
        "name": NAME,
        "include": ["**"],
        "labels": {"code": code, "versions": " ".join(sorted(bundles))},
        "python": {"requirements_txt": REQUIREMENTS, "lock_packages": False},
    }
    (context / "bentofile.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")


def _copy_code(context: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("serving", *DATA_FOLDERS):
        shutil.copytree(PROJECT / folder, context / folder, ignore=ignore)
    for module in needed_components(PROJECT):
        target = context / module.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, target)


def _labels(tag: str, bentoml_home: Path) -> dict[str, str]:
    """Labels of a Bento; empty if it does not exist or cannot be read."""
    file = bento_folder(tag, bentoml_home) / "bento.yaml"
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8"))["labels"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        log.warning("%s is damaged: %s", file, error)
        return {}


def needed_components(project: Path) -> set[Path]:
    """Files of components that serving imports, directly or indirectly, with the __init__.py of their packages."""
    queue = sorted((project / "serving").rglob("*.py"))
    found: set[Path] = set()
    while queue:
        for module in _imported(queue.pop(), project):
            packages = {
                folder / "__init__.py" for folder in module.parents if folder.is_relative_to(project / "components")
            }
            new = ({module} | packages) - found
            found |= new
            queue += new
    return found


def _imported(file: Path, project: Path) -> Iterator[Path]:
    """Yields the modules of components that a file imports; `from a.b import c` may name the module a.b or a.b.c."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path_base = project.joinpath(*name.split("."))
            if name.split(".")[0] == "components":
                yield from (
                    path for path in (path_base.with_suffix(".py"), path_base / "__init__.py") if path.is_file()
                )


def fingerprint(folder: Path) -> str:
    """Hash of all file names and contents in a folder, twelve hex digits."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(sha256(file)))
    return digest.hexdigest()[:12]


def tail(text: str) -> str:
    """Returns the last lines of a log, indented for an error message."""
    return "\n".join(f"  | {line}" for line in text.strip().splitlines()[-TAIL:])


def environment(bentoml_home: Path) -> dict[str, str]:
    """Environment of BentoML's programs: the store, and telemetry off."""
    return {**os.environ, "BENTOML_HOME": str(bentoml_home), "BENTOML_DO_NOT_TRACK": "True"}


def _build(context: Path, tag: str, bentoml_home: Path) -> None:
    """Runs `bentoml build` in a separate process, because it imports the service from the context."""
    command = [sys.executable, "-m", "bentoml", "build", str(context), "--version", tag.partition(":")[2]]
    variables = {**environment(bentoml_home), "PYTHONDONTWRITEBYTECODE": "1"}
    bentoml_home.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, cwd=context, env=variables, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BentoBuildError(
            f"{tag} was not built within {BUILD_SECONDS} s: try again on a quieter machine"
        ) from error
    if done.returncode:
        raise BentoBuildError(f"{tag} cannot be built, fix what BentoML names:\n{tail(done.stdout + done.stderr)}")
