"""The key-points of iMiGUE: which columns are which joints, and which hand is whose.

`<VVVV>_openpose.xlsx` has 137 points a frame: 0-24 BODY_25, 25-94 face, 95-115 left hand, 116-136 right hand.
`<VVVV>_light_hand.csv` has 35 after an index: BODY_25, then two blocks of five finger tips, whose sides are not
reliable.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgkit.data.readers import mark_unseen, note
from mgkit.data.readers.sheets import Sheet, empty_cells, read_sheet
from mgkit.errors import MgkitError

LAYOUTS = {22: "imigue22", 25: "body25", 35: "light_hand35", 137: "openpose137"}

_RIGHT_WRIST, _LEFT_WRIST = 4, 7
_TIPS = [4, 8, 12, 16, 20]  # of the 21 points of a hand
_BODY = list(range(25))
_SEATED = [*range(8), *range(15, 19)]  # BODY_25 without what hangs below the chest
_FINGERS = [95 + tip for tip in _TIPS] + [116 + tip for tip in _TIPS]  # in OpenPose's 137: left, right
_PICK = {
    137: {22: [*_SEATED, *_FINGERS], 25: _BODY, 35: [*_BODY, *_FINGERS], 137: list(range(137))},
    35: {22: [*_SEATED, *range(25, 35)], 25: _BODY, 35: list(range(35))},
}


def read_pose(path: Path, points: int, start: int, end: int, cache: Path | None) -> npt.NDArray[np.float32]:
    """(1, T, points, 3) of the frames start to end - 1: x, y in pixels, score; NaN where not seen (zeros in the file).

    T is smaller than end - start where the file ends earlier; a file that ends before the clip begins is refused.
    """
    values, _ = _points(_sheet(path, cache))
    if start >= len(values):
        raise MgkitError(f"{path} has {len(values)} frames; the clip would begin at frame {start}.")
    return values[None, start:end, _PICK[values.shape[1]][points]]


def read_pose_notes(
    clip_id: str, first: bool, path: Path, points: int, start: int, end: int, cache: Path | None
) -> list[dict[str, str]]:
    """What was odd about these frames; and, for the first clip of a video, about the whole file."""
    sheet = _sheet(path, cache)
    found = []
    empty = empty_cells(sheet.values[start:end])
    if empty:
        found.append(note("empty cells", f"{path.name}: {empty}", clip_id))
    if first:
        found += [note("pose file", f"{path.name} has {oddity}") for oddity in sheet.oddities]
        sides = _points(sheet)[1]
        if sides and points != 25:
            found.append(note("finger sides", f"{path.name}: {sides}"))
    return found


def pose_frames(path: Path, cache: Path | None) -> int:
    """How many frames the file has."""
    return len(_sheet(path, cache).values)


def _sheet(path: Path, cache: Path | None) -> Sheet:
    light = path.suffix.lower() == ".csv"
    return read_sheet(path, 3 * (35 if light else 137), index=light, cache=cache)


@lru_cache(maxsize=1)  # the clips of one video are asked for in a row
def _points(sheet: Sheet) -> tuple[npt.NDArray[np.float32], str]:
    """(T, 35 or 137, 3) of a whole video, and for light-hand files what was done about the sides."""
    values = sheet.values.reshape(len(sheet.values), -1, 3)
    values = mark_unseen(values[..., :2], values[..., 2])
    return sides_by_wrist(values) if values.shape[1] == 35 else (values, "")


def sides_by_wrist(points: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], str]:
    """Give each block of finger tips to the nearer wrist.

    Args:
        points: (T, 35, 3): BODY_25, five finger tips, five finger tips; NaN = not seen.

    Returns:
        The same with the left hand's tips at 25-29 and the right hand's at 30-34, and in words what was done. The
        two blocks go to different hands, so that the sum of their distances to the wrists is smallest; one block or
        one wrist alone decides by what there is of it. Where nothing decides, the order of the file stays.
    """
    hands = points[:, 25:, :2].reshape(-1, 2, 5, 2)
    wrists = points[:, [_LEFT_WRIST, _RIGHT_WRIST], :2]
    seen = np.isfinite(hands).all(-1).sum(-1, keepdims=True)  # (T, 2, 1) tips
    middle = np.nansum(hands, axis=2) / np.where(seen == 0, np.nan, seen)  # (T, 2, xy), NaN where none
    distance = np.linalg.norm(middle[:, :, None] - wrists[:, None], axis=-1)  # (T, block, wrist)
    kept, swapped = distance[:, [0, 1], [0, 1]], distance[:, [0, 1], [1, 0]]
    known, other = np.isfinite(kept).sum(1), np.isfinite(swapped).sum(1)
    decided = (known == other) & (known > 0)  # one block and one wrist have nothing to be compared with
    swap = decided & (np.nansum(swapped, 1) < np.nansum(kept, 1))
    any_tips = (seen > 0).any((1, 2))
    undecided = any_tips & ~decided
    turned = points.copy()
    turned[swap, 25:30], turned[swap, 30:] = points[swap, 30:], points[swap, 25:30]
    said = f"by the nearest wrist; the other way round in {swap.sum()} of {any_tips.sum()} frames with hands"
    if undecided.any():
        said += f", {undecided.sum()} could not be decided and stay as they are"
    return turned, said
