"""Load clients that send feedback and request lists without a pause, and a log of the acknowledged events."""

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
"""Number of clients, and the rate of each. One request in ten is feedback with EVENTS events."""
EVENTS = 5
TIMEOUT_SECONDS = 60.0
RETRY_SECONDS = 0.25
"""Delay before failed feedback is sent again."""
HOSTILE: list[dict[str, object]] = [
    {"user_id": b64encode(bytes(range(256)) * 9).decode(), "item_id": "item-0", "event": "view"},
    {"user_id": "hostile\x00", "item_id": "item-0", "event": "view"},
    {"user_id": "hostile", "item_id": "\\" * 5000, "event": "view"},
    {"user_id": "hostile", "item_id": "nowhere", "event": "click"},
    {"user_id": "hostile", "item_id": "item-0", "event": "rating", "value": 1e308},
    {"user_id": "hostile", "item_id": "item-0", "event": "view", "timestamp": "1970-01-01"},
]
"""Invalid rows: the service rejects each of them without affecting the others of the request."""


@dataclass
class AckLog:
    """What one client sent, and what the service acknowledged."""

    acknowledged: set[str] = field(default_factory=set)
    """Ids of the acknowledged events."""
    sent: set[str] = field(default_factory=set)
    """Ids of all events that were sent."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Requests by `PATH answered` or `PATH failed`, and the rows `hostile` and `spooled`."""
    longest_outage: float = 0.0
    """Longest time (seconds) without a successful response, from the start of the first failed request."""
    _refused_since: float | None = None

    def record(self, path: str, *, answered: bool, started: float, now: float) -> None:
        """Counts a request; `started` and `now` are its start and end (monotonic seconds)."""
        self.outcomes[f"{path} {'answered' if answered else 'failed'}"] += 1
        if answered and self._refused_since is not None:
            self.longest_outage, self._refused_since = max(self.longest_outage, now - self._refused_since), None
        elif not answered and self._refused_since is None:
            self._refused_since = started

    def compare_with_database(self, url: str) -> tuple[int, int]:
        """Number of acknowledged events missing from Postgres, and of duplicates stored there."""
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT event_id FROM events WHERE event_id = ANY(%s)", [list(self.sent)])
            stored = [event_id for (event_id,) in rows]
        return len(self.acknowledged - set(stored)), len(stored) - len(set(stored))


@contextmanager
def logged_clients(url: str, users: Sequence[str], items: Sequence[str]) -> Iterator[AckLog]:
    """Runs the clients in threads, each with its own log, until the end of the context; the yielded log is filled then.

    Feedback that failed is sent again with the same event ids, as a well-behaved client does.
    """
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
    started, answer = time.monotonic(), None
    with suppress(httpx.HTTPError):
        answer = client.post(path, json=body)
    answered = answer is not None and answer.is_success
    log.record(path, answered=answered, started=started, now=time.monotonic())
    return dict(answer.json()) if answer is not None and answered else None
