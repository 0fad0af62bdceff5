"""`.venv-peers/bin/python -m benchmarks.peers.libraries`: nanoseconds per call of our own small components and of
libraries that do the same, as JSON."""

import json
import timeit
from collections.abc import Callable
from threading import RLock

import cachetools
import limits

from serving.http.rate_limit import TokenBuckets
from serving.recommend.user_cache import LruCache

CALLS, ROUNDS = 20_000, 9
NAMES = [f"user {number}" for number in range(1_000)]


def nanoseconds(call: Callable[[str], object]) -> float:
    """Nanoseconds per call, the best of several rounds."""

    def calls() -> None:
        for number in range(CALLS):
            call(NAMES[number % len(NAMES)])

    return 1e9 * min(timeit.repeat(calls, number=1, repeat=ROUNDS)) / CALLS


def rate_limits() -> dict[str, float]:
    """A rate limit check that never rejects."""
    window = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())
    limit = limits.parse("100000/minute")
    return {
        "own_limit_ns": nanoseconds(TokenBuckets(rate=1e6, burst=1_000_000).wait),
        "limits_ns": nanoseconds(lambda name: window.hit(limit, name)),
    }


def caches() -> dict[str, float]:
    """A thread-safe lookup in an LRU cache that holds all names."""
    own: LruCache[str, int] = LruCache(len(NAMES))
    library: cachetools.LRUCache[str, int] = cachetools.LRUCache(len(NAMES))
    lock = RLock()
    for name in NAMES:
        own.put(name, 1)
        library[name] = 1

    def get(name: str) -> int | None:
        with lock:
            return library.get(name)

    return {"own_cache_ns": nanoseconds(own.get), "cachetools_ns": nanoseconds(get)}


if __name__ == "__main__":
    print(json.dumps(rate_limits() | caches()))
