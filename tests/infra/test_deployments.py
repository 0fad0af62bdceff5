"""Registering deployments with a Prefect server that does not answer."""

import socket
from pathlib import Path

import pytest

from infra.home.errors import PlatformError
from infra.orchestration.deployments import Deployments

PROJECT = Path(__file__).parents[2]


def test_silent_server_gives_an_error_that_names_the_timeout_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts connections and never answers
        environment = {"PREFECT_API_URL": f"http://127.0.0.1:{server.getsockname()[1]}/api"}
        with pytest.raises(PlatformError, match="DUOTEMPO_PLATFORM__START_TIMEOUT_SECONDS"):
            Deployments(PROJECT, seconds=1).deploy(environment)
