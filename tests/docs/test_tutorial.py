"""The tutorial's fusion is one short file that trains and scores, as the tutorial says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from components.fusion.fit import fit
from components.fusion.fusions import Fusion, make_fusion
from components.histories.states import UserState
from components.ranking.scorer import Scorer
from tests.support import checkerboard as board

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "own_fusion.py"
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")
KIND = "own_fusion:Multiplied"


@pytest.fixture
def beside_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the example's folder the working directory, as in the tutorial."""
    monkeypatch.chdir(EXAMPLE.parent)


def test_the_fusion_takes_under_60_lines() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60


def test_the_tutorial_shows_the_file_verbatim() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    assert shown == EXAMPLE.read_text(encoding="utf-8")


def test_links_and_named_files_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TUTORIAL)
    named = re.findall(r"\b(?:tests|docs)/[\w/]+\.\w+", TUTORIAL)
    assert links and named
    assert [link for link in links if not (DOCS / link).is_file()] == []
    assert [name for name in named if not (DOCS.parent / name).is_file()] == []


def test_the_contract_tests_cover_the_example() -> None:
    assert f"docs.examples.{KIND}" in board.KINDS


def test_the_fusion_adds_an_interaction_to_the_sum(beside_the_example: None) -> None:
    fusion = make_fusion(KIND, 8)
    torch.manual_seed(0)
    out = fusion.get_submodule("out")
    assert isinstance(out, torch.nn.Linear)
    torch.nn.init.normal_(out.weight)
    long, short, context = torch.randn(3, 8), torch.randn(3, 8), torch.rand(3, 2)
    assert not torch.allclose(sum(fusion(long, short, context)), long + short, atol=0.1)
    for alone in ((long, torch.zeros(3, 8)), (torch.zeros(3, 8), short)):
        for part, interest in zip(fusion(*alone, context), alone, strict=True):
            assert torch.equal(part, interest)


def test_the_fusion_trains_and_scores(beside_the_example: None) -> None:
    torch.set_num_threads(1)
    assert isinstance(make_fusion(KIND, 16), Fusion)
    chosen = board.settings(KIND, epochs=2)
    bundle = fit(
        board.events(),
        board.catalogue(),
        board.documents(),
        chosen,
        cut=board.CUT,
        held_out="last",
    ).bundle
    now = board.CUT.timestamp()
    scores = Scorer(bundle).score([UserState(np.array([0, 2]), np.full(2, now - 60), np.ones(2, np.float32), now)])
    assert np.isfinite(scores.total).all()
    assert 0 < scores.long_share[0] < 1
