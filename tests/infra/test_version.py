"""All files that state the version state the one of pyproject.toml, so that a release raises all of them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NUMBER = r"(\d+\.\d+\.\d+)"
IMAGE = rf"duotempo:{NUMBER}"
STATED = [
    ("CHANGELOG.md", rf"(?m)\A(?:.|\n)*?^## \[{NUMBER}\]", 1),
    ("docs/deploying.md", IMAGE, 2),
    ("infra/.env.example", IMAGE, 2),
    ("infra/compose.yaml", IMAGE, 2),
    ("infra/docker/Dockerfile", IMAGE, 2),
    ("infra/docker/Dockerfile", rf'image\.version="{NUMBER}"', 1),
    ("infra/helm/duotempo/Chart.yaml", rf"(?m)^(?:version|appVersion): {NUMBER}$", 2),
    ("infra/pools/docker.json", IMAGE, 1),
    ("infra/pools/kubernetes.json", IMAGE, 1),
]


@pytest.mark.parametrize(("name", "pattern", "times"), STATED)
def test_file_states_the_version_of_pyproject(name: str, pattern: str, times: int) -> None:
    assert re.findall(pattern, (ROOT / name).read_text(encoding="utf-8")) == [VERSION] * times


def test_no_other_file_names_an_image_with_a_version() -> None:
    listed = {ROOT / name for name, pattern, _ in STATED if pattern == IMAGE}
    files = [ROOT / "README.md", *(file for folder in ("docs", "infra") for file in (ROOT / folder).rglob("*"))]
    texts = (file for file in files if file.is_file() and "__pycache__" not in file.parts)
    assert {file for file in texts if re.search(IMAGE, file.read_text(encoding="utf-8", errors="replace"))} == listed
