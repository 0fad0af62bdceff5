"""The platform of the session, with a project of one flow beside the real ones."""

from pathlib import Path

import pytest

from tests.support.platforms import SharedPlatform, make_project


@pytest.fixture(scope="session")
def project(shared_platform: SharedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flow `hello` on both pools."""
    project = make_project(tmp_path_factory.mktemp("project"))
    shared_platform.deploy(project)
    return project


@pytest.fixture(scope="module")
def started(shared_platform: SharedPlatform) -> SharedPlatform:
    """Empty at the beginning of each module."""
    shared_platform.renew()
    return shared_platform
