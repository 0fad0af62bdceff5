"""Our own small components against libraries that do the same; docs/decisions explains why each is kept."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError
from benchmarks.load import Load, apply_load
from benchmarks.provenance import ROOT, provenance
from benchmarks.services import BENTO, UVICORN, service
from components.embedding.choose import locate
from components.embedding.transformers_encoder import TransformersEncoder
from components.settings import EmbeddingSettings, Settings

PAGE = ROOT / "docs" / "decisions" / "README.md"
MARKER = "own"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
CONNECTIONS, SECONDS, WARM_UP_SECONDS = 16, 6.0, 2.0
ROUNDS = 3
"""Runs of each, interleaved. The best one counts: other load on the machine can only slow a run down."""
TEXTS, MAX_DIFFERENCE = 1_000, 1e-5
WORDS = [f"{root}{end}" for root in ("river", "cook", "garden", "guitar", "story") for end in ("", "s", "ing")]
REQUESTS = [("/recommend", json.dumps({"user_id": "ann", "k": 10}))]
CONSTANT = """import bentoml
from benchmarks.peers.constant import ITEMS


@bentoml.service(name="constant", workers=1)
class Constant:
    @bentoml.api
    async def recommend(self, user_id: str, k: int) -> dict:
        return {"request_id": "0" * 32, "model_version": "1", "items": ITEMS}
"""
IMPORT_SCRIPT = "import time, psutil; began = time.perf_counter(); import {module}; print(time.perf_counter() - began,\
 psutil.Process().memory_full_info().uss)"


def run(_: Settings, page: Path = PAGE) -> dict[str, float]:
    """Runs the bench, writes the table into `page` and returns the figures.

    Raises BenchError without `make peers`, or when a service fails.
    """
    if not PEERS.is_file():
        raise BenchError("the libraries are not installed: `make peers` first")
    done = subprocess.run(
        [PEERS, "-m", "benchmarks.peers.libraries"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    for name, module in (
        ("own_rows", "components.arrays.sparse"),
        ("scipy", "scipy.sparse"),
        ("own_encoder", "components.embedding.transformers_encoder"),
        ("library_encoder", "sentence_transformers"),
    ):
        figures |= dict(zip((f"{name}_s", f"{name}_mb"), import_cost(module), strict=True))
    figures |= encoding_rates() | request_rates()
    write_between(page, MARKER, report(figures))
    return figures


def import_cost(module: str) -> tuple[float, float]:
    """Seconds and MB (unique set size) of importing a module in a fresh process, the best of several runs."""
    command = [sys.executable, "-c", f"import numpy; {IMPORT_SCRIPT.format(module=module)}"]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(2 * ROUNDS)]
    seconds, memory = zip(*(map(float, run.stdout.split()) for run in runs), strict=True)
    return min(seconds), min(memory) / 1e6


def encoding_rates() -> dict[str, float]:
    """Texts per second of our encoder and of sentence-transformers: the same model and threads, own batches each."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    random = np.random.default_rng(0)
    lengths = random.lognormal(2.5, 0.9, TEXTS).astype(int) + 1
    texts = [" ".join(random.choice(WORDS, length)) for length in lengths]
    settings = EmbeddingSettings()
    ours = TransformersEncoder(settings, "cpu")
    transformer = Transformer(locate(settings.model, settings.revision).path, max_seq_length=ours.max_length)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    library = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    runs = {
        "own_encoder_tps": lambda: ours.encode(texts),
        "library_encoder_tps": lambda: library.encode(texts, show_progress_bar=False, convert_to_numpy=True),
    }
    difference = np.abs(np.subtract(*(encode() for encode in runs.values()))).max()
    if difference > MAX_DIFFERENCE:
        raise BenchError(f"the encoders differ by {difference:.1e}: they do not read the texts alike")
    rates = dict.fromkeys(runs, 0.0)
    for _ in tqdm(range(ROUNDS), desc="encoders"):
        for name, encode in runs.items():
            began = time.perf_counter()
            encode()
            rates[name] = max(rates[name], TEXTS / (time.perf_counter() - began))
    return rates


def request_rates() -> dict[str, float]:
    """Requests per second of a constant response: plain uvicorn, one write per response, and BentoML's own app."""
    best: dict[str, Load] = {}
    with tempfile.TemporaryDirectory(prefix="duotempo-bench-") as folder:
        (Path(folder) / "constant.py").write_text(CONSTANT, encoding="utf-8")
        commands = {
            "two_writes": (*UVICORN, "{port}", "benchmarks.peers.constant:app"),
            "one_write": ("-m", "benchmarks.peers.coalesced", "{port}"),
            "bentoml": (*BENTO, "{port}", "constant:Constant", "--working-dir", folder),
        }
        for _ in tqdm(range(ROUNDS), desc="own"):
            for name, command in commands.items():
                with service(command) as (port, _):
                    apply_load(port, REQUESTS, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
                    load = apply_load(port, REQUESTS, connections=CONNECTIONS, seconds=SECONDS)
                if load.failed:
                    raise BenchError(f"{load.failed} of {load.done} requests to {command[-1]} failed")
                best[name] = max(best.get(name, load), load, key=lambda load: load.rate)
    return {f"{name}_rps": load.rate for name, load in best.items()}


def report(figures: dict[str, float]) -> str:
    def row(what: str, own: str, other: str, unit: str) -> list[str]:
        return [
            what,
            *(f"{value:,.{0 if value >= 100 else 4}f} {unit}".strip() for value in (figures[own], figures[other])),
        ]

    rows = [
        row("rate limit check; `limits`, in memory", "own_limit_ns", "limits_ns", "ns"),
        row("LRU cache lookup; `cachetools`", "own_cache_ns", "cachetools_ns", "ns"),
        row("sparse rows: import time; `scipy.sparse`", "own_rows_s", "scipy_s", "s"),
        row("sparse rows: memory with numpy; `scipy.sparse`", "own_rows_mb", "scipy_mb", "MB"),
        row("texts encoded per second; `sentence-transformers`", "own_encoder_tps", "library_encoder_tps", ""),
        row("the encoder: import time; `sentence-transformers`", "own_encoder_s", "library_encoder_s", "s"),
        row("the encoder: memory with numpy; `sentence-transformers`", "own_encoder_mb", "library_encoder_mb", "MB"),
        row("requests per second, a constant, in one write; in uvicorn's two", "one_write_rps", "two_writes_rps", ""),
        row("the same, by our app in a worker; by BentoML's own routes", "two_writes_rps", "bentoml_rps", ""),
    ]
    note = f"{CONNECTIONS} connections, the best of {ROUNDS} runs of {SECONDS:.0f} s."
    return f"{provenance('own')} {note}\n\n{table(['what; compared with', 'ours', 'the library'], rows)}"
