"""One `Skeleton` object per key-point layout, from which flips, limbs, graphs and drawings are derived.

A layout is its joint names, its edges and its left/right pairs, and nothing else is ever written down by hand:
copies of these lists drifting apart is how published configurations came to swap noses with necks. The layouts known
by name are in `mgkit.data.layouts`, in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.layouts import LAYOUT_WORDS
from mgkit.errors import MgkitError, some
from mgkit.files import read_json

# Where a graph is centred, in order of preference. Not the hips: seated people are seen without them.
ROOTS = ("spine_shoulder", "neck", "nose", "head")


@dataclass(frozen=True)
class Skeleton:
    """A key-point layout.

    Args:
        name: short name, for example `"coco17"`.
        joints: V joint names, in the order of the key-point array.
        edges: pairs of joint indices that are drawn as limbs and rendered as limb heatmaps.
        pairs: (left, right) joint indices which trade places when an image is mirrored.

    Raises:
        MgkitError: an index outside the layout, a joint twice in one edge, or a joint in two pairs.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    pairs: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(set(self.joints)) != len(self.joints):
            raise MgkitError(f"skeleton {self.name}: joint names are not unique.")
        for kind, couples in (("edge", self.edges), ("pair", self.pairs)):
            for a, b in couples:
                if a == b or not (0 <= a < len(self.joints) and 0 <= b < len(self.joints)):
                    raise MgkitError(
                        f"skeleton {self.name}: {kind} ({a}, {b}) does not join two of its {len(self.joints)} joints."
                    )
        paired = [joint for couple in self.pairs for joint in couple]
        if len(set(paired)) != len(paired):
            raise MgkitError(f"skeleton {self.name}: a joint stands in two left/right pairs.")

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property
    def flip_index(self) -> npt.NDArray[np.int64]:
        """(V,) permutation: joint i of a mirrored clip is joint `flip_index[i]` of the clip. Its own inverse."""
        index = np.arange(len(self.joints))
        for left, right in self.pairs:
            index[left], index[right] = right, left
        return index

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """Of each joint: `"left"`, `"right"`, or `"middle"` where it has no mirror image."""
        sides = ["middle"] * len(self.joints)
        for left, right in self.pairs:
            sides[left], sides[right] = "left", "right"
        return tuple(sides)

    @cached_property
    def edge_sides(self) -> tuple[str, ...]:
        """Of each edge, for its colour in a drawing: the side that its ends are on; `"middle"` where they are on both
        or on none."""
        ends = ({self.sides[a], self.sides[b]} - {"middle"} for a, b in self.edges)
        return tuple(found.pop() if len(found) == 1 else "middle" for found in ends)

    @cached_property
    def adjacency(self) -> npt.NDArray[np.float32]:
        """(V, V), symmetric: 1 where an edge joins two joints, else 0, also on the diagonal."""
        matrix = np.zeros((len(self.joints), len(self.joints)), dtype=np.float32)
        for a, b in self.edges:
            matrix[a, b] = matrix[b, a] = 1.0
        return matrix

    @cached_property
    def hops(self) -> npt.NDArray[np.int64]:
        """(V, V), symmetric: edges on the shortest way between two joints; V, more than any has, = there is none."""
        count = len(self.joints)
        near = (self.adjacency > 0) | np.eye(count, dtype=np.bool_)
        hops, reached = np.full((count, count), count), np.eye(count, dtype=np.bool_)
        for step in range(count):
            hops[reached & (hops == count)] = step
            reached = (reached.astype(np.float32) @ near) > 0
        return hops

    @cached_property
    def root(self) -> int:
        """The joint that a graph is centred on: the first of `ROOTS` that the layout has, else the most central one."""
        for joint in ROOTS:
            if joint in self.joints:
                return self.joints.index(joint)
        return int(self.hops.sum(axis=1).argmin())

    @cached_property
    def parents(self) -> npt.NDArray[np.int64]:
        """(V,) the neighbour of each joint that is nearest to the root (the lowest number of several).

        The root is its own parent, and so is a joint that no way leads to. `points - points[..., parents, :]` are the
        bones that skeleton networks take beside joints.
        """
        parents = np.arange(len(self.joints))
        for joint, distance in enumerate(self.hops[self.root]):
            nearer = np.flatnonzero((self.adjacency[joint] > 0) & (self.hops[self.root] < distance))
            if len(nearer):
                parents[joint] = nearer[self.hops[self.root][nearer].argmin()]
        return parents

    @cached_property
    def inward(self) -> tuple[tuple[int, int], ...]:
        """The edges as (farther, nearer) of the root, in their order: ST-GCN's inward edges; outward is the reverse."""
        distance = self.hops[self.root]
        return tuple((a, b) if distance[a] >= distance[b] else (b, a) for a, b in self.edges)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "joints": list(self.joints),
            "edges": [list(edge) for edge in self.edges],
            "pairs": [list(pair) for pair in self.pairs],
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str = "skeleton") -> Skeleton:
        """The inverse of `to_dict`; `where` names the file in an error message."""
        if not isinstance(value, dict):
            raise MgkitError(
                f"{where} holds no skeleton: it must be an object with name, joints, edges and pairs."
            )
        missing = [key for key in ("name", "joints", "edges", "pairs") if key not in value]
        if missing:
            raise MgkitError(f"{where}: the skeleton lacks {some(missing)}.")
        try:
            edges, pairs = ([(int(a), int(b)) for a, b in value[key]] for key in ("edges", "pairs"))
        except (TypeError, ValueError):
            raise MgkitError(f"{where}: edges and pairs must be lists of two joint numbers each.") from None
        if not isinstance(value["joints"], list):
            raise MgkitError(f"{where}: joints must be a list of names.")
        return cls(str(value["name"]), tuple(str(j) for j in value["joints"]), tuple(edges), tuple(pairs))


def _from_words(name: str, joints: str, edges: str) -> Skeleton:
    """Joints `a b c`, edges `a-b b-c`; pairs are found by name (left_x / right_x)."""
    names = tuple(joints.split())
    index = {joint: i for i, joint in enumerate(names)}
    joined = tuple((index[a], index[b]) for a, b in (edge.split("-") for edge in edges.split()))
    mirrored = tuple(
        (i, index["right_" + joint[5:]]) for joint, i in index.items() if joint.startswith("left_")
    )
    return Skeleton(name, names, joined, mirrored)


LAYOUTS: dict[str, Skeleton] = {name: _from_words(name, *words) for name, words in LAYOUT_WORDS.items()}

COCO17 = LAYOUTS["coco17"]
OPENPOSE18 = LAYOUTS["openpose18"]
BODY25 = LAYOUTS["body25"]
OPENPOSE137 = LAYOUTS["openpose137"]
IMIGUE22 = LAYOUTS["imigue22"]
LIGHT_HAND35 = LAYOUTS["light_hand35"]
MA52_28 = LAYOUTS["ma52_28"]
KINECT25 = LAYOUTS["kinect25"]
KINECT20 = LAYOUTS["kinect20"]
PENN13 = LAYOUTS["penn13"]
HOLISTIC75 = LAYOUTS["holistic75"]


def get_skeleton(layout: str | Path | Skeleton) -> Skeleton:
    """A layout by its name in `LAYOUTS` (`"imigue22"`, `"coco17"`, ...), or from a JSON file.

    The file holds `{"name", "joints", "edges", "pairs"}` as `Skeleton.to_dict` writes it.
    """
    if isinstance(layout, Skeleton):
        return layout
    if str(layout) in LAYOUTS:
        return LAYOUTS[str(layout)]
    path = Path(layout)
    if path.suffix == ".json" and path.is_file():
        return Skeleton.from_dict(read_json(path), where=str(path))
    raise MgkitError(
        f"unknown skeleton {str(layout)!r}: use one of {some(LAYOUTS, len(LAYOUTS))}, or a .json file with a layout."
    )
