"""Custom fusions are imported, instantiated and checked; errors are raised before any training."""

import sys
from pathlib import Path

import pytest
import torch

from components.fusion.fusions import UnknownFusion, make_fusion

SOURCE = """
import torch
from components.fusion.fusions import Fusion

NUMBER = 1

class Sum(Fusion):
    def __init__(self, width):
        super().__init__(width)
        self.drop = torch.nn.Dropout(0.5)
    def forward(self, long, short, context):
        return self.drop(long), short

class Stranger:
    pass

class Demanding(Fusion):
    def __init__(self, width, taste):
        super().__init__(width)

class Unwritten(Fusion):
    pass

class Whole(Fusion):
    def forward(self, long, short, context):
        return long + short

class Narrow(Fusion):
    def forward(self, long, short, context):
        return long[..., :1], short

class Normed(Fusion):
    def forward(self, long, short, context):
        return long / long.norm(dim=-1, keepdim=True), short

class Branching(Fusion):
    def forward(self, long, short, context):
        return (long, short) if long.sum() > 0 else (short, long)

class Foreign(Fusion):
    def forward(self, long, short, context):
        return torch.linalg.matrix_exp(long[..., None, :] * long[..., None])[..., 0], short
"""
UNUSABLE = {
    "Absent": r"'own:Absent'.*own\.py.*not there.*Sum",
    "NUMBER": "no subclass of components.fusion.fusions.Fusion",
    "Stranger": "no subclass of components.fusion.fusions.Fusion",
    "Fusion": "no subclass of components.fusion.fusions.Fusion",
    "Demanding": "own:Demanding cannot be made with width 8.*taste",
    "Unwritten": "own:Unwritten fails on interests of shape.*NotImplementedError",
    "Whole": "a long and a short part",
    "Narrow": "a long and a short part",
    "Normed": "not finite, where both interests are zero",
    "Branching": "gives other parts as an ONNX graph",
    "Foreign": "own:Foreign cannot be exported to ONNX",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file own.py in the working directory, which is not on sys.path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    file = tmp_path / "own.py"
    file.write_text(SOURCE)
    return file


def test_a_fusion_in_the_working_directory_is_loaded_for_training(own: Path) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    fusion = make_fusion("own:Sum", 8)
    assert fusion.training
    assert torch.equal(torch.random.get_rng_state(), before)
    long, short = torch.randn(2, 8), torch.randn(2, 8)
    assert torch.equal(fusion.eval()(long, short, torch.zeros(2, 2))[0], long)


def test_a_fusion_in_an_installed_package_is_loaded() -> None:
    assert type(make_fusion("components.fusion.fusions:Gated", 8)) is type(make_fusion("gated", 8))


@pytest.mark.parametrize(("name", "message"), UNUSABLE.items(), ids=UNUSABLE)
def test_an_unusable_fusion_is_refused_with_the_reason(own: Path, name: str, message: str) -> None:
    with pytest.raises(UnknownFusion, match=message):
        make_fusion(f"own:{name}", 8)


def test_a_missing_module_is_reported_with_the_folder(own: Path) -> None:
    with pytest.raises(
        UnknownFusion, match=rf"nowhere:Sum.*{own.parent}.*No module named .nowhere.*DUOTEMPO_FUSION__KIND"
    ):
        make_fusion("nowhere:Sum", 8)


def test_an_import_error_is_reported(own: Path) -> None:
    own.write_text("import torch\nraise ZeroDivisionError('at the top')")
    with pytest.raises(UnknownFusion, match=r"own:Sum cannot be imported.*ZeroDivisionError: at the top"):
        make_fusion("own:Sum", 8)
