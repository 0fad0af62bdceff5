"""How an answer leaves the service: its head and its body in one packet."""

import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from tests.serving.conftest import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how many packets came")
PACKETS_IN = 152
"""Where tcp_info has `tcpi_data_segs_in`, see linux/tcp.h."""


@pytest.fixture
def connection(world: World) -> Iterator[socket.socket]:
    host, port = world.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        yield connection


def packets(connection: socket.socket) -> int:
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, PACKETS_IN + 4)
    (count,) = struct.unpack_from("=I", told, PACKETS_IN)
    return int(count)


def ask(connection: socket.socket, method: str, path: str, body: bytes = b"", *headers: str) -> tuple[bytes, bytes]:
    """Head and body of the answer."""
    host, port = connection.getpeername()
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}", *headers, "", ""]
    connection.sendall("\r\n".join(head).encode() + body)
    came = b""
    while b"\r\n\r\n" not in came:
        came += connection.recv(65536)
    answer, _, rest = came.partition(b"\r\n\r\n")
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while method != "HEAD" and len(rest) < length:
        rest += connection.recv(65536)
    return answer, rest


def test_each_answer_of_a_kept_connection_is_one_packet(connection: socket.socket) -> None:
    for count in range(1, 4):
        head, body = ask(connection, "POST", "/recommend", b'{"user_id": "bella"}', "Content-Type: application/json")
        assert head.startswith(b"HTTP/1.1 200")
        assert body.startswith(b'{"request_id"')
        assert packets(connection) == count


def test_an_answer_without_a_body_arrives(connection: socket.socket) -> None:
    head, body = ask(connection, "HEAD", "/livez")
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"")
    assert ask(connection, "GET", "/livez")[1] == b'{"alive":true}'


def test_the_last_answer_before_the_end_of_the_connection_is_whole(connection: socket.socket) -> None:
    assert ask(connection, "GET", "/livez", b"", "Connection: close")[1] == b'{"alive":true}'
    assert connection.recv(1) == b""


def test_a_refusal_of_what_is_not_http_arrives(connection: socket.socket) -> None:
    connection.sendall(b"what is new?\r\n\r\n")
    came = b""
    while more := connection.recv(65536):
        came += more
    assert came.startswith(b"HTTP/1.1 400")
