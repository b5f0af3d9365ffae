"""Significance tests of one system against another, over clips, over people and over seeds.

Two sources of chance are kept apart. Another seed gives another network: `seed_mean` and `seed_difference` treat the
seeds as the sample (Student's t). Another set of people gives other test clips: `subject_interval` resamples subjects,
because clips of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError
from mgkit.results.stats.resampling import FEWEST, LIMITS, bootstrap, mean_of, unit_count

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
    """A mean with its interval; `p` is two-sided, for a true mean of 0 (NaN if unknown)."""

    mean: float
    low: float
    high: float
    p: float = float("nan")


@dataclass(frozen=True)
class Paired:
    """N clips by whether a baseline and another run are right on them: the 2x2 table, and McNemar's test of it.

    Attributes:
        right, wrong: clips that both runs have right, or both wrong.
        fixed: clips that the baseline has wrong and the other right.
        broken: clips that the baseline has right and the other wrong.
        p_exact: two-sided exact binomial p of fixed against broken (McNemar 1947); 1 if no clip changed.
        p_mid: its mid-p, which is less conservative (Fagerland et al. 2013, equation 6).
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
            f"outcomes of shapes {a.shape} and {b.shape} are not paired: give one per clip, for the same clips."
        )
    fixed, broken = int((a & ~b).sum()), int((~a & b).sum())
    right, wrong = int((a & b).sum()), int((~a & ~b).sum())
    if fixed + broken == 0:
        return Paired(right, 0, 0, wrong, 1.0, 1.0)
    exact = float(mcnemar([[right, fixed], [broken, wrong]], exact=True).pvalue)
    fewer = stats.binom(fixed + broken, 0.5)
    middle = 1.0 if fixed == broken else exact - float(fewer.pmf(min(fixed, broken)))
    return Paired(right, fixed, broken, wrong, exact, middle)


def seed_mean(values: Sequence[float], *, within: tuple[float, float] | None = None) -> Estimate:
    """Mean of S repetitions and the 95 % t interval of the mean; the interval is NaN with fewer than two.

    `within` is the range that the mean can have, (0, 1) for an accuracy: of an interval from two seeds, which is often
    wider, only that part can hold it.

    >>> e = seed_mean([0.5, 0.6, 0.7])
    >>> f"{e.mean:.2f} {e.low:.3f} {e.high:.3f}"
    '0.60 0.352 0.848'
    """
    from scipy import stats

    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise MgkitError(f"the mean over seeds needs one finite number per seed; got {values!r}.")
    mean = float(x.mean())
    if len(x) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    if np.ptp(x) < 1e-12:  # no spread: t is infinite, or 0 / 0
        return Estimate(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    found = stats.ttest_1samp(x, 0)
    low, high = found.confidence_interval(0.95)
    if within is not None:
        low, high = np.clip((low, high), *within)
    return Estimate(mean, float(low), float(high), float(found.pvalue))


def seed_difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Mean of ours - theirs over the same S seeds, with the interval and p of the paired t-test."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape:
        raise MgkitError(
            f"there are {len(a)} and {len(b)} seeds, which cannot be paired: use the same seeds."
        )
    return seed_mean((a - b).tolist())


def seeds_apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p of Student's t-test, equal variances, of two methods' accuracies over seeds that are not paired.

    One of the two may have a single seed: its spread is then taken to be that of the other. NaN if both have one.
    """
    from scipy import stats

    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.ndim != 1 or b.ndim != 1 or not len(a) or not len(b) or not np.isfinite([*a, *b]).all():
        raise MgkitError(f"seeds are compared by one finite number per seed; got {ours!r} and {theirs!r}.")
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
    subjects: Sequence[str] | None,
    generator: np.random.Generator,
    *,
    draws: int = 2000,
) -> Estimate:
    """Mean difference per clip, with a 95 % percentile bootstrap over subjects.

    See `resampling` for what such an interval covers. With fewer than `FEWEST` subjects interval and p are NaN.

    Args:
        ours, theirs: (N,) score of each clip, for example the share of seeds that had it right.
        subjects: (N,) the subject of each clip, drawn with all of its clips; None draws clips.
        generator: of the resampling.
        draws: bootstrap samples.

    Returns:
        mean, interval, and a two-sided bootstrap p (twice the smaller share of samples beyond 0, at least 1 / draws).
    """
    gain = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    values = bootstrap([mean_of(gain)], subjects, generator, draws)[0]
    if unit_count(subjects, len(gain)) < FEWEST:
        return Estimate(float(gain.mean()), float("nan"), float("nan"))
    low, high = np.quantile(values, LIMITS)
    p = min(1.0, 2 * max(1 / draws, min(float((values <= 0).mean()), float((values >= 0).mean()))))
    return Estimate(float(gain.mean()), float(low), float(high), p)


def smallest_gain(discordant: float, clips: int) -> float:
    """The smallest gain in accuracy that a paired test on so many clips would usually show.

    Of McNemar's two-sided test (Connor, Biometrics 1987): with a share d of clips on which exactly one of the two is
    right, a gain g has p < 0.05 in 80 % of all cases where sqrt(n) g = z(0.975) sqrt(d) + z(0.8) sqrt(d - g^2).

    Args:
        discordant: d, in [0, 1].
        clips: n; clips are taken as independent, and those of one person are not: the true limit is higher.

    Returns:
        g in [0, d]; NaN where no gain up to d would be found, or d is 0.

    >>> round(smallest_gain(0.2, 200), 3)
    0.088
    """
    from scipy.stats import norm

    if not 0 < discordant <= 1 or clips < 1:
        return float("nan")
    a, b = norm.ppf(0.975) * np.sqrt(discordant), norm.ppf(0.8)
    # The square of sqrt(n) g - a = b sqrt(d - g^2), solved for g.
    n = clips + b**2
    g = (a * np.sqrt(clips) + np.sqrt(a**2 * clips - n * (a**2 - b**2 * discordant))) / n
    return float(g) if g <= discordant else float("nan")


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given; NaN stays and does not count.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p_values, np.float64)
    known = ~np.isnan(p)
    if known.any():
        p = p.copy()
        p[known] = multipletests(p[known], method="holm")[1]
    return [float(value) for value in p]
