"""The graph of a skeleton, and the adjacency matrices that graph convolutions start from.

All matrices are indexed [from, to]: a graph convolution gives joint w the sum over v of `x[v] * adjacency[v, w]`.
Every column with an entry sums to 1 over the partitions it is normalised with; nothing is ever divided by 0, so that a
lone joint, a layout without edges or one of several parts gives finite matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mgkit.errors import MgkitError

__all__ = ["SkeletonGraph"]


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
