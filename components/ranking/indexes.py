"""The indexes of a large catalogue's bundle, built once, as that takes minutes."""

from dataclasses import replace

import numpy as np

from components.arrays.ann import NearestItems
from components.arrays.arrow import numbers
from components.bundle.bundle import Bundle
from components.histories.signals import trend_scores
from components.ranking.scorer import PRIORS

FLAT = 0.5
"""What popularity counts in the distance between items: less than their vectors, as users have longer ones than 1."""


def with_indexes(bundle: Bundle, exact_below: int) -> Bundle:
    """The bundle with its indexes; as it is where it has fewer than `exact_below` items, which are scored one by one.

    Behind an item's vector stands its popularity, of all time and lately as of the cut, as it weighs in the score, so
    that the inner product with `asked` of U is the score but for the collaborative part and for what became of the
    trend. Nothing but their texts makes the order by text: each of their dimensions has a code of its own.
    """
    size = bundle.items.num_rows
    if size < exact_below:
        return bundle
    prior = FLAT * hybrid_prior(bundle)[:, None]
    return replace(
        bundle,
        indexes={
            "vectors": NearestItems.build(size, lambda rows: np.hstack([bundle.vectors[rows], prior[rows]])),
            "texts": NearestItems.build(size, lambda rows: bundle.texts[rows], coded=1),
        },
    )


def asked(user: np.ndarray) -> np.ndarray:
    """What is asked of the index of vectors, float32 (width + 1,), by U (width,)."""
    return np.append(user, np.float32(1 / FLAT))


def hybrid_prior(bundle: Bundle) -> np.ndarray:
    """Float32 (items,): what popularity adds to the score of the hybrid strategy at the bundle's cut."""
    weights = bundle.manifest["mixture"]
    parts = [weights[name] * trend_scores(numbers(bundle.items[name])[None])[0] for name in PRIORS]
    return np.asarray(sum(parts), dtype=np.float32)
