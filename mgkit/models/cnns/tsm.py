"""TSM: a 2D ResNet whose blocks look at the frames before and after by shifting channels along time.

Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019. A fraction of the channels is
taken from the next frame and the same number from the previous one, inside the residual branch ("residual shift"), so
that the frame's own features stay intact on the shortcut. The shift has no weights, so those of an image classifier
load unchanged, under torchvision's names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError
from mgkit.models.builders import Inputs, check_reads
from mgkit.models.cnns.resnet3d import EXPANSION
from mgkit.models.layers import RecomputedBlock
from mgkit.models.pathways import HEAD, SinglePathway
from mgkit.parts import Part

__all__ = ["ShiftedBottleneck", "TSMResNet", "temporal_shift", "tsm", "tsm_resnet"]


def temporal_shift(x: Tensor, segments: int, shift_div: int = 8) -> Tensor:
    """Move a fraction of the channels by one frame in each direction, zeros where there is no such frame.

    Of C channels the first C // shift_div come from the next frame, the same number from the previous one, and the
    others stay (Lin et al., section 3).

    Args:
        x: (N * segments, C, H, W), the frames of each clip in order. Its memory format is kept.
        segments: frames per clip.
        shift_div: a share of 1 / shift_div of the channels moves in each direction.

    Returns:
        a tensor of the same shape.

    Raises:
        MgkitError: if the frames are not a multiple of `segments`, or `shift_div` is less than 2.

    >>> temporal_shift(torch.arange(1.0, 7.0).reshape(2, 3, 1, 1), segments=2, shift_div=3).flatten(1)
    tensor([[4., 0., 3.],
            [0., 2., 6.]])
    """
    if x.ndim != 4 or segments < 1 or x.shape[0] % segments:
        raise MgkitError(
            f"temporal_shift needs (clips * {segments}, channels, height, width), but got {tuple(x.shape)}: give the "
            f"frames of whole clips of {segments}"
        )
    if shift_div < 2:
        raise MgkitError(
            f"shift_div must be at least 2, as both directions take their share; got {shift_div}"
        )
    return cast(Tensor, _Shift.apply(x, segments, x.shape[1] // shift_div, True))


class _Shift(torch.autograd.Function):
    """The shift; its gradient is the same shift in the other direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: int, fold: int, next_first: bool) -> Tensor:
        ctx.arguments = segments, fold, not next_first
        result = x.clone()
        old, new = (y.unflatten(0, (len(x) // segments, segments)) for y in (x, result))
        first, second = slice(0, fold), slice(fold, 2 * fold)
        from_next, from_last = (first, second) if next_first else (second, first)
        new[:, :-1, from_next] = old[:, 1:, from_next]
        new[:, -1, from_next] = 0
        new[:, 1:, from_last] = old[:, :-1, from_last]
        new[:, 0, from_last] = 0
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        segments, fold, next_first = ctx.arguments
        return cast(Tensor, _Shift.apply(gradients[0], segments, fold, next_first)), None, None, None


class ShiftedBottleneck(RecomputedBlock):
    """torchvision's bottleneck block, 1x1 -> 3x3 (with the stride) -> 1x1, whose residual branch begins with a shift.

    Args:
        in_channels: channels in.
        width: inner channels; the output has `4 * width`.
        stride: of the middle convolution and the shortcut.
        shift_div: see temporal_shift; None for no shift.

    Shapes:
        (N * segments, in_channels, H, W) -> (N * segments, 4 * width, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, width: int, *, stride: int = 1, shift_div: int | None = 8) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.shift_div = shift_div
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def run(self, x: Tensor, segments: int) -> Tensor:
        residual = x if self.shift_div is None else temporal_shift(x, segments, self.shift_div)
        residual = self.relu(self.bn1(self.conv1(residual)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        shortcut = x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(residual + shortcut))


class TSMResNet(nn.Module):
    """A bottleneck ResNet on every frame, with shifts between them. Arguments: see tsm_resnet.

    Shapes:
        (N, 3, T, H, W) -> (N, out_channels[-1], T, ceil(H / 32), ceil(W / 32)) with four stages.

    Raises:
        MgkitError: if the arguments do not describe a network, or `forward` gets another shape.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        width: int,
        shift_div: int | None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not blocks or min(width, *blocks) < 1:
            raise MgkitError(
                f"width and every entry of blocks must be at least 1; got {width} and {tuple(blocks)}"
            )
        if shift_div is not None and shift_div < 2:
            raise MgkitError(f"shift_div must be at least 2, or None for no shift; got {shift_div}")
        self.in_channels = 3
        self.out_channels = tuple(EXPANSION * width * 2**i for i in range(len(blocks)))
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        # As published: deep networks (ResNet-101, 23 blocks in a stage) shift in every second block only.
        every = 2 if max(blocks) >= 23 else 1
        channels = width
        for stage, count in enumerate(blocks):
            layer = nn.ModuleList()
            for index in range(count):
                layer.append(
                    ShiftedBottleneck(
                        channels,
                        width * 2**stage,
                        stride=2 if stage > 0 and index == 0 else 1,
                        shift_div=shift_div if index % every == 0 else None,
                    )
                )
                channels = self.out_channels[stage]
            self.add_module(f"layer{stage + 1}", layer)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the initial weights of torchvision's ResNets: Kaiming normal (fan out), BatchNorm 1 and 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape[2:]:
            raise MgkitError(f"TSM needs frames (clips, 3, frames, height, width), but got {tuple(x.shape)}")
        clips, frames = x.shape[0], x.shape[2]
        x = x.transpose(1, 2).flatten(0, 1)  # (N * T, 3, H, W); no copy of a channels_last_3d clip
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(len(self.out_channels)):
            for block in cast(nn.ModuleList, getattr(self, f"layer{stage + 1}")):
                x = block(x, frames)
        return x.unflatten(0, (clips, frames)).transpose(1, 2)  # (N, C, T, H', W')


def tsm_resnet(
    *,
    blocks: Sequence[int] = (3, 4, 6, 3),
    width: int = 64,
    shift_div: int | None = 8,
    generator: torch.Generator | None = None,
) -> TSMResNet:
    """TSM: ResNet-50 by default, (N, 3, T, H, W) -> (N, 2048, T, H / 32, W / 32).

    T is the number of segments, 8 in the published networks, with one frame drawn from each. Weights trained with one T
    work with another, though each frame's neighbours are then at another distance in time.

    Args:
        blocks: residual blocks in each stage: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101.
        width: channels of the stem; the output of stage `i` has `4 * width * 2**i`.
        shift_div: one in shift_div channels moves in each direction; None for no shift: a ResNet on single frames.
        generator: source of the initial weights; torch's own when omitted. It must live on the device on which the
            network is built.

    >>> tsm_resnet(blocks=(1, 1), width=8)(torch.rand(2, 3, 4, 32, 32)).shape
    torch.Size([2, 64, 4, 4, 4])
    """
    return TSMResNet(blocks=blocks, width=width, shift_div=shift_div, generator=generator)


def tsm(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 64,
    blocks: Sequence[int] = (3, 4, 6, 3),
    shift_div: int | None = 8,
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """TSM, see tsm_resnet, with its head: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}."""
    check_reads("tsm", inputs, "frames")
    backbone = tsm_resnet(width=width, blocks=blocks, shift_div=shift_div, generator=generator)
    return SinglePathway("rgb", backbone, classes, head=head, class_counts=class_counts, generator=generator)
