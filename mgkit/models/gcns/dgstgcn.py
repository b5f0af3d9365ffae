"""DG-STGCN: graphs that are learnt from noise and from the clip, without any skeleton's edges.

Duan et al., "DG-STGCN: Dynamic Spatial-Temporal Modeling for Skeleton-based Action Recognition", 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgkit.errors import MgkitError
from mgkit.models.builders import skeleton_network
from mgkit.models.gcns.blocks import (
    GraphNetwork,
    MultiScaleTemporalConv,
    SkeletonGraph,
    as_torch_does,
    graph_network,
    projection,
    shortcut,
)

__all__ = ["DynamicGraphConv", "dgstgcn", "dgstgcn_features"]

SUBSETS = 8  # graphs of a convolution
OFFSET, SPREAD = 0.04, 0.02  # mean and standard deviation of their initial edges
CONTEXT_JOINTS = 25  # weights of the mean joint in the published networks, whatever the skeleton


class DynamicGraphConv(nn.Module):
    """`W sum_k pre_k(x) (A_k + alpha * D_kc(x) + beta * S_k(x))`, BatchNorm, residual, ReLU.

    Each of the K subsets has some of the channels. With the means over time of two projections p and q of the input,
    D is `tanh(p_v - q_w)` for each channel, and S the softmax over v of the product of p_v and q_w. alpha and beta
    begin at 0. As in the published networks each has an entry per subset, of which only the first is used.

    Args:
        adjacency: (K, V, V), [from, to]: the initial graphs.
        ratio: channels of a subset, as a share of `out_channels`.

    Shapes:
        (N, in_channels, T, V) -> (N, out_channels, T, V).

    Raises:
        MgkitError: if a subset would have no channel.
    """

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor, *, ratio: float) -> None:
        super().__init__()
        subsets = len(adjacency)
        inner = int(ratio * out_channels) * subsets
        if inner < 1:
            raise MgkitError(
                f"DG-STGCN needs a width of at least {round(1 / ratio)}, one channel per subset; got {out_channels}"
            )
        self.A = nn.Parameter(adjacency.clone())
        self.alpha = nn.Parameter(torch.zeros(subsets))
        self.beta = nn.Parameter(torch.zeros(subsets))
        self.pre = projection(in_channels, inner)
        self.post = nn.Conv2d(inner, out_channels, 1)
        self.conv1 = nn.Conv2d(in_channels, inner, 1)
        self.conv2 = nn.Conv2d(in_channels, inner, 1)
        self.down = shortcut(in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        split = len(self.A), -1
        sent = functional.relu(self.pre(x)).unflatten(1, split)  # (N, K, C', T, V)
        over_time = x.mean(dim=2, keepdim=True)
        p = self.conv1(over_time).squeeze(2).unflatten(1, split)  # (N, K, C', V)
        q = self.conv2(over_time).squeeze(2).unflatten(1, split)
        apart = torch.tanh(p.unsqueeze(4) - q.unsqueeze(3))  # (N, K, C', V, V)
        alike = torch.einsum("nkcv,nkcw->nkvw", p, q).softmax(dim=2)
        shared = self.A + self.beta[0] * alike  # (N, K, V, V)
        graphs = apart * self.alpha[0] + shared.unsqueeze(2)
        y = self.post(torch.einsum("nkctv,nkcvw->nkctw", sent, graphs).flatten(1, 2))
        return functional.relu(self.bn(y) + self.down(x))


def dgstgcn_features(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    generator: torch.Generator | None = None,
    **settings: Any,
) -> GraphNetwork:
    """DG-STGCN. It takes only the number of joints from the graph: its own eight graphs begin as noise.

    Args:
        generator: source of the initial weights; torch's own when omitted.
        settings: width (at least 8), blocks, in_channels, persons and data_norm, see graph_network.
    """
    joints = graph.num_joints
    noise = torch.empty(SUBSETS, joints, joints).normal_(OFFSET, SPREAD, generator=generator)

    def convolutions(channels: int, out: int, stride: int) -> tuple[nn.Module, nn.Module]:
        spatial = DynamicGraphConv(channels, out, noise, ratio=1 / SUBSETS)
        return spatial, MultiScaleTemporalConv(out, stride=stride, context_joints=max(CONTEXT_JOINTS, joints))

    network = graph_network(graph, convolutions, width=width, blocks=blocks, **settings)
    as_torch_does(network, generator)
    return network


dgstgcn = skeleton_network(dgstgcn_features)
