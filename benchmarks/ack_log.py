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

CLIENTS, REQUESTS_PER_SECOND = 4, 20
"""Callers, and what each of them asks a second; one request in ten is feedback, of five events."""
EVENTS = 5
TIMEOUT_SECONDS = 60.0
RETRY_SECONDS = 0.25
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
class AckLog:
    """events: the ids that were acknowledged. seen: requests by what came of them."""

    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    """All ids that were sent."""
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_outage: float = 0.0
    """Seconds at most in which one caller was refused or not answered, from the first such request to an answer."""
    _refused_since: float | None = None

    def record(self, path: str, *, answered: bool, began: float, now: float) -> None:
        """began, now: seconds of a request's begin and end."""
        self.outcomes[f"{path} {'answered' if answered else 'failed'}"] += 1
        if answered and self._refused_since is not None:
            self.longest_outage, self._refused_since = max(self.longest_outage, now - self._refused_since), None
        elif not answered and self._refused_since is None:
            self._refused_since = began

    def compare_with_database(self, url: str) -> tuple[int, int]:
        """How many acknowledged events are not in Postgres, and how many events are there more than once."""
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT event_id FROM events WHERE event_id = ANY(%s)", [list(self.sent)])
            stored = [event_id for (event_id,) in rows]
        return len(self.acknowledged - set(stored)), len(stored) - len(set(stored))


@contextmanager
def logged_clients(url: str, users: Sequence[str], items: Sequence[str]) -> Iterator[AckLog]:
    """Callers in threads, each with its own ledger, until the end of the context; feedback that failed is told again,
    with the same event_id, as an honest client does."""
    log, stop = AckLog(), Event()
    client_logs = [AckLog() for _ in range(CLIENTS)]
    threads = [
        Thread(target=_run_client, args=(n, url, users, items, client_log, stop))
        for n, client_log in enumerate(client_logs)
    ]
    for thread in threads:
        thread.start()
    try:
        yield log
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for client_log in client_logs:
            log.acknowledged |= client_log.acknowledged
            log.sent |= client_log.sent
            log.outcomes += client_log.outcomes
            log.longest_outage = max(log.longest_outage, client_log.longest_outage)


def _run_client(number: int, url: str, users: Sequence[str], items: Sequence[str], log: AckLog, stop: Event) -> None:
    rng = random.Random(number)
    retry: list[dict[str, object]] = []
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        while not stop.wait(1 / REQUESTS_PER_SECOND):
            user = rng.choice(users)
            if not retry and rng.random() >= 0.1:
                _post(client, log, "/recommend", {"user_id": user, "k": 10})
                continue
            events = retry or [_event(user, rng.choice(items), f"{number}-{time.time_ns()}-{n}") for n in range(EVENTS)]
            event_ids = [str(event["event_id"]) for event in events]
            log.sent.update(event_ids)
            hostile = [] if retry else [rng.choice(HOSTILE) for _ in range(rng.randint(0, 2))]
            if answer := _post(client, log, "/feedback", {"events": [*events, *hostile]}):
                rejected = {row["index"] for row in answer["rejected"]}
                log.acknowledged.update(event_id for index, event_id in enumerate(event_ids) if index not in rejected)
                log.outcomes["hostile"] += len(hostile)
                log.outcomes["spooled"] += answer["spooled"]
                retry = []
            else:
                retry = events
                stop.wait(RETRY_SECONDS)


def _event(user: str, item: str, event_id: str) -> dict[str, object]:
    return {"event_id": event_id, "user_id": user, "item_id": item, "event": "click"}


def _post(client: httpx.Client, log: AckLog, path: str, body: dict[str, object]) -> dict[str, Any] | None:
    began, answer = time.monotonic(), None
    with suppress(httpx.HTTPError):
        answer = client.post(path, json=body)
    answered = answer is not None and answer.is_success
    log.record(path, answered=answered, began=began, now=time.monotonic())
    return dict(answer.json()) if answer is not None and answered else None
