"""Layers that networks and losses share: cosine similarity, flat convolutions, sums and BatchNorm over processes,
recomputed blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mgkit.errors import MgkitError

__all__ = [
    "Conv3d",
    "GlobalBatchNorm",
    "RecomputedBlock",
    "at_least_float32",
    "cosine_similarity",
    "freeze_statistics",
    "gather_over_processes",
    "no_autocast",
    "normalise_over_processes",
    "rank",
    "recompute_blocks",
    "recomputed",
    "shortest",
    "sum_over_processes",
    "unit",
    "world_size",
]


# Cosine similarity: finite, as is its gradient, for vectors of zero or infinite length and in half precision

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
    """A context in which autocast does not lower the precision of computations on the device of x."""
    return torch.autocast(x.device.type, enabled=False)


def shortest(dtype: torch.dtype) -> float:
    """The length below which a vector of this precision has no direction, so that its gradient fits the precision."""
    return SHORTEST_FLOAT16 if dtype == torch.float16 else SHORTEST


def unit(x: Tensor, least: float = SHORTEST) -> Tensor:
    """Vectors (..., D) scaled to length 1; those shorter than `least`, or of no finite length, become 0.

    Their gradient is 0 too, where dividing by a small constant would give a finite but huge one.
    """
    # Vectors without a finite length are replaced before the division: a gradient of 0 times infinity is not 0.
    x = torch.where(torch.linalg.vector_norm(x.detach(), dim=-1, keepdim=True).isfinite(), x, 0.0)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    directed = length > least
    return torch.where(directed, x / torch.where(directed, length, 1.0), 0.0)


# Convolutions


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d`, which on a CPU runs as a 2D convolution where its kernel is flat in time or in space.

    A kernel of (1, h, w) sees the frames one by one, one of (t, 1, 1) the places one by one: the same sums, for which a
    CPU has better code in two dimensions (benchmarks/convolutions.py). In the memory format channels_last_3d, in which
    training and testing keep everything, the change of shape copies nothing.

    Shapes:
        (N, in_channels, T, H, W) -> (N, out_channels, T', H', W'), as `torch.nn.Conv3d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        # Grouped ones stay: torch 2.14 sums a 2D weight's gradient wrongly in float64, channels last, for one clip.
        known = self.groups == 1 and self.dilation == (1, 1, 1) and self.padding_mode == "zeros"
        if input.device.type != "cpu" or input.dim() != 5 or not known or isinstance(self.padding, str):
            return super().forward(input)
        weight, bias = self.weight, self.bias
        kernel, stride, padding = self.kernel_size, self.stride, tuple(self.padding)
        # Along an axis of kernel size 1 a stride leaves places out, which is done here: torch 2.14 writes past the end
        # of the memory of a 1 x 1 kernel's gradient where it strides in the format channels_last over fewer channels
        # than a vector register has floats.
        steps = tuple(s if k == 1 and p == 0 else 1 for k, s, p in zip(kernel, stride, padding, strict=True))
        thinned = input[:, :, :: steps[0], :: steps[1], :: steps[2]]
        stride = tuple(s // step for s, step in zip(stride, steps, strict=True))
        if kernel[0] == 1 and padding[0] == 0:
            frames = thinned.transpose(1, 2)  # (N, T', C, H, W)
            flat = F.conv2d(frames.flatten(0, 1), weight.squeeze(2), bias, stride[1:], padding[1:])
            return flat.unflatten(0, frames.shape[:2]).transpose(1, 2)
        if kernel[1:] == (1, 1) and padding[1:] == (0, 0):
            places = thinned.flatten(3)  # (N, C, T, H' * W')
            # Either axis of size 1 could go; without the third the gradient has the strides of the weight, as DDP asks.
            flat = F.conv2d(places, weight.squeeze(3), bias, (stride[0], 1), (padding[0], 0))
            return flat.unflatten(3, thinned.shape[3:])
        return super().forward(input)


# Sums and gathers over the processes of a training; with one process they cost nothing and change nothing


def world_size() -> int:
    """Number of processes that train together; 1 outside multi-process training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's `x`, the same on all of them.

    The gradient that reaches one process's `x` is the sum of the gradients of all processes, as it must be for a value
    that all of them use. Every process must call this the same number of times, with the same shape.

    Shapes:
        any -> the same.
    """
    return x if world_size() == 1 else cast(Tensor, _SumOverProcesses.apply(x))


def gather_over_processes(x: Tensor) -> Tensor:
    """The rows of every process's `x`, in the order of the processes and the same on all of them, without gradient.

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
    # Only equal shapes can be exchanged: every process pads to the longest, and the padding is cut off again.
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


# Batch normalisation


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm that normalises by the clips of all processes in training; they may have different numbers of clips.

    The counterpart on CPUs of torch's SyncBatchNorm, which needs GPUs. It takes two exchanges: the sums of x, then of
    the squared deviations. With one process, and in evaluation mode, it is ordinary BatchNorm.

    Shapes:
        (N, C), or (N, C, ...) with any axes after that -> the same; N may be 0 on some processes.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes; torch has a class for each."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = at_least_float32(input)
        axes = [0, *range(2, x.ndim)]
        wide = (1, -1, *[1] * (x.ndim - 2))
        values = x.new_tensor([x.numel() // x.shape[1]])
        sums = sum_over_processes(
            torch.cat([x.sum(axes), values])
        )  # (C + 1,): the count travels with the sums
        count = sums[-1].detach()
        mean = sums[:-1] / count
        deviations = x - mean.view(wide)
        variance = sum_over_processes(deviations.square().sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            # Without a momentum the statistics are the mean over all batches so far, as in torch's BatchNorm.
            share = self.momentum
            if share is None:
                share = 1 / (1 + int(cast(Tensor, self.num_batches_tracked)))
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (deviations * scale.view(wide) + self.bias.view(wide)).to(input.dtype)


def normalise_over_processes(module: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm in a module normalise over all processes, in place; names and parameters stay the same."""
    kind: type[nn.Module] = nn.SyncBatchNorm if device.type == "cuda" else GlobalBatchNorm
    for name, child in list(module.named_children()):
        if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            child = cast(nn.BatchNorm3d, child)
            new: Any = kind(child.num_features, child.eps, child.momentum)
            for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(new, key, getattr(child, key))
            new.training = child.training
            setattr(module, name, new)
        else:
            normalise_over_processes(child, device)


def freeze_statistics(module: nn.Module) -> None:
    """Let every BatchNorm of a module normalise by its running statistics in training, without updating them.

    Scale and shift are still trained. Call it after each `module.train()`, which undoes it.
    """
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


# Activation checkpointing: blocks keep only their input and are computed a second time in the backward pass
# (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016)


class RecomputedBlock(nn.Module):
    """A block that can keep only its input in training (`recompute_blocks`); subclasses define `run`, not `forward`."""

    recompute = False

    def run(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the block's output from its input and from what else `forward` is given, which gets no gradient."""
        raise NotImplementedError

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return recomputed(lambda y: self.run(y, *others), self, x)
        return self.run(x, *others)


def recompute_blocks(model: nn.Module) -> None:
    """Let every block of a model keep only its input in training, in place (activation checkpointing).

    Results and gradients stay the same; a step takes about a third longer and holds a fraction of the activations
    (benchmarks/step.py has the numbers). Blocks that can do so have an attribute `recompute`.

    Raises:
        MgkitError: if the model has no such block.
    """
    blocks: list[Any] = [module for module in model.modules() if hasattr(module, "recompute")]
    if not blocks:
        raise MgkitError("save_memory is not possible for this network's blocks: use accumulation instead.")
    for block in blocks:
        block.recompute = True


def recomputed(function: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> Tensor:
    """`function(x)`, whose inner activations are discarded and computed again for the gradient.

    The result, the gradients, random draws (dropout) and the running statistics of BatchNorm are those of a plain call.

    Args:
        function: a part of `module`.
        module: its BatchNorm layers use the same batch statistics the second time, and do not count the batch again.
        x: the input, and the only activation that is kept.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _not_counting(module)

    result: Tensor = checkpoint(function, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _not_counting(module: nn.Module) -> Iterator[None]:
    """Within this context BatchNorm layers normalise by the batch and leave their running statistics alone."""
    norms = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and layer.track_running_stats
    ]
    # Not through `track_running_stats`: the second pass must save the same number of tensors as the first.
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted
