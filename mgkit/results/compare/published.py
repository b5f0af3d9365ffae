"""Published numbers on iMiGUE's test split, and whether their gaps are more than chance.

Only totals are published, not which clips a system has right. Two systems tested on the same clips are compared by the
clips on which they disagree (McNemar), so a gap of published numbers has no single p: it has a range, from few
disagreements (p small) to as many as the totals allow (p large). `within_noise` gives the range and a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError, counted, some
from mgkit.results.stats.metrics import wilson

__all__ = ["IMIGUE_TEST_CLIPS", "Noise", "noise", "table", "within_noise"]

IMIGUE_TEST_CLIPS = 4562
VERDICTS = ("within noise", "beyond noise", "undetermined")

_CHEN = "Chen et al. 2024, Table 2"
_BOARD = "Chen et al. 2024, Table 1 (MiGA 2024 leaderboard)"
_J, _L, _JL = "Skeleton (J)", "Skeleton (L)", "Skeleton (J + L)"
# method, reference, year, modality, Top-1 in per cent as printed, source of the number on iMiGUE
_ROWS = (
    ("TSM", "Lin et al., ICCV 2019", 2019, "RGB", "58.77", _CHEN),
    ("VSwin-T", "Liu et al., CVPR 2022", 2022, "RGB", "59.97", _CHEN),
    ("VSwin-S", "Liu et al., CVPR 2022", 2022, "RGB", "57.83", _CHEN),
    ("VSwin-B", "Liu et al., CVPR 2022", 2022, "RGB", "61.73", _CHEN),
    ("ST-GCN", "Yan et al., AAAI 2018", 2018, _J, "46.38", _CHEN),
    ("ST-GCN++", "Duan et al., ACM MM 2022", 2022, _J, "49.56", _CHEN),
    ("StrongAug", "Duan et al., ACM MM 2022", 2022, _J, "53.13", _CHEN),
    ("AAGCN", "Shi et al., TIP 2020", 2020, _J, "54.73", _CHEN),
    ("CTR-GCN", "Chen et al., ICCV 2021", 2021, _J, "53.02", _CHEN),
    ("DG-STGCN", "Duan et al., 2022 (preprint)", 2022, _J, "49.56", _CHEN),
    ("PoseConv3D", "Duan et al., CVPR 2022", 2022, _J, "61.11", _CHEN),
    ("Li et al., first of MiGA 2023", "Li et al., 2023", 2023, _JL, "64.12", _CHEN),
    ("EHCT, second of MiGA 2023", "Huang et al., 2023", 2023, _L, "63.02", _CHEN),
    ("Chen et al., PoseConv3D", "Chen et al., 2024", 2024, _J, "67.91", _CHEN),
    ("Chen et al., ensemble, first of MiGA 2024", "Chen et al., 2024", 2024, f"RGB & {_JL}", "70.254",
     "Chen et al. 2024, Tables 1 and 2"),
    ("NPU-MUCIS, second of MiGA 2024", "team of MiGA 2024", 2024, "not stated", "70.188", _BOARD),
    ("ywww11, third of MiGA 2024", "team of MiGA 2024", 2024, "not stated", "68.917", _BOARD),
    ("MM-Gesture, first of MiGA 2025", "Gu et al., 2025", 2025, f"RGB, flow, depth & {_JL}", "73.213",
     "arXiv 2507.08344, abstract"),
    ("Liu et al., first of MiGA 2026", "Liu et al., 2026", 2026, "RGB & Skeleton", "74.419",
     "arXiv 2606.09261, abstract"),
)  # fmt: skip


def table() -> pd.DataFrame:
    """Top-1 on iMiGUE's test split (4,562 clips) as printed by others. None of it was measured here.

    Returns:
        Index `method`; columns `reference` (who proposed it), `year`, `modality`, `top1` in [0, 1], `printed` (per
        cent, with the digits that were printed), `source` (of the number on iMiGUE), `clips`.

    >>> table().loc["PoseConv3D", "printed"]
    '61.11'
    """
    columns = ("method", "reference", "year", "modality", "printed", "source")
    table = pd.DataFrame(_ROWS, columns=list(columns)).set_index("method")
    table.insert(3, "top1", table["printed"].astype(float) / 100)
    return table.assign(clips=IMIGUE_TEST_CLIPS)


@dataclass(frozen=True)
class Noise:
    """The gap of two accuracies on the same n clips of which only the totals are known.

    Attributes:
        a, b: the accuracies, [0, 1]; n: clips; right_a, right_b: clips that each has right.
        low, high: 95 % interval of a - b as if the two had been tested on *different* clips (Newcombe 1998, method 10:
            from the Wilson intervals); p_unpaired: two-sided z-test of equal proportions. Systems that find the same
            clips hard agree more than that, so a paired test would see smaller gaps.
        least, most: the smallest and the largest number of clips on which exactly one of the two is right.
        p_least, p_most: McNemar's exact p in these two cases.
        significant_up_to: the largest number of such clips at which the gap is still significant; None = never.
    """

    a: float
    b: float
    n: int
    right_a: int
    right_b: int
    low: float
    high: float
    p_unpaired: float
    least: int
    most: int
    p_least: float
    p_most: float
    significant_up_to: int | None

    @property
    def gap(self) -> int:
        """Clips that a has right more than b."""
        return self.right_a - self.right_b

    @property
    def verdict(self) -> str:
        """ "within noise": not significant however the errors overlap; "beyond noise": significant however they do;
        "undetermined": it depends on the overlap, which was not published."""
        if self.significant_up_to is None:
            return VERDICTS[0]
        return VERDICTS[1] if self.significant_up_to >= self.most else VERDICTS[2]

    def sentence(self, first: str = "", second: str = "") -> str:
        """One plain sentence."""
        one, other = (f"{100 * value:.3f}".rstrip("0").rstrip(".") for value in (self.a, self.b))
        one, other = (
            f"{first} ({one} %)" if first else f"{one} %",
            f"{second} ({other} %)" if second else f"{other} %",
        )
        if self.gap == 0:
            return f"{one} and {other} have the same number of clips right, of {self.n:,}: there is no gap."
        count = f"{abs(self.gap):,} clip{'s' * (abs(self.gap) != 1)} of {self.n:,}"
        apart = f"{one} and {other} are {count} apart"
        if self.verdict == VERDICTS[0]:
            return f"{apart}: within noise, however their errors overlap (McNemar's p is at least {self.p_least:.2g})."
        if self.verdict == VERDICTS[1]:
            return f"{apart}: beyond noise, however their errors overlap (McNemar's p is at most {self.p_most:.2g})."
        most = self.significant_up_to or 0
        return (
            f"{apart}: the totals do not decide; it is significant only if at most "
            f"{counted(most, 'clip')} ({100 * most / self.n:.1f} %) are right in one and wrong in the other."
        )


def within_noise(a: float, b: float, n: int = IMIGUE_TEST_CLIPS) -> Noise:
    """Test whether the gap of two published accuracies on the same n clips is more than chance.

    Clips are taken as independent and the two systems as fixed. Clips of one person are not independent, and another
    seed gives another accuracy, so real noise is larger: what is "within noise" here remains so, what is "beyond" may
    not.

    Args:
        a, b: accuracies in [0, 1], with the digits that were printed (0.70254).
        n: clips that both were tested on.

    Raises:
        MgkitError: an accuracy outside [0, 1], or no clips.

    >>> within_noise(0.70254, 0.70188).sentence()
    "70.254 % and 70.188 % are 3 clips of 4,562 apart: within noise, however their errors overlap (McNemar's p is at \
least 0.25)."
    """
    from scipy import stats

    if n < 1:
        raise MgkitError(f"n is {n!r}: use the number of test clips, 1 or more.")
    for name, value in (("a", a), ("b", b)):
        if not 0 <= value <= 1:
            raise MgkitError(f"{name} is {value!r}: use a share in [0, 1]; divide per cent by 100.")
    right_a, right_b = round(a * n), round(b * n)
    (low_a, high_a), (low_b, high_b) = wilson(right_a, n), wilson(right_b, n)
    share_a, share_b = right_a / n, right_b / n
    gap, pooled = share_a - share_b, (right_a + right_b) / (2 * n)
    error = sqrt(2 * pooled * (1 - pooled) / n)
    # Beyond the gap disagreements come in pairs: one clip more that only a has right, and one that only b has.
    least = abs(right_a - right_b)
    most = right_a + right_b - 2 * max(0, right_a + right_b - n)
    fewer = np.arange((most - least) // 2 + 1)
    p = np.minimum(1.0, 2 * stats.binom.cdf(fewer, least + 2 * fewer, 0.5))
    significant = np.flatnonzero(p < 0.05)
    return Noise(
        a, b, n, right_a, right_b,
        gap - sqrt((share_a - low_a) ** 2 + (high_b - share_b) ** 2),
        gap + sqrt((high_a - share_a) ** 2 + (share_b - low_b) ** 2),
        1.0 if error == 0 else 2 * NormalDist().cdf(-abs(gap) / error),
        least, most, float(p[0]), float(p[-1]),
        int(least + 2 * significant[-1]) if len(significant) else None,
    )  # fmt: skip


def noise(
    numbers: pd.DataFrame | None = None,
    n: int = IMIGUE_TEST_CLIPS,
    *,
    neighbours: bool = False,
) -> pd.DataFrame:
    """`within_noise` of every pair of published numbers, the closest first, with one plain sentence each.

    Each p-value is of one pair; among many pairs some are small by chance.

    Args:
        numbers: index `method` and `top1` in [0, 1]; `table()` by default.
        n: clips that all were tested on.
        neighbours: only pairs that are adjacent in the order of accuracy.

    Returns:
        Columns `better`, `other`, `gap` (in [0, 1]), `clips` (the gap), `low`, `high`, `p_unpaired`, `p_least`,
        `p_most`, `significant_up_to` (clips of disagreement; missing = never), `verdict`, `sentence`.
    """
    given = table() if numbers is None else numbers
    if "top1" not in given or not given.index.is_unique:
        raise MgkitError("numbers must have a column top1 and each method once in the index.")
    missing = given.index[given["top1"].isna()]
    if len(missing):
        raise MgkitError(f"{some(missing)} has no Top-1: leave it out.")
    order = given["top1"].sort_values(ascending=False, kind="stable")
    ranked = list(order.items())
    rows: list[Mapping[str, Any]] = []
    for (better, high), (other, low) in pairwise(ranked) if neighbours else combinations(ranked, 2):
        found = within_noise(float(high), float(low), n)
        rows.append(
            {
                "better": better, "other": other, "gap": found.gap / n, "clips": found.gap, "low": found.low,
                "high": found.high, "p_unpaired": found.p_unpaired, "p_least": found.p_least, "p_most": found.p_most,
                "significant_up_to": found.significant_up_to, "verdict": found.verdict,
                "sentence": found.sentence(str(better), str(other)),
            }
        )  # fmt: skip
    columns = ["better", "other", "gap", "clips", "low", "high", "p_unpaired", "p_least", "p_most"]
    columns += ["significant_up_to", "verdict", "sentence"]
    made = pd.DataFrame(rows, columns=columns).astype({"significant_up_to": "Int64"})
    return made.sort_values("clips", kind="stable", ignore_index=True)
