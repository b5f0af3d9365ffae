"""Batch normalisation over the clips of all processes, and with statistics that stay as they are."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgkit.models.distributed import sum_over_processes, world_size

__all__ = ["GlobalBatchNorm3d", "freeze_statistics", "normalise_over_processes"]


class GlobalBatchNorm3d(nn.SyncBatchNorm):
    """BatchNorm whose statistics in training are those of the clips of all processes, whose numbers may differ.

    The state dict is that of `nn.BatchNorm3d`. On a GPU torch's own SyncBatchNorm computes it, which knows no CPU; on
    a CPU it is done here from the sums of x and of its squared deviations, with two exchanges. Without several
    processes, and in evaluation mode, it is ordinary BatchNorm.

    Shapes:
        (N, C, T, H, W) -> the same; N may be 0 on some processes.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, self.training,
                cast(float, self.momentum), self.eps,
            )  # fmt: skip
        if input.device.type != "cpu":
            return super().forward(input)
        x = input.float()
        axes = [0, 2, 3, 4]
        values = torch.tensor([float(x.numel() // x.shape[1])])
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


def normalise_over_processes(module: nn.Module) -> None:
    """Make every BatchNorm3d inside a module a `GlobalBatchNorm3d`, with the same parameters, in place."""
    for name, child in list(module.named_children()):
        if type(child) is nn.BatchNorm3d:
            new: Any = GlobalBatchNorm3d(child.num_features, child.eps, child.momentum, device="meta")
            for key in ("weight", "bias"):
                setattr(new, key, getattr(child, key))
            for key in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(new, key, getattr(child, key))
            new.training = child.training
            setattr(module, name, new)
        else:
            normalise_over_processes(child)


def freeze_statistics(module: nn.Module) -> None:
    """Let every BatchNorm of a module in training mode normalise by its running statistics, and leave those alone.

    Scale and shift go on learning. To be called after each `module.train()`, which undoes it.
    """
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
