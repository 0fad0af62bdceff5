"""What processes that train one model together tell each other, through torch.distributed.

A process that trains alone, where no process group is initialised, tells nobody anything: all of this then changes
nothing. Otherwise every process of the group must call the same functions in the same order.
"""

from collections.abc import Iterable

import torch
from torch import distributed, nn


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast_from_first(model: nn.Module) -> None:
    """Gives `model` the parameters and buffers that it has in process 0."""
    if distributed.is_initialized():
        for value in model.state_dict().values():
            distributed.broadcast(value, src=0)


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """The sum of each value over all processes. device: where the backend of the group can reach them."""
    if not distributed.is_initialized():
        return values
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return sums.tolist()


def average_gradients(parameters: Iterable[nn.Parameter], share: float) -> None:
    """Replaces each gradient by its weighted mean over all processes.

    share: the weight of this process; those of all processes sum to 1. A missing gradient counts as zero.
    """
    if not distributed.is_initialized():
        return
    pending = []
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.mul_(share)
        pending.append(distributed.all_reduce(parameter.grad, async_op=True))
    for reduction in pending:
        reduction.wait()
