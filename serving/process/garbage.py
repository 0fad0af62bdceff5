"""Tuning of the garbage collector: scans of long-lived objects slow down the start and cause tail latency."""

import gc

LOADING_THRESHOLDS = (1_000_000, 20, 100)
"""Collections practically disabled: a full scan of everything loaded takes 15 ms."""
SERVING_THRESHOLDS = (2_000, 5, 400)
"""Frequent, short collections: one of generation 0 is shorter than a request, and few objects are rescanned at once."""


def gc_for_loading() -> None:
    """Call before loading many long-lived objects: no collection runs meanwhile."""
    gc.freeze()
    gc.set_threshold(*LOADING_THRESHOLDS)


def gc_for_serving() -> None:
    """Call after loading: freezes the loaded objects without a collection, as almost none are garbage, and enables
    short collections."""
    gc.freeze()
    gc.set_threshold(*SERVING_THRESHOLDS)


def freeze() -> None:
    """Freezes everything allocated so far, so that the garbage collector stops scanning it. Reference counting still
    frees what is in no cycle."""
    gc.collect()
    gc.freeze()
