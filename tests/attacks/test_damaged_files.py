"""Truncated, corrupted, emptied or swapped files: the error names the file and says how to fix it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.bundle.bundle import Bundle, BundleError
from serving.recommend.bundles import CHAMPION_FILE, built_champion, bundle_folders
from tests.support.toy_data import tiny_bundle


def flip_bit(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def replace_with_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a byte short": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "a bit in the middle": lambda file: flip_bit(file, file.stat().st_size // 2),
    "a bit at the end": lambda file: flip_bit(file, -3),
    "garbage": lambda file: file.write_bytes(b"\xff\x00\x80[[[{" * 99),
    "another one": lambda file: shutil.copy(next(other for other in file.parent.iterdir() if other != file), file),
    "a folder": replace_with_folder,
    "gone": Path.unlink,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle().write(tmp_path_factory.mktemp("made") / "bundle")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_bundle_is_refused_with_its_file_and_the_remedy(damage: str, bundle: Path, tmp_path: Path) -> None:
    for name in sorted(file.name for file in bundle.iterdir()):
        folder = Path(shutil.copytree(bundle, tmp_path / name / "bundle"))
        DAMAGE[damage](folder / name)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")) as raised:
            Bundle.read(folder, mapped=True)
        assert "duotempo promote" in str(raised.value)


def test_a_bundle_without_checksums_is_read(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"], manifest["checksum"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Bundle.read(folder).items.num_rows


def test_a_damaged_manifest_affects_no_other_version(bundle: Path, tmp_path: Path) -> None:
    for version in ("7", "8"):
        shutil.copytree(bundle, tmp_path / version)
    (tmp_path / "8" / "manifest.json").write_bytes(b"\xff{")
    (tmp_path / CHAMPION_FILE).write_text("7")
    folders = bundle_folders(tmp_path)
    assert folders["8"] == tmp_path / "8"
    assert len(folders) == 2
    with pytest.raises(BundleError, match=r"champion is damaged: it names '7', none of"):
        built_champion(tmp_path, ["1", "2"])
