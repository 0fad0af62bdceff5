"""The checkers of infra/, in the environment that `make infra-check` and `make test` make."""

from pathlib import Path

import pytest

from infra.processes.programs import PROJECT


@pytest.fixture(scope="session")
def checkers() -> Path:
    """The folder of their programs."""
    programs = PROJECT / ".venv-infra" / "bin"
    assert (programs / "promtool").exists(), "the checkers are missing: `make infra-check` makes .venv-infra"
    return programs
