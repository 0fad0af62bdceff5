"""A real Bento of tiny bundles: its content, and when it is rebuilt."""

import re
from pathlib import Path

import pytest

from components.bundle.bundle import Bundle
from infra.deploy.bento import (
    bento_folder,
    build_bento,
    fingerprint,
    has_current_code,
    is_intact,
    latest_tested_bento,
    mark_tested,
    needed_components,
    versions_of,
    write_context,
)
from tests.support.toy_data import tiny_bundle

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle().write(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def tag(bundle: Path, home: Path) -> str:
    return build_bento({"7": bundle}, newest="7", champion="7", bentoml_home=home)


def bentos(home: Path) -> list[Path]:
    return sorted((home / "bentos" / "duotempo").glob("v*"))


def test_bento_tag_has_the_version_and_is_built_once(tag: str, bundle: Path, home: Path) -> None:
    assert re.fullmatch(r"duotempo:v7-[0-9a-f]{12}", tag)
    (stored,) = bentos(home)
    built_at = (stored / "bento.yaml").stat().st_mtime_ns
    assert build_bento({"7": bundle}, newest="7", champion="7", bentoml_home=home) == tag
    assert bentos(home) == [stored]
    assert (stored / "bento.yaml").stat().st_mtime_ns == built_at


@pytest.mark.parametrize("damaged", ["src/serving/http/app.py", "bento.yaml"])
def test_damaged_bento_is_rebuilt(tag: str, bundle: Path, home: Path, damaged: str) -> None:
    file = bento_folder(tag, home) / damaged
    original = file.read_bytes()
    mark_tested(tag, home)
    file.write_bytes(original[: len(original) // 2] + b"\xff: {")
    assert not is_intact(tag, home)
    assert latest_tested_bento("7", home) is None
    assert build_bento({"7": bundle}, newest="7", champion="7", bentoml_home=home) == tag
    assert is_intact(tag, home)
    assert versions_of(tag, home) == {"7"}


def test_bento_holds_the_bundle_and_only_needed_code(tag: str, home: Path) -> None:
    (stored,) = bentos(home)
    assert Bundle.read(stored / "src" / "bundles" / "7").manifest["model_version"] == "7"
    folders = {path.name for path in (stored / "src").iterdir() if path.is_dir()}
    assert folders == {"bundles", "components", "serving"}
    components = {
        path.relative_to(stored / "src" / "components").parts[0] for path in (stored / "src").glob("components/**/*.py")
    }
    assert "ranking" in components
    assert not {"embedding", "evaluation", "registry", "training", "validation"} & components
    requirements = (stored / "env" / "python" / "requirements.txt").read_text().lower()
    assert "onnxruntime" in requirements
    assert not any(name in requirements for name in ("prefect", "mlflow", "great_expectations", "torch", "ray=="))


def test_needed_components_are_complete(tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "a.py").write_text("def later() -> None:\n    from components.store import engine\n")
    for module in ("__init__", "columns", "unused", "store/__init__", "store/engine", "store/schema"):
        file = tmp_path / "components" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (tmp_path / "components" / "store" / "engine.py").write_text("import components.columns\nimport json\n")
    relative_paths = {path.relative_to(tmp_path / "components").as_posix() for path in needed_components(tmp_path)}
    assert relative_paths == {"__init__.py", "columns.py", "store/__init__.py", "store/engine.py"}


def test_fingerprint_depends_on_version_and_code(bundle: Path, tmp_path: Path) -> None:
    for name, version in (("one", "1"), ("same", "1"), ("other", "2")):
        write_context(tmp_path / name, {version: bundle}, version)
    first_fingerprint = fingerprint(tmp_path / "one")
    assert fingerprint(tmp_path / "same") == first_fingerprint
    assert fingerprint(tmp_path / "other") != first_fingerprint
    service = tmp_path / "same" / "serving" / "service.py"
    service.write_text(service.read_text() + "\n# changed\n")
    assert fingerprint(tmp_path / "same") != first_fingerprint


def test_bento_of_several_versions(bundle: Path, home: Path) -> None:
    tag = build_bento({"7": bundle, "12": bundle}, newest="12", champion="7", bentoml_home=home)
    assert tag.startswith("duotempo:v12-")
    inside = bento_folder(tag, home) / "src" / "bundles"
    assert {version: Bundle.read(inside / version).manifest["model_version"] for version in ("7", "12")} == {
        "7": "7",
        "12": "12",
    }
    assert (inside / "champion").read_text() == "7"
    assert versions_of(tag, home) == {"7", "12"}
    assert has_current_code(tag, home)
    assert latest_tested_bento("12", home) is None, "not smoke-tested yet"
    mark_tested(tag, home)
    assert latest_tested_bento("12", home) == tag
    assert latest_tested_bento("13", home) is None
    assert versions_of("duotempo:nothing", home) == frozenset()
    assert not has_current_code("duotempo:nothing", home)
