"""The graph of a skeleton."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SkeletonGraph"]


@dataclass(frozen=True)
class SkeletonGraph:
    """Joints and the bones between them.

    Args:
        num_joints: V.
        root: the joint that the graph is centred on.
        edges: pairs (farther, nearer) of the root.
    """

    num_joints: int
    root: int
    edges: tuple[tuple[int, int], ...]
