from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.readers.pyskl import read_pyskl
from mgkit.data.skeletons import (
    BODY25,
    COCO17,
    IMIGUE22,
    KINECT25,
    LAYOUTS,
    LIGHT_HAND35,
    MA52_28,
    OPENPOSE18,
    OPENPOSE137,
    Skeleton,
    get_skeleton,
)
from mgkit.errors import MgkitError
from mgkit.files import write_json

ALL = pytest.mark.parametrize("skeleton", LAYOUTS.values(), ids=lambda s: s.name)

COUNTS = {
    "coco17": 17, "openpose18": 18, "body25": 25, "openpose137": 137, "imigue22": 22, "light_hand35": 35,
    "ma52_28": 28, "kinect25": 25, "kinect20": 20, "penn13": 13, "mediapipe33": 33, "holistic75": 75,
    "wholebody133": 133,
}  # fmt: skip
# Rings: the hips of layouts without a hip centre, eyes and lips of the face, palms and feet of MediaPipe.
NOT_TREES = {"coco17", "penn13", "openpose137", "mediapipe33", "holistic75", "wholebody133"}

# What may be joined, sides left out. A layout without a neck hangs the arms on the head.
NEIGHBOURS = """
    nose-neck nose-shoulder head-shoulder nose-eye eye-ear nose-eye_inner eye_inner-eye eye-eye_outer eye_outer-ear
    nose-mouth mouth-mouth neck-shoulder shoulder-shoulder shoulder-elbow elbow-wrist
    neck-mid_hip mid_hip-hip neck-hip shoulder-hip hip-hip hip-knee knee-ankle ankle-big_toe big_toe-small_toe
    ankle-heel heel-foot_index ankle-foot_index wrist-hand ankle-foot hand-hand_tip wrist-thumb wrist-index wrist-pinky
    pinky-index wrist-thumb_tip wrist-index_tip wrist-middle_tip wrist-ring_tip wrist-little_tip wrist-hand_wrist
    spine_base-spine_mid spine_mid-spine_shoulder spine_shoulder-neck spine_shoulder-head neck-head
    spine_shoulder-shoulder spine_base-hip
    nose-nose_bridge_3 nose_bridge_3-nostril_middle nostril_middle-nostril_1 nostril_1-nostril_0
    nose_bridge_0-eye_inner nose_bridge_0-brow_4 ear-jaw_0 jaw_7-chin lower_lip-chin nostril_middle-upper_lip
    eye-pupil pupil-eye_outer eye_outer-eye_upper_outer eye_upper_outer-eye_upper_inner eye_upper_inner-eye_inner
    eye_inner-eye_lower_inner eye_lower_inner-eye_lower_outer eye_lower_outer-eye_outer
    lip_corner-upper_lip_0 upper_lip_0-upper_lip_1 upper_lip_1-upper_lip
    lip_corner-lower_lip_0 lower_lip_0-lower_lip_1 lower_lip_1-lower_lip upper_lip-inner_upper_lip
    inner_lip_corner-inner_upper_lip inner_upper_lip-inner_upper_lip
    inner_lip_corner-inner_lower_lip inner_lower_lip-inner_lower_lip
    hand_wrist-hand_thumb_cmc hand_thumb_cmc-hand_thumb_mcp hand_thumb_mcp-hand_thumb_ip hand_thumb_ip-hand_thumb_tip
"""
NUMBERED = re.compile(r"(.*_)(\d+)$")
SIDE = re.compile(r"^(left|right)_")
FINGER = ("mcp", "pip", "dip", "tip")


def neighbours(a: str, b: str) -> bool:
    """Whether two joints of a person touch, by name."""
    sides = {match[1] for match in (SIDE.match(a), SIDE.match(b)) if match}
    a, b = SIDE.sub("", a), SIDE.sub("", b)
    if len(sides) == 2:  # across the body only like to like
        return a == b and f"{a}-{b}" in NEIGHBOURS.split()
    if {f"{a}-{b}", f"{b}-{a}"} & set(NEIGHBOURS.split()):
        return True
    one, other = NUMBERED.match(a), NUMBERED.match(b)
    if one and other and one[1] == other[1]:
        return one[1] in ("jaw_", "brow_", "nose_bridge_") and abs(int(one[2]) - int(other[2])) == 1
    for finger in ("index", "middle", "ring", "little"):
        chain = ["hand_wrist", *(f"hand_{finger}_{bone}" for bone in FINGER)]
        if (a, b) in set(pairwise(chain)):
            return True
    return False


@ALL
def test_every_layout_has_its_count(skeleton: Skeleton) -> None:
    assert len(skeleton) == COUNTS[skeleton.name]
    assert set(COUNTS) == set(LAYOUTS)
    assert len(set(skeleton.joints)) == len(skeleton.joints)


@ALL
def test_every_edge_joins_neighbours(skeleton: Skeleton) -> None:
    wrong = [
        (skeleton.joints[a], skeleton.joints[b])
        for a, b in skeleton.edges
        if not neighbours(skeleton.joints[a], skeleton.joints[b])
    ]
    assert not wrong


def test_what_does_not_touch_is_no_neighbour() -> None:
    for a, b in (
        ("left_wrist", "right_wrist"), ("nose", "left_hip"), ("left_elbow", "right_wrist"),
        ("left_hand_index_pip", "left_hand_middle_pip"), ("left_jaw_1", "left_jaw_3"), ("left_jaw_1", "left_brow_2"),
    ):  # fmt: skip
        assert not neighbours(a, b)


@ALL
def test_no_nose_trades_places_with_a_neck(skeleton: Skeleton) -> None:
    middle = {"nose", "neck", "head", "mid_hip", "chin", "spine_base", "spine_mid", "spine_shoulder"}
    for joint in middle & set(skeleton.joints):
        at = skeleton.joints.index(joint)
        assert skeleton.flip_index[at] == at
        assert skeleton.sides[at] == "middle"


@ALL
def test_graphs_hang_together(skeleton: Skeleton) -> None:
    count, root = len(skeleton), skeleton.root
    # Breadth-first by hand, from every joint.
    near = {i: {a + b - i for a, b in skeleton.edges if i in (a, b)} for i in range(count)}
    for start in range(count):
        distance, queue = {start: 0}, [start]
        for i in queue:  # grows while it is walked
            for j in sorted(near[i] - set(distance)):
                distance[j] = distance[i] + 1
                queue.append(j)
        assert len(distance) == count
        assert [distance[j] for j in range(count)] == skeleton.hops[start].tolist()
    assert (len(skeleton.edges) == count - 1) == (skeleton.name not in NOT_TREES)
    assert np.array_equal(skeleton.adjacency, (skeleton.hops == 1).astype(np.float32))
    assert skeleton.sides[root] == "middle"
    flip = skeleton.flip_index
    assert np.array_equal(skeleton.hops[flip][:, flip], skeleton.hops)
    for joint, parent in enumerate(skeleton.parents):
        assert skeleton.hops[root, parent] == skeleton.hops[root, joint] - 1 or joint == parent == root
    assert {frozenset(edge) for edge in skeleton.inward} == {frozenset(edge) for edge in skeleton.edges}
    if skeleton.name not in NOT_TREES:
        assert {(a, b) for a, b in skeleton.inward} == {
            (j, int(p)) for j, p in enumerate(skeleton.parents) if j != root
        }


@ALL
def test_sides_of_a_drawing(skeleton: Skeleton) -> None:
    for (a, b), side in zip(skeleton.edges, skeleton.edge_sides, strict=True):
        ends = {skeleton.joints[a].split("_")[0], skeleton.joints[b].split("_")[0]} & {"left", "right"}
        assert side == ("middle" if len(ends) != 1 else next(iter(ends)))
    assert skeleton.edge_sides.count("left") == skeleton.edge_sides.count("right")


def test_a_layout_in_pieces() -> None:
    pieces = Skeleton("x", ("a", "b", "c", "d"), ((0, 1), (1, 2)), ())
    assert pieces.root == 1
    assert pieces.hops.tolist() == [[0, 1, 2, 4], [1, 0, 1, 4], [2, 1, 0, 4], [4, 4, 4, 0]]
    assert pieces.parents.tolist() == [1, 1, 1, 3]
    assert pieces.inward == ((0, 1), (2, 1))


def test_openpose137_is_body_face_left_hand_right_hand() -> None:
    joints = OPENPOSE137.joints
    assert joints[:25] == BODY25.joints
    assert [joints[i] for i in (95, 116)] == ["left_hand_wrist", "right_hand_wrist"]
    fingers = ["thumb", "index", "middle", "ring", "little"]
    for start, side in ((95, "left"), (116, "right")):
        assert [joints[start + i] for i in (4, 8, 12, 16, 20)] == [f"{side}_hand_{f}_tip" for f in fingers]
    edges = {frozenset(edge) for edge in OPENPOSE137.edges}
    # What OpenPose draws of a face, in its numbering: jaw, brows, bridge, nostrils, then the rings.
    lines = [range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36)]
    rings = [range(36, 42), range(42, 48), range(48, 60), range(60, 68)]
    drawn = [(a, b) for line in lines for a, b in pairwise(line)]
    drawn += [(a, b) for ring in rings for a, b in pairwise([*ring, ring[0]])]
    assert {frozenset((25 + a, 25 + b)) for a, b in drawn} <= edges
    for start in (95, 116):
        for finger in range(1, 21, 4):
            chain = [start, *(start + finger + i for i in range(4))]
            assert {frozenset(pair) for pair in pairwise(chain)} <= edges
    # The mirror of the 68 points as 300-W is published, one-based.
    pairs = [(i, 18 - i) for i in range(1, 9)] + [(i, 45 - i) for i in range(18, 23)] + [(32, 36), (33, 35)]
    pairs += [
        (37, 46),
        (38, 45),
        (39, 44),
        (40, 43),
        (41, 48),
        (42, 47),
        (49, 55),
        (50, 54),
        (51, 53),
        (60, 56),
    ]
    pairs += [(59, 57), (61, 65), (62, 64), (68, 66), (69, 70)]
    face = {(a - 25, b - 25) for a, b in enumerate(OPENPOSE137.flip_index) if 25 <= a < 95 and a < b}
    assert face == {(min(a, b) - 1, max(a, b) - 1) for a, b in pairs}


def test_layouts_of_parts_of_openpose137() -> None:
    """The 22 and 35 joints are rows of the 137, in their order."""
    tips = [start + i for start in (95, 116) for i in (4, 8, 12, 16, 20)]
    for small, rows in (
        (IMIGUE22, [*range(8), *range(15, 19), *tips]),
        (LIGHT_HAND35, [*range(25), *tips]),
    ):
        assert [OPENPOSE137.joints[i].replace("_hand_", "_") for i in rows] == list(small.joints)


def test_ma52_28_is_openpose18_and_finger_tips() -> None:
    assert MA52_28.joints[:18] == OPENPOSE18.joints
    assert set(MA52_28.edges[:17]) == set(OPENPOSE18.edges)
    assert OPENPOSE18.joints[8:14] == (
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"
    )  # fmt: skip
    assert MA52_28.joints[18:] == IMIGUE22.joints[12:]


def test_coco17_limbs_are_those_of_published_pose_networks() -> None:
    assert COCO17.edges == (
        (0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15), (6, 12), (12, 14), (14, 16),
        (0, 1), (0, 2), (1, 3), (2, 4), (11, 12),
    )  # fmt: skip


def test_kinect25_numbering() -> None:
    # NTU RGB+D's published bones, one-based, from the farther joint to the nearer one.
    published = [
        (1, 2), (2, 21), (3, 21), (4, 3), (5, 21), (6, 5), (7, 6), (8, 7), (9, 21), (10, 9), (11, 10), (12, 11),
        (13, 1), (14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18), (20, 19),
    ]  # fmt: skip
    assert {(a - 1, b - 1) for a, b in published} <= set(KINECT25.inward)
    assert KINECT25.root == 20
    assert [KINECT25.joints[i] for i in (7, 11, 21, 22, 23, 24)] == [
        "left_hand", "right_hand", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb"
    ]  # fmt: skip


@ALL
def test_a_flip_is_an_involution_and_pairs_left_with_right(skeleton: Skeleton) -> None:
    index = skeleton.flip_index
    assert np.array_equal(index[index], np.arange(len(skeleton)))
    for left, right in skeleton.pairs:
        assert skeleton.joints[left].startswith("left_")
        assert skeleton.joints[right] == "right_" + skeleton.joints[left][5:]
    unpaired = [skeleton.joints[i] for i in range(len(skeleton)) if index[i] == i]
    assert not [name for name in unpaired if name.startswith(("left_", "right_"))]


@ALL
def test_mirroring_the_joints_maps_edges_to_edges(skeleton: Skeleton) -> None:
    index = skeleton.flip_index
    edges = {frozenset(edge) for edge in skeleton.edges}
    # Penn Action's only head joint hangs on both shoulders; every layout must be as symmetric as a body.
    assert {frozenset((int(index[a]), int(index[b]))) for a, b in skeleton.edges} == edges
    assert len(edges) == len(skeleton.edges)


def test_imigue22_is_the_published_numbering() -> None:
    assert {tuple(sorted(p)) for p in IMIGUE22.pairs} == {
        (2, 5), (3, 6), (4, 7), (8, 9), (10, 11), (12, 17), (13, 18), (14, 19), (15, 20), (16, 21)
    }  # fmt: skip
    edges = {(0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (0, 8), (8, 10), (0, 9), (9, 11)}
    edges |= {(7, tip) for tip in range(12, 17)} | {(4, tip) for tip in range(17, 22)}
    assert {tuple(sorted(e)) for e in IMIGUE22.edges} == edges


def test_body25_has_the_right_arm_first() -> None:
    assert BODY25.joints[2:8] == (
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"
    )  # fmt: skip


@ALL
def test_json_round_trip(skeleton: Skeleton, tmp_path: Path) -> None:
    write_json(tmp_path / "s.json", skeleton.to_dict())
    assert get_skeleton(tmp_path / "s.json") == skeleton


def test_layouts_known_by_name_are_listed_where_a_user_looks() -> None:
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)
    assert dict(rows) == {name: str(len(layout)) for name, layout in LAYOUTS.items()}
    listed = (read_pyskl.__doc__ or "").partition("skeleton: joint layout:")[2].partition(" or a .json")[0]
    assert [word.strip() for word in listed.split(",") if word.strip()] == list(LAYOUTS)


def test_mediapipe_body_is_the_first_part_of_holistic() -> None:
    body, whole = LAYOUTS["mediapipe33"], LAYOUTS["holistic75"]
    assert whole.joints[:33] == body.joints
    assert {edge for edge in whole.edges if max(edge) < 33} == set(body.edges)


def test_bad_layouts_are_refused() -> None:
    with pytest.raises(MgkitError, match="does not join two"):
        Skeleton("x", ("a", "b"), ((0, 2),), ())
    with pytest.raises(MgkitError, match="two left/right pairs"):
        Skeleton("x", ("a", "b", "c"), (), ((0, 1), (1, 2)))
    with pytest.raises(MgkitError, match="not unique"):
        Skeleton("x", ("a", "a"), (), ())
    with pytest.raises(
        MgkitError, match="unknown skeleton 'coco': use one of coco17, .*wholebody133, or a .json"
    ):
        get_skeleton("coco")
    with pytest.raises(MgkitError, match="lacks edges"):
        Skeleton.from_dict({"name": "x", "joints": [], "pairs": []})


def test_sides_of_joints_and_edges() -> None:
    for layout in LAYOUTS.values():
        for left, right in layout.pairs:
            assert (layout.sides[left], layout.sides[right]) == ("left", "right")
        flipped = {"left": "right", "right": "left", "middle": "middle"}
        assert [flipped[layout.sides[i]] for i in layout.flip_index] == list(layout.sides)
        for (a, b), side in zip(layout.edges, layout.edge_sides, strict=True):
            ends = {layout.sides[a], layout.sides[b]} - {"middle"}
            assert side == (ends.pop() if len(ends) == 1 else "middle")


def test_a_layout_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"there is no file .*mine\.json with a joint layout"):
        get_skeleton(tmp_path / "mine.json")
