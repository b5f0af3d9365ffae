"""Cross-modal fusion: each pathway is gated by what it finds in the other.

Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge, section 2.2,
equations 1 to 3. `axis="time"` with `sequential=True` is the variant of the same authors' later public code
(Li et al., "Prototypical Calibrating Ambiguous Samples for Micro-Action Recognition", AAAI 2025); the
parameters are the same, so weights are interchangeable.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgkit.errors import MgkitError, counted
from mgkit.models.layers import Conv3d

__all__ = ["Axis", "CrossAttention", "CrossModalFusion"]

Axis = Literal["channel", "time"]


class CrossAttention(nn.Module):
    """Multi-head attention of one token sequence to another, along channels or along time.

    Args:
        channels: width C of the tokens, in and out.
        heads: attention heads; must divide `channels`.
        axis: "channel": each head's map is (C / heads) x (C / heads), softmax(Q^T K / sqrt(T)), the T frames
            being the summed dimension. "time": each head's map is T x T, softmax(Q K^T / sqrt(C / heads)).
        dropout: share of the map's entries that are left out in training, 0 to 1.

    Shapes:
        queries, context: (N, T, C) -> (N, T, C).
    """

    def __init__(
        self, channels: int, *, heads: int = 8, axis: Axis = "channel", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if axis not in ("channel", "time"):
            raise MgkitError(f"axis must be 'channel' or 'time', not {axis!r}.")
        if heads < 1 or channels % heads:
            raise MgkitError(
                f"{heads} attention heads do not divide the hidden width {channels}: choose a number of heads that "
                "divides it, or another hidden width."
            )
        self.heads = heads
        self.axis = axis
        self.dropout = dropout
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        q = self.query(queries).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, T, C / heads)
        k = self.key(context).unflatten(2, (self.heads, -1)).transpose(1, 2)
        v = self.value(context).unflatten(2, (self.heads, -1)).transpose(1, 2)
        if self.axis == "channel":
            # Channels become the tokens and frames their coordinates: the default scale is 1 / sqrt(frames).
            q, k, v = q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3)  # (N, heads, C / heads, T)
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        if self.axis == "channel":
            attended = attended.transpose(2, 3)
        return self.output(attended.transpose(1, 2).flatten(2))  # (N, T, C)


class CrossModalFusion(nn.Module):
    """Gate two pathways' features by cross-attention between their pooled tokens.

    Both feature maps are projected to `hidden` channels and the same number of time steps, max-pooled over
    space to one token a time step, attend to each other, and come back as per-channel, per-frame gates:

        rgb'' = gate_rgb * rgb + rgb,   pose'' = gate_pose * pose + pose.

    A gate of one number scales a whole map, and its gradient is a sum over it: in few steps an unbounded gate can do
    more harm than the other pathway's news is worth. `bounded`, `normalised`, `attention_dropout` and `rate` hold it
    back. None of them has a parameter or changes what a module with zero gates does, and none is the paper's.

    Attention runs on pooled tokens only, so its cost does not depend on the image size.

    Args:
        rgb_channels, pose_channels: channels of the two feature maps.
        hidden: width C' of the tokens; the pose pathway's channels by default.
        heads: attention heads; must divide `hidden`.
        axis: "channel" (the paper) or "time" (the authors' later code).
        sequential: let the pose queries attend to the already updated RGB tokens, as the later code does; by
            default they attend to the RGB tokens as projected.
        zero_init_gates: start with gates of zero, so that the module is the identity and a model merged from
            two trained branches starts exactly as those branches. Otherwise torch's default initialisation.
        bounded: gates between -1 and 1: x'' = 2 sigmoid(gate) x instead of (1 + gate) x, the same where the gate is 0.
        normalised: bring the tokens of each frame to mean 0 and variance 1 before they attend.
        attention_dropout: share of the attention maps' entries that are left out in training (PCAN's code: 0.1).
        rate: factor of the learning rate for all of the module's parameters.
        speed_ratio: pose frames per RGB frame.
        generator: source of the initial weights; torch's own when omitted.

    Shapes:
        rgb (N, rgb_channels, T, H, W), pose (N, pose_channels, speed_ratio * T, h, w) -> the same two shapes.
        The spatial sizes need not agree.

    Raises:
        MgkitError: if `heads` does not divide `hidden`, a dropout is not between 0 and 1 or a rate not above 0, or the
            lengths in time are not `speed_ratio` apart.

    Example:
        >>> fusion = CrossModalFusion(rgb_channels=6, pose_channels=4, hidden=8)
        >>> rgb, pose = torch.rand(2, 6, 8, 7, 7), torch.rand(2, 4, 32, 7, 7)
        >>> gated_rgb, gated_pose = fusion(rgb, pose)
        >>> gated_rgb.shape, gated_pose.shape
        (torch.Size([2, 6, 8, 7, 7]), torch.Size([2, 4, 32, 7, 7]))
        >>> torch.equal(gated_rgb, rgb)  # the gates begin at zero
        True
    """

    def __init__(
        self,
        rgb_channels: int,
        pose_channels: int,
        hidden: int | None = None,
        *,
        heads: int = 8,
        axis: Axis = "channel",
        sequential: bool = False,
        zero_init_gates: bool = True,
        bounded: bool = False,
        normalised: bool = False,
        attention_dropout: float = 0.0,
        rate: float = 1.0,
        speed_ratio: int = 4,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= attention_dropout < 1 or not rate > 0:
            raise MgkitError(
                f"attention_dropout is {attention_dropout} and rate is {rate}: use 0 or more and below 1, and above 0."
            )
        hidden = pose_channels if hidden is None else hidden
        self.bounded, self.normalised = bounded, normalised
        self.learning_rate_factor = rate
        self.sequential = sequential
        self.zero_init_gates = zero_init_gates
        self.speed_ratio = speed_ratio
        kernel = (speed_ratio, 1, 1)
        self.project_rgb = Conv3d(rgb_channels, hidden, 1)
        self.project_pose = Conv3d(pose_channels, hidden, kernel, stride=kernel)
        self.attend_rgb = CrossAttention(hidden, heads=heads, axis=axis, dropout=attention_dropout)
        self.attend_pose = CrossAttention(hidden, heads=heads, axis=axis, dropout=attention_dropout)
        self.gate_rgb = Conv3d(hidden, rgb_channels, 1)
        self.gate_pose = nn.ConvTranspose3d(hidden, pose_channels, kernel, stride=kernel)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Kaiming normal projections, Xavier uniform attention, zero biases; gates as the argument says."""
        for conv in (self.project_rgb, self.project_pose):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
        for gate in (self.gate_rgb, self.gate_pose):
            assert gate.bias is not None
            if self.zero_init_gates:
                nn.init.zeros_(gate.weight)
                nn.init.zeros_(gate.bias)
            else:
                # What the layers' own reset_parameters does, but from our generator.
                nn.init.kaiming_uniform_(gate.weight, a=math.sqrt(5), generator=generator)
                bound = 1 / math.sqrt(gate.weight[0].numel())
                nn.init.uniform_(gate.bias, -bound, bound, generator=generator)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        if pose.shape[2] != self.speed_ratio * rgb.shape[2]:
            raise MgkitError(
                f"The fusion module needs {counted(self.speed_ratio, 'pose frame')} for each RGB frame, but got "
                f"{pose.shape[2]} pose and {counted(rgb.shape[2], 'RGB frame')}."
            )
        rgb_tokens = self.project_rgb(rgb).amax(dim=(3, 4)).transpose(1, 2)  # (N, T, C')
        pose_tokens = self.project_pose(pose).amax(dim=(3, 4)).transpose(1, 2)  # (N, T, C')
        if self.normalised:
            rgb_tokens = F.layer_norm(rgb_tokens, rgb_tokens.shape[-1:])
            pose_tokens = F.layer_norm(pose_tokens, pose_tokens.shape[-1:])
        rgb_attended = self.attend_rgb(rgb_tokens, pose_tokens)
        pose_attended = self.attend_pose(pose_tokens, rgb_attended if self.sequential else rgb_tokens)
        gate_rgb = self.gate_rgb(rgb_attended.transpose(1, 2)[..., None, None])  # (N, C1, T, 1, 1)
        gate_pose = self.gate_pose(
            pose_attended.transpose(1, 2)[..., None, None]
        )  # (N, C2, speed_ratio * T, 1, 1)
        if self.bounded:  # 2 sigmoid(gate) - 1
            gate_rgb, gate_pose = torch.tanh(gate_rgb / 2), torch.tanh(gate_pose / 2)
        return gate_rgb * rgb + rgb, gate_pose * pose + pose
