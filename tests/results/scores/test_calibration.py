"""Calibration errors against slow loops and scikit-learn; temperatures against a fine search."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.records import Predictions
from mgkit.results.scores import calibration
from mgkit.results.scores.calibration import (
    brier,
    calibration_table,
    classwise_error,
    expected_error,
    fit_temperature,
    temper,
)
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import wilson
from mgkit.results.stats.resampling import true_losses


def draw(clips: int = 300, classes: int = 4, too_sure: float = 1.0, seed: int = 0) -> Scores:
    """A perfectly calibrated system, then its logits multiplied by `too_sure`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (clips, classes))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in p])
    q = p**too_sure
    return Scores([f"c{i}" for i in range(clips)], q / q.sum(1, keepdims=True), labels, name="drawn")


def slow(confidence: Any, correct: Any, edges: Any) -> float:
    error = 0.0
    for low, high in pairwise(edges):
        inside = [i for i, c in enumerate(confidence) if low < c <= high or (low == 0 and c == 0)]
        if inside:
            gap = abs(np.mean(correct[inside]) - np.mean(confidence[inside]))
            error += len(inside) / len(confidence) * gap
    return error


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_expected_errors_by_a_slow_loop(bins: int) -> None:
    scores = draw()
    sure = scores.probabilities.max(1).astype(np.float64)
    right = scores.predicted() == scores.truth()
    assert expected_error(sure, right, bins) == pytest.approx(slow(sure, right, np.arange(bins + 1) / bins))
    # bins of equally many: cut the sorted confidences where a share of i / bins of them is reached
    ordered = sorted(sure)
    inner = [ordered[int(np.ceil(i * len(ordered) / bins)) - 1] for i in range(1, bins)]
    edges = sorted({0.0, *inner, 1.0})
    assert expected_error(sure, right, bins, adaptive=True) == pytest.approx(slow(sure, right, edges))
    counts = calibration_table(sure, right, bins, adaptive=True)["clips"]
    assert counts.max() - counts.min() <= 1
    k = scores.probabilities.astype(np.float64)
    each = [slow(k[:, c], scores.truth() == c, np.arange(bins + 1) / bins) for c in range(4)]
    assert classwise_error(scores.truth(), k, bins) == pytest.approx(np.mean(each))


def test_the_table_of_bins() -> None:
    table = calibration_table([0.2, 0.9, 1.0, 0.95, 0.0], [0, 1, 1, 0, 0], 10)
    assert table[["from", "to", "clips"]].to_numpy().tolist() == [
        pytest.approx([0, 0.1, 1]), pytest.approx([0.1, 0.2, 1]), pytest.approx([0.8, 0.9, 1]),
        pytest.approx([0.9, 1, 2]),
    ]  # fmt: skip
    assert (table["low"].iloc[-1], table["high"].iloc[-1]) == wilson(1, 2)
    with pytest.raises(MgkitError, match="0 bins"):
        calibration_table([0.5], [1], 0)


def test_equal_confidences_stay_in_one_bin_whatever_their_order() -> None:
    sure = np.array([0.5] * 30 + [0.8] * 5)
    right = np.arange(35) % 2 == 0
    turned = np.random.default_rng(0).permutation(35)
    one = expected_error(sure, right, 10, adaptive=True)
    assert one == expected_error(sure[turned], right[turned], 10, adaptive=True)
    assert calibration_table(sure, right, 10, adaptive=True)["clips"].tolist() == [30, 5]


def test_proper_scores_against_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    scores = draw()
    labels, p = scores.truth(), scores.probabilities.astype(np.float64)
    p = p / p.sum(1, keepdims=True)
    assert true_losses(labels, p).mean() == pytest.approx(log_loss(labels, p, labels=range(4)))
    assert brier(labels, p) == pytest.approx(float(((p - np.eye(4)[labels]) ** 2).sum(1).mean()))
    two = np.stack([p[:, 0], 1 - p[:, 0]], 1)
    truth = (labels != 0).astype(int)
    assert brier(truth, two) == pytest.approx(2 * brier_score_loss(truth, two[:, 1]))
    row = calibration.errors(scores, draws=10).iloc[0]
    assert row["log_loss"] == pytest.approx(log_loss(labels, p, labels=range(4)), rel=1e-5)
    assert row["brier"] == pytest.approx(brier(labels, p), rel=1e-5)


def test_a_perfectly_calibrated_system_is_told_from_one_too_sure() -> None:
    table = calibration.errors({"honest": draw(800), "too sure": draw(800, too_sure=2.5)}, classwise=True)
    honest, sure = table.loc["honest"], table.loc["too sure"]
    assert honest["ece"] < 2 * honest["ece_by_chance"]
    assert sure["ece_low"] > 2 * sure["ece_by_chance"]
    assert sure["ece_classwise"] > honest["ece_classwise"]
    assert sure["log_loss"] > honest["log_loss"]
    for key in ("ece", "ece_adaptive", "brier", "log_loss"):
        assert honest[f"{key}_low"] < honest[f"{key}_high"]
        assert sure[f"{key}_low"] <= sure[key] <= sure[f"{key}_high"]


def test_intervals_respect_subjects() -> None:
    scores = draw(300)
    blocks = [f"p{min(i // 100, 1) or -(i // 15)}" for i in range(300)]  # eight subjects, one of 200 clips
    labels = np.where(np.arange(300) < 100, scores.predicted(), scores.truth())  # one subject is always right
    uneven = replace(scores, labels=labels)
    alone, together = (calibration.errors(uneven, subjects=s).iloc[0] for s in (None, blocks))
    assert together["brier_high"] - together["brier_low"] > 1.5 * (alone["brier_high"] - alone["brier_low"])
    one = calibration.errors(uneven, subjects=["p"] * 300).iloc[0]
    assert np.isnan(one["ece_low"])
    assert one["ece"] == alone["ece"]
    with pytest.raises(MgkitError, match="300 clips but 2 subjects"):
        calibration.errors(uneven, subjects=["p", "q"])


def test_the_temperature_is_the_best_of_many() -> None:
    for factor in (0.4, 1.0, 2.5):
        scores = draw(2000, too_sure=factor)
        found = fit_temperature(scores)
        tried = np.exp(np.linspace(np.log(0.1), np.log(10), 150))
        losses = [true_losses(scores.truth(), temper(scores, float(t)).probabilities).mean() for t in tried]
        assert found.after <= min(losses) + 1e-6
        assert found.value == pytest.approx(tried[int(np.argmin(losses))], rel=0.05)
        assert found.value == pytest.approx(factor, rel=0.1)
        assert found.before == pytest.approx(true_losses(scores.truth(), scores.probabilities).mean())
        assert not found.limited
        assert f"on {found.clips:,} clips" in repr(found)


def test_tempering_is_the_softmax_of_divided_logits() -> None:
    from scipy.special import softmax

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20, 5))
    p = softmax(logits, 1).astype(np.float32)
    np.testing.assert_allclose(temper(p, 2.5), softmax(logits / 2.5, 1), atol=1e-6)
    assert temper(p, 1.0).tolist() == p.tolist()
    scores = draw()
    hot = temper(scores, 7.0)
    assert hot.predicted().tolist() == scores.predicted().tolist()
    assert hot.clip_ids == scores.clip_ids
    for odd in (0, -1, np.nan, np.inf):
        with pytest.raises(MgkitError, match="above 0"):
            temper(scores, odd)


def test_where_no_temperature_is_best_it_says_so() -> None:
    right = Scores(["a", "b"], np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    found = fit_temperature(right)
    assert found.limited
    assert found.value == pytest.approx(0.05)
    assert "do not determine it" in repr(found)
    wrong = fit_temperature(replace(right, labels=np.array([1, 0])))
    assert wrong.limited
    assert wrong.value == pytest.approx(20)
    certain = Scores(
        ["a", "b"], np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    )  # a zero for the true class
    assert np.isfinite(fit_temperature(certain).after)
    one = Scores(["a"], np.ones((1, 1)), np.array([0]))
    assert fit_temperature(one).after == 0
    assert calibration.errors(one).iloc[0]["ece"] == 0


def test_what_has_no_labels() -> None:
    with pytest.raises(MgkitError, match="true classes of drawn are not known"):
        fit_temperature(replace(draw(), labels=None))


def sure_of_class_0(confidence: np.ndarray, correct: np.ndarray) -> Predictions:
    """Two classes; each clip is answered with class 0 at the given confidence, 0.5 or more."""
    p = np.stack([confidence, 1 - confidence], 1).astype(np.float32)
    ids = [f"c{i}" for i in range(len(confidence))]
    return Predictions(ids, np.where(correct, 0, 1), {"rgb": p}, classes=Classes(("a", "b")))


def test_reliability_against_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.51, 1, 400).astype(np.float32).astype(np.float64)
    correct = rng.uniform(size=400) < confidence**2
    found = calibration.reliability(sure_of_class_0(confidence, correct), bins=7)
    error = 0.0
    rows = iter(found.bins.itertuples(index=False))
    for b in range(7):
        low, high = b / 7, (b + 1) / 7
        inside = [i for i in range(400) if low < confidence[i] <= high]
        if not inside:
            continue
        row = next(rows)
        share, mean = np.mean(correct[inside]), np.mean(confidence[inside])
        assert row[:5] == pytest.approx((low, high, len(inside), mean, share))
        assert row[5:] == pytest.approx(wilson(int(correct[inside].sum()), len(inside)))
        error += len(inside) / 400 * abs(share - mean)
    assert next(rows, None) is None
    assert found.error == pytest.approx(error)
    assert found.surplus == pytest.approx(confidence.mean() - correct.mean())
    assert "overconfident by" in repr(found)
    assert "<table" in found._repr_html_()


def test_reliability_of_certain_and_right_answers() -> None:
    found = calibration.reliability(sure_of_class_0(np.ones(5), np.ones(5, bool)))
    assert (found.error, found.surplus, len(found.bins)) == (0.0, 0.0, 1)
    assert found.bins["to"].tolist() == [1.0]


def test_reliability_of_what_is_not_there() -> None:
    p = sure_of_class_0(np.ones(3), np.ones(3, bool))
    with pytest.raises(MgkitError, match="bins"):
        calibration.reliability(p, bins=0)
    with pytest.raises(MgkitError, match="pose"):
        calibration.reliability(p, output="pose")
