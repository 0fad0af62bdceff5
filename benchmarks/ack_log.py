"""Callers that tell and ask a service without a pause, and a ledger of what it has acknowledged."""

import random
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import httpx
import psycopg

CALLERS, A_SECOND = 4, 20
"""Callers, and what each of them asks a second; one request in ten is feedback, of five events."""
EVENTS = 5
ANSWER_SECONDS = 60.0
AGAIN_SECONDS = 0.25
"""Until feedback that failed is told again."""
HOSTILE: list[dict[str, object]] = [
    {"user_id": b64encode(bytes(range(256)) * 9).decode(), "item_id": "item-0", "event": "view"},
    {"user_id": "hostile\x00", "item_id": "item-0", "event": "view"},
    {"user_id": "hostile", "item_id": "\\" * 5000, "event": "view"},
    {"user_id": "hostile", "item_id": "nowhere", "event": "click"},
    {"user_id": "hostile", "item_id": "item-0", "event": "rating", "value": 1e308},
    {"user_id": "hostile", "item_id": "item-0", "event": "view", "timestamp": "1970-01-01"},
]
"""Rows that are no fault of Postgres: each is rejected, and costs the others nothing."""


@dataclass
class Ledger:
    """events: the ids that were acknowledged. seen: requests by what came of them."""

    events: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    """All ids that were sent."""
    seen: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    """Seconds at most in which one caller was refused or not answered, from the first such request to an answer."""
    _refused_since: float | None = None

    def note(self, path: str, *, answered: bool, began: float, now: float) -> None:
        """began, now: seconds of a request's begin and end."""
        self.seen[f"{path} {'answered' if answered else 'failed'}"] += 1
        if answered and self._refused_since is not None:
            self.longest, self._refused_since = max(self.longest, now - self._refused_since), None
        elif not answered and self._refused_since is None:
            self._refused_since = began

    def check(self, url: str) -> tuple[int, int]:
        """How many acknowledged events are not in Postgres, and how many events are there more than once."""
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT event_id FROM events WHERE event_id = ANY(%s)", [list(self.told)])
            stored = [event_id for (event_id,) in rows]
        return len(self.events - set(stored)), len(stored) - len(set(stored))


@contextmanager
def callers(url: str, users: Sequence[str], items: Sequence[str]) -> Iterator[Ledger]:
    """Callers in threads, each with its own ledger, until the end of the context; feedback that failed is told again,
    with the same event_id, as an honest client does."""
    ledger, over = Ledger(), Event()
    ledgers = [Ledger() for _ in range(CALLERS)]
    threads = [Thread(target=_call, args=(n, url, users, items, own, over)) for n, own in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for own in ledgers:
            ledger.events |= own.events
            ledger.told |= own.told
            ledger.seen += own.seen
            ledger.longest = max(ledger.longest, own.longest)


def _call(number: int, url: str, users: Sequence[str], items: Sequence[str], ledger: Ledger, over: Event) -> None:
    drawn = random.Random(number)
    again: list[dict[str, object]] = []
    with httpx.Client(base_url=url, timeout=ANSWER_SECONDS) as client:
        while not over.wait(1 / A_SECOND):
            user = drawn.choice(users)
            if not again and drawn.random() >= 0.1:
                _ask(client, ledger, "/recommend", {"user_id": user, "k": 10})
                continue
            events = again or [
                _event(user, drawn.choice(items), f"{number}-{time.time_ns()}-{n}") for n in range(EVENTS)
            ]
            names = [str(event["event_id"]) for event in events]
            ledger.told.update(names)
            hostile = [] if again else [drawn.choice(HOSTILE) for _ in range(drawn.randint(0, 2))]
            if answer := _ask(client, ledger, "/feedback", {"events": [*events, *hostile]}):
                rejected = {one["index"] for one in answer["rejected"]}
                ledger.events.update(name for place, name in enumerate(names) if place not in rejected)
                ledger.seen["hostile"] += len(hostile)
                ledger.seen["spooled"] += answer["spooled"]
                again = []
            else:
                again = events
                over.wait(AGAIN_SECONDS)


def _event(user: str, item: str, event_id: str) -> dict[str, object]:
    return {"event_id": event_id, "user_id": user, "item_id": item, "event": "click"}


def _ask(client: httpx.Client, ledger: Ledger, path: str, body: dict[str, object]) -> dict[str, Any] | None:
    began, answer = time.monotonic(), None
    with suppress(httpx.HTTPError):
        answer = client.post(path, json=body)
    answered = answer is not None and answer.is_success
    ledger.note(path, answered=answered, began=began, now=time.monotonic())
    return dict(answer.json()) if answer is not None and answered else None
