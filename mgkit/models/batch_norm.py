"""Batch normalisation over the clips of all processes, and with statistics that stay as they are."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mgkit.models.distributed import sum_over_processes, world_size
from mgkit.models.similarity import at_least_float32

__all__ = ["GlobalBatchNorm3d", "freeze_statistics", "normalise_over_processes"]


class GlobalBatchNorm3d(nn.BatchNorm3d):
    """BatchNorm whose statistics in training are those of the clips of all processes, whose numbers may differ.

    What torch's SyncBatchNorm is on GPUs, for those that it does not know, CPUs: from the sums of x and of its squared
    deviations, with two exchanges. Without several processes, and in evaluation mode, it is ordinary BatchNorm.

    Shapes:
        (N, C, T, H, W) -> the same; N may be 0 on some processes.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = at_least_float32(input)
        axes = [0, 2, 3, 4]
        values = x.new_tensor([x.numel() // x.shape[1]])
        sums = sum_over_processes(torch.cat([x.sum(axes), values]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        deviations = x - mean.view(1, -1, 1, 1, 1)
        variance = sum_over_processes(deviations.square().sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            share = cast(float, self.momentum)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return (deviations * scale.view(1, -1, 1, 1, 1) + self.bias.view(1, -1, 1, 1, 1)).to(input.dtype)


def normalise_over_processes(module: nn.Module, device: torch.device) -> None:
    """Make every BatchNorm3d inside a module one over all processes, in place; names and parameters stay the same."""
    kind: type[nn.Module] = nn.SyncBatchNorm if device.type == "cuda" else GlobalBatchNorm3d
    for name, child in list(module.named_children()):
        if type(child) is nn.BatchNorm3d:
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
