"""Measures of resampled clips: Top-1, macro F1 and log-loss of many bootstrap samples in a few matrix products.

A bootstrap sample is how often each clip is drawn, so that a measure of D samples is a function of (D, N) counts. Clips
of one person are no independent draws: where people are known, people are drawn, with all of their clips.

Intervals of accuracy, macro-F1 and mean class accuracy from drawing people, or clips, again and again.

A percentile bootstrap: what is drawn with replacement are subjects where they are known (all clips of one together),
else clips. It answers how the number might come out on other people; the trained networks stay the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError

__all__ = [
    "FLOOR",
    "METRICS",
    "Measure",
    "Metric",
    "drawn_counts",
    "intervals",
    "measure",
    "measured",
    "percentiles",
    "true_losses",
]

Metric = Literal["top1", "macro_f1", "log_loss"]
METRICS = ("top1", "macro_f1", "log_loss")
FLOOR = 1e-12  # of a probability in a logarithm: a single 0 for the true class would make every mean infinite
CHUNK = 100  # bootstrap samples at once

Doubles = npt.NDArray[np.float64]
Measure = Callable[[Doubles], Doubles]


def true_losses(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Doubles:
    """(N,) negative log of the probability of the true class, which counts as `FLOOR` where it is less."""
    true, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    return -np.log(np.maximum(p[np.arange(len(true)), true], FLOOR))


def measure(metric: str, labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Measure:
    """The measure of (D, N) counts of clips as (D,) numbers; all in [0, 1] but log-loss, in nats.

    Macro F1 is the mean over the classes that a sample has clips of, as `metrics.macro_f1`.

    Args:
        metric: one of `METRICS`.
        labels: (N,) true classes.
        probabilities: (N, K).
    """
    true, p = np.asarray(labels, np.int64), np.asarray(probabilities)
    if metric not in METRICS:
        raise MgkitError(f"there is no measure {metric!r}: use one of {', '.join(METRICS)}.")
    said = p.argmax(1)
    if metric != "macro_f1":
        each = (said == true).astype(np.float64) if metric == "top1" else true_losses(true, p)
        return lambda counts: counts @ each / counts.sum(1)
    classes = np.arange(p.shape[1])
    own = (true[:, None] == classes).astype(np.float64)  # (N, K)
    taken = (said[:, None] == classes).astype(np.float64)
    hit = own * taken

    def f1(counts: Doubles) -> Doubles:
        support = counts @ own
        score = 2 * (counts @ hit) / np.maximum(support + counts @ taken, 1)
        there = support > 0
        return np.where(there, score, 0).sum(1) / there.sum(1)

    return f1


def measured(metric: str, labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """The measure of the clips themselves."""
    return float(measure(metric, labels, probabilities)(np.ones((1, len(np.asarray(labels)))))[0])


def drawn_counts(
    clips: int, groups: Sequence[str] | None, generator: np.random.Generator, draws: int
) -> Iterator[Doubles]:
    """(d, N) how often each clip is in each bootstrap sample, some samples at a time, `draws` in all.

    Args:
        clips: N.
        groups: (N,) whom a clip is of; clips of one group are drawn together. None: each clip on its own.
        generator: of the resampling.
        draws: bootstrap samples.
    """
    index = np.arange(clips) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(index) != clips:
        raise MgkitError(f"there are {clips} clips but {len(index)} subjects: give one subject a clip.")
    count = int(index.max()) + 1
    for begin in range(0, draws, CHUNK):
        size = min(CHUNK, draws - begin)
        taken = generator.multinomial(count, np.full(count, 1 / count), size=size)
        yield taken[:, index].astype(np.float64)


def percentiles(
    statistics: Sequence[Measure],
    clips: int,
    groups: Sequence[str] | None,
    generator: np.random.Generator,
    draws: int,
    level: float = 0.95,
) -> Doubles:
    """(S, 2) percentile bootstrap interval of each of S statistics, all of the same samples.

    Intervals are NaN where there is one group only (one clip, if clips are drawn): it says nothing about others.
    """
    if draws < 1:
        raise MgkitError(f"there are {draws} bootstrap draws: use 1 or more.")
    if (clips if groups is None else len(set(groups))) < 2:
        return np.full((len(statistics), 2), np.nan)
    parts = [
        np.stack([statistic(counts) for statistic in statistics], 1)
        for counts in drawn_counts(clips, groups, generator, draws)
    ]
    return np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2], axis=0).T


STATISTICS = ("top1", "macro_f1", "mean_class_accuracy")
_CHUNK = 250  # draws at a time


def intervals(
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    generator: np.random.Generator,
    *,
    subjects: Sequence[str] | None = None,
    draws: int = 2000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the three metrics, all from the same draws.

    Of several seeds it is the interval of their mean. A class that a draw has no clip of is left out of that draw's
    macro-F1 and mean class accuracy, as everywhere (see `metrics`): with rare classes those intervals are rough. With
    few subjects all are somewhat too narrow (see `compare.subject_interval`).

    Args:
        labels: (N,) true classes.
        predicted: (N,) predicted classes, or (S, N) of S seeds.
        classes: K.
        generator: of the draws.
        subjects: (N,) who is seen in each clip; None draws clips.
        draws: bootstrap samples.
        level: of the intervals.

    Returns:
        {"top1": (low, high), "macro_f1": ..., "mean_class_accuracy": ...}, in [0, 1].

    Raises:
        MgkitError: shapes that do not go together, one subject only, no draws.
    """
    true = np.asarray(labels, np.int64)
    said = np.atleast_2d(np.asarray(predicted, np.int64))
    if true.ndim != 1 or not len(true) or said.ndim != 2 or said.shape[1] != len(true):
        raise MgkitError(
            f"labels of shape {true.shape} and predictions of shape {said.shape} do not go together."
        )
    if min(true.min(), said.min()) < 0 or max(true.max(), said.max()) >= classes:
        raise MgkitError(f"a label or a prediction is outside 0 to {classes - 1}.")
    if draws < 1:
        raise MgkitError(f"draws is {draws}: use 1 or more.")
    if subjects is None:
        # Clips with the same label and the same answers are interchangeable: how often each kind is drawn is
        # multinomial, and there are far fewer kinds than clips.
        kinds, alike = np.unique(np.vstack([true, said]).T, axis=0, return_counts=True)
        units = _counts(kinds[:, 0], kinds[:, 1:].T, classes, np.arange(len(kinds)))
        count, chances = len(true), alike / len(true)
    else:
        if len(subjects) != len(true):
            raise MgkitError(f"{len(true)} clips but {len(subjects)} subjects: give one subject a clip.")
        _, group = np.unique(np.asarray(subjects), return_inverse=True)
        count = int(group.max()) + 1
        if count < 2:
            raise MgkitError("one subject says nothing about others: draw clips (subjects=None).")
        units = _counts(true, said, classes, group)
        chances = np.full(count, 1 / count)
    drawn = [
        statistics(generator.multinomial(count, chances, size=min(_CHUNK, draws - done)), *units)
        for done in range(0, draws, _CHUNK)
    ]
    values = np.concatenate(drawn, axis=1)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(STATISTICS)}


def statistics(
    weights: npt.NDArray[np.int64],
    support: npt.NDArray[np.float64],
    said: npt.NDArray[np.float64],
    correct: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """(3, B) metrics, each the mean over S seeds, of B draws.

    Args:
        weights: (B, G) how often each of G units was drawn.
        support: (G, K) clips of each class; said: (S, G, K) clips taken for it; correct: (S, G, K) rightly so.
    """
    w = weights.astype(np.float64)
    there = w @ support  # (B, K)
    present = there > 0
    out = np.zeros((3, len(w)))
    for taken, right in zip(said, correct, strict=True):
        hits = w @ right  # (B, K)
        with np.errstate(invalid="ignore", divide="ignore"):
            f1 = np.where(present, 2 * hits / (there + w @ taken), 0.0)
            recall = np.where(present, hits / there, 0.0)
        out[0] += hits.sum(1) / there.sum(1)
        out[1] += f1.sum(1) / present.sum(1)
        out[2] += recall.sum(1) / present.sum(1)
    return out / len(said)


def _counts(
    true: npt.NDArray[np.int64],
    said: npt.NDArray[np.int64],
    classes: int,
    group: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Support (G, K), predicted and correct (S, G, K) clips of each unit."""
    units = int(group.max()) + 1

    def table(
        of: npt.NDArray[np.int64], keep: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.float64]:
        cells = group * classes + of
        return np.bincount(cells, keep, units * classes).reshape(units, classes).astype(np.float64)

    return (
        table(true),
        np.stack([table(answers) for answers in said]),
        np.stack([table(answers, answers == true) for answers in said]),
    )
