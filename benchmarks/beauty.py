"""Memory of the training and speed of the ranking at the size of Amazon Beauty."""

import time
from pathlib import Path

from components.datasets.sources import read_folder
from components.evaluation.offline import OfflineEvaluation
from components.settings import Settings

STATUS = Path("/proc/self/status")


def measure_beauty(folder: Path, settings: Settings) -> dict[str, float]:
    """beauty_peak_gb: the most memory of this process up to the end of the training, reading and embedding included;
    rank_beauty_s: seconds in which all test users of loo are ranked. Call it in a process of its own, on Linux."""
    evaluation = OfflineEvaluation(read_folder(folder), "loo", settings, show_progress=True)
    fitted = evaluation.fit(evaluation.settings)
    peak, began = peak_gb(), time.perf_counter()
    evaluation.rank(fitted.bundle)
    return {"beauty_peak_gb": peak, "rank_beauty_s": time.perf_counter() - began}


def peak_gb() -> float:
    """Largest resident size of this process so far, in GB of 1e9 bytes.

    VmHWM of Linux and not getrusage, whose ru_maxrss a child takes over from the parent that started it.
    """
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kibibytes) * 1024 / 1e9
