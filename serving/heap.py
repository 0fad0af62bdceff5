"""The garbage collector: its walks over what lives as long as the process cost start time, and are latency's tail."""

import gc

THRESHOLD = (50_000, 20, 100)


def expect_much() -> None:
    """Before much is loaded that stays: few walks meanwhile, none of them over what is there already."""
    gc.freeze()
    gc.set_threshold(*THRESHOLD)


def freeze() -> None:
    """Takes all that is there now out of the walks."""
    gc.collect()
    gc.freeze()
