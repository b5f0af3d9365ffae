"""Skeleton graphs, and the parts that graph networks share: convolutions, residual blocks, the network around them.

A new network is one file: a graph convolution, and a function that passes it to `graph_network` (see stgcn.py).

Features are (N, C, T, V): clips times persons, channels, frames, joints. Adjacency matrices are indexed [from, to]: a
graph convolution gives joint w the sum over v of `x[v] * adjacency[v, w]`. Parameters and buffers are named as in
PYSKL (Duan et al., "PYSKL: Towards Good Practices for Skeleton Action Recognition", ACM MM 2022), odd as some of those
names are (`tcn`, `down`, `PA`), so that its checkpoints load with a change of prefix only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgkit.errors import MgkitError
from mgkit.models.layers import RecomputedBlock

__all__ = [
    "Branch",
    "DataNorm",
    "GraphConv",
    "GraphNetwork",
    "GraphUnit",
    "MultiScaleTemporalConv",
    "SkeletonGraph",
    "TemporalConv",
    "as_torch_does",
    "graph_network",
    "he_normal",
    "projection",
    "shortcut",
    "side_by_side",
    "temporal_branches",
]

# How the input is normalised: each channel of each joint of each person on its own, the persons together, or not.
DataNorm = Literal["MVC", "VC", "none"]

# A branch of a multi-scale temporal convolution: (kernel, dilation), ("max", kernel) for max-pooling, or a 1x1 alone.
Branch = tuple[int, int] | tuple[Literal["max"], int] | Literal["1x1"]
BRANCHES: tuple[Branch, ...] = ((3, 1), (3, 2), (3, 3), (3, 4), ("max", 3), "1x1")  # ST-GCN++, DG-STGCN


@dataclass(frozen=True)
class SkeletonGraph:
    """Joints and the bones between them.

    Args:
        num_joints: V, at least 1.
        root: the joint that the body is described from, a nose or a torso's centre.
        edges: bones as (farther from the root, nearer to it). A bone that is given twice counts once. There may be
            joints without bones, no bones at all, and several separate parts: every matrix stays finite.

    Raises:
        MgkitError: if there is no joint, or if the root or a bone is not among the joints.

    Example:
        >>> arm = SkeletonGraph(3, root=0, edges=((1, 0), (2, 1)))
        >>> arm.spatial()[1].tolist()  # joint 1 takes from joint 0, joint 2 from joint 1, the root from no other
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    num_joints: int
    root: int
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if self.num_joints < 1:
            raise MgkitError(f"a skeleton graph needs at least one joint; got {self.num_joints}")
        if not 0 <= self.root < self.num_joints:
            raise MgkitError(
                f"root={self.root} is not one of the {self.num_joints} joints: give one of 0 to {self.num_joints - 1}"
            )
        object.__setattr__(self, "edges", tuple((int(far), int(near)) for far, near in self.edges))
        for far, near in self.edges:
            if far == near or not (0 <= far < self.num_joints and 0 <= near < self.num_joints):
                raise MgkitError(
                    f"the edge ({far}, {near}) does not join two of the graph's {self.num_joints} joints"
                )

    def spatial(self) -> Tensor:
        """Adjacency (3, V, V) of each joint to itself, to its neighbours nearer the root, and to those farther away.

        Each matrix is normalised on its own: a joint takes the mean of its neighbours of that kind, and nothing where
        it has none. Two neighbours at the same distance from the root (hips with a bone between them, or joints of a
        part that the root is not in) count as both nearer and farther, so that left and right are treated alike. Shi
        et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition", CVPR 2019.
        AAGCN, CTR-GCN and ST-GCN++ start from it.
        """
        nearer = torch.zeros(self.num_joints, self.num_joints)
        if self.edges:
            far, near = torch.tensor(self.edges).T
            nearer[near, far] = 1
            to_root = self.hops(self.num_joints)[self.root]
            equal = (to_root[far] == to_root[near]).float()
            nearer[far, near] = torch.maximum(nearer[far, near], equal)
        itself = torch.eye(self.num_joints)
        return torch.stack((itself, _columns_to_one(nearer), _columns_to_one(nearer.T)))

    def partitioned(self, max_hop: int = 1) -> Tensor:
        """Adjacency (1 + 2 * max_hop, V, V) by the "spatial configuration partitioning" of ST-GCN.

        Partition 0 is the joint itself. For each number of hops h follow the joints h bones away that are not nearer
        to the root than the joint, then those that are. All partitions share one normalisation: together they give the
        mean over a joint's whole neighbourhood. Yan et al., "Spatial Temporal Graph Convolutional Networks for
        Skeleton-Based Action Recognition", AAAI 2018, "Partition Strategies".

        As in the published networks, distances from the root are counted up to `max_hop` only. Joints farther away,
        and those not connected to the root, all count as equally far: both directions of a bone between them fall into
        the first of the two partitions. The published weights were trained on these matrices.

        Raises:
            MgkitError: if `max_hop` is below 1.
        """
        if max_hop < 1:
            raise MgkitError(
                f"max_hop is the number of bones that a neighbourhood reaches, at least 1; got {max_hop}"
            )
        hops = self.hops(max_hop)
        weights = _columns_to_one((hops <= max_hop).float())
        to_root = hops[self.root]
        nearer = to_root[:, None] < to_root[None, :]  # [from, to]
        partitions = [weights * (hops == 0)]
        for hop in range(1, max_hop + 1):
            at = hops == hop
            partitions += [weights * (at & ~nearer), weights * (at & nearer)]
        return torch.stack(partitions)

    def hops(self, max_hop: int) -> Tensor:
        """Number of bones between each two joints (V, V), float; infinite beyond `max_hop` or where no path exists."""
        steps = torch.eye(self.num_joints)
        if self.edges:
            far, near = torch.tensor(self.edges).T
            steps[far, near] = steps[near, far] = 1
        distances = torch.full_like(steps, torch.inf).fill_diagonal_(0)
        reached = torch.eye(self.num_joints)
        for hop in range(1, max_hop + 1):
            reached = ((reached @ steps) > 0).float()
            distances[(reached > 0) & distances.isinf()] = hop
        return distances


def _columns_to_one(matrix: Tensor) -> Tensor:
    """The matrix with each column divided by its sum; columns of zeros stay as they are."""
    sums = matrix.sum(dim=0)
    return matrix / sums.where(sums > 0, torch.ones(()))


# Convolutions


class TemporalConv(nn.Module):
    """Convolution along time and BatchNorm; a joint sees itself in other frames only.

    Args:
        kernel: frames, odd; the padding keeps the length.
        norm: with the BatchNorm; turn it off where the next layer normalises.

    Shapes:
        (N, in_channels, T, V) -> (N, out_channels, ceil(T / stride), V).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 9,
        stride: int = 1,
        dilation: int = 1,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            (kernel, 1),
            stride=(stride, 1),
            padding=(dilation * (kernel - 1) // 2, 0),
            dilation=(dilation, 1),
        )
        self.bn = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.bn(self.conv(x)))


class GraphConv(nn.Module):
    """The graph convolution of ST-GCN and ST-GCN++: `sum_k (W_k x) A_k`, BatchNorm, ReLU.

    Args:
        adjacency: (K, V, V), [from, to].
        edges: "importance": the adjacency is fixed, and a learnt mask, ones at first, weights its entries (Yan et al.,
            AAAI 2018, "Learnable edge importance weighting"). "learnt": the adjacency itself is trained (ST-GCN++).
        residual: add the input, through a 1x1 convolution where the channels differ, before the ReLU (ST-GCN++).

    Shapes:
        (N, in_channels, T, V) -> (N, out_channels, T, V).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        *,
        edges: Literal["importance", "learnt"],
        residual: bool,
    ) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(out_channels)
        self.A: Tensor
        self.PA: Tensor | None = None
        if edges == "learnt":
            self.A = nn.Parameter(adjacency.clone())
        else:
            self.register_buffer("A", adjacency.clone())
            self.PA = nn.Parameter(torch.ones_like(adjacency))
        self.conv = nn.Conv2d(in_channels, out_channels * len(adjacency), 1)
        self.down = shortcut(in_channels, out_channels) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        adjacency = self.A if self.PA is None else self.A * self.PA
        parts = self.conv(x).unflatten(1, (len(adjacency), -1))  # (N, K, C', T, V)
        y = self.bn(torch.einsum("nkctv,kvw->nctw", parts, adjacency).contiguous())  # (N, C', T, V)
        return functional.relu(y if self.down is None else y + self.down(x))


class MultiScaleTemporalConv(nn.Module):
    """Temporal convolutions of several spans side by side, mixed by a 1x1 convolution (ST-GCN++).

    The first branch takes the channels that remain when they are shared out evenly.

    Args:
        channels: in and out, at least one for each branch.
        context_joints: if given, the mean over the joints runs through the branches as one more joint and is added to
            each joint with a learnt weight: the joint-skeleton fusion of DG-STGCN (Duan et al., 2022). That many
            weights are kept; those beyond the skeleton's joints are unused.

    Shapes:
        (N, channels, T, V) -> (N, channels, ceil(T / stride), V).

    Raises:
        MgkitError: if there are fewer channels than branches.
    """

    def __init__(
        self,
        channels: int,
        *,
        stride: int = 1,
        context_joints: int | None = None,
    ) -> None:
        super().__init__()
        self.branches = temporal_branches(BRANCHES, channels, stride, norm=False, rest=0)
        self.add_coeff = None if context_joints is None else nn.Parameter(torch.zeros(context_joints))
        self.transform = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        joints = x.shape[3]
        if self.add_coeff is not None:
            x = torch.cat((x, x.mean(dim=3, keepdim=True)), dim=3)  # (N, C, T, V + 1)
        y = torch.cat([branch(x) for branch in self.branches], dim=1)
        if self.add_coeff is not None:
            y = y[..., :joints] + y[..., joints:] * self.add_coeff[:joints]  # (N, C, T', V)
        return cast(Tensor, self.bn(self.transform(y)))


def temporal_branches(
    branches: Sequence[Branch], channels: int, stride: int, *, norm: bool, rest: int
) -> nn.ModuleList:
    """The branches of a multi-scale temporal convolution, which share the channels evenly.

    Args:
        norm: end each with a BatchNorm, as those of CTR-GCN and Hyperformer.
        rest: index of the branch that takes the channels that remain.

    Raises:
        MgkitError: if there are fewer channels than branches.
    """
    shares = [channels // len(branches)] * len(branches)
    if shares[0] < 1:
        raise MgkitError(
            f"{len(branches)} temporal branches need a width of at least {len(branches)}; got {channels}: raise width"
        )
    shares[rest] += channels % len(branches)
    return nn.ModuleList(
        _temporal_branch(branch, channels, share, stride, norm)
        for branch, share in zip(branches, shares, strict=True)
    )


def _temporal_branch(
    branch: Branch, in_channels: int, out_channels: int, stride: int, norm: bool
) -> nn.Module:
    if branch == "1x1":
        alone = nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1))
        return nn.Sequential(alone, nn.BatchNorm2d(out_channels)) if norm else alone
    layers: list[nn.Module] = [*projection(in_channels, out_channels), nn.ReLU(inplace=True)]
    kind, size = cast(tuple[int | str, int], branch)
    if isinstance(kind, int):
        layers.append(
            TemporalConv(out_channels, out_channels, kernel=kind, stride=stride, dilation=size, norm=norm)
        )
    else:
        layers.append(nn.MaxPool2d((size, 1), stride=(stride, 1), padding=(size // 2, 0)))
        layers += [nn.BatchNorm2d(out_channels)] if norm else []
    return nn.Sequential(*layers)


def shortcut(in_channels: int, out_channels: int) -> nn.Module:
    """The path around a graph convolution: nothing, or a 1x1 convolution and BatchNorm where the channels differ."""
    return nn.Identity() if in_channels == out_channels else projection(in_channels, out_channels)


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and BatchNorm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


def side_by_side(convolutions: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Several 1x1 convolutions of one input in a single one: (N, C, T, V) -> (N, K, C', T, V)."""
    weight = torch.cat([cast(Tensor, convolution.weight) for convolution in convolutions])
    bias = torch.cat([cast(Tensor, convolution.bias) for convolution in convolutions])
    return functional.conv2d(x, weight, bias).unflatten(1, (len(convolutions), -1))


# Blocks and the network


class GraphUnit(RecomputedBlock):
    """One block: a graph convolution, a temporal one, and a residual connection around both.

    Args:
        spatial: (N, in_channels, T, V) -> (N, out_channels, T, V).
        temporal: (N, out_channels, T, V) -> (N, out_channels, ceil(T / stride), V).
        residual: without it the block is a plain one, as the first of a network is.
        suffix: of the published names `gcn` and `tcn`.
    """

    def __init__(
        self,
        spatial: nn.Module,
        temporal: nn.Module,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        residual: bool = True,
        suffix: str = "",
    ) -> None:
        super().__init__()
        self._names = f"gcn{suffix}", f"tcn{suffix}"
        self.add_module(self._names[0], spatial)
        self.add_module(self._names[1], temporal)
        self.residual: nn.Module | None = None
        if residual:
            same = in_channels == out_channels and stride == 1
            self.residual = (
                nn.Identity() if same else TemporalConv(in_channels, out_channels, kernel=1, stride=stride)
            )

    def run(self, x: Tensor) -> Tensor:
        spatial, temporal = (self.get_submodule(name) for name in self._names)
        y = temporal(spatial(x))
        return functional.relu(y if self.residual is None else y + self.residual(x))


class GraphNetwork(nn.Module):
    """A backbone: the input's normalisation, then one block after another. `graph_network` builds one.

    Args:
        units: the blocks, in order.
        out_channels: channels after each stage.
        graph: the skeleton's.
        in_channels: numbers per joint, 3 for x, y and score.
        persons: M. Where persons are normalised together ("VC") or not at all, other numbers work, too.
        data_norm: see DataNorm.
        name: of the list of blocks in the published network.
        adjacency: if given, kept as the buffer `A`, which the published network has although its blocks have their own.

    Shapes:
        (N, M, T, V, in_channels) -> (N, out_channels[-1], T', V, M): the mean over the last three axes is the mean over
        persons of the mean over frames and joints. Every stage after the first halves T, rounding up. Features are not
        negative. N may be 0: one of several processes can have no clip of a batch.

    Raises:
        MgkitError: if `forward` gets another shape.
    """

    def __init__(
        self,
        units: Sequence[nn.Module],
        out_channels: tuple[int, ...],
        *,
        graph: SkeletonGraph,
        in_channels: int,
        persons: int,
        data_norm: DataNorm,
        name: str = "gcn",
        adjacency: Tensor | None = None,
    ) -> None:
        super().__init__()
        if data_norm not in ("MVC", "VC", "none"):
            raise MgkitError(f"data_norm is 'MVC', 'VC' or 'none', not {data_norm!r}")
        if persons < 1:
            raise MgkitError(f"a network is for at least one person; got persons={persons}")
        self.out_channels = out_channels
        self.in_channels = in_channels
        self.num_joints = graph.num_joints
        self.persons = persons
        self.data_norm = data_norm
        self._name = name
        if adjacency is not None:
            self.register_buffer("A", adjacency)
        values = graph.num_joints * in_channels * (persons if data_norm == "MVC" else 1)
        self.data_bn = nn.Identity() if data_norm == "none" else nn.BatchNorm1d(values)
        self.add_module(name, nn.ModuleList(units))

    @property
    def units(self) -> nn.ModuleList:
        """The blocks, in order."""
        return cast(nn.ModuleList, self.get_submodule(self._name))

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        n, m, t, v, c = x.shape
        x = x.permute(0, 1, 3, 4, 2).contiguous()  # (N, M, V, C, T)
        x = self.data_bn(x.view(n, m * v * c, t) if self.data_norm == "MVC" else x.view(n * m, v * c, t))
        x = x.view(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()  # (N * M, C, T, V)
        for unit in self.units:
            x = unit(x)
        return x.unflatten(0, (n, m)).permute(0, 2, 3, 4, 1)  # (N, C', T', V, M)

    def _check(self, x: Tensor) -> None:
        persons = self.persons if self.data_norm == "MVC" else "persons"
        fits = x.ndim == 5 and x.shape[3:] == (self.num_joints, self.in_channels) and min(x.shape[1:]) > 0
        if not fits or (self.data_norm == "MVC" and x.shape[1] != self.persons):
            raise MgkitError(
                f"this network needs the shape (clips, {persons}, frames, {self.num_joints} joints, "
                f"{self.in_channels} values per joint), with at least one person and frame, but got {tuple(x.shape)}: "
                "build it for the skeleton and the number of persons of the clips"
            )


def graph_network(
    graph: SkeletonGraph,
    convolutions: Callable[[int, int, int], tuple[nn.Module, nn.Module]],
    *,
    width: int = 64,
    blocks: Sequence[int] = (4, 3, 3),
    in_channels: int = 3,
    persons: int = 1,
    data_norm: DataNorm = "VC",
    suffix: str = "",
    **published: Any,
) -> GraphNetwork:
    """A network of residual blocks, each of a graph and a temporal convolution, with torch's random weights.

    Stage i is `width * 2**i` wide; each after the first begins with a block of stride 2. The first block of the network
    has no residual connection.

    Args:
        graph: the skeleton's.
        convolutions: (in_channels, out_channels, stride) -> the graph convolution and the temporal one of a block.
        width: channels of the first stage; each further stage doubles them and halves the frames.
        blocks: number of blocks of each stage.
        in_channels, persons, data_norm: see GraphNetwork.
        suffix, published: see GraphUnit, and `name` and `adjacency` of GraphNetwork.

    Shapes:
        (N, M, T, V, in_channels) -> (N, 4 * width, ceil(ceil(T / 2) / 2), V, M) with three stages.

    Raises:
        MgkitError: if a number is below 1, or the width too small for the network's branches.
    """
    if not blocks or min(in_channels, width, *blocks) < 1:
        raise MgkitError(
            f"in_channels, width and every entry of blocks must be at least 1; got {in_channels}, {width} and "
            f"{tuple(blocks)}"
        )
    units: list[nn.Module] = []
    out_channels = tuple(width * 2**stage for stage in range(len(blocks)))
    channels = in_channels
    for stage, count in enumerate(blocks):
        for block in range(count):
            out, stride = out_channels[stage], 2 if stage and block == 0 else 1
            spatial, temporal = convolutions(channels, out, stride)
            units.append(
                GraphUnit(
                    spatial, temporal, channels, out, stride=stride, residual=bool(units), suffix=suffix
                )
            )
            channels = out
    return GraphNetwork(
        units,
        out_channels,
        graph=graph,
        in_channels=in_channels,
        persons=persons,
        data_norm=data_norm,
        **published,
    )


# Initial weights


def as_torch_does(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw initial weights as torch does by default, from the generator: those of ST-GCN, ST-GCN++ and DG-STGCN.

    Convolutions and their biases are uniform within 1 / sqrt(fan in), BatchNorm is 1 and 0. Other parameters stay.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(cast(Tensor, layer.bias), -bound, bound, generator=generator)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()


def he_normal(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the initial weights of AAGCN and CTR-GCN: He normal (fan out), biases 0; BatchNorm is 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            nn.init.zeros_(cast(Tensor, layer.bias))
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()
