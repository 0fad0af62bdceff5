"""The tools that check infra/, in the environment that `make infra-check` and `make test` create."""

from pathlib import Path

import pytest

from infra.processes.programs import PROJECT


@pytest.fixture(scope="session")
def checkers() -> Path:
    """Folder of the tools' programs."""
    programs = PROJECT / ".venv-infra" / "bin"
    assert (programs / "promtool").exists(), "the tools are missing: `make infra-check` creates .venv-infra"
    return programs
