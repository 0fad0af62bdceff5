"""`duotempo bench`: the list, one benchmark, its JSON output, and invalid arguments."""

import json
from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.registry import BENCHES
from tests.support.command_result import Run
from tests.support.datasets import toy_events, write_dataset

QUICK = {
    "DUOTEMPO_PRESET": "demo", "DUOTEMPO_FUSION__EPOCHS": "2", "DUOTEMPO_FUSION__WIDTH": "16",
    "DUOTEMPO_EVALUATION__BOOTSTRAP": "20",
}  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page written instead of docs/quality.md, for a plan with one dataset."""
    file = tmp_path / "quality.md"
    file.write_text("<!-- results -->\n<!-- /results -->\n")
    run = quality.run
    monkeypatch.setattr(quality, "DATASETS", {"ml-100k": quality.Plan(("loo", "rolling"))})
    monkeypatch.setattr(quality, "run", lambda settings, **options: run(settings, page=file, **options))
    return file


def test_bench_without_a_name_lists_all(duotempo: Run) -> None:
    answer = duotempo("bench")
    assert answer.code == 0
    assert all(name in answer.out for name in BENCHES)


def test_bench_json_is_the_only_output(duotempo: Run, tmp_path: Path, page: Path) -> None:
    write_dataset(tmp_path / "datasets" / "ml-100k", toy_events())
    environment = {"DUOTEMPO_DATA_DIR": str(tmp_path / "datasets")}
    answer = duotempo("bench", "quality", "--only", "ml-100k", "--json", **QUICK, **environment)
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert set(result) == {"bench", "commit", "machine", "figures"}
    assert result["bench"] == "quality"
    assert "cores" in result["machine"]
    assert all(isinstance(value, float) for value in result["figures"].values())
    assert "### ml-100k, rolling" in page.read_text()
    again = duotempo("bench", "quality", "--only", "ml-100k", **QUICK, **environment)
    assert again.code == 0, again.err
    assert "ml-100k.loo.duotempo.ndcg@10" in again.out


WRONG = {
    "an unknown bench": (("speed",), "no bench named 'speed': there are quality, ablation, train"),
    "an option of another bench": (("quality", "--beauty"), "the bench quality takes --dataset, not --beauty"),
    "an unknown dataset": (("quality", "--only", "netflix"), "'netflix' is none of ml-100k"),
    "an unknown split": (("ablation", "--split", "random"), "'random' is none of loo, temporal, rolling"),
}


@pytest.mark.parametrize(("arguments", "needed"), WRONG.values(), ids=WRONG)
def test_bench_rejects_invalid_arguments(duotempo: Run, arguments: tuple[str, ...], needed: str) -> None:
    answer = duotempo("bench", *arguments)
    assert answer.code == 1
    assert needed in answer.text
