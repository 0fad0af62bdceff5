"""Peak memory of a platform's processes and this one together."""

import threading

import psutil

from infra.processes.orphans import tagged_processes

PAUSE_SECONDS = 1.0


class PeakMemory:
    """Samples memory in a thread, once a second: proportional set size where the system reports it, else RSS."""

    def __init__(self, home_id: str) -> None:
        self._home_id = home_id
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stops sampling and returns the peak in bytes."""
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(PAUSE_SECONDS):
            self._peak = max(self._peak, sum(map(memory_bytes, [psutil.Process(), *tagged_processes(self._home_id)])))


def memory_bytes(process: psutil.Process) -> int:
    """Memory of a process in bytes, shared pages divided among their users; 0 if it has just ended."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
