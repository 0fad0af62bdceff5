"""A bounded talk with an MLflow server."""

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
"""Set before MLflow is imported, where the environment does not say otherwise."""


TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"


class RegistryError(DuotempoError):
    """The registry cannot do what was asked; the message says what to do."""


class RegistryUnavailable(RegistryError):
    """MLflow does not answer: asking again later may help."""


@contextmanager
def connect(tracking_uri: str) -> Iterator["MlflowClient"]:
    """A client of the server at `tracking_uri`, which is also MLflow's default one while the context lasts.

    Raises RegistryUnavailable when the server does not answer within its retries, RegistryError when it says no.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException, RestException

    before = os.environ.get(TRACKING_VARIABLE)  # MLflow keeps its default server there, too
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
        if before is not None:
            os.environ[TRACKING_VARIABLE] = before


def experiment(client: "MlflowClient", name: str) -> str:
    """The id of the experiment of that name, made when it is missing."""
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)
