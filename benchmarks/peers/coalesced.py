"""`python -m benchmarks.peers.coalesced PORT`: the constant response, with head and body sent in one write."""

import sys

import uvicorn

from benchmarks.peers.constant import app
from serving.process.transport import coalesce_writes


def main(port: int) -> None:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="error"
    )
    config.load()
    server = uvicorn.Server(config)
    coalesce_writes(server)
    server.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
