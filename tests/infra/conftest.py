"""One platform for all tests of this folder: real, on free ports, in a folder of a difficult name."""

import socket
from collections.abc import Iterator

import pytest

from components.settings import Settings
from infra.local.platform import Platform
from tests.support.platforms import Started, make_project, remove_data
from tests.support.ports import free_ports


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("platform")
    settings = Settings(home=folder / "a 100% deep home" / ("x" * 60), database_url=None, platform=free_ports())
    with socket.create_server(("127.0.0.1", settings.platform.mlflow_port)):
        project = make_project(folder / "project")
        platform = Platform(settings, project)
        started = Started(platform, settings, project, settings.platform.mlflow_port)
        try:
            platform.up(started.stages.append)
            yield started
        finally:
            platform.down()
            remove_data(platform.home)
