"""One small picture a clip: its middle frame with the skeleton, as JPEG."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.views.figures.strips import BLANK, SIDES
from mgkit.views.widgets.frames import Packed

LONGEST = 128  # pixels of the longer side
RIM = "#1A1A1A"
SHIFT = 4  # bits of a fraction of a pixel in what OpenCV is given


def thumbnail(clips: Clips, clip_id: str, longest: int = LONGEST, quality: int = 82) -> Packed:
    """The middle frame of a clip with its key-points.

    Args:
        clips: the clips that it is one of.
        clip_id: which.
        longest: of its sides, pixels.
        quality: of the JPEG, 1 to 100.

    Returns:
        `data` is the JPEG; `meta` holds `clip_id`, `frame`, `width`, `height` (pixels) and `problem`: why the video or
        the pose is not in it, "" where both are.

    Raises:
        MgkitError: an unknown clip, or one with nothing to show.
    """
    import cv2

    row = clips.row(clip_id)
    frame = int(row["frames"]) // 2
    scale = longest / max(row["width"], row["height"])
    width, height = (max(1, round(scale * row[side])) for side in ("width", "height"))
    picture, problem = _frame(clips, clip_id, frame, (width, height))
    posed = row["pose_offset"] >= 0
    if picture is None and not posed:
        raise MgkitError(problem or f"clip {clip_id!r} has neither a video nor a pose.")
    if picture is None:
        picture = np.full((height, width, 3), _rgb(BLANK), np.uint8)
    if posed:
        points = clips.pose(clip_id)[:, frame, :, :2] * [width / row["width"], height / row["height"]]
        for person in points:
            draw_skeleton(picture, person, clips.skeleton)
    elif not problem:
        problem = "no pose"
    good, jpeg = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert good
    meta = {"clip_id": clip_id, "frame": frame, "width": width, "height": height, "problem": problem}
    return Packed(meta, jpeg.tobytes())


def draw_skeleton(picture: npt.NDArray[np.uint8], points: npt.NDArray[Any], skeleton: Skeleton) -> None:
    """Draw (V, 2) key-points into an (H, W, 3) picture whose pixel i covers [i, i + 1); NaN joints are left out."""
    import cv2

    seen = np.isfinite(points).all(1)
    # OpenCV counts from the middle of a pixel. Far outside of the picture nothing is drawn that could be seen.
    at = np.clip(np.nan_to_num(points) - 0.5, -4000, 4000)
    at = np.rint(at * (1 << SHIFT)).astype(int)
    limbs = [
        (edge, side)
        for edge, side in zip(skeleton.edges, skeleton.edge_sides, strict=True)
        if seen[list(edge)].all()
    ]
    for thick, rim in ((3, True), (1, False)):
        for (a, b), side in limbs:
            tone = _rgb(RIM if rim else SIDES[side])
            cv2.line(picture, at[a].tolist(), at[b].tolist(), tone, thick, cv2.LINE_AA, SHIFT)
    for joint in np.flatnonzero(seen):
        centre = at[joint].tolist()
        cv2.circle(picture, centre, round(1.9 * (1 << SHIFT)), _rgb(RIM), -1, cv2.LINE_AA, SHIFT)
        tone = _rgb(SIDES[skeleton.sides[joint]])
        cv2.circle(picture, centre, round(1.3 * (1 << SHIFT)), tone, -1, cv2.LINE_AA, SHIFT)


def _frame(
    clips: Clips, clip_id: str, frame: int, size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8] | None, str]:
    """One frame (H, W, 3) of this size (width, height), or None and why there is none."""
    import cv2

    from mgkit.data import video

    path = clips.video(clip_id)
    if path is None:
        return None, "no video"
    try:
        picture = video.read_frames(path, [frame])[0]
    except MgkitError as error:
        return None, str(error)
    made = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(made, np.uint8), ""


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
