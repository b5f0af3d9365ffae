"""CTR-GCN: every channel has its own graph, refined from a shared one by the content of the clip.

Chen et al., "Channel-wise Topology Refinement Graph Convolution for Skeleton-Based Action Recognition", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgkit.models.builders import skeleton_network
from mgkit.models.gcns.blocks import (
    Branch,
    GraphNetwork,
    SkeletonGraph,
    graph_network,
    he_normal,
    shortcut,
    side_by_side,
    temporal_branches,
)

__all__ = ["ChannelwiseGraphConv", "CtrTemporalConv", "ctrgcn", "ctrgcn_features"]

BRANCHES: tuple[Branch, ...] = ((5, 1), (5, 2), ("max", 3), "1x1")


class _Refinement(nn.Module):
    """The weights of one subset's graph: two projections that are compared, one that is sent, one to all channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        relations = 8 if in_channels <= 16 else in_channels // 8
        self.conv1 = nn.Conv2d(in_channels, relations, 1)
        self.conv2 = nn.Conv2d(in_channels, relations, 1)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv4 = nn.Conv2d(relations, out_channels, 1)


class ChannelwiseGraphConv(nn.Module):
    """Channel-wise topology refinement: for each subset k and channel c a graph `A_k + alpha * R_kc(x)`.

    `R(x)[v, w]` is a linear map of `tanh(phi(x_v) - psi(x_w))`, with the means over time of two projections phi and
    psi of the input. Joint w takes the sum over k and v of `(W_k x)_cv (A_k[v, w] + alpha * R_kc(x)[v, w])`; it is
    normalised, the input added, and rectified. A and alpha (0 at first) are learnt.

    Args:
        adjacency: (K, V, V), [from, to].

    Shapes:
        (N, in_channels, T, V) -> (N, out_channels, T, V).
    """

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Refinement(in_channels, out_channels) for _ in adjacency)
        self.down = shortcut(in_channels, out_channels)
        self.A = nn.Parameter(adjacency.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        subsets = [cast(_Refinement, module) for module in self.convs]
        over_time = x.mean(dim=2, keepdim=True)  # the projections are linear: their mean is that of the mean
        here = side_by_side([s.conv1 for s in subsets], over_time).squeeze(3)  # (N, K, R, V)
        there = side_by_side([s.conv2 for s in subsets], over_time).squeeze(3)
        sent = side_by_side([s.conv3 for s in subsets], x)  # (N, K, C', T, V)
        relations = torch.tanh(here.unsqueeze(4) - there.unsqueeze(3))  # (N, K, R, V, V)
        refined = torch.stack([s.conv4(relations[:, k]) for k, s in enumerate(subsets)], dim=1)
        graphs = refined * self.alpha + self.A.unsqueeze(1)  # (N, K, C', V, V)
        y = torch.einsum("nkctv,nkcvw->nctw", sent, graphs)
        return functional.relu(self.bn(y) + self.down(x))


class CtrTemporalConv(nn.Module):
    """Four branches side by side, each of a quarter of the channels: two dilated convolutions, a maximum, a 1x1.

    Shapes:
        (N, channels, T, V) -> (N, channels, ceil(T / stride), V), not negative.

    Raises:
        MgkitError: if there are fewer channels than branches.
    """

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.branches = temporal_branches(BRANCHES, channels, stride, norm=True, rest=-1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(torch.cat([branch(x) for branch in self.branches], dim=1))


def ctrgcn_features(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    generator: torch.Generator | None = None,
    **settings: Any,
) -> GraphNetwork:
    """CTR-GCN.

    Args:
        generator: source of the initial weights; torch's own when omitted.
        settings: width (at least 4), blocks, in_channels, persons and data_norm ("MVC" here), see graph_network.
    """
    adjacency = graph.spatial()

    def convolutions(channels: int, out: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return ChannelwiseGraphConv(channels, out, adjacency), CtrTemporalConv(out, stride=stride)

    settings = {"data_norm": "MVC", **settings}
    network = graph_network(
        graph,
        convolutions,
        width=width,
        blocks=blocks,
        **settings,
        suffix="1",
        name="net",
        adjacency=adjacency,
    )
    he_normal(network, generator)
    for module in network.modules():
        if isinstance(module, ChannelwiseGraphConv):
            nn.init.constant_(module.bn.weight, 1e-6)  # the block starts as its shortcut
    return network


ctrgcn = skeleton_network(ctrgcn_features)
