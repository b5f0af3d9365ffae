from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mgkit.errors import MgkitError
from mgkit.results.stats.resampling import (
    ACCURACIES,
    accuracy_measures,
    bootstrap,
    combined,
    intervals,
    mean_of,
    measure,
)
from mgkit.results.stats.significance import seeds_apart


def slow_metrics(true: list[int], predicted: list[int], classes: int) -> list[float]:
    """Top-1, macro-F1 and mean class accuracy by going through the clips one at a time."""
    f1, recall = [], []
    for k in range(classes):
        tp = sum(t == k and s == k for t, s in zip(true, predicted, strict=True))
        fn = sum(t == k and s != k for t, s in zip(true, predicted, strict=True))
        fp = sum(t != k and s == k for t, s in zip(true, predicted, strict=True))
        if tp + fn:
            recall.append(tp / (tp + fn))
            f1.append(2 * tp / (2 * tp + fn + fp))
    top1 = sum(t == s for t, s in zip(true, predicted, strict=True)) / len(true)
    return [top1, sum(f1) / len(f1), sum(recall) / len(recall)]


def accuracy(true, predicted, classes, generator, subjects=None, draws=2000):
    """{name: interval} of the three accuracies."""
    measures = accuracy_measures(true, predicted, classes)
    found = intervals(list(measures.values()), subjects, generator, draws)
    return {name: tuple(bounds) for name, bounds in zip(measures, found.tolist(), strict=True)}


def data(seed: int = 0, clips: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    true = rng.choice(4, clips, p=[0.6, 0.25, 0.1, 0.05])
    predicted = np.where(rng.random((3, clips)) < 0.6, true, rng.integers(0, 4, (3, clips)))
    return true, predicted, [f"p{i}" for i in rng.integers(0, 8, clips)]


def test_measures_are_what_a_slow_loop_computes() -> None:
    """Each bootstrap sample written out as a list of clips."""
    true, predicted, people = data()
    probabilities = np.random.default_rng(5).dirichlet(np.ones(4), len(true))
    measures = [
        *accuracy_measures(true, predicted, 4).values(),
        measure("top1", true, probabilities),
        measure("macro_f1", true, probabilities),
        measure("log_loss", true, probabilities),
    ]
    measures.append(combined(measures[3:5], lambda values: values[0] - values[1]))
    names = sorted(set(people))
    for weight in np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=20):
        rows = [
            i
            for g, times in enumerate(weight)
            for _ in range(times)
            for i in range(60)
            if people[i] == names[g]
        ]
        slow = np.mean(
            [slow_metrics(list(true[rows]), list(one[rows]), 4) for one in predicted], axis=0
        ).tolist()
        one, f1, _ = slow_metrics(list(true[rows]), list(probabilities[rows].argmax(1)), 4)
        slow += [one, f1, np.mean([-np.log(probabilities[i, true[i]]) for i in rows]), one - f1]
        fast = [m.of_sums(m.terms[rows].sum(0, dtype=float)[None])[0] for m in measures]
        np.testing.assert_allclose(fast, slow)
    assert measures[3].value() == (probabilities.argmax(1) == true).mean()


@pytest.mark.slow
@pytest.mark.parametrize("by_person", [True, False])
def test_intervals_against_a_brute_force_bootstrap(by_person: bool) -> None:
    true, predicted, people = data(2, 120)
    found = accuracy(true, predicted, 4, np.random.default_rng(0), people if by_person else None, draws=4000)
    rng, values = np.random.default_rng(9), []
    units = [[i for i, one in enumerate(people) if one == name] for name in sorted(set(people))]
    units = units if by_person else [[i] for i in range(len(true))]
    for _ in range(1500):
        rows = [i for g in rng.integers(0, len(units), len(units)) for i in units[g]]
        values.append(
            np.mean([slow_metrics(list(true[rows]), list(one[rows]), 4) for one in predicted], axis=0)
        )
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    for i, name in enumerate(ACCURACIES):
        # both are estimates: of 1500 draws the ends move by about a sixteenth of the width
        width = high[i] - low[i]
        assert found[name] == pytest.approx((low[i], high[i]), abs=0.15 * width)


def test_the_same_seed_gives_the_same_interval_and_one_seed_is_a_row_of_its_own() -> None:
    true, predicted, people = data()
    first, again = (
        accuracy(true, predicted[0], 4, np.random.default_rng(3), people, draws=300) for _ in range(2)
    )
    assert first == again
    assert first == accuracy(true, predicted[:1], 4, np.random.default_rng(3), people, draws=300)
    assert first != accuracy(true, predicted[0], 4, np.random.default_rng(4), people, draws=300)


def test_coverage_of_clips_that_are_drawn_independently() -> None:
    """About 95 of 100 intervals hold the true accuracy."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        right = rng.random(150) < 0.7
        low, high = accuracy(np.zeros(150, int), (~right).astype(int), 2, rng, draws=400)["top1"]
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
            accuracy_measures(*given)  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match="one subject per clip"):
        accuracy([0, 1], [0, 1], 2, rng, subjects=["a"])
    with pytest.raises(MgkitError, match="draws is 0"):
        accuracy([0, 1], [0, 1], 2, rng, draws=0)


def test_one_subject_or_clip_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(accuracy([0, 1], [0, 1], 2, rng, subjects=["a", "a"])["top1"]).all()
    assert np.isnan(bootstrap([mean_of([0.5])], None, rng, 10)).all()


def test_one_sampler_serves_measures_of_any_kind() -> None:
    """The mean gain, and the difference of two accuracies, are the same number in every sample."""
    true, predicted, people = data(4, 90)
    a, b = (accuracy_measures(true, predicted[i], 4)["top1"] for i in (0, 1))
    gain = mean_of((predicted[0] == true).astype(float) - (predicted[1] == true))
    both = bootstrap(
        [gain, combined([a, b], lambda values: values[0] - values[1])], people, np.random.default_rng(0), 500
    )
    np.testing.assert_allclose(both[0], both[1], atol=1e-12)


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
