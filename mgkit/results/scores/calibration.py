"""Whether probabilities can be believed, and a temperature that makes them more so.

Calibration errors compare how sure a system is with how often it is right, in bins. They depend on the bins, and few
clips raise them by chance; each therefore comes with its bootstrap interval and with what a perfectly calibrated system
would show on as many clips. Brier score and log-loss are proper scores: they need no bins, and honesty minimises them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import wilson
from mgkit.results.stats.resampling import FLOOR, Doubles, percentiles, true_losses

__all__ = [
    "Temperature",
    "bin_edges",
    "brier",
    "calibration_table",
    "classwise_error",
    "errors",
    "expected_error",
    "fit_temperature",
    "scores_of",
    "temper",
]

RANGE = (0.05, 20.0)  # of temperatures that are searched
Scored = Run | Predictions | Scores


def scores_of(one: Scored, split: str = "test", output: str | None = None) -> Scores:
    """Scores of a run's split, of predictions, or scores as they are. `output`: of a run or predictions."""
    if isinstance(one, Scores):
        return one
    if isinstance(one, Run):
        return Scores.of(one.predictions(split), output, split=split, name=one.name)
    if isinstance(one, Predictions):
        return Scores.of(one, output)
    raise MgkitError(f"{type(one).__name__} has no scores: give a run, predictions or scores.")


# ---------------------------------------------------------------------------------------------------------------------
# Temperature


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T; above 1 the system was too sure, below 1 not sure enough.
        before, after: mean log-loss in nats of the clips it was fitted on, at T = 1 and at T.
        clips: how many those were.
        limited: the best T lies beyond the range that is searched, as where every clip is right: no T is best.
    """

    value: float
    before: float
    after: float
    clips: int
    limited: bool

    def __repr__(self) -> str:
        odd = (
            "; at the end of the range that is searched: these clips do not determine it"
            if self.limited
            else ""
        )
        losses = f"log-loss {self.before:.4f} to {self.after:.4f}"
        return f"Temperature({self.value:.3f}: {losses} on {self.clips} clips{odd})"


def temper(scores: Any, temperature: float) -> Any:
    """p^(1/T) / sum of p^(1/T) of `Scores`, or of an (N, K) array: the softmax of the logits divided by T.

    The most probable class stays the same. A probability below `FLOOR` (1e-12) counts as that.
    """
    if not np.isfinite(temperature) or temperature <= 0:
        raise MgkitError(f"the temperature is {temperature}: use a number above 0.")
    if isinstance(scores, Scores):
        return replace(scores, probabilities=temper(scores.probabilities, temperature))
    if temperature == 1:
        return np.asarray(scores, np.float32)
    logits = _logits(scores) / temperature
    e = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True), np.float32)


def fit_temperature(run: Scored, split: str = "val", *, output: str | None = None) -> Temperature:
    """The temperature with the lowest log-loss (Guo et al., ICML 2017, section 4.2), searched from 0.05 to 20.

    Fit it on validation clips: on the clips that are then reported it flatters.

    Args:
        run: a run, predictions or scores, with labels.
        split: the evaluated split of a run.
        output: of a run or predictions; by default the best.
    """
    from scipy.optimize import minimize_scalar

    scores = scores_of(run, split, output)
    labels, logits = scores.truth(), _logits(scores.probabilities)
    own = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:  # convex in 1 / T
        scaled = logits * inverse
        high = scaled.max(1)
        return float((np.log(np.exp(scaled - high[:, None]).sum(1)) + high - own * inverse).mean())

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    best = min((float(found.x), low, high), key=loss)
    limited = bool(best - low < 1e-6 or high - best < 1e-6)
    return Temperature(1 / best, loss(1.0), loss(best), len(scores), limited)


def _logits(probabilities: npt.ArrayLike) -> Doubles:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), FLOOR))


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def bin_edges(confidence: npt.NDArray[Any], bins: int, adaptive: bool = False) -> Doubles:
    """(B + 1,) edges over [0, 1]: of equal width, or at quantiles, so that each bin has about as many clips.

    A confidence on an edge is in the bin that ends there. Equal confidences stay together, whatever their order.
    """
    if bins < 1:
        raise MgkitError(f"there are {bins} bins: use 1 or more.")
    if not adaptive:
        return np.linspace(0, 1, bins + 1)
    inner = np.quantile(confidence, np.arange(1, bins) / bins, method="inverted_cdf")
    return np.unique(np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]]))


def calibration_table(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 10, *, adaptive: bool = False
) -> pd.DataFrame:
    """One row a bin of confidence that has clips, rising.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) whether it was right.
        bins: how many.
        adaptive: bins of about equal numbers of clips in place of equal width.

    Returns:
        `from`, `to`; `clips`; `confidence`, their mean; `accuracy`, the share that is right, with its 95 % Wilson
        interval `low`, `high`.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, bool)
    edges = bin_edges(sure, bins, adaptive)
    place = _places(sure, edges)
    rows = []
    for b in np.unique(place):
        inside = place == b
        hits, clips = int(right[inside].sum()), int(inside.sum())
        low, high = wilson(hits, clips)
        rows.append((edges[b], edges[b + 1], clips, sure[inside].mean(), hits / clips, low, high))
    return pd.DataFrame(rows, columns=["from", "to", "clips", "confidence", "accuracy", "low", "high"])


def expected_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15, *, adaptive: bool = False
) -> float:
    """Expected calibration error in [0, 1]: the mean over clips of |accuracy - confidence| of their bin.

    With bins of equal width that of Guo et al. (ICML 2017, equation 3), else of Nguyen and O'Connor (EMNLP 2015).
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    statistic = _binned(sure, right, bin_edges(sure, bins, adaptive))
    return float(statistic(np.ones((1, len(sure))))[0])


def classwise_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15) -> float:
    """The mean over classes of the expected error of each class's probability (Kull et al., NeurIPS 2019, section 2).

    It sees what the confidence of the answer does not: probabilities of the other classes.
    """
    true, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    return float(np.mean([expected_error(p[:, k], true == k, bins) for k in range(p.shape[1])]))


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean squared distance in [0, 2] of the probabilities to the true class (Brier 1950), summed over the classes."""
    return float(_brier_each(np.asarray(labels), np.asarray(probabilities, np.float64)).mean())


def errors(
    run: Scored | Mapping[str, Scored],
    split: str = "test",
    *,
    output: str | None = None,
    bins: int = 15,
    classwise: bool = False,
    subjects: Sequence[str] | None = None,
    draws: int = 1000,
    generator: np.random.Generator | None = None,
) -> pd.DataFrame:
    """How far probabilities can be believed, one row a system.

    Args:
        run: a run, predictions or scores, or a dictionary of names to them.
        split: the evaluated split of runs.
        output: of runs or predictions; by default the best of each.
        bins: of both expected errors.
        classwise: add the class-wise error.
        subjects: (N,) who is seen in each clip; they are then resampled, in place of clips.
        draws: bootstrap samples.
        generator: of the resampling; by default always the same.

    Returns:
        `clips`; `confidence`, the mean probability of the answer, and `top1`; then each with `_low`, `_high`, its 95 %
        percentile bootstrap interval: `ece` and `ece_adaptive` (`expected_error`), `brier`, `log_loss` in nats.
        `ece_by_chance` is the mean `ece` of a perfectly calibrated system with these confidences on as many clips; an
        `ece` that is no larger shows nothing. The bootstrap adds noise of its own to what is a sum of absolute values:
        the intervals of both `ece` lie somewhat too high. `ece_classwise` is without an interval.
    """
    given = run if isinstance(run, Mapping) else {"": run}
    rows = {}
    for name, one in given.items():
        scores = scores_of(one, split, output)
        source = np.random.default_rng(0) if generator is None else generator
        title = str(name) or scores.name or "scores"
        rows[title] = _errors(scores, bins, classwise, subjects, draws, source)
    table = pd.DataFrame.from_dict(rows, orient="index").astype({"clips": int})
    table.index.name = "system"
    return table


def _errors(
    scores: Scores, bins: int, classwise: bool, subjects: Sequence[str] | None, draws: int, source: Any
) -> dict[str, float]:
    labels, p = scores.truth(), scores.probabilities.astype(np.float64)
    sure, right = p.max(1), (scores.predicted() == labels).astype(np.float64)
    edges = [bin_edges(sure, bins, adaptive) for adaptive in (False, True)]
    each = {"brier": _brier_each(labels, p), "log_loss": true_losses(labels, p)}
    statistics = {
        "ece": _binned(sure, right, edges[0]),
        "ece_adaptive": _binned(sure, right, edges[1]),
        **{
            key: (lambda counts, values=values: counts @ values / counts.sum(1))
            for key, values in each.items()
        },
    }
    low_high = percentiles(list(statistics.values()), len(labels), subjects, source, draws)
    row: dict[str, float] = {"clips": len(labels), "confidence": sure.mean(), "top1": right.mean()}
    for (key, statistic), (low, high) in zip(statistics.items(), low_high, strict=True):
        row[key] = float(statistic(np.ones((1, len(labels))))[0])
        row |= {f"{key}_low": float(low), f"{key}_high": float(high)}
        if key == "ece":
            ideal = [
                _binned(sure, (source.random(len(sure)) < sure).astype(np.float64), edges[0])
                for _ in range(200)
            ]
            once = np.ones((1, len(sure)))
            row["ece_by_chance"] = float(np.mean([chance(once)[0] for chance in ideal]))
    if classwise:
        row["ece_classwise"] = classwise_error(labels, p, bins)
    return row


def _places(confidence: Doubles, edges: Doubles) -> npt.NDArray[np.int64]:
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)


def _binned(confidence: Doubles, correct: Doubles, edges: Doubles) -> Any:
    """The expected error of (D, N) counts of clips, over bins that are fixed."""
    inside = (_places(confidence, edges)[:, None] == np.arange(len(edges) - 1)).astype(np.float64)
    gap = inside * (correct - confidence)[:, None]  # (N, B)
    return lambda counts: np.abs(counts @ gap).sum(1) / counts.sum(1)


def _brier_each(labels: npt.NDArray[Any], p: Doubles) -> Doubles:
    own = p[np.arange(len(labels)), labels]
    return (p**2).sum(1) - 2 * own + 1
