"""The joint layouts known by name, in words: `LAYOUT_WORDS[name] = (joints, edges)`.

Joints are in the order of the key-point array, edges are written `a-b`. A joint called `left_x` has its mirror image in
`right_x`, so that left/right pairs are never written down. `mgkit.data.skeletons` makes `Skeleton` objects of them.
Left and right are the person's own.
"""

from __future__ import annotations

from itertools import pairwise

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

# The edges are the 17 limbs that PoseConv3D is trained on, in its order: there is no neck, so arms hang on the nose.
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

# The 22 joints that micro-gesture work on iMiGUE uses: BODY_25 without legs, then five finger tips a hand.
_IMIGUE22 = (
    f"{_UPPER8} right_eye left_eye right_ear left_ear {_tips('left')} {_tips('right')}",
    f"nose-neck {_ARMS} {_EYES} {_TIP_EDGES}",
)

# MA-52: OpenPose's 18, then five finger tips a hand, the left hand first as OpenPose gives them.
_MA52_28 = (
    f"{_OPENPOSE18[0]} {_tips('left')} {_tips('right')}",
    f"{_OPENPOSE18[1]} {_TIP_EDGES}",
)

# iMiGUE's `_light_hand.csv`: BODY_25, then five finger tips a hand. Which block of tips is whose is not reliable in
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


def _face70() -> tuple[str, str]:
    """OpenPose's face: the 68 points of 300-W from the person's right to the left, then the right and left pupil.

    OpenPose draws eyes, brows, lips and jaw apart; here they also hang together, as a graph must.
    """
    jaw = [f"right_jaw_{i}" for i in range(8)] + ["chin"] + [f"left_jaw_{i}" for i in reversed(range(8))]
    brow = [f"right_brow_{i}" for i in range(5)] + [f"left_brow_{i}" for i in reversed(range(5))]
    bridge = [f"nose_bridge_{i}" for i in range(4)]
    nostrils = ["right_nostril_0", "right_nostril_1", "nostril_middle", "left_nostril_1", "left_nostril_0"]
    eye = ("outer", "upper_outer", "upper_inner", "inner", "lower_inner", "lower_outer")
    right_eye = [f"right_eye_{part}" for part in eye]
    left_eye = [f"left_eye_{eye[i]}" for i in (3, 2, 1, 0, 5, 4)]  # goes on from right to left: begins inside
    outer_lip = (
        "right_lip_corner right_upper_lip_0 right_upper_lip_1 upper_lip left_upper_lip_1 left_upper_lip_0 "
        "left_lip_corner left_lower_lip_0 left_lower_lip_1 lower_lip right_lower_lip_1 right_lower_lip_0"
    ).split()
    inner_lip = (
        "right_inner_lip_corner right_inner_upper_lip inner_upper_lip left_inner_upper_lip "
        "left_inner_lip_corner left_inner_lower_lip inner_lower_lip right_inner_lower_lip"
    ).split()
    joints = [*jaw, *brow, *bridge, *nostrils, *right_eye, *left_eye, *outer_lip, *inner_lip]
    joints += ["right_pupil", "left_pupil"]
    drawn = [_chain(*part) for part in (jaw, brow[:5], brow[5:], bridge, nostrils)]
    drawn += [_chain(*ring, ring[0]) for ring in (right_eye, left_eye, outer_lip, inner_lip)]
    hanging = (
        "nose-nose_bridge_3 nose_bridge_3-nostril_middle nostril_middle-upper_lip upper_lip-inner_upper_lip "
        "lower_lip-chin "
        + _both(
            "{s}_eye-{s}_pupil nose_bridge_0-{s}_eye_inner nose_bridge_0-{s}_brow_4 "
            "{s}_ear-{s}_jaw_0 {s}_pupil-{s}_eye_outer"
        )
    )
    return " ".join(joints), f"{' '.join(drawn)} {hanging}"


def _openpose137() -> tuple[str, str]:
    """BODY_25 (0-24), face (25-94), left hand (95-115), right hand (116-136). A hand's wrist is the body's again."""
    face, face_edges = _face70()
    hand, hand_edges = _hand21()
    hands = " ".join(f"{side}_{joint}" for side in ("left", "right") for joint in hand)
    return (
        f"{_BODY25[0]} {face} {hands}",
        f"{_BODY25[1]} {face_edges} " + _both(f"{{s}}_wrist-{{s}}_hand_wrist {hand_edges}"),
    )


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


def _holistic75() -> tuple[str, str]:
    """MediaPipe Holistic without the face mesh: 33 pose landmarks, then 21 of the left hand, 21 of the right."""
    pose = (
        "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear "
        "left_mouth right_mouth left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
        "left_pinky right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee "
        "right_knee left_ankle right_ankle left_heel right_heel left_foot_index right_foot_index"
    )
    hand, hand_edges = _hand21()
    hands = " ".join(f"{side}_{joint}" for side in ("left", "right") for joint in hand)
    edges = (
        "nose-{s}_eye_inner {s}_eye_inner-{s}_eye {s}_eye-{s}_eye_outer {s}_eye_outer-{s}_ear nose-{s}_mouth "
        "nose-{s}_shoulder {s}_shoulder-{s}_elbow {s}_elbow-{s}_wrist "
        "{s}_wrist-{s}_pinky {s}_wrist-{s}_index {s}_wrist-{s}_thumb {s}_pinky-{s}_index "
        "{s}_shoulder-{s}_hip {s}_hip-{s}_knee {s}_knee-{s}_ankle "
        "{s}_ankle-{s}_heel {s}_heel-{s}_foot_index {s}_ankle-{s}_foot_index {s}_wrist-{s}_hand_wrist"
    )
    middle = "left_mouth-right_mouth left_shoulder-right_shoulder left_hip-right_hip"
    return f"{pose} {hands}", f"{_both(edges)} {_both(hand_edges)} {middle}"


LAYOUT_WORDS: dict[str, tuple[str, str]] = {
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
    "holistic75": _holistic75(),
}
