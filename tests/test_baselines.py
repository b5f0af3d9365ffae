"""The floor: features of key-points against a slow loop, and the run that a forest of trees leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.baselines import extra_trees, keypoint_features
from mgkit.data.body import find_body, main_person
from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.skeletons import get_skeleton
from mgkit.data.table import Rows
from mgkit.errors import MgkitError
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_pose, tiny_row

COCO = get_skeleton("coco17")
JOINT = {name: i for i, name in enumerate(COCO.joints)}


def person(seed: int, frames: int = 9) -> np.ndarray:
    """(1, frames, 17, 3): shoulders 20 pixels apart, all other joints at random, an ankle never seen."""
    generator = np.random.default_rng(seed)
    pose = np.ones((1, frames, len(COCO), 3), np.float32)
    pose[..., :2] = generator.normal(50, 10, (1, frames, len(COCO), 2))
    pose[0, :, JOINT["left_shoulder"], :2] = [60, 40]
    pose[0, :, JOINT["right_shoulder"], :2] = [40, 40]
    pose[0, :, [JOINT["left_hip"], JOINT["right_hip"]], :2] = [[[60, 60]], [[40, 60]]]
    pose[0, :, JOINT["left_ankle"]] = np.nan
    return pose


def clips_of(root: Path, poses: list[np.ndarray]) -> Clips:
    rows = [tiny_row(str(i), i % 4, frames=pose.shape[1], persons=len(pose)) for i, pose in enumerate(poses)]
    return write_clip_folder(root, rows, poses, CLASSES, COCO)


def slow_features(pose: np.ndarray, moments: int) -> np.ndarray:
    """From the words of the docstring: one number at a time, for a person whose shoulders are always seen."""
    frames = len(pose)
    chest = [
        (pose[t, JOINT["left_shoulder"], :2] + pose[t, JOINT["right_shoulder"], :2]) / 2
        for t in range(frames)
    ]
    width = [
        np.hypot(*(pose[t, JOINT["left_shoulder"]] - pose[t, JOINT["right_shoulder"]])[:2])
        for t in range(frames)
    ]
    size, middle = np.median(width), np.median(chest, axis=0)
    tracks = []
    for joint in range(len(COCO)):
        known = [
            (t, (pose[t, joint, :2] - chest[t]) / size)
            for t in range(frames)
            if not np.isnan(pose[t, joint, 0])
        ]
        tracks.append(known)
    tracks.append([(t, (chest[t] - middle) / size) for t in range(frames)])

    def at(known: list, when: float) -> np.ndarray:
        if not known:
            return np.zeros(2)
        before = [one for one in known if one[0] <= when]
        after = [one for one in known if one[0] > when]
        if not before or not after:
            return (after[0] if not before else before[-1])[1]
        share = (when - before[-1][0]) / (after[0][0] - before[-1][0])
        return (1 - share) * before[-1][1] + share * after[0][1]

    times = [(m + 0.5) * frames / moments - 0.5 for m in range(moments)]
    places = [[at(known, when) for known in tracks] for when in times]
    speeds = [
        [(places[m + 1][j] - places[m][j]) * moments / frames for j in range(len(tracks))]
        for m in range(moments - 1)
    ]
    shares = [len(known) / frames for known in tracks[:-1]]
    return np.concatenate([np.ravel(places), np.ravel(speeds), shares])


def test_features_are_those_of_a_slow_loop(tmp_path: Path) -> None:
    pose = person(0)
    pose[0, 2:4, JOINT["nose"]] = np.nan  # a gap, and an end that is not seen
    pose[0, 6:, JOINT["left_wrist"]] = np.nan
    pose[0, :, JOINT["left_shoulder"], 0] += np.arange(9)  # walks
    pose[0, :, JOINT["right_shoulder"], 0] += np.arange(9)
    found = keypoint_features(clips_of(tmp_path / "clips", [pose]), 5)
    np.testing.assert_allclose(found[0], slow_features(pose[0], 5), atol=1e-5)


def test_neither_place_nor_size_nor_a_walk_of_the_whole_body_counts(tmp_path: Path) -> None:
    pose = person(0)
    nearer, walking = pose.copy(), pose.copy()
    nearer[..., :2] = pose[..., :2] * 3 + [100, -20]
    walking[..., :2] += np.linspace(0, 40, 9, dtype=np.float32)[None, :, None, None]
    one, two, three = keypoint_features(clips_of(tmp_path / "clips", [pose, nearer, walking]), 4)
    np.testing.assert_allclose(two, one, atol=1e-4)
    joints = len(COCO)
    places = [row[: 4 * (joints + 1) * 2].reshape(4, joints + 1, 2) for row in (one, three)]
    np.testing.assert_allclose(places[1][:, :joints], places[0][:, :joints], atol=1e-4)
    assert places[1][-1, joints, 0] > places[1][0, joints, 0] + 1  # which is a point of its own


def test_the_person_seen_best_counts_and_nobody_is_zero(tmp_path: Path) -> None:
    pose, other = person(0), person(1)
    other[..., 2] = 0.3
    both = np.concatenate([other, pose])
    clips = clips_of(tmp_path / "clips", [pose, both, np.full_like(pose, np.nan)])
    one, two, nobody = keypoint_features(clips)
    assert (one == two).all()
    assert len(nobody) == len(one)
    assert (nobody == 0).all()
    assert main_person(np.full((2, 3, 17, 3), np.nan)) is None
    assert keypoint_features(clips.select([])).shape == (0, len(one))


def test_a_body_from_the_side_unseen_in_between_or_without_shoulders() -> None:
    pose = person(0)[0]
    pose[:, JOINT["left_shoulder"], :2] = [50, 40]  # from the side: a point; the trunk is 30 long
    pose[:, JOINT["right_shoulder"], :2] = [50, 40]
    pose[:, [JOINT["left_hip"], JOINT["right_hip"]], :2] = [50, 70]
    assert find_body(pose, COCO).size == pytest.approx(20)

    pose = person(0)[0]
    pose[:, JOINT["left_shoulder"], 0] += 10 * np.arange(9)
    pose[:, JOINT["right_shoulder"], 0] += 10 * np.arange(9)
    pose[3:6, JOINT["right_shoulder"]] = np.nan
    found = find_body(pose, COCO)
    np.testing.assert_allclose(found.centre[:, 0], 50 + 10 * np.arange(9))

    found = find_body(tiny_pose(0, seed=0)[0], TRIANGLE)
    assert (found.centre == found.centre[0]).all()
    assert found.size > 0
    empty = find_body(np.full((4, 17, 3), np.nan), COCO)
    assert (empty.centre == 0).all()
    assert empty.size == 1


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    return tiny_clips(tmp_path / "data" / "tiny", counts={"train": 6, "val": 2, "test": 3}, videos=False)


def without(clips: Clips, left_out: Any) -> Clips:
    return clips.with_splits(list(clips.table["split"].mask(left_out, "unused")), "some")


def test_trees_are_those_of_a_forest_grown_in_one_go(clips: Clips, tmp_path: Path) -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    run = extra_trees(clips, tmp_path / "run", trees=120, seed=3)
    train, test = clips.split("train"), clips.split("test")
    forest = ExtraTreesClassifier(120, max_features="sqrt", random_state=3)
    forest.fit(keypoint_features(train), train.labels)
    expected = forest.predict_proba(keypoint_features(test))
    np.testing.assert_allclose(run.predictions("test").scores(), expected, atol=1e-6)


def test_it_is_a_run_like_any_other(clips: Clips, tmp_path: Path) -> None:
    run = extra_trees(clips, trees=50)
    assert run.root == tmp_path / "runs" / "tiny-extra_trees"
    assert run.splits() == ["test", "val"]
    assert run.outputs == ("pose",)
    found = run.predictions("test")
    assert found.clip_ids == clips.split("test").ids
    moves = np.isin(found.labels, (1, 3))
    assert (np.isin(found.predicted(), (1, 3)) == moves).all()  # colours are not in the key-points
    table = mg.evaluate(run, "test", baseline=run)
    assert list(table.index) == ["pose", "majority", "extra_trees"]
    assert (table.loc["extra_trees"] == table.loc["pose"]).all()
    assert mg.analysis.confusions(run) is not None

    again = extra_trees(mg.load_clips(clips.root), trees=50)  # opened
    assert (again.root / "splits/test/predictions.parquet").stat().st_mtime_ns == (
        run.root / "splits/test/predictions.parquet"
    ).stat().st_mtime_ns
    other = extra_trees(clips, tmp_path / "other", trees=50)
    assert (other.predictions("test").scores() == found.scores()).all()
    assert len(mg.compare_runs([run, other])) == 2
    with pytest.raises(MgkitError, match="trees"):
        extra_trees(clips, trees=60)


def test_classes_without_a_training_clip_have_score_0(clips: Clips, tmp_path: Path) -> None:
    few = without(clips, (clips.table["split"] == "train") & (clips.labels == 2))
    scores = extra_trees(few, tmp_path / "run", trees=20).predictions("test").scores()
    assert (scores[:, 2] == 0).all()
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_evaluate_takes_the_baseline_of_the_same_clips_only(clips: Clips, tmp_path: Path) -> None:
    run = extra_trees(clips, tmp_path / "run", trees=20)
    predictions = run.predictions("test")
    shuffled = predictions.select(predictions.clip_ids[::-1])
    table = mg.evaluate(shuffled, baseline=run.root)
    assert table.loc["extra_trees", "top1"] == table.loc["pose", "top1"]
    part = without(clips, clips.table["clip_id"] == predictions.clip_ids[0])
    fewer = extra_trees(part, tmp_path / "fewer", trees=20)
    with pytest.raises(MgkitError, match="lacks 1 of 12 clips"):
        mg.evaluate(run, baseline=fewer)
    renamed = replace(clips, classes=type(CLASSES)(("a", "b", "c", "d")))
    with pytest.raises(MgkitError, match="other classes"):
        mg.evaluate(run, baseline=extra_trees(renamed, tmp_path / "renamed", trees=20))


def test_what_it_refuses(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="no split beside 'train'"):
        extra_trees(clips.split("train"), tmp_path / "run")
    same = without(clips, (clips.table["split"] == "train") & (clips.labels != 0))
    with pytest.raises(MgkitError, match="of one class"):
        extra_trees(same, tmp_path / "run")
    unposed = replace(clips, rows=Rows(clips.table.assign(pose_offset=-1)))
    with pytest.raises(MgkitError, match="no pose in "):
        extra_trees(unposed, tmp_path / "run")
    with pytest.raises(MgkitError, match="at least one"):
        extra_trees(clips, tmp_path / "run", trees=0)
    rows = [tiny_row(str(i), i % 4, split="train" if i < 4 else "val", frames=9) for i in range(8)]
    poses = [person(i) * (np.nan if i < 4 else 1) for i in range(8)]  # nobody in a training clip
    unseen = write_clip_folder(tmp_path / "unseen", rows, poses, CLASSES, COCO)
    with pytest.raises(MgkitError, match="no joint was seen in any clip of split 'train'"):
        extra_trees(unseen, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = extra_trees(clips, tmp_path / "run", trees=5)
    for call in (
        lambda: mg.test(run),
        lambda: mg.train(clips, mg.Recipe.from_dict(run.recipe), tmp_path / "x"),
    ):
        with pytest.raises(MgkitError, match="no network"):
            call()
