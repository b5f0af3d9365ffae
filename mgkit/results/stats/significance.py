"""Is one better than the other? Paired comparisons of trainings that were repeated over seeds.

Two sources of chance are kept apart. Another seed gives another network: `seed_mean` and `seed_difference` treat the
seeds as the sample (Student's t). Another set of people gives other test clips: `subject_interval` resamples subjects,
since clips of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError

__all__ = [
    "Estimate",
    "Paired",
    "holm",
    "paired",
    "seed_difference",
    "seed_mean",
    "seeds_apart",
    "subject_interval",
]


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; `p` is two-sided, for a true mean of 0 (NaN where it was not asked for)."""

    mean: float
    low: float
    high: float
    p: float = float("nan")


@dataclass(frozen=True)
class Paired:
    """What became of N clips between a baseline and another run: the 2x2 table, and McNemar's test of it.

    Attributes:
        right, wrong: clips that both runs have right, or both wrong.
        fixed: clips that the baseline has wrong and the other right.
        broken: clips that the baseline has right and the other wrong.
        p_exact: two-sided exact binomial p of fixed against broken (McNemar 1947); 1 where no clip changed.
        p_mid: its mid-p, which errs less on the careful side (Fagerland et al. 2013, equation 6).
    """

    right: int
    fixed: int
    broken: int
    wrong: int
    p_exact: float
    p_mid: float

    @property
    def clips(self) -> int:
        return self.right + self.fixed + self.broken + self.wrong


def paired(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> Paired:
    """McNemar's test of ours against theirs, the baseline: each (N,), whether a clip was right.

    The clips are taken as independent; clips of one person are not, which `subject_interval` respects.
    """
    from scipy import stats
    from statsmodels.stats.contingency_tables import mcnemar

    a, b = np.asarray(ours, bool), np.asarray(theirs, bool)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise MgkitError(
            f"paired outcomes of shapes {a.shape} and {b.shape}: give one a clip, of the same clips."
        )
    fixed, broken = int((a & ~b).sum()), int((~a & b).sum())
    right, wrong = int((a & b).sum()), int((~a & ~b).sum())
    if fixed + broken == 0:
        return Paired(right, 0, 0, wrong, 1.0, 1.0)
    exact = float(mcnemar([[right, fixed], [broken, wrong]], exact=True).pvalue)
    fewer = stats.binom(fixed + broken, 0.5)
    middle = 1.0 if fixed == broken else exact - float(fewer.pmf(min(fixed, broken)))
    return Paired(right, fixed, broken, wrong, exact, middle)


def seed_mean(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of S repetitions and the t interval of the mean; the interval is NaN with fewer than two.

    >>> e = seed_mean([0.5, 0.6, 0.7])
    >>> f"{e.mean:.2f} {e.low:.3f} {e.high:.3f}"
    '0.60 0.352 0.848'
    """
    from scipy import stats

    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise MgkitError(f"the mean over seeds needs one finite number a seed; got {values!r}.")
    mean = float(x.mean())
    if len(x) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    error = float(x.std(ddof=1)) / np.sqrt(len(x))
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1)) * error
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(mean) / error, len(x) - 1))
    return Estimate(mean, mean - half, mean + half, p)


def seed_difference(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of ours - theirs over the same S seeds, with the interval and p of the paired t-test."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        raise MgkitError(
            f"paired over seeds, but there are {len(a)} and {len(b)} of them: use the same seeds."
        )
    return seed_mean((a - b).tolist(), level)


def seeds_apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p of Student's t-test, equal variances, of two methods' accuracies over seeds that are not paired.

    One of the two may have a single seed: its spread is then taken to be that of the other. NaN where both have one.
    """
    from scipy import stats

    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.ndim != 1 or b.ndim != 1 or not len(a) or not len(b) or not np.isfinite([*a, *b]).all():
        raise MgkitError(f"seeds are compared by one finite number each; got {ours!r} and {theirs!r}.")
    freedom = len(a) + len(b) - 2
    if freedom < 1:
        return float("nan")
    gap = abs(float(a.mean() - b.mean()))
    variance = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / freedom
    error = np.sqrt(variance * (1 / len(a) + 1 / len(b)))
    if error == 0:
        return 1.0 if gap == 0 else 0.0
    return float(2 * stats.t.sf(gap / error, freedom))


def subject_interval(
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    subjects: Sequence[str],
    generator: np.random.Generator,
    *,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Mean difference per clip, with a percentile bootstrap over subjects.

    With few subjects such intervals are somewhat too narrow: with 35 of them about 93 of 100 hold the truth, not 95.
    One subject says nothing about others: interval and p are then NaN.

    Args:
        ours, theirs: (N,) score of each clip, for example the share of seeds that had it right.
        subjects: (N,) who is seen in it; clips of one subject are drawn together.
        generator: of the resampling.
        draws: bootstrap samples.

    Returns:
        mean, interval, and a two-sided bootstrap p (twice the smaller share of samples beyond 0, at least 1 / draws).
    """
    gain = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    _, group = np.unique(np.asarray(subjects), return_inverse=True)
    if gain.ndim != 1 or len(gain) != len(group) or not len(gain):
        raise MgkitError(f"{len(gain)} clips but {len(group)} subjects: give one subject a clip.")
    totals = np.stack([np.bincount(group, gain), np.bincount(group)], 1)
    count = len(totals)
    if count == 1:
        return Estimate(float(gain.mean()), float("nan"), float("nan"))
    # Subjects with the same sum and number of clips are interchangeable: how often each kind is drawn is multinomial.
    # Where clips stand for subjects there are 20,000 of them, and three kinds.
    kinds, alike = np.unique(totals, axis=0, return_counts=True)
    drawn = generator.multinomial(count, alike / count, size=draws) @ kinds
    means = drawn[:, 0] / drawn[:, 1]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    p = min(1.0, 2 * max(1 / draws, min(float((means <= 0).mean()), float((means >= 0).mean()))))
    return Estimate(float(gain.mean()), float(low), float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given; NaN stays and does not count.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    highest = 0.0
    for rank, i in enumerate(known[np.argsort(p[known], kind="stable")]):
        highest = max(highest, min(1.0, (len(known) - rank) * float(p[i])))
        out[i] = highest
    return [float(value) for value in out]
