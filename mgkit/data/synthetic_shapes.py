"""Filled shapes over time, of which the person of `mgkit.data.synthetic` is made, in body units.

A shape is a polygon for every frame of the clip, so that a whole clip is laid out by a few array operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.data.synthetic_motion import Array
from mgkit.data.synthetic_people import Colour


@dataclass(frozen=True)
class Layer:
    """One filled polygon over time: points (T, n, 2) in body units, its colour and the frames that show it."""

    points: Array
    colour: Colour
    shown: npt.NDArray[np.bool_] | None = None  # (T,), None = always
    convex: bool = True


def polygon(*corners: Array) -> Array:
    """(T, n, 2) from n moving corners (T, 2)."""
    return np.stack(corners, axis=1)


def rounded(points: Array) -> Array:
    """A closed outline with its corners cut twice (Chaikin): (T, n, 2) to (T, 4n, 2)."""
    for _ in range(2):
        after = np.roll(points, -1, axis=1)
        cut = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=2)
        points = cut.reshape(len(points), -1, 2)
    return points


def oval(centre: Array, tilt: Array | float, rx: Array | float, ry: Array | float, count: int = 16) -> Array:
    """(T, count, 2) of an ellipse; centre (T, 2), tilt in radians and radii may change over time."""
    turn = np.arange(count) * 2 * np.pi / count
    x = np.cos(turn) * np.reshape(rx, (-1, 1))
    y = np.sin(turn) * np.reshape(ry, (-1, 1))
    cos, sin = np.cos(np.reshape(tilt, (-1, 1))), np.sin(np.reshape(tilt, (-1, 1)))
    return centre[:, None] + np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def limb(start: Array, end: Array, r0: float, r1: float, count: int = 6) -> Array:
    """(T, 2 count, 2) of a tapered capsule between two moving points with radii r0 and r1."""
    along = end - start
    angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
    half = np.linspace(np.pi / 2, 3 * np.pi / 2, count)
    back, ahead = angle + half, angle + half + np.pi
    first = start[:, None] + r0 * np.stack([np.cos(back), np.sin(back)], axis=-1)
    last = end[:, None] + r1 * np.stack([np.cos(ahead), np.sin(ahead)], axis=-1)
    return np.concatenate([first, last], axis=1)


def mix(first: Array, second: Array, share: float) -> Array:
    return first + (second - first) * share
