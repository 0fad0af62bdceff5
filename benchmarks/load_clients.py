"""HTTP clients that keep sending /recommend requests while a service is deployed, restarted or killed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from threading import Event, Thread

import httpx

CALLERS, REQUESTS_PER_SECOND = 5, 10
"""Number of clients, and the rate of each."""


@contextmanager
def run_clients(url: str, users: Sequence[str]) -> Iterator[Counter[str]]:
    """Runs the clients in threads until the end of the context. They keep connections alive and never retry.

    Args:
        url: Base URL of the service.
        users: User ids, at least `CALLERS` of them; each client cycles through its own part.

    Yields:
        Live count of the responses by model version, `status CODE` or the repr of the connection error.
    """
    seen: Counter[str] = Counter()
    stop = Event()

    def send_requests(number: int) -> None:
        user_ids = cycle(users[number::CALLERS])
        with httpx.Client(base_url=url, timeout=30) as client:
            while not stop.wait(1 / REQUESTS_PER_SECOND):
                try:
                    answer = client.post("/recommend", json={"user_id": next(user_ids), "k": 3})
                    seen[answer.json()["model_version"] if answer.is_success else f"status {answer.status_code}"] += 1
                except httpx.HTTPError as error:
                    seen[repr(error)] += 1

    threads = [Thread(target=send_requests, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
