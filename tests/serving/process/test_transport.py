"""Write coalescing: head and body of a response leave in one packet."""

import socket
import struct
import sys
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.support.service import RunningService

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the number of received packets")
PACKETS_IN = 152
"""Offset of `tcpi_data_segs_in` in tcp_info, see linux/tcp.h."""


@pytest.fixture
def connection(service: RunningService) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(service.address.removeprefix("http://"), timeout=30)
    connection.connect()
    yield connection
    connection.close()


def packets(connection: HTTPConnection) -> int:
    info = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, PACKETS_IN + 4)
    (count,) = struct.unpack_from("=I", info, PACKETS_IN)
    return int(count)


def send(connection: HTTPConnection, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
    """Sends a request. Returns status and body of the response."""
    connection.request(method, path, body, headers)
    with connection.getresponse() as answer:
        return answer.status, answer.read()


def test_each_response_on_a_kept_alive_connection_is_one_packet(connection: HTTPConnection) -> None:
    headers = {"Content-Type": "application/json"}
    for count in range(1, 4):
        status, body = send(connection, "POST", "/recommend", '{"user_id": "bella"}', **headers)
        assert status == 200
        assert body.startswith(b'{"request_id"')
        assert packets(connection) == count


def test_a_response_without_a_body_arrives(connection: HTTPConnection) -> None:
    assert send(connection, "HEAD", "/livez") == (200, b"")
    assert send(connection, "GET", "/livez") == (200, b'{"alive":true,"platform":null}')


def test_the_last_response_before_the_connection_closes_is_complete(connection: HTTPConnection) -> None:
    with connection.sock.dup() as kept:
        assert send(connection, "GET", "/livez", Connection="close") == (200, b'{"alive":true,"platform":null}')
        assert kept.recv(1) == b""


def test_a_400_response_to_non_http_bytes_arrives(connection: HTTPConnection) -> None:
    connection.sock.sendall(b"what is new?\r\n\r\n")
    received = b""
    while chunk := connection.sock.recv(65536):
        received += chunk
    assert received.startswith(b"HTTP/1.1 400")
