"""ST-GCN and ST-GCN++.

Yan et al., "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018.
Duan et al., "PYSKL: Towards Good Practices for Skeleton Action Recognition", ACM MM 2022 (ST-GCN++).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mgkit.models.gcns.blocks import (
    DataNorm,
    GraphConv,
    GraphNetwork,
    GraphUnit,
    MultiScaleTemporalConv,
    SkeletonGraph,
    TemporalConv,
    as_torch_does,
    build_units,
)

__all__ = ["stgcn", "stgcnpp"]


def stgcn(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    in_channels: int = 3,
    persons: int = 1,
    data_norm: DataNorm = "VC",
    generator: torch.Generator | None = None,
) -> GraphNetwork:
    """ST-GCN: a masked, partitioned adjacency, and temporal convolutions over nine frames.

    The partitions are `graph.partitioned()`, the paper's best ("spatial configuration").

    Args:
        width: channels of the first stage; each further stage doubles them and halves the frames.
        blocks: blocks of each stage.
        in_channels, persons, data_norm: see GraphNetwork.
        generator: source of the initial weights; torch's own when omitted.

    Shapes:
        (N, M, T, V, 3) -> (N, 4 * width, ceil(ceil(T / 2) / 2), V, M).

    Raises:
        MgkitError: if a number is below 1.

    Example:
        >>> net = stgcn(SkeletonGraph(3, root=0, edges=((1, 0), (2, 1))), width=8, blocks=(1, 1))
        >>> net(torch.zeros(2, 1, 16, 3, 3)).shape, net.out_channels
        (torch.Size([2, 16, 8, 3, 1]), (8, 16))
    """
    adjacency = graph.partitioned()

    def unit(channels: int, out: int, stride: int, residual: bool) -> nn.Module:
        spatial = GraphConv(channels, out, adjacency, edges="importance", residual=False)
        temporal = TemporalConv(out, out, stride=stride)
        return GraphUnit(spatial, temporal, channels, out, stride=stride, residual=residual)

    units, out_channels = build_units(unit, in_channels=in_channels, width=width, blocks=blocks)
    network = GraphNetwork(
        units, out_channels, graph=graph, in_channels=in_channels, persons=persons, data_norm=data_norm
    )
    as_torch_does(network, generator)
    return network


def stgcnpp(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    in_channels: int = 3,
    persons: int = 1,
    data_norm: DataNorm = "VC",
    generator: torch.Generator | None = None,
) -> GraphNetwork:
    """ST-GCN++: an adjacency that is learnt, a residual connection in the graph convolution, six temporal branches.

    The adjacency begins as `graph.spatial()`. Arguments and shapes are stgcn's.

    Raises:
        MgkitError: if a number is below 1, or `width` below the six branches.
    """
    adjacency = graph.spatial()

    def unit(channels: int, out: int, stride: int, residual: bool) -> nn.Module:
        spatial = GraphConv(channels, out, adjacency, edges="learnt", residual=True)
        temporal = MultiScaleTemporalConv(out, stride=stride)
        return GraphUnit(spatial, temporal, channels, out, stride=stride, residual=residual)

    units, out_channels = build_units(unit, in_channels=in_channels, width=width, blocks=blocks)
    network = GraphNetwork(
        units, out_channels, graph=graph, in_channels=in_channels, persons=persons, data_norm=data_norm
    )
    as_torch_does(network, generator)
    return network
