"""Connections to an MLflow server with bounded timeouts and retries."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from components.core.errors import DuotempoError

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "duotempo"
"""The registered model, and the experiment that its runs belong to."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment variables set before MLflow is imported, unless they are set already."""


TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"


class RegistryError(DuotempoError):
    """The registry cannot serve the request; the message says how to fix it."""


class RegistryUnavailable(RegistryError):
    """MLflow does not answer; a later retry may succeed."""


@contextmanager
def connect(tracking_uri: str) -> Iterator["MlflowClient"]:
    """Yields a client of the server at `tracking_uri`, which is MLflow's default server inside the context.

    Raises:
        RegistryUnavailable: The server does not answer within the retries.
        RegistryError: The server refuses a request.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException, RestException

    previous = os.environ.get(TRACKING_VARIABLE)  # MLflow stores its default server there, too
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield mlflow.MlflowClient(tracking_uri)
    except RestException as error:
        raise RegistryError(f"MLflow at {tracking_uri} refused: {error}") from error
    except (MlflowException, OSError) as error:
        if "RESOURCE_DOES_NOT_EXIST" in str(error):
            raise RegistryError(f"MLflow at {tracking_uri} lacks what was asked for: {error}") from error
        raise RegistryUnavailable(
            f"MLflow at {tracking_uri} does not answer: see `duotempo status`, start it with `duotempo up` ({error})"
        ) from error
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as if it had never been set
        if previous is not None:
            os.environ[TRACKING_VARIABLE] = previous


def experiment(client: "MlflowClient", name: str) -> str:
    """The id of an experiment, created when missing."""
    existing = client.get_experiment_by_name(name)
    return existing.experiment_id if existing else client.create_experiment(name)
