"""Intervals of accuracy, macro-F1 and mean class accuracy from drawing people, or clips, again and again.

A percentile bootstrap: what is drawn with replacement are subjects where they are known (all clips of one together),
else clips. It answers how the number might come out on other people; the trained networks stay the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError

__all__ = ["METRICS", "intervals"]

METRICS = ("top1", "macro_f1", "mean_class_accuracy")
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
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}


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
