"""Sums, with gradients, and collections over the processes of a training. With one process they cost nothing and
change nothing."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = ["gather_over_processes", "rank", "sum_over_processes", "world_size"]


def world_size() -> int:
    """Number of processes that train together; 1 outside multi-process training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of these processes this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's `x`, the same on all of them.

    The gradient that reaches one process's `x` is the sum of the gradients of all processes, as it must be
    for a value that all of them use. Every process must call this the same number of times, with the same
    shape.

    Shapes:
        any -> the same.
    """
    return x if world_size() == 1 else cast(Tensor, _SumOverProcesses.apply(x))


def gather_over_processes(x: Tensor) -> Tensor:
    """The rows of every process's `x`, in the order of the processes, the same on all of them; without gradient.

    Every process must call this the same number of times; their numbers of rows may differ, and may be 0.

    Shapes:
        (n, ...) -> (sum of the n, ...).
    """
    x = x.detach()
    if world_size() == 1:
        return x
    counts = torch.zeros(world_size(), dtype=torch.int64, device=x.device)
    counts[dist.get_rank()] = len(x)
    dist.all_reduce(counts)
    rows = counts.tolist()
    # Processes exchange equal shapes only: all send as many rows as the longest has, and the rest is cut off.
    padded = x.new_zeros(max(rows), *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, rows, strict=True)])


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
