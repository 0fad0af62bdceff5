"""The garbage collector: its walks over what lives as long as the process cost start time, and are latency's tail."""

import gc

LOADING = (50_000, 20, 100)
"""Few walks."""
ANSWERING = (2_000, 5, 400)
"""Short ones: a walk of the youngest objects takes less time than an answer, and few are walked over again at once."""


def expect_much() -> None:
    """Before much is loaded that stays: few walks meanwhile, none of them over what is there already."""
    gc.freeze()
    gc.set_threshold(*LOADING)


def freeze() -> None:
    """Takes all that is there now out of the walks, and has many short ones from now on. Without a cycle it is freed
    all the same when nobody needs it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*ANSWERING)
