"""ST-GCN and ST-GCN++.

Yan et al., "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018.
Duan et al., "PYSKL: Towards Good Practices for Skeleton Action Recognition", ACM MM 2022 (ST-GCN++).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mgkit.models.builders import skeleton_network
from mgkit.models.gcns.blocks import (
    GraphConv,
    GraphNetwork,
    MultiScaleTemporalConv,
    SkeletonGraph,
    TemporalConv,
    as_torch_does,
    graph_network,
)

__all__ = ["stgcn", "stgcn_features", "stgcnpp", "stgcnpp_features"]


def stgcn_features(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    generator: torch.Generator | None = None,
    **settings: Any,
) -> GraphNetwork:
    """ST-GCN: a masked, partitioned adjacency, and temporal convolutions over nine frames.

    The partitions are `graph.partitioned()`, the paper's best ("spatial configuration").

    Args:
        generator: source of the initial weights; torch's own when omitted.
        settings: width, blocks, in_channels, persons and data_norm, see graph_network.

    Example:
        >>> net = stgcn_features(SkeletonGraph(3, root=0, edges=((1, 0), (2, 1))), width=8, blocks=(1, 1))
        >>> net(torch.zeros(2, 1, 16, 3, 3)).shape, net.out_channels
        (torch.Size([2, 16, 8, 3, 1]), (8, 16))
    """
    adjacency = graph.partitioned()

    def convolutions(channels: int, out: int, stride: int) -> tuple[nn.Module, nn.Module]:
        spatial = GraphConv(channels, out, adjacency, edges="importance", residual=False)
        return spatial, TemporalConv(out, out, stride=stride)

    network = graph_network(graph, convolutions, width=width, blocks=blocks, **settings)
    as_torch_does(network, generator)
    return network


stgcn = skeleton_network(stgcn_features)


def stgcnpp_features(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    generator: torch.Generator | None = None,
    **settings: Any,
) -> GraphNetwork:
    """ST-GCN++: a learnt adjacency, a residual connection in the graph convolution, and six temporal branches.

    The adjacency begins as `graph.spatial()`. Arguments as in stgcn; the width is at least 6.
    """
    adjacency = graph.spatial()

    def convolutions(channels: int, out: int, stride: int) -> tuple[nn.Module, nn.Module]:
        spatial = GraphConv(channels, out, adjacency, edges="learnt", residual=True)
        return spatial, MultiScaleTemporalConv(out, stride=stride)

    network = graph_network(graph, convolutions, width=width, blocks=blocks, **settings)
    as_torch_does(network, generator)
    return network


stgcnpp = skeleton_network(stgcnpp_features)
