"""Random kills under load: no acknowledged event is lost, and every service recovers."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.chaos import measure, serve_synthetic_data
from benchmarks.faults import SERVICES, VICTIMS
from components.settings import Settings
from tests.support.platforms import SharedPlatform
from tests.support.shell import Shell

pytestmark = pytest.mark.timeout(900)


def test_five_kills_lose_no_acknowledged_event(started: SharedPlatform, tmp_path: Path) -> None:
    serve_synthetic_data(started.platform, tmp_path)
    with started.shell.inside():
        figures = measure(started.platform, 5, random.Random(1))
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert figures["acknowledged"] > 0
    assert sum(figures[f"{name}_kills"] for name in VICTIMS) == 5
    assert all(figures[f"{name}_normal_s"] > 0 for name in SERVICES)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_kills_lose_no_acknowledged_event(tmp_path: Path) -> None:
    shell = Shell(Settings(home=tmp_path / "home", cache=tmp_path / "cache", database_url=None))
    figures = json.loads(shell.run("chaos", "--rounds", "200", "--json", apart=True).out)["figures"]
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert figures["acknowledged"] > 0
    assert sum(figures[f"{name}_kills"] for name in VICTIMS) == 200
    assert all(figures[f"{name}_normal_s"] > 0 for name in SERVICES)
