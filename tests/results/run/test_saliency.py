from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.saliency import Saliency, read_saliency, saliency_path, write_saliency
from mgkit.results.run.view_scores import ViewScores, views_path, write_view_scores
from tests.results.fake_run import fake_clips, fake_run


def made(ids: list[str], **changes: Any) -> Saliency:
    """A random one of these clips, over 17 joints; the same ids give the same values."""
    rng = np.random.default_rng(len("".join(ids)))
    n = len(ids)
    parts: dict[str, Any] = {
        "target": rng.integers(0, 3, n), "score": rng.normal(size=n),
        "joints": rng.normal(size=(n, 4, 17)), "pose_frames": np.tile([0, 3, 5, 9], (n, 1)),
        "maps": rng.normal(size=(n, 2, 5, 5)), "rgb_frames": np.tile([3, 9], (n, 1)),
        "settings": {"target": "true"},
    }  # fmt: skip
    return Saliency(ids, **{**parts, **changes})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    clips = fake_clips(tmp_path / "clips", 4, 4)
    return fake_run(tmp_path / "run", clips, epochs=2, splits=("test",))


def test_it_comes_back_as_it_was_written(run: Run) -> None:
    one = made(["b", "a", "c"])
    write_saliency(run.root, "test", one)
    two = run.saliency("test")
    assert two.clip_ids == one.clip_ids
    assert two.settings == one.settings
    for name in ("target", "score", "joints", "pose_frames", "maps", "rgb_frames"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    clip = two.clip("a")
    assert clip.target == two.target[1]
    np.testing.assert_array_equal(clip.joints, two.joints[1].astype(np.float32))
    short = made(["s"], pose_frames=np.array([[0, 0, 2, 2]])).clip("s")
    assert short.pose_frames.tolist() == [0, 2]
    twice = made(["s"]).joints[0].astype(np.float32)
    np.testing.assert_allclose(short.joints, [twice[0] + twice[1], twice[2] + twice[3]], rtol=1e-6)
    np.testing.assert_allclose(two.over_time("rgb")[2], two.maps[2].astype(float).sum((1, 2)), atol=1e-4)
    assert "a" in two
    assert "x" not in two
    with pytest.raises(MgkitError, match="no clip x"):
        two.clip("x")
    alone = made(["a"], maps=None, rgb_frames=None)
    write_saliency(run.root, "test", alone)
    assert run.saliency("test").maps is None
    with pytest.raises(MgkitError, match="no saliency of 'rgb'"):
        run.saliency("test").over_time("rgb")


def test_parts_made_alike_are_joined(run: Run) -> None:
    one, two = made(["a", "b"]), made(["b", "long"])
    both = one.merged(two)
    assert both.clip_ids == ["a", "b", "long"]
    np.testing.assert_array_equal(both.joints[1], two.joints[0])
    np.testing.assert_array_equal(both.maps[0], one.maps[0])
    assert two.merged(two).clip_ids == two.clip_ids
    with pytest.raises(MgkitError, match=r"different settings .*target"):
        one.merged(replace(two, settings={"target": "predicted"}))
    with pytest.raises(MgkitError, match="maps of different shapes"):
        one.merged(made(["z"], maps=None, rgb_frames=None))
    with pytest.raises(MgkitError, match="repeated clip ids: b"):
        Saliency.joined([one, two])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": np.array([-1, 0])}, "counted from 0"),
        ({"score": np.array([np.nan, 0])}, "score has shape"),
        ({"score": np.zeros(3)}, "score has shape"),
        ({"joints": np.full((2, 4, 17), np.inf)}, "joints of clip 'a' are not finite"),
        ({"joints": np.full((2, 4, 17), 1e6)}, "joints of clip 'a' are not finite"),
        ({"joints": np.zeros((2, 3, 17))}, "do not go with pose_frames"),
        ({"joints": np.zeros((2, 4))}, "see the shapes"),
        ({"pose_frames": None}, "belong together"),
        ({"rgb_frames": np.array([[-1, 0], [0, 1]])}, "whole numbers from 0"),
        ({"joints": None, "pose_frames": None, "maps": None, "rgb_frames": None}, "neither joints nor maps"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(MgkitError, match=words):
        made(["a", "b"], **change)


def test_files_that_do_not_fit_are_refused_by_name(run: Run) -> None:
    path = saliency_path(run.root, "test")
    path.write_bytes(b"rubbish")
    with pytest.raises(MgkitError, match=r"saliency\.npz cannot be read"):
        run.saliency("test")
    np.savez(path, clip_id=np.array(["a"]))
    with pytest.raises(MgkitError, match=r"lacks target, .*--replace"):
        read_saliency(path)
    write_saliency(run.root, "test", made(["a"], target=np.array([9])))
    with pytest.raises(MgkitError, match="other classes or joints"):
        run.saliency("test")
    write_saliency(run.root, "test", made(["a"], joints=np.zeros((1, 4, 3))))
    with pytest.raises(MgkitError, match="other classes or joints"):
        run.saliency("test")
    with pytest.raises(MgkitError, match="mgkit explain .* --split val"):
        run.saliency("val")
    assert run.has_saliency("test")
    assert not run.has_saliency("val")


def test_scores_of_views_are_checked(run: Run) -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(4), (2, 3))
    views = ViewScores(["a", "b"], {"rgb": scores}, np.array([False, False, True]))
    write_view_scores(run.root, "test", views)
    back = run.view_scores("test")
    np.testing.assert_allclose(back.scores("rgb"), scores, rtol=1e-3, atol=1e-6)
    assert back.mirrored.tolist() == [False, False, True]
    for wrong, words in (
        ({"rgb": scores[:, :2]}, r"\(2, 3, classes\) is expected"),
        ({"rgb": scores[0]}, r"\(2, 3, classes\) is expected"),
        ({"rgb": 2 * scores}, "sum to 2"),
        ({"sound": scores}, "sound is not one of"),
        ({}, "at least one"),
        ({"rgb": scores, "pose": scores[:, :, :3]}, "different numbers"),
    ):
        with pytest.raises(MgkitError, match=words):
            ViewScores(["a", "b"], wrong, np.array([False, False, True]))
    with pytest.raises(MgkitError, match="no 'pose' scores"):
        back.scores("pose")
    scores = scores[..., :3] / scores[..., :3].sum(-1, keepdims=True)
    write_view_scores(run.root, "test", ViewScores(["a", "b"], {"rgb": scores}, np.zeros(3, bool)))
    with pytest.raises(MgkitError, match=r"views\.npz: it is over 3 classes"):
        run.view_scores("test")
    np.savez(views_path(run.root, "test"), clip_id=np.array(["a"]))
    with pytest.raises(MgkitError, match="lacks mirrored"):
        run.view_scores("test")
