from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mgkit.errors import MgkitError
from mgkit.results.stats.resampling import STATISTICS, intervals, statistics
from mgkit.results.stats.significance import seeds_apart


def slow_metrics(true: list[int], said: list[int], classes: int) -> list[float]:
    """Top-1, macro-F1 and mean class accuracy by going through the clips one at a time."""
    f1, recall = [], []
    for k in range(classes):
        tp = sum(t == k and s == k for t, s in zip(true, said, strict=True))
        fn = sum(t == k and s != k for t, s in zip(true, said, strict=True))
        fp = sum(t != k and s == k for t, s in zip(true, said, strict=True))
        if tp + fn:
            recall.append(tp / (tp + fn))
            f1.append(2 * tp / (2 * tp + fn + fp))
    top1 = sum(t == s for t, s in zip(true, said, strict=True)) / len(true)
    return [top1, sum(f1) / len(f1), sum(recall) / len(recall)]


def data(seed: int = 0, clips: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    true = rng.choice(4, clips, p=[0.6, 0.25, 0.1, 0.05])
    said = np.where(rng.random((3, clips)) < 0.6, true, rng.integers(0, 4, (3, clips)))
    return true, said, [f"p{i}" for i in rng.integers(0, 8, clips)]


def test_draws_are_what_a_slow_loop_computes() -> None:
    """Each draw written out as a list of clips."""
    true, said, people = data()
    rng = np.random.default_rng(1)
    names = sorted(set(people))
    support, taken, right = np.zeros((8, 4)), np.zeros((3, 8, 4)), np.zeros((3, 8, 4))
    for i, person in enumerate(people):
        g = names.index(person)
        support[g, true[i]] += 1
        for s in range(3):
            taken[s, g, said[s, i]] += 1
            right[s, g, true[i]] += said[s, i] == true[i]
    weights = rng.multinomial(8, np.full(8, 1 / 8), size=20)
    fast = statistics(weights, support, taken, right)
    for b, weight in enumerate(weights):
        rows = [
            i
            for g, times in enumerate(weight)
            for _ in range(times)
            for i in range(60)
            if people[i] == names[g]
        ]
        slow = np.mean([slow_metrics(list(true[rows]), list(one[rows]), 4) for one in said], axis=0)
        np.testing.assert_allclose(fast[:, b], slow)


@pytest.mark.parametrize("by_person", [True, False])
def test_intervals_against_a_brute_force_bootstrap(by_person: bool) -> None:
    true, said, people = data(2, 120)
    found = intervals(
        true, said, 4, np.random.default_rng(0), subjects=people if by_person else None, draws=4000
    )
    rng, values = np.random.default_rng(9), []
    units = [[i for i, one in enumerate(people) if one == name] for name in sorted(set(people))]
    units = units if by_person else [[i] for i in range(len(true))]
    for _ in range(1500):
        rows = [i for g in rng.integers(0, len(units), len(units)) for i in units[g]]
        values.append(np.mean([slow_metrics(list(true[rows]), list(one[rows]), 4) for one in said], axis=0))
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    for i, name in enumerate(STATISTICS):
        # both are estimates: of 1500 draws the ends move by about a sixteenth of the width
        width = high[i] - low[i]
        assert found[name] == pytest.approx((low[i], high[i]), abs=0.15 * width)


def test_the_same_seed_gives_the_same_interval_and_one_seed_is_a_row_of_its_own() -> None:
    true, said, people = data()
    first, again = (
        intervals(true, said[0], 4, np.random.default_rng(3), subjects=people, draws=300) for _ in range(2)
    )
    assert first == again
    assert first == intervals(true, said[:1], 4, np.random.default_rng(3), subjects=people, draws=300)
    assert first != intervals(true, said[0], 4, np.random.default_rng(4), subjects=people, draws=300)


def test_coverage_of_clips_that_are_drawn_independently() -> None:
    """About 95 of 100 intervals hold the true accuracy."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        right = rng.random(150) < 0.7
        low, high = intervals(np.zeros(150, int), (~right).astype(int), 2, rng, draws=400)["top1"]
        held += low <= 0.7 <= high
    assert 180 <= held <= 199


def test_what_does_not_go_together_is_refused() -> None:
    rng = np.random.default_rng(0)
    for given, message in (
        (([0, 1], [0], 2), "do not go together"), (([], [], 2), "do not go together"),
        (([0, 2], [0, 1], 2), "outside 0 to 1"),
        (([0, 1], [0, -1], 2), "outside"),
    ):  # fmt: skip
        with pytest.raises(MgkitError, match=message):
            intervals(*given, rng)  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match="one subject a clip"):
        intervals([0, 1], [0, 1], 2, rng, subjects=["a"])
    with pytest.raises(MgkitError, match="one subject says nothing"):
        intervals([0, 1], [0, 1], 2, rng, subjects=["a", "a"])
    with pytest.raises(MgkitError, match="draws is 0"):
        intervals([0, 1], [0, 1], 2, rng, draws=0)


def test_students_t_over_seeds() -> None:
    a, b = [0.7, 0.8, 0.75], [0.6, 0.66, 0.7, 0.5]
    assert seeds_apart(a, b) == pytest.approx(stats.ttest_ind(a, b).pvalue)
    assert seeds_apart(b, a) == seeds_apart(a, b)
    # one against three: how far a fourth value of the same spread would stray
    t = (0.9 - np.mean(a)) / (np.std(a, ddof=1) * np.sqrt(1 + 1 / 3))
    assert seeds_apart([0.9], a) == pytest.approx(2 * stats.t.sf(t, 2))
    assert np.isnan(seeds_apart([0.9], [0.8]))
    assert (seeds_apart([0.5, 0.5], [0.5, 0.5]), seeds_apart([0.5, 0.5], [0.6, 0.6])) == (1, 0)
    with pytest.raises(MgkitError, match="one finite number"):
        seeds_apart([], a)
