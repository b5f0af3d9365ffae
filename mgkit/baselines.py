"""Baselines without a network: the floor that a trained network has to beat.

On a few hundred clips a forest of trees on key-points is hard to beat, and a network that does not is not worth its
hours. A baseline is an ordinary run folder: tables, matrices and comparisons take it like any other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgkit.data.body import find_body, main_person
from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.data.splits import UNUSED
from mgkit.errors import MgkitError, counted, some
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, create_run, load_run, run_folder, write_predictions
from mgkit.results.run.records import Predictions
from mgkit.results.run.status import write_status

__all__ = ["extra_trees", "keypoint_features"]

Floats = npt.NDArray[np.float32]


def extra_trees(
    clips: Clips,
    root: str | Path | None = None,
    *,
    train_split: str = "train",
    moments: int = 16,
    trees: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> Run:
    """Train extremely randomised trees (Geurts et al., 2006) on key-points, and predict every other split.

    A few seconds to a minute. Nothing is tuned: no split but `train_split` is looked at.

    Args:
        clips: the clips; all must have poses.
        root: the run folder; by default `runs/<name>-extra_trees` beside the data, see `mg.run_folder`.
        train_split: the split to train on.
        moments: of the features, see `keypoint_features`.
        trees: how many; each split of a tree looks at the square root of the number of features.
        seed: of the trees.
        progress: show how far it is.

    Returns:
        A run with the pathway "pose", with predictions of each split but `train_split`. If the folder holds it already
        it is opened.

    Raises:
        MgkitError: no tree or moment, clips without a pose, fewer than two classes to train on, no split to predict, or
            a folder that holds something else.
    """
    from sklearn import __version__
    from sklearn.ensemble import ExtraTreesClassifier

    if moments < 1 or trees < 1:
        raise MgkitError(f"{moments} moments and {trees} trees: there must be at least one of each.")
    train = clips.split(train_split)
    others = [name for name in clips.splits if name not in (train_split, UNUSED)]
    if not others:
        raise MgkitError(
            f"{clips.root} has no split beside {train_split!r} to predict: make one with clips.with_splits or folds."
        )
    known = np.unique(train.labels)
    if len(known) < 2:
        raise MgkitError(
            f"all clips of split {train_split!r} of {clips.root} are of one class: there is nothing to tell apart."
        )
    for split in (train_split, *others):
        _check_poses(clips.split(split), split)
    if not train.has_seen_joint:
        raise MgkitError(
            f"no joint was seen in any clip of split {train_split!r} of {clips.root}, so the trees would learn from "
            "nothing: check the key-points (`mgkit show`)."
        )

    run = create_run(
        run_folder(clips, "extra_trees") if root is None else root,
        recipe={"baseline": "extra_trees", "moments": moments, "trees": trees},
        settings={"seed": seed, "train_split": train_split},
        clips=clips,
        pathways=("pose",),
        environment={"versions": {"scikit-learn": __version__}},
    )
    if run.status()["state"] == "finished" and set(others) <= set(run.splits()):
        return run
    forest = ExtraTreesClassifier(max_features="sqrt", n_jobs=-1, random_state=seed, warm_start=True)
    features = keypoint_features(train, moments, progress=progress)
    with Progress("extra trees", progress, unit="trees") as bar:
        for grown in range(0, trees, 50):  # a few at a time: they are those of one go
            more = min(50, trees - grown)
            forest.set_params(n_estimators=grown + more).fit(features, train.labels)
            bar.advance(more, trees)
    for split in others:
        part = clips.split(split)
        scores = np.zeros((len(part), len(clips.classes)), np.float32)  # 0 of a class without a training clip
        scores[:, known] = forest.predict_proba(keypoint_features(part, moments, progress=progress))
        predictions = Predictions(part.ids, part.labels, {"pose": scores}, classes=clips.classes)
        write_predictions(run.root, split, predictions, {"baseline": "extra_trees"})
    write_status(run.root, "finished", 0, 0)
    return load_run(run.root)


def keypoint_features(clips: Clips, moments: int = 16, *, progress: bool = False) -> Floats:
    """One row of numbers per clip: where its joints are, how they move, and how often they are seen.

    The person with the highest sum of scores counts. Joints are centred on the middle of the shoulders of each frame
    and scaled on the body (`data.body`), so that neither the camera's distance nor the seat nor a walk across the
    picture matters; where the shoulders go is a point of its own. All are taken at `moments` times spread over the
    clip, linearly between frames; a joint keeps its nearest known place before it is first and after it is last seen.
    Velocities are the change from each moment to the next, per frame: a fast gesture differs from a slow one, whatever
    the length of the clip.

    Args:
        clips: N clips with poses of V joints.
        moments: times per clip.
        progress: show how far it is.

    Returns:
        (N, F) float32 with F = 2 (V + 1) (2 * moments - 1) + V: places (moments, V + 1, 2) in shoulder widths, the
        shoulders' middle last, relative to its median; velocities (moments - 1, V + 1, 2) in shoulder widths per frame;
        and the share of frames in which each joint is seen, (V,). All of a joint that is never seen is 0.
    """
    bar = Progress("key-point features", progress)
    rows = [_features(clips.pose_at(place), clips.skeleton, moments) for place in bar.each(range(len(clips)))]
    length = 2 * (len(clips.skeleton) + 1) * (2 * moments - 1) + len(clips.skeleton)
    return np.stack(rows) if rows else np.zeros((0, length), np.float32)


def _features(keypoints: npt.NDArray[np.float32], skeleton: Skeleton, moments: int) -> Floats:
    frames, joints = keypoints.shape[1:3]
    places = np.zeros((moments, joints + 1, 2))
    seen = np.zeros((max(1, frames), joints), bool)
    if (person := main_person(keypoints)) is not None:
        points = keypoints[person]  # (T, V, 3)
        seen = ~np.isnan(points[..., :2]).any(-1)
        body = find_body(points, skeleton)
        centred = (points[..., :2] - body.centre[:, None]) / body.size
        way = (body.centre - np.median(body.centre, axis=0)) / body.size
        # The middle of each of `moments` equal parts of the clip, as a position between frames.
        when = (np.arange(moments) + 0.5) * frames / moments - 0.5
        for joint in range(joints + 1):
            there = np.flatnonzero(seen[:, joint]) if joint < joints else np.arange(frames)
            track = centred[there, joint] if joint < joints else way
            for axis in range(2 if len(there) else 0):
                places[:, joint, axis] = np.interp(when, there, track[:, axis])
    velocities = np.diff(places, axis=0) * (moments / max(1, frames))
    return np.concatenate([places.ravel(), velocities.ravel(), seen.mean(axis=0)]).astype(np.float32)


def _check_poses(clips: Clips, split: str) -> None:
    lacking = list(clips.table.loc[clips.table["pose_offset"] < 0, "clip_id"])
    if lacking:
        raise MgkitError(
            f"{clips.root}: no pose in {len(lacking)} of {counted(len(clips), 'clip')} of split {split!r} "
            f"({some(lacking, 3)}), and the baseline reads nothing else: prepare with poses, or make a split table "
            f"(clips.with_splits) in which these clips are {UNUSED!r}."
        )
