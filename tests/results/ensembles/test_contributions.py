"""What each member adds: by hand, and against a slow bootstrap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.ensembles.contributions import agreement, leave_one_out, oracle, summary
from mgkit.results.ensembles.fuse import Ensemble, ensemble
from mgkit.results.ensembles.search import best_weights
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import macro_f1
from tests.results.ensembles.test_search import systems

# Four clips, two classes, the probability of class 1; a and b are wrong once each, c twice.
LABELS = [0, 1, 1, 0]
SAID = {"a": [0.1, 0.9, 0.4, 0.2], "b": [0.6, 0.8, 0.9, 0.3], "c": [0.4, 0.45, 0.45, 0.1]}


def by_hand(weights: Any = None, split: str = "test", names: str = "abc", ids: str = "x") -> Ensemble:
    members = {
        name: Scores([f"{ids}{i}" for i in range(4)], np.stack([1 - np.array(SAID[name]), SAID[name]], 1), LABELS)  # type: ignore[arg-type]
        for name in names
    }  # fmt: skip
    return ensemble(members, split, weights=weights)


def test_leave_one_out_by_hand() -> None:
    """Means of class 1, all: .37 .72 .58 .2; without a: .5 .625 .675 .2; b: .25 .675 .425 .15; c: .35 .85 .65 .25."""
    table = leave_one_out(by_hand(), draws=50)
    assert table.index.tolist() == ["a", "b", "c"]
    assert table["weight"].tolist() == pytest.approx([1 / 3] * 3)
    assert table["top1_alone"].tolist() == [0.75, 0.75, 0.5]
    assert table["top1"].tolist() == [1, 1, 1]
    # without a the first clip is a tie (0.6 + 0.4), which rounding to float32 leaves with class 0 or 1
    assert table["top1_without"].tolist()[1:] == [0.75, 1]
    assert table["top1_change"].tolist()[1:] == [0.25, 0]
    assert (table["fixed"]["b"], table["broken"]["b"]) == (1, 0)
    f1_without_b = macro_f1(LABELS, [0, 1, 0, 0], 2)
    assert table["macro_f1_without"]["b"] == pytest.approx(f1_without_b)
    assert table["macro_f1_change"]["b"] == pytest.approx(1 - f1_without_b)
    assert table["interval_over"].unique().tolist() == ["4 clips"]
    assert table[["top1_low", "macro_f1_high"]].isna().all(axis=None)


def test_weights_of_the_others_keep_their_ratio() -> None:
    found = by_hand(weights=[1, 2, 1])
    rest = (2 * np.array(SAID["b"]) + np.array(SAID["c"])) / 3
    assert leave_one_out(found, draws=5)["top1_without"]["a"] == np.mean(
        (rest > 0.5) == np.array(LABELS, bool)
    )
    alone = leave_one_out(by_hand(weights=[0, 1, 0]), draws=5)  # without b the others weigh alike
    assert alone["top1_without"]["b"] == 0.75
    assert alone["top1_change"].tolist()[::2] == [0, 0]


def test_intervals_against_a_slow_bootstrap_of_subjects() -> None:
    members = systems([0.5, 1.0, 1.5], 150)
    subjects = {f"c{i}": f"p{i % 9}" for i in range(150)}
    found = ensemble(members, subjects=subjects)
    table = leave_one_out(found, draws=4000)
    assert table["interval_over"].unique().tolist() == ["9 subjects"]
    labels, p = members[0].truth(), np.stack([m.probabilities for m in members])
    whole, rest = p.mean(0).argmax(1), p[:2].mean(0).argmax(1)
    rng = np.random.default_rng(7)
    gains: dict[str, list[float]] = {"top1": [], "macro_f1": []}
    for _ in range(500):
        people = rng.integers(0, 9, 9)
        rows = np.concatenate([np.flatnonzero(np.arange(150) % 9 == s) for s in people])
        gains["top1"].append(float((whole == labels)[rows].mean() - (rest == labels)[rows].mean()))
        f1 = [macro_f1(labels[rows], said[rows], 4) for said in (whole, rest)]
        gains["macro_f1"].append(f1[0] - f1[1])
    for key, values in gains.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert table[f"{key}_low"]["s2"] == pytest.approx(low, abs=0.02)
        assert table[f"{key}_high"]["s2"] == pytest.approx(high, abs=0.02)


def test_refitted_on_validation() -> None:
    val = systems([0.5, 1.0, 1.5], 120, seed=1)
    test = systems([0.5, 1.0, 1.5], 90, seed=2, names="t")
    found, checked = ensemble(test), ensemble(val, "val")
    table = leave_one_out(found, validation=checked, method="grid", step=0.1, metric="log_loss", draws=20)
    labels, p = val[0].truth(), np.stack([m.probabilities for m in val])
    full = best_weights(p, labels, "grid", "log_loss", 0.1)
    assert table["weight"].tolist() == full.tolist()
    rest = best_weights(p[[0, 2]], labels, "grid", "log_loss", 0.1)
    q = np.stack([m.probabilities for m in test])
    without = np.tensordot(rest, q[[0, 2]], 1).argmax(1) == test[0].truth()
    assert table["top1_without"]["s1"] == without.mean()
    with pytest.raises(MgkitError, match="'test' has clips of 'test', t0 among them"):
        leave_one_out(found, validation=found)
    with pytest.raises(MgkitError, match="other members"):
        leave_one_out(found, validation=ensemble(val[:2], "val"))


def test_agreement_by_hand_and_by_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    found = by_hand()
    table = agreement(found)
    assert [tuple(row) for row in table[["one", "other"]].to_numpy()] == [("a", "b"), ("a", "c"), ("b", "c")]
    a_c = table.iloc[1]  # right: a 1101, c 1001
    shares = ["both_right", "only_one", "only_other", "both_wrong", "same_mistake", "oracle"]
    assert a_c[shares].tolist() == [0.5, 0.25, 0, 0.25, 0.25, 0.75]
    for _, row in table.iterrows():
        said = [np.array(SAID[row[side]]) > 0.5 for side in ("one", "other")]
        assert row["kappa"] == pytest.approx(cohen_kappa_score(*said))
    assert oracle(found) == 1
    assert oracle(by_hand(names="ac")) == 0.75
    flat = replace(found.member("a"), probabilities=np.tile(np.float32([1, 0]), (4, 1)))
    assert np.isnan(agreement(ensemble({"x": flat, "y": replace(flat, name="y")}))["kappa"].iloc[0])


def test_one_member_and_no_labels() -> None:
    alone = by_hand(names="a")
    for use in (leave_one_out, agreement):
        with pytest.raises(MgkitError, match="there is one member"):
            use(alone)
    assert "what each member adds" not in summary(alone)
    blind = ensemble([replace(m, labels=None) for m in systems([1.0, 1.0], 5)])
    assert "the true classes are not known" in summary(blind)
    said = summary(by_hand())
    assert "what each member adds, in points (4 clips, too few for intervals)" in said
    assert "at least one member is right on 100.0 % of the clips" in said
