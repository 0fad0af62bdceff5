"""Builds the Bento of registered versions: the service, the components that it needs, and a bundle for each."""

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
DATA = ("components/presets",)
"""Folders that the code reads beside its modules."""
TESTED = "tested"
BUILD_SECONDS = 300
TAIL = 15
"""Lines of a log that an error shows."""
log = logging.getLogger(__name__)


class BentoBuildError(DuotempoError):
    """The Bento could not be built; the message holds the end of BentoML's own words."""


def build_bento(bundles: Mapping[str, Path], *, newest: str, champion: str, bentoml_home: Path) -> str:
    """Builds `duotempo:v<newest>-<hash>` into the store of `bentoml_home` and returns this tag.

    bundles: by the version that they are served as, `newest` and `champion` among them. The hash is of everything
    inside, so a Bento of the same versions, bundles and code is built once. Raises BentoBuildError.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="duotempo-bento-") as scratch:
        context = Path(scratch)
        lay_out(context, bundles, champion)
        tag = f"{NAME}:v{newest}-{fingerprint(context)}"
        stored = bento_folder(tag, bentoml_home)
        if is_whole(tag, bentoml_home):
            log.info("%s was built before", tag)
            return tag
        shutil.rmtree(stored, ignore_errors=True)  # a damaged one; a process that serves it goes on with what it read
        _build(context, tag, bentoml_home)
    size = sum(file.stat().st_size for file in stored.rglob("*") if file.is_file())
    log.info("built %s in %.1f s, %.1f MB", tag, time.monotonic() - started, size / 1e6)
    return tag


def bento_folder(tag: str, bentoml_home: Path) -> Path:
    return bentoml_home / "bentos" / tag.replace(":", "/")


def versions_of(tag: str, bentoml_home: Path) -> frozenset[str]:
    """The versions that a built Bento holds; none when it is not there or was built otherwise."""
    return frozenset(_labels(tag, bentoml_home).get("versions", "").split()) - {""}


def is_of_this_code(tag: str, bentoml_home: Path) -> bool:
    """Whether a built Bento is of the code as it is now, whatever its bundles."""
    with tempfile.TemporaryDirectory(prefix="duotempo-code-") as scratch:
        _lay_out_code(Path(scratch))
        return _labels(tag, bentoml_home).get("code") == fingerprint(Path(scratch))


def is_whole(tag: str, bentoml_home: Path) -> bool:
    """Whether a built Bento is there and holds what it was built of."""
    stored = bento_folder(tag, bentoml_home)
    try:
        return bool(_labels(tag, bentoml_home)) and tag.endswith(f"-{fingerprint(stored / 'src')}")
    except OSError as error:
        log.warning("%s is damaged: %s", tag, error)
        return False


def mark_tested(tag: str, bentoml_home: Path) -> None:
    """Notes that each version inside a Bento has passed the smoke test."""
    (bento_folder(tag, bentoml_home) / TESTED).touch()


def kept_bento(version: str, bentoml_home: Path) -> str | None:
    """The Bento that was built last of those that hold a version and have passed the smoke test."""
    folders = [file.parent for file in (bentoml_home / "bentos" / NAME).glob(f"*/{TESTED}")]
    folders.sort(key=lambda folder: (folder / "bento.yaml").stat().st_mtime, reverse=True)
    tags = (tag for folder in folders if version in versions_of(tag := f"{NAME}:{folder.name}", bentoml_home))
    return next((tag for tag in tags if is_whole(tag, bentoml_home)), None)


def lay_out(context: Path, bundles: Mapping[str, Path], champion: str) -> None:
    """Fills the folder `context` with everything that a Bento of these versions holds."""
    _lay_out_code(context)
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


def _lay_out_code(context: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in ("serving", *DATA):
        shutil.copytree(PROJECT / folder, context / folder, ignore=ignore)
    for module in needed_components(PROJECT):
        target = context / module.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module, target)


def _labels(tag: str, bentoml_home: Path) -> dict[str, str]:
    """None of a Bento that is not there, or cannot be read."""
    file = bento_folder(tag, bentoml_home) / "bento.yaml"
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8"))["labels"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        log.warning("%s is damaged: %s", file, error)
        return {}


def needed_components(project: Path) -> set[Path]:
    """The files of components that serving imports, at any depth, with the __init__.py of their packages."""
    waiting = sorted((project / "serving").rglob("*.py"))
    found: set[Path] = set()
    while waiting:
        for module in _imported(waiting.pop(), project):
            packages = {
                folder / "__init__.py" for folder in module.parents if folder.is_relative_to(project / "components")
            }
            new = ({module} | packages) - found
            found |= new
            waiting += new
    return found


def _imported(file: Path, project: Path) -> Iterator[Path]:
    """The modules of components that a file imports: `from a.b import c` may name the module a.b or a.b.c."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            place = project.joinpath(*name.split("."))
            if name.split(".")[0] == "components":
                yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


def fingerprint(folder: Path) -> str:
    """Twelve hex digits that change with any file's name or content."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(sha256(file)))
    return digest.hexdigest()[:12]


def tail(text: str) -> str:
    """The last lines of a log, for an error's message."""
    return "\n".join(f"  | {line}" for line in text.strip().splitlines()[-TAIL:])


def environment(bentoml_home: Path) -> dict[str, str]:
    """For BentoML's own programs: their store, and silence."""
    return {**os.environ, "BENTOML_HOME": str(bentoml_home), "BENTOML_DO_NOT_TRACK": "True"}


def _build(context: Path, tag: str, bentoml_home: Path) -> None:
    """In a process of its own, as BentoML imports the service out of the context."""
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
