"""The session's platform, with an additional project of one flow."""

from pathlib import Path

import pytest

from tests.support.platforms import SharedPlatform, make_project


@pytest.fixture(scope="session")
def project(shared_platform: SharedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a project with the flow `hello`, deployed to both pools."""
    project = make_project(tmp_path_factory.mktemp("project"))
    shared_platform.deploy(project)
    return project


@pytest.fixture(scope="module")
def started(shared_platform: SharedPlatform) -> SharedPlatform:
    """The session's platform, reset at the start of each module."""
    shared_platform.renew()
    return shared_platform
