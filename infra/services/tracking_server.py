"""`python -m infra.services.tracking_server [OPTION…]`: becomes MLflow's server, which asks everybody for a login.

The login of its clients, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, is that of the administrator, who may
make others. Users lie in the database of MLFLOW_BACKEND_STORE_URI; the file MLFLOW_AUTH_CONFIG_PATH is written here.
"""

import hashlib
import os
import sys
from configparser import ConfigParser
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from flask import Response, request
from sqlalchemy import make_url
from werkzeug.datastructures import Authorization
from werkzeug.security import check_password_hash, generate_password_hash

from infra.home.logins import MLFLOW_PASSWORD, MLFLOW_USER

REMEMBERED_SECONDS = 60
"""For which a password that was right is not hashed again, which takes a twentieth of a second."""


def main(options: list[str]) -> None:
    database, user, password = (os.environ[name] for name in ("MLFLOW_BACKEND_STORE_URI", MLFLOW_USER, MLFLOW_PASSWORD))
    write_configuration(Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]), database)
    renew_password(database, user, password)
    os.environ |= {
        "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": hashlib.sha256(f"forms {password}".encode()).hexdigest(),
    }
    import mlflow.cli
    import mlflow.server

    mlflow.server._exec_cmd = _become
    mlflow.cli.cli(["server", "--app-name", "basic-auth", *options])


def _become(cmd: Any, extra_env: Any = None, **_: Any) -> Any:
    """MLflow's command starts its server and waits beside it, with as much memory again; here it becomes the server."""
    os.execvpe(cmd[0], cmd, os.environ | extra_env)


def write_configuration(file: Path, database: str) -> None:
    """For its owner alone: the address holds a password."""
    parser = ConfigParser()
    parser["mlflow"] = {
        "default_permission": "READ",
        "authorization_function": "infra.services.tracking_server:authenticate",
        "database_uri": database.replace("%", "%%"),
        "auth_cache_ttl_seconds": str(REMEMBERED_SECONDS),
    }
    file.unlink(missing_ok=True)
    with open(file, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        parser.write(stream)


def renew_password(database: str, user: str, password: str) -> None:
    """MLflow takes it when it makes the user, and never again: that of an earlier home ends here, or one that was
    changed."""
    url = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, connect_timeout=10) as connection:
        if connection.execute("SELECT to_regclass('users')").fetchone() == (None,):
            return
        kept = connection.execute("SELECT password_hash FROM users WHERE username = %s", (user,)).fetchone()
        if kept and not check_password_hash(kept[0], password):
            renewed = (generate_password_hash(password), user)
            connection.execute("UPDATE users SET password_hash = %s, is_admin = true WHERE username = %s", renewed)


def authenticate() -> Authorization | Response:
    """What MLflow asks of each request: who it is from, and first whether a page of another origin has made it.

    A browser sends a login that it has taken along with requests of other pages, and MLflow lets all pages of this
    machine in, whoever serves them.
    """
    from mlflow.server.auth import authenticate_request_basic_auth

    origin = request.headers.get("Origin")
    if origin and urlsplit(origin).netloc != request.host:
        return Response("Cross-origin request blocked", HTTPStatus.FORBIDDEN)
    return authenticate_request_basic_auth()


if __name__ == "__main__":
    main(sys.argv[1:])
