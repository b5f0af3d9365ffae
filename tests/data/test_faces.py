"""Heads by their key-points, what happens where they are not seen, and that blurred ones cannot be recognised."""

from __future__ import annotations

import numpy as np
import pytest

from mgkit.data.faces import CELLS, SHORT, WHILE, blur_heads, find_heads, head_joints
from mgkit.data.skeletons import LAYOUTS, Skeleton

FPS = 20.0
SEATED = LAYOUTS["coco17"]


def seated(frames: int, x: float = 100.0, y: float = 80.0, step: float = 0.0) -> np.ndarray:
    """(1, T, 17, 3): a person seen from in front, 1 pixel = 1 cm, whose nose is at (x, y) and walks `step` a frame."""
    places = {
        "nose": (0, 0), "left_eye": (3.2, -3), "right_eye": (-3.2, -3), "left_ear": (7.7, -2),
        "right_ear": (-7.7, -2), "left_shoulder": (17.5, 27), "right_shoulder": (-17.5, 27),
    }  # fmt: skip
    pose = np.full((1, frames, 17, 3), np.nan)
    for name, place in places.items():
        pose[0, :, SEATED.joints.index(name), :2] = np.add((x, y), place)
    pose[0, :, :, 0] += step * np.arange(frames)[:, None]
    pose[..., 2] = np.where(np.isnan(pose[..., 0]), np.nan, 0.9)
    return pose


def hidden(pose: np.ndarray, *frames: int) -> np.ndarray:
    """The same with heads that are not seen in these frames."""
    pose = pose.copy()
    pose[:, np.array(frames)[:, None], head_joints(SEATED)] = np.nan
    return pose


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_has_joints_of_the_head_and_no_others(name: str) -> None:
    layout = LAYOUTS[name]
    found = {layout.joints[joint] for joint in head_joints(layout)}
    assert found
    bodily = (
        "neck",
        "shoulder",
        "elbow",
        "wrist",
        "hand",
        "hip",
        "knee",
        "tip",
        "pinky",
        "thumb",
        "spine",
        "mcp",
    )
    assert not [joint for joint in found if any(word in joint for word in bodily)]
    if name in ("imigue22", "body25", "coco17"):
        assert found == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}


def test_names_of_other_layouts_are_understood() -> None:
    names = (
        "LEye",
        "rightEar",
        "Nose",
        "HeadTop",
        "face_12",
        "forearm",
        "heel",
        "heart",
        "middle_tip",
        "clip",
    )
    found = head_joints(Skeleton("other", names, (), ()))
    assert [names[joint] for joint in found] == ["LEye", "rightEar", "Nose", "HeadTop", "face_12"]


def test_a_circle_covers_hair_and_chin() -> None:
    (first, second) = find_heads(seated(3), SEATED, 3, FPS).circles
    np.testing.assert_array_equal(first, second)
    x, y, radius = first[0]
    assert x == pytest.approx(100)
    for above, below in ((12.5, 12.5),):  # of a head 23 cm high, its middle near the nose
        assert y - radius < 80 - above
        assert y + radius > 80 + below
    assert radius < 22, "no larger than needed"


def test_one_eye_is_enough_because_the_shoulders_give_the_size() -> None:
    pose = seated(3)
    for name in ("nose", "left_eye", "left_ear", "right_ear"):
        pose[:, 1, SEATED.joints.index(name)] = np.nan
    x, y, radius = find_heads(pose, SEATED, 3, FPS).circles[0, 1]
    assert np.hypot(x - 96.8, y - 77) < 1e-9
    assert radius > 15


def test_a_short_gap_is_interpolated() -> None:
    frames = 20
    pose = seated(frames, step=2.0)
    gap = range(5, 5 + round(SHORT * FPS) - 1)
    heads = find_heads(hidden(pose, *gap), SEATED, frames, FPS)
    expected = find_heads(pose, SEATED, frames, FPS)
    np.testing.assert_allclose(heads.circles, expected.circles)
    assert not heads.lost.any()
    assert heads.note == ""


def test_over_a_longer_gap_both_places_are_kept_for_a_while_and_then_the_whole_frame() -> None:
    frames = 100
    gap = range(20, 80)
    heads = find_heads(hidden(seated(frames, step=1.0), *gap), SEATED, frames, FPS)
    for frame in gap:
        assert sorted(heads.circles[:, frame, 0]) == pytest.approx([119, 180])
    nearest = np.minimum(np.abs(np.arange(frames) - 19), np.abs(np.arange(frames) - 80))
    nearest[:20] = nearest[80:] = 0
    np.testing.assert_array_equal(heads.lost, nearest > WHILE * FPS)
    assert heads.lost.sum() == 20
    assert heads.note == "In 20 of 100 frames no head is seen: blurred as a whole."


def test_before_the_first_and_after_the_last_sight() -> None:
    frames = 60
    heads = find_heads(hidden(seated(frames), *range(10), *range(20, 60)), SEATED, frames, FPS)
    assert np.isfinite(heads.circles).all()
    np.testing.assert_array_equal(np.flatnonzero(heads.lost), np.arange(19 + round(WHILE * FPS) + 1, 60))


def test_a_second_person_who_is_seen_no_more_stays_covered() -> None:
    pose = np.concatenate(
        [seated(80), hidden(seated(80, x=200.0), *range(10, 80)), np.full((1, 80, 17, 3), np.nan)]
    )
    heads = find_heads(pose, SEATED, 80, FPS)
    assert heads.circles.shape == (4, 80, 3), "the third person is never seen"
    assert not heads.lost.any()
    assert set(heads.circles[2:, 79, 0]) == {200}


def test_without_any_head_every_frame_is_lost() -> None:
    for pose, layout in (
        (None, SEATED),
        (np.full((1, 5, 17, 3), np.nan), SEATED),
        (np.ones((1, 5, 2, 3)), Skeleton("hands", ("left_hand", "right_hand"), (), ((0, 1),))),
    ):
        heads = find_heads(pose, layout, 5, FPS)
        assert heads.lost.all()
        assert heads.note == "No head is seen in this clip: its frames are blurred as a whole."


def textured(height: int = 160, width: int = 200) -> np.ndarray:
    """Noise: what a blurred part has left of it can be measured."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_inside_the_circle_little_is_left_and_outside_nothing_changes() -> None:
    picture = textured()
    heads = find_heads(seated(1), SEATED, 1, FPS)
    x, y, radius = heads.circles[0, 0]
    blurred = blur_heads(picture, heads, 0)
    rows, columns = np.mgrid[:160, :200]
    inside = np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= radius
    np.testing.assert_array_equal(blurred[~inside], picture[~inside])
    assert picture[inside].std() > 70
    assert blurred[inside].std() < 15
    # A few cells without edges between them: neighbours differ by little everywhere.
    steps = np.abs(np.diff(blurred.astype(int), axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert steps.max() < 255 / CELLS / 4


def test_what_was_blurred_does_not_depend_on_what_a_face_looks_like() -> None:
    """Two pictures with the same means in each cell cannot be told apart afterwards."""
    heads = find_heads(None, SEATED, 1, FPS)
    one = np.full((50, 50, 3), 100, np.uint8)
    other = one.copy()
    other[::2] += 50
    other[1::2] -= 50
    np.testing.assert_allclose(blur_heads(one, heads, 0), blur_heads(other, heads, 0), atol=1)


def test_a_picture_of_another_size_and_a_head_at_its_edge() -> None:
    picture = textured(320, 400)
    heads = find_heads(seated(1, x=2.0, y=3.0), SEATED, 1, FPS)
    blurred = blur_heads(picture, heads, 0, size=(200, 160))
    assert blurred[:20, :20].std() < 25
    np.testing.assert_array_equal(blurred[100:], picture[100:])
    outside = find_heads(seated(1, x=900.0), SEATED, 1, FPS)
    np.testing.assert_array_equal(blur_heads(picture, outside, 0), picture)
