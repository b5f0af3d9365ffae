from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.keypoints import KeyPoints, Origin, convert, frames_of, points_of, read_keypoints
from mgkit.data.skeletons import BODY25, COCO17, HOLISTIC75, IMIGUE22, WHOLEBODY133
from mgkit.errors import MgkitError


def made(joints: int, frames: int = 5, persons: int = 2) -> np.ndarray:
    points = np.random.default_rng(joints).uniform(1, 90, (persons, frames, joints, 3)).astype(np.float32)
    points[..., 2] = np.random.default_rng(1).uniform(0.1, 1, points.shape[:3])
    return points


def example() -> KeyPoints:
    origin = Origin("holistic", "1.2.3", "ab" * 32, {"person": "left"}, "wave/é 1", 10, 1795973249014622000)
    points = made(75)
    points[0, 2, 3] = np.nan
    return KeyPoints(
        points, HOLISTIC75, 29.97, (1080, 1919), origin, [{"what": "a", "clip_id": "b", "detail": "c"}]
    )


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    keypoints = example()
    path = keypoints.write(tmp_path / "wave" / "é 1.npz")
    found = read_keypoints(path)
    assert np.array_equal(found.points, keypoints.points, equal_nan=True)
    for name in ("skeleton", "fps", "size", "origin", "notes"):
        assert getattr(found, name) == getattr(keypoints, name)
    assert [p.name for p in path.parent.iterdir()] == ["é 1.npz"]
    head = read_keypoints(path, points=False)
    assert head.points.shape == (0, 0, 75, 3)
    assert head.origin == keypoints.origin
    with np.load(path, allow_pickle=False) as plain:  # without mgkit
        assert plain["points"].dtype == np.float32
        assert (float(plain["fps"]), plain["size"].tolist()) == (29.97, [1080, 1919])
        assert (str(plain["estimator"]), str(plain["version"]), str(plain["model"])) == (
            "holistic",
            "1.2.3",
            "ab" * 32,
        )


def test_spans_of_a_file(tmp_path: Path) -> None:
    path = example().write(tmp_path / "a.npz")
    points = points_of(path, 1, 4)
    assert np.array_equal(points, example().points[:, 1:4], equal_nan=True)
    points[:] = 0  # the caller's own
    assert np.array_equal(points_of(path), example().points, equal_nan=True)
    assert frames_of(path) == 5
    with pytest.raises(MgkitError, match=r"a.npz has 5 frames; the clip would start at frame 5"):
        points_of(path, 5, 9)


def test_files_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there are no key-points .*a.npz"):
        read_keypoints(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", points=np.zeros(3))
    with pytest.raises(MgkitError, match="a.npz does not hold key-points of mgkit, or is damaged"):
        read_keypoints(tmp_path / "a.npz")
    whole = example().write(tmp_path / "b.npz").read_bytes()
    for cut in (0, 100, len(whole) // 2):
        (tmp_path / "b.npz").write_bytes(whole[:cut])
        with pytest.raises(MgkitError, match="b.npz does not hold key-points of mgkit, or is damaged"):
            read_keypoints(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", points=np.array([{}], dtype=object))  # would run code if it were unpickled
    with pytest.raises(MgkitError, match="c.npz does not hold"):
        read_keypoints(tmp_path / "c.npz")


def test_holistic_to_imigue_and_coco_joint_by_joint() -> None:
    """The indices of MediaPipe's documentation, written out."""
    points = made(75)
    found = convert(points, HOLISTIC75, IMIGUE22)
    body = {0: 0, 2: 12, 3: 14, 4: 16, 5: 11, 6: 13, 7: 15, 8: 5, 9: 2, 10: 8, 11: 7}
    tips = {12 + i: 33 + tip for i, tip in enumerate((4, 8, 12, 16, 20))}
    tips |= {17 + i: 54 + tip for i, tip in enumerate((4, 8, 12, 16, 20))}
    for to, came in {**body, **tips}.items():
        assert np.array_equal(found[..., to, :], points[..., came, :])
    assert np.allclose(found[..., 1, :2], (points[..., 11, :2] + points[..., 12, :2]) / 2)
    assert np.array_equal(found[..., 1, 2], np.minimum(points[..., 11, 2], points[..., 12, 2]))
    points[0, 0, 11] = np.nan
    assert np.isnan(convert(points, HOLISTIC75, IMIGUE22)[0, 0, [1, 5]]).all()
    coco = [0, 2, 5, 7, 8, *range(11, 17), *range(23, 29)]
    assert np.array_equal(convert(points, HOLISTIC75, COCO17), points[..., coco, :], equal_nan=True)


def test_wholebody_to_imigue_and_coco() -> None:
    points = made(133)
    found = convert(points, WHOLEBODY133, IMIGUE22)
    assert np.array_equal(found[..., 12:17, :], points[..., [91 + t for t in (4, 8, 12, 16, 20)], :])
    assert np.array_equal(found[..., 17:22, :], points[..., [112 + t for t in (4, 8, 12, 16, 20)], :])
    assert np.array_equal(found[..., [2, 3, 4, 5, 6, 7], :], points[..., [6, 8, 10, 5, 7, 9], :])
    assert np.array_equal(convert(points, WHOLEBODY133, COCO17), points[..., :17, :])
    body = convert(points, WHOLEBODY133, BODY25)
    assert np.array_equal(body[..., 19:22, :], points[..., 17:20, :])
    assert np.allclose(body[..., 8, :2], points[..., [11, 12], :2].mean(-2))


def test_a_layout_that_does_not_follow_is_refused_with_its_joints() -> None:
    with pytest.raises(
        MgkitError, match="holistic75 does not follow from coco17, which has no left_eye_inner, "
    ):
        convert(made(17), COCO17, HOLISTIC75)
    with pytest.raises(MgkitError, match="body25 does not follow from holistic75, which has no left_big_toe"):
        example().to("body25")
    assert example().to("imigue22").skeleton is IMIGUE22
