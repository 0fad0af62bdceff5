"""How an answer leaves the service: its head and its body in one packet."""

import socket
import struct
import sys
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.support.service import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how many packets came")
PACKETS_IN = 152
"""Where tcp_info has `tcpi_data_segs_in`, see linux/tcp.h."""


@pytest.fixture
def connection(world: World) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(world.address.removeprefix("http://"), timeout=30)
    connection.connect()
    yield connection
    connection.close()


def packets(connection: HTTPConnection) -> int:
    told = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, PACKETS_IN + 4)
    (count,) = struct.unpack_from("=I", told, PACKETS_IN)
    return int(count)


def ask(connection: HTTPConnection, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection.request(method, path, body, headers)
    with connection.getresponse() as answer:
        return answer.status, answer.read()


def test_each_answer_of_a_kept_connection_is_one_packet(connection: HTTPConnection) -> None:
    kind = {"Content-Type": "application/json"}
    for count in range(1, 4):
        status, body = ask(connection, "POST", "/recommend", '{"user_id": "bella"}', **kind)
        assert status == 200
        assert body.startswith(b'{"request_id"')
        assert packets(connection) == count


def test_an_answer_without_a_body_arrives(connection: HTTPConnection) -> None:
    assert ask(connection, "HEAD", "/livez") == (200, b"")
    assert ask(connection, "GET", "/livez") == (200, b'{"alive":true,"platform":null}')


def test_the_last_answer_before_the_end_of_the_connection_is_whole(connection: HTTPConnection) -> None:
    with connection.sock.dup() as kept:
        assert ask(connection, "GET", "/livez", Connection="close") == (200, b'{"alive":true,"platform":null}')
        assert kept.recv(1) == b""


def test_a_refusal_of_what_is_not_http_arrives(connection: HTTPConnection) -> None:
    connection.sock.sendall(b"what is new?\r\n\r\n")
    came = b""
    while more := connection.sock.recv(65536):
        came += more
    assert came.startswith(b"HTTP/1.1 400")
