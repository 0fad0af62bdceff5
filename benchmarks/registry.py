"""The benches by name. A new one is a module with `run(settings, **options)` and a line in BENCHES."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.errors import BenchError
from benchmarks.provenance import commit, machine
from components.settings import Settings


@dataclass(frozen=True)
class Bench:
    """What a bench measures, and the names of the options that its `run` takes."""

    measures: str
    options: tuple[str, ...] = ()


BENCHES = {
    "quality": Bench("the product beside its peers on public datasets, into docs/quality.md", ("dataset",)),
    "ablation": Bench(
        "what each part of the product is worth, into docs/quality.md", ("dataset", "split", "seeds", "fusion")
    ),
    "train": Bench("training speed beside RecTools' SASRec, into docs/performance.md", ("beauty",)),
    "deploy": Bench("a promotion, a rollback and an unchanged retraining, into docs/performance.md"),
    "serve": Bench("requests a second, their times and the start, beside peers, into docs/performance.md"),
    "feedback": Bench("rows of feedback a second, beside a bare COPY, into docs/performance.md"),
    "soak": Bench("memory over an hour's requests, into docs/reliability.md"),
    "idle": Bench("what a platform costs that nobody asks, by program, into docs/performance.md"),
    "own": Bench("our own small parts beside the libraries that do the same, into docs/decisions/README.md"),
    "retrieval": Bench("a million items beside ten thousand, into docs/performance.md"),
}


def run(name: str, settings: Settings, **options: Any) -> dict[str, Any]:
    """{"bench", "commit", "machine", "figures": {name: number}} of a bench, `benchmarks.NAME`.

    Raises BenchError for an unknown name, or an option that this bench does not take.
    """
    if name not in BENCHES:
        raise BenchError(f"no bench named {name!r}: there are {', '.join(BENCHES)}")
    if foreign := [option for option in options if option not in BENCHES[name].options]:
        known = ", ".join(f"--{option}" for option in BENCHES[name].options) or "no option"
        raise BenchError(f"the bench {name} takes {known}, not --{foreign[0]}")
    figures = import_module(f"benchmarks.{name}").run(settings, **options)
    return {"bench": name, "commit": commit(), "machine": machine(), "figures": figures}
