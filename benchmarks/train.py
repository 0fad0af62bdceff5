"""`duotempo bench train`: training speed against RecTools' SASRec with the same model size, data and threads."""

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.beauty import measure_beauty
from benchmarks.doc_tables import table, write_between
from benchmarks.errors import BenchError
from benchmarks.provenance import ROOT, provenance
from benchmarks.result_cache import with_changes
from components.core.columns import Columns
from components.datasets.named import get
from components.datasets.sources import read_folder
from components.evaluation.offline import OfflineEvaluation
from components.fusion.validation import hold_out
from components.histories.sequences import WindowSampler, build_sequences
from components.settings import Settings

PAGE = ROOT / "docs" / "performance.md"
MARKER = "train"
PEERS = ROOT / ".venv-peers"
SCRIPT = Path(__file__).parent / "peers" / "sasrec.py"
DATASET, BEAUTY = "ml-100k", "amazon-beauty-2014"
TIMED_EPOCHS = 5
"""Epochs that are timed. One warm-up epoch comes before, and a last one, in which our model validates, after."""
EPOCHS = TIMED_EPOCHS + 2
SIZE = {
    "fusion.width": 128,
    "fusion.blocks": 2,
    "fusion.heads": 2,
    "fusion.window": 100,
    "fusion.batch_size": 128,
    "fusion.epochs": EPOCHS,
    "fusion.validate_every": EPOCHS,
}
"""Settings that both models share; both use the softmax loss over the whole catalogue."""


@dataclass(frozen=True)
class Speed:
    """Training speed of one model: median seconds per epoch, and sequences and targets per epoch."""

    seconds: float
    sequences: float
    targets: float

    @property
    def sequences_s(self) -> float:
        return self.sequences / self.seconds

    @property
    def targets_s(self) -> float:
        return self.targets / self.seconds


def run(settings: Settings, *, beauty: bool = False, page: Path = PAGE, peers: Path = PEERS) -> dict[str, float]:
    """Trains both models one after the other and writes the table into `page`.

    Args:
        beauty: Also measures memory and ranking on Amazon Beauty, see `measure_beauty`.
        page: The Markdown file that holds the markers.
        peers: The virtual environment of the peers.

    Returns:
        Sequences and targets per second of both models, and their ratios.

    Raises:
        BenchError: The peers' environment is missing, or SASRec fails.
        DatasetError: A dataset is not available.
    """
    if not (peers / "bin" / "python").is_file():
        raise BenchError("the peers' environment is missing: run `make peers`, then try again")
    shared_settings = with_changes(settings, SIZE)
    evaluation = OfflineEvaluation(read_folder(get(DATASET, settings)), "loo", shared_settings, show_progress=True)
    ours, theirs = time_ours(evaluation), time_sasrec(evaluation, peers)
    figures = compare(ours, theirs)
    if beauty:
        figures |= in_own_process(get(BEAUTY, settings), settings)
    write_between(page, MARKER, report(ours, theirs, figures, "train --beauty" if beauty else "train"))
    return figures


def time_ours(evaluation: OfflineEvaluation) -> Speed:
    """Times our own training, from the end of one epoch to the end of the next."""
    ends: list[float] = []
    settings = evaluation.settings
    evaluation.fit(settings, on_epoch=lambda progress: ends.append(time.perf_counter()))
    documents = evaluation.prepared.documents
    sequences = build_sequences(evaluation.split.train, evaluation.rows, settings.events, documents)
    training_sequences, _ = hold_out(sequences, len(evaluation.rows), documents, "last", settings.fusion.seed)
    sampler = WindowSampler(training_sequences, settings.fusion, settings.ranking.history)
    epochs = [[batch.targets for batch in sampler.epoch(np.random.default_rng(n))] for n in range(TIMED_EPOCHS)]
    counts = [(sum(map(len, epoch)), sum(int((targets >= 0).sum()) for targets in epoch)) for epoch in epochs]
    windows, targets = np.mean(counts, axis=0)
    return Speed(float(np.median(np.diff(ends)[:TIMED_EPOCHS])), float(windows), float(targets))


def time_sasrec(evaluation: OfflineEvaluation, peers: Path) -> Speed:
    """Times RecTools' SASRec on the same events with the same number of threads, in the environment `peers`."""
    fusion = evaluation.settings.fusion
    options = {
        "threads": torch.get_num_threads(),
        "epochs": EPOCHS,
        "accelerator": "gpu" if torch.cuda.is_available() else "cpu",
        "model": {
            "n_factors": fusion.width,
            "n_blocks": fusion.blocks,
            "n_heads": fusion.heads,
            "session_max_len": fusion.window,
            "batch_size": fusion.batch_size,
            "dropout_rate": fusion.dropout,
            "lr": fusion.learning_rate,
            "loss": "softmax",
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.parquet"
        evaluation.split.train[[Columns.USER, Columns.ITEM, Columns.TIMESTAMP]].to_parquet(events, index=False)
        command = [str(peers / "bin" / "python"), str(SCRIPT), str(events), json.dumps(options)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise BenchError(
            f"SASRec failed; run `make peers` again if its packages are the cause:\n{answer.stderr[-2000:]}"
        )
    measured = json.loads(answer.stdout.splitlines()[-1])
    return Speed(float(np.median(measured["seconds"][1:-1])), measured["sequences"], measured["targets"])


def in_own_process(folder: Path, settings: Settings) -> dict[str, float]:
    """Runs `measure_beauty` in a fresh process, so that the peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_beauty, folder, settings).result()


def compare(ours: Speed, theirs: Speed) -> dict[str, float]:
    """Rates of both models and their ratios by name; a ratio above one means that ours is faster."""
    return {
        "duotempo_sequences_s": ours.sequences_s,
        "sasrec_sequences_s": theirs.sequences_s,
        "ratio": ours.sequences_s / theirs.sequences_s,
        "duotempo_targets_s": ours.targets_s,
        "sasrec_targets_s": theirs.targets_s,
        "targets_ratio": ours.targets_s / theirs.targets_s,
    }


def report(ours: Speed, theirs: Speed, figures: dict[str, float], command: str) -> str:
    """The Markdown between the markers."""
    header = ["model", "seconds per epoch", "sequences per epoch", "sequences per second", "targets per second"]
    rows = [speed_row("duotempo", ours), speed_row("SASRec (RecTools)", theirs)]
    parts = [
        f"{provenance(command)} Threads: {torch.get_num_threads()}; median of {TIMED_EPOCHS} epochs.",
        table(header, rows),
        f"Ratio: **{figures['ratio']:.2f}** by sequences, {figures['targets_ratio']:.2f} by targets; above 1, duotempo "
        "is faster.",
    ]
    if "rank_beauty_s" in figures:
        parts.append(
            f"Amazon Beauty, default settings: all test users of loo ranked in {figures['rank_beauty_s']:.1f} s; peak "
            f"memory of the training {figures['beauty_peak_gb']:.2f} GB."
        )
    return "\n\n".join(parts)


def speed_row(name: str, speed: Speed) -> Sequence[str]:
    """The table row of a model."""
    rates = (f"{rate:,.0f}" for rate in (speed.sequences, speed.sequences_s, speed.targets_s))
    return [name, f"{speed.seconds:.2f}", *rates]
