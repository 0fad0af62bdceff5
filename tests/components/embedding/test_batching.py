import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.embedding.transformers_encoder import make_batches


@given(st.lists(st.integers(0, 200), max_size=80), st.integers(1, 300), st.integers(1, 20))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int, size: int) -> None:
    batches = make_batches(lengths, budget, size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) <= size
        assert len(batch) == 1 or longest * len(batch) <= budget


def test_similar_lengths_share_a_batch_longest_first() -> None:
    batches = make_batches([3, 90, 4, 100, 5], token_budget=200, batch_size=10)
    assert [list(batch) for batch in batches] == [[3, 1], [4, 2, 0]]


def test_no_texts_give_no_batches() -> None:
    assert make_batches([], 100, 10) == []
    assert all(isinstance(batch, np.ndarray) for batch in make_batches([1], 100, 10))
