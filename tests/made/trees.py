"""Made recordings as the raw folders of iMiGUE, SMG and MA-52, in their on-disk formats.

The datasets are given out under agreements and cannot be shipped, so what reads them is tested on these: few, small and
short videos of the people of `mgkit.demo.dataset`, in the same files, columns, numberings and folders. Each `write_*`
returns what it wrote as a `Tree`, against which a reader can be checked.

    tree = write_imigue("imigue")            # or write_smg, write_ma52
    tree.clips[0].clip_id, tree.clips[0].label, tree.poses["0001"].shape
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mgkit.data.skeletons import KINECT25, MA52_28, OPENPOSE137
from mgkit.data.video import write_video
from mgkit.demo.gestures import CLASS_SETS
from mgkit.demo.motion import FPS
from mgkit.errors import MgkitError
from mgkit.files import atomic
from tests.made.tree_parts import (
    LABEL_STREAM,
    Made,
    Tree,
    TreeClip,
    Video,
    frame_shape,
    make,
    new_folder,
    numbers,
    seen,
    tree,
    write_lines,
    write_sheet,
)

# Classes of iMiGUE without a single clip in its validation split.
NOT_IN_VAL = (0, 4, 5, 9, 12, 13, 24, 27, 29)
# What iMiGUE writes for its last class; the others are written one higher than their label.
_RAW_NON_GESTURE = 99
_LEGS = tuple(
    i
    for i, joint in enumerate(OPENPOSE137.joints[:25])
    if any(part in joint for part in ("hip", "knee", "ankle", "toe", "heel"))
)
# Rows of the 137 that are in a light file: the body, then the tips of the left and of the right hand.
_LIGHT_ROWS = [*range(25), *range(99, 116, 4), *range(120, 137, 4)]


# --- iMiGUE ---------------------------------------------------------------------------------------------------------

# Folders of skeletons and of videos by split, below the root; the organisers rename them from year to year.
IMIGUE_TOPS: dict[str, dict[str, tuple[str, str]]] = {
    "phases": {
        "train": ("imigue_data_phase1/datasets/imigue_skeleton_train", "imigue_rgb_phase1/train_data"),
        "val": ("imigue_data_phase1/datasets/imigue_skeleton_validate", "imigue_rgb_phase1/validation_data"),
        "test": ("imigue_data_phase2/imigue_skeleton_test", "imigue_rgb_phase2"),
    },
    "renamed": {
        "train": ("iMiGUE_Skeleton_Phase1/imigue_skeleton_train", "iMiGUE_RGB_Phase1/imigue_rgb_train"),
        "val": ("iMiGUE_Skeleton_Phase1/imigue_skeleton_validate", "iMiGUE_RGB_Phase1/imigue_rgb_validate"),
        "test": ("IMIGUE2026_SKELETON/imigue_skeleton_test", "IMIGUE2026_RGB"),
    },
}


def write_imigue(
    out: str | Path,
    *,
    train: int = 3,
    val: int = 1,
    test: int = 1,
    gestures: int = 4,
    size: int = 90,
    poses: Sequence[str] = ("openpose", "light_hand"),
    tops: str = "phases",
    seed: int = 0,
    workers: int | None = 1,
) -> Tree:
    """Write an iMiGUE tree: `<VVVV>.mp4`, `<VVVV>_label.csv`, `<VVVV>_openpose.xlsx` and `<VVVV>_light_hand.csv`.

    As in the original: whole videos at 25 fps; labels without header, `raw_class,start,end`, the end inclusive, raw 99
    for the last class, and classes that mean nothing in the test split; 411 columns of OpenPose without legs; light
    files whose blocks of finger tips stand now in one order, now in the other; the subjects of val are also in train,
    those of test are not. Which subject is in which video stands in no file. The poses of the tree are those of
    `openpose137`, or of `light_hand35` where no others are written.

    Args:
        out: a new folder.
        train, val, test: videos of each split.
        gestures: clips a video.
        size: height of the videos in pixels, even, at least 64; 720 in the original.
        poses: `"openpose"`, `"light_hand"` or both.
        tops: `"phases"` or `"renamed"`, see `IMIGUE_TOPS`.
        seed: of everything.
        workers: processes; None = one a core.
    """
    if tops not in IMIGUE_TOPS or not poses or set(poses) - {"openpose", "light_hand"}:
        raise MgkitError(f"tops is one of {', '.join(IMIGUE_TOPS)}, poses some of openpose and light_hand.")
    root = new_folder(out, size, seed, train, val, test, gestures - 1)
    rng = np.random.default_rng([seed, LABEL_STREAM])
    last = len(CLASS_SETS["imigue32"]) - 1
    counts = {"train": train, "val": val, "test": test}
    people = max(1, (train + 1) // 2)
    jobs: list[Video] = []
    for split, count in counts.items():
        for number in range(count):
            index = len(jobs)
            key = f"{index + 1:04d}"
            # The last class comes in every video and makes up the most of all clips.
            known = [c for c in range(last) if split != "val" or c not in NOT_IN_VAL]
            labels = [int(c) for c in rng.choice(known, gestures)]
            labels[int(rng.integers(gestures))] = last
            person = number % people if split != "test" else people + number
            skeletons, videos = (root / top / key for top in IMIGUE_TOPS[tops][split])
            files = {"video": videos / f"{key}.mp4", "labels": skeletons / f"{key}_label.csv"}
            if "openpose" in poses:
                files["openpose"] = skeletons / f"{key}_openpose.xlsx"
            if "light_hand" in poses:
                files["light_hand"] = skeletons / f"{key}_light_hand.csv"
            jobs.append(Video("imigue32", key, split, person, tuple(labels), index, seed, size, files))
    made = make(_imigue_video, jobs, workers)
    clips = [
        TreeClip(f"{job.key}_{row}", job.split, job.key, label, f"S{job.person:02d}", start, end)
        for job in jobs
        for row, (label, (start, end)) in enumerate(zip(job.labels, made[job.key].spans, strict=True))
    ]
    return tree(root, jobs, made, clips, size)


def _imigue_video(job: Video, stopped: Callable[[], bool]) -> Made:
    rng = job.rng()
    recording = job.record(rng)
    write_video(job.files["video"], recording.frames(), FPS)
    points = seen(recording, OPENPOSE137, rng)
    points[:, _LEGS] = 0.0  # under the table
    # Both are drawn whatever is written, so that one kind of file does not change the other.
    hidden_classes = rng.integers(1, len(CLASS_SETS["imigue32"]), len(job.labels))
    swapped = np.zeros(len(points), dtype=np.bool_)
    turns = np.sort(rng.integers(0, len(points), 2))
    swapped[turns[0] : turns[1]] = True
    swapped ^= job.index % 2 == 0
    raw = [
        _RAW_NON_GESTURE if label == len(CLASS_SETS["imigue32"]) - 1 else label + 1 for label in job.labels
    ]
    if job.split == "test":
        raw = hidden_classes.tolist()
    rows = [f"{c},{start},{end - 1}" for c, (start, end) in zip(raw, recording.spans, strict=True)]
    write_lines(job.files["labels"], rows)
    light = points[:, _LIGHT_ROWS]
    if "openpose" in job.files:
        write_sheet(job.files["openpose"], points.reshape(len(points), -1))
    if "light_hand" in job.files:
        written = light.copy()
        written[swapped, 25:30], written[swapped, 30:35] = light[swapped, 30:35], light[swapped, 25:30]
        write_lines(
            job.files["light_hand"],
            [f"{t},{numbers(row)}" for t, row in enumerate(written.reshape(len(points), -1))],
        )
    return Made(job.key, recording.spans, points if "openpose" in job.files else light)


# --- SMG ------------------------------------------------------------------------------------------------------------


def write_smg(
    out: str | Path,
    *,
    train: int = 3,
    test: int = 1,
    gestures: int = 4,
    size: int = 90,
    first_frame: int = 0,
    split_folders: bool = True,
    seed: int = 0,
    workers: int | None = 1,
) -> Tree:
    """Write an SMG tree: `Sample<NNNN>/Sample<NNNN>_color.mp4`, `_skeleton.csv` and `_finelabels.csv`.

    A row of a skeleton file is 25 joints of the Kinect v2 x 11 numbers: x, y, z in metres, a quaternion, x, y in pixels
    of the video, two that are unused; zeros where a joint is not seen. Labels are `class,start,end` with classes 1 to
    17 and the end inclusive. Every sample has its own subject. A quaternion turns in the plane of the picture
    only, and depths are those that foreshortened arms suggest.

    Args:
        out: a new folder.
        train, test: samples of each split.
        gestures: clips a sample.
        size: height of the videos in pixels, even, at least 64.
        first_frame: number of the first frame in the labels, 0 or 1.
        split_folders: samples stand below `train` and `test`, else side by side, and no file says which is which.
        seed, workers: as in `write_imigue`.
    """
    if first_frame not in (0, 1):
        raise MgkitError(f"the first frame has number {first_frame}: give 0 or 1.")
    root = new_folder(out, size, seed, train, test, gestures - 1)
    rng = np.random.default_rng([seed, LABEL_STREAM])
    jobs: list[Video] = []
    for split, count in {"train": train, "test": test}.items():
        for _ in range(count):
            index = len(jobs)
            key = f"Sample{index + 1:04d}"
            folder = root / split / key if split_folders else root / key
            kinds = {"video": "color.mp4", "poses": "skeleton.csv", "labels": "finelabels.csv"}
            files = {kind: folder / f"{key}_{ending}" for kind, ending in kinds.items()}
            labels = tuple(int(c) for c in rng.integers(0, len(CLASS_SETS["smg17"]), gestures))
            jobs.append(Video("smg17", key, split, index, labels, index, seed, size, files))
    made = make(_smg_video, jobs, workers)
    clips = []
    for job in jobs:
        spans = made[job.key].spans
        rows = [
            f"{label + 1},{start + first_frame},{end - 1 + first_frame}"
            for label, (start, end) in zip(job.labels, spans, strict=True)
        ]
        write_lines(job.files["labels"], rows)
        clips += [
            TreeClip(f"{job.key}_{row}", job.split, job.key, label, f"S{job.person:02d}", start, end)
            for row, (label, (start, end)) in enumerate(zip(job.labels, spans, strict=True))
        ]
    return tree(root, jobs, made, clips, size)


def _smg_video(job: Video, stopped: Callable[[], bool]) -> Made:
    rng = job.rng()
    recording = job.record(rng)
    write_video(job.files["video"], recording.frames(), FPS)
    points = seen(recording, KINECT25, rng)
    unit = 0.01 / recording.camera.zoom  # metres a pixel in the plane of the torso, which is two metres away
    world = np.empty((*points.shape[:2], 3))
    world[..., :2] = (points[..., :2] - recording.camera.centre) * (unit, -unit)
    world[..., 2] = 2.0 - recording.depth(KINECT25) * unit
    bone = points[..., :2] - points[:, KINECT25.parents, :2]
    half = np.arctan2(-bone[..., 1], bone[..., 0]) / 2
    rows = np.zeros((*points.shape[:2], 11))
    rows[..., :3], rows[..., 5], rows[..., 6] = world, np.sin(half), np.cos(half)
    rows[..., 7:9] = points[..., :2]
    rows[points[..., 2] == 0] = 0.0
    write_lines(job.files["poses"], [numbers(row) for row in rows.reshape(len(rows), -1)])
    points[..., 2] = points[..., 2] > 0  # the file has no scores
    return Made(job.key, recording.spans, points)


# --- MA-52 ----------------------------------------------------------------------------------------------------------


def write_ma52(
    out: str | Path,
    *,
    train: int = 6,
    val: int = 2,
    test: int = 2,
    size: int = 90,
    seed: int = 0,
    workers: int | None = 1,
) -> Tree:
    """Write an MA-52 tree: `<split>/<SSSS_VV_NNNN>.mp4`, `<split>_list_videos.txt` and `MA52_<split>.pkl`.

    Names are subject, video of the subject and instance. Lists hold `name.mp4 label`, pickles are in the PYSKL layout
    with the 28 points of `ma52_28`; in the test split all labels are 0. Subjects of the splits are different people.
    A key of the tree is a name without ending.

    Args:
        out: a new folder.
        train, val, test: clips of each split.
        size: height of the videos in pixels, even, at least 64.
        seed, workers: as in `write_imigue`.
    """
    root = new_folder(out, size, seed, train, val, test)
    rng = np.random.default_rng([seed, LABEL_STREAM])
    jobs: list[Video] = []
    first = 1
    for split, count in {"train": train, "val": val, "test": test}.items():
        people = max(1, count // 3)
        for number in range(count):
            person = first + number % people
            key = f"{person:04d}_{1 + number % 2:02d}_{1 + number // people:04d}"
            files = {"video": root / split / f"{key}.mp4"}
            label = int(rng.integers(len(CLASS_SETS["ma52"])))
            jobs.append(Video("ma52", key, split, person, (label,), len(jobs), seed, size, files))
        first += people
    made = make(_ma52_video, jobs, workers)
    for split in dict.fromkeys(job.split for job in jobs):
        chosen = [job for job in jobs if job.split == split]
        shown = {job.key: job.labels[0] if split != "test" else 0 for job in chosen}
        write_lines(root / f"{split}_list_videos.txt", [f"{key}.mp4 {label}" for key, label in shown.items()])
        annotations = [
            {
                "frame_dir": key,
                "label": label,
                "total_frames": len(made[key].poses),
                "img_shape": frame_shape(size),
                "original_shape": frame_shape(size),
                "keypoint": made[key].poses[None, ..., :2].astype(np.float32),
                "keypoint_score": made[key].poses[None, ..., 2].astype(np.float32),
            }
            for key, label in shown.items()
        ]
        with atomic(root / f"MA52_{split}.pkl") as temporary, temporary.open("wb") as file:
            pickle.dump({"split": {split: list(shown)}, "annotations": annotations}, file, protocol=4)
    clips = [TreeClip(j.key, j.split, j.key, j.labels[0], j.key[:4], 0, len(made[j.key].poses)) for j in jobs]
    return tree(root, jobs, made, clips, size)


def _ma52_video(job: Video, stopped: Callable[[], bool]) -> Made:
    rng = job.rng()
    recording = job.record(rng)
    write_video(job.files["video"], recording.frames(), FPS)
    return Made(job.key, recording.spans, seen(recording, MA52_28, rng))
