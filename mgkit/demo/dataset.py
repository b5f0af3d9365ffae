"""The embedded dataset: animated, rendered people at a table, with key-points as an estimator sees them.

It stands in for the field's datasets, which may not be redistributed, and is built so that neither pictures nor
key-points alone suffice. By default eight classes of iMiGUE are used; they differ as follows.

| class            | place        | movement        | picture                | separable by                  |
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
hardly show their tempo and 32 frames of key-points do. They also spread the fingers differently, by about three pixels
at the tips, which is visible in key-points and hardly in a small picture: a network then learns the tempo within a few
epochs instead of many. Two classes that differ in the picture have the same joints for the same seed, and the faults
of the key-points never depend on the picture. With balanced classes a perfect reader of pictures is right on 6 of 8
clips (it guesses within two pairs), so is a perfect reader of key-points, and one that reads both is right on all.

    raw = write_raw("data/demo-raw")          # videos/*.mp4, annotations.pkl, annotations.meta.json, dataset.json

All 32 classes of iMiGUE (`classes="imigue32"`, or any of its names), the 17 of SMG (`"smg17"`) and the 52 of MA-52
(`"ma52"`) come in such families too: 16 of iMiGUE's 32 have a twin with the same joints, 12 one with the same picture.
`tail`, `faults` and `variety` make the task as skewed, noisy and varied as desired; the defaults never change.

A clip is drawn by `people` (who), `gestures` (what they do; add a class there), `motion` (how they move), `figure` and
`scene` (what a camera sees) and `estimator` (what a pose estimator sees). `recording` films somebody for minutes.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.skeletons import IMIGUE22
from mgkit.data.video import write_video
from mgkit.demo.estimator import observe
from mgkit.demo.gestures import GESTURES, gestures_of
from mgkit.demo.motion import FPS, clip_length, joints, move
from mgkit.demo.people import Subject, make_subject, vary
from mgkit.demo.scene import Frames, make_camera, render
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, read_json, write_json
from mgkit.parallel import cores, run_jobs
from mgkit.progress import Progress

__all__ = ["DEMO_CLASSES", "ClipPlan", "MadeClip", "make_clip", "plan_clips", "write_raw"]

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

SPLITS = ("train", "val", "test")
_CLIPS_PER_SUBJECT = {"train": 16, "val": 16, "test": 20}


@dataclass(frozen=True)
class ClipPlan:
    """Plan of one clip: enough to make it anywhere, on its own."""

    clip_id: str
    split: str
    label: int
    gesture: str
    subject: int  # number of the subject, from 1
    index: int  # number of the clip within its split
    size: int
    seed: int
    faults: float = field(default=1.0, repr=False)
    variety: float = field(default=1.0, repr=False)


def plan_clips(
    classes: str | Sequence[str] = DEMO_CLASSES,
    *,
    train: int = 400,
    val: int = 100,
    test: int = 200,
    size: int = 128,
    seed: int = 0,
    imbalance: float = 2.5,
    tail: float | None = None,
    faults: float = 1.0,
    variety: float = 1.0,
) -> list[ClipPlan]:
    """Plan every clip for the arguments of `write_raw`; nothing is drawn or written."""
    classes = [gesture.name for gesture in gestures_of(classes)]
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise MgkitError("the embedded dataset needs two or more different classes.")
    if min(train, val, test) < 0 or train < len(classes):
        raise MgkitError(
            f"{train} training, {val} validation and {test} test clips were asked for: "
            f"give {len(classes)} or more for training (one per class) and 0 or more for the others."
        )
    if size < 64 or size % 2:
        raise MgkitError(f"frames {size} pixels high were asked for: give an even number of 64 or more.")
    for name, ratio in (("imbalance", imbalance), ("tail", 1.0 if tail is None else tail)):
        if not ratio >= 1 or not math.isfinite(ratio):
            raise MgkitError(f"the {name} is {ratio}: give 1 (all classes alike) or more.")
    if not faults >= 0 or not math.isfinite(faults):
        raise MgkitError(f"faults is {faults}: give 0 (key-points without any) or more, 1 = as usual.")
    if not 0 <= variety <= 3:
        raise MgkitError(f"the variety is {variety}: give 0 (all subjects of one build) to 3, 1 = as usual.")
    if seed < 0:
        raise MgkitError(f"the seed is {seed}: give 0 or more.")
    plans: list[ClipPlan] = []
    first = 1
    for code, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
        people = max(1, round(count / _CLIPS_PER_SUBJECT[split])) if count else 0
        if tail is None:
            shares = _shares(count, len(classes), imbalance)
        else:
            shares = _power_law(count, len(classes), tail, at_least=int(split == "train"))
        labels = np.repeat(np.arange(len(classes)), shares)
        rng = np.random.default_rng([seed, code])
        # Subjects take turns through the classes, so that everyone does a bit of everything.
        subjects = np.tile(rng.permutation(people), count // max(1, people) + 1)[:count]
        order = rng.permutation(count)
        plans += [
            ClipPlan(
                f"{_subject_name(first + int(subjects[i]))}_{split}{at:04d}",
                split,
                int(labels[i]),
                classes[labels[i]],
                first + int(subjects[i]),
                at,
                size,
                seed,
                faults,
                variety,
            )
            for at, i in enumerate(order)
        ]
        first += people
    return plans


def _shares(count: int, classes: int, imbalance: float) -> list[int]:
    """Clips of each class: a geometric tail from the last class down to the first, adding up to `count`."""
    weights = imbalance ** np.linspace(0.0, 1.0, classes)
    ends = np.round(np.cumsum(weights) / weights.sum() * count).astype(int)
    return [int(n) for n in np.diff(ends, prepend=0)]


def _power_law(count: int, classes: int, ratio: float, at_least: int) -> list[int]:
    """Clips of each class: the k-th most frequent, from the last to the first, has a share of k ** -a of the last's."""
    exponent = math.log(ratio) / math.log(classes)
    weights = np.arange(classes, 0, -1, dtype=np.float64) ** -exponent
    spare = count - at_least * classes
    ends = np.round(np.cumsum(weights) / weights.sum() * spare).astype(int)
    return [at_least + int(n) for n in np.diff(ends, prepend=0)]


FORMAT = 2
_SUBJECT_STREAM = 1_000_003  # keeps the random numbers of subjects apart from those of clips


@dataclass(frozen=True)
class MadeClip:
    """One drawn clip: the content of a PYSKL annotation, and the true joints.

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
    classes: str | Sequence[str] = DEMO_CLASSES,
    train: int = 400,
    val: int = 100,
    test: int = 200,
    size: int = 128,
    seed: int = 0,
    imbalance: float = 2.5,
    tail: float | None = None,
    faults: float = 1.0,
    variety: float = 1.0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a raw dataset as a researcher would have it; resume one that was interrupted.

    Layout: `videos/<clip_id>.mp4` (25 frames per second), `annotations.pkl` (PYSKL layout, plus `subject`),
    `annotations.meta.json` (class names, groups, layout of the joints) and, last, `dataset.json` (the arguments).
    Subjects of train, val and test are different people. The same arguments give the same dataset on any machine
    with the same library versions, whatever the number of workers.

    Args:
        out: folder to write, created if absent. A complete dataset of the same arguments is left as it is.
        classes: class names in label order, of `mgkit.demo.gestures.GESTURES`, or the name of a whole set:
            `"imigue32"`, `"smg17"` or `"ma52"`.
        train: clips of the training split.
        val: clips of the validation split; 0 = there is none.
        test: clips of the test split; 0 = there is none.
        size: height of the frames in pixels, even, at least 64; they are a quarter wider.
        seed: of everything, 0 or more.
        imbalance: clips of the most frequent class (the last) to those of the rarest (the first), at least 1; the
            classes between lie on a geometric curve.
        tail: the same number for a power law instead, which has one or two frequent classes and a long tail of rare
            ones, as in real data: 3765 is that of iMiGUE. Every class has at least one training clip.
        faults: how much worse the key-points are than usual, as a factor on every fault; 0 = the true joints.
        variety: how much more than usual the subjects differ in build, tempo, camera and light, 0 to 3.
        workers: processes; None = one per core, 1 = this process alone.
        progress: show a text bar on stderr.

    Returns:
        `out`, which `mgkit prepare` reads.

    Raises:
        MgkitError: an argument is out of range, a class is unknown, or `out` holds something else.
    """
    out = Path(out)
    gestures = gestures_of(classes)
    names = [gesture.name for gesture in gestures]
    arguments: dict[str, Any] = {
        "train": train, "val": val, "test": test, "size": size, "seed": seed, "imbalance": imbalance,
        "tail": tail, "faults": faults, "variety": variety,
    }  # fmt: skip
    plans = plan_clips(names, **arguments)
    arguments = {"format": FORMAT, "classes": names, **arguments}
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
    if workers is None:  # drawing takes the time: a process is worth it for 16 clips or more
        workers = min(cores(), max(1, len(missing) // 16))
    with Progress("making clips", progress) as bar:
        for (plan, _), clip in run_jobs(_make_and_write, jobs, workers):
            made[plan.clip_id] = clip
            bar.advance(1, len(jobs))
    annotations = []
    for plan in plans:
        clip = made[plan.clip_id]
        annotations.append(
            {
                "frame_dir": plan.clip_id,
                "label": plan.label,
                "total_frames": len(clip.keypoint),
                "img_shape": clip.shape,
                "original_shape": clip.shape,
                "keypoint": _one_person(clip.keypoint),
                "keypoint_score": _one_person(clip.score),
                "subject": _subject_name(plan.subject),
            }
        )
    split = {name: [plan.clip_id for plan in plans if plan.split == name] for name in SPLITS}
    write_json(
        out / "annotations.meta.json",
        {
            "classes": names,
            "groups": [gesture.group for gesture in gestures],
            "non_gesture": next((i for i, g in enumerate(gestures) if g.group == "non-gesture"), None),
            "skeleton": IMIGUE22.name,
        },
    )
    with atomic(out / "annotations.pkl") as temporary, temporary.open("wb") as file:
        content = {"split": {name: ids for name, ids in split.items() if ids}, "annotations": annotations}
        pickle.dump(content, file, protocol=4)
    write_json(out / "dataset.json", {"complete": True, **arguments})
    return out


def make_clip(plan: ClipPlan, *, frames: bool = True) -> tuple[MadeClip, Frames | None]:
    """Make one clip of a plan: its key-points and, if asked for, its (T, H, W, 3) uint8 RGB frames."""
    subject = vary(_subject(plan.seed, plan.subject), plan.variety)
    # Separate streams: leaving the picture out changes nothing else.
    moving, filming, seeing, drawing = np.random.default_rng(
        [plan.seed, SPLITS.index(plan.split), plan.index]
    ).spawn(4)
    length = clip_length(moving)
    motion = move(GESTURES[plan.gesture], subject, length, moving)
    camera = make_camera(subject, plan.size, filming)
    truth = camera.project(joints(motion, subject))
    keypoint, score = observe(truth, motion.hidden, plan.size / 128.0, seeing, faults=plan.faults)
    picture = render(motion, subject, camera, drawing) if frames else None
    return MadeClip(keypoint, score, truth, (camera.height, camera.width)), picture


def _one_person(values: np.ndarray) -> np.ndarray:
    """(1, ...) float32. Not a view: an array from a worker has its own dtype object, which changes the pickle."""
    out = np.empty((1, *values.shape), dtype=np.float32)
    out[0] = values
    return out


def _subject_name(number: int) -> str:
    return f"S{number:02d}"


@lru_cache(maxsize=256)
def _subject(seed: int, number: int) -> Subject:
    return make_subject(_subject_name(number), np.random.default_rng([seed, _SUBJECT_STREAM, number]))


def _check_folder(out: Path, arguments: dict[str, Any]) -> bool:
    """True if `out` holds the complete dataset; a folder with anything else in it raises a `MgkitError`."""
    if out.exists() and not out.is_dir():
        raise MgkitError(f"{out} is a file: give a folder for the embedded dataset.")
    path = out / "dataset.json"
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise MgkitError(f"{out} is not empty and does not hold an embedded dataset: give a new folder.")
        return False
    there = read_json(path)
    there = there if isinstance(there, dict) else {}
    keys = dict.fromkeys([*arguments, *there])
    differ = [key for key in keys if key != "complete" and there.get(key) != arguments.get(key)]
    if differ:
        raise MgkitError(
            f"{out} holds an embedded dataset with another {some(differ)}: give a new folder, or remove it."
        )
    return bool(there.get("complete"))


def _make_and_write(job: tuple[ClipPlan, str | None], stopped: Callable[[], bool]) -> MadeClip:
    """Make one clip; write its video unless it is there already."""
    plan, video = job
    if stopped():
        raise KeyboardInterrupt
    clip, frames = make_clip(plan, frames=video is not None)
    if video is not None and frames is not None:
        write_video(video, frames, FPS)
    return clip
