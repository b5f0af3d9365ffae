"""A made micro-gesture dataset: animated, rendered people at a table, with key-points as an estimator sees them.

It stands in for the field's datasets, which may not be passed on, and is built so that neither pictures nor
key-points alone can win. Eight names of iMiGUE are used; they differ as follows.

| class            | place        | movement        | picture                | told by                       |
|------------------|--------------|-----------------|------------------------|-------------------------------|
| bite nails       | chin         | fast, 3-4 Hz    | hand in front          | pose only (from touch chin)   |
| touch chin       | chin         | slow, 0.5-0.9 Hz| hand in front          | pose only (from bite nails)   |
| touch neck       | side of neck | slow            | hand in front          | RGB only (from scratch back)  |
| scratch back     | side of neck | slow            | hand behind the body   | RGB only (from touch neck)    |
| rub hands        | both hands   | fast            | empty hands            | both (from the two below)     |
| cross fingers    | both hands   | slow            | empty hands            | pose only (from rub hands)    |
| play with things | both hands   | fast            | a bright thing in them | RGB only (from rub hands)     |
| illustrative     | in the air   | large and free  | one or two hands       | both; not a micro-gesture     |

Fast and slow movements have the same amplitude and the same distribution in any single frame, so that eight frames
hardly tell their tempo and 32 frames of key-points do. They also spread the fingers differently, by about three
pixels at the tips, which key-points show and a small picture hardly does: a network then finds the tempo within a few
epochs instead of many. Two classes that differ in the picture have the same joints for the same seed, and the faults
of the key-points never depend on the picture.
With balanced classes a perfect reader of pictures is right on 6 of 8 clips (it guesses within
two pairs), so is a perfect reader of key-points, and one that reads both is right on all.

    raw = write_raw("data/demo-raw")          # videos/*.mp4, annotations.pkl, annotations.meta.json, dataset.json

The modules: `synthetic_people` (who), `synthetic_motion` (what they do; add a class there), `synthetic_figure` and
`synthetic_scene` (what a camera sees), `synthetic_estimator` (what a pose estimator sees).
"""

from __future__ import annotations

import math
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.skeletons import IMIGUE22
from mgkit.data.synthetic_estimator import observe
from mgkit.data.synthetic_gestures import GESTURES
from mgkit.data.synthetic_joints import joints
from mgkit.data.synthetic_motion import FPS, clip_length, move
from mgkit.data.synthetic_people import Subject, make_subject
from mgkit.data.synthetic_scene import Frames, make_camera, render
from mgkit.data.video import write_video
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, read_json, write_json
from mgkit.progress import live
from mgkit.progress import out as bar_file

# In the order of iMiGUE. The classes grow more frequent along the list, and those that are easily mixed up are
# neighbours, so that being frequent does not give a pair away.
DEMO_CLASSES: tuple[str, ...] = (
    "bite nails",
    "touch chin",
    "touch neck",
    "scratch back",
    "rub hands",
    "cross fingers",
    "play with things",
    "illustrative",
)

FORMAT = 1
_SPLITS = ("train", "val", "test")
_CLIPS_A_SUBJECT = {"train": 16, "val": 16, "test": 20}
_SUBJECT_STREAM = 1_000_003  # keeps the random numbers of subjects apart from those of clips


@dataclass(frozen=True)
class ClipPlan:
    """What one clip is to be: enough to make it anywhere, alone."""

    clip_id: str
    split: str
    label: int
    gesture: str
    subject: int  # number of the subject, from 1
    index: int  # number of the clip within its split
    size: int
    seed: int


@dataclass(frozen=True)
class MadeClip:
    """One made clip: what a PYSKL annotation holds, and the true joints behind it.

    Attributes:
        keypoint: (T, 22, 2) float32 pixels, 0 where not seen.
        score: (T, 22) float32 in [0, 1], 0 where not seen.
        truth: (T, 22, 2) float64 pixels without faults.
        shape: (height, width) of the frames.
    """

    keypoint: np.ndarray
    score: np.ndarray
    truth: np.ndarray
    shape: tuple[int, int]


def write_raw(
    out: str | Path,
    *,
    classes: Sequence[str] = DEMO_CLASSES,
    train: int = 400,
    val: int = 100,
    test: int = 200,
    size: int = 128,
    seed: int = 0,
    imbalance: float = 2.5,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a raw dataset as a researcher would have it; continue one that was interrupted.

    Layout: `videos/<clip_id>.mp4` (25 frames per second), `annotations.pkl` (PYSKL layout, plus `subject`),
    `annotations.meta.json` (class names, groups, layout of the joints) and, last, `dataset.json` (the arguments).
    Subjects of train, val and test are different people. The same arguments give the same dataset on any machine
    with the same library versions, whatever the number of workers.

    Args:
        out: folder to write; made if absent. A complete dataset of the same arguments is left as it is.
        classes: class names in label order, of `mgkit.data.synthetic_motion.GESTURES`.
        train: clips of the training split.
        val: clips of the validation split; 0 = there is none.
        test: clips of the test split; 0 = there is none.
        size: height of the frames in pixels, even, at least 64; they are a quarter wider.
        seed: of everything, 0 or more.
        imbalance: clips of the most frequent class (the last) to those of the rarest (the first), at least 1.
        workers: processes; None = one a core, 1 = this process alone.
        progress: show a text bar on stderr.

    Returns:
        `out`, which `mgkit prepare` reads.

    Raises:
        MgkitError: an argument is out of range, a class is unknown, or `out` holds something else.
    """
    out = Path(out)
    arguments = {
        "format": FORMAT,
        "classes": list(classes),
        "train": train,
        "val": val,
        "test": test,
        "size": size,
        "seed": seed,
        "imbalance": imbalance,
    }
    plans = plan_clips(classes, train=train, val=val, test=test, size=size, seed=seed, imbalance=imbalance)
    videos = out / "videos"
    complete = _check_folder(out, arguments)
    missing = {plan.clip_id for plan in plans if not (videos / f"{plan.clip_id}.mp4").is_file()}
    if complete and not missing and (out / "annotations.pkl").is_file():
        return out
    write_json(out / "dataset.json", {"complete": False, **arguments})
    made: dict[str, MadeClip] = {}
    jobs = [
        (plan, str(videos / f"{plan.clip_id}.mp4") if plan.clip_id in missing else None) for plan in plans
    ]
    for clip_id, clip in _run(jobs, workers, progress):
        made[clip_id] = clip
    annotations = [
        {
            "frame_dir": plan.clip_id,
            "label": plan.label,
            "total_frames": len(made[plan.clip_id].keypoint),
            "img_shape": made[plan.clip_id].shape,
            "original_shape": made[plan.clip_id].shape,
            "keypoint": _one_person(made[plan.clip_id].keypoint),
            "keypoint_score": _one_person(made[plan.clip_id].score),
            "subject": _subject_name(plan.subject),
        }
        for plan in plans
    ]
    split = {name: [plan.clip_id for plan in plans if plan.split == name] for name in _SPLITS}
    write_json(
        out / "annotations.meta.json",
        {
            "classes": list(classes),
            "groups": [GESTURES[name].group for name in classes],
            "non_gesture": classes.index("illustrative") if "illustrative" in classes else None,
            "skeleton": IMIGUE22.name,
        },
    )
    with atomic(out / "annotations.pkl") as temporary, temporary.open("wb") as file:
        content = {"split": {name: ids for name, ids in split.items() if ids}, "annotations": annotations}
        pickle.dump(content, file, protocol=4)
    write_json(out / "dataset.json", {"complete": True, **arguments})
    return out


def plan_clips(
    classes: Sequence[str] = DEMO_CLASSES,
    *,
    train: int = 400,
    val: int = 100,
    test: int = 200,
    size: int = 128,
    seed: int = 0,
    imbalance: float = 2.5,
) -> list[ClipPlan]:
    """Who does what in which clip, for the arguments of `write_raw`; nothing is drawn or written."""
    unknown = [name for name in classes if name not in GESTURES]
    if unknown:
        raise MgkitError(f"there is no made gesture {some(unknown)}: use some of {some(GESTURES, 40)}.")
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise MgkitError("the made dataset needs two or more different classes.")
    if min(train, val, test) < 0 or train < len(classes):
        raise MgkitError(
            f"{train} training, {val} validation and {test} test clips were asked for: "
            f"give {len(classes)} or more for training (one a class) and 0 or more for the others."
        )
    if size < 64 or size % 2:
        raise MgkitError(f"frames {size} pixels high were asked for: give an even number of 64 or more.")
    if not imbalance >= 1 or not math.isfinite(imbalance):
        raise MgkitError(f"the imbalance is {imbalance}: give 1 (all classes alike) or more.")
    if seed < 0:
        raise MgkitError(f"the seed is {seed}: give 0 or more.")
    plans: list[ClipPlan] = []
    first = 1
    for code, (split, count) in enumerate(zip(_SPLITS, (train, val, test), strict=True)):
        people = max(1, round(count / _CLIPS_A_SUBJECT[split])) if count else 0
        labels = np.repeat(np.arange(len(classes)), _shares(count, len(classes), imbalance))
        rng = np.random.default_rng([seed, code])
        # Subjects take turns through the classes, so that everyone does a bit of everything.
        subjects = np.tile(rng.permutation(people), count // max(1, people) + 1)[:count]
        order = rng.permutation(count)
        plans += [
            ClipPlan(
                clip_id=f"S{first + int(subjects[i]):02d}_{split}{at:04d}",
                split=split,
                label=int(labels[i]),
                gesture=classes[int(labels[i])],
                subject=first + int(subjects[i]),
                index=at,
                size=size,
                seed=seed,
            )
            for at, i in enumerate(order)
        ]
        first += people
    return plans


def make_clip(plan: ClipPlan, *, frames: bool = True) -> tuple[MadeClip, Frames | None]:
    """Make one clip of a plan: its key-points and, if asked for, its (T, H, W, 3) uint8 RGB frames."""
    subject = _subject(plan.seed, plan.subject)
    # Separate streams: leaving the picture out changes nothing else.
    moving, filming, seeing, drawing = np.random.default_rng(
        [plan.seed, _SPLITS.index(plan.split), plan.index]
    ).spawn(4)
    length = clip_length(moving)
    motion = move(GESTURES[plan.gesture], subject, length, moving)
    camera = make_camera(subject, plan.size, filming)
    truth = camera.project(joints(motion, subject))
    keypoint, score = observe(truth, motion.hidden, plan.size / 128.0, seeing)
    picture = render(motion, subject, camera, drawing) if frames else None
    return MadeClip(keypoint, score, truth, (camera.height, camera.width)), picture


def _shares(count: int, classes: int, imbalance: float) -> list[int]:
    """Clips of each class: a geometric tail from the last class down to the first, adding up to `count`."""
    weights = imbalance ** np.linspace(0.0, 1.0, classes)
    ends = np.round(np.cumsum(weights) / weights.sum() * count).astype(int)
    return [int(n) for n in np.diff(ends, prepend=0)]


def _one_person(values: np.ndarray) -> np.ndarray:
    """(1, ...) float32. Not a view: what a worker sends brings a dtype object along that changes the pickle's bytes."""
    out = np.empty((1, *values.shape), dtype=np.float32)
    out[0] = values
    return out


def _subject_name(number: int) -> str:
    return f"S{number:02d}"


@lru_cache(maxsize=256)
def _subject(seed: int, number: int) -> Subject:
    return make_subject(_subject_name(number), np.random.default_rng([seed, _SUBJECT_STREAM, number]))


def _check_folder(out: Path, arguments: dict[str, Any]) -> bool:
    """Whether `out` holds the complete dataset; a folder with anything else in it raises a `MgkitError`."""
    if out.exists() and not out.is_dir():
        raise MgkitError(f"{out} is a file: give a folder for the made dataset.")
    path = out / "dataset.json"
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise MgkitError(f"{out} is not empty and holds no made dataset: give a new folder.")
        return False
    there = read_json(path)
    differ = [key for key in arguments if not isinstance(there, dict) or there.get(key) != arguments[key]]
    if differ:
        raise MgkitError(
            f"{out} holds a made dataset with another {some(differ)}: give a new folder or remove it."
        )
    return bool(there.get("complete"))


# --- processes ------------------------------------------------------------------------------------------------------


def _make_and_write(plan: ClipPlan, video: str | None) -> tuple[str, MadeClip]:
    """Make one clip; write its video unless it is there already."""
    clip, frames = make_clip(plan, frames=video is not None)
    if video is not None and frames is not None:
        write_video(video, frames, FPS)
    return plan.clip_id, clip


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)
    # An interrupt is the parent's to handle: it stops handing out clips, and what has begun is finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(
    jobs: Sequence[tuple[ClipPlan, str | None]], workers: int | None, progress: bool
) -> Iterator[tuple[str, MadeClip]]:
    """Make all clips in this process or several, in any order."""
    from tqdm import tqdm

    drawn = sum(video is not None for _, video in jobs)
    count = workers if workers is not None else min(_cores(), max(1, drawn // 16))
    if count < 1:
        raise MgkitError(f"{count} workers were asked for: give 1 or more, or None for one a core.")
    with tqdm(
        total=len(jobs),
        desc="making clips",
        unit="clip",
        mininterval=0.5,
        disable=not live(progress),
        file=bar_file(),
    ) as bar:
        if count == 1:
            for job in jobs:
                yield _make_and_write(*job)
                bar.update()
            return
        # Spawned, not forked: a notebook has threads (torch, the kernel) that a forked child would inherit locked.
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_start_worker)
        try:
            for future in as_completed([pool.submit(_make_and_write, *job) for job in jobs]):
                yield future.result()
                bar.update()
        except BrokenProcessPool:
            raise MgkitError(
                "a worker that makes clips died: give workers=1, or in a script call this below "
                "`if __name__ == '__main__':`; what is finished is kept."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


__all__ = ["DEMO_CLASSES", "ClipPlan", "MadeClip", "make_clip", "plan_clips", "write_raw"]
