"""The session's platform, reset for each module, with quick retrainings."""

from collections.abc import Iterator

import pytest

from components.store.engine import make_engine
from tests.support.platforms import SharedPlatform
from tests.support.schedules import QUICK, RunningPlatform


@pytest.fixture(scope="module")
def running(shared_platform: SharedPlatform) -> Iterator[RunningPlatform]:
    shared_platform.renew(QUICK)
    with shared_platform.shell.inside():
        engine = make_engine(shared_platform.platform.database_url)
        yield RunningPlatform(shared_platform.platform, shared_platform.shell.prefect, engine)
        engine.dispose()
