"""What the networks are made of: the part before the first stage, and the blocks, in the order they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import nn

from mgkit.errors import MgkitError
from mgkit.models.graph_blocks import GraphNetwork
from mgkit.models.hyperformer import Hyperformer
from mgkit.models.resnet3d import Bottleneck, ResNet3d
from mgkit.models.tsm import ShiftedBottleneck, TSMResNet
from mgkit.models.video_swin import VideoSwin

__all__ = ["Parts", "parts_of"]


class Parts(NamedTuple):
    """A backbone in pieces, each of its parameters in one of them.

    Attributes:
        kind: "resnet3d", "graph", "hypergraph", "tsm" or "video-swin": what a block does, and how its maps lie in
            memory, see `clip_shape`.
        stem: modules before the blocks; the last one puts out the stem's map.
        stages: the blocks of each stage. Those of a skeleton network come as one: its stages begin where channels or
            frames change.
        beside: of each stage the modules that are no blocks, such as what merges patches.
    """

    kind: str
    stem: Sequence[nn.Module]
    stages: Sequence[Sequence[nn.Module]]
    beside: Sequence[Sequence[nn.Module]] = ()


def parts_of(backbone: nn.Module) -> Parts:
    """The pieces of a backbone.

    Raises:
        MgkitError: it is none of this package's networks.
    """
    if isinstance(backbone, ResNet3d):
        stages = [list(cast(nn.Sequential, stage)) for stage in backbone.stages]
        return Parts("resnet3d", [backbone.stem], stages)
    if isinstance(backbone, GraphNetwork):
        return Parts("graph", [backbone.data_bn], [list(backbone.units)])
    if isinstance(backbone, Hyperformer):
        return Parts("hypergraph", [backbone.data_bn], [backbone.layers])
    if isinstance(backbone, TSMResNet):
        stages = [
            list(cast(nn.ModuleList, getattr(backbone, f"layer{i + 1}")))
            for i in range(len(backbone.out_channels))
        ]
        return Parts("tsm", [backbone.conv1, backbone.bn1, backbone.maxpool], stages)
    if isinstance(backbone, VideoSwin):
        stages, beside = [], list[list[nn.Module]]([[]])
        for layer in cast(nn.Sequential, backbone.features):
            if isinstance(layer, nn.Sequential):
                stages.append(list(layer))
            else:
                beside.append([layer])
        beside[-1].append(backbone.norm)
        return Parts("video-swin", [backbone.patch_embed], stages, beside)
    raise MgkitError(
        f"{type(backbone).__name__} has no outline: there are outlines of 3D CNNs, graph networks, hypergraph "
        "transformers, TSM and Video Swin. mg.measure counts the parameters and operations of any network."
    )


def clip_shape(kind: str, shape: Sequence[int], clips: int) -> list[int]:
    """The shape of one clip's map from that which a block put out for a batch.

    Returns:
        [C, T, H, W]; of a skeleton network [C, T, V] of one person.
    """
    if kind in ("graph", "hypergraph"):  # (N * M, C, T, V)
        return list(shape[1:])
    if kind == "tsm":  # (N * T, C, H, W)
        frames, channels, height, width = shape
        return [channels, frames // clips, height, width]
    if kind == "video-swin":  # (N, T, H, W, C)
        return [shape[4], *shape[1:4]]
    return list(shape[1:])  # (N, C, T, H, W)


def looks_along_time(block: nn.Module) -> bool:
    """Whether a block connects frames; those of skeleton networks and of Video Swin all do."""
    if isinstance(block, Bottleneck):
        return block.conv1.conv.kernel_size[0] > 1
    if isinstance(block, ShiftedBottleneck):
        return block.shift_div is not None
    return True
