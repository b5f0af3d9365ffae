"""Key-point layouts: joint names, edges and left/right pairs, from which flips, limbs, graphs and drawings follow.

Nothing else is ever written down by hand: copies of such lists drifting apart is how published configurations came to
swap noses with necks. The layouts known by name follow the class, in words: joints in the order of the key-point
array, edges as `a-b`; a joint `left_x` has its mirror image in `right_x`. Left and right are the person's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, meant, some
from mgkit.files import read_json

# Where a graph is centred, in order of preference. Not the hips: seated people are seen without them.
ROOTS = ("spine_shoulder", "neck", "nose", "head")
# Words in the names of the joints below the hips.
LEGS = ("knee", "ankle", "foot", "toe", "heel")


@dataclass(frozen=True)
class Skeleton:
    """A key-point layout.

    Args:
        name: short name, for example `"coco17"`.
        joints: V joint names, in the order of the key-point array.
        edges: pairs of joint indices that are drawn as limbs and rendered as limb heatmaps.
        pairs: (left, right) joint indices which trade places when an image is mirrored.

    Raises:
        MgkitError: an index outside the layout, an edge from a joint to itself, or a joint in two pairs.
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
            raise MgkitError(f"skeleton {self.name}: a joint is in two left/right pairs.")

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
        """Side of each joint: `"left"`, `"right"`, or `"middle"` where it has no mirror image."""
        sides = ["middle"] * len(self.joints)
        for left, right in self.pairs:
            sides[left], sides[right] = "left", "right"
        return tuple(sides)

    @cached_property
    def edge_sides(self) -> tuple[str, ...]:
        """Side of each edge, to colour it in a drawing: that of its ends, `"middle"` if they are on both or none."""
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
        """(V, V), symmetric: edges on the shortest path between two joints; V where there is no path."""
        count = len(self.joints)
        near = (self.adjacency > 0) | np.eye(count, dtype=np.bool_)
        hops, reached = np.full((count, count), count), np.eye(count, dtype=np.bool_)
        for step in range(count):
            hops[reached & (hops == count)] = step
            reached = (reached.astype(np.float32) @ near) > 0
        return hops

    def positions(self, part: Skeleton) -> list[int]:
        """Where the joints of a part of this layout stand in it."""
        return [self.joints.index(joint) for joint in part.joints]

    def part(self, patterns: Sequence[str]) -> Skeleton:
        """The layout of some joints only.

        A joint whose neighbour towards the root is left out is joined to the next one there that is kept, so that what
        hung together still does.

        Args:
            patterns: names of joints, with `*` for any letters (`left_*`), and "upper" for all but knees, ankles and
                feet; none = all.

        Raises:
            MgkitError: a pattern that no joint has.

        >>> COCO17.part(["upper"]).joints[-2:]
        ('left_hip', 'right_hip')
        """
        if not patterns:
            return self
        kept: set[str] = set()
        for pattern in patterns:
            if pattern == "upper":
                found = [joint for joint in self.joints if not any(word in joint for word in LEGS)]
            else:
                found = [joint for joint in self.joints if fnmatchcase(joint, pattern)]
            if not found:
                hint = meant(pattern, self.joints) or f"; its joints are {some(self.joints, 40)}."
                raise MgkitError(f"the layout {self.name} has no joint {pattern!r}{hint}")
            kept |= set(found)
        old = [i for i, joint in enumerate(self.joints) if joint in kept]
        if len(old) == len(self):
            return self
        new = {joint: i for i, joint in enumerate(old)}
        edges = [(a, b) for a, b in self.edges if a in new and b in new]
        for joint in old:
            parent = int(self.parents[joint])
            if parent in new:
                continue
            while parent not in new and self.parents[parent] != parent:
                parent = int(self.parents[parent])
            if parent in new:
                edges.append((joint, parent))
        return Skeleton(
            f"{self.name} ({len(old)} of {len(self)} joints)",
            tuple(self.joints[i] for i in old),
            tuple((new[a], new[b]) for a, b in edges),
            tuple((new[a], new[b]) for a, b in self.pairs if a in new and b in new),
        )

    @cached_property
    def root(self) -> int:
        """Joint that a graph is centred on: the first of `ROOTS` that the layout has, else the most central one."""
        for joint in ROOTS:
            if joint in self.joints:
                return self.joints.index(joint)
        return int(self.hops.sum(axis=1).argmin())

    @cached_property
    def parents(self) -> npt.NDArray[np.int64]:
        """(V,) the neighbour of each joint that is nearest to the root (the lowest number of several).

        The root is its own parent, and so is a joint that no path leads to. `points - points[..., parents, :]` are the
        bones that skeleton networks take in addition to joints.
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
                f"{where} does not hold a skeleton: it must be an object with name, joints, edges and pairs."
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


# --- layouts in words -----------------------------------------------------------------------------------------------

FINGERS = ("thumb", "index", "middle", "ring", "little")


def _chain(*joints: str) -> str:
    """`a-b b-c c-d` for joints a, b, c, d."""
    return " ".join(f"{a}-{b}" for a, b in pairwise(joints))


def _both(words: str) -> str:
    """The same words for the right and the left side: `{s}_wrist` becomes `right_wrist left_wrist`."""
    return " ".join(words.replace("{s}", side) for side in ("right", "left"))


def _tips(side: str) -> str:
    return " ".join(f"{side}_{finger}_tip" for finger in FINGERS)


_ARMS = _both("neck-{s}_shoulder {s}_shoulder-{s}_elbow {s}_elbow-{s}_wrist")
_EYES = _both("nose-{s}_eye {s}_eye-{s}_ear")
_TIP_EDGES = " ".join(f"{s}_wrist-{s}_{finger}_tip" for s in ("left", "right") for finger in FINGERS)


def _legs(root: str) -> str:
    return _both(f"{root}-{{s}}_hip {{s}}_hip-{{s}}_knee {{s}}_knee-{{s}}_ankle")


# --- COCO -----------------------------------------------------------------------------------------------------------

# The edges are the 17 limbs that PoseConv3D is trained on, in its order. There is no neck: arms hang on the nose.
_COCO17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "nose-left_shoulder nose-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-right_elbow right_elbow-right_wrist "
    "left_shoulder-left_hip left_hip-left_knee left_knee-left_ankle "
    "right_shoulder-right_hip right_hip-right_knee right_knee-right_ankle "
    "nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear left_hip-right_hip",
)

# --- OpenPose -------------------------------------------------------------------------------------------------------

_UPPER8 = "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist"

# OpenPose's COCO model: the 17 joints of COCO in another order, and a neck.
_OPENPOSE18 = (
    f"{_UPPER8} right_hip right_knee right_ankle left_hip left_knee left_ankle "
    "right_eye left_eye right_ear left_ear",
    f"nose-neck {_ARMS} {_legs('neck')} {_EYES}",
)

_BODY25 = (
    f"{_UPPER8} mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle "
    "right_eye left_eye right_ear left_ear "
    "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel",
    f"nose-neck {_ARMS} neck-mid_hip {_legs('mid_hip')} {_EYES} "
    "left_ankle-left_big_toe left_big_toe-left_small_toe left_ankle-left_heel "
    "right_ankle-right_big_toe right_big_toe-right_small_toe right_ankle-right_heel",
)

# The 22 joints that micro-gesture work on iMiGUE uses: BODY_25 without legs, then five finger tips per hand.
_IMIGUE22 = (
    f"{_UPPER8} right_eye left_eye right_ear left_ear {_tips('left')} {_tips('right')}",
    f"nose-neck {_ARMS} {_EYES} {_TIP_EDGES}",
)

# MA-52: OpenPose's 18, then five finger tips per hand, the left hand first as OpenPose gives them.
_MA52_28 = (
    f"{_OPENPOSE18[0]} {_tips('left')} {_tips('right')}",
    f"{_OPENPOSE18[1]} {_TIP_EDGES}",
)

# iMiGUE's `_light_hand.csv`: BODY_25, then five finger tips per hand. Which block of tips is whose is not reliable in
# the files: a reader puts them into this order by the nearest wrist.
_LIGHT_HAND35 = (
    f"{_BODY25[0]} {_tips('left')} {_tips('right')}",
    f"{_BODY25[1]} {_TIP_EDGES}",
)


def _hand21() -> tuple[list[str], str]:
    """A hand of OpenPose or MediaPipe without its side: joint names, and edges with `{s}` for the side.

    The wrist, four of the thumb, then four of each finger; each finger is a chain that begins at the wrist.
    """
    bones = dict.fromkeys(FINGERS, ("mcp", "pip", "dip", "tip")) | {"thumb": ("cmc", "mcp", "ip", "tip")}
    joints = ["hand_wrist", *(f"hand_{finger}_{bone}" for finger in FINGERS for bone in bones[finger])]
    chains = (["hand_wrist", *joints[start : start + 4]] for start in range(1, 21, 4))
    return joints, " ".join(_chain(*(f"{{s}}_{joint}" for joint in chain)) for chain in chains)


def _face(pupils: bool) -> tuple[str, str]:
    """The 68 points of 300-W from the person's right to the left; OpenPose adds the right and left pupil.

    They are usually drawn as eyes, brows, lips and jaw apart; here these are also joined, as a graph must be.
    """
    jaw = [f"right_jaw_{i}" for i in range(8)] + ["chin"] + [f"left_jaw_{i}" for i in reversed(range(8))]
    brow = [f"right_brow_{i}" for i in range(5)] + [f"left_brow_{i}" for i in reversed(range(5))]
    bridge = [f"nose_bridge_{i}" for i in range(4)]
    nostrils = ["right_nostril_0", "right_nostril_1", "nostril_middle", "left_nostril_1", "left_nostril_0"]
    eye = ("outer", "upper_outer", "upper_inner", "inner", "lower_inner", "lower_outer")
    right_eye = [f"right_eye_{part}" for part in eye]
    left_eye = [f"left_eye_{eye[i]}" for i in (3, 2, 1, 0, 5, 4)]  # also from right to left: begins inside
    outer_lip = (
        "right_lip_corner right_upper_lip_0 right_upper_lip_1 upper_lip left_upper_lip_1 left_upper_lip_0 "
        "left_lip_corner left_lower_lip_0 left_lower_lip_1 lower_lip right_lower_lip_1 right_lower_lip_0"
    ).split()
    inner_lip = (
        "right_inner_lip_corner right_inner_upper_lip inner_upper_lip left_inner_upper_lip "
        "left_inner_lip_corner left_inner_lower_lip inner_lower_lip right_inner_lower_lip"
    ).split()
    joints = [*jaw, *brow, *bridge, *nostrils, *right_eye, *left_eye, *outer_lip, *inner_lip]
    joints += ["right_pupil", "left_pupil"] if pupils else []
    eye_edges = ("{s}_eye-{s}_pupil", "{s}_pupil-{s}_eye_outer") if pupils else ("{s}_eye-{s}_eye_outer", "")
    drawn = [_chain(*part) for part in (jaw, brow[:5], brow[5:], bridge, nostrils)]
    drawn += [_chain(*ring, ring[0]) for ring in (right_eye, left_eye, outer_lip, inner_lip)]
    hanging = (
        "nose-nose_bridge_3 nose_bridge_3-nostril_middle nostril_middle-upper_lip upper_lip-inner_upper_lip "
        "lower_lip-chin "
        + _both(
            f"{eye_edges[0]} nose_bridge_0-{{s}}_eye_inner nose_bridge_0-{{s}}_brow_4 "
            f"{{s}}_ear-{{s}}_jaw_0 {eye_edges[1]}"
        )
    )
    return " ".join(joints), f"{' '.join(drawn)} {hanging}"


def _openpose137() -> tuple[str, str]:
    """BODY_25 (0-24), face (25-94), left hand (95-115), right hand (116-136). A hand's wrist repeats the body's."""
    face, face_edges = _face(pupils=True)
    hand, hand_edges = _hand21()
    hands = " ".join(f"{side}_{joint}" for side in ("left", "right") for joint in hand)
    return (
        f"{_BODY25[0]} {face} {hands}",
        f"{_BODY25[1]} {face_edges} " + _both(f"{{s}}_wrist-{{s}}_hand_wrist {hand_edges}"),
    )


def _wholebody133() -> tuple[str, str]:
    """COCO-WholeBody: coco17 (0-16), feet (17-22), face (23-90), left hand (91-111), right hand (112-132)."""
    face, face_edges = _face(pupils=False)
    hand, hand_edges = _hand21()
    hands = " ".join(f"{side}_{joint}" for side in ("left", "right") for joint in hand)
    toes = "{s}_ankle-{s}_big_toe {s}_big_toe-{s}_small_toe {s}_ankle-{s}_heel"
    feet = " ".join(f"{s}_big_toe {s}_small_toe {s}_heel" for s in ("left", "right"))
    edges = _both(f"{toes} {{s}}_wrist-{{s}}_hand_wrist {hand_edges}")
    return f"{_COCO17[0]} {feet} {face} {hands}", f"{_COCO17[1]} {face_edges} {edges}"


# --- Kinect ---------------------------------------------------------------------------------------------------------

_KINECT_LIMBS = _both(
    "{s}_shoulder-{s}_elbow {s}_elbow-{s}_wrist {s}_wrist-{s}_hand "
    "spine_base-{s}_hip {s}_hip-{s}_knee {s}_knee-{s}_ankle {s}_ankle-{s}_foot"
)
_KINECT_SIDES = (
    "left_shoulder left_elbow left_wrist left_hand right_shoulder right_elbow right_wrist right_hand "
    "left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot"
)

_KINECT25 = (
    f"spine_base spine_mid neck head {_KINECT_SIDES} "
    "spine_shoulder left_hand_tip left_thumb right_hand_tip right_thumb",
    "spine_base-spine_mid spine_mid-spine_shoulder spine_shoulder-neck neck-head "
    f"{_KINECT_LIMBS} " + _both("spine_shoulder-{s}_shoulder {s}_hand-{s}_hand_tip {s}_wrist-{s}_thumb"),
)

# The first Kinect calls them hip centre, spine, shoulder centre and head.
_KINECT20 = (
    f"spine_base spine_mid spine_shoulder head {_KINECT_SIDES}",
    f"spine_base-spine_mid spine_mid-spine_shoulder spine_shoulder-head {_KINECT_LIMBS} "
    + _both("spine_shoulder-{s}_shoulder"),
)

# --- others ---------------------------------------------------------------------------------------------------------

# The 13 hand-annotated joints of Penn Action.
_PENN13 = (
    "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "head-left_shoulder head-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-right_elbow right_elbow-right_wrist left_shoulder-left_hip right_shoulder-right_hip "
    "left_hip-right_hip left_hip-left_knee left_knee-left_ankle right_hip-right_knee right_knee-right_ankle",
)


# MediaPipe's body: face, arms with three points of each hand, legs with three points of each foot.
_MEDIAPIPE33 = (
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear "
    "left_mouth right_mouth left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee "
    "right_knee left_ankle right_ankle left_heel right_heel left_foot_index right_foot_index",
    _both(
        "nose-{s}_eye_inner {s}_eye_inner-{s}_eye {s}_eye-{s}_eye_outer {s}_eye_outer-{s}_ear nose-{s}_mouth "
        "nose-{s}_shoulder {s}_shoulder-{s}_elbow {s}_elbow-{s}_wrist "
        "{s}_wrist-{s}_pinky {s}_wrist-{s}_index {s}_wrist-{s}_thumb {s}_pinky-{s}_index "
        "{s}_shoulder-{s}_hip {s}_hip-{s}_knee {s}_knee-{s}_ankle "
        "{s}_ankle-{s}_heel {s}_heel-{s}_foot_index {s}_ankle-{s}_foot_index"
    )
    + " left_mouth-right_mouth left_shoulder-right_shoulder left_hip-right_hip",
)


def _holistic75() -> tuple[str, str]:
    """MediaPipe Holistic without the face mesh: 33 points of the body, then 21 of the left hand, 21 of the right."""
    hand, hand_edges = _hand21()
    hands = " ".join(f"{side}_{joint}" for side in ("left", "right") for joint in hand)
    edges = _both(f"{{s}}_wrist-{{s}}_hand_wrist {hand_edges}")
    return f"{_MEDIAPIPE33[0]} {hands}", f"{_MEDIAPIPE33[1]} {edges}"


def _from_words(name: str, joints: str, edges: str) -> Skeleton:
    """Joints `a b c`, edges `a-b b-c`; pairs are found by name (left_x / right_x)."""
    names = tuple(joints.split())
    index = {joint: i for i, joint in enumerate(names)}
    joined = tuple((index[a], index[b]) for a, b in (edge.split("-") for edge in edges.split()))
    mirrored = tuple(
        (i, index["right_" + joint[5:]]) for joint, i in index.items() if joint.startswith("left_")
    )
    return Skeleton(name, names, joined, mirrored)


# --- by name --------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Skeleton] = {
    name: _from_words(name, *words)
    for name, words in {
        "coco17": _COCO17,
        "openpose18": _OPENPOSE18,
        "body25": _BODY25,
        "openpose137": _openpose137(),
        "imigue22": _IMIGUE22,
        "light_hand35": _LIGHT_HAND35,
        "ma52_28": _MA52_28,
        "kinect25": _KINECT25,
        "kinect20": _KINECT20,
        "penn13": _PENN13,
        "mediapipe33": _MEDIAPIPE33,
        "holistic75": _holistic75(),
        "wholebody133": _wholebody133(),
    }.items()
}

COCO17 = LAYOUTS["coco17"]
OPENPOSE18 = LAYOUTS["openpose18"]
BODY25 = LAYOUTS["body25"]
OPENPOSE137 = LAYOUTS["openpose137"]
IMIGUE22 = LAYOUTS["imigue22"]
LIGHT_HAND35 = LAYOUTS["light_hand35"]
MA52_28 = LAYOUTS["ma52_28"]
KINECT25 = LAYOUTS["kinect25"]
PENN13 = LAYOUTS["penn13"]
HOLISTIC75 = LAYOUTS["holistic75"]
WHOLEBODY133 = LAYOUTS["wholebody133"]


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
    if path.suffix == ".json":
        raise MgkitError(f"there is no file {path} with a joint layout: correct the path.")
    raise MgkitError(
        f"unknown skeleton {str(layout)!r}: use one of {some(LAYOUTS, len(LAYOUTS))}, or a .json file with a layout."
    )
