"""`python -m infra.local.wait DATABASE PROGRAM [ARGUMENT…]`: waits until the database answers, then is the program.

So that everything may be started at once, and a server outlives a pause of its database at its own start.
"""

import logging
import os
import sys
import time

import psycopg

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2


def main(database: str, *command: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
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
    main(*sys.argv[1:])
