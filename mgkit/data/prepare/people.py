"""People in the rows of key-points: a tracker that loses somebody begins another row, or lets two change places."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.errors import some

Array = npt.NDArray[np.float32]
FEW = 10_000  # frames that show what key-points look like
SAME = 0.1  # of the size of a person: two rows that are never further apart hold the same one


def seen(points: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of the points (..., C) have only finite numbers."""
    return np.asarray(np.isfinite(points).all(-1))


def anybody(pose: Array) -> npt.NDArray[np.bool_]:
    """(M, T): in which frames each row holds somebody."""
    return np.asarray(seen(pose).any(-1))


def few_frames(pose: Array) -> Array:
    """At most ten thousand of the frames (M, T, V, 3) in which somebody is seen, evenly: enough to judge the whole."""
    if pose.shape[1] <= FEW:
        return pose
    frames = np.flatnonzero(anybody(pose).any(0))
    return pose[:, frames[:: -(-len(frames) // FEW) or 1]]


def steady(pose: Array, frame: tuple[int, int]) -> tuple[Array, list[tuple[str, str]]]:
    """Each person in one row.

    A row goes on with whoever was in it. Where that would be a jump, or somebody appears, the rows of the frame are
    assigned to the nearest persons if these are nearer by half. Rows that then never overlap are joined where one
    begins near the place where the other ended, and rows that overlap where both are in the same place all that time:
    a tracker may keep the old row for a few frames, or an estimator find somebody twice.

    Args:
        pose: (M, T, V, 3) pixels, NaN = not seen.
        frame: (width, height).

    Returns:
        (M', T, V, 3), and what was done: kinds and details.
    """
    there = anybody(pose)  # (M, T)
    rows = np.flatnonzero(there.any(1))
    if len(rows) < 2:
        return (pose if len(pose) == 1 else pose[rows if len(rows) else slice(1)]), []
    size = max(extent(pose), 0.05 * max(frame))
    pose, traded = _reidentified(pose[rows], there[rows], size / 2, 0.02 * max(frame))
    pose = _joined(pose, size)
    done = []
    if len(pose) < len(rows):
        detail = f"{len(rows)} rows hold {len(pose)} at a time: joined by the nearest position"
        done.append(("rows joined", detail))
    if traded:
        detail = f"people change rows in frame {some(traded)}: put back by the nearest position"
        done.append(("rows traded", detail))
    return pose, done


def _reidentified(
    pose: Array, there: npt.NDArray[np.bool_], near: float, still: float
) -> tuple[Array, list[int]]:
    """Put back people who change rows; the frames in which they did.

    Somebody who appears further than `near` from all others is new; a step up to `still` is no jump.
    """
    points = pose[..., :2]
    # Frames in which a row begins, goes on after a gap, or jumps; between them nothing changes. The usual step is that
    # to the nearest person, since some files order people at random in every frame.
    middles = np.nan_to_num(points).sum(2) / np.maximum(seen(points).sum(2), 1)[..., None]
    middles[~there] = 1e9
    steps = np.linalg.norm(middles[:, None, 1:] - middles[None, :, :-1], axis=-1).min(axis=1)[there[:, 1:]]
    jump = max(still, 4 * float(np.median(steps)) if len(steps) else 0.0)
    odd = there[:, 1:] & ~(apart(points[:, 1:], points[:, :-1]) <= jump)
    if not odd.any():
        return pose, []
    from scipy.optimize import linear_sum_assignment

    out = np.full_like(pose, np.nan)
    to = np.arange(len(pose))  # the person whom each row holds
    last = np.full((len(pose), *pose.shape[2:3], 2), np.nan, dtype=np.float32)  # where each was seen last
    begun = 0
    traded: list[int] = []
    for at in [*(np.flatnonzero(odd.any(0)) + 1).tolist(), pose.shape[1]]:
        for row, person in enumerate(to):
            out[person, begun:at] = pose[row, begun:at]
            at_last = np.flatnonzero(there[row, begun:at])
            if len(at_last):
                last[person] = points[row, begun + at_last[-1]]
        begun = at
        if at == pose.shape[1]:
            break
        now = np.flatnonzero(there[:, at])
        cost = apart(points[now, None, at], last[None])  # (rows that are seen, persons)
        cost[:, np.isnan(last).all((1, 2))] = near  # of somebody new
        cost = np.where(np.isfinite(cost), cost, 4 * near)
        kept = cost[np.arange(len(now)), to[now]]
        # As it is, unless others are clearly nearer.
        tried = cost.copy()
        tried[np.arange(len(now)), to[now]] -= 1e-3
        best = linear_sum_assignment(tried)[1]
        other = best != to[now]
        chosen = cost[np.arange(len(now)), best]
        if other.any() and chosen[other].sum() < kept[other].sum() / 2:
            known = ~np.isnan(last[to[now]]).all((1, 2))
            if (other & known & (kept > jump)).any():
                traded.append(at)
            for here, who in zip(now.tolist(), best.tolist(), strict=True):
                holder = np.flatnonzero(to == who)[0]
                to[holder], to[here] = to[here], who
    return out, traded


def _joined(pose: Array, size: float) -> Array:
    """Rows of one person in one: the later begins near the place where the earlier ended, or they are in one place."""
    there = anybody(pose)
    made: list[int] = []
    for row in sorted(np.flatnonzero(there.any(1)).tolist(), key=lambda row: int(there[row].argmax())):
        begin = int(there[row].argmax())
        gaps = {}
        for other in made:
            both = there[other] & there[row]
            if both.any():
                farthest = float(apart(pose[row, both, :, :2], pose[other, both, :, :2]).max())
                if farthest <= SAME * size:
                    gaps[other] = farthest
            else:
                before = np.flatnonzero(there[other, :begin])[-1]
                gaps[other] = float(apart(pose[row, begin, :, :2], pose[other, before, :, :2]))
        nearest = min(gaps, key=lambda other: gaps[other], default=-1)
        if nearest >= 0 and gaps[nearest] <= 1.5 * size:
            pose[nearest] = np.where(seen(pose[nearest])[..., None], pose[nearest], pose[row])
            there[nearest] |= there[row]
        else:
            made.append(row)
    return pose[sorted(made)]


def apart(one: Array, other: Array) -> Array:
    """Distance of people (..., V, 2): the median over the joints seen in both, else between their middles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nobody there: NaN
        joints = np.nanmedian(np.linalg.norm(one - other, axis=-1), axis=-1)
        middles = np.linalg.norm(np.nanmean(one, axis=-2) - np.nanmean(other, axis=-2), axis=-1)
    return np.asarray(np.where(np.isnan(joints), middles, joints), dtype=np.float32)


def extent(pose: Array) -> float:
    """The usual height or width of a person, whichever is larger, without its outermost joints; 0 for single joints."""
    points = pose[..., :2].reshape(-1, *pose.shape[2:3], 2)
    points = points[np.asarray(seen(points).any(-1))]
    few = points[:: max(1, len(points) // 32)]
    low, high = np.nanquantile(few, [0.1, 0.9], axis=1)
    return float(np.median((high - low).max(-1)))
