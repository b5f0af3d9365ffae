"""Where the body of a person is in each frame of a clip, and how large: what key-points are centred and scaled on.

A camera that stands closer, a person at the other end of the sofa or one who walks past moves every joint alike; what a
gesture is does not change. The shoulders are seen in nearly every recording of seated people, hips and legs are not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import Skeleton

Floats = npt.NDArray[np.float64]

SHOULDERS = ("left_shoulder", "right_shoulder")
HIPS = ("left_hip", "right_hip")
# Of an adult seen from in front: middle of the shoulders to middle of the hips, over the width of the shoulders.
_TRUNK = 1.5


class Body(NamedTuple):
    """The place and size of one person in a clip of T frames, in the unit of its key-points."""

    centre: Floats  # (T, 2) the middle of the shoulders in each frame
    size: float  # about the width of the shoulders seen from in front


def main_person(keypoints: npt.ArrayLike) -> int | None:
    """The person (M, T, V, 3) with the highest sum of scores of what is seen; None where nobody is ever seen."""
    points = np.asarray(keypoints)
    seen = ~np.isnan(points[..., :2]).any(-1)  # (M, T, V)
    if not seen.any():
        return None
    sums = np.where(seen, np.nan_to_num(points[..., 2]), 0).sum(axis=(1, 2))
    return int(np.where(seen.any(axis=(1, 2)), sums, -1).argmax())


def find_body(keypoints: npt.ArrayLike, skeleton: Skeleton) -> Body:
    """Find where a person is in each frame of a clip, and how large.

    There is one size for the clip: the median width of the shoulders or, where it is larger (a person seen from the
    side), the median length of the trunk over 1.5. The middle of the shoulders is interpolated where they are not seen.
    Of a layout without shoulders, or a clip in which they are never seen, it is the middle and the spread of all
    key-points that are, the same for each frame.

    Args:
        keypoints: (T, V, 3) x, y, score of one person; NaN = not seen.
        skeleton: the layout; shoulders and hips are found by the names `left_shoulder`, `right_hip`, ...

    Returns:
        Centre and size; (0, 0) and 1 for a person who is never seen.
    """
    points = np.asarray(keypoints, np.float64)[..., :2]  # (T, V, 2)
    nowhere = np.full((len(points), 2), np.nan)
    joint = {name: points[:, i] for i, name in enumerate(skeleton.joints)}  # (T, 2) each
    left, right = (joint.get(name, nowhere) for name in SHOULDERS)
    hips = (joint.get(HIPS[0], nowhere) + joint.get(HIPS[1], nowhere)) / 2
    chest = (left + right) / 2
    frames = np.flatnonzero(~np.isnan(chest[:, 0]))
    if len(frames):
        every = np.arange(len(points))
        centre = np.stack([np.interp(every, frames, chest[frames, axis]) for axis in range(2)], axis=1)
        width, trunk = np.linalg.norm(left - right, axis=1), np.linalg.norm(chest - hips, axis=1) / _TRUNK
        size = max(_median(width), _median(trunk))
    else:
        seen = points[~np.isnan(points).any(-1)]  # (joints seen, 2)
        middle = np.median(seen, axis=0) if len(seen) else np.zeros(2)
        centre = np.broadcast_to(middle, (len(points), 2)).copy()
        size = float(np.sqrt(seen.var(axis=0).sum())) if len(seen) else 0.0
    return Body(centre, size if size > 0 else 1.0)


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0
