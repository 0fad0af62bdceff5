"""The logins that Prefect's server and MLflow ask for: made once, kept among the home's secrets, given to clients.

Of a server that somebody else runs the login is what a process finds in its environment.
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


def own(settings: "Settings") -> list[str]:
    """The servers that run here and so have a login of this home."""
    outside = {"prefect": settings.platform.prefect_api_url, "mlflow": settings.platform.mlflow_url}
    return [name for name in SERVICES if not outside[name]]


def make(home: Home, settings: "Settings") -> None:
    """Makes those that are missing."""
    for name in own(settings):
        home.kept_secret(name)


def variables(home: Home, settings: "Settings") -> dict[str, str]:
    """What clients of the servers that run here find in their environment; nothing before `make`."""
    passwords = {name: home.secret(name) for name in own(settings)}
    found = {}
    if password := passwords.get("prefect"):
        found[PREFECT] = f"{USER}:{password}"
    if password := passwords.get("mlflow"):
        found |= {MLFLOW_USER: USER, MLFLOW_PASSWORD: password}
    return found


def shown(service: str, home: Home, settings: "Settings") -> str:
    """USER:PASSWORD of `prefect` or `mlflow`, as a person types them. Raises PlatformError when nobody knows them."""
    known = {**os.environ, **variables(home, settings)}
    if service == "prefect" and (login := known.get(PREFECT)):
        return login
    if service == "mlflow" and (password := known.get(MLFLOW_PASSWORD)):
        return f"{known.get(MLFLOW_USER, '')}:{password}"
    if service in own(settings):
        raise PlatformError(f"there is no login in {home.secrets} yet: `duotempo up` makes it")
    wanted = PREFECT if service == "prefect" else f"{MLFLOW_USER} and {MLFLOW_PASSWORD}"
    raise PlatformError(f"{service} is somebody else's server: its login is not known here, set {wanted}")


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """The header for Prefect's API where its clients have a login."""
    login = environment.get(PREFECT)
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
