"""`python -m infra.processes.address`: holds the service's fixed address and passes its socket to every Bento.

All Bentos accept from the same socket, so a new one takes over while the old one finishes its requests, and no
connection is refused or lost in between. The socket is bound but not listening: before the first Bento, connections are
refused. The port is claimed against other platforms of this machine.
"""

import socket
import time
from contextlib import suppress
from typing import IO

from components.settings import Settings
from infra.home.addresses import claim_port
from infra.home.home import Home

PAUSE_SECONDS = 0.1


def main(home: Home, host: str) -> None:
    port = home.state.ports["bento"]
    with claimed(home, port), bound(host, port) as listener, socket.socket(socket.AF_UNIX) as address_socket:
        home.address_socket.unlink(missing_ok=True)
        address_socket.bind(str(home.address_socket))
        home.address_socket.chmod(0o600)
        address_socket.listen()
        while True:
            client, _ = address_socket.accept()
            with client, suppress(ConnectionError):  # a client that disconnected retries
                socket.send_fds(client, [b"address"], [listener.fileno()])


def claimed(home: Home, port: int) -> IO[str]:
    """Claims the port for this process. Exits if another platform holds it."""
    if (held := claim_port(port, home.id)) is None:
        raise SystemExit(f"port {port} belongs to another platform of this machine: `duotempo down`, then `up`")
    return held


def bound(host: str, port: int) -> socket.socket:
    """Binds the port with SO_REUSEPORT, so that this process can restart while a Bento still listens on it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def receive_socket(home: Home) -> int:
    """Returns the file descriptor of the service's socket; waits for the address process."""
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as address_socket:
                address_socket.connect(str(home.address_socket))
                _, [descriptor], _, _ = socket.recv_fds(address_socket, 16, 1)
                return descriptor
        except (FileNotFoundError, ConnectionError):
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    settings = Settings()
    main(Home(settings.home), settings.platform.host)
