"""Waiting for conditions."""

import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import URLError


def wait_for_url(url: str, server: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    """Waits until `url` answers 200; raises RuntimeError if `server` ends, TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"the server of {url} ended with {server.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer within {seconds} s")


def eventually(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    """Polls `condition` with increasing intervals and returns its first true value; fails after `seconds`."""
    start = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - start
        assert waited < seconds, f"{condition} did not come true in {seconds:.0f} s"
        time.sleep(min(0.05 + waited / 20, 0.5))
    return value
