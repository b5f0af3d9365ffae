"""Parts of a recipe as a user writes them, for the tests of a user's own code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mgkit.models import PathwayHead, PathwayOutput


class GatedSum(nn.Module):
    """Gates from both pathways' pooled tokens, bounded in (0, 2)."""

    def __init__(
        self,
        rgb_channels: int,
        pose_channels: int,
        *,
        speed_ratio: int,
        hidden: int = 32,
        generator: Any = None,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(rgb_channels + pose_channels, hidden)
        self.up = nn.Linear(hidden, rgb_channels + pose_channels)
        self.sizes = (rgb_channels, pose_channels)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        pooled = torch.cat([rgb.mean(dim=(2, 3, 4)), pose.mean(dim=(2, 3, 4))], dim=1)
        gates = 2 * self.up(self.down(pooled).relu()).sigmoid()[:, :, None, None, None]
        one, other = gates.split(self.sizes, dim=1)
        return one * rgb, other * pose


class Net(nn.Module):
    def __init__(self, classes: int, values: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(values, width), nn.ReLU())
        self.classify = nn.Linear(width, classes)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, PathwayOutput]:
        embedding = self.embed(inputs["pose"].mean(dim=2).flatten(1))  # (N, M * V * 3) -> (N, width)
        return {"pose": PathwayOutput(self.classify(embedding), embedding)}


def my_net(classes: int, inputs: Any, *, width: int = 32, generator: Any = None) -> nn.Module:
    persons, _, joints, numbers = inputs.shapes["pose"]
    return Net(classes, persons * joints * numbers, width)


def centre_loss(outputs: dict[str, PathwayOutput], labels: Tensor) -> dict[str, Tensor]:
    z = outputs["pose"].embedding
    assert z is not None
    return {"pose": (z - z.mean(dim=0)).square().mean(dim=1)}


def drop_joints(keypoints: Tensor, generator: torch.Generator, *, p: float) -> Tensor:
    dropped = torch.rand(keypoints.shape[2], generator=generator) < p
    keypoints[:, :, dropped] = torch.nan
    return keypoints


class CountingHead(PathwayHead):
    """A head that also estimates how far a clip moves, for a loss of its own."""

    def __init__(self, channels: int, classes: int, *, embedding_dim: int = 8, generator: Any = None) -> None:
        super().__init__(channels, classes, embedding_dim=embedding_dim, generator=generator)
        self.motion = nn.Linear(channels, 1)

    def forward(self, features: Tensor) -> PathwayOutput:
        output = super().forward(features)
        return output._replace(auxiliary={"motion": self.motion(features.mean(dim=(2, 3, 4)))[:, 0]})


class MotionLoss(nn.Module):
    """Of an output of the head, with what mgkit knows of the clips."""

    def __init__(self, classes: int, class_names: list[str], *, target: float = 1.0) -> None:
        super().__init__()
        self.targets = nn.Parameter(torch.full((classes,), target), requires_grad=False)
        self.report = f"{len(class_names)} classes"

    def forward(self, outputs: dict[str, PathwayOutput], labels: Tensor) -> Tensor:
        return (outputs["pose"].auxiliary["motion"] - self.targets[labels]).square()
