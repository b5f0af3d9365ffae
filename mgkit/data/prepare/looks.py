"""The key-points of a dataset beside its frames and videos: what no single clip can show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from mgkit.data.prepare.people import Array, few_frames, seen
from mgkit.data.readers import note
from mgkit.errors import MgkitError, counted, some

FACTORS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # between pictures of two sizes
BEFORE_TURN = (
    "are of the pictures before the turn that the video asks for: estimate them on the pictures as they are shown, or "
    "take the turn out of the video (ffmpeg -display_rotation 0 -i IN -c copy OUT)"
)


@dataclass(frozen=True)
class Look:
    """What the key-points of one clip look like beside its frame, for `check_looks`; each counts by its score.

    Attributes:
        frame: (width, height).
        outside, aside, swapped: share of the points that lie outside the frame, left or right of it, and outside a
            frame of swapped sides.
        reach: 95 % of the points lie below these shares of width and height.
        scored: scores differ, so that points which were only guessed hardly count.
        frames, poses: of the video and as they came in; 0, 0 without a video, or where the rate is stated.
        turned: the video asks to be shown with its sides exchanged, as telephones do.
    """

    frame: tuple[int, int]
    outside: float
    aside: float
    swapped: float
    reach: tuple[float, float]
    scored: bool
    frames: int
    poses: int
    turned: bool


def look_of(pose: Array, frame: tuple[int, int], frames: int, poses: int, *, turned: bool) -> Look:
    """The look of key-points (M, T, V, 3) in which somebody is seen; see `Look`."""
    pose = few_frames(pose)
    there = pose[seen(pose)].astype(np.float64)
    points, scores = there[:, :2], np.maximum(there[:, 2], 1e-6)
    weights = scores / scores.sum()

    def beyond(size: tuple[int, int]) -> Any:
        return (points < 0) | (points > np.asarray(size))

    def reach(axis: int) -> float:
        order = points[:, axis].argsort()
        below = min(int(np.searchsorted(weights[order].cumsum(), 0.95)), len(order) - 1)
        return float(points[order[below], axis] / frame[axis])

    outside = beyond(frame)
    return Look(
        frame,
        outside=float(weights @ outside.any(-1)),
        aside=float(weights @ outside[:, 0]),
        swapped=float(weights @ beyond(frame[::-1]).any(-1)),
        reach=(reach(0), reach(1)),
        scored=bool(np.ptp(scores) > 0.2),
        frames=frames,
        poses=poses,
        turned=turned,
    )


def check_looks(looks: Mapping[str, Look], units: str | None, share: float = 0.5) -> None:
    """Refuse a dataset whose key-points do not belong to its frames or videos.

    Args:
        looks: by clip id, of clips in which somebody was seen.
        units: as stated; "pixels" are not doubted.
        share: of the clips that must be wrong.

    Raises:
        MgkitError: in more than that share of the clips most points lie outside the frame, in a way that those of
            people whom it cuts do not, or nearly all clips have the same other rate than their videos. It names the
            first clips, both values and the remedy.
    """
    if units != "pixels":
        _check_outside(looks, units, share)
    # Another rate that is not gross (30 and 25 per second), where it is the same everywhere.
    pairs = {name: (look.frames, look.poses) for name, look in looks.items() if look.poses > 20}
    if len(pairs) < 5 or 2 * len(pairs) < len(looks):
        return
    frames, poses = np.array(list(pairs.values()), dtype=np.float64).T
    lost = np.abs(frames - poses)
    likely = float(Fraction(float(np.median(frames / poses))).limit_denominator(6))
    fits = float((np.abs(frames - poses * likely) <= np.maximum(2, 0.01 * frames)).mean())
    # As many frames less in every clip are lost at its ends; at another rate long clips differ by more. Clips of one
    # length do not show which it is: many frames less are then more likely another rate.
    alike = frames.max() < 1.5 * frames.min()
    growing = lost.max() >= 1.5 * lost.min() or (alike and lost.min() >= 10)
    if abs(likely - 1) > 0.05 and fits > 0.8 and lost.min() >= 2 and growing:
        name = next(iter(pairs))
        raise MgkitError(
            f"the poses have another rate than the videos: {pairs[name][1]} beside {pairs[name][0]} frames in clip "
            f"{name!r}, and {likely:.4g} frames per pose in {fits:.0%} of {len(pairs)} clips: state --pose-step "
            f"{likely:.4g}, or their rate with --pose-fps; --pose-step 1 cuts to the shortest."
        )


def _check_outside(looks: Mapping[str, Look], units: str | None, share: float) -> None:
    if not looks:
        return
    found = [name for name, look in looks.items() if look.outside > 0.5]
    each = np.array([(look.outside, look.aside, look.swapped) for look in looks.values()])
    outside, aside, other = each.mean(axis=0)
    # A frame that is upright by mistake leaves people to its right, which a camera that stands upright hardly does; in
    # one that is wide by mistake they reach below it, but never further than it is wide.
    upright = np.mean([look.frame[0] < look.frame[1] for look in looks.values()]) > share
    swapped = (upright and aside > 0.05 and other < aside / 4) or (outside > 0.3 and other < 0.005)
    if swapped:
        found = [name for name, look in looks.items() if look.outside > 0]
    elif len(found) <= share * len(looks):
        return
    chosen, first = [looks[name] for name in found], looks[found[0]]
    reach = np.quantile([look.reach for look in chosen], 0.9, axis=0)
    factor = next((factor for factor in FACTORS if factor >= 0.97 * reach.max() and reach.min() > 0.5), None)
    # Guessed legs of people who sit before the camera, if nothing says that they are guessed.
    beside, beyond = (
        float(np.median([getattr(look, key) for look in chosen])) for key in ("aside", "outside")
    )
    legs = not any(look.scored for look in chosen) and beside < 0.1 and beyond < 0.95
    wide, high = first.frame
    if units is not None:
        fits = f"Are they {units}, as --pose-units states?"
    elif swapped and any(look.turned for look in chosen):
        fits = f"They {BEFORE_TURN}."
    elif swapped:
        fits = "With width and height swapped all would fit: write img_shape as (height, width) and points as (x, y), "
        fits += f"or state --pose-size {high}x{wide} (width x height)."
    elif legs:
        return
    elif factor:
        wide, high = round(factor * wide), round(factor * high)
        fits = (
            f"Divided by {factor:g} they would fit, as in a larger picture: state --pose-size {wide}x{high}."
        )
    else:
        fits = "Neither swapped sides nor a plain factor would fit: state their picture with --pose-size WIDTHxHEIGHT."
    raise MgkitError(
        f"many key-points of {len(found)} of {counted(len(looks), 'clip')} ({some(found, 3)}) lie outside the frame: "
        f"in the first they reach to {first.reach[0] * first.frame[0]:.0f} x {first.reach[1] * first.frame[1]:.0f}, "
        f"and it is {first.frame[0]} x {first.frame[1]}. {fits} --pose-units pixels takes them as they are."
    )


def corner(looks: Mapping[str, Look]) -> list[dict[str, str]]:
    """A note where no clip has a key-point in the right or the lower half: they may be of a smaller picture."""
    wide, high = np.max([look.reach for look in looks.values()], axis=0) if looks else (1.0, 1.0)
    if len(looks) < 10 or max(wide, high) > 0.55:
        return []
    text = f"all of {len(looks)} clips lie in the top left {wide:.0%} x {high:.0%} of the frame: if they belong to a "
    return [
        note(
            "key-points in one corner", f"{text}smaller picture, state --pose-size; if per cent, --pose-units"
        )
    ]
