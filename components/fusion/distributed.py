"""Collective operations of distributed training (torch.distributed).

Without an initialised process group they are no-ops, so the training loop is the same for one process. Otherwise all
processes of the group must call the same functions in the same order.
"""

from collections.abc import Iterable

import torch
from torch import distributed, nn


def rank() -> int:
    """Rank of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def processes() -> int:
    """Number of processes in the group (world size)."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast_from_first(model: nn.Module) -> None:
    """Broadcasts the parameters and buffers of `model` from process 0."""
    if distributed.is_initialized():
        for value in model.state_dict().values():
            distributed.broadcast(value, src=0)


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """The sum of each value over all processes.

    Args:
        device: A device that the group's backend can reach.
    """
    if not distributed.is_initialized():
        return values
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return sums.tolist()


def average_gradients(parameters: Iterable[nn.Parameter], share: float) -> None:
    """Replaces each gradient by its weighted mean over all processes; a missing gradient counts as zero.

    Args:
        share: Weight of this process; the weights of all processes sum to 1.
    """
    if not distributed.is_initialized():
        return
    pending = []
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.mul_(share)
        pending.append(distributed.all_reduce(parameter.grad, async_op=True))
    for reduction in pending:
        reduction.wait()
