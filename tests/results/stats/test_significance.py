from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mgkit.errors import MgkitError
from mgkit.results.stats.significance import (
    holm,
    seed_difference,
    seed_mean,
    smallest_gain,
    subject_interval,
)


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.71, 0.64, 0.69, 0.73, 0.66]
    ours, theirs = seed_mean(values), stats.ttest_1samp(values, 0)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.mean, ours.low, ours.high) == pytest.approx((np.mean(values), low, high))
    assert ours.p == pytest.approx(theirs.pvalue)


def test_the_interval_of_an_accuracy_from_two_seeds_stays_among_accuracies() -> None:
    wide, kept = seed_mean([0.2, 0.7]), seed_mean([0.2, 0.7], within=(0, 1))
    assert wide.low < 0
    assert wide.high > 1
    assert (kept.mean, kept.low, kept.high, kept.p) == (wide.mean, 0, 1, wide.p)


def test_differences_are_paired_by_seed() -> None:
    a, b = [0.9, 0.6, 0.7, 0.8], [0.88, 0.57, 0.69, 0.77]
    ours, theirs = seed_difference(a, b), stats.ttest_rel(a, b)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.mean == pytest.approx(0.0225)
    with pytest.raises(MgkitError, match="use the same seeds"):
        seed_difference(a, b[:3])


def test_few_or_equal_seeds_are_no_evidence() -> None:
    one = seed_mean([0.5])
    assert one.mean == 0.5
    assert np.isnan([one.low, one.high, one.p]).all()
    assert seed_difference([0.5, 0.6], [0.5, 0.6]).p == 1.0
    assert seed_mean([0.1, 0.1]).p == 0.0
    for wrong in ([], [0.1, float("nan")]):
        with pytest.raises(MgkitError, match="one finite number per seed"):
            seed_mean(wrong)


def test_people_are_drawn_not_clips() -> None:
    """160 clips of eight people who differ are hardly more evidence than eight clips."""
    gain = np.repeat([0.3, -0.1] * 4, 20)
    clips = [f"c{i}" for i in range(160)]
    people = np.repeat(list("ABCDEFGH"), 20).tolist()
    generator = np.random.default_rng(0)
    alone = subject_interval(gain, np.zeros(160), clips, generator)
    grouped = subject_interval(gain, np.zeros(160), people, generator)
    assert alone.mean == grouped.mean == pytest.approx(0.1)
    assert alone.low > 0 > grouped.low
    assert grouped.high > alone.high
    assert grouped.p > 0.05 > 0.01 > alone.p


def test_few_people_bear_no_interval() -> None:
    gain = np.repeat([0.3, -0.1, 0.2], 20)
    for groups in (np.repeat(["A", "B", "C"], 20).tolist(), ["A"] * 60):
        found = subject_interval(gain, np.zeros(60), groups, np.random.default_rng(0))
        assert found.mean == pytest.approx(gain.mean())
        assert np.isnan([found.low, found.high, found.p]).all()
    seven, eight = ([f"p{i % count}" for i in range(60)] for count in (7, 8))
    assert np.isnan(subject_interval(gain, np.zeros(60), seven, np.random.default_rng(0)).low)
    assert np.isfinite(subject_interval(gain, np.zeros(60), eight, np.random.default_rng(0)).low)


def test_the_bootstrap_covers_what_it_says() -> None:
    """Of 200 made experiments without a difference, about 5 % claim one."""
    outer = np.random.default_rng(1)
    people = np.repeat(np.arange(30), 8)
    claims = 0
    for _ in range(200):
        gain = outer.normal(0, 0.2, 30)[people] + outer.normal(0, 0.4, 240)
        found = subject_interval(gain, np.zeros(240), people.tolist(), outer, draws=400)
        claims += not found.low <= 0 <= found.high
    assert 2 <= claims <= 26


def test_subjects_of_other_clips_are_refused() -> None:
    with pytest.raises(MgkitError, match="3 clips but 2 subjects"):
        subject_interval([1, 0, 1], [0, 0, 0], ["a", "b"], np.random.default_rng(0))


@pytest.mark.slow
def test_holm_is_statsmodels_and_leaves_unknowns_out() -> None:
    p = [0.001, 0.04, 0.03, 0.5, 0.02]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    with_gap = holm([p[0], float("nan"), *p[1:]])
    assert np.isnan(with_gap[1])
    assert np.delete(with_gap, 1) == pytest.approx(holm(p))


def test_one_subject_says_nothing_about_others() -> None:
    found = subject_interval([1, 1, 0], [0, 0, 0], ["a"] * 3, np.random.default_rng(0))
    assert found.mean == pytest.approx(2 / 3)
    assert np.isnan([found.low, found.high, found.p]).all()


@pytest.mark.slow
def test_kinds_of_subjects_are_drawn_as_subjects_are() -> None:
    """Against the plain bootstrap, which draws one subject after the other."""
    outer = np.random.default_rng(3)
    people = outer.integers(0, 12, 90)
    gain = outer.integers(-1, 2, 90).astype(float)
    found = subject_interval(gain, np.zeros(90), people.tolist(), outer, draws=20_000)
    there = np.unique(people)
    means = []
    for _ in range(20_000):
        rows = [gain[people == person] for person in outer.choice(there, len(there))]
        means.append(np.concatenate(rows).mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.012)
    below, above = np.mean(np.array(means) <= 0), np.mean(np.array(means) >= 0)
    assert found.p == pytest.approx(2 * min(below, above), abs=0.03)


@pytest.mark.parametrize(("discordant", "clips"), [(0.2, 200), (0.1, 1000), (0.5, 57), (0.05, 4000)])
def test_the_smallest_gain_is_found_in_four_of_five_cases(discordant: float, clips: int) -> None:
    """Against the equation solved by bisection, and against McNemar's test on drawn clips."""
    gain = smallest_gain(discordant, clips)
    low, high = 0.0, discordant
    for _ in range(60):
        middle = (low + high) / 2
        needed = 1.959964 * discordant**0.5 + 0.841621 * max(0.0, discordant - middle**2) ** 0.5
        low, high = (middle, high) if clips**0.5 * middle < needed else (low, middle)
    assert gain == pytest.approx(middle, abs=1e-5)
    generator = np.random.default_rng(0)
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    better, worse, _ = generator.multinomial(clips, shares, size=4000).T
    found = np.abs(better - worse) / np.sqrt(np.maximum(1, better + worse)) > 1.959964
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_there_may_be_no_gain_that_would_be_found() -> None:
    assert np.isnan(smallest_gain(0.0, 100))
    assert np.isnan(smallest_gain(0.02, 50))  # one clip
