"""`python -m infra.processes.address`: keeps the address that callers know, and hands its socket to every Bento.

All Bentos accept from the one socket, so that a new one takes over while the old one ends what it has begun, and no
connection is refused or lost in between. It is bound, not listened on: before the first Bento, callers are refused.
No other platform of this machine may listen there meanwhile.
"""

import socket
import time
from contextlib import suppress
from typing import IO

from components.settings import Settings
from infra.home.home import Home
from infra.home.places import claim_port

PAUSE_SECONDS = 0.1


def main(home: Home, host: str) -> None:
    port = home.state.ports["bento"]
    with claimed(home, port), bound(host, port) as listener, socket.socket(socket.AF_UNIX) as door:
        home.door.unlink(missing_ok=True)
        door.bind(str(home.door))
        home.door.chmod(0o600)
        door.listen()
        while True:
            caller, _ = door.accept()
            with caller, suppress(ConnectionError):  # who is gone asks again
                socket.send_fds(caller, [b"address"], [listener.fileno()])


def claimed(home: Home, port: int) -> IO[str]:
    """Whoever listens at the address holds this. Ends the process where another platform does."""
    if (held := claim_port(port, home.id)) is None:
        raise SystemExit(f"port {port} belongs to another platform of this machine: `duotempo down`, then `up`")
    return held


def bound(host: str, port: int) -> socket.socket:
    """The port is shared, so that this process can be started again while a Bento still listens on it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def take_socket(home: Home) -> int:
    """The descriptor of the address' socket, once its keeper is there."""
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(str(home.door))
                _, [descriptor], _, _ = socket.recv_fds(door, 16, 1)
                return descriptor
        except (FileNotFoundError, ConnectionError):
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    settings = Settings()
    main(Home(settings.home), settings.platform.host)
