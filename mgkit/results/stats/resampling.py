"""Bootstrap intervals over people, or over clips, of any measure of a set of clips.

A percentile bootstrap. Subjects are drawn with replacement if they are known, each with all of its clips, because
clips of one person are not independent; otherwise clips are drawn. The intervals answer how a number might come out on
other people; the trained networks stay the same. With few subjects they are somewhat too narrow: with 35 of them about
93 of 100 hold the truth, not 95. With fewer than `FEWEST` they are not given at all.

A measure is computed from sums over clips, so that a bootstrap sample is a weighted sum of what each subject adds, and
many samples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, counted
from mgkit.results.stats.metrics import Doubles, class_f1, class_mean, class_recall

__all__ = [
    "ACCURACIES",
    "FEWEST",
    "FLOOR",
    "METRICS",
    "Measure",
    "Metric",
    "accuracy_measures",
    "bootstrap",
    "combined",
    "intervals",
    "mean_of",
    "measure",
    "resampled",
    "true_losses",
    "unit_count",
]

ACCURACIES = ("top1", "macro_f1", "mean_class_accuracy")
Metric = Literal["top1", "macro_f1", "log_loss"]
METRICS = ("top1", "macro_f1", "log_loss")
FLOOR = 1e-12  # of a probability in a logarithm: a single 0 for the true class would make every mean infinite
CHUNK = 200  # bootstrap samples at once
# Subjects (or clips) below which no interval is given: of 3, every ninth sample is one of them alone.
FEWEST = 8
LIMITS = (0.025, 0.975)  # quantiles: every interval here is of 95 %


@dataclass(frozen=True, eq=False)
class Measure:
    """A number that follows from sums over clips.

    Attributes:
        terms: (N, F) what each of N clips adds to F sums. Measures may share one array.
        of_sums: the numbers (D,) of sums (D, F).
    """

    terms: npt.NDArray[Any]
    of_sums: Callable[[Doubles], Doubles]

    def value(self) -> float:
        """The number of the clips themselves."""
        return float(self.of_sums(self.terms.sum(0, dtype=np.float64)[None])[0])


def mean_of(values: npt.ArrayLike) -> Measure:
    """The mean of (N,) numbers."""
    each = np.asarray(values, np.float64)
    return Measure(np.stack([each, np.ones_like(each)], 1), lambda sums: sums[:, 0] / sums[:, 1])


def combined(measures: Sequence[Measure], of_values: Callable[[list[Doubles]], Any]) -> Measure:
    """A measure that is a function of others, such as the difference of two."""
    ends = np.cumsum([part.terms.shape[1] for part in measures])[:-1]

    def of_sums(sums: Doubles) -> Doubles:
        parts = np.split(sums, ends, axis=1)
        return np.asarray(of_values([one.of_sums(part) for one, part in zip(measures, parts, strict=True)]))

    return Measure(np.concatenate([one.terms for one in measures], 1), of_sums)


def accuracy_measures(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> dict[str, Measure]:
    """Top-1, macro F1 and mean class accuracy as measures, by the names in `ACCURACIES`.

    A class that a sample has no clip of is left out of its means, as everywhere (see `metrics`); if classes are rare
    their intervals are rough.

    Args:
        labels: (N,) true classes.
        predicted: (N,) predicted classes, or (S, N) of S seeds: the measures are then means over the seeds.
        classes: K.
    """
    true, answers = np.asarray(labels, np.int64), np.atleast_2d(np.asarray(predicted, np.int64))
    if true.ndim != 1 or not len(true) or answers.ndim != 2 or answers.shape[1] != len(true):
        raise MgkitError(
            f"labels of shape {true.shape} and predictions of shape {answers.shape} do not go together."
        )
    if min(true.min(), answers.min()) < 0 or max(true.max(), answers.max()) >= classes:
        raise MgkitError(f"a label or a prediction is outside 0 to {classes - 1}.")
    known = np.arange(classes)
    own = true[:, None] == known  # (N, K)
    taken = answers.T[:, :, None] == known  # (N, S, K)
    seeds = len(answers)
    terms = np.concatenate([own[:, None], taken, own[:, None] & taken], 1)  # (N, 1 + 2 S, K)
    terms = terms.reshape(len(true), -1).astype(np.uint8)

    def counts(sums: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Clips of each class (D, 1, K), taken for it and rightly so (D, S, K)."""
        table = sums.reshape(len(sums), -1, classes)
        return table[:, :1], table[:, 1 : 1 + seeds], table[:, 1 + seeds :]

    def accuracy(sums: Doubles) -> Doubles:
        support, _, correct = counts(sums)
        return (correct.sum(2) / support.sum(2)).mean(1)

    def f1(sums: Doubles) -> Doubles:
        return class_mean(class_f1(*counts(sums))).mean(1)

    def recall(sums: Doubles) -> Doubles:
        support, _, correct = counts(sums)
        return class_mean(class_recall(support, correct)).mean(1)

    return {name: Measure(terms, of) for name, of in zip(ACCURACIES, (accuracy, f1, recall), strict=True)}


def true_losses(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Doubles:
    """(N,) negative log of the probability of the true class, at least `FLOOR`."""
    true, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    return -np.log(np.maximum(p[np.arange(len(true)), true], FLOOR))


def measure(metric: str, labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Measure:
    """One of `METRICS` of labels (N,) and probabilities (N, K); all in [0, 1] but log-loss, in nats."""
    p = np.asarray(probabilities)
    if metric not in METRICS:
        raise MgkitError(f"{metric!r} is not a metric: use one of {', '.join(METRICS)}.")
    if metric == "log_loss":
        return mean_of(true_losses(labels, p))
    if metric == "top1":
        return mean_of(p.argmax(1) == np.asarray(labels))
    return accuracy_measures(labels, p.argmax(1), p.shape[1])[metric]


def unit_count(subjects: Sequence[str] | None, clips: int) -> int:
    """The number of subjects that are resampled, or of clips if subjects are unknown."""
    return clips if subjects is None else len(set(subjects))


def resampled(subjects: Sequence[str] | None, clips: int) -> str:
    """What is resampled, for tables and notes: "24 subjects", "500 clips"."""
    count = unit_count(subjects, clips)
    return f"{count:,} {'clip' if subjects is None else 'subject'}{'s' * (count != 1)}"


def bootstrap(
    measures: Sequence[Measure], subjects: Sequence[str] | None, generator: np.random.Generator, draws: int
) -> Doubles:
    """(S, draws) values of S measures, all of the same bootstrap samples; NaN with fewer than two subjects (or clips).

    Args:
        measures: of the same N clips.
        subjects: (N,) the subject of each clip; clips of one subject are drawn together. None: clips are drawn.
        generator: of the resampling.
        draws: bootstrap samples.
    """
    if draws < 1:
        raise MgkitError(f"draws is {draws}: use 1 or more.")
    blocks = {id(one.terms): one.terms for one in measures}
    units = np.concatenate(list(blocks.values()), 1)
    if subjects is not None:
        if len(subjects) != len(units):
            raise MgkitError(
                f"{counted(len(units), 'clip')} but {counted(len(subjects), 'subject')}: give one subject per clip."
            )
        index = np.unique(np.asarray(subjects), return_inverse=True)[1]
        order = np.argsort(index, kind="stable")
        starts = np.searchsorted(index[order], np.arange(index.max() + 1))
        units = np.add.reduceat(units[order].astype(np.float64), starts, axis=0)
    count = len(units)
    if count < 2:
        return np.full((len(measures), draws), np.nan)

    # Units that add the same are interchangeable: how often each kind is drawn is multinomial, and of clips there are
    # far fewer kinds than clips.
    kinds, alike = np.unique(units, axis=0, return_counts=True)
    kinds = kinds.astype(np.float64)
    ends = dict(zip(blocks, np.cumsum([block.shape[1] for block in blocks.values()]), strict=True))
    values = []
    for begin in range(0, draws, CHUNK):
        drawn = generator.multinomial(count, alike / count, size=min(CHUNK, draws - begin))
        sums = drawn.astype(np.float64) @ kinds  # (d, F)
        rows = []
        for one in measures:
            end = ends[id(one.terms)]
            rows.append(one.of_sums(sums[:, end - one.terms.shape[1] : end]))
        values.append(np.stack(rows))
    return np.concatenate(values, 1)


def intervals(
    measures: Sequence[Measure],
    subjects: Sequence[str] | None,
    generator: np.random.Generator,
    draws: int,
) -> Doubles:
    """(S, 2) 95 % percentile intervals of S measures; NaN with fewer than `FEWEST` subjects (or clips).

    Arguments as of `bootstrap`.
    """
    values = bootstrap(measures, subjects, generator, draws)
    if unit_count(subjects, len(measures[0].terms)) < FEWEST:
        return np.full((len(measures), 2), np.nan)
    return np.quantile(values, LIMITS, axis=1).T
