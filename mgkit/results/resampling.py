"""Measures of resampled clips: Top-1, macro F1 and log-loss of many bootstrap samples in a few matrix products.

A bootstrap sample is how often each clip is drawn, so that a measure of D samples is a function of (D, N) counts. Clips
of one person are no independent draws: where people are known, people are drawn, with all of their clips.
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
