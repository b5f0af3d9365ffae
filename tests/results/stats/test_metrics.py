"""Metrics against scikit-learn and statsmodels, and the rules for classes without clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats import metrics
from tests.results.fake_run import fake_clips, fake_run


def draw(seed: int, absent: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of 200 clips over 7 classes; class `absent` has no clip."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([k for k in range(7) if k != absent], 200)
    logits = rng.normal(size=(200, 7)) + 1.5 * np.eye(7)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("absent", [None, 3])
def test_metrics_agree_with_scikit_learn(seed: int, absent: int | None) -> None:
    from sklearn import metrics as sk

    labels, scores = draw(seed, absent)
    said, there = scores.argmax(1), np.unique(labels)
    assert metrics.top1(labels, said) == pytest.approx(sk.accuracy_score(labels, said))
    for k in (1, 3, 7):
        expected = sk.top_k_accuracy_score(labels, scores, k=k, labels=range(7)) if k < 7 else 1
        assert metrics.topk(labels, scores, k) == pytest.approx(expected)
    expected = sk.f1_score(labels, said, labels=there, average="macro", zero_division=0)
    assert metrics.macro_f1(labels, said, 7) == pytest.approx(expected)
    expected = sk.recall_score(labels, said, labels=there, average="macro")
    assert metrics.mean_class_accuracy(labels, said, 7) == pytest.approx(expected)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, said, 7), sk.confusion_matrix(labels, said, labels=range(7))
    )
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, said, labels=there, zero_division=0
    )
    table = metrics.per_class(labels, said, 7).iloc[there]
    for name, column in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        np.testing.assert_allclose(table[name], column, err_msg=name)


def test_a_class_without_clips_has_no_recall_and_no_part_in_the_means() -> None:
    table = metrics.per_class([0, 0, 1], [0, 2, 1], 4, names="abcd")
    assert table["class"].tolist() == list("abcd")
    assert table["support"].tolist() == [2, 1, 0, 0]
    assert np.isnan(table["recall"][2:]).all()
    assert np.isnan(table["f1"][2:]).all()
    assert table["precision"][2] == 0, "taken for c, and never rightly"
    assert np.isnan(table["precision"][3])
    np.testing.assert_allclose(
        table.loc[0, ["precision_low", "precision_high"]].tolist(), metrics.wilson(1, 1)
    )
    np.testing.assert_allclose(
        table.loc[2, ["precision_low", "precision_high"]].tolist(), metrics.wilson(0, 1)
    )
    assert np.isnan(table["precision_low"][3])
    assert metrics.mean_class_accuracy([0, 0, 1], [0, 2, 1], 4) == 0.75
    assert metrics.macro_f1([0, 0, 1], [0, 2, 1], 4) == pytest.approx((2 / 3 + 1) / 2)


def test_wilson_agrees_with_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for correct, total in ((0, 1), (1, 1), (0, 20), (10, 20), (20, 20), (3205, 4562), (7, 33)):
        np.testing.assert_allclose(
            metrics.wilson(correct, total), proportion_confint(correct, total, method="wilson"), atol=1e-12
        )
    np.testing.assert_allclose(metrics.wilson(3205, 4562), (0.689, 0.716), atol=5e-4)
    assert np.isnan(metrics.wilson(0, 0)).all()
    with pytest.raises(MgkitError):
        metrics.wilson(3, 2)


def test_the_lower_index_wins_ties() -> None:
    even = np.full((2, 4), 0.25)
    assert metrics.topk([0, 3], even, 1) == 0.5
    assert metrics.topk([0, 3], even, 3) == 0.5


def test_wrong_shapes_are_refused() -> None:
    for wrong in (
        lambda: metrics.top1([0, 1], [0]),
        lambda: metrics.top1([], []),
        lambda: metrics.topk([0], [[0.5, 0.5]], 3),
        lambda: metrics.confusion_matrix([0, 5], [0, 1], 3),
    ):
        with pytest.raises(MgkitError):
            wrong()


def test_evaluate_reports_every_output_and_the_majority_of_training(tmp_path: Path) -> None:
    clips = fake_clips(tmp_path / "clips", 7, 20)
    run = fake_run(tmp_path / "run", clips, epochs=1)
    table = metrics.evaluate(run, "test")
    assert table.index.tolist() == ["rgb", "pose", "fused", "majority"]
    there = run.predictions("test")
    for name in there.outputs:
        row = table.loc[name]
        assert row["top1"] == there.correct(name).mean()
        assert row["top1_low"] < row["top1"] < row["top1_high"]
        assert row["macro_f1"] == metrics.macro_f1(there.labels, there.predicted(name), 7)
        assert row["top1"] <= row["top5"] <= 1
    train, test = clips.split("train").labels, clips.split("test").labels
    assert table.loc["majority", "top1"] == (test == np.bincount(train).argmax()).mean()
    assert table.loc["majority", "mean_class_accuracy"] == pytest.approx(1 / len(np.unique(test)))
    assert (table["clips"] == len(there)).all()
    assert table.attrs["top1_interval"] == metrics.WILSON
    assert (table - table == 0).all(axis=None)

    assert metrics.evaluate(there).index.tolist() == ["rgb", "pose", "fused"]
    pd.testing.assert_frame_equal(metrics.evaluate(there, train_labels=train), table)
    with pytest.raises(MgkitError, match="has class 7"):
        metrics.evaluate(there, train_labels=[7])


def test_a_narrow_terminal_gets_every_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DataFrame would hide those in the middle, the intervals among them."""
    monkeypatch.setenv("COLUMNS", "60")
    table = metrics.evaluate(
        fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", 3, 8), epochs=1), "test"
    )
    printed = str(table)
    assert all(name in printed.split() for name in table.columns)
    assert "..." not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_evaluate_an_imported_run_of_few_classes(tmp_path: Path) -> None:
    given = Predictions(["a", "b"], np.array([0, 1]), {"fused": np.array([[0.9, 0.1], [0.8, 0.2]])})
    run = import_scores(
        tmp_path, clip_ids=given.clip_ids, labels=given.labels, probabilities=given.scores(),
        classes=Classes(("x", "y")), name="other", train_counts=[1, 9],
    )  # fmt: skip
    table = metrics.evaluate(run)
    assert table.index.tolist() == ["fused", "majority"]
    assert "top5" not in table
    assert table["top1"].tolist() == [0.5, 0.5]


GROUPS = ("body", "body", "head", "hand", "head", "hand", "hand")


def slow_f1_mean(labels: np.ndarray, scores: np.ndarray) -> float:
    """The four F1 of MA-52 from their definition, one clip and one class at a time."""
    bodies = list(dict.fromkeys(GROUPS))
    action, body = [], []
    for label, row in zip(labels, scores, strict=True):
        sums = [
            sum(float(p) for p, group in zip(row, GROUPS, strict=True) if group == name) for name in bodies
        ]
        action.append((int(label), max(range(7), key=lambda k: row[k])))
        body.append((bodies.index(GROUPS[label]), max(range(3), key=lambda g: sums[g])))
    total = 0.0
    for pairs in (action, body):
        each, hits, errors = [], 0, 0
        for k in sorted({true for true, _ in pairs}):
            tp = sum(true == k == said for true, said in pairs)
            fp = sum(true != k == said for true, said in pairs)
            fn = sum(true == k != said for true, said in pairs)
            each.append(2 * tp / (2 * tp + fp + fn))
        for (
            true,
            said,
        ) in pairs:  # over all classes a wrong answer is one false negative and one false positive
            hits, errors = hits + (true == said), errors + (true != said)
        total += sum(each) / len(each) + 2 * hits / (2 * hits + 2 * errors)
    return total / 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("absent", [None, 3])
def test_f1_mean_of_ma52(seed: int, absent: int | None) -> None:
    labels, scores = draw(seed, absent)
    assert metrics.f1_mean(labels, scores, GROUPS) == pytest.approx(slow_f1_mean(labels, scores))


def test_f1_mean_with_every_class_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    labels, scores = draw(5)
    names, bodies = metrics.group_scores(scores, GROUPS)
    assert names == ("body", "head", "hand")
    np.testing.assert_allclose(bodies.sum(1), 1)
    true = np.array([names.index(GROUPS[label]) for label in labels])
    parts = [
        f1_score(a, b.argmax(1), average=average) for a, b in ((labels, scores), (true, bodies))
        for average in ("macro", "micro")
    ]  # fmt: skip
    assert metrics.f1_mean(labels, scores, GROUPS) == pytest.approx(np.mean(parts))


def test_groups_that_do_not_fit_are_refused() -> None:
    labels, scores = draw(0)
    with pytest.raises(MgkitError, match="groups of 2 classes"):
        metrics.f1_mean(labels, scores, ("a", "b"))
    with pytest.raises(MgkitError, match="label is outside 0 to 6"):
        metrics.f1_mean(labels + 1, scores, GROUPS)


def with_background(seed: int = 0, clips: int = 60) -> Predictions:
    """Of five classes the third is background; of one clip it has all the probability."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(5), clips).astype(np.float32)
    labels = rng.integers(0, 5, clips)
    scores[0], labels[0] = (0, 0, 1, 0, 0), 4
    classes = Classes(tuple("abcde"), tuple("vvwxx"), non_gesture=4, background=2)
    own = rng.uniform(0, 1, clips).astype(np.float32)
    return Predictions(
        [f"c{i}" for i in range(clips)], labels, {"pose": scores}, {"pose": own}, classes=classes
    )


def test_predictions_without_the_background_agree_with_a_slow_loop() -> None:
    found = with_background()
    rest = found.without_background()
    assert rest.classes == Classes(tuple("abde"), tuple("vvxx"), non_gesture=3)
    assert rest.without_background() is rest
    kept = [i for i, label in enumerate(found.labels) if label != 2]
    assert rest.clip_ids == [found.clip_ids[i] for i in kept]
    for row, i in enumerate(kept):
        assert "abde"[rest.labels[row]] == "abcde"[found.labels[i]]
        scores = [float(found.probabilities["pose"][i, k]) for k in (0, 1, 3, 4)]
        expected = [score / sum(scores) for score in scores] if sum(scores) else [0.25] * 4
        assert rest.probabilities["pose"][row].tolist() == pytest.approx(expected, abs=1e-6)
    assert rest.own == {}, "the nearest other prototype may be that of the background"
    with pytest.raises(MgkitError, match="3 clips, all of 'c'"):
        found.select([found.clip_ids[i] for i in np.flatnonzero(found.labels == 2)[:3]]).without_background()


def test_a_table_shows_results_with_and_without_the_background() -> None:
    found = with_background()
    table = metrics.evaluate(found, train_labels=found.labels)
    assert table.index.tolist() == ["pose", "majority", "pose, without c", "majority, without c"]
    kept, scores = found.labels != 2, found.scores()
    assert table["clips"].tolist() == [60, 60, kept.sum(), kept.sum()]
    others = np.where(np.arange(5) == 2, -1, scores).argmax(1)
    assert table.loc["pose, without c", "top1"] == pytest.approx((others == found.labels)[kept].mean())
    most = max((0, 1, 3, 4), key=lambda k: int((found.labels == k).sum()))
    assert table.loc["majority, without c", "top1"] == pytest.approx((found.labels == most)[kept].mean())
    rest = found.without_background()
    for name in ("macro_f1", "mean_class_accuracy", "top1_low"):
        assert table.loc["pose, without c", name] == metrics.evaluate(rest).loc["pose", name]
