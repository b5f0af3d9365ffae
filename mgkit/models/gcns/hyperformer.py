"""Hyperformer: attention among the joints of a frame and among the body parts that they belong to.

Zhou et al., "Hypergraph Transformer for Skeleton-based Action Recognition", 2022 (arXiv 2211.09590). Parameters are
named as in the authors' code, so that their files load once the network is prefixed. What is computed is theirs, too:
absent persons are not masked, and a fixed mixing of joints (`outer`) is added to attention.

Body parts and hop distances follow from the skeleton's graph alone, so the network works for every layout.
"""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError, counted
from mgkit.models.builders import skeleton_network
from mgkit.models.gcns.blocks import Branch, DataNorm, SkeletonGraph, TemporalConv, temporal_branches
from mgkit.models.layers import RecomputedBlock

__all__ = [
    "Hyperformer",
    "HypergraphAttention",
    "body_parts",
    "checked_partition",
    "hop_distances",
    "hyperformer",
    "hyperformer_features",
]

BRANCHES: tuple[Branch, ...] = ((5, 1), (5, 2), ("max", 3), "1x1")  # of a temporal convolution
PUBLISHED_STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
PUBLISHED_GROUPS = 6  # of the projection after attention, whatever the number of heads


class HypergraphAttention(nn.Module):
    """Multi-head self-attention of joints to joints within a frame (HyperSA).

    The score of joint i for joint j, in each head, is

        (q_i . k_j  +  q_i . e_j  +  q_i . r_hops(i, j)  +  w . e_j) / sqrt(width of a head)

    with e_j the feature of j's body part (its hyperedge), r a vector learned for each hop distance, and w one for each
    head. Values are mixed by `alpha * softmax(scores) + outer`: `alpha` starts at 0 and `outer`, one matrix per head,
    as the identity.

    Args:
        in_channels: channels of the joints' features.
        width: channels of queries, keys, values and of the result.
        heads: attention heads; must divide `width`.
        num_joints: V.
        distances: number of different hop distances, 0 included.
        groups: groups of the last projection; must divide `width`.

    Shapes:
        x (N, in_channels, T, V), parts (N, width, T, V) the feature of each joint's part, hops (V, V) int64
        -> (N, width, T, V).
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        heads: int,
        num_joints: int,
        distances: int,
        groups: int = PUBLISHED_GROUPS,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.rpe = nn.Parameter(torch.zeros(distances, width))
        self.w1 = nn.Parameter(torch.zeros(heads, width // heads))
        self.outer = nn.Parameter(torch.eye(num_joints).repeat(heads, 1, 1))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.kv = nn.Conv2d(in_channels, 2 * width, 1, bias=False)
        self.q = nn.Conv2d(in_channels, width, 1, bias=False)
        self.proj = nn.Conv2d(width, width, 1, groups=groups)

    def forward(self, x: Tensor, parts: Tensor, hops: Tensor) -> Tensor:
        each = (self.heads, -1)
        query = self.q(x).unflatten(1, each)  # (N, heads, C / heads, T, V)
        key, value = (half.unflatten(1, each) for half in self.kv(x).chunk(2, dim=1))
        edge = parts.unflatten(1, each)
        relation = self.rpe[hops].unflatten(2, each)  # (V, V, heads, C / heads)
        scores = torch.einsum("nhctv,nhctw->nthvw", query, key + edge)
        scores = scores + torch.einsum("nhctv,vwhc->nthvw", query, relation)
        scores = scores + torch.einsum("hc,nhctw->nthw", self.w1, edge).unsqueeze(3)
        mixing = self.alpha * (scores * self.scale).softmax(dim=4) + self.outer
        mixed = torch.einsum("nthvw,nhctw->nhctv", mixing, value)
        return cast(Tensor, self.proj(mixed.flatten(1, 2)))


class _SpatialUnit(nn.Module):
    """Attention with its layer norm, its hyperedge features and a skip connection. `(N, C, T, V)`."""

    def __init__(
        self, in_channels: int, width: int, *, heads: int, num_joints: int, distances: int, groups: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(in_channels)
        self.attn = HypergraphAttention(
            in_channels, width, heads=heads, num_joints=num_joints, distances=distances, groups=groups
        )
        self.skip_proj: nn.Module = nn.Identity()
        if in_channels != width:
            self.skip_proj = nn.Conv2d(in_channels, width, 1, bias=False)
        self.pe_proj = nn.Conv2d(in_channels, width, 1, bias=False)

    def forward(self, x: Tensor, members: Tensor, hops: Tensor) -> Tensor:
        # members is (V, parts): the mean of each part's joints is projected and given back to each of them.
        parts = self.pe_proj(x @ (members / members.sum(dim=0))) @ members.T
        normed = self.norm1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return cast(Tensor, self.skip_proj(x) + self.attn(normed, parts, hops))


class _TimeUnit(nn.Module):
    """Four branches along time, each a quarter of the channels: two dilated convolutions, a max-pool, a pointwise one.

    Shapes:
        (N, width, T, V) -> (N, width, ceil(T / stride), V).
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.branches = temporal_branches(BRANCHES, width, stride, norm=True, rest=-1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class _Layer(RecomputedBlock):
    """Attention within frames, convolutions along time, a residual connection around both, ReLU."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        heads: int,
        num_joints: int,
        distances: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.vit1 = _SpatialUnit(
            in_channels, width, heads=heads, num_joints=num_joints, distances=distances, groups=groups
        )
        self.tcn1 = _TimeUnit(width, stride)
        self.act = nn.ReLU(inplace=True)
        self.residual: nn.Module = nn.Identity()
        if in_channels != width or stride != 1:
            self.residual = TemporalConv(in_channels, width, kernel=1, stride=stride)

    def run(self, x: Tensor, members: Tensor, hops: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.tcn1(self.vit1(x, members, hops)) + self.residual(x)))


class Hyperformer(nn.Module):
    """The hypergraph transformer without its classifier.

    Args:
        graph: the skeleton; hop distances are those of its edges.
        partition: V integers, the body part of each joint, numbered from 0 without a gap.
        persons: M, the number of persons in a clip. Each is processed alone, and its coordinates are normalised on
            their own (`data_bn` has M * V * in_channels channels).
        in_channels: numbers per joint: x, y and score.
        width: channels of every layer, a multiple of `heads`, of `groups` and of 4.
        heads: attention heads.
        strides: stride in time of each layer; their number is the number of layers.
        groups: groups of the projection after attention. The published code has 6 whatever the number of heads, and
            its weights need the same.
        generator: source of the initial weights; torch's own when omitted. It must live on the device on which the
            network is built.

    Shapes:
        forward: (N, M, T, V, in_channels) -> (N, width, T', V, M), not negative; T' is T divided by each stride in
        turn and rounded up. The mean over the last three axes is what the published classifier reads.
        `out_channels`: the width of each layer.

    Raises:
        MgkitError: if the width does not fit, a number is less than 1, there is no layer, the partition does not fit
            the graph, or `forward` gets another shape.

    Example:
        >>> arm = SkeletonGraph(4, 0, ((1, 0), (2, 1), (3, 2)))
        >>> network = Hyperformer(arm, (0, 0, 1, 1), width=12, heads=3, strides=(1, 2))
        >>> network(torch.rand(2, 1, 10, 4, 3)).shape
        torch.Size([2, 12, 5, 4, 1])
    """

    data_norm: DataNorm = "MVC"
    hops: Tensor
    members: Tensor

    def __init__(
        self,
        graph: SkeletonGraph,
        partition: Sequence[int],
        *,
        persons: int = 1,
        in_channels: int = 3,
        width: int = 216,
        heads: int = 9,
        strides: Sequence[int] = PUBLISHED_STRIDES,
        groups: int = PUBLISHED_GROUPS,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(persons, in_channels, width, heads, groups) < 1 or not strides or min(strides) < 1:
            raise MgkitError(
                "persons, in_channels, width, heads, groups and every stride must be at least 1, and there must be a "
                f"layer; got {persons}, {in_channels}, {width}, {heads}, {groups} and {tuple(strides)}"
            )
        multiple = math.lcm(heads, groups, len(BRANCHES))
        if width % multiple:
            raise MgkitError(
                f"a Hyperformer with {heads} heads and projections in {groups} groups needs a width that is a multiple "
                f"of {multiple}, but got {width}: choose another width, or other heads or groups"
            )
        labels = checked_partition(partition, graph.num_joints)
        with torch.device("cpu"):  # on the meta device there would be no numbers to read
            hops = hop_distances(graph)
            members = nn.functional.one_hot(torch.tensor(labels)).float()  # (V, parts)
        self.persons, self.num_joints, self.in_channels = persons, graph.num_joints, in_channels
        self.out_channels = (width,) * len(strides)
        # Not saved: both follow from the arguments, and the published files have no such entries.
        self.register_buffer("hops", hops.to(torch.get_default_device()), persistent=False)
        self.register_buffer("members", members.to(torch.get_default_device()), persistent=False)
        self.data_bn = nn.BatchNorm1d(persons * graph.num_joints * in_channels)
        for index, stride in enumerate(strides):
            layer = _Layer(
                width if index else in_channels,
                width,
                stride=stride,
                heads=heads,
                num_joints=graph.num_joints,
                distances=int(hops.max()) + 1,
                groups=groups,
            )
            self.add_module(f"l{index + 1}", layer)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights as published.

        Convolutions along time are Kaiming normal with biases 0 and BatchNorm scales N(1, 0.02); those of attention are
        torch's default. Elsewhere BatchNorm and LayerNorm are 1 and 0. In attention `rpe`, `w1` and `alpha` are 0 and
        `outer` is the identity.
        """
        for name, module in self.named_modules():
            in_time = ".tcn1." in name
            if isinstance(module, nn.Conv2d) and (in_time or ".residual." in name):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
                nn.init.zeros_(cast(Tensor, module.bias))
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
                if module.bias is not None:
                    bound = 1 / math.sqrt(module.weight[0].numel())
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                module.reset_parameters()
                if in_time:
                    nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
            elif isinstance(module, HypergraphAttention):
                for parameter in (module.rpe, module.w1, module.alpha):
                    nn.init.zeros_(parameter)
                with torch.no_grad():
                    module.outer.copy_(torch.eye(self.num_joints))

    @property
    def layers(self) -> list[nn.Module]:
        """The blocks, in order."""
        return [self.get_submodule(f"l{index + 1}") for index in range(len(self.out_channels))]

    def forward(self, x: Tensor) -> Tensor:
        expected = (self.persons, self.num_joints, self.in_channels)
        if x.ndim != 5 or (x.shape[1], *x.shape[3:]) != expected or x.shape[2] < 1:
            raise MgkitError(
                f"the hypergraph transformer needs skeletons of the shape (clips, {counted(self.persons, 'person')}, "
                f"frames, {self.num_joints} joints, {self.in_channels}), but got {tuple(x.shape)}"
            )
        clips, persons, frames, joints, numbers = x.shape
        x = self.data_bn(x.permute(0, 1, 3, 4, 2).flatten(1, 3))  # (N, M * V * in_channels, T)
        x = x.reshape(clips * persons, joints, numbers, frames)
        x = x.permute(0, 2, 3, 1)  # (N * M, in_channels, T, V)
        for layer in self.layers:
            x = layer(x, self.members, self.hops)
        return x.unflatten(0, (clips, persons)).permute(0, 2, 3, 4, 1)  # (N, width, T', V, M)


def hyperformer_features(
    graph: SkeletonGraph,
    *,
    width: int = 216,
    blocks: Sequence[int] = (4, 3, 3),
    heads: int | None = None,
    partition: Sequence[int] | None = None,
    persons: int = 1,
    generator: torch.Generator | None = None,
) -> Hyperformer:
    """Hyperformer: (N, M, T, V, 3) -> (N, width, ceil(ceil(T / 2) / 2), V, M); the published network by default.

    Args:
        width: channels of every layer.
        blocks: layers of each stage; each stage after the first begins with half the frames.
        heads: attention heads; 24 channels each when omitted, as published.
        partition: the body part of each joint; `body_parts(graph)` when omitted.
        persons, generator: see Hyperformer.
    """
    strides = [
        2 if stage and index == 0 else 1 for stage, count in enumerate(blocks) for index in range(count)
    ]
    return Hyperformer(
        graph,
        body_parts(graph) if partition is None else partition,
        persons=persons,
        width=width,
        heads=max(1, width // 24) if heads is None else heads,
        strides=strides,
        generator=generator,
    )


hyperformer = skeleton_network(hyperformer_features)


# What the network knows of a skeleton: hop distances, and joints gathered into body parts


def hop_distances(graph: SkeletonGraph) -> Tensor:
    """Number of edges on the shortest path between each two joints.

    Joints that no path connects get a distance of their own, one more than the longest path, for which the network
    learns a separate bias.

    Returns:
        (V, V) int64, symmetric, 0 on the diagonal.

    Example:
        >>> hop_distances(SkeletonGraph(4, 0, ((1, 0), (2, 1))))
        tensor([[0, 1, 2, 3],
                [1, 0, 1, 3],
                [2, 1, 0, 3],
                [3, 3, 3, 0]])
    """
    hops = graph.hops(graph.num_joints)
    connected = hops.isfinite()
    return hops.where(connected, hops[connected].max() + 1).long()


def body_parts(graph: SkeletonGraph, parts: int = 5) -> tuple[int, ...]:
    """Joints grouped into a given number (approximately) of connected body parts of similar size.

    The graph is treated as the tree of shortest paths from its root; where several neighbours are equally near, the one
    with the lowest number is a joint's parent. From the farthest joints inward, each joint collects what its branches
    have left over. As soon as that is `size` joints or more, it is cut off as a part: a limb ends where it is long
    enough, and what remains around the root is the last part. Branches of the same shape are cut alike, hence left and
    right. Of all values of `size`, the one is used whose number of parts is nearest to `parts`, then whose largest part
    is smallest, then the smallest. Joints not connected to the root are cut in the same way, starting from the lowest
    of their numbers.

    COCO's 17 joints give the head, both arms and both legs, Kinect's 20 the trunk, arms and legs, and iMiGUE's 22 the
    head, shoulders with the arms, and both hands. The published network was trained with five parts of Kinect's 25
    joints, and three of its 20.

    Args:
        graph: the skeleton.
        parts: number to aim at, at least 1; the shape of a tree and its symmetry may give a few more or less.

    Returns:
        The part of each joint; parts are numbered from 0 in the order of their lowest joints.

    Raises:
        MgkitError: if `parts` is less than 1.

    Example:
        >>> arms = SkeletonGraph(7, 0, ((1, 0), (2, 1), (3, 2), (4, 0), (5, 4), (6, 5)))
        >>> body_parts(arms, 3)
        (0, 0, 1, 1, 0, 2, 2)
    """
    if parts < 1:
        raise MgkitError(f"a skeleton has at least 1 part; got parts={parts}")
    near = _neighbours(graph)
    parents: dict[int, int] = {}  # in the order of their distance, each tree after the other
    for start in [graph.root, *range(len(near))]:
        if start not in parents:
            parents |= _parents(near, start)

    def fit(cut: list[list[int]]) -> tuple[int, int]:
        return abs(len(cut) - parts), max(map(len, cut))

    cuts = [_cut(parents, size) for size in range(1, len(near) + 1)]
    best = min(cuts, key=fit)  # the first of equals: the smallest size
    label = dict.fromkeys(parents, 0)
    for number, part in enumerate(sorted(best, key=min)):
        label |= dict.fromkeys(part, number)
    return tuple(label[joint] for joint in range(len(near)))


def checked_partition(partition: Sequence[int], num_joints: int) -> tuple[int, ...]:
    """The part of each joint as plain integers.

    Raises:
        MgkitError: they are not whole numbers, not one per joint, or leave a number out.
    """
    try:
        labels = tuple(operator.index(label) for label in partition)
    except TypeError:
        raise MgkitError(
            f"partition must be whole numbers, the part of each joint; got {partition!r}"
        ) from None
    if len(labels) != num_joints:
        raise MgkitError(
            f"partition needs the part of each of the {num_joints} joints, but has "
            f"{counted(len(labels), 'entry', 'entries')}"
        )
    if set(labels) != set(range(max(labels) + 1)):
        raise MgkitError(
            f"the parts of a partition are numbered from 0 without a gap, but these are {sorted(set(labels))}: a part "
            "without joints has no features"
        )
    return labels


def _neighbours(graph: SkeletonGraph) -> list[list[int]]:
    """The neighbours of each joint, in ascending order."""
    near: list[set[int]] = [set() for _ in range(graph.num_joints)]
    for a, b in graph.edges:
        near[a].add(b)
        near[b].add(a)
    return [sorted(joints) for joints in near]


def _parents(near: list[list[int]], start: int) -> dict[int, int]:
    """The parent of every joint that a path leads to from `start`, nearest first; the parent of `start` is itself."""
    found, distance = {start: start}, {start: 0}
    queue = deque([start])
    while queue:
        joint = queue.popleft()
        for other in near[joint]:
            if other not in distance:
                distance[other] = distance[joint] + 1
                # Not simply `joint`: the queue reaches a joint first from the branch that began first.
                found[other] = min(n for n in near[other] if distance.get(n) == distance[joint])
                queue.append(other)
    return found


def _cut(parents: dict[int, int], size: int) -> list[list[int]]:
    """Parts of at least `size` joints, cut off from the farthest joints inward; at a root fewer may be left."""
    held = {joint: [joint] for joint in parents}
    parts = []
    for joint, parent in reversed(parents.items()):
        if len(held[joint]) >= size or parent == joint:
            parts.append(held[joint])
        else:
            held[parent] += held[joint]
    return parts
