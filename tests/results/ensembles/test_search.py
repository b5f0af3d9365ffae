"""Weight search against brute force, and its warning against what really happens on other clips."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.ensembles.search import best_weights, choose, convex_weights, search_weights, simplex_grid
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import macro_f1, top1
from tests.results.fake_run import fake_clips, fake_run


def systems(
    skills: list[float], clips: int, seed: int = 0, classes: int = 4, names: str = "c"
) -> list[Scores]:
    """Systems that share half of what makes a clip hard; one of higher skill is right more often."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, clips)
    common = rng.normal(size=(clips, classes))
    out = []
    for i, skill in enumerate(skills):
        logits = 0.7 * common + 0.7 * rng.normal(size=(clips, classes)) + skill * np.eye(classes)[labels]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        out.append(Scores([f"{names}{j}" for j in range(clips)], p, labels, name=f"s{i}"))
    return out


def scored(metric: str, labels: Any, p: Any) -> float:
    """Larger is better; sklearn's log-loss."""
    from sklearn.metrics import log_loss

    if metric == "log_loss":
        p = np.asarray(p, np.float64)
        return -float(log_loss(labels, p / p.sum(1, keepdims=True), labels=range(p.shape[1])))
    said = p.argmax(1)
    return top1(labels, said) if metric == "top1" else macro_f1(labels, said, p.shape[1])


def test_the_grid_is_every_weight_once() -> None:
    grid = simplex_grid(3, 0.25)
    expected = {c for c in product(range(5), repeat=3) if sum(c) == 4}
    assert {tuple(row) for row in (4 * grid[1:]).astype(int).tolist()} == expected
    assert len(grid) == len(expected) + 1
    assert grid[0].tolist() == [1 / 3] * 3
    assert simplex_grid(1, 0.5).tolist() == [[1], [1]]
    for step in (0, -0.1, 0.3, 2, np.nan):
        with pytest.raises(MgkitError, match="use a fraction of 1"):
            simplex_grid(2, step)
    with pytest.raises(MgkitError, match=r"over 6 members has 53,130 weights.*method='convex'"):
        simplex_grid(6, 0.05)
    with pytest.raises(MgkitError, match="method='convex'"):
        simplex_grid(50, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["top1", "macro_f1", "log_loss"])
@pytest.mark.parametrize("seed", range(3))
def test_the_search_and_its_gain_by_brute_force(metric: Any, seed: int) -> None:
    """Every weight is tried, on all clips and again for each part left out, with scikit-learn's measures."""
    members = systems([0.8, 1.2, 1.0], 60, seed)
    labels, p = members[0].truth(), np.stack([m.probabilities for m in members]).astype(np.float64)
    subjects = {f"c{i}": f"p{i % 6}" for i in range(60)}
    found = search_weights(members, metric=metric, step=0.1, subjects=subjects, folds=6, rounds=9, draws=50)
    grid = simplex_grid(3, 0.1)
    equal = np.full(3, 1 / 3)

    def best(rows: Any) -> Any:
        score = np.array([scored(metric, labels[rows], np.tensordot(w, p[:, rows], 1)) for w in grid])
        top = np.flatnonzero(score >= score.max() - 1e-12)
        return grid[top[((grid[top] - equal) ** 2).sum(1).argmin()]]

    everything = np.ones(60, bool)
    np.testing.assert_allclose(found.weights, best(everything), atol=1e-12)
    sign = -1 if metric == "log_loss" else 1
    assert found.value == pytest.approx(
        sign * scored(metric, labels, np.tensordot(found.weights, p, 1)), rel=1e-5
    )
    assert found.equal == pytest.approx(sign * scored(metric, labels, p.mean(0)), rel=1e-5)
    assert found.apparent_gain == pytest.approx(sign * (found.value - found.equal))
    assert found.apparent_gain >= 0
    # six parts of six subjects are those subjects: one round, and no chance in it
    assert (found.folds, found.rounds, found.drawn, found.tried) == (6, 1, "6 subjects", 67)
    fused = np.empty(p.shape[1:])
    for s in range(6):
        out = np.arange(60) % 6 == s
        fused[out] = np.tensordot(best(~out), p[:, out], 1)
    gain = scored(metric, labels, fused) - scored(metric, labels, p.mean(0))
    assert found.gain == pytest.approx(gain, abs=1e-6)
    assert np.isnan([found.gain_low, found.gain_high]).all(), "six subjects bear no interval"
    assert "6 subjects, left out of the search, the gain is" in repr(found)
    assert "too few for an interval" in repr(found)
    many = {f"c{i}": f"p{i % 12}" for i in range(60)}
    of_twelve = search_weights(members, metric=metric, step=0.1, subjects=many, folds=6, rounds=1, draws=50)
    assert of_twelve.gain_low <= of_twelve.gain_high


def test_convex_weights_are_the_best_there_are() -> None:
    """Against a fine grid, and by the conditions of a minimum: no member's pull is above 1."""
    members = systems([0.5, 1.0, 1.6], 300)
    labels = members[0].truth()
    own = np.stack([m.probabilities[np.arange(300), labels] for m in members], 1).astype(np.float64)
    w = convex_weights(own)
    assert w.sum() == pytest.approx(1)
    assert (w >= 0).all()
    losses = -np.log(own @ simplex_grid(3, 0.01).T).mean(0)
    assert -np.log(own @ w).mean() <= losses.min() + 2e-6
    assert (own / (own @ w)[:, None]).mean(0).max() <= 1 + 1e-4
    found = search_weights(members, method="convex", metric="log_loss", draws=20, rounds=1)
    np.testing.assert_allclose(found.weights, w, atol=1e-9)


@pytest.mark.parametrize("members", [1, 2, 50])
def test_convex_of_any_number(members: int) -> None:
    scores = systems([1.0] * members, 200)
    found = search_weights(scores, method="convex", draws=20, rounds=1)
    assert found.weights.sum() == pytest.approx(1)
    assert len(found.by_name()) == members
    if members > 1:
        alike = convex_weights(np.tile(scores[0].probabilities[:, :1], members))  # the same member many times
        assert alike == pytest.approx(np.full(members, 1 / members))


def test_a_zero_for_the_true_class_is_borne() -> None:
    own = np.array([[0.0, 0.5], [0.9, 0.5], [0.9, 0.5]])
    w = convex_weights(own)
    assert np.isfinite(w).all()
    assert w[1] > 0.05


def test_what_the_search_promises_is_what_other_clips_give() -> None:
    """Of systems that are equally good the apparent gain is noise. The gain on clips left out says so; and it is, on
    average, that on thousands of new clips."""
    apparent, promised, true = [], [], []
    for seed in range(25):
        both = systems([1.0, 1.0, 1.0, 1.0], 3080, 100 + seed)
        few = [m.select(m.clip_ids[:80]) for m in both]
        found = search_weights(few, step=0.1, draws=20, rounds=2)
        new = np.stack([m.probabilities[80:] for m in both])
        labels = both[0].truth()[80:]
        gain = top1(labels, np.tensordot(found.weights, new, 1).argmax(1)) - top1(
            labels, new.mean(0).argmax(1)
        )
        apparent.append(found.apparent_gain)
        promised.append(found.gain)
        true.append(gain)
    assert np.mean(apparent) > 0.02
    assert np.mean(true) < 0
    assert abs(np.mean(promised) - np.mean(true)) < 0.5 * (np.mean(apparent) - np.mean(true))


def test_a_gain_that_is_real_is_found() -> None:
    found = search_weights(systems([3.0, 0.0, 0.0], 400), step=0.1, draws=200)
    assert found.weights[0] > 0.6
    assert found.gain_low > 0
    assert found.gain > 0.5 * found.apparent_gain
    assert "selection noise." in repr(found)


def test_the_words() -> None:
    noisy = search_weights(systems([1.0, 1.0, 1.0], 60), draws=200)
    said = repr(noisy)
    assert "Weights searched on 60 clips of 'val' (grid: 232 weights tried): s0" in said
    assert "of the apparent gain is selection noise" in said
    assert "equal weights may be as good" in said
    alone = search_weights(systems([1.0], 10), draws=10)
    assert "nothing to weigh" in repr(alone)
    assert alone.weights.tolist() == [1]
    one = search_weights(systems([1.0, 2.0], 20), subjects={f"c{i}": "anna" for i in range(20)})
    assert np.isnan(one.gain)
    assert one.apparent_gain <= 0 or "all clips show one subject" in repr(one)
    assert "nats" in repr(search_weights(systems([1.0, 2.0], 30), metric="log_loss", draws=10))
    single = search_weights(systems([1.0, 2.0], 1), draws=10)
    assert np.isnan(single.gain)


def test_test_clips_are_refused(tmp_path: Path) -> None:
    members = systems([1.0, 1.2], 30)
    for split in ("test", "xsub_test", "Test", "test1", "latest", "eval"):
        with pytest.raises(MgkitError, match=r"not on .*even_on_test=True"):
            search_weights(members, split)
    assert search_weights(members, "test", even_on_test=True, draws=10).split == "test"
    clips = fake_clips(tmp_path / "clips", 3, 8)
    run = fake_run(tmp_path / "run", clips, epochs=1)
    (run.root / "splits" / "test").rename(run.root / "splits" / "held")
    (run.root / "splits" / "val").rename(run.root / "splits" / "test-seen")
    (run.root / "splits" / "held").rename(run.root / "splits" / "val")
    import shutil

    shutil.copytree(run.root / "splits" / "test-seen", run.root / "splits" / "dev")
    with pytest.raises(MgkitError, match="'dev' has clips of 'test-seen'"):
        search_weights([run], "dev")
    assert search_weights([run], "val", draws=10).weights.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "random"}, "'random' is not a method"),
        ({"metric": "f1"}, "'f1' is not a metric"),
        ({"folds": 1}, "folds is 1"),
        ({"rounds": 0}, "rounds 0"),
        ({"draws": 0}, "draws is 0"),
        ({"step": 0.07}, "use a fraction of 1"),
    ],
)
def test_options_that_are_none(options: Any, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        search_weights(systems([1.0, 1.0], 20), **options)


def test_the_same_search_twice_and_another_generator() -> None:
    members = systems([1.0, 1.6, 0.4], 150)
    one, two = (search_weights(members, draws=50) for _ in range(2))
    assert (one.gain, one.gain_low) == (two.gain, two.gain_low)
    other = search_weights(members, draws=50, generator=np.random.default_rng(5))
    assert other.weights.tolist() == one.weights.tolist()
    assert (other.gain, other.gain_low) != (one.gain, one.gain_low)


def test_best_weights_of_arrays() -> None:
    members = systems([1.0, 2.0], 50)
    p = np.stack([m.probabilities for m in members])
    w = best_weights(p, members[0].truth(), "grid", "macro_f1", 0.1)
    assert w.tolist() == search_weights(members, metric="macro_f1", step=0.1, draws=10).weights.tolist()


def slow_gain(right: np.ndarray, labels: np.ndarray, folds: int, rounds: int) -> float:
    """The gain of the best candidate over the first, each clip by the choice made without its part."""
    generator, gains = np.random.default_rng(0), []
    for _ in range(rounds):
        order = generator.permutation(len(labels))
        order = sorted(order, key=lambda i: labels[i])  # a stable sort: spread by class
        parts = [order[f::folds] for f in range(folds)]
        for held in parts:
            rest = [i for i in range(len(labels)) if i not in held]
            hits = [sum(bool(candidate[i]) for i in rest) for candidate in right]
            best = hits.index(max(hits))
            gains += [int(right[best][i]) - int(right[0][i]) for i in held]
    return sum(gains) / len(gains)


@pytest.mark.parametrize("seed", range(6))
def test_a_choice_pays_on_clips_left_out_or_the_first_candidate_stands(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, 41)
    right = draw.random((7, 41)) < np.array([0.6, *[0.6 + 0.05 * (seed % 3)] * 6])[:, None]
    found = choose(right, labels)
    assert found.gain == pytest.approx(slow_gain(right, labels, 5, 4))
    assert found.best == int(right.sum(1).argmax())
    assert found.apparent_gain == pytest.approx((right.sum(1).max() - right[0].sum()) / 41)
    assert found.taken == (found.best if found.gain > 0 else 0)
    assert found.low <= found.gain <= found.high
    assert found.drawn == "41 clips"


def test_chance_is_not_chosen_and_a_gain_is() -> None:
    draw = np.random.default_rng(0)
    kept = [choose(draw.random((105, 100)) < 0.8, np.zeros(100, int), draws=10).taken == 0 for _ in range(20)]
    assert sum(kept) > 8  # of a hundred equal candidates the best is nearly always better there
    clear = draw.random((105, 100)) < 0.6
    clear[40] |= draw.random(100) < 0.8
    assert choose(clear, np.zeros(100, int), draws=10).taken == 40
    first = np.stack([clear[40], clear[40], ~clear[40]])
    assert choose(first, np.zeros(100, int)).taken == 0  # of equally good ones the first


def test_a_choice_keeps_subjects_together() -> None:
    """One person's clips prefer another candidate than everybody else's: without them nothing speaks for it."""
    subjects = [f"s{i}" for i in range(5) for _ in range(20)]
    right = np.zeros((2, 100), bool)
    right[0, 20:60], right[1, :20], right[1, 40:70] = True, True, True
    labels = np.zeros(100, int)
    by_clip, by_person = choose(right, labels), choose(right, labels, subjects)
    assert by_clip.taken == by_clip.best == 1
    assert by_person.drawn == "5 subjects"
    assert by_person.gain < by_clip.gain
    assert choose(right, labels, ["s0"] * 100).drawn == "100 clips"
    alone = choose(right[:, :1], labels[:1])
    assert alone.taken == 0
    assert np.isnan(alone.gain)
