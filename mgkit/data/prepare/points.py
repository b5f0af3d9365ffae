"""Key-points as they come in: put into pixels of the source frame, at the rate of its video, one person per row.

A file of key-points does not say what its numbers mean. What `PoseRules` states is converted; what cannot be right is
refused clip by clip (`Unusable`), so that a few odd clips are left out and many refuse the dataset. Filler values and
people who change rows are mended and noted. Every reader's points pass through `incoming`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.prepare.cut import SourceInfo
from mgkit.data.prepare.looks import Look, look_of
from mgkit.data.prepare.people import Array, extent, few_frames, seen, steady
from mgkit.data.readers import RawClip, frame_size_of, note
from mgkit.errors import MgkitError, counted, some

USUAL_RATE = 25.0  # frames per second of a video that does not state any
UNITS = {"shares": (0.0, 1.0), "centred": (-1.0, 1.0), "percent": (0.0, 100.0)}  # of the two sides
GROSS = 1.6  # poses per frame, or the reverse, from which on a clip cannot be used as it is
SMOOTHING = {"savgol7": 7}  # frames of the window: Savitzky and Golay's filter of order 2, which has no delay
BLOCK = 4096  # frames that are looked at in one go, so that the memory for it does not grow with a video
NOT_SEEN = np.uint64(2**64 - 1)  # a pair of NaN, which no seen point has
SLACK = 5  # frames: a smaller difference is a loss at the ends, not another rate


class Unusable(Exception):
    """A clip cannot be made: the kind of reason, and details that name the file."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class PoseRules:
    """What the user states about the key-points of a dataset. None = not stated: taken as they are, and checked.

    Attributes:
        fps: poses per second, beside a video of another rate.
        step: frames of the video from one pose to the next; 1 says that lengths differ for another reason.
        units: "pixels" (not checked), or one of `UNITS`.
        size: (width, height) of the picture that pixels refer to, or "stated": the size that the file gives.
        smooth: one of `SMOOTHING`, applied at the rate of the poses; None = as they are.
    """

    fps: float | None = None
    step: float | None = None
    units: str | None = None
    size: tuple[int, int] | str | None = None
    smooth: str | None = None

    @property
    def as_given(self) -> bool:
        """Nothing is stated about what the numbers mean."""
        return replace(self, smooth=None) == PoseRules()

    @classmethod
    def of(
        cls, fps: float | None, step: float | None, units: str | None, size: str | tuple[int, int] | None
    ) -> PoseRules:
        """Checked rules; a value that means nothing raises a `MgkitError`."""
        for name, number in (("pose_fps", fps), ("pose_step", step)):
            if number is not None and not (math.isfinite(number) and number > 0):
                raise MgkitError(f"{name} is {number}: give a number above 0.")
        if fps is not None and step is not None:
            raise MgkitError("pose_fps and pose_step state the same thing: give one of them.")
        if units not in (None, "pixels", *UNITS):
            raise MgkitError(f"pose_units is {units!r}: use one of {some(['pixels', *UNITS])}.")
        return cls(fps, step, units, size if size == "stated" else frame_size_of(size, "pose_size"))

    def check(self, clips: Sequence[RawClip], source: Path) -> None:
        """Refuse what is stated about key-points or videos that a dataset does not have."""
        if not (self.as_given and self.smooth is None) and not any(clip.pose for clip in clips):
            raise MgkitError(
                f"{source} has no key-points, so that nothing can be stated about them: leave pose_* and smooth out."
            )
        if self.step is not None and not any(clip.video or clip.pose_frames for clip in clips):
            raise MgkitError(f"{source} has no videos, so that pose_step means nothing: leave it out.")

    def steps(self, clip: RawClip, info: SourceInfo | None) -> float | None:
        """Frames from one pose of a clip to the next; None = not stated, or nothing to compare them with."""
        rate = (info.fps or USUAL_RATE) if info else clip.fps if clip.pose_frames else 0.0
        step = self.step if self.fps is None else rate / self.fps
        if not rate or step is None:
            return None
        return 1.0 if abs(step - 1) < 0.002 else step  # 29.97 and 30 per second

    def span(self, clip: RawClip, info: SourceInfo | None) -> dict[str, int]:
        """`start` and `end` of the poses that a clip of a whole source needs; {} where its reader knows."""
        step = self.steps(clip, info)
        if clip.pose_frames is None or step is None or step == 1:
            return {}
        end = clip.end if clip.end is not None else info.frames if info else clip.start + 1
        return {"start": int(clip.start / step), "end": math.ceil((end - 1) / step) + 1}


def incoming(
    clip: RawClip, info: SourceInfo | None, frame: tuple[int, int], picture: tuple[int, int], joints: int,
    rules: PoseRules,
) -> tuple[Array, list[dict[str, str]], Look | None]:  # fmt: skip
    """Read the key-points of a clip.

    Args:
        clip: one with a `pose`.
        info: of its video; None without one.
        frame: (width, height) of the frame that the result lives in.
        picture: (width, height) of the picture that pixels refer to.
        joints: V.
        rules: what is stated.

    Returns:
        (M, T, V, 3) in pixels of the frame, notes on what was done, and their look; None where nobody was seen.

    Raises:
        Unusable: they cannot be read, or cannot be what they are taken for.
    """
    step, span = rules.steps(clip, info), rules.span(clip, info)
    known = clip.end - clip.start if clip.end is not None else info.frames - clip.start if info else None
    if clip.pose_frames is not None and info is not None and rules.step != 1:
        _check_rate(_called(clip, clip.pose_frames), info.frames, step, clip)
    pose = _read(clip, span, known, joints)
    if not seen(pose).any():
        return _nobody(known or pose.shape[1], joints), [], None
    _check_axes(pose, known, clip)
    # Filler and units.
    low, high = UNITS.get(rules.units or "", (0.0, 0.0))
    sides = np.asarray((high - low, high - low) if high else picture, dtype=np.float32)
    notes = _drop_filler(pose, low, low + sides, clip.clip_id)
    if rules.units is None:
        _check_units(pose, picture, clip)
    pose[..., :2] -= low
    pose[..., :2] *= np.asarray(frame, dtype=np.float32) / sides
    # Rows before the rate: values are blended only within one person.
    pose, done = steady(pose, frame)
    notes += [note(what, detail, clip.clip_id) for what, detail in done]
    if rules.smooth is not None:
        pose = smoothed(pose, SMOOTHING[rules.smooth])
    before = pose.shape[1]
    there = 0 if info is None or clip.pose_frames else known or 0
    if there and rules.step != 1:  # which states that lengths differ for another reason
        _check_rate(before, there, step, clip)
    if step is not None and step != 1:
        first, begin = span.get("start", 0), clip.start if span else 0
        last = first + before - 1
        covered = max(int(last * step) + 1, round((last + 1) * step)) - begin
        length = min(max(1, covered), known or covered)
        pose = _resampled(pose, (begin + np.arange(length)) / step - first)
        text = f"{counted(before, 'pose')} to {counted(length, 'frame')} of the video"
        notes.append(note("poses resampled", text, clip.clip_id))
    counts = (there, before) if there and step is None else (0, 0)
    if not seen(pose).any():
        return pose, notes, None
    turned = info is not None and info.turned % 180 != 0
    return pose, notes, look_of(pose, frame, *counts, turned=turned)


def _called(clip: RawClip, function: Callable[..., Any], **span: int) -> Any:
    """The result of a function of the reader's."""
    try:
        return function(**span)
    except MgkitError as error:
        raise Unusable("pose cannot be read", str(error)) from None
    except (OSError, EOFError, ValueError) as error:  # of a reader that leaves its files to a library
        raise Unusable("pose cannot be read", f"{clip.source}: {error}") from None


def _read(clip: RawClip, span: dict[str, int], known: int | None, joints: int) -> Array:
    """Key-points (M, T, V, 3) as they are."""
    assert clip.pose is not None
    given = _called(clip, clip.pose, **span)
    pose = _called(clip, lambda: np.array([] if given is None else given, dtype=np.float32))
    if pose.size == 0:
        length = known or (pose.shape[1] if pose.ndim == 4 else 0)
        if not length:
            raise Unusable("no frames", f"{clip.source}: nobody was seen, and its length is not known")
        return _nobody(length, joints)
    if pose.ndim != 4 or pose.shape[2:] != (joints, 3):
        raise Unusable(
            "pose cannot be read",
            f"{clip.source}: it has shape {pose.shape}, expected (persons, frames, {joints}, 3)",
        )
    pose[~seen(pose)] = np.nan
    return np.asarray(pose)


def _nobody(frames: int, joints: int) -> Array:
    return np.full((1, frames, joints, 3), np.nan, dtype=np.float32)


# --- axes, units, rate ----------------------------------------------------------------------------------------------


def _check_axes(pose: Array, known: int | None, clip: RawClip) -> None:
    """Refuse (frames, persons, ...): by the length of the clip, or because many "persons" are one who hardly moves."""
    rows, frames = pose.shape[:2]
    if (rows == known and rows > frames + 1) or (rows >= 8 and rows > 4 * frames and _one_moves(pose)):
        raise Unusable(
            "axes in another order",
            f"{clip.source}: the pose has shape {pose.shape}, {rows} persons in {counted(frames, 'frame')}, which are "
            f"{rows} frames of {frames}: give (persons, frames, joints, 3), by swapping its first two axes",
        )


def _one_moves(pose: Array) -> bool:
    """True if each row of the first frame is near the row before: nobody else stands there."""
    points = pose[:, 0, :, :2]
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    steps, spread = steps[np.isfinite(steps)], extent(pose)
    return bool(len(steps)) and float(np.median(steps)) < 0.2 * spread


def _check_units(pose: Array, frame: tuple[int, int], clip: RawClip) -> None:
    """Refuse points that all lie within a few pixels of the corner of the frame: they are in other units."""
    pose = few_frames(pose)
    points, limit = pose[seen(pose)][:, :2], min(max(3.0, 0.02 * min(frame)), 16.0)
    if not len(points) or np.quantile(np.abs(points).max(-1), 0.95) > limit:
        return
    points = np.unique(points, axis=0)  # a pair that a file repeats says nothing
    if len(points) < 3 or np.quantile(np.abs(points).max(-1), 0.95) > limit:
        return
    centred = bool((np.quantile(points, 0.25, axis=0) < 0).any())
    likely = "centred (-1 to 1; or shares" if centred else "shares (0 to 1; or centred"
    raise Unusable(
        "key-points are not pixels",
        f"{clip.source}: they lie between {points.min():.3g} and {points.max():.3g} in a frame of {frame[0]} x "
        f"{frame[1]} pixels: if they are shares of the frame, state --pose-units {likely}); if metres, export pixels; "
        "--pose-units pixels takes them as they are",
    )


def _check_rate(poses: int, frames: int, step: float | None, clip: RawClip) -> None:
    """Refuse poses that are far from one per step of the video."""
    covered = poses * (step or 1.0)
    if max(frames, covered) < GROSS * min(frames, covered) or abs(frames - covered) < SLACK:
        return
    likely = float(Fraction(frames / poses).limit_denominator(5)) or frames / poses
    stated = "" if step is None else f", not {step:.4g} as stated"
    raise Unusable(
        "poses at another rate than the video",
        f"{clip.video}: {counted(poses, 'pose')} beside {counted(frames, 'frame')}, about {likely:.4g} frames per "
        f"pose{stated}: state --pose-step {likely:.4g}, or their rate with --pose-fps; if poses or pictures are "
        "missing at the end, copy the files again; --pose-step 1 cuts to the shortest",
    )


def _resampled(pose: Array, at: npt.NDArray[np.float64]) -> Array:
    """(M, len(at), V, 3) at these positions between the poses; a joint seen in one of two is that of the nearer."""
    at = np.clip(at, 0, pose.shape[1] - 1)
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(np.float32)[:, None, None]
    one, two = pose[:, low], pose[:, np.minimum(low + 1, pose.shape[1] - 1)]
    mixed = one * (1 - share) + two * share
    return np.where(np.isfinite(mixed).all(-1, keepdims=True), mixed, np.where(share < 0.5, one, two))


def smoothed(pose: Array, window: int) -> Array:
    """Points (M, T, V, 3) smoothed by polynomials of order 2, without delay; scores stay.

    Each joint is smoothed over the frames in which it is seen without a gap; a stretch shorter than the window by a
    shorter one, and one of less than five frames not at all (Savitzky and Golay, Analytical Chemistry 36, 1964).
    """
    from scipy.signal import savgol_filter

    out = pose.copy()
    for row, there in zip(out, seen(pose), strict=True):
        # Joints that are seen in the same frames go together, which are nearly always all of them.
        masks, which = np.unique(there, axis=1, return_inverse=True)
        for number, mask in enumerate(masks.T):
            joints = np.flatnonzero(which == number)
            edges = np.flatnonzero(np.diff(np.pad(mask, 1).astype(np.int8)))
            for start, stop in edges.reshape(-1, 2).tolist():
                size = min(window, stop - start - (stop - start + 1) % 2)
                if size >= 5:
                    part = np.ix_(np.arange(start, stop), joints, np.arange(2))
                    row[part] = savgol_filter(row[part].astype(np.float64), size, 2, axis=0)
    return out


# --- filler ---------------------------------------------------------------------------------------------------------


def _drop_filler(pose: Array, low: float, high: Array, clip_id: str) -> list[dict[str, str]]:
    """Mark as not seen, in place, what a file writes for "not seen"; notes with its value.

    A pair of numbers is a filler if it lies outside the frame, and is a whole number twice (-1, -9999, 1e9), or is the
    place of three joints at once, or of two in five frames, far from all others; or, anywhere, if half of the joints
    are there in three frames. One joint that stays in one place belongs to somebody who keeps still, and several just
    below the frame are feet that an estimator found at the edge of its map.
    """
    joints = pose.shape[2]
    there = seen(pose)
    # Nearly all pairs of an hour of video are neither shared nor whole twice: only the others are collected.
    pairs = np.unique(
        np.concatenate([_suspects(row, seen_in, low, high) for row, seen_in in zip(pose, there, strict=True)])
    )
    if not len(pairs):
        return []
    flat, index = _places(pose, there, pairs)
    pairs = pairs[:, None].view(np.float32)
    # Joints of one person in one frame that share a pair.
    frames = len(pose) * pose.shape[1]
    places, together = np.unique(index * frames + flat // joints, return_counts=True)
    pair_of = places // frames

    def times(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.bincount(pair_of[chosen], minlength=len(pairs))

    outside = ((pairs < low) | (pairs > high)).any(-1)
    filler = _whole_twice(pairs, low, high)
    shared = outside & ((times(together >= 3) >= 1) | (times(together >= 2) >= 5))
    if shared.any():
        others = there.copy()
        others[np.unravel_index(flat[shared[index]], there.shape)] = False
        if others.any():
            bounds = [np.quantile(pose[..., axis][others], [0.05, 0.95]) for axis in range(2)]
            low_by, high_by = np.stack(bounds, axis=1)
            away = np.maximum(low_by - pairs, pairs - high_by).max(-1)
            filler |= shared & (away > 0.5 * (high_by - low_by).max())
    filler |= times((2 * together >= joints) & (together >= 3)) >= 3
    notes = []
    for i in np.flatnonzero(filler):
        held = np.stack(np.unravel_index(flat[index == i], there.shape), axis=1)  # person, frame, joint
        spread = (
            (len(held), "point"),
            (len(np.unique(held[:, 2])), "joint"),
            (len(np.unique(held[:, 1])), "frame"),
        )
        number, many, frames = (f"{n} {what}{'s' * (n > 1)}" for n, what in spread)
        value = f"({pairs[i, 0]:g}, {pairs[i, 1]:g})"
        detail = f"{value} in {number}, {many} and {frames}: taken as not seen"
        notes.append(note("filler value", detail, clip_id))
    if filler.any():
        pose[np.unravel_index(flat[filler[index]], there.shape)] = np.nan
    return notes


def _bits(points: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Each pair (..., 2) as one number, which are compared many times quicker."""
    return np.ascontiguousarray(points, np.float32).view(np.uint64)[..., 0]


def _whole_twice(pairs: Array, low: float, high: Array) -> npt.NDArray[np.bool_]:
    """Pairs (..., 2) of one whole number that no picture has there: -1, -9999, 1e9, or the corner."""
    one = pairs[..., 0]
    odd = (one < min(low, 0)) | (one == low) | (one > 4 * high.max())
    return np.asarray(odd & (one == pairs[..., 1]) & (one == np.round(one)))


def _suspects(row: Array, there: npt.NDArray[np.bool_], low: float, high: Array) -> npt.NDArray[np.uint64]:
    """The pairs of a person (T, V, 3), as bits, that may be filler: whole twice, or shared by joints of one frame."""
    found = [np.zeros(0, np.uint64)]
    for first in range(0, len(row), BLOCK):
        points, known = row[first : first + BLOCK, :, :2], there[first : first + BLOCK]
        bits = _bits(points)
        found.append(bits[known & _whole_twice(points, low, high)])
        order = np.sort(np.where(known, bits, NOT_SEEN), axis=1)
        again = (order[:, 1:] == order[:, :-1]) & (order[:, 1:] != NOT_SEEN)
        found.append(np.unique(order[:, 1:][again]))
    return np.unique(np.concatenate(found))


def _places(
    pose: Array, there: npt.NDArray[np.bool_], pairs: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where any of some pairs (sorted, as bits) is seen, as places in `there`, and which of them it is."""
    flat, index = [], []
    for number, (row, known) in enumerate(zip(pose, there, strict=True)):
        for first in range(0, len(row), BLOCK):
            bits = _bits(row[first : first + BLOCK, :, :2]).reshape(-1)
            at = np.minimum(np.searchsorted(pairs, bits), len(pairs) - 1)
            held = np.flatnonzero((pairs[at] == bits) & known[first : first + BLOCK].reshape(-1))
            flat.append(held + (number * pose.shape[1] + first) * pose.shape[2])
            index.append(at[held])
    return np.concatenate(flat), np.concatenate(index)
