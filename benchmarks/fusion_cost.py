"""What cross-modal fusion costs: parameters, floating-point operations and attention maps, with nothing computed.

    python benchmarks/fusion_cost.py

prints the Markdown tables of docs/method.md, for one clip of 8 frames of 224 x 224 and 32 heatmaps of 56 x 56 through
the full-size network. The networks live on torch's meta device, so this takes seconds and no memory, and every product
is seen (on a CPU the counter misses fused attention). Operations are those of torch's FlopCounterMode: a multiplication
and an addition count as two; convolutions, linear layers and the two products of each attention are counted, while
pooling, softmax, normalisation and sums are not. Everything is also counted by hand (`module_flops`), and a test holds
the two together.

Paper, section 2.2: "By focusing cross-attention on channel dimensions rather than the entire feature map, this method
significantly reduces computational complexity". To see what that saves, the same module is counted with three other
attentions. All four have the same parameters, projections (1 x 1 x 1 and 4 x 1 x 1 convolutions to C' channels at full
resolution) and gates, and differ in the tokens and in what attends to what:

    pooled, channel         tokens are the 8 frames, max-pooled over space; maps are channel x channel (the paper, D1)
    pooled, time            the same tokens; maps are frame x frame (the authors' later code)
    whole map, channel      tokens are all 8 x H x W positions; maps are channel x channel
    whole map, position     the same tokens; maps are position x position: attention over the entire feature map

With tokens at every position the gates too are computed at every position, instead of once a frame. The memory of the
attention maps is what they take in float32 where they are held, as training without a fused kernel does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mgkit.errors import MgkitError
from mgkit.models import CrossModalFusion, TwoPathway, two_pathway
from mgkit.models.fusion import Axis

CLASSES, JOINTS = 32, 22  # iMiGUE
FRAMES, SPEED_RATIO, SIZE = 8, 4, 224
HEADS = 8
VARIANTS: dict[
    str, tuple[bool, Axis]
] = {  # name: (tokens are pooled over space, attention axis of CrossAttention)
    "pooled, channel": (True, "channel"),
    "pooled, time": (True, "time"),
    "whole map, channel": (False, "channel"),
    "whole map, position": (False, "time"),
}


class Meeting(NamedTuple):
    """Where the pathways meet: channels of both, hidden width and spatial size there."""

    rgb_channels: int
    pose_channels: int
    hidden: int
    size: int


MEETINGS = (Meeting(512, 128, 128, SIZE // 8), Meeting(1024, 256, 256, SIZE // 16))


class WholeMapFusion(CrossModalFusion):
    """The fusion module without its pooling: every position of the projected feature maps is a token.

    Both maps must have the same height and width, so that the channel attention has as many summands on both sides.

    Shapes:
        as CrossModalFusion.
    """

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        if rgb.shape[3:] != pose.shape[3:]:
            raise MgkitError(f"The maps must be of one size; got {rgb.shape[3:]} and {pose.shape[3:]}.")
        rgb_map, pose_map = self.project_rgb(rgb), self.project_pose(pose)  # (N, C', T, H, W)
        rgb_tokens, pose_tokens = rgb_map.flatten(2).transpose(1, 2), pose_map.flatten(2).transpose(1, 2)
        rgb_attended = self.attend_rgb(rgb_tokens, pose_tokens)  # (N, T * H * W, C')
        pose_attended = self.attend_pose(pose_tokens, rgb_attended if self.sequential else rgb_tokens)
        gate_rgb = self.gate_rgb(rgb_attended.transpose(1, 2).unflatten(2, rgb_map.shape[2:]))
        gate_pose = self.gate_pose(pose_attended.transpose(1, 2).unflatten(2, pose_map.shape[2:]))
        return gate_rgb * rgb + rgb, gate_pose * pose + pose


def attention_map_entries(hidden: int, tokens: int, axis: Axis) -> int:
    """Entries of the attention maps of both directions, all heads: what softmax sees and memory holds."""
    side = hidden // HEADS if axis == "channel" else tokens
    return 2 * HEADS * side**2


def attention_flops(hidden: int, tokens: int, axis: Axis) -> int:
    """Operations of the two products (queries with keys, maps with values) of both directions, all heads.

    A map's entry is a sum over what is not its side: over the tokens for "channel", over the channels of a head for
    "time". The product with the values is as large again.
    """
    summed = tokens if axis == "channel" else hidden // HEADS
    return 2 * 2 * summed * attention_map_entries(hidden, tokens, axis)


def module_flops(meeting: Meeting, *, pooled: bool, axis: Axis, frames: int = FRAMES) -> int:
    """Operations of a whole fusion module by hand: projections, linear layers, attention, gates."""
    positions = frames * meeting.size**2
    tokens = frames if pooled else positions
    channels, hidden = meeting.rgb_channels + SPEED_RATIO * meeting.pose_channels, meeting.hidden
    projections = 2 * positions * channels * hidden
    linear = 2 * (2 * 4) * tokens * hidden**2  # query, key, value and output, in two directions
    gates = 2 * tokens * hidden * channels
    return projections + linear + attention_flops(hidden, tokens, axis) + gates


def build_module(meeting: Meeting, *, pooled: bool, axis: Axis) -> CrossModalFusion:
    """One fusion module, on the device of the context."""
    kind = CrossModalFusion if pooled else WholeMapFusion
    return kind(*meeting[:3], heads=HEADS, axis=axis, speed_ratio=SPEED_RATIO)


def count_flops(call: Callable[[], object]) -> int:
    """Operations of a call, by torch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def count_module(meeting: Meeting, *, pooled: bool, axis: Axis, frames: int = FRAMES) -> int:
    """Operations of a whole fusion module for one clip, by torch's counter."""
    with torch.device("meta"):
        module = build_module(meeting, pooled=pooled, axis=axis)
        rgb = torch.zeros(1, meeting.rgb_channels, frames, meeting.size, meeting.size)
        pose = torch.zeros(1, meeting.pose_channels, SPEED_RATIO * frames, meeting.size, meeting.size)
    return count_flops(lambda: module(rgb, pose))


def build_network(variant: str | None) -> TwoPathway:
    """The full-size network with one of the variants, or without fusion, on the meta device."""
    with torch.device("meta"):
        if variant is None:
            return two_pathway(CLASSES, JOINTS, fusion=None).eval()
        pooled, axis = VARIANTS[variant]
        model = two_pathway(CLASSES, JOINTS).eval()
        model.fusion = nn.ModuleList(build_module(m, pooled=pooled, axis=axis) for m in MEETINGS)
    return model


def count_network(model: TwoPathway) -> int:
    """Operations of the full-size network for one clip, by torch's counter."""
    with torch.device("meta"):
        inputs = {
            "rgb": torch.zeros(1, 3, FRAMES, SIZE, SIZE),
            "pose": torch.zeros(1, JOINTS, SPEED_RATIO * FRAMES, SIZE // 4, SIZE // 4),
        }
    return count_flops(lambda: model(inputs))


def parameters(module: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in module.parameters())


def readable(x: float, unit: str = "") -> str:
    """Three digits and a prefix: 1648492544 is 1.65 G."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= factor:
            return f"{x / factor:.3g} {prefix}{unit}"
    return f"{x:.3g} {unit}".rstrip()


def network_table() -> str:
    """Markdown: parameters and operations of the whole network with each variant."""
    base = build_network(None)
    base_parameters, base_flops = parameters(base), count_network(base)
    lines = [
        "| network | parameters | more | FLOPs | more | float32 attention maps |",
        "|---|---|---|---|---|---|",
        f"| without fusion | {readable(base_parameters)} | | {readable(base_flops)} | | |",
    ]
    for variant, (pooled, axis) in VARIANTS.items():
        model = build_network(variant)
        own, flops = parameters(model), count_network(model)
        maps = 0
        for m in MEETINGS:
            maps += 4 * attention_map_entries(m.hidden, FRAMES * (1 if pooled else m.size**2), axis)
        lines.append(
            f"| {variant} | {readable(own)} | {100 * (own / base_parameters - 1):.1f} % | {readable(flops)} "
            f"| {100 * (flops / base_flops - 1):.1f} % | {readable(maps, 'B')} |"
        )
    return "\n".join(lines)


def meeting_table(meeting: Meeting) -> str:
    """Markdown: one fusion module with each variant, and each attention against the paper's."""
    rgb, pose, hidden, size = meeting
    lines = [
        f"RGB {rgb} x {FRAMES} x {size} x {size}, pose {pose} x {SPEED_RATIO * FRAMES} x {size} x {size}, "
        f"C' = {hidden}, {HEADS} heads:",
        "",
        "| attention | parameters | tokens | one map | FLOPs of the module | of its attention | times the paper's |",
        "|---|---|---|---|---|---|---|",
    ]
    paper = attention_flops(hidden, FRAMES, "channel")
    for variant, (pooled, axis) in VARIANTS.items():
        tokens = FRAMES * (1 if pooled else size**2)
        with torch.device("meta"):
            own = parameters(build_module(meeting, pooled=pooled, axis=axis))
        side = hidden // HEADS if axis == "channel" else tokens
        attention = attention_flops(hidden, tokens, axis)
        flops = count_module(meeting, pooled=pooled, axis=axis)
        lines.append(
            f"| {variant} | {readable(own)} | {tokens} | {side} x {side} | {readable(flops)} | {readable(attention)} "
            f"| {attention / paper:,.{0 if attention >= paper else 2}f} |"
        )
    return "\n".join(lines)


def tables() -> list[str]:
    """The tables of docs/method.md."""
    return [network_table(), *map(meeting_table, MEETINGS)]


if __name__ == "__main__":
    print("\n\n".join(tables()))
