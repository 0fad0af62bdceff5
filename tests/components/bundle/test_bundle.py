"""Writing and reading bundles: round trip, full disk, missing files."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.bundle.bundle import Bundle, BundleError
from tests.support.toy_data import tiny_bundle

ROOT = Path(__file__).parents[3]
ON_A_FULL_DISK = """
import sys
from pathlib import Path
from components.bundle.bundle import BundleError
from tests.support.toy_data import tiny_bundle
try:
    tiny_bundle(4000).write(Path(sys.argv[1]))
except BundleError as error:
    print(error)
"""
READS = """
import sys
from pathlib import Path
from components.bundle.bundle import Bundle
from components.ranking.explain import Explainer
from components.ranking.filters import CategoryIndex
from components.ranking.scorer import Scorer
from components.settings import InterestSettings
bundle = Bundle.read(Path(sys.argv[1]))
Explainer(Scorer(bundle), InterestSettings())
CategoryIndex(bundle.items["category"])
print({"pandas", "scipy"} & set(sys.modules))
"""


def test_a_written_bundle_reads_back_equal(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    read = Bundle.read(bundle.write(tmp_path / "bundle"))
    np.testing.assert_array_equal(read.vectors, bundle.vectors)
    assert read.items.equals(bundle.items)
    assert read.tower == bundle.tower


def test_a_bundle_is_read_and_used_without_pandas_and_scipy(tmp_path: Path) -> None:
    """Importing them would take most of the service's start-up time."""
    tiny_bundle().write(tmp_path / "bundle")
    command = [sys.executable, "-c", READS, str(tmp_path / "bundle")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout == "set()\n"


def test_on_a_full_disk_the_error_names_the_folder_and_no_bundle_remains(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path / "bundle")]
    output = subprocess.run(command, cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, timeout=60).stdout
    assert str(tmp_path / "bundle") in output
    assert "free some space" in output
    with pytest.raises(BundleError):
        Bundle.read(tmp_path / "bundle")


@pytest.mark.parametrize("file", ["manifest.json", "vectors.npy", "user_tower.onnx"])
def test_a_missing_file_is_an_error(tmp_path: Path, file: str) -> None:
    folder = tiny_bundle().write(tmp_path / "bundle")
    (folder / file).unlink()
    with pytest.raises(BundleError, match="builds it again"):
        Bundle.read(folder)
