import logging
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.embedding.cache import SMALL_PARTS, Cache
from components.embedding.embed import embed
from components.embedding.encoder import make_encoder
from components.embedding.vectors import text_hash
from components.settings import EmbeddingSettings
from tests.support import tiny_models
from tests.support.waiting import eventually

CHINESE = ["降噪蓝牙耳机", "儿童积木玩具", "手冲咖啡壶", "加厚羽绒服"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingSettings:
    """A tiny decoder, about a millisecond per text; four texts per batch."""
    model = tiny_models.gpt2(tmp_path_factory.mktemp("model"))
    return EmbeddingSettings(model=str(model), pooling="last", max_length=48, batch_size=4)


def parts(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.parquet"))


def test_a_second_run_embeds_only_what_changed(settings: EmbeddingSettings, tmp_path: Path) -> None:
    texts = [f"lamp number {n}" for n in range(10)]
    first = embed(texts, settings, tmp_path / "cache", progress=False)
    again = embed(texts, settings, tmp_path / "cache", progress=False)
    changed = embed([*texts[:9], "a chair"], settings, tmp_path / "cache", progress=False)
    assert (first.computed, first.reused) == (10, 0)
    assert (again.computed, again.reused) == (0, 10)
    assert (changed.computed, changed.reused) == (1, 9)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    np.testing.assert_array_equal(first.vectors[:9], changed.vectors[:9])


def test_vectors_keep_the_order_of_texts_and_duplicates_are_embedded_once(
    settings: EmbeddingSettings, tmp_path: Path
) -> None:
    texts = ["a lamp", "", "a kettle that boils water", "a lamp", "  ", "a chair"]
    result = embed(texts, settings, tmp_path, progress=False)
    assert result.computed == 3
    assert not result.vectors[[1, 4]].any()
    np.testing.assert_array_equal(result.vectors[0], result.vectors[3])
    alone = make_encoder(settings)
    for row in (0, 2, 5):
        np.testing.assert_allclose(result.vectors[row], alone.encode([texts[row]])[0], atol=1e-5)


def test_nothing_to_embed(settings: EmbeddingSettings, tmp_path: Path) -> None:
    assert embed([], settings, tmp_path, progress=False).vectors.shape == (0, 32)
    assert embed([""], settings, tmp_path, progress=False).vectors.shape == (1, 32)


def test_settings_that_change_vectors_have_separate_caches(settings: EmbeddingSettings, tmp_path: Path) -> None:
    embed(["a lamp"], settings, tmp_path / "cache", progress=False)
    for change in ({"pooling": "mean"}, {"prefix": "query: "}, {"max_length": 8}, {"dtype": "bfloat16"}):
        other = settings.model_copy(update=change)
        assert embed(["a lamp"], other, tmp_path / "cache", progress=False).computed == 1
    same = settings.model_copy(update={"token_budget": 64, "batch_size": 1})
    assert embed(["a lamp"], same, tmp_path / "cache", progress=False).computed == 0


def test_a_damaged_part_is_logged_and_its_texts_are_embedded_again(
    settings: EmbeddingSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"lamp number {n}" for n in range(8)]
    first = embed(texts, settings, tmp_path, progress=False)
    damaged = parts(tmp_path)[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    second = embed(texts, settings, tmp_path, progress=False)
    assert (second.computed, second.reused) == (4, 4)
    np.testing.assert_allclose(first.vectors, second.vectors, atol=1e-5)
    assert damaged.name in caplog.text


def test_many_parts_are_merged_and_keep_every_vector(settings: EmbeddingSettings, tmp_path: Path) -> None:
    texts = [f"lamp number {n}" for n in range(4 * (SMALL_PARTS + 2))]
    first = embed(texts, settings, tmp_path, progress=False)
    assert len(parts(tmp_path)) == 1
    again = embed(texts, settings, tmp_path, progress=False)
    assert again.computed == 0
    np.testing.assert_array_equal(first.vectors, again.vectors)


def test_several_runs_share_a_cache_concurrently(settings: EmbeddingSettings, tmp_path: Path) -> None:
    cache = Cache(tmp_path, make_encoder(settings))
    hashes = [text_hash(str(n)) for n in range(400)]
    vectors = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32)

    def run(start: int) -> None:
        worker_cache = Cache(tmp_path, make_encoder(settings))
        for row in range(start, start + 200, 4):
            worker_cache.append(hashes[row : row + 4], vectors[row : row + 4])
            worker_cache.compact()
            vectors_read, is_cached = worker_cache.read(hashes[start : row + 4])
            assert is_cached.all()
            np.testing.assert_array_equal(vectors_read, vectors[start : row + 4])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, (0, 100, 200, 0)))
    vectors_read, is_cached = cache.read(hashes)
    assert is_cached.all()
    np.testing.assert_array_equal(vectors_read, vectors)


def test_a_killed_run_keeps_its_finished_batches(settings: EmbeddingSettings, tmp_path: Path) -> None:
    texts = [f"lamp number {n}" for n in range(10_000)]
    script = (
        "import sys; from pathlib import Path\n"
        "from components.embedding.embed import embed; from components.settings import EmbeddingSettings\n"
        "embed([f'lamp number {n}' for n in range(10_000)],"
        " EmbeddingSettings.model_validate_json(sys.argv[1]), Path(sys.argv[2]), progress=False)\n"
    )
    cache = tmp_path / "cache"
    run = subprocess.Popen([sys.executable, "-c", script, settings.model_dump_json(), str(cache)])
    eventually(lambda: len(parts(cache)) >= 3 or run.poll() is not None)
    run.kill()
    assert run.wait() == -signal.SIGKILL, "it ended before it could be killed"

    _, is_cached = Cache(cache, make_encoder(settings)).read([text_hash(text) for text in texts])
    kept = [text for text, there in zip(texts, is_cached, strict=True) if there]
    lost = [text for text, there in zip(texts, is_cached, strict=True) if not there]
    assert lost
    assert len(kept) == 4 * len(parts(cache)) >= 12
    resumed = embed([*kept, lost[0]], settings, cache, progress=False)
    assert (resumed.reused, resumed.computed) == (len(kept), 1)


def test_chinese_texts_go_to_the_multilingual_encoder_and_the_warning_names_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = embed(CHINESE, EmbeddingSettings(), tmp_path, progress=False)
    assert result.encoder.startswith("packaged:multilingual@")
    assert result.unknown_share < 0.1
    (warning,) = result.warnings
    for name in ("packaged:minilm", "packaged:multilingual", "%", "Qwen/Qwen3-Embedding-0.6B"):
        assert name in warning
    assert warning in caplog.text


def test_a_configured_model_is_kept_with_a_warning(tmp_path: Path) -> None:
    settings = EmbeddingSettings(model=str(tiny_models.bert(tmp_path / "model")))
    result = embed(CHINESE, settings, tmp_path / "cache", progress=False)
    assert result.encoder.startswith(f"{settings.model}@")
    assert result.unknown_share == 1
    assert len(result.warnings) == 1


def test_progress_shows_texts_per_second(
    settings: EmbeddingSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed(["a lamp", "a chair"], settings, tmp_path, progress=True)
    shown = capsys.readouterr()
    assert "2/2" in shown.err
    assert "texts/s" in shown.err
    assert not shown.out
