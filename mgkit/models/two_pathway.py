"""RGB and pose together: two 3D CNNs that talk to each other through laterals and cross-modal fusion.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022 (RGBPose-Conv3D: laterals between the
pathways); Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge,
sections 2.1 and 2.2 (equation 4: the lateral concatenation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError
from mgkit.models.fusion import Axis, CrossModalFusion
from mgkit.models.heads import PathwayHead, PathwayOutput, Pool, fuse_probabilities
from mgkit.models.resnet3d import ResNet3d, pose_pathway, rgb_pathway
from mgkit.models.single_pathway import SinglePathway, pick_input, pose_only, rgb_only

__all__ = [
    "PathwayOutput",
    "RgbToPose",
    "SinglePathway",
    "TwoPathway",
    "fuse_probabilities",
    "pose_only",
    "rgb_only",
    "two_pathway",
]


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
        num_classes, embedding_dim, embedding_pool, dropout: see PathwayHead.
        fusion: "channel", "time" (see CrossModalFusion) or None for no fusion module.
        fusion_hidden: hidden width at each meeting point; the pose pathway's channels there when omitted.
        fusion_heads, fusion_sequential, zero_init_gates: see CrossModalFusion.
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
        num_classes: int,
        *,
        embedding_dim: int | None = 256,
        embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
        dropout: float = 0.5,
        fusion: Axis | None = "channel",
        fusion_hidden: Sequence[int] | None = None,
        fusion_heads: int = 8,
        fusion_sequential: bool = False,
        zero_init_gates: bool = True,
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
        if fusion_hidden is not None and len(fusion_hidden) != meetings:
            raise MgkitError(
                f"fusion_hidden needs {meetings} values, one a meeting point; got {fusion_hidden}."
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
                name: PathwayHead(
                    backbone.out_channels[-1],
                    num_classes,
                    embedding_dim=embedding_dim,
                    embedding_pool=embedding_pool,
                    dropout=dropout,
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
                    nn.Conv3d(
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
                    CrossModalFusion(
                        rgb_channels,
                        pose_channels,
                        pose_channels if fusion_hidden is None else fusion_hidden[i],
                        heads=fusion_heads,
                        axis=fusion,
                        sequential=fusion_sequential,
                        zero_init_gates=zero_init_gates,
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
                rgb, pose = self.fusion[i](rgb, pose)
        return {"rgb": self.heads["rgb"](rgb), "pose": self.heads["pose"](pose)}

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
                f"{len(frames)} RGB clips but {len(heatmaps)} pose clips: they must be the same clips."
            )
        if t_pose != self.speed_ratio * t_rgb:
            raise MgkitError(
                f"{t_pose} pose frames do not go with {t_rgb} RGB frames: the model needs {self.speed_ratio} pose "
                f"frames for each RGB frame, here {self.speed_ratio * t_rgb}. Change the number of frames of one of "
                "the two."
            )


def _size(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[4]}"


def two_pathway(
    num_classes: int,
    num_joints: int,
    *,
    rgb_width: int = 64,
    pose_width: int = 32,
    rgb_blocks: Sequence[int] = (3, 4, 6, 3),
    pose_blocks: Sequence[int] = (4, 6, 3),
    halve_time: bool = False,
    laterals: bool = True,
    fusion: Axis | None = "channel",
    fusion_hidden: Sequence[int] | None = None,
    fusion_heads: int = 8,
    fusion_sequential: bool = False,
    zero_init_gates: bool = True,
    lateral_detach: bool = False,
    lateral_dropout: float = 0.0,
    embedding_dim: int | None = 256,
    embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
    dropout: float = 0.5,
    speed_ratio: int = 4,
    generator: torch.Generator | None = None,
) -> TwoPathway:
    """The two-pathway network, the paper's by default: ResNet-50 on frames, a lighter ResNet on heatmaps.

    Laterals carry as many channels as the pose stage to RGB (128, 256) and a quarter of that to pose (32,
    64). `rgb_width=8, pose_width=8, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1)` is the same network made
    small enough for a demonstration on a CPU. The arguments are those of TwoPathway, rgb_pathway and
    pose_pathway; laterals and fusion can be left out separately, and without both the model is the late
    fusion of its parts.

    Shapes:
        {"rgb": (N, 3, T, H, W), "pose": (N, num_joints, 4 T, H / 4, W / 4)} -> {"rgb": ..., "pose":
        PathwayOutput}.

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
    if len(rgb_blocks) != len(pose_blocks) + 1:
        raise MgkitError(
            f"rgb_blocks needs one stage more than pose_blocks; got {tuple(rgb_blocks)} and {tuple(pose_blocks)}."
        )
    meetings = len(pose_blocks) - 1
    to_rgb = [4 * pose_width * 2**i if laterals else 0 for i in range(meetings)]
    to_pose = [pose_width * 2**i if laterals else 0 for i in range(meetings)]
    return TwoPathway(
        rgb_pathway(
            width=rgb_width, blocks=rgb_blocks, lateral_channels=[0, 0, *to_rgb], generator=generator
        ),
        pose_pathway(
            num_joints,
            width=pose_width,
            blocks=pose_blocks,
            halve_time=halve_time,
            lateral_channels=[0, *to_pose],
            generator=generator,
        ),
        num_classes,
        embedding_dim=embedding_dim,
        embedding_pool=embedding_pool,
        dropout=dropout,
        fusion=fusion,
        fusion_hidden=fusion_hidden,
        fusion_heads=fusion_heads,
        fusion_sequential=fusion_sequential,
        zero_init_gates=zero_init_gates,
        lateral_detach=lateral_detach,
        lateral_dropout=lateral_dropout,
        speed_ratio=speed_ratio,
        generator=generator,
    )
