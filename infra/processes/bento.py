"""`python -m infra.processes.bento TAG`: execs a BentoML worker that serves a Bento at the platform's address.

It is the worker that `bentoml serve` starts, without the parent process, which would open its own socket.
"""

import os
import sys

from components.settings import Settings
from infra.home.home import Home
from infra.processes.address import claimed, receive_socket
from serving.process.handover import READY_FILE
from serving.process.smoke_test import SOCKET

WORKER = "_bentoml_impl.worker.service"


def main(home: Home, tag: str) -> None:
    os.environ[READY_FILE] = str(home.new_ready_file())
    if home.state.on_trial == tag:
        home.smoke_test_socket.unlink(missing_ok=True)
        os.environ[SOCKET] = str(home.smoke_test_socket)
    descriptor, held = receive_socket(home), claimed(home, home.state.ports["bento"])
    for kept in (descriptor, held.fileno()):
        os.set_inheritable(kept, True)
    command = [sys.executable, "-m", WORKER, tag, "--fd", str(descriptor), "--worker-id", "1"]
    os.execv(command[0], command)


def program_name(tag: str) -> str:
    """Supervisord's name of the program that serves a Bento."""
    return f"bento-{tag.partition(':')[2]}"


if __name__ == "__main__":
    main(Home(Settings().home), sys.argv[1])
