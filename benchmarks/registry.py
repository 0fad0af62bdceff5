"""The benches by name. To add one, write a module with `run(settings, **options)` and an entry in BENCHES."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.errors import BenchError
from benchmarks.provenance import commit, machine
from components.settings import Settings


@dataclass(frozen=True)
class Bench:
    """What a bench measures, and the option names of its `run`."""

    measures: str
    options: tuple[str, ...] = ()


BENCHES = {
    "quality": Bench("Duotempo against its peers on public datasets, into docs/quality.md", ("dataset",)),
    "ablation": Bench("ablation of each component, into docs/quality.md", ("dataset", "split", "seeds", "fusion")),
    "train": Bench("training speed against RecTools' SASRec, into docs/performance.md", ("beauty",)),
    "deploy": Bench("duration of a promotion, a rollback and an unchanged retraining, into docs/performance.md"),
    "serve": Bench("throughput, latency and start-up time against peers, into docs/performance.md"),
    "feedback": Bench("feedback rows per second against a bare COPY, into docs/performance.md"),
    "ingest": Bench("`ingest` against a bare COPY of the same rows, its memory, into docs/performance.md", ("rows",)),
    "soak": Bench("memory over an hour's requests, into docs/reliability.md"),
    "idle": Bench("CPU and memory of an idle platform, by program, into docs/performance.md"),
    "own": Bench("our own small components against libraries that do the same, into docs/decisions/README.md"),
    "retrieval": Bench("a million items against ten thousand, into docs/performance.md"),
}


def run(name: str, settings: Settings, **options: Any) -> dict[str, Any]:
    """Runs the bench `benchmarks.NAME`; returns `{"bench", "commit", "machine", "figures": {name: number}}`.

    Raises BenchError for an unknown name, or an option that this bench does not take.
    """
    if name not in BENCHES:
        raise BenchError(f"no bench named {name!r}: there are {', '.join(BENCHES)}")
    if unsupported := [option for option in options if option not in BENCHES[name].options]:
        supported = ", ".join(f"--{option}" for option in BENCHES[name].options) or "no option"
        raise BenchError(f"the bench {name} takes {supported}, not --{unsupported[0]}")
    figures = import_module(f"benchmarks.{name}").run(settings, **options)
    return {"bench": name, "commit": commit(), "machine": machine(), "figures": figures}
