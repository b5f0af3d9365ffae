"""Where the heads are in each frame of a clip, by its key-points, and pictures in which they cannot be recognised.

People without key-points are not found. A head that is lost is blurred where it was seen last (and where it is seen
next); a frame that is far from every sight of a head is blurred as a whole, and so is a clip in which none is seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.data.body import find_body
from mgkit.data.skeletons import Skeleton
from mgkit.errors import counted

Floats = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]

# Words that the name of a joint of the head has one of, at the start of a word.
WORDS = (
    "head",
    "face",
    "nose",
    "nostril",
    "eye",
    "ear",
    "mouth",
    "lip",
    "brow",
    "jaw",
    "chin",
    "cheek",
    "pupil",
    "forehead",
)
SHORT = 0.5  # seconds over which a head is interpolated
WHILE = 1.0  # seconds for which its last (or next) place is enough
UNKNOWN_FPS = 25.0  # of clips whose rate is not known
CELLS = 5  # along a head, or a whole frame, after blurring: nobody is recognised by 25 colours
# The radius of a head by what is seen of it, with a margin (of an adult: shoulders 35 cm apart, head 16 wide, 23 high).
BY_SIZE, BY_EARS, BY_EYES, BY_POINTS, BY_CHIN = 0.46, 1.15, 2.6, 1.35, 1.0


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads in the T frames of a clip.

    Attributes:
        circles: (C, T, 3) x, y of the middle and radius, in the unit of the key-points; NaN = none.
        lost: (T,) frames without any head known nearby, which are to be blurred as a whole.
    """

    circles: Floats
    lost: npt.NDArray[np.bool_]

    @property
    def note(self) -> str:
        """What could not be found, as a sentence; "" if every frame has a head."""
        if self.lost.all():
            return "No head is seen in this clip: its frames are blurred as a whole."
        if self.lost.any():
            return f"In {self.lost.sum()} of {counted(len(self.lost), 'frame')} no head is seen: blurred as a whole."
        return ""


def head_joints(skeleton: Skeleton) -> list[int]:
    """The joints of a layout that lie on the head, by their names.

    >>> from mgkit.data.skeletons import IMIGUE22
    >>> [IMIGUE22.joints[joint] for joint in head_joints(IMIGUE22)]
    ['nose', 'right_eye', 'left_eye', 'right_ear', 'left_ear']
    """
    return [
        joint
        for joint, name in enumerate(skeleton.joints)
        if any(word.startswith(WORDS) for word in _words(name))
    ]


def find_heads(keypoints: npt.ArrayLike | None, skeleton: Skeleton, frames: int, fps: float = 0.0) -> Heads:
    """Find the heads of a clip.

    Per person and frame a circle around what is seen of the head, large enough for hair and chin: by the distances of
    eyes, ears and other points of the head, and by the width of the shoulders in the clip. It is interpolated over gaps
    of up to half a second. Over longer ones it stays both where it was before and where it is after.

    Args:
        keypoints: (M, T, V, 3) x, y, score; NaN = not seen. None = no key-points.
        skeleton: the layout; joints are found by name.
        frames: T.
        fps: frames per second; 0 = not known, then taken as 25.
    """
    joints = head_joints(skeleton)
    if keypoints is None or not joints:
        return Heads(np.zeros((0, frames, 3)), np.ones(frames, bool))
    rate = fps or UNKNOWN_FPS
    circles, far = [], []
    for person in np.asarray(keypoints, np.float64):
        seen = _circles(person, skeleton, joints)  # (T, 3)
        known = np.flatnonzero(np.isfinite(seen[:, 0]))
        if not len(known):
            continue
        every = np.arange(frames)
        after = np.searchsorted(known, every)  # the first sight at or after each frame
        last, following = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
        last = np.where(np.isin(every, known), every, last)
        between = (last < every) & (every < following) & (following - last <= SHORT * rate)
        smooth = np.stack([np.interp(every, known, seen[known, axis]) for axis in range(3)], 1)
        circles += [np.where(between[:, None], smooth, seen[end]) for end in (last, following)]
        far.append(np.minimum(np.abs(every - last), np.abs(every - following)) > WHILE * rate)
    if not circles:
        return Heads(np.zeros((0, frames, 3)), np.ones(frames, bool))
    return Heads(np.stack(circles), np.all(far, axis=0))


def blur_heads(picture: Pictures, heads: Heads, frame: int, size: tuple[int, int] | None = None) -> Pictures:
    """A copy of a picture without recognisable heads.

    Args:
        picture: (H, W, 3) uint8, of any size.
        heads: those of the clip.
        frame: the number of the picture in the clip.
        size: width and height that the circles live in; by default those of the picture.
    """
    if heads.lost[frame]:
        return _coarse(picture)
    height, width = picture.shape[:2]
    scale = np.array([width, height]) / (size or (width, height))
    blurred = picture.copy()
    rows, columns = np.ogrid[:height, :width]
    for x, y, radius in heads.circles[:, frame]:
        middle, (across, down) = (x, y) * scale, radius * scale
        low = np.floor([middle[0] - across, middle[1] - down]).astype(int)
        high = np.ceil([middle[0] + across, middle[1] + down]).astype(int)
        (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, [width, height])
        if left >= right or top >= bottom:
            continue  # outside the picture
        here = slice(top, bottom), slice(left, right)
        inside = ((columns[:, left:right] + 0.5 - middle[0]) / across) ** 2 + (
            (rows[top:bottom] + 0.5 - middle[1]) / down
        ) ** 2 <= 1
        blurred[here] = np.where(inside[..., None], _coarse(picture[here]), blurred[here])
    return blurred


def _coarse(picture: Pictures) -> Pictures:
    """The picture as a few cells, without edges between them."""
    import cv2

    height, width = picture.shape[:2]
    step = max(height, width) / CELLS
    small = max(1, round(width / step)), max(1, round(height / step))
    means = cv2.resize(np.ascontiguousarray(picture), small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _circles(person: Floats, skeleton: Skeleton, joints: list[int]) -> Floats:
    """(T, 3) the head of one person (T, V, 3) where it is seen, else NaN."""
    points = person[:, joints, :2].copy()  # (T, J, 2)
    points[np.isnan(points).any(-1)] = np.nan
    count = np.isfinite(points[..., 0]).sum(1)
    seen = np.flatnonzero(count)
    circles = np.full((len(person), 3), np.nan)
    if not len(seen):
        return circles
    points = points[seen]
    middle = np.nanmean(points, axis=1)  # (S, 2)
    reach = [BY_POINTS * np.nanmax(np.linalg.norm(points - middle[:, None], axis=-1), axis=1)]
    for part, share in (("ear", BY_EARS), ("eye", BY_EYES)):
        ends = [
            [at for at, joint in enumerate(joints) if _words(skeleton.joints[joint]) == [side, part]]
            for side in ("left", "right")
        ]
        if all(ends):
            reach.append(share * np.linalg.norm(points[:, ends[0][0]] - points[:, ends[1][0]], axis=-1))
    # Half way to the neck is the chin.
    if "neck" in skeleton.joints:
        neck = person[seen, skeleton.joints.index("neck"), :2]
        reach.append(BY_CHIN * np.linalg.norm(neck - middle, axis=-1) / 2)
    reach.append(np.full(len(seen), BY_SIZE * find_body(person, skeleton).size))
    found = np.nanmax(np.stack(reach), axis=0)
    # One frame in which an ear was misplaced must not uncover the chin of the next: at least the clip's usual size.
    circles[seen] = np.column_stack([middle, np.maximum(found, np.median(found))])
    return circles


def _words(name: str) -> list[str]:
    """The words of a joint's name in lower case: "leftEye_2" is left, eye."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
