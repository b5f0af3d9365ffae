"""Cosine similarity that stays finite, and so does its gradient: for vectors of length 0, of infinite length, and in
half precision."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "cosine_similarity", "no_autocast", "shortest", "unit"]

SHORTEST = 1e-6  # a vector shorter than this has no direction: similarity 0, no gradient
SHORTEST_FLOAT16 = 1e-3  # the gradient grows as 1 / length, and float16 ends at 65504


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of every row of a to every row of b.

    It is 0, with zero gradient, for vectors whose length is 0 or not finite.

    Shapes:
        a (N, D), b (K, D) -> (N, K) in -1..1.
    """
    with no_autocast(a):
        least = shortest(a.dtype)
        a = at_least_float32(a)
        return unit(a, least) @ unit(b.to(a.dtype), least).T


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which autocast does not lower the precision of what is computed on the device of x."""
    return torch.autocast(x.device.type, enabled=False)


def shortest(dtype: torch.dtype) -> float:
    """The length below which a vector of this precision has no direction, so that its gradient fits the precision."""
    return SHORTEST_FLOAT16 if dtype == torch.float16 else SHORTEST


def unit(x: Tensor, least: float = SHORTEST) -> Tensor:
    """Vectors (..., D) scaled to length 1; those shorter than `least`, or of no finite length, become 0.

    Their gradient is 0 too, where dividing by a small constant would give a finite but huge one.
    """
    # What has no finite length is replaced before it is divided: a gradient of 0 times infinity is not 0.
    x = torch.where(torch.linalg.vector_norm(x.detach(), dim=-1, keepdim=True).isfinite(), x, 0.0)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    directed = length > least
    return torch.where(directed, x / torch.where(directed, length, 1.0), 0.0)
