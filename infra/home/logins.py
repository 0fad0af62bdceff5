"""Logins of the Prefect and MLflow servers: created once, stored in the home's secrets, passed to clients.

The login of an external server comes from the environment.
"""

import base64
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from infra.home.errors import PlatformError
from infra.home.home import Home

if TYPE_CHECKING:
    from components.settings import Settings

USER: Final = "duotempo"
PREFECT: Final = "PREFECT_API_AUTH_STRING"
"""USER:PASSWORD for Prefect's clients."""
MLFLOW_USER: Final = "MLFLOW_TRACKING_USERNAME"
MLFLOW_PASSWORD: Final = "MLFLOW_TRACKING_PASSWORD"  # pragma: allowlist secret
SERVICES: Final = ("prefect", "mlflow")


def local_servers(settings: "Settings") -> list[str]:
    """Servers that the platform runs itself, whose logins are in its home."""
    external = {"prefect": settings.platform.prefect_api_url, "mlflow": settings.platform.mlflow_url}
    return [name for name in SERVICES if not external[name]]


def make(home: Home, settings: "Settings") -> None:
    """Creates missing logins."""
    for name in local_servers(settings):
        home.ensure_secret(name)


def variables(home: Home, settings: "Settings") -> dict[str, str]:
    """Environment variables for clients of the platform's own servers; empty before `make`."""
    passwords = {name: home.secret(name) for name in local_servers(settings)}
    variables_found = {}
    if password := passwords.get("prefect"):
        variables_found[PREFECT] = f"{USER}:{password}"
    if password := passwords.get("mlflow"):
        variables_found |= {MLFLOW_USER: USER, MLFLOW_PASSWORD: password}
    return variables_found


def login_text(service: str, home: Home, settings: "Settings") -> str:
    """Returns USER:PASSWORD of `prefect` or `mlflow`. Raises PlatformError if the login is unknown."""
    environment = {**os.environ, **variables(home, settings)}
    if service == "prefect" and (login := environment.get(PREFECT)):
        return login
    if service == "mlflow" and (password := environment.get(MLFLOW_PASSWORD)):
        return f"{environment.get(MLFLOW_USER, '')}:{password}"
    if service in local_servers(settings):
        raise PlatformError(f"there is no login in {home.secrets} yet: `duotempo up` makes it")
    wanted = PREFECT if service == "prefect" else f"{MLFLOW_USER} and {MLFLOW_PASSWORD}"
    raise PlatformError(f"{service} is an external server: its login is not known here, set {wanted}")


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """HTTP headers for Prefect's API; empty without a login in the environment."""
    login = environment.get(PREFECT)
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
