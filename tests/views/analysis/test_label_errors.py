"""Label errors against a slow loop, against what cleanlab finds, and on labels that were flipped on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.views.analysis import confident_joint, label_errors

COLUMNS = ["clip_id", "given", "suggested", "probability_of_given", "probability_of_suggested", "margin"]


def made(seed: int, classes: int, clips: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=clips)
    p = rng.dirichlet(np.full(classes, 0.6), clips)
    p[np.arange(clips), labels] += rng.random(clips)
    return labels, (p / p.sum(1, keepdims=True)).astype(np.float32)


def predictions_of(labels: np.ndarray, p: np.ndarray) -> Predictions:
    return Predictions([f"{i:03d}" for i in range(len(p))], labels, {"pose": p})


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("absent", [False, True])
def test_against_a_loop(classes: int, absent: bool) -> None:
    labels, p = made(classes, classes)
    if absent:
        labels[labels == 1] = 0
    threshold = [np.mean([q[k] for q, y in zip(p, labels, strict=True) if y == k]) for k in set(labels)]
    threshold = dict(zip(sorted(set(labels)), threshold, strict=True))
    counts, found = np.zeros((classes, classes), int), {}
    for i, (y, q) in enumerate(zip(labels, p, strict=True)):
        fits = [k for k in range(classes) if k in threshold and q[k] >= threshold[k] - 1e-6]
        if not fits:
            continue
        guess = fits[0] if len(fits) == 1 else int(np.argmax(q))
        counts[y, guess] += 1
        other = max(q[k] for k in range(classes) if k != y)
        if guess != y and other > q[y] + 1e-6:
            found[f"{i:03d}"] = (str(guess), (float(q[y]) - float(other) + 1) / 2)
    joint = confident_joint(labels, p)
    np.testing.assert_array_equal(joint.counts, counts)
    for k in range(classes):
        assert joint.thresholds[k] == pytest.approx(threshold.get(k, np.nan), nan_ok=True, abs=1e-6)
    table = label_errors(predictions_of(labels, p))
    assert set(table["clip_id"]) == set(found)
    assert (len(found) > 2) == (not (absent and classes == 2)), "of one class alone nothing can be found"
    assert table["margin"].is_monotonic_increasing
    for row in table.itertuples():
        assert row.suggested == found[row.clip_id][0]
        assert row.margin == pytest.approx(found[row.clip_id][1], abs=1e-6)


def test_against_cleanlab() -> None:
    """What cleanlab 2.9.0 answers, written down: thirty clips, three classes, probabilities in percent."""
    labels = np.array(
        [2, 0, 0, 0, 0, 2, 2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 2, 2, 0, 0, 1, 1, 2, 1, 1, 1, 1, 1, 0, 2]
    )
    percent = [
        [31, 6, 63], [25, 24, 51], [67, 1, 32], [71, 3, 26], [61, 38, 1], [40, 8, 52], [19, 35, 46], [40, 56, 4],
        [2, 12, 86], [64, 2, 34], [30, 46, 24], [49, 27, 24], [41, 54, 5], [3, 58, 39], [81, 9, 10], [29, 2, 69],
        [36, 31, 33], [13, 34, 53], [39, 56, 5], [61, 35, 4], [19, 65, 16], [6, 52, 42], [22, 45, 33], [38, 59, 3],
        [6, 52, 42], [2, 91, 7], [22, 56, 22], [24, 46, 30], [51, 36, 13], [22, 44, 34],
    ]  # fmt: skip
    p = np.array(percent) / 100
    joint = confident_joint(labels, p)
    np.testing.assert_array_equal(joint.counts, [[7, 1, 3], [1, 6, 0], [0, 0, 4]])
    np.testing.assert_allclose(joint.thresholds, [0.48416667, 0.56, 0.44857143])
    assert label_errors(predictions_of(labels, p))["clip_id"].astype(int).tolist() == [8, 15, 1, 11, 18]


def test_flipped_labels_are_found(make_run: Callable[..., Run]) -> None:
    run = make_run(6, 160, noise=0.8)
    predictions = run.predictions()
    rng = np.random.default_rng(0)
    flipped = rng.choice(len(predictions), len(predictions) // 10, replace=False)
    labels = predictions.labels.copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, 6, len(flipped))) % 6
    found = label_errors(replace(predictions, labels=labels))
    wrong = {predictions.clip_ids[i] for i in flipped}
    hits = found["clip_id"].isin(wrong)
    assert len(flipped) > 15
    assert hits.sum() / len(wrong) > 0.8, "recall"
    assert hits.mean() > 0.8, "precision; by chance 0.1"
    assert hits.head(10).mean() >= 0.9, "the likeliest first"
    true = {predictions.clip_ids[i]: run.classes.names[predictions.labels[i]] for i in flipped}
    right = [row.suggested == true[row.clip_id] for row in found[hits].itertuples()]
    assert np.mean(right) > 0.8


def test_a_network_that_repeats_the_labels_shows_no_error() -> None:
    labels, _ = made(0, 4)
    learnt = np.eye(4)[labels] * 0.9 + 0.025
    found = label_errors(predictions_of(labels, learnt))
    assert found.empty
    assert list(found) == COLUMNS
    assert confident_joint(labels, learnt).counts.sum() == np.trace(confident_joint(labels, learnt).counts)


def test_ties() -> None:
    alike = label_errors(predictions_of(np.array([0, 1, 1]), np.full((3, 2), 0.5)))
    assert alike.empty, "a label as probable as any other is not an error"
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.1, 0.9]])
    given = Predictions(
        ["f", "e", "d", "c", "b", "a"],
        np.array([0, 0, 1, 1, 0, 0]),
        {"rgb": p, "pose": p, "fused": p},
        classes=Classes(("x", "y")),
    )
    found = label_errors(given, pathway="rgb")
    assert found["clip_id"].tolist() == ["a", "b"]
    assert found.loc[0, ["given", "suggested"]].tolist() == ["x", "y"]
    assert found["margin"].tolist() == pytest.approx([0.1, 0.1])


def test_what_does_not_go_together_is_refused(make_run: Callable[..., Run]) -> None:
    labels, p = made(0, 3)
    with pytest.raises(MgkitError, match="do not go together"):
        confident_joint(labels[:-1], p)
    with pytest.raises(MgkitError, match="outside 0 to 1"):
        confident_joint(labels, p[:, :2])
    p[5, 0] = np.nan
    with pytest.raises(MgkitError, match="row 5 are not finite"):
        confident_joint(labels, p)
    with pytest.raises(MgkitError, match="no 'rgb' predictions"):
        label_errors(make_run(4, pathways=("pose",), prototypes=False), pathway="rgb")
