"""`python -m infra.services.tracking_server [OPTION…]`: execs MLflow's server with authentication.

MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are the login of its clients and of the administrator, who may add
users. Users are stored in the database of MLFLOW_BACKEND_STORE_URI; the file MLFLOW_AUTH_CONFIG_PATH is written here.
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

AUTH_CACHE_SECONDS = 60
"""Lifetime of the cache of verified passwords; hashing one takes 50 ms."""


def main(options: list[str]) -> None:
    database, user, password = (os.environ[name] for name in ("MLFLOW_BACKEND_STORE_URI", MLFLOW_USER, MLFLOW_PASSWORD))
    write_configuration(Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]), database)
    update_password(database, user, password)
    os.environ |= {
        "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": hashlib.sha256(f"forms {password}".encode()).hexdigest(),
    }
    import mlflow.cli
    import mlflow.server

    mlflow.server._exec_cmd = _exec_server
    mlflow.cli.cli(["server", "--app-name", "basic-auth", *options])


def _exec_server(cmd: Any, extra_env: Any = None, **_: Any) -> Any:
    """Replaces MLflow's subprocess call by exec: its parent process would only wait, with as much memory again."""
    os.execvpe(cmd[0], cmd, os.environ | extra_env)


def write_configuration(file: Path, database: str) -> None:
    """Writes the auth configuration, readable only by its owner: the database URL holds a password."""
    parser = ConfigParser()
    parser["mlflow"] = {
        "default_permission": "READ",
        "authorization_function": "infra.services.tracking_server:authenticate",
        "database_uri": database.replace("%", "%%"),
        "auth_cache_ttl_seconds": str(AUTH_CACHE_SECONDS),
    }
    file.unlink(missing_ok=True)
    with open(file, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        parser.write(stream)


def update_password(database: str, user: str, password: str) -> None:
    """Updates the administrator's password in MLflow's database if it differs.

    MLflow sets it only when it creates the user; the database may be from an earlier home.
    """
    url = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, connect_timeout=10) as connection:
        if connection.execute("SELECT to_regclass('users')").fetchone() == (None,):
            return
        stored = connection.execute("SELECT password_hash FROM users WHERE username = %s", (user,)).fetchone()
        if stored and not check_password_hash(stored[0], password):
            renewed = (generate_password_hash(password), user)
            connection.execute("UPDATE users SET password_hash = %s, is_admin = true WHERE username = %s", renewed)


def authenticate() -> Authorization | Response:
    """Authenticates a request to MLflow; rejects cross-origin requests first.

    A browser also attaches a stored login to requests of other pages, and MLflow accepts all origins on this machine.
    """
    from mlflow.server.auth import authenticate_request_basic_auth

    origin = request.headers.get("Origin")
    if origin and urlsplit(origin).netloc != request.host:
        return Response("Cross-origin request blocked", HTTPStatus.FORBIDDEN)
    return authenticate_request_basic_auth()


if __name__ == "__main__":
    main(sys.argv[1:])
