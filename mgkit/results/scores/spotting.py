"""Segments from the scores of windows: smoothing, a threshold per class, joining, dropping; thresholds from validation.

A network that was trained on clips is asked about windows of an untrimmed video. What it answers becomes a table of
segments `video, start, end, class, score` (seconds), which `mgkit.results.stats.segments` scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.splits import is_test
from mgkit.data.table import Classes
from mgkit.errors import MgkitError, counted, meant, some
from mgkit.results.stats.segments import (
    NEAR,
    average_precision,
    f1,
    kappa,
    maximum_matching,
    mean_average_precision,
    overlaps,
    smg_f1,
    truth,
)  # fmt: skip

__all__ = [
    "Rule", "Windows", "average_precision", "choose", "f1", "kappa", "mean_average_precision", "smg_f1", "truth",
]  # fmt: skip

Doubles = npt.NDArray[np.float64]
COLUMNS = ["video", "start", "end", "class", "score"]
GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))  # thresholds that are tried
IOU = 0.3  # that of the MiGA challenge
FEWEST = 5  # segments from which a class gets a threshold of its own


@dataclass(frozen=True, eq=False)
class Windows:
    """Scores of the windows of one video.

    Args:
        video: its name, as in the table of true segments.
        times: (W,) seconds of the middle of each window, in any order. Windows of several lengths may have the same
            middle: their scores are averaged.
        scores: (W, K) probabilities in [0, 1].
        step: seconds from one middle to the next. Where windows are missing, the middles are further apart.
    """

    video: str
    times: Doubles
    scores: Doubles
    step: float

    def __post_init__(self) -> None:
        times, scores = np.asarray(self.times, np.float64), np.asarray(self.scores, np.float64)
        if times.ndim != 1 or scores.ndim != 2 or len(times) != len(scores):
            raise MgkitError(
                f"{self.video}: times of shape {times.shape} and scores of shape {scores.shape} do not go together: "
                "give (W,) and (W, K)."
            )
        if not self.step > 0 or not np.isfinite(times).all() or not np.isfinite(scores).all():
            raise MgkitError(f"{self.video}: step must be above 0, and times and scores finite numbers.")
        if scores.size and not 0 <= scores.min() <= scores.max() <= 1 + 1e-6:
            raise MgkitError(f"{self.video}: scores outside 0 to 1: give probabilities, not logits.")
        middles, group = np.unique(times, return_inverse=True)
        means = np.zeros((len(middles), scores.shape[1]))
        np.add.at(means, group, scores)
        means /= np.bincount(group, minlength=len(middles))[:, None]
        for name, value in (("times", middles), ("scores", means), ("step", float(self.step))):
            object.__setattr__(self, name, value)

    def smoothed(self, over: int) -> Doubles:
        """(W, K) moving means over so many windows around each; not across a gap where windows are missing."""
        reach = (over // 2 + 0.5) * self.step
        low = np.searchsorted(self.times, self.times - reach)
        high = np.searchsorted(self.times, self.times + reach)
        sums = np.concatenate([np.zeros((1, self.scores.shape[1])), np.cumsum(self.scores, axis=0)])
        return np.clip((sums[high] - sums[low]) / (high - low)[:, None], 0, 1)


@dataclass(frozen=True)
class Rule:
    """How windows become segments.

    The scores of each class are averaged over `smooth` windows. Each window stands for the `step` seconds around its
    middle. Windows at or above the threshold of a class are its segments, and their mean score is that of the segment.
    Segments of a class less than `join` seconds apart become one; what is then shorter than `shortest` is dropped.

    Args:
        names: K class names in label order.
        thresholds: one for all classes, or {class name: threshold} of all that are not skipped.
        skip: classes that are never a segment, such as a background class.
        smooth: windows that are averaged; 1 = none. Odd, so that nothing moves.
        join, shortest: seconds.
        exclusive: a window counts for its most probable class only (skipped classes aside); False where gestures
            happen at the same time.
    """

    names: tuple[str, ...]
    thresholds: float | Mapping[str, float] = 0.5
    skip: tuple[str, ...] = ()
    smooth: int = 3
    join: float = 0.3
    shortest: float = 0.2
    exclusive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "skip", tuple(self.skip))
        given = self.thresholds if isinstance(self.thresholds, Mapping) else {}
        for name in (*self.skip, *given):
            if name not in self.names:
                raise MgkitError(
                    f"there is no class {name!r}{meant(name, self.names) or f'; classes: {some(self.names, 40)}.'}"
                )
        lacking = [
            name for name in self.spotted if isinstance(self.thresholds, Mapping) and name not in given
        ]
        if lacking:
            raise MgkitError(f"no threshold for {some(lacking)}: give one per class, or skip the class.")
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise MgkitError(f"smooth is {self.smooth}: use an odd number of windows, 1 for none.")

    @classmethod
    def of(cls, classes: Classes, **settings: Any) -> Rule:
        """A rule for the classes of a run or a clip folder, in which a background class is skipped."""
        skip = () if classes.background is None else (classes.names[classes.background],)
        return cls(classes.names, **{"skip": skip, **settings})

    @property
    def spotted(self) -> list[str]:
        """The classes that can become segments."""
        return [name for name in self.names if name not in self.skip]

    def threshold(self, name: str) -> float:
        """The threshold of a class."""
        return float(self.thresholds[name] if isinstance(self.thresholds, Mapping) else self.thresholds)

    def segments(self, windows: Windows) -> pd.DataFrame:
        """The segments of a video in order of time: `video, start, end, class, score`."""
        scores = self._candidates(windows)
        rows: list[tuple[str, float, float, str, float]] = []
        for k, name in enumerate(self.names):
            if name in self.skip:
                continue
            spans, means = self._spans(windows, scores[:, k], self.threshold(name))
            rows += [
                (windows.video, start, end, name, mean)
                for (start, end), mean in zip(spans.tolist(), means.tolist(), strict=True)
            ]
        return pd.DataFrame(sorted(rows), columns=COLUMNS)

    def _candidates(self, windows: Windows) -> Doubles:
        """(W, K) smoothed scores; -1 where a window does not count for a class."""
        if windows.scores.shape[1] != len(self.names):
            raise MgkitError(
                f"{windows.video}: scores over {windows.scores.shape[1]} classes for a rule of {len(self.names)}."
            )
        scores = windows.smoothed(self.smooth)
        scores[:, [name in self.skip for name in self.names]] = -1
        if self.exclusive and len(scores):
            scores = np.where(np.arange(len(self.names)) == scores.argmax(1)[:, None], scores, -1)
        return scores

    def _spans(self, windows: Windows, scores: Doubles, threshold: float) -> tuple[Doubles, Doubles]:
        """(S, 2) start and end of one class, and (S,) mean scores."""
        there = np.flatnonzero((scores >= threshold) & (scores >= 0))
        if not len(there):
            return np.zeros((0, 2)), np.zeros(0)
        times = windows.times[there]
        # A new segment where the way from the end of one window to the start of the next is `join` or more.
        first = np.concatenate([[True], np.diff(times) - windows.step >= max(self.join, 2 * NEAR) - NEAR])
        starts = np.flatnonzero(first)
        ends = np.concatenate([starts[1:], [len(times)]])
        spans = np.stack([times[starts] - windows.step / 2, times[ends - 1] + windows.step / 2], 1)
        spans[:, 0] = np.maximum(spans[:, 0], 0)
        means = np.add.reduceat(scores[there], starts) / (ends - starts)
        long = spans[:, 1] - spans[:, 0] >= self.shortest - NEAR
        return spans[long], means[long]


@dataclass(frozen=True)
class Chosen:
    """A rule with thresholds chosen on validation videos.

    Attributes:
        rule: with a threshold per class.
        own: the classes with a threshold of their own; all others have `common`.
        common: the best single threshold.
        f1, f1_common: with the chosen thresholds and with the single one, on the videos they were chosen on. Other
            videos will show less.
        iou, split, videos, truths: what they were chosen for and on.
    """

    rule: Rule
    own: tuple[str, ...]
    common: float
    f1: float
    f1_common: float
    iou: float
    split: str
    videos: int
    truths: int

    def __repr__(self) -> str:
        return (
            f"Thresholds chosen on {counted(self.videos, 'video')} of {self.split!r} "
            f"({counted(self.truths, 'segment')}) for F1 at IoU {self.iou:g}: {self.f1:.3f} there, "
            f"{self.f1_common:.3f} with {self.common:g} for all classes.\n{len(self.own)} of {len(self.rule.spotted)} "
            "classes have their own"
            + (
                f": {', '.join(f'{name} {self.rule.threshold(name):g}' for name in self.own)}."
                if self.own
                else "."
            )
        )


def choose(
    windows: Sequence[Windows],
    truth: pd.DataFrame,
    rule: Rule,
    split: str = "val",
    *,
    iou: float = IOU,
    grid: Sequence[float] = GRID,
    fewest: int = FEWEST,
) -> Chosen:
    """Choose the thresholds of a rule on validation videos, for the highest F1 (one to one, all classes together).

    F1 is a ratio of sums over classes, so the best threshold of each class follows exactly from counts of that class
    alone (Dinkelbach, Management Science 1967). Classes with few true segments all take the best single threshold.

    Args:
        windows: of each validation video; videos without true segments count as well.
        truth: true segments of these videos, `video, start, end, class`. Segments of skipped classes are left out.
        rule: its `thresholds` are not used.
        split: the split of these videos. A test split by its name (`mgkit.data.splits.is_test`), or one that may be, is
            refused: thresholds chosen on the reported videos make the report worthless.
        iou: at which answers match.
        grid: thresholds that are tried. Of equally good ones the middle one is taken.
        fewest: true segments of a class from which it gets its own threshold.

    Raises:
        MgkitError: a test split, no true segment, or one of a video without windows or of an unknown class.
    """
    if is_test(split) is not False:
        what = "" if is_test(split) else ", which may be a test split"
        raise MgkitError(
            f"thresholds must be chosen on validation videos, not on {split!r}{what}: chosen on test videos they make "
            "the score of these worthless. Predict validation videos and choose on them."
        )
    tried = sorted(set(map(float, grid)))
    if not tried:
        raise MgkitError("grid is empty: give the thresholds to try.")
    videos = [one.video for one in windows]
    twice = sorted({name for name in videos if videos.count(name) > 1})
    unknown = sorted(set(truth["video"]) - set(videos))
    strange = sorted(set(map(str, truth["class"])) - set(rule.names))
    if twice or unknown or strange:
        raise MgkitError(
            f"windows of {some(twice)} are given twice."
            if twice
            else f"truth has segments of {some(unknown)}, of which there are no windows."
            if unknown
            else f"truth has segments of {some(strange)}, which are not classes of the rule."
        )

    # Per class: true segments, and for each threshold answers and matches.
    names = rule.spotted
    truths = np.zeros(len(names), np.int64)
    answers, matched = np.zeros((2, len(names), len(tried)), np.int64)
    for one in windows:
        scores = rule._candidates(one)
        here = truth[truth["video"] == one.video]
        for k, name in enumerate(names):
            own = here.loc[here["class"] == name, ["start", "end"]].to_numpy(np.float64)
            truths[k] += len(own)
            for i, threshold in enumerate(tried):
                spans, _ = rule._spans(one, scores[:, rule.names.index(name)], threshold)
                answers[k, i] += len(spans)
                matched[k, i] += maximum_matching(overlaps(spans, own) >= iou - NEAR)
    if not truths.sum():
        raise MgkitError(f"truth has no segment of {some(names)}: there is nothing to choose thresholds by.")

    def score(picked: npt.NDArray[np.int64]) -> float:
        rows = np.arange(len(names))
        return float(2 * matched[rows, picked].sum() / (truths.sum() + answers[rows, picked].sum()))

    single = 2 * matched.sum(0) / (truths.sum() + answers.sum(0))
    common = _middle_best(single)
    picked = np.array([common] * len(names))
    free = np.flatnonzero(truths >= fewest)
    value = score(picked)
    while True:  # each round is at least as good, and there are finitely many choices
        for at in free:
            picked[at] = _middle_best(2 * matched[at] - value * answers[at])
        if score(picked) <= value + 1e-12:
            break
        value = score(picked)
    chosen = {name: tried[i] for name, i in zip(names, picked.tolist(), strict=True)}
    return Chosen(
        rule=replace(rule, thresholds=chosen), own=tuple(names[k] for k in free), common=tried[common],
        f1=score(picked), f1_common=float(single[common]), iou=iou, split=split, videos=len(videos),
        truths=int(truths.sum()),
    )  # fmt: skip


def _middle_best(values: npt.NDArray[Any]) -> int:
    """The index of the largest value; of equal ones the middle one."""
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return int(best[(len(best) - 1) // 2])
