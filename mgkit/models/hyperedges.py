"""Hop distances between joints, and joints gathered into body parts: what a hypergraph network knows of a skeleton.

Both follow from the graph alone, so that they exist for every layout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor

from mgkit.errors import MgkitError
from mgkit.models.graphs import SkeletonGraph

__all__ = ["body_parts", "checked_partition", "hop_distances"]


def hop_distances(graph: SkeletonGraph) -> Tensor:
    """Edges on the shortest way between each two joints.

    Joints that no way joins have a distance of their own, one more than the longest way: nothing is said of them, and
    a bias that is learned for it is theirs alone.

    Returns:
        (V, V) int64, symmetric, 0 on the diagonal.

    Example:
        >>> hop_distances(SkeletonGraph(4, 0, ((1, 0), (2, 1))))
        tensor([[0, 1, 2, 3],
                [1, 0, 1, 3],
                [2, 1, 0, 3],
                [3, 3, 3, 0]])
    """
    near = _neighbours(graph)
    hops = torch.full((len(near), len(near)), -1)
    for start in range(len(near)):
        for joint, (distance, _) in _walk(near, start).items():
            hops[start, joint] = distance
    hops[hops < 0] = hops.max() + 1
    return hops


def body_parts(graph: SkeletonGraph, parts: int = 5) -> tuple[int, ...]:
    """Joints gathered into connected body parts of similar size, about as many as are asked for.

    The graph is seen as the tree of shortest ways from its root (of several neighbours that are as near, a joint hangs
    on the lowest number). From the farthest joints inward, each joint takes over what its branches have left; as soon
    as that is `size` joints or more it is cut off as a part, so that a limb ends where it is long enough, and what
    remains around the root is the last part. Branches of the same shape are cut alike, hence left and right. The
    smallest `size` is used whose number of parts is nearest to `parts`, and among those the one whose largest part
    is smallest. Joints that no way leads to from the root are cut in the same way from the lowest of their numbers.

    COCO's 17 joints give the head, both arms and both legs, Kinect's 20 the trunk, arms and legs, and iMiGUE's 22 the
    head, shoulders with the arms, and both hands. The published network is trained with five parts of Kinect's 25
    joints and three of its 20.

    Args:
        graph: the skeleton.
        parts: how many to aim at, at least 1; the shape of a tree and its symmetry may allow a few more or less.

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
        raise MgkitError(f"A skeleton has at least 1 part; got parts={parts}.")
    near = _neighbours(graph)
    parents: dict[int, int] = {}  # in the order of their distance, each tree after the other
    for start in [graph.root, *range(len(near))]:
        if start not in parents:
            parents |= {joint: parent for joint, (_, parent) in _walk(near, start).items()}

    def fit(cut: list[list[int]]) -> tuple[int, int]:
        return abs(len(cut) - parts), max(map(len, cut))

    cuts = [_cut(parents, size) for size in range(1, len(near) + 1)]
    best = min(cuts, key=fit)  # the first of equals: the smallest size
    label = dict.fromkeys(parents, 0)
    for number, part in enumerate(sorted(best, key=min)):
        label |= dict.fromkeys(part, number)
    return tuple(label[joint] for joint in range(len(near)))


def checked_partition(partition: Sequence[int], num_joints: int) -> tuple[int, ...]:
    """The part of each joint as plain integers, or a MgkitError that says what is wrong with them."""
    try:
        labels = tuple(index(label) for label in partition)
    except TypeError:
        raise MgkitError(
            f"partition must be whole numbers, the part of each joint; got {partition!r}."
        ) from None
    if len(labels) != num_joints:
        raise MgkitError(
            f"partition needs the part of each of the {num_joints} joints, but has {len(labels)} entries."
        )
    if set(labels) != set(range(max(labels) + 1)):
        raise MgkitError(
            f"Parts of a partition are numbered from 0 without a gap, but it names {sorted(set(labels))}: a part "
            "without joints has no features."
        )
    return labels


def _neighbours(graph: SkeletonGraph) -> list[list[int]]:
    """The neighbours of each joint, in ascending order."""
    near: list[set[int]] = [set() for _ in range(graph.num_joints)]
    for a, b in graph.edges:
        near[a].add(b)
        near[b].add(a)
    return [sorted(joints) for joints in near]


def _walk(near: list[list[int]], start: int) -> dict[int, tuple[int, int]]:
    """Distance and parent of every joint that a way leads to from `start`, nearest first; its own parent is itself."""
    found = {start: (0, start)}
    distance = {start: 0}
    queue = deque([start])
    while queue:
        joint = queue.popleft()
        for other in near[joint]:
            if other not in distance:
                distance[other] = distance[joint] + 1
                # Not simply `joint`: the queue reaches a joint first from the branch that began first.
                parent = min(n for n in near[other] if distance.get(n) == distance[joint])
                found[other] = (distance[other], parent)
                queue.append(other)
    return found


def _cut(parents: dict[int, int], size: int) -> list[list[int]]:
    """Parts of at least `size` joints, but for what is left at a root, cut off from the farthest joints inward."""
    held = {joint: [joint] for joint in parents}
    parts = []
    for joint, parent in reversed(parents.items()):
        if len(held[joint]) >= size or parent == joint:
            parts.append(held[joint])
        else:
            held[parent] += held[joint]
    return parts
