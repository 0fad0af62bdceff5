"""`python -m infra.local.launch [DATABASE] -- PROGRAM [ARGUMENT…]`: makes way for a program, then becomes it.

Ends what an earlier life of the program left behind when it was killed (children that hold its port), and waits until
its database answers, so that everything may be started at once and a server outlives a pause of its database.
"""

import logging
import os
import sys
import time

import psycopg

from components.logs import log_to
from infra.local.sweep import PROGRAM, TAG, sweep

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2


def main(arguments: list[str]) -> None:
    log_to(logging.StreamHandler())
    split = arguments.index("--")
    databases, command = arguments[:split], arguments[split + 1 :]
    sweep(os.environ[TAG], os.environ[PROGRAM])
    for database in databases:
        LOG.info("waiting for the database %s", database)
        while not answers(database):
            time.sleep(PAUSE_SECONDS)
    os.execv(command[0], command)


def answers(database: str) -> bool:
    try:
        psycopg.connect(os.environ["DUOTEMPO_DATABASE_URL"], dbname=database, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
