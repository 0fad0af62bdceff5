import pytest
import torch

from components.embedding.transformers_encoder import pool

HIDDEN = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])


@pytest.mark.parametrize(("pooling", "expected"), [("mean", [0.6, 0.8]), ("cls", [1.0, 0.0]), ("last", [0.0, 1.0])])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_is_ignored(pooling: str, expected: list[float], side: str) -> None:
    hidden, mask = HIDDEN, torch.tensor([[1, 1, 0]])
    if side == "left":
        hidden, mask = hidden[:, [2, 0, 1]], torch.tensor([[0, 1, 1]])
    assert pool(hidden, mask, pooling)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_row_without_tokens_is_zero(pooling: str) -> None:
    assert pool(HIDDEN, torch.zeros(1, 3, dtype=torch.long), pooling).tolist() == [[0.0, 0.0]]
