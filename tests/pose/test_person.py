from __future__ import annotations

import numpy as np
import pytest

from mgkit.data.skeletons import COCO17, HOLISTIC75
from mgkit.pose.person import choose, half, jumps, sightings

GRID = np.stack([np.arange(17) % 5, np.arange(17) // 5], -1)


def person(frames: int, x: float, size: float) -> np.ndarray:
    points = np.ones((frames, 17, 3), np.float32)
    points[..., :2] = size / 5 * GRID + (x, 20)
    return points


def test_halves_are_contiguous_and_make_up_the_picture() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 11, 3), dtype=np.uint8)
    (left, at), (right, begins) = half(frames, "left"), half(frames, "right")
    assert (at, begins) == (0, 5)
    assert left.flags.c_contiguous
    assert right.flags.c_contiguous
    assert np.array_equal(np.concatenate([left, right], axis=2), frames)
    assert half(frames, "largest")[0] is frames


def test_the_largest_is_followed_through_rows_in_any_order() -> None:
    """Also past a frame without anybody, and where the other grows: the nearest to the last place counts."""
    large, little = person(9, 10, 60), person(9, 150, 20)
    little[5:] = person(4, 150, 90)
    points = np.full((2, 9, 17, 3), np.nan, np.float32)
    for t in range(9):
        points[t % 2, t], points[1 - t % 2, t] = large[t], little[t]
    points[:, 4] = np.nan
    chosen, notes = choose(points, "largest", (300, 100), "v")
    expected = large.copy()
    expected[4] = np.nan
    assert np.array_equal(chosen[0], expected, equal_nan=True)
    assert [(n["what"], n["detail"]) for n in notes] == [
        (
            "several people",
            "up to 2 in a frame, in 8 of 9 frames: one is followed; another by person left, right or all",
        )
    ]


def test_a_jump_to_somebody_else_is_noted_with_its_frame() -> None:
    row = np.concatenate(
        [person(4, 10, 40), person(3, 100, 40), np.full((2, 17, 3), np.nan), person(3, 15, 40)]
    )
    assert jumps(row.astype(np.float32)).tolist() == [4, 9]
    _, notes = choose(row[None].astype(np.float32), "largest", (300, 100), "v")
    assert notes == [
        {"what": "jumps", "clip_id": "v", "detail": "to somebody else, or to nobody, in frame 4, 9"}
    ]
    walking = np.concatenate([person(1, 10 + 5 * t, 40) for t in range(20)])
    assert not len(jumps(walking))
    assert not len(jumps(row[:1]))


def test_sightings_count_frames_and_hands() -> None:
    points = np.full((1, 10, 75, 3), np.nan, np.float32)
    points[:, 2:] = 1
    points[:, :, 33:54] = np.nan
    points[:, 5:8, 33:54] = 1
    points[:, :, 54:, 2] = 0.1  # not sure enough
    said = [(n["what"], n["detail"]) for n in sightings(points, HOLISTIC75, "v")]
    assert said == [
        ("nobody seen", "in 2 of 10 frames (20 %)"),
        ("hands seen", "left in 30 % of the frames, right in 0 % of the frames"),
    ]
    assert sightings(np.ones((1, 4, 17, 3), np.float32), COCO17, "v") == []


@pytest.mark.parametrize("whom", ["largest", "all"])
def test_nobody_stays_nobody(whom: str) -> None:
    nobody = np.full((1, 6, 17, 3), np.nan, np.float32)
    chosen, notes = choose(nobody, whom, (100, 100), "v")
    assert np.isnan(chosen).all()
    assert chosen.shape == nobody.shape
    assert notes == []
