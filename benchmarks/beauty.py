"""Peak memory of training and ranking time on Amazon Beauty."""

import time
from pathlib import Path

from components.datasets.sources import read_folder
from components.evaluation.offline import OfflineEvaluation
from components.settings import Settings

STATUS = Path("/proc/self/status")


def measure_beauty(folder: Path, settings: Settings) -> dict[str, float]:
    """Trains on the dataset and ranks all test users of the leave-one-out split. Run it in a fresh process, on Linux.

    Returns:
        `beauty_peak_gb`: peak memory of this process (GB) up to the end of training, reading and embedding included;
        `rank_beauty_s`: ranking time in seconds.
    """
    evaluation = OfflineEvaluation(read_folder(folder), "loo", settings, show_progress=True)
    fitted = evaluation.fit(evaluation.settings)
    peak, started = peak_gb(), time.perf_counter()
    evaluation.rank(fitted.bundle)
    return {"beauty_peak_gb": peak, "rank_beauty_s": time.perf_counter() - started}


def peak_gb() -> float:
    """Peak resident memory of this process so far, in GB of 1e9 bytes.

    Reads VmHWM of Linux, not getrusage: a child inherits ru_maxrss from its parent.
    """
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kibibytes) * 1024 / 1e9
