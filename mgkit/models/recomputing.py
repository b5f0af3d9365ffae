"""Activation checkpointing: residual blocks keep only their input and are computed a second time going backward.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["recomputed"]


def recomputed(function: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> Tensor:
    """`function(x)`, whose inner activations are thrown away and computed again for the gradient.

    The result, the gradients, random draws (dropout) and the running statistics of BatchNorm are those of a plain
    call: the second computation uses the same batch statistics and counts nothing a second time.

    Args:
        function: a part of `module`.
        module: whose BatchNorm layers must not count the second computation.
        x: its input; the only activation that is kept.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _not_counting(module)

    result: Tensor = checkpoint(function, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _not_counting(module: nn.Module) -> Iterator[None]:
    """BatchNorm layers normalise by the batch as in training, and leave their running statistics alone."""
    norms = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and layer.track_running_stats
    ]
    # Not `track_running_stats`: the second computation must keep as many tensors as the first.
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted
