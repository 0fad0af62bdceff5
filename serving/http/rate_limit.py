"""Token buckets in this process: how often a caller may ask, and how often about one user."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

MOST = 50_000
"""Buckets that are remembered; the one that was asked longest ago goes first, so that no flood of names grows them."""
DIGEST_BYTES = 16


class Buckets:
    """One bucket a name: `burst` requests at once, `rate` a second in the long run. A rate of 0 is no limit.

    Of a name only a digest is kept.
    """

    def __init__(self, rate: float, burst: int, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._most, self._clock = rate, float(burst), most, clock
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, name: str) -> float:
        """Takes a token: 0, or the seconds after which there is one."""
        if not self._rate:
            return 0.0
        now = self._clock()
        kept = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
        tokens, then = self._buckets.pop(kept, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        taken = tokens >= 1.0
        self._buckets[kept] = (tokens - taken, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1.0 - tokens) / self._rate
