"""Token buckets in this process: how often a caller may ask, how often about one user, and how much a caller may tell
within an hour, so that no key alone decides what the next training learns."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

MOST = 50_000
"""Buckets that are remembered; the one that was asked longest ago goes first, so that no flood of names grows them."""
DIGEST_BYTES = 16
HOUR = 3600.0
MOST_CALLERS = 256
"""Callers that are remembered; whoever began to tell longest ago goes first."""
PLACES = 32
"""Bits for each text that may come, before the number is made a power of two."""


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


class Exceeded(NamedTuple):
    """what: `events`, `users` or `items`, of which `most` may be told; seconds: until the caller's next hour."""

    what: str
    most: int
    seconds: float


class Distinct:
    """Counts different texts up to `most`, in some 32 to 64 bits for each.

    Each has a place by its hash, and one in thirty or fewer shares it with another and passes for that. Python salts
    the hashes of a process, so nobody can choose such texts.
    """

    def __init__(self, most: int) -> None:
        places = 1 << (PLACES * most).bit_length()
        self._mask = places - 1
        self._taken = bytearray(places // 8)
        self._left = most

    def add(self, texts: Collection[str]) -> bool:
        """Whether there was room for those that are new; else none is counted."""
        mask, taken = self._mask, self._taken
        places = {hash(text) & mask for text in texts}
        new = [place for place in places if not taken[place >> 3] >> (place & 7) & 1]
        if len(new) > self._left:
            return False
        for place in new:
            taken[place >> 3] |= 1 << (place & 7)
        self._left -= len(new)
        return True


class _Hour:
    """What one caller has told since the hour began."""

    def __init__(self, until: float, limits: dict[str, int]) -> None:
        self.until = until
        self.events = 0
        self.distinct = {what: Distinct(most) for what, most in limits.items() if most}


class Quotas:
    """Each caller's hour begins with what they tell first. A limit of 0 is none. To be asked from one thread."""

    def __init__(self, events: int, users: int, items: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._limits = {"users": users, "items": items}
        self._clock = clock
        self._hours: OrderedDict[str, _Hour] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hours)

    def exceeded(self, caller: str, users: Sequence[str], items: Sequence[str]) -> Exceeded | None:
        """Counts events, the users and the items of which are told; or says what of them is too much."""
        now = self._clock()
        hour = self._hours.get(caller)
        if hour is None or now >= hour.until:
            hour = self._begin(caller, now)
        told = {"users": users, "items": items}
        if self._events and hour.events + len(users) > self._events:
            return Exceeded("events", self._events, hour.until - now)
        for what, distinct in hour.distinct.items():
            if not distinct.add(told[what]):
                return Exceeded(what, self._limits[what], hour.until - now)
        hour.events += len(users)
        return None

    def _begin(self, caller: str, now: float) -> _Hour:
        self._hours.pop(caller, None)
        self._hours[caller] = hour = _Hour(now + HOUR, self._limits)
        if len(self._hours) > MOST_CALLERS:
            self._hours.popitem(last=False)
        return hour
