"""Spatial augmentation of a clip: the random crop, mirror, rotation and scale, as one affine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def crop_affine(box: tuple[float, float, float, float], mirrored: bool) -> npt.NDArray[np.float32]:
    """(2, 3) matrix that takes clip pixels to the unit square: `box` (x, y, w, h) fills it, mirrored or not."""
    x, y, w, h = box
    matrix = np.array([[1 / w, 0, -x / w], [0, 1 / h, -y / h]], dtype=np.float64)
    if mirrored:
        matrix[0] = [-1 / w, 0, 1 + x / w]
    return matrix.astype(np.float32)


def random_box(
    width: float, height: float, area: tuple[float, float], generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """A crop of random size (share of the frame's area in `area`), aspect (3/4 to 4/3) and place, inside the frame."""
    share = generator.uniform(*area)
    aspect = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
    w = min(width, float(np.sqrt(share * width * height * aspect)))
    h = min(height, float(np.sqrt(share * width * height / aspect)))
    return float(generator.uniform(0, width - w)), float(generator.uniform(0, height - h)), w, h


def square_around(width: int, height: int) -> tuple[float, float, float, float]:
    """The square around the whole frame, with which it keeps its proportions: key-points are not resampled pixels."""
    side = float(max(width, height))
    return (width - side) / 2, (height - side) / 2, side, side


def shifted(
    affine: npt.NDArray[np.float32], shift: float, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A clip's matrix (2, 3) after a random move by up to a share `shift` of the unit square, in either direction."""
    moved = affine.copy()
    moved[:, 2] += generator.uniform(-shift, shift, 2)
    return moved


def turned(
    affine: npt.NDArray[np.float32],
    box: tuple[float, float, float, float],
    rotation: float,
    scaling: float,
    generator: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """A clip's matrix after a random turn and change of size about the middle of its box, drawn in clip pixels.

    In pixels, so that a turn is a turn whatever the frame's proportions; alike in both directions, so that limbs keep
    their proportions; one draw for all frames, so that nothing moves that did not.

    Args:
        affine: (2, 3) clip pixels to the unit square.
        box: (x, y, w, h) in clip pixels.
        rotation: largest angle, degrees.
        scaling: largest share by which sizes change.
    """
    angle = np.deg2rad(generator.uniform(-rotation, rotation))
    size = 1 + generator.uniform(-scaling, scaling)
    middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = affine.astype(np.float64)
    linear = matrix[:, :2] @ turn
    return np.column_stack([linear, matrix[:, 2] + (matrix[:, :2] - linear) @ middle]).astype(np.float32)
