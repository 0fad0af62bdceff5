"""A real Bento of a tiny bundle, built, served beside a real Postgres, and refused where it is wrong."""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, func, select

from components.bundle import Bundle
from components.store.engine import make_engine
from components.store.schema import Impression
from infra.bento import build_bento, fingerprint, lay_out, needed_components
from infra.smoke import SmokeTestFailed, smoke_test
from tests.worlds import fill_store, tiny_bundle

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine(database: str) -> Iterator[Engine]:
    engine = make_engine(database)
    fill_store(engine, tiny_bundle())
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle().write(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def tag(bundle: Path, home: Path) -> str:
    return build_bento(bundle, "7", bentoml_home=home)


def bentos(home: Path) -> list[Path]:
    return sorted((home / "bentos" / "duotempo").glob("v*"))


def served(tag: str) -> list[psutil.Process]:
    """The processes that serve a Bento: the server and its workers."""
    return [process for process in psutil.process_iter(["cmdline"]) if tag in " ".join(process.info["cmdline"] or [])]


def test_a_bento_bears_its_version_and_is_built_once(tag: str, bundle: Path, home: Path) -> None:
    assert re.fullmatch(r"duotempo:v7-[0-9a-f]{12}", tag)
    (stored,) = bentos(home)
    built_at = (stored / "bento.yaml").stat().st_mtime_ns
    assert build_bento(bundle, "7", bentoml_home=home) == tag
    assert bentos(home) == [stored]
    assert (stored / "bento.yaml").stat().st_mtime_ns == built_at


def test_it_holds_the_bundle_with_its_version_and_no_more_code_than_it_needs(tag: str, home: Path) -> None:
    (stored,) = bentos(home)
    assert Bundle.read(stored / "src" / "bundle").manifest["model_version"] == "7"
    rooms = {path.name for path in (stored / "src").iterdir() if path.is_dir()}
    assert rooms == {"bundle", "components", "serving"}
    components = {
        path.relative_to(stored / "src" / "components").parts[0] for path in (stored / "src").glob("components/**/*.py")
    }
    assert "ranking" in components
    assert not {"evaluation", "embedding", "registry", "registered_model.py", "validation.py"} & components
    requirements = (stored / "env" / "python" / "requirements.txt").read_text().lower()
    assert "onnxruntime" in requirements
    assert not any(name in requirements for name in ("prefect", "mlflow", "great_expectations", "torch", "ray=="))


def test_the_code_that_is_laid_out_imports_nothing_from_outside(tmp_path: Path) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "a.py").write_text("def later() -> None:\n    from components.store import engine\n")
    for module in ("__init__", "columns", "unused", "store/__init__", "store/engine", "store/schema"):
        file = tmp_path / "components" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    (tmp_path / "components" / "store" / "engine.py").write_text("import components.columns\nimport json\n")
    found = {path.relative_to(tmp_path / "components").as_posix() for path in needed_components(tmp_path)}
    assert found == {"__init__.py", "columns.py", "store/__init__.py", "store/engine.py"}


def test_another_version_bundle_or_code_is_another_bento(bundle: Path, tmp_path: Path) -> None:
    for name, version in (("one", "1"), ("same", "1"), ("other", "2")):
        lay_out(tmp_path / name, bundle, version)
    one = fingerprint(tmp_path / "one")
    assert fingerprint(tmp_path / "same") == one
    assert fingerprint(tmp_path / "other") != one
    service = tmp_path / "same" / "serving" / "service.py"
    service.write_text(service.read_text() + "\n# changed\n")
    assert fingerprint(tmp_path / "same") != one


def test_a_sound_bento_passes_and_leaves_nothing_behind(tag: str, engine: Engine, database: str, home: Path) -> None:
    smoke_test(tag, model_version="7", database_url=database, bentoml_home=home, start_seconds=60)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Impression)) == 0
    assert served(tag) == []


def test_a_bento_of_another_version_is_refused(tag: str, engine: Engine, database: str, home: Path) -> None:
    with pytest.raises(SmokeTestFailed, match=rf"{tag} failed its smoke test: the answer is of model version '7'"):
        smoke_test(tag, model_version="8", database_url=database, bentoml_home=home, start_seconds=60)
    assert served(tag) == []


def test_a_damaged_bundle_is_refused_with_the_services_own_words(
    engine: Engine, database: str, home: Path, tmp_path: Path
) -> None:
    folder = tiny_bundle().write(tmp_path / "bundle")
    (folder / "user_tower.onnx").unlink()
    tag = build_bento(folder, "9", bentoml_home=home)
    with pytest.raises(SmokeTestFailed, match=r"user_tower\.onnx"):
        smoke_test(tag, model_version="9", database_url=database, bentoml_home=home, start_seconds=10)
    assert served(tag) == []
