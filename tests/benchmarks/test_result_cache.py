"""What invalidates a cached result, and how results of several seeds are pooled."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.result_cache import CachedResult, pooled, pooled_difference, result_file, with_changes, with_seeds
from components.fusion.fusions import UnknownFusion
from components.settings import Settings


def test_the_fingerprint_covers_data_split_model_and_settings(
    settings: Settings, data_folder: Path, tmp_path: Path
) -> None:
    def name(folder: Path = data_folder / "ml-100k", split: str = "loo", model: str = "pop", **changes: object) -> str:
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        return result_file(folder, split, model, with_changes(settings, dotted)).name

    copy = Path(shutil.copytree(data_folder / "ml-100k", tmp_path / "ml-100k"))
    assert name(copy) == name()
    (copy / "dataset.json").write_text('{"text": []}')
    others = [
        name(copy), name(split="temporal"), name(model="pop7"), name(fusion__epochs=3), name(fusion__seed=1),
        name(evaluation__k=5), name(interests__anchors=2),
    ]  # fmt: skip
    assert len({name(), *others}) == len(others) + 1


def test_the_fingerprint_ignores_paths_and_log_level(settings: Settings, data_folder: Path, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"cache": tmp_path, "home": tmp_path, "log_level": "DEBUG"})
    folder = data_folder / "ml-100k"
    assert result_file(folder, "loo", "pop", elsewhere).name == result_file(folder, "loo", "pop", settings).name


def test_the_fingerprint_covers_the_source_of_a_custom_fusion(
    settings: Settings, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from components.fusion.fusions import Fusion\n\n"
        "class Mine(Fusion):\n    def forward(self, long, short, context):\n        return long, short\n"
    )
    (tmp_path / "custom_fusion_of_a_test.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    first = result_file(data_folder / "ml-100k", "loo", "custom_fusion_of_a_test:Mine", settings)
    (tmp_path / "custom_fusion_of_a_test.py").write_text(source.replace("return long, short", "return short, long"))
    assert result_file(data_folder / "ml-100k", "loo", "custom_fusion_of_a_test:Mine", settings) != first
    with pytest.raises(UnknownFusion, match="sasrec"):
        result_file(data_folder / "ml-100k", "loo", "sasrec", settings)


def test_changes_are_validated_and_do_not_modify_the_settings(settings: Settings) -> None:
    assert with_changes(settings, {"fusion.kind": "long", "ranking.mixture": False}).fusion.kind == "long"
    assert settings.fusion.kind == "gated"
    for wrong in ({"fusion.knid": "long"}, {"fusion.epochs": 0}):
        with pytest.raises(ValidationError):
            with_changes(settings, wrong)


def test_seeds_count_up_from_that_of_the_settings(settings: Settings) -> None:
    assert [each.fusion.seed for each in with_seeds(with_changes(settings, {"fusion.seed": 5}), 3)] == [5, 6, 7]


def result(ndcg: list[float]) -> CachedResult:
    values = np.array(ndcg)
    return CachedResult({}, {}, values, values, np.array(["a", "b", "c"]))


def test_the_pooled_metric_is_the_mean_over_seeds(settings: Settings) -> None:
    runs, others = [result([0, 0.5, 1]), result([1, 1, 1])], [result([0, 0.5, 0.5]), result([1, 1, 0.5])]
    mean_ndcg = pooled(runs, "ndcg", settings.evaluation)
    assert mean_ndcg.mean == pytest.approx(0.75)
    assert mean_ndcg.low <= 0.75 <= mean_ndcg.high
    assert pooled_difference(runs, others, "ndcg", settings.evaluation).mean == pytest.approx(1 / 6)
    assert pooled_difference(runs, runs, "ndcg", settings.evaluation) == (0, 0, 0)
