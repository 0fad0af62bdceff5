"""Idle and slow connections are closed and do not block other clients. A real server with a trivial app."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from components.settings import SecuritySettings
from serving.http.connections import MAX_HEAD, Connections
from serving.process.transport import coalesce_writes
from tests.support.waiting import eventually

ANSWER = b"HTTP/1.1 200 OK"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Responds at once, or, at /read, after the whole body."""
    body = await Request(scope, receive).body() if scope["path"] == "/read" else b""
    response: Response = PlainTextResponse(f"{len(body)}")
    await response(scope, receive, send)


@contextmanager
def served(**limits: float) -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(app, host="0.0.0.0", port=0, lifespan="off", log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    coalesce_writes(server)
    Connections(SecuritySettings.model_validate(limits)).watch(server)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, 30)
        yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)


def connect(address: tuple[str, int], sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(sent)
    return connection


def receive(connection: socket.socket) -> bytes:
    with suppress(ConnectionError):
        return connection.recv(65_536)
    return b""


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nthe rest of a body that nobody asked for",
    ],
)  # fmt: skip
def test_a_slow_request_head_is_cut_off(sent: bytes) -> None:
    with served(head_seconds=1) as address, closing(connect(address, sent)) as connection:
        connection.settimeout(0.3)
        for _ in range(100):
            with suppress(TimeoutError):
                if not receive(connection):
                    return
            with suppress(ConnectionError):
                connection.sendall(b"x")
        raise AssertionError("it is still open")


def test_requests_succeed_over_the_connection_limit() -> None:
    with ExitStack() as stack:
        address = stack.enter_context(served(connections=20, head_seconds=600))

        def open_one(sent: bytes) -> socket.socket:
            return stack.enter_context(closing(connect(address, sent)))

        slow = open_one(b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        incomplete = [open_one(b"GET / HTTP/1.1\r\n"[: number % 10]) for number in range(60)]
        with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=30) as client:
            for _ in range(3):
                assert client.get("/").text == "0"
            eventually(lambda: sum(map(is_open, incomplete)) == 19)
            assert not any(map(is_open, incomplete[:40])), "the longest idle connections are closed"
            assert not is_open(slow), "a connection that waits for its body is closed too"
            assert client.get("/").text == "0"


class FakeConnection:
    """A fake connection from a given address, which is its own transport."""

    head = 0
    is_answering = False

    def __init__(self, address: str) -> None:
        self.client = (address, 1)
        self.transport = self
        self.is_open = True

    def abort(self) -> None:
        self.is_open = False


def test_connections_per_address_are_limited() -> None:
    async def call() -> None:
        connections = Connections(SecuritySettings(address_connections=5))
        fakes = [
            FakeConnection(address) for address in ("203.0.113.9", "203.0.113.10", "127.0.0.1", "::1") for _ in range(8)
        ]
        for fake in fakes:
            connections.opened(fake)
        left = Counter(fake.client[0] for fake in fakes if fake.is_open)
        assert left == {"203.0.113.9": 5, "203.0.113.10": 5, "127.0.0.1": 8, "::1": 8}
        connections.closed(fakes[0])
        more = [FakeConnection("203.0.113.9") for _ in range(2)]
        for fake in more:
            connections.opened(fake)
        assert [fake.is_open for fake in more] == [True, False]

    asyncio.run(call())


def test_an_endless_head_is_refused() -> None:
    with served() as address, closing(connect(address, b"GET / HTTP/1.1\r\n")) as connection:
        with suppress(ConnectionError):
            for _ in range(2 * MAX_HEAD // 1000):
                connection.sendall(b"x-more: " + b"x" * 990 + b"\r\n")
        assert receive(connection).startswith(b"HTTP/1.1 400") or not is_open(connection)


def test_the_unread_rest_of_a_body_is_skipped() -> None:
    size = 4 * MAX_HEAD
    with served() as address, closing(connect(address)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        assert receive(connection).startswith(ANSWER)
        connection.sendall(b"x" * size)
        for _ in range(2):
            connection.sendall(b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
            assert receive(connection).endswith(b"\r\n\r\n3")


def test_pipelined_requests_are_all_answered() -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served(head_seconds=1) as address, closing(connect(address, request * 5)) as connection:
        answers = b""
        while answers.count(ANSWER) < 5:
            answers += receive(connection)
        time.sleep(1.5)
        connection.sendall(request)
        assert receive(connection).startswith(ANSWER) or not is_open(connection)


def test_websockets_are_disabled() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with served() as address, closing(connect(address, upgrade)) as connection:
        assert receive(connection).startswith(ANSWER)
