"""People in broken and exchanged rows of key-points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mgkit.data.batches.pose import select_persons
from mgkit.data.prepare.people import steady
from tests.made.points import clip, in_source, notes, person, prepared

FRAME = (640, 480)


def rows(*tracks: tuple[np.ndarray, np.ndarray], count: int) -> np.ndarray:
    """(count, T, V, 3) from people (T, V, 3) and the row (T,) that each is in; -1 = nowhere."""
    frames = len(tracks[0][0])
    out = np.full((count, frames, 13, 3), np.nan, np.float32)
    for pose, row in tracks:
        for t in range(frames):
            if row[t] >= 0:
                out[row[t], t] = pose[t]
    return out


@pytest.mark.parametrize(
    "row", [np.arange(50) // 10, np.arange(50) % 5], ids=["one after the other", "in turn"]
)
def test_one_person_in_five_rows_is_one_person(tmp_path: Path, row: np.ndarray) -> None:
    one = person(50, walk=2)
    clips = prepared(tmp_path, [clip("c", rows((one, row), count=5))])
    assert clips.row("c")["persons"] == 1
    np.testing.assert_allclose(in_source(clips, "c")[0], one[..., :2], atol=0.01)
    assert notes(clips, "rows joined") == {"c": "5 rows hold 1 at a time: joined by the nearest position"}
    # What a network of one person is given: all 50 frames, where it was a fifth of them.
    chosen = select_persons(torch.from_numpy(np.array(clips.pose("c")))[None], 1)
    assert torch.isfinite(chosen).all()


@pytest.mark.parametrize("overlap", [1, 3, 25], ids=["a frame", "a few frames", "found twice"])
def test_one_person_in_two_rows_at_once_is_one_person(overlap: int) -> None:
    one = person(50, walk=2)
    time, again = np.arange(50), one.copy()
    again[..., :2] += np.random.default_rng(0).normal(
        0, 2, again[..., :2].shape
    )  # of a person 200 pixels high
    given = np.stack([one, again])
    given[0, 25 + overlap :] = np.nan
    given[1, : 25 if overlap < 25 else 0] = np.nan
    got, done = steady(given, FRAME)
    assert got.shape[0] == 1
    np.testing.assert_array_equal(got[0], np.where((time < 25 + overlap)[:, None, None], one, again))
    assert done == [("rows joined", "2 rows hold 1 at a time: joined by the nearest position")]
    # Somebody else beside the first one, half a body away, stays apart.
    other = one.copy()
    other[..., 0] += 50
    assert len(steady(np.stack([given[0], np.where(np.isnan(given[1]), np.nan, other)]), FRAME)[0]) == 2


def test_two_people_who_trade_rows_are_put_back(tmp_path: Path) -> None:
    """94 pixels apart, less than half of their height."""
    left, right = person(50, at=(250, 240)), person(50, at=(344, 240), seed=1)
    row = (np.arange(50) // 10) % 2
    clips = prepared(tmp_path, [clip("c", rows((left, row), (right, 1 - row), count=2))])
    got = in_source(clips, "c")
    np.testing.assert_allclose(got, np.stack([left, right])[..., :2], atol=0.01)
    assert np.nanmax(np.abs(np.diff(got[:, :, 0, 0], axis=1))) < 5
    assert notes(clips, "rows traded") == {
        "c": "people change rows in frame 10, 20, 30, 40: put back by the nearest position"
    }


@pytest.mark.parametrize("miss", [0.0, 0.2])
def test_people_in_no_order_at_all_as_an_estimator_without_a_tracker_finds_them(miss: float) -> None:
    rng = np.random.default_rng(1)
    people = np.stack([person(60, at=(100 + 150 * i, 240), seed=i) for i in range(3)])
    given, want = np.full_like(people, np.nan), people.copy()
    for t in range(60):
        found = [i for i in range(3) if rng.random() >= miss]
        want[[i for i in range(3) if i not in found], t] = np.nan
        rng.shuffle(found)
        given[: len(found), t] = people[found, t]
    got, done = steady(given, FRAME)
    at = np.nanmedian(got[..., 0], axis=(1, 2)).argsort()
    np.testing.assert_array_equal(got[at], want)
    assert [what for what, _ in done] == ["rows traded"]


def test_somebody_who_moves_to_a_row_of_its_own_leaves_the_old_one_to_another() -> None:
    left, right = person(40, at=(150, 240)), person(40, at=(450, 240), seed=1)
    time = np.arange(40)
    # The left one: row 0, then row 1, then row 0 again; the right one comes in as row 1 when that is free.
    there = np.where(time < 10, 0, np.where(time < 20, 1, 0))
    other = np.where(time < 20, -1, 1)
    got, done = steady(rows((left, there), (right, other), count=3), FRAME)
    assert len(got) == 2
    np.testing.assert_array_equal(got[0], left)
    np.testing.assert_array_equal(got[1, 20:], right[20:])
    assert np.isnan(got[1, :20]).all()
    assert [what for what, _ in done] == ["rows traded"]


def test_a_gap_does_not_part_a_person() -> None:
    one = person(40, walk=1)
    row = np.where(np.arange(40) < 15, 0, 2)
    row[15:22] = -1
    got, _ = steady(rows((one, row), count=3), FRAME)
    assert len(got) == 1
    assert np.isnan(got[0, 15:22]).all()
    np.testing.assert_array_equal(got[0, 22:], one[22:])


def test_people_in_two_places_stay_two_people() -> None:
    """A face on the wall, found in the frames in which the person is lost."""
    one, wall = person(40, at=(150, 240)), person(40, at=(560, 100), height=40, seed=1)
    lost = np.arange(40) % 9 == 4
    got, done = steady(rows((one, np.where(lost, -1, 0)), (wall, np.where(lost, 1, -1)), count=2), FRAME)
    assert len(got) == 2
    assert not done
    np.testing.assert_array_equal(np.isnan(got[0, :, 0, 0]), lost)


def test_people_who_cross_and_people_who_come_late_are_left_alone() -> None:
    right, left = person(60, at=(150, 240), walk=5), person(60, at=(450, 250), walk=-5, seed=1)
    crossing = np.stack([right, left])
    late = crossing.copy()
    late[1, :25] = np.nan
    jerky = crossing.copy()
    jerky[0, 30:, :, :2] += 150  # a cut in the film: nobody is nearer
    rng = np.random.default_rng(0)
    noise = np.concatenate([rng.uniform(0, 480, (3, 30, 13, 2)), np.ones((3, 30, 13, 1))], -1).astype(
        np.float32
    )
    for pose in (crossing, late, jerky, noise):
        got, done = steady(pose.copy(), FRAME)
        assert not done
        np.testing.assert_array_equal(got, pose)


def test_rows_of_nobody_are_dropped_and_one_remains() -> None:
    empty = np.full((4, 9, 13, 3), np.nan, np.float32)
    assert steady(empty, FRAME)[0].shape == (1, 9, 13, 3)
    empty[2] = person(9)
    got, done = steady(empty, FRAME)
    assert got.shape == (1, 9, 13, 3)
    assert not done


def test_people_of_a_single_joint() -> None:
    one = np.full((2, 20, 13, 3), np.nan, np.float32)
    one[0, :12, 5], one[1, 12:, 5] = (100, 100, 1), (103, 100, 1)
    got, done = steady(one, FRAME)
    assert got.shape == (1, 20, 13, 3)
    assert np.isfinite(got[0, :, 5]).all()
    assert done
