"""One pathway alone: the RGB-only and pose-only models, which are also a two-pathway model's branches, and whatever
other network reads one kind of input.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022: PoseConv3D for pose, SlowOnly for RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError, some
from mgkit.models.heads import PathwayHead, PathwayOutput, Pool
from mgkit.models.resnet3d import ResNet3d, pose_pathway, rgb_pathway

__all__ = ["SinglePathway", "pick_input", "pose_only", "rgb_only"]

Pathway = Literal["rgb", "pose"]


class Backbone(Protocol):
    """What a pathway's network must be beside an nn.Module: it says how many channels its features have."""

    @property
    def out_channels(self) -> Sequence[int]: ...

    def __call__(self, x: Tensor) -> Tensor: ...


class SinglePathway(nn.Module):
    """One pathway with its head.

    Args:
        name: "rgb" or "pose": which input it reads, and the key of its output.
        backbone: a ResNet3d without lateral channels, or any other network from the input to features (N, C, T, H, W)
            that has `out_channels`, whose last is C, and refuses inputs that do not fit.
        num_classes, embedding_dim, embedding_pool, dropout, generator: see PathwayHead.
        head: the head on these features instead of a PathwayHead with these arguments.

    Shapes:
        forward: {name: (N, C, T, H, W), ...} -> {name: PathwayOutput}. Other inputs are ignored. Skeleton networks take
        (N, M, T, V, 3) instead.
    """

    def __init__(
        self,
        name: Pathway,
        backbone: Backbone,
        num_classes: int,
        *,
        head: PathwayHead | None = None,
        embedding_dim: int | None = 256,
        embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if name not in ("rgb", "pose"):
            raise MgkitError(f"A pathway is called 'rgb' or 'pose', not {name!r}.")
        self.pathways: tuple[str, ...] = (name,)
        if head is None:
            head = PathwayHead(
                backbone.out_channels[-1],
                num_classes,
                embedding_dim=embedding_dim,
                embedding_pool=embedding_pool,
                dropout=dropout,
                generator=generator,
            )
        # The same names as in TwoPathway, so that merging two branches is copying by name.
        self.backbones = nn.ModuleDict({name: cast(nn.Module, backbone)})
        self.heads = nn.ModuleDict({name: head})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, PathwayOutput]:
        (name,) = self.pathways
        backbone = self.backbones[name]
        return {name: self.heads[name](backbone(pick_input(inputs, name, backbone)))}


def pick_input(inputs: Mapping[str, Tensor], name: str, backbone: nn.Module) -> Tensor:
    """The input called `name`, or a MgkitError that says what is missing or has the wrong shape."""
    if name not in inputs:
        raise MgkitError(f"The model needs the input {name!r}, but got {some(inputs) or 'none'}.")
    x = inputs[name]
    if isinstance(backbone, ResNet3d) and (x.ndim != 5 or x.shape[1] != backbone.in_channels):
        raise MgkitError(
            f"The {name} input must have the shape (clips, {backbone.in_channels}, frames, height, width), "
            f"but has {tuple(x.shape)}. Frames have 3 channels, heatmaps one a joint of the skeleton."
        )
    return x


def rgb_only(
    num_classes: int,
    *,
    width: int = 64,
    blocks: Sequence[int] = (3, 4, 6, 3),
    embedding_dim: int | None = 256,
    embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
    dropout: float = 0.5,
    generator: torch.Generator | None = None,
) -> SinglePathway:
    """The RGB-only model: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    `width` and `blocks` as in rgb_pathway, the rest as in PathwayHead.
    """
    backbone = rgb_pathway(width=width, blocks=blocks, generator=generator)
    return SinglePathway(
        "rgb",
        backbone,
        num_classes,
        embedding_dim=embedding_dim,
        embedding_pool=embedding_pool,
        dropout=dropout,
        generator=generator,
    )


def pose_only(
    num_classes: int,
    num_joints: int,
    *,
    width: int = 32,
    blocks: Sequence[int] = (4, 6, 3),
    halve_time: bool = False,
    embedding_dim: int | None = 256,
    embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
    dropout: float = 0.5,
    generator: torch.Generator | None = None,
) -> SinglePathway:
    """The pose-only model: {"pose": (N, num_joints, T, h, w)} -> {"pose": PathwayOutput}.

    `width`, `blocks` and `halve_time` as in pose_pathway, the rest as in PathwayHead.
    """
    backbone = pose_pathway(
        num_joints, width=width, blocks=blocks, halve_time=halve_time, generator=generator
    )
    return SinglePathway(
        "pose",
        backbone,
        num_classes,
        embedding_dim=embedding_dim,
        embedding_pool=embedding_pool,
        dropout=dropout,
        generator=generator,
    )
