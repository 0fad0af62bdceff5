"""Environment variables of the platform's processes."""

import base64
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from components.settings import Settings
from infra.home import logins
from infra.home.databases import Databases
from infra.home.home import Home
from serving.process.identity import PLATFORM as TAG

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Turns off the telemetry of all tools."""
SETTINGS_FILE = "DUOTEMPO_SETTINGS_FILE"


def settings_file() -> Path | None:
    """Absolute path of this process's settings file; None if there is none."""
    file = Path(os.environ.get(SETTINGS_FILE) or "duotempo.toml").expanduser().resolve()
    return file if file.is_file() else None


def client_variables(
    settings: Settings, home: Home, databases: Databases, prefect_api_url: str, mlflow_url: str
) -> dict[str, str]:
    """Variables for all clients of the platform: addresses, logins, and telemetry off."""
    addresses = {
        "DUOTEMPO_HOME": str(home.path),
        "DUOTEMPO_CACHE": str(settings.cache.expanduser().resolve()),
        "DUOTEMPO_DATABASE_URL": databases.url,
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_API_URL": prefect_api_url,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "MLFLOW_TRACKING_URI": mlflow_url,
        "BENTOML_HOME": str(home.bentoml),
        **logins.variables(home, settings),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    if file := settings_file():
        addresses[SETTINGS_FILE] = str(file)
    if settings.data_dir:
        addresses["DUOTEMPO_DATA_DIR"] = str(settings.data_dir.expanduser().resolve())
    if settings.embedding.model.startswith("packaged:") and "HF_HUB_OFFLINE" not in os.environ:
        addresses["HF_HUB_OFFLINE"] = "1"
    return {**TELEMETRY_OFF, **addresses}


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables in this process for the duration of the context."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def server_variables(home: Home, databases: Databases, project: Path, prefect_url: str) -> dict[str, str]:
    """Variables for the supervisor's programs beyond those of clients: databases, CORS, and the platform's tag.

    The tag finds the platform's processes again after their parent died.
    """
    login = home.secret("prefect")
    return {
        TAG: home.id,
        "DUOTEMPO_PROJECT": str(project),
        "PREFECT_API_DATABASE_CONNECTION_URL": databases.prefect,
        **({"PREFECT_SERVER_API_AUTH_STRING": f"{logins.USER}:{login}"} if login else {}),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{prefect_url},{prefect_url.replace('127.0.0.1', 'localhost')}",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
        "MLFLOW_BACKEND_STORE_URI": databases.mlflow,
        "MLFLOW_AUTH_CONFIG_PATH": str(home.supervisor / "mlflow.ini"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": encryption_key(home.ensure_secret("webhook")),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    }


def encryption_key(secret: str) -> str:
    """Derives the Fernet key with which MLflow encrypts the webhook's secret in its database."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def fingerprint(environment: dict[str, str]) -> str:
    """Hash of the settings in an environment and in the settings file.

    Running programs keep the settings of their start; a changed hash means that they must be restarted.
    """
    prefixes = ("DUOTEMPO_", "HF_", logins.PREFECT, logins.MLFLOW_PASSWORD)
    settings = sorted((name, value) for name, value in environment.items() if name.startswith(prefixes))
    file = settings_file()
    return hashlib.sha256(repr((settings, file.read_bytes() if file else b"")).encode()).hexdigest()
