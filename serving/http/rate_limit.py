"""Token buckets in this process: how often a caller may ask, how often about one user, and how much a caller may tell
within an hour, so that no key alone decides what the next training learns."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

MAX_BUCKETS = 50_000
"""Buckets that are remembered; the one that was asked longest ago goes first, so that no flood of names grows them."""
DIGEST_BYTES = 16
HOUR = 3600.0
MAX_CALLERS = 256
"""Callers that are remembered; whoever began to tell longest ago goes first."""
BITS_PER_ID = 32
"""Bits for each text that may come, before the number is made a power of two."""


class Buckets:
    """One bucket a name: `burst` requests at once, `rate` a second in the long run. A rate of 0 is no limit.

    Of a name only a digest is kept.
    """

    def __init__(
        self, rate: float, burst: int, max_buckets: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._max_buckets, self._clock = rate, float(burst), max_buckets, clock
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, name: str) -> float:
        """Takes a token: 0, or the seconds after which there is one."""
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
    """what: `events`, `users` or `items`, of which `most` may be told; seconds: until the caller's next hour."""

    what: str
    limit: int
    seconds: float


class Distinct:
    """Counts different texts up to `most`, in some 32 to 64 bits for each.

    Each has a place by its hash, and one in thirty or fewer shares it with another and passes for that. Python salts
    the hashes of a process, so nobody can choose such texts.
    """

    def __init__(self, limit: int) -> None:
        bits = 1 << (BITS_PER_ID * limit).bit_length()
        self._mask = bits - 1
        self._set_bits = bytearray(bits // 8)
        self._room = limit

    def add(self, ids: Collection[str]) -> bool:
        """Whether there was room for those that are new; else none is counted."""
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
    """What one caller has told since the hour began."""

    def __init__(self, until: float, limits: dict[str, int]) -> None:
        self.until = until
        self.events = 0
        self.distinct = {what: Distinct(limit) for what, limit in limits.items() if limit}


class Quotas:
    """Each caller's hour begins with what they tell first. A limit of 0 is none. To be asked from one thread."""

    def __init__(self, events: int, users: int, items: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._limits = {"users": users, "items": items}
        self._clock = clock
        self._usage: OrderedDict[str, _Usage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._usage)

    def exceeded(self, caller: str, users: Sequence[str], items: Sequence[str]) -> Exceeded | None:
        """Counts events, the users and the items of which are told; or says what of them is too much."""
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
