"""`python infra/docker/encoder.py`: health check; exits with 0 if a resident encoder listens for new items."""

import os
import sys

import psycopg

LISTENS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'duotempo encoder'"

with psycopg.connect(os.environ["DUOTEMPO_DATABASE_URL"], connect_timeout=4) as connection:
    sys.exit(connection.execute(LISTENS).fetchone() is None)
