"""The graph of a skeleton, and the adjacency matrices that graph convolutions start from.

All matrices are indexed [from, to]: a graph convolution gives joint w the sum over v of `x[v] * adjacency[v, w]`.
Every column with an entry sums to 1 over the partitions it is normalised with; nothing is ever divided by 0, so that a
lone joint, a layout without edges or one of several parts gives finite matrices.

What the skeleton graph networks share: graph and temporal convolutions, residual units, and the network around them.

Everything works on (N, C, T, V): clips times persons, channels, frames, joints. Parameters and buffers are called as
in PYSKL (Duan et al., "PYSKL: Towards Good Practices for Skeleton Action Recognition", ACM MM 2022), so that its
checkpoints load by a change of prefix; so far as a name is odd (`tcn`, `down`, `PA`), that is why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mgkit.errors import MgkitError
from mgkit.models.layers import recomputed

__all__ = [
    "BRANCHES",
    "Branch",
    "DataNorm",
    "GraphConv",
    "GraphNetwork",
    "GraphUnit",
    "MultiScaleTemporalConv",
    "SkeletonGraph",
    "TemporalConv",
    "as_torch_does",
    "build_units",
    "he_normal",
    "projection",
    "shortcut",
    "side_by_side",
    "temporal_branch",
]


@dataclass(frozen=True)
class SkeletonGraph:
    """Joints and the bones between them.

    Args:
        num_joints: V, at least 1.
        root: the joint that the body is described from, a nose or a torso's centre.
        edges: bones as (farther from the root, nearer to it). A bone that is given twice counts once. Joints that no
            bone leads to are allowed, in any number.

    Raises:
        MgkitError: if there is no joint, or a root or a bone is not of the joints.

    Example:
        >>> arm = SkeletonGraph(3, root=0, edges=((1, 0), (2, 1)))
        >>> arm.spatial()[1].tolist()  # joint 1 takes from joint 0, joint 2 from joint 1, and the root from none
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    num_joints: int
    root: int
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if self.num_joints < 1:
            raise MgkitError(f"A skeleton graph needs at least one joint; got {self.num_joints}.")
        if not 0 <= self.root < self.num_joints:
            raise MgkitError(
                f"root={self.root} is none of the {self.num_joints} joints: give one of 0 to {self.num_joints - 1}."
            )
        object.__setattr__(self, "edges", tuple((int(far), int(near)) for far, near in self.edges))
        for far, near in self.edges:
            if far == near or not (0 <= far < self.num_joints and 0 <= near < self.num_joints):
                raise MgkitError(
                    f"The edge ({far}, {near}) does not join two of the graph's {self.num_joints} joints."
                )

    def spatial(self) -> Tensor:
        """(3, V, V): a joint itself, its neighbours nearer the root, and those farther from it.

        Each matrix is normalised by itself: a joint takes the mean of its neighbours of that kind, and nothing where
        it has none. Two that are equally far (hips with a bone between them, or both of a part that the root is not in)
        are to each other both nearer and farther, so that a body's sides are treated alike. Shi et al., "Two-Stream
        Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition", CVPR 2019; AAGCN, CTR-GCN and
        ST-GCN++ begin from it, too.
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
        """(1 + 2 * max_hop, V, V): "spatial configuration partitioning" of ST-GCN.

        Partition 0 is a joint itself; for each number of hops h there follow the joints h bones away that are not
        nearer to the root than it, then those that are. All partitions share one normalisation: together they take
        the mean over a joint's whole neighbourhood. Yan et al., "Spatial Temporal Graph Convolutional Networks for
        Skeleton-Based Action Recognition", AAAI 2018, "Partition Strategies".

        As in the published networks, distances from the root count up to `max_hop` only: beyond, all joints are
        equally far, and both directions of a bone there fall into the first of the two partitions. Joints that no
        path of bones leads to from the root are such, too. The published weights were learnt on these matrices.

        Raises:
            MgkitError: if `max_hop` is below 1.
        """
        if max_hop < 1:
            raise MgkitError(f"max_hop is the bones that a neighbourhood reaches, at least 1; got {max_hop}.")
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
        """(V, V) bones between two joints, float; infinite where it takes more than `max_hop`, or no way leads."""
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
    """Each column divided by its sum; columns of zeros stay."""
    sums = matrix.sum(dim=0)
    return matrix / sums.where(sums > 0, torch.ones(()))


# How the input is normalised: each channel of each joint of each person on its own, the persons together, or not.
DataNorm = Literal["MVC", "VC", "none"]

# A branch of a multi-scale temporal convolution: (kernel, dilation), ("max", kernel) for max-pooling, or a 1x1 alone.
Branch = tuple[int, int] | tuple[Literal["max"], int] | Literal["1x1"]
BRANCHES: tuple[Branch, ...] = ((3, 1), (3, 2), (3, 3), (3, 4), ("max", 3), "1x1")  # ST-GCN++, DG-STGCN


class TemporalConv(nn.Module):
    """Convolution along time and BatchNorm; a joint sees itself in other frames only.

    Args:
        kernel: frames, odd; the padding keeps the length.
        norm: with the BatchNorm. Without, what follows normalises.

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
        return self.bn(self.conv(x))


class GraphConv(nn.Module):
    """The graph convolution of ST-GCN and ST-GCN++: `sum_k (W_k x) A_k`, BatchNorm, ReLU.

    Args:
        adjacency: (K, V, V), [from, to].
        edges: "importance": the adjacency is fixed, and a learnt mask M, ones at first, weighs its entries (Yan et al.,
            AAAI 2018, "Learnable edge importance weighting"). "learnt": it is itself a weight that training changes
            (ST-GCN++).
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
        y = self.bn(torch.einsum("nkctv,kvw->nctw", parts, adjacency).contiguous())
        return functional.relu(y if self.down is None else y + self.down(x))


class MultiScaleTemporalConv(nn.Module):
    """Temporal convolutions of several spans side by side, mixed by a 1x1 convolution (ST-GCN++).

    The first branch takes the channels that remain when they are shared out evenly.

    Args:
        channels: in and out, at least one for each branch.
        context_joints: if given, the mean over the joints runs through the branches as one more joint, and is added
            to each joint with a learnt weight of its own: the joint-skeleton fusion of DG-STGCN (Duan et al., 2022).
            Weights of that many joints are kept; those beyond the skeleton's stay unused.

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
        branches: Sequence[Branch] = BRANCHES,
        context_joints: int | None = None,
    ) -> None:
        super().__init__()
        share = channels // len(branches)
        if share < 1:
            raise MgkitError(
                f"{len(branches)} temporal branches need at least as many channels; got {channels}: raise width."
            )
        first = channels - share * (len(branches) - 1)
        self.branches = nn.ModuleList(
            temporal_branch(branch, channels, share if i else first, stride)
            for i, branch in enumerate(branches)
        )
        self.add_coeff = None if context_joints is None else nn.Parameter(torch.zeros(context_joints))
        self.transform = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)
        )
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        joints = x.shape[3]
        if self.add_coeff is not None:
            x = torch.cat((x, x.mean(dim=3, keepdim=True)), dim=3)
        y = torch.cat([branch(x) for branch in self.branches], dim=1)
        if self.add_coeff is not None:
            y = y[..., :joints] + y[..., joints:] * self.add_coeff[:joints]
        return self.bn(self.transform(y))


def temporal_branch(
    branch: Branch, in_channels: int, out_channels: int, stride: int, *, norm: bool = False
) -> nn.Module:
    """One branch of a multi-scale temporal convolution; with `norm` it ends with a BatchNorm (CTR-GCN's do)."""
    if branch == "1x1":
        alone = nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1))
        return nn.Sequential(alone, nn.BatchNorm2d(out_channels)) if norm else alone
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, 1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
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
    """The way around a graph convolution: nothing, or a 1x1 convolution and BatchNorm where the channels differ."""
    return nn.Identity() if in_channels == out_channels else projection(in_channels, out_channels)


def projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and BatchNorm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


def side_by_side(convolutions: Sequence[nn.Conv2d], x: Tensor) -> Tensor:
    """Several 1x1 convolutions of one input in a single one: (N, C, T, V) -> (N, K, C', T, V)."""
    weight = torch.cat([convolution.weight for convolution in convolutions])
    bias = torch.cat([cast(Tensor, convolution.bias) for convolution in convolutions])
    return functional.conv2d(x, weight, bias).unflatten(1, (len(convolutions), -1))


class GraphUnit(nn.Module):
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
        self.recompute = False  # see recompute_blocks

    def forward(self, x: Tensor) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return recomputed(self._run, self, x)
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        spatial, temporal = (self.get_submodule(name) for name in self._names)
        y = temporal(spatial(x))
        return functional.relu(y if self.residual is None else y + self.residual(x))


class GraphNetwork(nn.Module):
    """A backbone: the input's normalisation, then one block after another.

    Args:
        units: the blocks, see build_units.
        out_channels: channels after each stage.
        graph: of the skeleton that it is for.
        in_channels: numbers a joint, 3 for x, y and score.
        persons: M. Where persons are normalised together ("VC") or not at all, other numbers work, too.
        data_norm: see DataNorm.
        name: of the list of blocks in the published network.
        adjacency: if given, kept as the buffer `A`, which the published network has, though its blocks have their own.

    Shapes:
        (N, M, T, V, in_channels) -> (N, out_channels[-1], T', V, M): the mean over the last three axes is the mean over
        persons of the mean over frames and joints. Every stage after the first halves T, rounding up. The features
        are not negative. N may be 0: a process of several can have no clip of a batch.

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
            raise MgkitError(f"data_norm is 'MVC', 'VC' or 'none', not {data_norm!r}.")
        if persons < 1:
            raise MgkitError(f"A network is for at least one person; got persons={persons}.")
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
        x = x.permute(0, 1, 3, 4, 2).contiguous()
        x = self.data_bn(x.view(n, m * v * c, t) if self.data_norm == "MVC" else x.view(n * m, v * c, t))
        x = x.view(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()
        for unit in self.units:
            x = unit(x)
        return x.unflatten(0, (n, m)).permute(0, 2, 3, 4, 1)

    def _check(self, x: Tensor) -> None:
        persons = self.persons if self.data_norm == "MVC" else "persons"
        fits = x.ndim == 5 and x.shape[3:] == (self.num_joints, self.in_channels) and min(x.shape[1:]) > 0
        if not fits or (self.data_norm == "MVC" and x.shape[1] != self.persons):
            raise MgkitError(
                f"This network needs the shape (clips, {persons}, frames, {self.num_joints} joints, "
                f"{self.in_channels} values a joint), with a person and a frame at least, but got {tuple(x.shape)}. "
                "Build it for the skeleton and the number of persons of the clips."
            )


def build_units(
    unit: Callable[[int, int, int, bool], nn.Module], *, in_channels: int, width: int, blocks: Sequence[int]
) -> tuple[list[nn.Module], tuple[int, ...]]:
    """The blocks of a network, and the channels after each stage.

    Stage i is `width * 2**i` wide; each after the first begins with a block of stride 2. The first block of all has
    no residual connection.

    Args:
        unit: (in_channels, out_channels, stride, residual) -> a block.
        blocks: how many each stage has.

    Raises:
        MgkitError: if a number is below 1.
    """
    if not blocks or min(in_channels, width, *blocks) < 1:
        raise MgkitError(
            f"in_channels, width and every entry of blocks must be at least 1; got {in_channels}, {width} and "
            f"{tuple(blocks)}."
        )
    units: list[nn.Module] = []
    out_channels = tuple(width * 2**stage for stage in range(len(blocks)))
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage and block == 0 else 1
            units.append(unit(in_channels, out_channels[stage], stride, bool(units)))
            in_channels = out_channels[stage]
    return units, out_channels


# Initialisation


def as_torch_does(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """The initial weights of ST-GCN, ST-GCN++ and DG-STGCN in PYSKL: torch's defaults, from the generator.

    Convolutions are uniform within 1 / sqrt(fan in), biases too; BatchNorm 1 and 0. What is not one of these stays.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(cast(Tensor, layer.bias), -bound, bound, generator=generator)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()


def he_normal(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """The initial weights of AAGCN and CTR-GCN: He normal (fan out) convolutions, biases 0; BatchNorm 1 and 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            nn.init.zeros_(cast(Tensor, layer.bias))
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()
