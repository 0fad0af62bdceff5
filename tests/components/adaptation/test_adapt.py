"""Contrastive training on toy data in which only the users' behaviour links the items."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import T5Config, T5Model

from components.adaptation.errors import AdaptationError
from components.adaptation.pairs import Pairs, split_validation
from components.adaptation.training import Adaptation, adapt, info_nce, mean_reciprocal_rank
from components.embedding.cache import Cache
from components.embedding.encoder import Encoder, make_encoder
from components.settings import AdaptationSettings, EmbeddingSettings
from tests.support import tiny_models

WORDS = (
    "alder", "birch", "copper", "dune", "ember", "fjord", "grove", "harbor",
    "iris", "jade", "kelp", "lagoon", "maple", "nectar", "opal", "pebble",
)  # fmt: skip
TASTES = 4
"""Item i belongs to taste i % 4; no two items share a word."""
Method = Literal["lora", "full"]
METHODS: list[Method] = ["lora", "full"]


def toy_pairs(users: int = 40) -> Pairs:
    """Each user consumes the four items of one taste in random order."""
    random = np.random.default_rng(0)
    tours = [random.permutation(np.arange(user % TASTES, len(WORDS), TASTES)) for user in range(users)]
    steps = [(user, a, b) for user, tour in enumerate(tours) for a, b in pairwise(tour)]
    owners, queries, positives = np.array(steps).T
    return Pairs(list(WORDS), queries, positives, owners)


def settings_of(folder: Path) -> EmbeddingSettings:
    return EmbeddingSettings(model=str(folder), max_length=32)


def run(base: Path, to: Path, method: Method, pairs: Pairs | None = None, **changes: Any) -> Adaptation:
    rates = {"lora": 1e-2, "full": 3e-3}
    values = {
        "epochs": 12,
        "patience": 12,
        "batch_size": 32,
        "held_out": 0.3,
        "learning_rate": rates[method],
        **changes,
    }
    settings = AdaptationSettings(method=method, **values)
    return adapt(pairs or toy_pairs(), settings_of(base), settings, to, seed=0, show_progress=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def contrast(encoder: Encoder) -> float:
    """Mean cosine within a taste minus mean cosine between tastes."""
    vectors = encoder.encode(WORDS)
    cosines, tastes = vectors @ vectors.T, np.arange(len(WORDS)) % TASTES
    same, self_ = tastes[:, None] == tastes, np.eye(len(WORDS), dtype=bool)
    return float(cosines[same & ~self_].mean() - cosines[~same].mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [tiny_models.gpt2, tiny_models.llama])
def test_training_moves_items_of_a_taste_together(make: Callable[..., Path], method: Method, tmp_path: Path) -> None:
    base = make(tmp_path / "base")
    before = files(base)
    adaptation = run(base, tmp_path / "new", method)
    assert adaptation.mrr > adaptation.mrr_base + 0.25
    assert contrast(make_encoder(settings_of(tmp_path / "new"))) > contrast(make_encoder(settings_of(base))) + 0.2
    assert files(base) == before
    assert Adaptation.read(tmp_path / "new") == adaptation


@pytest.mark.parametrize("method", METHODS)
def test_the_saved_model_has_the_recorded_mrr(method: Method, tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path / "base")
    adaptation = run(base, tmp_path / "new", method, epochs=3)
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "adaptation.json"}
    assert set(files(tmp_path / "new")) == names
    assert set(tmp_path.iterdir()) == {base, tmp_path / "new"}
    _, validation_pairs = split_validation(toy_pairs(), 0.3, seed=0)
    assert len(validation_pairs) == adaptation.held_out
    assert mean_reciprocal_rank(make_encoder(settings_of(tmp_path / "new")), validation_pairs) == pytest.approx(
        adaptation.mrr, abs=1e-6
    )


def test_lora_trains_few_parameters_and_full_all(tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path / "base")
    few = run(base, tmp_path / "few", "lora", epochs=1, rank=2).trained_parameters
    more = run(base, tmp_path / "more", "lora", epochs=1, rank=4).trained_parameters
    every = run(base, tmp_path / "all", "full", epochs=1).trained_parameters
    assert more == 2 * few < every


def test_adapted_encoders_have_separate_vector_caches(tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path / "base")
    for name, seeded in (("one", 1), ("two", 2)):
        run(base, tmp_path / name, "lora", epochs=seeded)
    encoders = [make_encoder(settings_of(tmp_path / name)) for name in ("base", "one", "two")]
    folders = {Cache(tmp_path / "cache", encoder).folder for encoder in encoders}
    assert len({encoder.key for encoder in encoders}) == len(folders) == 3


def test_the_same_seed_gives_the_same_encoder(tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path / "base")
    torch.manual_seed(5)
    untouched = torch.rand(3)
    torch.manual_seed(5)
    run(base, tmp_path / "one", "lora", epochs=2)
    assert torch.equal(torch.rand(3), untouched), "the global random state must not change"
    run(base, tmp_path / "two", "lora", epochs=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_training_stops_early_when_validation_mrr_stops_improving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    adaptation = run(tiny_models.llama(tmp_path / "base"), tmp_path / "new", "lora", epochs=60, patience=2)
    seen = [record.args for record in caplog.records if "mean reciprocal rank" in record.message]
    mrrs = [float(str(arguments[1])) for arguments in seen if isinstance(arguments, tuple)]
    assert len(mrrs) == adaptation.epoch + 2 < 60
    assert adaptation.mrr == max(mrrs) == mrrs[adaptation.epoch - 1]


def test_info_nce_excludes_other_positives_of_the_query() -> None:
    queries = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    candidates = queries.flip(0)
    is_positive = torch.tensor([[True, True, False], [False, True, False], [False, False, True]])
    scores = (queries @ candidates.T / 0.5).tolist()
    kept = [[0, 2], [0, 1, 2], [0, 1, 2]]
    terms = [
        -math.log(math.exp(scores[row][row]) / sum(math.exp(scores[row][at]) for at in columns))
        for row, columns in enumerate(kept)
    ]
    assert info_nce(queries, candidates, is_positive, 0.5).item() == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_an_encoder_with_constant_vectors_ranks_last(tmp_path: Path) -> None:
    blind = make_encoder(settings_of(tiny_models.bert(tmp_path)))  # none of these words is in its vocabulary
    pairs = toy_pairs(users=TASTES)
    rivals = ~pairs.is_positive(pairs.queries, np.unique(pairs.positives))
    assert mean_reciprocal_rank(blind, pairs) == pytest.approx(np.mean(1 / (1 + rivals.sum(axis=1))))


def test_a_loss_that_is_not_finite_names_the_batch(tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path / "base")
    with pytest.raises(AdaptationError, match=r"batch \d of epoch 1, which begins with '\w+': lower .*LEARNING_RATE"):
        run(base, tmp_path / "new", "full", temperature=1e-45)
    assert list(tmp_path.iterdir()) == [base]


def test_encoders_that_cannot_be_trained_are_refused(tmp_path: Path) -> None:
    pairs, settings = toy_pairs(), AdaptationSettings()
    with pytest.raises(AdaptationError, match=r"packaged:multilingual .* no weights to train: set .*MODEL"):
        adapt(pairs, EmbeddingSettings(model="packaged:multilingual"), settings, tmp_path / "new", seed=0)
    chinese = Pairs([f"{word}降噪蓝牙耳机推荐" for word in "一二三四五六七八九十东南西北上下"], *toy_arrays())
    with pytest.raises(AdaptationError, match="packaged:multilingual"):
        adapt(chinese, EmbeddingSettings(), settings, tmp_path / "new", seed=0)
    base = tiny_models.llama(tmp_path / "t5")
    config = T5Config(vocab_size=320, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(base)
    with pytest.raises(AdaptationError, match="encoder-decoder"):
        adapt(pairs, settings_of(base), settings, tmp_path / "new", seed=0)
    assert not (tmp_path / "new").exists()


def toy_arrays() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    pairs = toy_pairs()
    return pairs.queries, pairs.positives, pairs.users


def test_a_folder_without_a_valid_record_is_refused(tmp_path: Path) -> None:
    base = tiny_models.llama(tmp_path)
    with pytest.raises(AdaptationError, match="duotempo adapt"):
        Adaptation.read(base)
    (base / "adaptation.json").write_text(json.dumps({"base": "x"}))
    with pytest.raises(AdaptationError, match="duotempo adapt"):
        Adaptation.read(base)
