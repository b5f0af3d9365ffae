"""AAGCN: graph convolutions whose edges are learnt and depend on the clip, with attention to joints, frames, channels.

Shi et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition", CVPR 2019, and
"Skeleton-Based Action Recognition with Multi-Stream Adaptive Graph Convolutional Networks", TIP 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgkit.errors import MgkitError
from mgkit.models.builders import skeleton_network
from mgkit.models.gcns.blocks import (
    GraphNetwork,
    SkeletonGraph,
    TemporalConv,
    graph_network,
    he_normal,
    shortcut,
    side_by_side,
)

__all__ = ["AdaptiveGraphConv", "aagcn", "aagcn_features"]

NARROWING = 4  # channels are divided by this where joints are compared


class AdaptiveGraphConv(nn.Module):
    """`sum_k W_k x (A_k + alpha * tanh(similarity_k(x)))`, BatchNorm, residual, ReLU, then three attentions.

    A is trained and begins as the skeleton's adjacency; the similarity of two joints is the mean product of their
    embeddings over the whole clip; alpha begins at 0.

    Args:
        adjacency: (K, V, V), [from, to].

    Shapes:
        (N, in_channels, T, V) -> (N, out_channels, T, V).

    Raises:
        MgkitError: if `out_channels` is below 4, too few for the embeddings.
    """

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor) -> None:
        super().__init__()
        narrow = out_channels // NARROWING
        if narrow < 1:
            raise MgkitError(f"AAGCN needs a width of at least {NARROWING}; got {out_channels}")
        subsets, joints = len(adjacency), adjacency.shape[-1]
        self.A = nn.Parameter(adjacency.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.conv_a = nn.ModuleList(nn.Conv2d(in_channels, narrow, 1) for _ in range(subsets))
        self.conv_b = nn.ModuleList(nn.Conv2d(in_channels, narrow, 1) for _ in range(subsets))
        self.conv_d = nn.ModuleList(nn.Conv2d(in_channels, out_channels, 1) for _ in range(subsets))
        self.down = shortcut(in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        across = joints - 1 + joints % 2  # the largest odd number of joints
        self.conv_sa = nn.Conv1d(out_channels, 1, across, padding=across // 2)
        self.conv_ta = nn.Conv1d(out_channels, 1, 9, padding=4)
        self.fc1c = nn.Linear(out_channels, out_channels // 2)
        self.fc2c = nn.Linear(out_channels // 2, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        left, right = side_by_side([*self.conv_a], x), side_by_side([*self.conv_b], x)  # (N, K, C', T, V)
        # The mean over channels and frames; the root is applied to each factor, as the sum could overflow float16.
        scale = (left.shape[2] * left.shape[3]) ** -0.5
        similarity = torch.tanh(torch.einsum("nkctv,nkctw->nkvw", left * scale, right * scale))
        adjacency = self.A + self.alpha * similarity  # (N, K, V, V)
        gathered = torch.einsum("nctv,nkvw->nkctw", x, adjacency).flatten(1, 2)  # (N, K * C, T, V)
        # The sum of K convolutions is one convolution of the concatenated inputs.
        weight = torch.cat([cast(Tensor, c.weight) for c in self.conv_d], dim=1)
        bias = torch.stack([cast(Tensor, c.bias) for c in self.conv_d]).sum(dim=0)
        y = functional.relu(self.bn(functional.conv2d(gathered, weight, bias)) + self.down(x))
        return self._attend(y)

    def _attend(self, y: Tensor) -> Tensor:
        """Scale joints, then frames, then channels, each by 1 to 2."""
        y = y * (1 + self.conv_sa(y.mean(dim=2)).sigmoid().unsqueeze(2))
        y = y * (1 + self.conv_ta(y.mean(dim=3)).sigmoid().unsqueeze(3))
        gate = self.fc2c(functional.relu(self.fc1c(y.mean(dim=(2, 3))))).sigmoid()
        return y * (1 + gate[:, :, None, None])

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw He normal convolutions; at first the block is its shortcut and treats all frames and channels alike."""
        he_normal(self, generator)
        nn.init.constant_(self.bn.weight, 1e-6)
        subsets = len(self.conv_d)
        for convolution in cast(Iterable[nn.Conv2d], self.conv_d):
            std = math.sqrt(2 / (convolution.out_channels * convolution.in_channels * subsets))
            nn.init.normal_(convolution.weight, std=std, generator=generator)
        nn.init.xavier_normal_(self.conv_sa.weight, generator=generator)
        nn.init.kaiming_normal_(self.fc1c.weight, generator=generator)
        for layer in (self.conv_ta, self.fc2c):
            nn.init.zeros_(layer.weight)
        for bias in (self.conv_sa.bias, self.conv_ta.bias, self.fc1c.bias, self.fc2c.bias):
            nn.init.zeros_(cast(Tensor, bias))


def aagcn_features(
    graph: SkeletonGraph,
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    generator: torch.Generator | None = None,
    **settings: Any,
) -> GraphNetwork:
    """AAGCN, one stream of it.

    Args:
        generator: source of the initial weights; torch's own when omitted.
        settings: width (at least 4), blocks, in_channels, persons and data_norm ("MVC" here), see graph_network.
    """
    adjacency = graph.spatial()

    def convolutions(channels: int, out: int, stride: int) -> tuple[nn.Module, nn.Module]:
        return AdaptiveGraphConv(channels, out, adjacency), TemporalConv(out, out, stride=stride)

    settings = {"data_norm": "MVC", "width": width, "blocks": blocks, **settings}
    network = graph_network(graph, convolutions, **settings, adjacency=adjacency)
    he_normal(network, generator)
    for module in network.modules():
        if isinstance(module, AdaptiveGraphConv):
            module.reset_parameters(generator)
    return network


aagcn = skeleton_network(aagcn_features)
