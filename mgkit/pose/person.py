"""Whom the key-points of a video belong to: the person who was asked for, and jumps from one person to another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgkit.data.keypoints import SEVERAL, Points
from mgkit.data.prepare.people import anybody, apart, extent, seen, steady
from mgkit.data.readers import note
from mgkit.data.skeletons import Skeleton
from mgkit.data.video import Frames
from mgkit.errors import counted

WHOM = ("largest", "left", "right", "all")
JUMP = 0.5  # of the size of a person, from one frame to the next: nobody moves like that
SURE = 0.3  # mean score from which on a hand counts as seen


def half(frames: Frames, whom: str) -> tuple[Frames, int]:
    """The part of the pictures (T, H, W, 3) to look at, contiguous, and the column in which it begins."""
    middle = frames.shape[2] // 2
    if whom == "left":
        return np.ascontiguousarray(frames[:, :, :middle]), 0
    if whom == "right":
        return np.ascontiguousarray(frames[:, :, middle:]), middle
    return frames, 0


def choose(
    points: Points, whom: str, size: tuple[int, int], name: str
) -> tuple[Points, list[dict[str, str]]]:
    """The rows to keep of what an estimator gave, whose rows may be in any order in each frame.

    "all": a row for each person, by the nearest position. Otherwise one row: the largest person of the first frame with
    anybody, then whoever is nearest to where that person was last.

    Args:
        points: (M, T, V, 3).
        whom: one of `WHOM`.
        size: (width, height) of the video.
        name: of the video, in the notes.

    Returns:
        (M', T, V, 3), and notes on several people and on jumps.
    """
    notes = []
    there = anybody(points)
    most = int(there.sum(0).max()) if there.size else 0
    if most > 1:
        kept = "all are kept" if whom == "all" else "one is followed; another by person left, right or all"
        frames = f"{int((there.sum(0) > 1).sum())} of {counted(points.shape[1], 'frame')}"
        notes.append(note(SEVERAL, f"up to {most} in a frame, in {frames}: {kept}", name))
    if whom == "all":
        points, done = steady(points, size)
        notes += [note(what, detail, name) for what, detail in done]
    elif len(points) != 1:
        points = _followed(points)
    for row in points:
        at = jumps(row)
        if len(at):
            listed = ", ".join(map(str, at[:8])) + (f" and {len(at) - 8} more" if len(at) > 8 else "")
            notes.append(note("jumps", f"to somebody else, or to nobody, in frame {listed}", name))
    return points, notes


def jumps(row: Points) -> npt.NDArray[np.int64]:
    """Frames of (T, V, 3) in which the person is half a person away from where it was seen last."""
    at = np.flatnonzero(seen(row).any(-1))
    if len(at) < 2:
        return np.zeros(0, np.int64)
    steps = apart(row[at[1:], :, :2], row[at[:-1], :, :2])
    return at[1:][steps > JUMP * max(extent(row[None]), 1e-6)]


def _followed(points: Points) -> Points:
    """(1, T, V, 3) of one person, see `choose`."""
    out = np.full((1, *points.shape[1:]), np.nan, np.float32)
    there, spots = seen(points), points[..., :2]
    low = np.where(there[..., None], spots, np.inf).min(2, initial=np.inf)  # (M, T, 2) corners of their boxes
    high = np.where(there[..., None], spots, -np.inf).max(2, initial=-np.inf)
    last = None
    for t in range(points.shape[1]):
        rows = np.flatnonzero(there[:, t].any(-1))
        if not len(rows):
            continue
        middles = (low[rows, t] + high[rows, t]) / 2
        if last is None:
            best = int((high[rows, t] - low[rows, t]).prod(-1).argmax())
        else:
            best = int(np.linalg.norm(middles - last, axis=-1).argmin())
        last = middles[best]
        out[0, t] = points[rows[best], t]
    return out


def sightings(points: Points, skeleton: Skeleton, name: str) -> list[dict[str, str]]:
    """Notes on the frames in which nobody was seen, and on the share of frames in which each hand was."""
    count = points.shape[1]
    nobody = int((~anybody(points).any(0)).sum())
    found = []
    if nobody == count:
        return [
            note(
                "nobody at all",
                f"in none of {counted(count, 'frame')}: is there a person, and upright?",
                name,
            )
        ]
    if nobody:
        found.append(
            note(
                "nobody seen",
                f"in {nobody} of {counted(count, 'frame')} ({100 * nobody / count:.0f} %)",
                name,
            )
        )
    shares = []
    for side in ("left", "right"):
        joints = [i for i, joint in enumerate(skeleton.joints) if joint.startswith(f"{side}_hand_")]
        if len(joints) == 21:
            scores = np.nan_to_num(points[:, :, joints, 2])
            share = float((scores.mean(-1) >= SURE).any(0).mean())
            shares.append(f"{side} in {100 * share:.0f} % of the frames")
    return found + ([note("hands seen", ", ".join(shares), name)] if shares else [])
