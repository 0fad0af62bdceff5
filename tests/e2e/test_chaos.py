"""Kills at random moments, under load: nothing that was acknowledged is lost, and everything comes back."""

import json
from pathlib import Path

import pytest

from benchmarks.chaos import VICTIMS
from components.settings import Settings
from tests.support.shell import Shell

pytestmark = pytest.mark.timeout(900)
ROUNDS = 5


def test_five_kills_cost_no_acknowledged_event(tmp_path: Path) -> None:
    shell = Shell(Settings(home=tmp_path / "home", cache=tmp_path / "cache", database_url=None))
    figures = json.loads(shell.run("chaos", "--rounds", str(ROUNDS), "--json").out)["figures"]
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert figures["acknowledged"] > 0
    assert sum(figures[f"{name}_kills"] for name in VICTIMS) == ROUNDS
    assert all(figures[f"{name}_normal_s"] > 0 for name in VICTIMS)
