"""One `Skeleton` object per key-point layout, from which flips, limbs and drawings are derived.

A layout is its joint names, its edges and its left/right pairs, and nothing else is ever written down by hand:
copies of these lists drifting apart is how published configurations came to swap noses with necks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, some
from mgkit.files import read_json


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
        """(V,) "left", "right" or "middle": the side of each joint, by the pairs."""
        sides = ["middle"] * len(self.joints)
        for left, right in self.pairs:
            sides[left], sides[right] = "left", "right"
        return tuple(sides)

    @cached_property
    def edge_sides(self) -> tuple[str, ...]:
        """(E,) the side of each edge: that of the end which has one; an edge from left to right is in the middle."""
        return tuple(_side(self.sides[a], self.sides[b]) for a, b in self.edges)

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


def _side(a: str, b: str) -> str:
    if a == b or b == "middle":
        return a
    return b if a == "middle" else "middle"


def _layout(name: str, joints: str, edges: str) -> Skeleton:
    """Build a layout from words: joints `a b c`, edges `a-b b-c`. Pairs are found by name (left_x / right_x)."""
    names = tuple(joints.split())
    index = {joint: i for i, joint in enumerate(names)}
    joined = tuple((index[a], index[b]) for a, b in (edge.split("-") for edge in edges.split()))
    mirrored = tuple(
        (i, index["right_" + joint[5:]]) for joint, i in index.items() if joint.startswith("left_")
    )
    return Skeleton(name, names, joined, mirrored)


def _arm(side: str, root: str) -> str:
    return f"{root}-{side}_shoulder {side}_shoulder-{side}_elbow {side}_elbow-{side}_wrist"


def _leg(side: str, root: str) -> str:
    return f"{root}-{side}_hip {side}_hip-{side}_knee {side}_knee-{side}_ankle"


FINGERS = ("thumb", "index", "middle", "ring", "little")


def _tips(side: str) -> str:
    return " ".join(f"{side}_{finger}_tip" for finger in FINGERS)


def _tip_edges(side: str) -> str:
    return " ".join(f"{side}_wrist-{side}_{finger}_tip" for finger in FINGERS)


COCO17 = _layout(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear left_shoulder-right_shoulder "
    "left_shoulder-left_elbow left_elbow-left_wrist right_shoulder-right_elbow right_elbow-right_wrist "
    "left_shoulder-left_hip right_shoulder-right_hip left_hip-right_hip "
    "left_hip-left_knee left_knee-left_ankle right_hip-right_knee right_knee-right_ankle",
)

BODY25 = _layout(
    "body25",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip "
    "right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear "
    "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel",
    f"nose-neck {_arm('right', 'neck')} {_arm('left', 'neck')} neck-mid_hip "
    f"{_leg('right', 'mid_hip')} {_leg('left', 'mid_hip')} "
    "nose-right_eye right_eye-right_ear nose-left_eye left_eye-left_ear "
    "left_ankle-left_big_toe left_big_toe-left_small_toe left_ankle-left_heel "
    "right_ankle-right_big_toe right_big_toe-right_small_toe right_ankle-right_heel",
)

# The 22 joints that micro-gesture work on iMiGUE uses: BODY_25 without legs, then five finger tips a hand.
IMIGUE22 = _layout(
    "imigue22",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    f"right_eye left_eye right_ear left_ear {_tips('left')} {_tips('right')}",
    f"nose-neck {_arm('right', 'neck')} {_arm('left', 'neck')} "
    "nose-right_eye right_eye-right_ear nose-left_eye left_eye-left_ear "
    f"{_tip_edges('left')} {_tip_edges('right')}",
)

# The 13 hand-annotated joints of Penn Action.
PENN13 = _layout(
    "penn13",
    "head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "head-left_shoulder head-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist "
    "right_shoulder-right_elbow right_elbow-right_wrist left_shoulder-left_hip right_shoulder-right_hip "
    "left_hip-right_hip left_hip-left_knee left_knee-left_ankle right_hip-right_knee right_knee-right_ankle",
)


def _holistic75() -> Skeleton:
    """MediaPipe Holistic without the face mesh: 33 pose landmarks, then 21 of the left hand, 21 of the right."""
    pose = (
        "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear "
        "mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
        "left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee "
        "right_knee left_ankle right_ankle left_heel right_heel left_foot_index right_foot_index"
    ).split()
    pose = [{"mouth_left": "left_mouth", "mouth_right": "right_mouth"}.get(joint, joint) for joint in pose]
    bones = ("mcp", "pip", "dip", "tip")
    hand = ["hand_wrist", *(f"hand_thumb_{b}" for b in ("cmc", "mcp", "ip", "tip"))]
    hand += [f"hand_{finger}_{b}" for finger in FINGERS[1:] for b in bones]
    edges = []
    for side in ("left", "right"):
        edges += [
            f"nose-{side}_eye_inner",
            f"{side}_eye_inner-{side}_eye",
            f"{side}_eye-{side}_eye_outer",
            f"{side}_eye_outer-{side}_ear",
            f"{side}_shoulder-{side}_elbow",
            f"{side}_elbow-{side}_wrist",
            f"{side}_wrist-{side}_pinky",
            f"{side}_wrist-{side}_index",
            f"{side}_wrist-{side}_thumb",
            f"{side}_pinky-{side}_index",
            f"{side}_shoulder-{side}_hip",
            f"{side}_hip-{side}_knee",
            f"{side}_knee-{side}_ankle",
            f"{side}_ankle-{side}_heel",
            f"{side}_heel-{side}_foot_index",
            f"{side}_ankle-{side}_foot_index",
        ]
        for start in range(1, 21, 4):  # each finger is a chain of four that begins at the wrist
            chain = ["hand_wrist", *hand[start : start + 4]]
            edges += [f"{side}_{a}-{side}_{b}" for a, b in pairwise(chain)]
    edges += ["left_mouth-right_mouth", "left_shoulder-right_shoulder", "left_hip-right_hip"]
    joints = [*pose, *(f"left_{j}" for j in hand), *(f"right_{j}" for j in hand)]
    return _layout("holistic75", " ".join(joints), " ".join(edges))


HOLISTIC75 = _holistic75()

LAYOUTS: dict[str, Skeleton] = {s.name: s for s in (COCO17, BODY25, IMIGUE22, PENN13, HOLISTIC75)}


def get_skeleton(layout: str | Path | Skeleton) -> Skeleton:
    """A layout by name (`"coco17"`, `"body25"`, `"imigue22"`, `"penn13"`, `"holistic75"`), or from a JSON file.

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
        f"unknown skeleton {str(layout)!r}: use one of {', '.join(LAYOUTS)}, or a .json file with a layout."
    )
