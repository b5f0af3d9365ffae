"""RGB and pose together: two 3D CNNs that talk to each other through laterals and cross-modal fusion.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022 (RGBPose-Conv3D: laterals between the
pathways); Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge,
sections 2.1 and 2.2 (equation 4: the lateral concatenation).

One pathway alone: the RGB-only and pose-only models, which are also a two-pathway model's branches, and whatever
other network reads one kind of input.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022: PoseConv3D for pose, SlowOnly for RGB.

Start a two-pathway model from two trained branches.

Chen et al., IJCAI 2024 MiGA challenge, section 3.2 and the RGBPose-Conv3D recipe of Duan et al., CVPR 2022:
train the branches alone, merge, train jointly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError, counted, some
from mgkit.models.cnns.resnet3d import ResNet3d
from mgkit.models.fusion import CrossModalFusion
from mgkit.models.heads import PathwayHead, PathwayOutput
from mgkit.models.layers import Conv3d
from mgkit.parts import Part, part

__all__ = [
    "FUSION",
    "HEAD",
    "RgbToPose",
    "SinglePathway",
    "TwoPathway",
    "branch_state",
    "merge_branches",
    "pick_input",
]


HEAD = part(PathwayHead)
FUSION = part(CrossModalFusion)


class RgbToPose(nn.Module):
    """Lateral from RGB to pose: transposed convolution that lengthens time, then BatchNorm and ReLU.

    Shapes:
        (N, in_channels, T, H, W) -> (N, out_channels, speed_ratio * T, H, W), exactly.
    """

    def __init__(self, in_channels: int, out_channels: int, *, speed_ratio: int = 4) -> None:
        super().__init__()
        # Kernel 7 with padding 3 gives speed_ratio * (T - 1) + 1 frames; the output padding adds the rest.
        self.conv = nn.ConvTranspose3d(
            in_channels,
            out_channels,
            (7, 1, 1),
            stride=(speed_ratio, 1, 1),
            padding=(3, 0, 0),
            output_padding=(speed_ratio - 1, 0, 0),
            bias=False,
        )
        self.norm = nn.BatchNorm3d(out_channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class TwoPathway(nn.Module):
    """RGB and pose pathways that meet after rgb stage 2 / pose stage 1 and after rgb stage 3 / pose stage 2.

    At each meeting point the fusion module gates both feature maps, and the laterals carry each pathway's
    features, as they were before the gates, to the other's next stage. Either can be left out.

    Args:
        rgb, pose: the two backbones; rgb has one stage more (4 and 3; with others there are fewer or more
            meeting points). Their `lateral_channels` say whether there are laterals and how wide they are.
        classes: K.
        head: the part that each pathway's head is built of, from `channels` and `classes`.
        fusion: the part that the module of each meeting point is built of, from `rgb_channels`, `pose_channels` and
            `speed_ratio`: it takes the two feature maps to two of the same shapes. None for no fusion module.
        class_counts: (K,) training clips of each class, for a head that wants to know.
        lateral_detach: stop the gradient across the laterals.
        lateral_dropout: in training, the probability that a clip gets zeros across the laterals instead of
            the other pathway's features, drawn once a clip and direction.
        speed_ratio: pose frames per RGB frame.
        generator: source of the initial weights of everything but the backbones; torch's own when omitted.

    Shapes:
        forward: {"rgb": (N, 3, T, H, W), "pose": (N, V, speed_ratio * T, H / 4, W / 4)}
            -> {"rgb": PathwayOutput, "pose": PathwayOutput}. Sizes that 4 does not divide are rounded up.

    Raises:
        MgkitError: if the backbones do not fit together, or the inputs do not fit each other.
    """

    def __init__(
        self,
        rgb: ResNet3d,
        pose: ResNet3d,
        classes: int,
        *,
        head: Part = HEAD,
        fusion: Part | None = FUSION,
        class_counts: Any = None,
        lateral_detach: bool = False,
        lateral_dropout: float = 0.0,
        speed_ratio: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        meetings = len(pose.out_channels) - 1
        if len(rgb.out_channels) != meetings + 2:
            raise MgkitError(
                f"The RGB pathway needs one stage more than the pose pathway; got {len(rgb.out_channels)} "
                f"and {len(pose.out_channels)}."
            )
        to_rgb, to_pose = rgb.lateral_channels[2:], pose.lateral_channels[1:]
        if (
            any(rgb.lateral_channels[:2])
            or pose.lateral_channels[0]
            or len({c > 0 for c in to_rgb + to_pose}) > 1
        ):
            raise MgkitError(
                "Laterals join both pathways after every meeting point or nowhere; got lateral channels "
                f"{rgb.lateral_channels} for rgb and {pose.lateral_channels} for pose."
            )
        if not 0 <= lateral_dropout <= 1:
            raise MgkitError(f"lateral_dropout is a probability between 0 and 1; got {lateral_dropout}.")
        self.pathways: tuple[str, ...] = ("rgb", "pose")
        self.speed_ratio = speed_ratio
        self.lateral_detach = lateral_detach
        self.lateral_dropout = lateral_dropout
        self.backbones = nn.ModuleDict({"rgb": rgb, "pose": pose})
        self.heads = nn.ModuleDict(
            {
                name: head.build(
                    channels=backbone.out_channels[-1],
                    classes=classes,
                    class_counts=class_counts,
                    generator=generator,
                )
                for name, backbone in (("rgb", rgb), ("pose", pose))
            }
        )
        self.laterals = any(to_rgb)
        self.pose_to_rgb = nn.ModuleList()
        self.rgb_to_pose = nn.ModuleList()
        self.fusion = nn.ModuleList()
        for i in range(meetings):
            rgb_channels, pose_channels = rgb.out_channels[i + 1], pose.out_channels[i]
            if self.laterals:
                self.pose_to_rgb.append(
                    Conv3d(
                        pose_channels,
                        to_rgb[i],
                        (7, 1, 1),
                        stride=(speed_ratio, 1, 1),
                        padding=(3, 0, 0),
                        bias=False,
                    )
                )
                self.rgb_to_pose.append(RgbToPose(rgb_channels, to_pose[i], speed_ratio=speed_ratio))
            if fusion is not None:
                self.fusion.append(
                    fusion.build(
                        rgb_channels=rgb_channels,
                        pose_channels=pose_channels,
                        speed_ratio=speed_ratio,
                        generator=generator,
                    )
                )
        for module in (*self.pose_to_rgb.modules(), *self.rgb_to_pose.modules()):
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, PathwayOutput]:
        rgb_net, pose_net = cast(ResNet3d, self.backbones["rgb"]), cast(ResNet3d, self.backbones["pose"])
        frames, heatmaps = pick_input(inputs, "rgb", rgb_net), pick_input(inputs, "pose", pose_net)
        self._check_inputs(frames, heatmaps)
        rgb, pose = rgb_net.stem(frames), pose_net.stem(heatmaps)
        rgb = rgb_net.run_stage(0, rgb)
        to_rgb: Tensor | None = None
        to_pose: Tensor | None = None
        keep_rgb, keep_pose = self._draw_kept(rgb), self._draw_kept(rgb)
        last = len(pose_net.stages) - 1
        for i in range(last + 1):
            rgb = rgb_net.run_stage(i + 1, rgb, to_rgb)  # (N, C1, T, H, W)
            pose = pose_net.run_stage(i, pose, to_pose)  # (N, C2, speed_ratio * T, H, W)
            if i == last:
                break
            if rgb.shape[3:] != pose.shape[3:]:
                raise MgkitError(
                    f"Heatmaps of {_size(heatmaps)} do not go with frames of {_size(frames)}: the pathways would meet "
                    f"at {_size(pose)} and {_size(rgb)}. Render the heatmaps at a quarter of the frames' height and "
                    "width (56 x 56 for 224 x 224)."
                )
            if self.laterals:
                to_rgb = self.pose_to_rgb[i](pose.detach() if self.lateral_detach else pose)
                to_pose = self.rgb_to_pose[i](rgb.detach() if self.lateral_detach else rgb)
                if keep_rgb is not None and keep_pose is not None:
                    to_rgb, to_pose = to_rgb * keep_rgb, to_pose * keep_pose
            if self.fusion:
                rgb, pose = self._fused(self.fusion[i], rgb, pose)
        return {"rgb": self.heads["rgb"](rgb), "pose": self.heads["pose"](pose)}

    def _fused(self, module: nn.Module, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """The two maps after a fusion module, which may be anybody's."""
        fused = module(rgb, pose)
        got = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in fused]
        if got != [tuple(rgb.shape), tuple(pose.shape)]:
            raise MgkitError(
                f"the fusion module {type(module).__name__} must return two maps of the shapes {tuple(rgb.shape)} and "
                f"{tuple(pose.shape)}, as it got them, but returned {some(got)}."
            )
        return fused[0], fused[1]

    def _draw_kept(self, like: Tensor) -> Tensor | None:
        """1 for each clip whose lateral features are kept, 0 otherwise; None when nothing is dropped."""
        if not (self.training and self.laterals and self.lateral_dropout > 0):
            return None
        # Multiplying, not skipping, keeps every parameter in the graph, as multi-process training needs.
        kept = torch.rand(len(like), device=like.device) >= self.lateral_dropout
        return kept.to(like.dtype)[:, None, None, None, None]

    def _check_inputs(self, frames: Tensor, heatmaps: Tensor) -> None:
        t_rgb, t_pose = frames.shape[2], heatmaps.shape[2]
        if len(frames) != len(heatmaps):
            raise MgkitError(
                f"{counted(len(frames), 'RGB clip')} but {counted(len(heatmaps), 'pose clip')}: they must be the same "
                "clips."
            )
        if t_pose != self.speed_ratio * t_rgb:
            raise MgkitError(
                f"{counted(t_pose, 'pose frame')} do not go with {counted(t_rgb, 'RGB frame')}: the model needs "
                f"{self.speed_ratio} pose frames for each RGB frame, here {self.speed_ratio * t_rgb}. Change the "
                "number of frames of one of the two."
            )


def _size(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[4]}"


Pathway = Literal["rgb", "pose"]


class Backbone(Protocol):
    """What a pathway's network must be beside an nn.Module: it says how many channels its features have."""

    @property
    def out_channels(self) -> Sequence[int]: ...

    def __call__(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]: ...


class SinglePathway(nn.Module):
    """One pathway with its head.

    Args:
        name: "rgb" or "pose": which input it reads, and the key of its output.
        backbone: a ResNet3d without lateral channels, or any other network from the input to features (N, C, T, H, W)
            that has `out_channels`, whose last is C, and refuses inputs that do not fit. One that pools in a way of its
            own returns (features, pooled (N, C)), and a `PathwayHead` classifies what was pooled.
        classes: K.
        head: the part that the head is built of, from `channels` and `classes`.
        class_counts: (K,) training clips of each class, for a head that wants to know.
        generator: source of the head's initial weights; torch's own when omitted.

    Shapes:
        forward: {name: (N, C, T, H, W), ...} -> {name: PathwayOutput}. Other inputs are ignored. Skeleton networks take
        (N, M, T, V, 3) instead.
    """

    def __init__(
        self,
        name: Pathway,
        backbone: Backbone,
        classes: int,
        *,
        head: Part = HEAD,
        class_counts: Any = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.pathways: tuple[str, ...] = (name,)
        # The same names as in TwoPathway, so that merging two branches is copying by name.
        self.backbones = nn.ModuleDict({name: cast(nn.Module, backbone)})
        channels = backbone.out_channels[-1]
        built = head.build(channels=channels, classes=classes, class_counts=class_counts, generator=generator)
        self.heads = nn.ModuleDict({name: built})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, PathwayOutput]:
        (name,) = self.pathways
        backbone, head = self.backbones[name], self.heads[name]
        found = backbone(pick_input(inputs, name, backbone))
        if not isinstance(found, tuple):
            return {name: head(found)}
        features, pooled = found
        return {name: head(features, pooled) if isinstance(head, PathwayHead) else head(features)}


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


def merge_branches(
    model: TwoPathway, *, rgb: Mapping[str, Tensor], pose: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Copy two trained branches into a two-pathway model, in place.

    Every weight of a branch goes to the pathway of that name. Where the pathway's convolution takes lateral
    channels too (the first convolution and the shortcut of each stage after a meeting point, eight weights in
    the paper's network), the weights of those channels become zero. With zero gates the merged model is then
    exactly the late fusion of its branches, and learns from there what to take from the laterals and gates.
    Laterals, fusion modules, and embeddings that a branch lacks, keep their initial values.

    Args:
        model: the model to fill.
        rgb, pose: state dicts of an RGB-only and a pose-only SinglePathway.

    Returns:
        the names of the weights that were padded.

    Raises:
        MgkitError: if a branch lacks a weight of its pathway or one has another shape; the model is then
            unchanged.

    Example:
        >>> from mgkit.models import pose_resnet, rgb_resnet, two_pathway
        >>> rgb = rgb_resnet(3, rgb_width=4, rgb_blocks=(1, 1, 1, 1))
        >>> pose = pose_resnet(3, 5, pose_width=4, pose_blocks=(1, 1, 1))
        >>> both = two_pathway(
        ...     3, 5, rgb_width=4, pose_width=4, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1)
        ... )
        >>> len(merge_branches(both, rgb=rgb.state_dict(), pose=pose.state_dict()))  # weights padded with zeros
        8
    """
    state = model.state_dict()
    takes_lateral = _lateral_inputs(model)
    merged: dict[str, Tensor] = {}
    padded: list[str] = []
    missing: list[str] = []
    misfits: list[str] = []
    for pathway, branch in (("rgb", rgb), ("pose", pose)):
        for name, own in state.items():
            if not name.startswith((f"backbones.{pathway}.", f"heads.{pathway}.")):
                continue
            if name not in branch:
                if ".embedding." not in name:
                    missing.append(name)
                continue
            weight = branch[name]
            if name in takes_lateral and weight.ndim == 5:
                zeros = weight.new_zeros(len(weight), takes_lateral[name], *weight.shape[2:])
                weight = torch.cat((weight, zeros), dim=1)
                padded.append(name)
            if weight.shape != own.shape:
                misfits.append(f"{name} {tuple(branch[name].shape)} for {tuple(own.shape)}")
            merged[name] = weight
    if missing or misfits:
        raise MgkitError(
            "The branches do not fit the two-pathway model"
            + (f"; they lack {some(missing)}" if missing else "")
            + (f"; shapes differ in {some(misfits)}" if misfits else "")
            + ". Build all three with the same widths, blocks, classes, joints and embedding width."
        )
    model.load_state_dict({**state, **merged})
    return tuple(padded)


def branch_state(model: TwoPathway, pathway: str) -> dict[str, Tensor]:
    """The state of one pathway as a SinglePathway would have it: without the input channels of the laterals."""
    takes_lateral = _lateral_inputs(model)
    return {
        name: value[:, : value.shape[1] - takes_lateral[name]] if name in takes_lateral else value
        for name, value in model.state_dict().items()
        if name.startswith((f"backbones.{pathway}.", f"heads.{pathway}."))
    }


def _lateral_inputs(model: TwoPathway) -> dict[str, int]:
    """The convolutions that take lateral channels after their pathway's own, and how many."""
    return {
        f"backbones.{pathway}.stages.{stage}.0.{unit}.conv.weight": channels
        for pathway in model.pathways
        for stage, channels in enumerate(cast(ResNet3d, model.backbones[pathway]).lateral_channels)
        for unit in ("conv1", "shortcut")
        if channels
    }
