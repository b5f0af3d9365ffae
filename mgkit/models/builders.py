"""The networks that a recipe names: the paper's, its branches, and how any other backbone becomes one.

A builder is `(classes, inputs, *, settings, head, generator, class_counts) -> nn.Module`. The network takes
{"rgb": (N, 3, T, H, W)}, {"pose": heatmaps (N, V, T, H, W) or key-points (N, M, T, V, 3)} or both, and gives a
`PathwayOutput` under the same names. A user's own builder needs no more than that: `mg.part(my_net)`. Those of skeleton
networks, TSM and Video Swin are in the network's file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from mgkit.errors import MgkitError
from mgkit.models.cnns.resnet3d import open_residual_blocks, pose_pathway, rgb_pathway
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.pathways import FUSION, HEAD, Backbone, SinglePathway, TwoPathway
from mgkit.parts import Part

__all__ = ["Inputs", "check_reads", "pose_resnet", "rgb_resnet", "skeleton_network", "two_pathway"]


class Inputs(Protocol):
    """What a builder asks of `mg.recipes.Inputs` that are bound to a skeleton."""

    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def rgb_frames(self) -> int: ...
    @property
    def rgb_size(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def persons(self) -> int: ...
    @property
    def skeleton(self) -> Any: ...


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
    check_reads("two_pathway", inputs, "frames", "heatmaps")
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
        check_reads("rgb_resnet", inputs, "frames")
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
    check_reads("pose_resnet", inputs, "heatmaps")
    backbone = pose_pathway(
        _channels(inputs), width=pose_width, blocks=pose_blocks, halve_time=halve_time, generator=generator
    )
    model = SinglePathway(
        "pose", backbone, classes, head=head, class_counts=class_counts, generator=generator
    )
    if not zero_init_blocks:
        open_residual_blocks(model)
    return model


def skeleton_network(features: Callable[..., Backbone]) -> Callable[..., SinglePathway]:
    """The builder of a skeleton network, from the function that makes its features.

    Args:
        features: `(graph, *, settings, persons, generator)` -> a backbone: (N, M, T, V, 3) -> (N, C, T', V, M). Its
            keyword arguments are the builder's settings, but persons and generator, which mgkit supplies. Its name is
            the network's, without "_features".

    Returns:
        `(classes, inputs, *, settings, head, generator, class_counts)` -> {"pose": (N, M, T, V, 3)} -> {"pose":
        PathwayOutput}. It raises MgkitError where the inputs are not key-points.
    """
    name = features.__name__.removesuffix("_features")

    def build(
        classes: int,
        inputs: Inputs,
        *,
        head: Part = HEAD,
        generator: torch.Generator | None = None,
        class_counts: Any = None,
        **settings: Any,
    ) -> SinglePathway:
        check_reads(name, inputs, "keypoints")
        skeleton = inputs.skeleton
        if skeleton is None:
            raise MgkitError(f"{name} is built on a skeleton's graph: give clips, or a skeleton.")
        graph = SkeletonGraph(len(skeleton), skeleton.root, skeleton.inward)
        backbone = features(graph, persons=inputs.persons, generator=generator, **settings)
        return SinglePathway(
            "pose", backbone, classes, head=head, class_counts=class_counts, generator=generator
        )

    # A part finds settings in the signature, and the builder by its module and name.
    given = inspect.signature(build).parameters
    own = [
        parameter
        for parameter in inspect.signature(features).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in (*given, "persons")
    ]
    first, last = (
        [given["classes"], given["inputs"]],
        [given["head"], given["generator"], given["class_counts"]],
    )
    build.__signature__ = inspect.Signature([*first, *own, *last])  # type: ignore[attr-defined]
    build.__module__, build.__name__, build.__qualname__ = features.__module__, name, name
    build.__doc__ = str(features.__doc__).split("\n")[0]
    return build


def check_reads(network: str, inputs: Inputs | int, *reads: str) -> None:
    """Refuse inputs of another kind than the network's."""
    if not isinstance(inputs, int) and inputs.reads != reads:
        wanted = ", ".join(map(repr, reads))
        raise MgkitError(
            f"{network} reads {' and '.join(reads)}, not {' and '.join(inputs.reads)}: give the recipe "
            f"reads=({wanted}{',' if len(reads) == 1 else ''})."
        )


def _channels(inputs: Inputs | int) -> int:
    return inputs if isinstance(inputs, int) else inputs.channels
