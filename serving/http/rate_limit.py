"""In-process rate limits: token buckets per caller and per user, and hourly feedback quotas per caller.

The quotas keep a single key from dominating the data of the next training.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

MAX_BUCKETS = 50_000
"""Buckets in memory; the least recently used is evicted, so that a flood of names cannot grow them."""
DIGEST_BYTES = 16
HOUR = 3600.0
MAX_CALLERS = 256
"""Callers in memory; the one whose hour started first is evicted."""
BITS_PER_ID = 32
"""Bits of the filter per id, before rounding up to a power of two."""


class TokenBuckets:
    """Token buckets by name; only a digest of each name is kept.

    Args:
        rate: Tokens added per second; 0 means no limit.
        burst: Capacity of a bucket.
        max_buckets: Buckets in memory; the least recently used is evicted.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, rate: float, burst: int, max_buckets: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._max_buckets, self._clock = rate, float(burst), max_buckets, clock
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, name: str) -> float:
        """Takes a token and returns 0, or returns the seconds until one is available."""
        if not self._rate:
            return 0.0
        now = self._clock()
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
        tokens, updated_at = self._buckets.pop(digest, (self._burst, now))
        tokens = min(self._burst, tokens + (now - updated_at) * self._rate)
        taken = tokens >= 1.0
        self._buckets[digest] = (tokens - taken, now)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1.0 - tokens) / self._rate


class Exceeded(NamedTuple):
    """An exceeded quota.

    Attributes:
        what: `events`, `users` or `items`.
        limit: The quota.
        seconds: Until the caller's next hour starts.
    """

    what: str
    limit: int
    seconds: float


class Distinct:
    """Counts distinct ids up to `limit`, approximately, in a bitmap of 32 to 64 bits per id.

    Each id sets the bit of its hash. At most one id in thirty collides with another and is not counted. Python salts
    string hashes per process, so that callers cannot construct collisions.
    """

    def __init__(self, limit: int) -> None:
        bits = 1 << (BITS_PER_ID * limit).bit_length()
        self._mask = bits - 1
        self._set_bits = bytearray(bits // 8)
        self._room = limit

    def add(self, ids: Collection[str]) -> bool:
        """Counts the new ids and returns True; returns False and counts none if they exceed the limit."""
        mask, set_bits = self._mask, self._set_bits
        bits = {hash(each) & mask for each in ids}
        new = [bit for bit in bits if not set_bits[bit >> 3] >> (bit & 7) & 1]
        if len(new) > self._room:
            return False
        for bit in new:
            set_bits[bit >> 3] |= 1 << (bit & 7)
        self._room -= len(new)
        return True


class _Usage:
    """One caller's feedback in the current hour."""

    def __init__(self, until: float, limits: dict[str, int]) -> None:
        self.until = until
        self.events = 0
        self.distinct = {what: Distinct(limit) for what, limit in limits.items() if limit}


class Quotas:
    """Hourly feedback quotas by caller. Not thread-safe.

    An hour starts with the caller's first feedback. Events, distinct users and distinct items are limited; 0 means no
    limit.
    """

    def __init__(self, events: int, users: int, items: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._limits = {"users": users, "items": items}
        self._clock = clock
        self._usage: OrderedDict[str, _Usage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._usage)

    def exceeded(self, caller: str, users: Sequence[str], items: Sequence[str]) -> Exceeded | None:
        """Counts a batch of events, given by their users and items; or returns the quota that it exceeds."""
        now = self._clock()
        usage = self._usage.get(caller)
        if usage is None or now >= usage.until:
            usage = self._start_hour(caller, now)
        ids_of = {"users": users, "items": items}
        if self._events and usage.events + len(users) > self._events:
            return Exceeded("events", self._events, usage.until - now)
        for what, distinct in usage.distinct.items():
            if not distinct.add(ids_of[what]):
                return Exceeded(what, self._limits[what], usage.until - now)
        usage.events += len(users)
        return None

    def _start_hour(self, caller: str, now: float) -> _Usage:
        self._usage.pop(caller, None)
        self._usage[caller] = usage = _Usage(now + HOUR, self._limits)
        if len(self._usage) > MAX_CALLERS:
            self._usage.popitem(last=False)
        return usage
