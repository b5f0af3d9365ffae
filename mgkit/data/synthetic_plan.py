"""Who does what in which clip of the made dataset of `mgkit.data.synthetic`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mgkit.data.synthetic_gestures import gestures_of
from mgkit.errors import MgkitError

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
_CLIPS_A_SUBJECT = {"train": 16, "val": 16, "test": 20}


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
    """Who does what in which clip, for the arguments of `write_raw`; nothing is drawn or written."""
    classes = [gesture.name for gesture in gestures_of(classes)]
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise MgkitError("the made dataset needs two or more different classes.")
    if min(train, val, test) < 0 or train < len(classes):
        raise MgkitError(
            f"{train} training, {val} validation and {test} test clips were asked for: "
            f"give {len(classes)} or more for training (one a class) and 0 or more for the others."
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
        people = max(1, round(count / _CLIPS_A_SUBJECT[split])) if count else 0
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
                clip_id=f"S{first + int(subjects[i]):02d}_{split}{at:04d}",
                split=split,
                label=int(labels[i]),
                gesture=classes[int(labels[i])],
                subject=first + int(subjects[i]),
                index=at,
                size=size,
                seed=seed,
                faults=faults,
                variety=variety,
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
