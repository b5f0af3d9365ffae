"""Joints of the drawn people in any layout of OpenPose or the Kinect, for the raw trees that readers are tested on."""

from __future__ import annotations

import numpy as np

from mgkit.data.skeletons import FINGERS, IMIGUE22, Skeleton
from mgkit.demo.motion import Arm, Array, Motion, body_points, on_head
from mgkit.demo.people import Subject
from mgkit.errors import MgkitError

# OpenPose's face on an upright head whose centre is the origin, as `mgkit.demo.figure` draws it. Right halves
# only: the left one is the mirror image.
_JAW = (
    (-9.3, -1.0), (-9.4, 1.2), (-9.0, 3.6), (-8.3, 6.2), (-7.0, 8.6), (-5.4, 10.6), (-3.6, 12.1), (-1.8, 12.8),
)  # fmt: skip
_BROW = ((-5.9, -4.6), (-5.0, -5.2), (-4.0, -5.5), (-2.9, -5.3), (-1.8, -4.8))
_FACE_RIGHT: dict[str, tuple[float, float]] = {
    **{f"jaw_{i}": at for i, at in enumerate(_JAW)},
    **{f"brow_{i}": at for i, at in enumerate(_BROW)},
    "nostril_0": (-1.7, 3.9),
    "nostril_1": (-0.8, 4.3),
    "eye_outer": (-5.4, -1.8),
    "eye_upper_outer": (-4.4, -2.6),
    "eye_upper_inner": (-3.0, -2.6),
    "eye_inner": (-2.0, -1.8),
    "eye_lower_inner": (-3.0, -1.0),
    "eye_lower_outer": (-4.4, -1.0),
    "pupil": (-3.7, -1.8),
    "lip_corner": (-3.6, 6.7),
    "upper_lip_0": (-2.4, 6.6),
    "upper_lip_1": (-1.0, 6.7),
    "lower_lip_0": (-2.4, 8.1),
    "lower_lip_1": (-1.1, 8.7),
    "inner_lip_corner": (-3.0, 7.0),
    "inner_upper_lip": (-1.2, 7.4),
    "inner_lower_lip": (-1.2, 7.6),
}
_FACE_MIDDLE: dict[str, tuple[float, float]] = {
    "chin": (0.0, 12.9),
    "nose_bridge_0": (0.0, -2.0),
    "nose_bridge_1": (0.0, -0.6),
    "nose_bridge_2": (0.0, 0.8),
    "nose_bridge_3": (0.0, 2.2),
    "nostril_middle": (0.0, 4.5),
    "upper_lip": (0.0, 7.0),
    "lower_lip": (0.0, 8.8),
    "inner_upper_lip": (0.0, 7.5),
    "inner_lower_lip": (0.0, 7.7),
}
_ON_SKULL = ("jaw_", "chin")  # does not move within the head when the face turns


def joints(motion: Motion, subject: Subject, layout: Skeleton = IMIGUE22) -> Array:
    """True joints (T, V, 2) of a layout in body units.

    Legs, which nobody sees under the table, are those of a person on a chair, moved as the posture says.

    Raises:
        MgkitError: the layout has joints that the made people have not.
    """
    places = body_points(motion, subject)
    if any(joint not in places for joint in layout.joints):
        places |= _face(motion, subject) | _hands(motion) | _seat(motion, subject)
    missing = [joint for joint in layout.joints if joint not in places]
    if missing:
        raise MgkitError(f"the made people have no {missing[0]}, which the layout {layout.name} asks for.")
    return np.stack([places[joint] for joint in layout.joints], axis=1)


def depth(motion: Motion, subject: Subject, layout: Skeleton) -> Array:
    """(T, V) body units towards the camera, 0 = the plane of the torso: arms that look short in the picture point
    to the camera. A rough third dimension for layouts that have one."""
    out = np.zeros((len(motion), len(layout)))
    for side, arm in zip(("right", "left"), motion.arms, strict=True):
        upper = _foreshortened(arm.shoulder, arm.elbow, subject.upper_arm)
        fore = upper + _foreshortened(arm.elbow, arm.wrist, subject.forearm)
        ahead = np.where(arm.behind, -1.0, 1.0)
        for at, joint in enumerate(layout.joints):
            if joint == f"{side}_elbow":
                out[:, at] = upper * ahead
            elif joint.startswith(f"{side}_") and any(
                word in joint for word in ("wrist", "hand", "thumb", "tip")
            ):
                out[:, at] = fore * ahead
    for at, joint in enumerate(layout.joints):
        if any(word in joint for word in ("knee", "ankle", "foot", "toe", "heel")):
            out[:, at] = 38.0
    return out


def _foreshortened(start: Array, end: Array, length: float) -> Array:
    """How far a bone points out of the picture: what its length in the picture lacks."""
    seen = np.linalg.norm(end - start, axis=1)
    return np.sqrt(np.maximum(length**2 - seen**2, 0.0))


def _face(motion: Motion, subject: Subject) -> dict[str, Array]:
    def place(name: str, x: float, y: float) -> Array:
        at = on_head(motion, subject, x, y)
        return at if name.startswith(_ON_SKULL) else at + motion.turn

    places = {name: place(name, x, y) for name, (x, y) in _FACE_MIDDLE.items()}
    for name, (x, y) in _FACE_RIGHT.items():
        places |= {f"right_{name}": place(name, x, y), f"left_{name}": place(name, -x, y)}
    return places


def _hands(motion: Motion) -> dict[str, Array]:
    """21 points a hand: each finger is a straight chain from its root to its tip; and the Kinect's hand and thumb."""
    places: dict[str, Array] = {}
    for side, arm in zip(("right", "left"), motion.arms, strict=True):
        places |= {f"{side}_hand_{name}": at for name, at in _fingers(arm).items()}
        places[f"{side}_hand"] = arm.knuckles[:, 1:].mean(axis=1)
        places[f"{side}_hand_tip"] = arm.tips[:, 2]
        places[f"{side}_thumb"] = arm.tips[:, 0]
    return places


def _fingers(arm: Arm) -> dict[str, Array]:
    places = {"wrist": arm.wrist}
    for k, finger in enumerate(FINGERS):
        root, tip = arm.knuckles[:, k], arm.tips[:, k]
        bones = ("cmc", "mcp", "ip", "tip") if finger == "thumb" else ("mcp", "pip", "dip", "tip")
        start = arm.wrist + 0.5 * (root - arm.wrist) if finger == "thumb" else root
        for bone, share in zip(bones, (0.0, 0.45, 0.75, 1.0), strict=True):
            places[f"{finger}_{bone}"] = start + share * (tip - start)
    return places


def _seat(motion: Motion, subject: Subject) -> dict[str, Array]:
    """Spine and legs of a person on a chair, and the middle of the head."""
    base = motion.neck * 0.3 + (0.0, 54.0)  # the body sways about the seat
    places = {
        "head": motion.head,
        "spine_base": base,
        "mid_hip": base,
        "spine_mid": (motion.neck + base) / 2,
        "spine_shoulder": motion.neck + (0.0, 4.0),
    }
    for side, outwards in (("right", -1.0), ("left", 1.0)):
        knee, foot = motion.knees * (outwards, 1.0), motion.feet * (outwards, 1.0)
        ankle = (outwards * 0.62 * subject.shoulder, 100.0) + foot
        parts = {
            "hip": base + (outwards * 0.42 * subject.shoulder, 0.5),
            "knee": (outwards * 0.6 * subject.shoulder, 68.0) + knee,
            "ankle": ankle,
            "heel": ankle + (-outwards * 0.5, 4.0),
            "foot": ankle + (outwards * 2.0, 6.0),
            "big_toe": ankle + (outwards * 1.5, 9.0),
            "small_toe": ankle + (outwards * 4.5, 8.0),
        }
        places |= {f"{side}_{name}": at for name, at in parts.items()}
    return places
