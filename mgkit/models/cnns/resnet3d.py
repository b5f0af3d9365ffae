"""Bottleneck 3D ResNets: the two pathways of the PoseConv3D family.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022 (PoseConv3D, RGBPose-Conv3D); the backbone of
Chen et al., "Prototype Learning for Micro-gesture Classification", 2nd MiGA challenge at IJCAI 2024, section 2.1.
Both pathways are one class with different numbers; it treats frames and heatmaps alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError
from mgkit.models.layers import Conv3d, RecomputedBlock

__all__ = [
    "Bottleneck",
    "ConvNorm",
    "ResNet3d",
    "Stem",
    "open_residual_blocks",
    "pose_pathway",
    "rgb_pathway",
]

EXPANSION = 4  # a bottleneck block's output is four times its inner width, as in every ResNet-50


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm, then ReLU unless `activate` is off.

    Args:
        in_channels, out_channels: channels in and out.
        kernel, stride: (time, height, width). Padding is "same": half of each (odd) kernel size.
        activate: end with a ReLU. Off before a residual sum.

    Shapes:
        (N, in_channels, T, H, W) -> (N, out_channels, ceil(T / st), ceil(H / sh), ceil(W / sw)).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] = (1, 1, 1),
        activate: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(out_channels)
        self.act = nn.ReLU(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Bottleneck(RecomputedBlock):
    """1x1x1 (or 3x1x1) -> 1x3x3 -> 1x1x1 with a residual connection.

    Args:
        in_channels: channels in, lateral channels included.
        width: inner channels; the output has `4 * width`.
        inflate: make the first convolution 3x1x1, so that the block sees neighbouring frames.
        spatial_stride, temporal_stride: stride of the middle convolution and of the shortcut.

    Shapes:
        (N, in_channels, T, H, W) -> (N, 4 * width, ceil(T / temporal_stride), ceil(H / spatial_stride), ...).
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        inflate: bool = False,
        spatial_stride: int = 1,
        temporal_stride: int = 1,
    ) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        stride = (temporal_stride, spatial_stride, spatial_stride)
        self.conv1 = ConvNorm(in_channels, width, kernel=(3 if inflate else 1, 1, 1))
        self.conv2 = ConvNorm(width, width, kernel=(1, 3, 3), stride=stride)
        self.conv3 = ConvNorm(width, out_channels, kernel=(1, 1, 1), activate=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1, 1) or in_channels != out_channels:
            self.shortcut = ConvNorm(
                in_channels, out_channels, kernel=(1, 1, 1), stride=stride, activate=False
            )
        self.act = nn.ReLU(inplace=True)

    def run(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x)))


class Stem(ConvNorm):
    """1x7x7 convolution, BatchNorm, ReLU, then a 1x3x3 max-pool. The number of frames stays.

    `stride` is the spatial stride of the convolution, `pool` that of the max-pool: 2 halves the size, 1 keeps it (the
    pose pathway pools without shrinking, as the published networks do).

    Shapes:
        (N, in_channels, T, H, W) -> (N, width, T, ceil(ceil(H / stride) / pool), ...).
    """

    def __init__(self, in_channels: int, width: int, *, stride: int, pool: int) -> None:
        super().__init__(in_channels, width, kernel=(1, 7, 7), stride=(1, stride, stride))
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, pool, pool), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(super().forward(x))


class ResNet3d(nn.Module):
    """A bottleneck 3D ResNet that can be run stage by stage.

    Args:
        in_channels: 3 for frames, the number of joints (or limbs) for heatmaps.
        width: channels of the stem; the output of stage `i` has `4 * width * 2**i`.
        blocks: residual blocks in each stage.
        inflate: per stage, whether its blocks look along time (3x1x1 first convolution).
        spatial_strides, temporal_strides: per stage, the stride of its first block.
        stem_stride, stem_pool: spatial strides of the stem's convolution and of its max-pool.
        lateral_channels: per stage, the channels of another pathway that are concatenated *after* this pathway's own
            before the stage. All zero by default.
        generator: source of the initial weights; torch's own when omitted. It must live on the device on which the
            network is built.

    Shapes:
        forward: (N, in_channels, T, H, W) -> (N, out_channels[-1], T', H', W').

    Raises:
        MgkitError: if the per-stage arguments differ in length, or if `forward` is called on a network with lateral
            channels.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int,
        blocks: Sequence[int],
        inflate: Sequence[bool],
        spatial_strides: Sequence[int],
        temporal_strides: Sequence[int],
        stem_stride: int,
        stem_pool: int,
        lateral_channels: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        lateral_channels = (0,) * len(blocks) if lateral_channels is None else lateral_channels
        lengths = {len(x) for x in (blocks, inflate, spatial_strides, temporal_strides, lateral_channels)}
        if len(lengths) != 1 or not blocks:
            raise MgkitError(
                "blocks, inflate, spatial_strides, temporal_strides and lateral_channels need one value per stage; "
                f"got {len(blocks)}, {len(inflate)}, {len(spatial_strides)}, {len(temporal_strides)} and "
                f"{len(lateral_channels)}"
            )
        if min(in_channels, width, *blocks) < 1:
            raise MgkitError(
                f"in_channels, width and every entry of blocks must be at least 1; got {in_channels}, {width} "
                f"and {tuple(blocks)}"
            )
        self.in_channels = in_channels
        self.lateral_channels = tuple(lateral_channels)
        self.out_channels = tuple(EXPANSION * width * 2**i for i in range(len(blocks)))
        self.stem = Stem(in_channels, width, stride=stem_stride, pool=stem_pool)
        stages: list[nn.Module] = []
        channels = width
        for i, count in enumerate(blocks):
            channels += lateral_channels[i]
            stage: list[nn.Module] = []
            for j in range(count):
                stage.append(
                    Bottleneck(
                        channels,
                        width * 2**i,
                        inflate=inflate[i],
                        spatial_stride=spatial_strides[i] if j == 0 else 1,
                        temporal_stride=temporal_strides[i] if j == 0 else 1,
                    )
                )
                channels = self.out_channels[i]
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw Kaiming normal convolutions; BatchNorm is 1 and 0, the last one of each residual block 0.

        The zero makes every residual block the identity at the start of training.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(module, nn.BatchNorm3d):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.conv3.norm.weight)

    def run_stage(self, index: int, x: Tensor, lateral: Tensor | None = None) -> Tensor:
        """Run stage `index` on this pathway's features and, if it takes any, the other pathway's lateral ones.

        Shapes:
            x (N, C, T, H, W), lateral (N, lateral_channels[index], T, H, W)
            -> (N, out_channels[index], T', H', W').
        """
        if lateral is not None:
            x = torch.cat((x, lateral), dim=1)
        return cast(Tensor, self.stages[index](x))

    def forward(self, x: Tensor) -> Tensor:
        if any(self.lateral_channels):
            raise MgkitError(
                f"this network takes {self.lateral_channels} lateral channels before its stages: use stem and "
                "run_stage, or build it with lateral_channels=None"
            )
        x = self.stem(x)
        for index in range(len(self.stages)):
            x = self.run_stage(index, x)
        return x  # (N, out_channels[-1], T', H', W')


def open_residual_blocks(model: nn.Module) -> None:
    """Set the last BatchNorm of every residual block of a fresh model to 1 instead of 0, in place.

    Zeros suit deep networks, which then begin as shallow ones. With one block per stage hardly anything is left at the
    beginning, and the network learns several times slower.
    """
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.ones_(module.conv3.norm.weight)


def rgb_pathway(
    *,
    width: int = 64,
    blocks: Sequence[int] = (3, 4, 6, 3),
    lateral_channels: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> ResNet3d:
    """The RGB pathway: SlowOnly ResNet-50 by default.

    Shapes:
        (N, 3, T, H, W) -> (N, 32 * width, T, H / 32, W / 32): 2048 x 8 x 7 x 7 for 8 frames of 224 x 224.
    """
    stages = len(blocks)
    return ResNet3d(
        in_channels=3,
        width=width,
        blocks=blocks,
        inflate=[i >= 2 for i in range(stages)],
        spatial_strides=[1 if i == 0 else 2 for i in range(stages)],
        temporal_strides=[1] * stages,
        stem_stride=2,
        stem_pool=2,
        lateral_channels=lateral_channels,
        generator=generator,
    )


def pose_pathway(
    num_joints: int,
    *,
    width: int = 32,
    blocks: Sequence[int] = (4, 6, 3),
    halve_time: bool = False,
    lateral_channels: Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> ResNet3d:
    """The pose pathway: PoseConv3D's SlowOnly by default, on one heatmap per joint (or limb).

    `halve_time` gives the last stage a temporal stride of 2, as some published skeleton-only settings do.

    Shapes:
        (N, num_joints, T, h, w) -> (N, 16 * width, T, h / 8, w / 8): 512 x 32 x 7 x 7 for 32 heatmaps of 56 x 56.
    """
    stages = len(blocks)
    return ResNet3d(
        in_channels=num_joints,
        width=width,
        blocks=blocks,
        inflate=[i >= 1 for i in range(stages)],
        spatial_strides=[2] * stages,
        temporal_strides=[2 if halve_time and i == stages - 1 else 1 for i in range(stages)],
        stem_stride=1,
        stem_pool=1,
        lateral_channels=lateral_channels,
        generator=generator,
    )
