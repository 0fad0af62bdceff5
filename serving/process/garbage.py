"""The garbage collector: its walks over what lives as long as the process cost start time, and are latency's tail."""

import gc

LOADING_THRESHOLDS = (1_000_000, 20, 100)
"""A walk only where something is wrong: one over all that was loaded takes 15 ms."""
SERVING_THRESHOLDS = (2_000, 5, 400)
"""Short ones: a walk of the youngest objects takes less time than an answer, and few are walked over again at once."""


def gc_for_loading() -> None:
    """Before much is loaded that stays: no walk meanwhile."""
    gc.freeze()
    gc.set_threshold(*LOADING_THRESHOLDS)


def gc_for_serving() -> None:
    """After much was loaded: takes it out of the walks without a last one, as next to none of it is garbage, and has
    many short ones from now on."""
    gc.freeze()
    gc.set_threshold(*SERVING_THRESHOLDS)


def freeze() -> None:
    """Freezes everything allocated so far, so that the garbage collector stops scanning it. Without a cycle it is
    freed all the same when nobody needs it."""
    gc.collect()
    gc.freeze()
