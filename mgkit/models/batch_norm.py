"""Batch normalisation over the clips of all processes, and with statistics that stay as they are."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mgkit.models.distributed import sum_over_processes, world_size
from mgkit.models.similarity import at_least_float32

__all__ = ["GlobalBatchNorm", "freeze_statistics", "normalise_over_processes"]


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose statistics in training are those of the clips of all processes, whose numbers may differ.

    What torch's SyncBatchNorm is on GPUs, for those that it does not know, CPUs: from the sums of x and of its squared
    deviations, with two exchanges. Without several processes, and in evaluation mode, it is ordinary BatchNorm.

    Shapes:
        (N, C), or (N, C, ...) with any axes after that -> the same; N may be 0 on some processes.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do, which torch has a class each for."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = at_least_float32(input)
        axes = [0, *range(2, x.ndim)]
        wide = (1, -1, *[1] * (x.ndim - 2))
        values = x.new_tensor([x.numel() // x.shape[1]])
        sums = sum_over_processes(torch.cat([x.sum(axes), values]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        deviations = x - mean.view(wide)
        variance = sum_over_processes(deviations.square().sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            share = cast(float, self.momentum)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (deviations * scale.view(wide) + self.bias.view(wide)).to(input.dtype)


def normalise_over_processes(module: nn.Module, device: torch.device) -> None:
    """Make every BatchNorm inside a module one over all processes, in place; names and parameters stay the same."""
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
    """Let every BatchNorm of a module in training mode normalise by its running statistics, and leave those alone.

    Scale and shift go on learning. To be called after each `module.train()`, which undoes it.
    """
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
