"""Calibration of probabilities: reliability tables, expected errors, proper scores and temperature scaling.

Calibration errors compare confidence with accuracy in bins. They depend on the bins, and few clips raise them by
chance; each therefore comes with its bootstrap interval and with the value that a perfectly calibrated system would
show on as many clips. Brier score and log-loss are proper scores: they need no bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, counted
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import wilson
from mgkit.results.stats.resampling import FLOOR, Doubles, Measure, intervals, mean_of, true_losses

__all__ = ["errors", "fit_temperature", "reliability", "scores_of", "temper"]

RANGE = (0.05, 20.0)  # of temperatures that are searched
Scored = Run | Predictions | Scores | str | Path


def scores_of(one: Scored, split: str = "test", output: str | None = None) -> Scores:
    """Scores of a split of a run or run folder, or of predictions (`output`: which), or scores as they are."""
    if isinstance(one, Scores):
        return one
    if isinstance(one, Predictions):
        return Scores.of(one, output)
    run = as_run(one)
    return Scores.of(run.predictions(split), output, split=split, name=run.name)


# ---------------------------------------------------------------------------------------------------------------------
# Temperature


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T; above 1 the system was overconfident, below 1 underconfident.
        before, after: mean log-loss in nats of the clips it was fitted on, at T = 1 and at T.
        clips: their number.
        limited: the best T lies beyond the searched range, for example if every clip is right.
    """

    value: float
    before: float
    after: float
    clips: int
    limited: bool

    def __repr__(self) -> str:
        odd = "; at the end of the searched range: these clips do not determine it" if self.limited else ""
        losses = f"log-loss {self.before:.4f} to {self.after:.4f}"
        return f"Temperature({self.value:.3f}: {losses} on {counted(self.clips, 'clip')}{odd})"


def temper(scores: Any, temperature: float) -> Any:
    """p^(1/T) / sum of p^(1/T) of `Scores`, or of an (N, K) array: the softmax of the logits divided by T.

    The most probable class stays the same. A probability below `FLOOR` (1e-12) counts as that.
    """
    from scipy.special import softmax

    if not np.isfinite(temperature) or temperature <= 0:
        raise MgkitError(f"the temperature is {temperature}: use a number above 0.")
    if isinstance(scores, Scores):
        return replace(scores, probabilities=temper(scores.probabilities, temperature))
    if temperature == 1:
        return np.asarray(scores, np.float32)
    return np.asarray(softmax(_logits(scores) / temperature, axis=1), np.float32)


def fit_temperature(run: Scored, split: str = "val", *, output: str | None = None) -> Temperature:
    """The temperature with the lowest log-loss (Guo et al., ICML 2017, section 4.2), searched from 0.05 to 20.

    Fit it on validation clips: fitted on the reported clips it flatters.

    Args:
        run: a run, predictions or scores, with labels.
        split: the evaluated split of a run.
        output: of a run or predictions; by default the best.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    scores = scores_of(run, split, output)
    labels, logits = scores.truth(), _logits(scores.probabilities)
    own = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:  # convex in 1 / T
        return float((logsumexp(logits * inverse, axis=1) - own * inverse).mean())

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
    """(B + 1,) edges over [0, 1]: of equal width, or at quantiles for about equally many clips per bin.

    A confidence on an edge is in the bin that ends there. Equal confidences stay together.
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
    """One row per bin of confidence that has clips, ascending.

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


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy.

    Attributes:
        bins: the table of `calibration_table`: of the answers of a given confidence, the share that is right.
        error: expected calibration error in [0, 1] over these bins, see `expected_error`.
        surplus: mean confidence minus accuracy over all clips: above 0 = overconfident.
    """

    bins: pd.DataFrame
    error: float
    surplus: float

    def __repr__(self) -> str:
        return f"{self.bins.round(3).to_string(index=False)}\n{self._words()}"

    def _repr_html_(self) -> str:
        return f"{self.bins.round(3).to_html(index=False)}<p>{self._words()}</p>"

    def _words(self) -> str:
        sure = "overconfident" if self.surplus > 0 else "underconfident"
        return f"expected calibration error {self.error:.3f}; overall {sure} by {abs(self.surplus):.3f}"


def reliability(
    run: Scored, split: str = "test", output: str | None = None, *, bins: int = 10, adaptive: bool = False
) -> Reliability:
    """How sure a system is of its answers, and how often it is then right; `mg.figures.reliability` draws it.

    Args:
        run: a run, predictions or scores, with labels.
        split: the evaluated split of a run.
        output: "rgb", "pose" or "fused" of a run or predictions; by default the best.
        bins: bins of equal width over [0, 1]; a confidence on an edge is in the bin that ends there.
        adaptive: bins of about equally many clips instead.
    """
    scores = scores_of(run, split, output)
    sure, right = scores.probabilities.max(1).astype(np.float64), scores.predicted() == scores.truth()
    table = calibration_table(sure, right, bins, adaptive=adaptive)
    return Reliability(
        table, expected_error(sure, right, bins, adaptive=adaptive), float(sure.mean() - right.mean())
    )


def expected_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15, *, adaptive: bool = False
) -> float:
    """Expected calibration error in [0, 1]: the mean over clips of |accuracy - confidence| of their bin.

    With bins of equal width that of Guo et al. (ICML 2017, equation 3), else of Nguyen and O'Connor (EMNLP 2015).
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    return _binned(sure, right, bin_edges(sure, bins, adaptive)).value()


def classwise_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = 15) -> float:
    """The mean over classes of the expected error of each class's probability (Kull et al., NeurIPS 2019, section 2).

    It covers the probabilities of all classes, not only the confidence of the answer.
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
    """Calibration errors and proper scores, one row per system.

    Args:
        run: a run, predictions or scores, or a dictionary of names to them.
        split: the evaluated split of runs.
        output: of runs or predictions; by default the best of each.
        bins: of both expected errors.
        classwise: add the class-wise error.
        subjects: (N,) the subject of each clip; subjects are then resampled instead of clips.
        draws: bootstrap samples.
        generator: of the resampling; by default always the same.

    Returns:
        `clips`; `confidence`, the mean probability of the answer, and `top1`; then each with `_low`, `_high`, its 95 %
        percentile bootstrap interval: `ece` and `ece_adaptive` (`expected_error`), `brier`, `log_loss` in nats.
        `ece_by_chance` is the mean `ece` of a perfectly calibrated system with these confidences on as many clips; an
        `ece` that is not larger shows nothing. Resampling adds noise to a sum of absolute values, so the intervals of
        both `ece` lie somewhat too high. `ece_classwise` has no interval.
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
    equal, adaptive = (bin_edges(sure, bins, way) for way in (False, True))
    measures = {
        "ece": _binned(sure, right, equal),
        "ece_adaptive": _binned(sure, right, adaptive),
        "brier": mean_of(_brier_each(labels, p)),
        "log_loss": mean_of(true_losses(labels, p)),
    }
    row: dict[str, float] = {"clips": len(labels), "confidence": sure.mean(), "top1": right.mean()}
    bounds = intervals(list(measures.values()), subjects, source, draws)
    for (key, measure), (low, high) in zip(measures.items(), bounds.tolist(), strict=True):
        row |= {key: measure.value(), f"{key}_low": low, f"{key}_high": high}
        if key == "ece":
            # A perfectly calibrated system is right as often as it is sure.
            ideal = [(source.random(len(sure)) < sure).astype(np.float64) for _ in range(200)]
            row["ece_by_chance"] = float(np.mean([_binned(sure, one, equal).value() for one in ideal]))
    if classwise:
        row["ece_classwise"] = classwise_error(labels, p, bins)
    return row


def _places(confidence: Doubles, edges: Doubles) -> npt.NDArray[np.int64]:
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)


def _binned(confidence: Doubles, correct: Doubles, edges: Doubles) -> Measure:
    """The expected error over bins that are fixed."""
    inside = _places(confidence, edges)[:, None] == np.arange(len(edges) - 1)
    gap = inside * (correct - confidence)[:, None]  # (N, B)
    terms = np.concatenate([gap, np.ones((len(gap), 1))], 1)
    return Measure(terms, lambda sums: np.abs(sums[:, :-1]).sum(1) / sums[:, -1])


def _brier_each(labels: npt.NDArray[Any], p: Doubles) -> Doubles:
    own = p[np.arange(len(labels)), labels]
    return (p**2).sum(1) - 2 * own + 1
