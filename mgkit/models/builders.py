"""Every network that a ready recipe names, as the part that builds it: from classes and inputs to pathways with heads.

A builder is `(classes, inputs, *, settings, head, generator, class_counts) -> nn.Module`. The network takes
{"rgb": (N, 3, T, H, W)}, {"pose": heatmaps (N, V, T, H, W) or key-points (N, M, T, V, 3)} or both, and gives a
`PathwayOutput` under the same names. A user's own builder needs no more than that: `mg.part(my_net)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from mgkit.errors import MgkitError
from mgkit.models.cnns.resnet3d import open_residual_blocks, pose_pathway, rgb_pathway
from mgkit.models.cnns.tsm import tsm_resnet
from mgkit.models.cnns.video_swin import SwinSize
from mgkit.models.cnns.video_swin import video_swin as video_swin_features
from mgkit.models.gcns import aagcn as _aagcn
from mgkit.models.gcns import ctrgcn as _ctrgcn
from mgkit.models.gcns import dgstgcn as _dgstgcn
from mgkit.models.gcns import stgcn as _stgcn
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.gcns.hyperformer import hyperformer as hyperformer_features
from mgkit.models.pathways import FUSION, HEAD, SinglePathway, TwoPathway
from mgkit.parts import Part

__all__ = [
    "aagcn", "ctrgcn", "dgstgcn", "hyperformer", "pose_resnet", "rgb_resnet", "stgcn", "stgcnpp", "tsm", "two_pathway",
    "video_swin",
]  # fmt: skip


class Inputs(Protocol):
    """What a builder asks of `mg.Inputs` that are bound to a skeleton."""

    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def channels(self) -> int: ...
    @property
    def persons(self) -> int: ...
    @property
    def skeleton(self) -> Any: ...


# --- 3D CNNs --------------------------------------------------------------------------------------------------------


def two_pathway(
    classes: int,
    inputs: Inputs | int,
    *,
    rgb_width: int = 64,
    pose_width: int = 32,
    rgb_blocks: Sequence[int] = (3, 4, 6, 3),
    pose_blocks: Sequence[int] = (4, 6, 3),
    zero_init_blocks: bool = True,
    halve_time: bool = False,
    laterals: bool = True,
    lateral_detach: bool = False,
    lateral_dropout: float = 0.0,
    fusion: Part | None = FUSION,
    head: Part = HEAD,
    speed_ratio: int = 4,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> TwoPathway:
    """The two-pathway network, the paper's by default: ResNet-50 on frames, a lighter ResNet on heatmaps.

    Laterals carry as many channels as the pose stage to RGB (128, 256) and a quarter of that to pose (32, 64).
    `rgb_width=8, pose_width=8, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1)` is the same network made small enough
    for a demonstration on a CPU. Laterals and fusion can be left out separately, and without both the model is the late
    fusion of its parts.

    Args:
        classes: K.
        inputs: frames and heatmaps; or the number of heatmap channels.
        rgb_width, pose_width, rgb_blocks, pose_blocks, halve_time: see rgb_pathway and pose_pathway.
        zero_init_blocks: residual blocks begin as the identity (method section 2); turn it off for networks of one
            block per stage, which learn several times slower with it.
        laterals: connect the pathways by lateral convolutions.
        lateral_detach, lateral_dropout, fusion, head, speed_ratio, class_counts: see TwoPathway.
        generator: source of the initial weights; torch's own when omitted.

    Shapes:
        {"rgb": (N, 3, T, H, W), "pose": (N, V, 4 T, H / 4, W / 4)} -> {"rgb": ..., "pose": PathwayOutput}.

    Raises:
        MgkitError: if the arguments do not fit together.

    Example:
        >>> model = two_pathway(
        ...     3, 5, rgb_width=4, pose_width=4, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1)
        ... )
        >>> outputs = model({"rgb": torch.rand(2, 3, 2, 32, 32), "pose": torch.rand(2, 5, 8, 8, 8)})
        >>> outputs["pose"].logits.shape, outputs["rgb"].embedding.shape
        (torch.Size([2, 3]), torch.Size([2, 256]))
    """
    _reading("two_pathway", inputs, "frames", "heatmaps")
    if len(rgb_blocks) != len(pose_blocks) + 1:
        raise MgkitError(
            f"rgb_blocks needs one stage more than pose_blocks; got {tuple(rgb_blocks)} and {tuple(pose_blocks)}."
        )
    meetings = len(pose_blocks) - 1
    to_rgb = [4 * pose_width * 2**i if laterals else 0 for i in range(meetings)]
    to_pose = [pose_width * 2**i if laterals else 0 for i in range(meetings)]
    model = TwoPathway(
        rgb_pathway(
            width=rgb_width, blocks=rgb_blocks, lateral_channels=[0, 0, *to_rgb], generator=generator
        ),
        pose_pathway(
            _channels(inputs),
            width=pose_width,
            blocks=pose_blocks,
            halve_time=halve_time,
            lateral_channels=[0, *to_pose],
            generator=generator,
        ),
        classes,
        head=head,
        fusion=fusion,
        class_counts=class_counts,
        lateral_detach=lateral_detach,
        lateral_dropout=lateral_dropout,
        speed_ratio=speed_ratio,
        generator=generator,
    )
    if not zero_init_blocks:
        open_residual_blocks(model)
    return model


def rgb_resnet(
    classes: int,
    inputs: Inputs | None = None,
    *,
    rgb_width: int = 64,
    rgb_blocks: Sequence[int] = (3, 4, 6, 3),
    zero_init_blocks: bool = True,
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """SlowOnly, the RGB pathway alone: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Arguments as in two_pathway.
    """
    if inputs is not None:
        _reading("rgb_resnet", inputs, "frames")
    backbone = rgb_pathway(width=rgb_width, blocks=rgb_blocks, generator=generator)
    model = SinglePathway("rgb", backbone, classes, head=head, class_counts=class_counts, generator=generator)
    if not zero_init_blocks:
        open_residual_blocks(model)
    return model


def pose_resnet(
    classes: int,
    inputs: Inputs | int,
    *,
    pose_width: int = 32,
    pose_blocks: Sequence[int] = (4, 6, 3),
    zero_init_blocks: bool = True,
    halve_time: bool = False,
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """PoseConv3D, the pose pathway alone: {"pose": (N, V, T, h, w)} -> {"pose": PathwayOutput}.

    Arguments as in two_pathway.
    """
    _reading("pose_resnet", inputs, "heatmaps")
    backbone = pose_pathway(
        _channels(inputs), width=pose_width, blocks=pose_blocks, halve_time=halve_time, generator=generator
    )
    model = SinglePathway(
        "pose", backbone, classes, head=head, class_counts=class_counts, generator=generator
    )
    if not zero_init_blocks:
        open_residual_blocks(model)
    return model


# --- frames alone ---------------------------------------------------------------------------------------------------


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
    """TSM, see tsm_resnet: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}."""
    _reading("tsm", inputs, "frames")
    backbone = tsm_resnet(width=width, blocks=blocks, shift_div=shift_div, generator=generator)
    return SinglePathway("rgb", backbone, classes, head=head, class_counts=class_counts, generator=generator)


def video_swin(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 96,
    blocks: Sequence[int] = (2, 2, 6, 2),
    stochastic_depth: float = 0.1,
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """Video Swin: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway.
        width: channels of the first stage, whose attention heads have 32 each, as published.
        blocks: of each stage.
        stochastic_depth: the chance that a clip skips the last block in training, less for those before.
    """
    _reading("video_swin", inputs, "frames")
    heads = max(1, width // 32)
    size = SwinSize(width, tuple(blocks), tuple(heads << stage for stage in range(len(blocks))))
    backbone = video_swin_features(size, stochastic_depth=stochastic_depth, generator=generator)
    return SinglePathway("rgb", backbone, classes, head=head, class_counts=class_counts, generator=generator)


# --- key-points -----------------------------------------------------------------------------------------------------


def stgcn(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """ST-GCN: {"pose": (N, M, T, V, 3)} -> {"pose": PathwayOutput}.

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway; the inputs are key-points.
        width: channels of the first stage; each further stage doubles them and halves the frames.
        blocks: of each stage.
    """
    return _graph_network(_stgcn.stgcn, classes, inputs, width, blocks, head, generator, class_counts)


def stgcnpp(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """ST-GCN++; arguments and shapes are stgcn's."""
    return _graph_network(_stgcn.stgcnpp, classes, inputs, width, blocks, head, generator, class_counts)


def aagcn(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """AAGCN; arguments and shapes are stgcn's."""
    return _graph_network(_aagcn.aagcn, classes, inputs, width, blocks, head, generator, class_counts)


def ctrgcn(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """CTR-GCN; arguments and shapes are stgcn's."""
    return _graph_network(_ctrgcn.ctrgcn, classes, inputs, width, blocks, head, generator, class_counts)


def dgstgcn(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """DG-STGCN; arguments and shapes are stgcn's."""
    return _graph_network(_dgstgcn.dgstgcn, classes, inputs, width, blocks, head, generator, class_counts)


def hyperformer(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 216,
    blocks: Sequence[int] = (4, 3, 3),
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """Hyperformer, the hypergraph transformer: {"pose": (N, M, T, V, 3)} -> {"pose": PathwayOutput}.

    Args:
        classes, inputs, head, generator, class_counts: as in stgcn.
        width: channels of every layer; attention heads have 24 each, as published.
        blocks: layers of each stage; each stage after the first begins with half the frames.
    """
    strides = [
        2 if stage and index == 0 else 1 for stage, count in enumerate(blocks) for index in range(count)
    ]
    backbone = hyperformer_features(
        _graph("hyperformer", inputs),
        persons=inputs.persons,
        width=width,
        heads=max(1, width // 24),
        strides=strides,
        generator=generator,
    )
    return SinglePathway("pose", backbone, classes, head=head, class_counts=class_counts, generator=generator)


def _graph_network(
    features: Callable[..., Any],
    classes: int,
    inputs: Inputs,
    width: int,
    blocks: Sequence[int],
    head: Part,
    generator: torch.Generator | None,
    class_counts: Any,
) -> SinglePathway:
    graph = _graph(features.__name__, inputs)
    backbone = features(graph, width=width, blocks=blocks, persons=inputs.persons, generator=generator)
    return SinglePathway("pose", backbone, classes, head=head, class_counts=class_counts, generator=generator)


# --- inputs ---------------------------------------------------------------------------------------------------------


def _reading(network: str, inputs: Inputs | int, *reads: str) -> None:
    """Refuse inputs of another kind than the network's."""
    if not isinstance(inputs, int) and inputs.reads != reads:
        wanted = ", ".join(map(repr, reads))
        raise MgkitError(
            f"{network} reads {' and '.join(reads)}, not {' and '.join(inputs.reads)}: give the recipe "
            f"reads=({wanted}{',' if len(reads) == 1 else ''})."
        )


def _channels(inputs: Inputs | int) -> int:
    return inputs if isinstance(inputs, int) else inputs.channels


def _graph(network: str, inputs: Inputs) -> SkeletonGraph:
    """The graph that a skeleton network is built on."""
    _reading(network, inputs, "keypoints")
    skeleton = inputs.skeleton
    if skeleton is None:
        raise MgkitError(f"{network} is built on a skeleton's graph: give clips, or a skeleton.")
    return SkeletonGraph(len(skeleton), skeleton.root, skeleton.inward)
