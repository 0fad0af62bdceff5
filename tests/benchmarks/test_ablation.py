"""The ablation bench on a planted dataset: comparison with the default, the plot, and reuse of cached results."""

from pathlib import Path

import pytest

from benchmarks import ablation
from benchmarks.errors import BenchError
from benchmarks.result_cache import with_changes
from components.fusion.fusions import UnknownFusion
from components.settings import Settings

PAGE = "# Quality\n\n<!-- ablation -->\n\n<!-- /ablation -->\n"
FEW = {"gated": {"fusion.kind": "gated"}, "short only": {"fusion.kind": "short"}}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "quality.md"
    file.write_text(PAGE)
    return file


@pytest.mark.parametrize("changes", ablation.ABLATIONS.values(), ids=ablation.ABLATIONS)
def test_every_ablation_names_valid_settings(settings: Settings, changes: dict[str, object]) -> None:
    with_changes(settings, changes)


def test_each_ablation_is_compared_with_the_default(
    settings: Settings, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "ABLATIONS", FEW)
    (page.parent / "own_of_an_ablation.py").write_text(
        "from components.fusion.fusions import Fusion\n\n"
        "class Mine(Fusion):\n    def forward(self, long, short, context):\n        return long * 0, short * 0\n"
    )
    monkeypatch.syspath_prepend(page.parent)
    own = "own_of_an_ablation:Mine"
    figures = ablation.run(settings, split="loo", fusion=own, page=page)
    assert {name.split(".")[1] for name in figures} == {"default", *FEW, own}
    assert figures["loo.default.ndcg@10_difference"] == figures["loo.gated.ndcg@10_difference"] == 0
    difference = figures[f"loo.{own}.ndcg@10"] - figures["loo.default.ndcg@10"]
    assert figures[f"loo.{own}.ndcg@10_difference"] == pytest.approx(difference)
    text = page.read_text()
    assert f"`duotempo bench ablation --dataset ml-100k --split loo --fusion {own}`" in text
    assert "### ml-100k, loo, one seed" in text
    assert "| gated | " in text
    conclusive, inconclusive = text.split("No significant difference")
    assert "By NDCG, with a 95 % interval that excludes zero: worse than the default " in conclusive
    assert "gated" in inconclusive
    assert "+0.0000 [+0.0000, +0.0000]" in text
    assert page.with_name("ablation.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_uses_the_cache(settings: Settings, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "ABLATIONS", FEW)

    def run() -> tuple[dict[str, float], dict[str, int]]:
        figures = ablation.run(settings, seeds=2, page=page)
        return figures, {file.name: file.stat().st_mtime_ns for file in (settings.cache / "bench").iterdir()}

    assert run() == run()
    assert "### ml-100k, rolling, 2 seeds" in page.read_text()


def test_an_ablation_that_changes_the_targets_is_refused(
    settings: Settings, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "ABLATIONS", {"early cut": {"evaluation.cut_quantile": 0.5}})
    with pytest.raises(BenchError, match="'early cut' has other targets"):
        ablation.run(settings, split="rolling", page=page)
    assert page.read_text() == PAGE


def test_an_unknown_split_or_fusion_is_refused(settings: Settings, page: Path) -> None:
    with pytest.raises(BenchError, match="'random' is none of loo, temporal, rolling"):
        ablation.run(settings, split="random", page=page)
    with pytest.raises(UnknownFusion, match="no_such_module"):
        ablation.run(settings, split="loo", fusion="no_such_module:Mine", page=page)
