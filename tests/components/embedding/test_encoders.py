import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from components.embedding.encoder import Encoder, EncoderError, make_encoder
from components.settings import EmbeddingSettings
from tests.support import tiny_models

TEXTS = ["a warm lamp", "a chair", "a kettle that boils water for the desk and the chair", "the wooden desk"]
POOLINGS: list[Literal["mean", "cls", "last"]] = ["mean", "cls", "last"]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return make_encoder(EmbeddingSettings())


def test_minilm_ranks_similar_texts_higher(minilm: Encoder) -> None:
    sofa, couch, tax = minilm.encode(["a comfortable sofa", "a cozy couch", "tax law for beginners"])
    assert sofa @ couch > 0.6 > 0.2 > sofa @ tax
    assert minilm.dimension == len(sofa) == 384


def test_a_vector_does_not_depend_on_the_batch(minilm: Encoder) -> None:
    together = minilm.encode(TEXTS)
    alone = np.concatenate([minilm.encode([text]) for text in TEXTS])
    small = make_encoder(EmbeddingSettings(token_budget=16, batch_size=2)).encode(TEXTS)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, small, atol=1e-5)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)


def test_minilm_reads_english_but_not_chinese(minilm: Encoder) -> None:
    assert minilm.unknown_share(TEXTS) == 0
    assert minilm.unknown_share(["降噪蓝牙耳机推荐"]) > 0.5


def test_multilingual_aligns_chinese_and_english() -> None:
    encoder = make_encoder(EmbeddingSettings(model="packaged:multilingual"))
    headphones, toy, english = encoder.encode(["降噪蓝牙耳机", "儿童积木玩具", "noise cancelling headphones"])
    assert headphones @ english > 0.5 > 0.3 > headphones @ toy
    assert encoder.unknown_share(["降噪蓝牙耳机推荐", "headphones"]) < 0.05
    assert encoder.unknown_share(["ꙮꙮꙮ"]) > 0.4


@pytest.mark.parametrize("model", ["packaged:minilm", "packaged:multilingual"])
def test_texts_are_truncated_and_prefixed(model: str) -> None:
    plain = make_encoder(EmbeddingSettings(model=model, max_length=9))
    led = make_encoder(EmbeddingSettings(model=model, max_length=9, prefix="query: "))
    long_text = "a lamp for a desk in a room of a house with a garden"
    cut, longer = plain.encode([long_text, long_text + " near the sea"])
    np.testing.assert_allclose(cut, longer, atol=1e-5)
    np.testing.assert_allclose(led.encode(["a lamp"]), plain.encode(["query: a lamp"]), atol=1e-5)


@pytest.mark.parametrize("make", [tiny_models.gpt2, tiny_models.llama])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_decoder_vectors_do_not_depend_on_the_padding_side(
    make: Callable[..., Path], pooling: Literal["mean", "cls", "last"], tmp_path: Path
) -> None:
    def encoder(side: str) -> Encoder:
        folder = make(tmp_path / side, side)
        return make_encoder(EmbeddingSettings(model=str(folder), pooling=pooling, max_length=48))

    left, right = encoder("left"), encoder("right")
    together = right.encode(TEXTS)
    np.testing.assert_allclose(together, left.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([right.encode([text]) for text in TEXTS]), atol=1e-5)
    assert right.unknown_share(["一把木椅", "ꙮ"]) == 0


def test_a_text_without_tokens_has_a_zero_vector(tmp_path: Path) -> None:
    encoder = make_encoder(EmbeddingSettings(model=str(tiny_models.gpt2(tmp_path)), pooling="last", max_length=48))
    assert not encoder.encode([""]).any()
    assert encoder.encode(["a lamp", ""]).any(axis=1).tolist() == [True, False]


def test_poolings_of_an_encoder_differ(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    vectors = [make_encoder(EmbeddingSettings(model=str(folder), pooling=p)).encode(TEXTS) for p in POOLINGS]
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(vectors, vectors[1:] + vectors[:1], strict=True))
    assert make_encoder(EmbeddingSettings(model=str(folder))).unknown_share(["a lamp", "一把木椅"]) == pytest.approx(
        1 / 3
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(dtype: Literal["bfloat16", "float16"], tmp_path: Path) -> None:
    model = str(tiny_models.bert(tmp_path))
    half = make_encoder(EmbeddingSettings(model=model, dtype=dtype)).encode(TEXTS)
    full = make_encoder(EmbeddingSettings(model=model)).encode(TEXTS)
    assert half.dtype == np.float32
    assert (np.sum(half * full, axis=1) > 0.99).all()


def test_max_length_is_limited_by_the_models_positions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = make_encoder(EmbeddingSettings(model=str(tiny_models.bert(tmp_path)), max_length=4096))
    assert encoder.max_length == tiny_models.POSITIONS
    assert "reads at most 64 tokens" in caplog.text
    assert encoder.encode(["lamp " * 500]).any()


def test_a_changed_folder_has_another_revision(tmp_path: Path) -> None:
    settings = EmbeddingSettings(model=str(tiny_models.bert(tmp_path)))
    before = make_encoder(settings)
    assert make_encoder(settings).identity == before.identity
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + "\n")
    assert make_encoder(settings).identity != before.identity


@pytest.mark.parametrize(
    ("model", "fix"),
    [
        ("packaged:klingon", "packaged:multilingual"),
        ("duotempo-nobody/no-such-model", "packaged:minilm"),
        ("not/a/hub/id", "packaged:minilm"),
    ],
)
def test_an_unknown_model_error_says_how_to_fix_it(model: str, fix: str) -> None:
    with pytest.raises(EncoderError, match=model) as error:
        make_encoder(EmbeddingSettings(model=model))
    assert fix in str(error.value)


def test_a_damaged_model_is_an_error(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    (folder / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        make_encoder(EmbeddingSettings(model=str(folder)))


def test_truncated_weights_are_an_error(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        make_encoder(EmbeddingSettings(model=str(folder))).encode(["a lamp"])


def test_offline_a_cached_model_is_used_and_another_is_refused(tmp_path: Path) -> None:
    cached = tmp_path / "models--shop--tiny"
    tiny_models.bert(tmp_path / "made")
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("c0ffee")
    shutil.copytree(tmp_path / "made", cached / "snapshots" / "c0ffee")
    script = (
        "from components.embedding.encoder import make_encoder, EncoderError\n"
        "from components.settings import EmbeddingSettings\n"
        "encoder = make_encoder(EmbeddingSettings(model='shop/tiny'))\n"
        "print(encoder.name, encoder.revision, encoder.encode(['a lamp']).shape)\n"
        "try:\n"
        "    make_encoder(EmbeddingSettings(model='shop/other'))\n"
        "except EncoderError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    served, refused = ran.stdout.splitlines()[:2]
    assert served == "shop/tiny c0ffee (1, 32)"
    assert "shop/other" in refused
    assert "HF_HUB_OFFLINE=0" in ran.stdout
