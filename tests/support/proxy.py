"""A TCP proxy to Postgres that can delay, drop or cut traffic."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import make_url

REST_TIMEOUT_SECONDS = 0.3


class Proxy:
    """Accepts connections on its own port and forwards the traffic in both directions.

    Attributes:
        delay: Seconds by which each message to Postgres is delayed.
        swallows: Whether all traffic is dropped silently.
        cut_at: A statement parameter. The first statement that contains it is forwarded to Postgres, its answer is
            not, and the connection is closed once it is done.
    """

    def __init__(self, host: str, port: int) -> None:
        self.delay = 0.0
        self.swallows = False
        self.cut_at: bytes | None = None
        self._target = host, port
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._muted: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Closes all connections."""
        for pair in list(self._pairs):
            self._end(pair)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    pair = client, socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self._pairs.add(pair)
                threading.Thread(target=self._pass_on, args=(pair, True), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(pair, False), daemon=True).start()

    def _pass_on(self, pair: tuple[socket.socket, socket.socket], to_postgres: bool) -> None:
        source, target = pair if to_postgres else pair[::-1]
        with suppress(OSError):
            while data := source.recv(65536):
                if to_postgres:
                    time.sleep(self.delay)
                if self.swallows or (pair in self._muted and not to_postgres):
                    continue
                is_cut = to_postgres and self.cut_at is not None and self.cut_at in data
                if is_cut:
                    self.cut_at = None
                    self._muted.add(pair)
                    data += _read_rest(source)
                target.sendall(data)
                if is_cut:
                    self._await_end(target)
                    break
        if pair in self._pairs:
            self._end(pair)

    def _await_end(self, postgres: socket.socket) -> None:
        """Waits for the statement to finish: closing with an answer in flight would reset the connection and could
        lose the statement."""
        with suppress(OSError):
            postgres.shutdown(socket.SHUT_WR)
            while postgres.recv(1 << 16):
                pass

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for side in pair:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


def _read_rest(source: socket.socket) -> bytes:
    """The data that follow at once: a statement may arrive in parts, and Postgres starts only with the last one."""
    parts = []
    source.settimeout(REST_TIMEOUT_SECONDS)
    with suppress(TimeoutError):
        while part := source.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


@contextmanager
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of the Postgres of `url`, and the URL through it."""
    address = make_url(url)
    proxy = Proxy(address.host or "127.0.0.1", address.port or 5432)
    try:
        yield proxy, address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    finally:
        proxy.close()
