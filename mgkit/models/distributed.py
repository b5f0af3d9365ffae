"""Sums over the processes of a training, with gradients. With one process they cost nothing and change
nothing."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["sum_over_processes", "world_size"]


def world_size() -> int:
    """Number of processes that train together; 1 outside multi-process training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's `x`, the same on all of them.

    The gradient that reaches one process's `x` is the sum of the gradients of all processes, as it must be
    for a value that all of them use. Every process must call this the same number of times, with the same
    shape.

    Shapes:
        any -> the same.
    """
    return x if world_size() == 1 else cast(Tensor, _SumOverProcesses.apply(x))


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(x: Tensor) -> Tensor:
    total = x.detach().contiguous().clone()
    dist.all_reduce(total)
    return total
