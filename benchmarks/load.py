"""`python -m benchmarks.load`: an HTTP load generator in its own process.

Reads {"port", "requests": [[path, body]], "timed", "connections", "seconds", "rate"} from stdin and prints {"done",
"failed", "seconds", "p50", "p99"}; times are in seconds, p50 and p99 those of the path `timed`. Without a rate (closed
loop) each connection sends its next request when the last is answered. With a rate (open loop) requests are due at
even intervals and latency counts from the due time, which avoids coordinated omission.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from selectors import SelectSelector
from typing import cast

import numpy as np
import uvloop

from benchmarks.errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"


@dataclass(frozen=True)
class Load:
    """Result of a load: responses, how many were not 200, and latencies in seconds of one path."""

    done: int
    failed: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Responses per second."""
        return self.done / self.seconds


def apply_load(
    port: int,
    requests: Sequence[tuple[str, str]],
    *,
    connections: int,
    seconds: float,
    rate: float | None = None,
    timed: str = "/recommend",
) -> Load:
    """Sends the requests in a cycle for `seconds`, from another process.

    Args:
        requests: (path, JSON body) of each.
        rate: Requests per second of all connections together; None sends as fast as responses arrive.
        timed: The path whose latencies are measured.

    Raises:
        BenchError: The load generator failed.
    """
    task = {
        "port": port, "requests": requests, "timed": timed, "connections": connections, "seconds": seconds,
        "rate": rate,
    }  # fmt: skip
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(task), capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if process.returncode:
        raise BenchError(f"the load generator failed:\n{process.stderr}")
    return Load(**json.loads(process.stdout))


class _Connection(asyncio.Protocol):
    """One request at a time on a keep-alive connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answered: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, has_head, body = self._buffer.partition(END_OF_HEAD)
        if not has_head:
            return
        lower = head.lower()
        start = lower.index(LENGTH) + len(LENGTH)
        if len(body) >= int(lower[start:].partition(b"\r")[0]) and self._answered:
            self._buffer.clear()
            self._answered.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_result(0)

    async def send(self, message: bytes) -> int:
        """Sends a request and returns its status; 0 when the connection was closed."""
        assert self._transport
        if self._transport.is_closing():
            return 0
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._answered


async def _generate(
    port: int, requests: list[tuple[str, str]], timed: str, connections: int, seconds: float, rate: float | None
) -> dict[str, float]:
    messages = cycle(_encoded(port, requests))
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done = failed = 0
    started = time.perf_counter()
    end = started + seconds
    request_numbers = iter(range(sys.maxsize))

    async def run_connection() -> None:
        nonlocal done, failed
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        while (now := time.perf_counter()) < end:
            due = started + next(request_numbers) / rate if rate else now
            if due > now:
                await asyncio.sleep(due - now)
            path, message = next(messages)
            status = await connection.send(message)
            if path == timed:
                times.append(time.perf_counter() - due)
            done += 1
            failed += status != 200
            if not status:
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)

    await asyncio.gather(*(run_connection() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {"done": done, "failed": failed, "seconds": elapsed, "p50": float(p50), "p99": float(p99)}


def _encoded(port: int, requests: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    for path, body in requests:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        yield path, f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


def _loop(rate: float | None) -> asyncio.AbstractEventLoop:
    """uvloop; with a rate a select-based loop, whose timers are exact to the microsecond instead of a millisecond."""
    return asyncio.SelectorEventLoop(SelectSelector()) if rate else uvloop.new_event_loop()


if __name__ == "__main__":
    task = json.load(sys.stdin)
    with asyncio.Runner(loop_factory=partial(_loop, task["rate"])) as runner:
        print(json.dumps(runner.run(_generate(**task))))
