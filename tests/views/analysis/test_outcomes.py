"""Which clips stand behind a confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.compare.runs import run_names
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.views.analysis.outcomes import KINDS, ORDERS, Outcomes, changes, class_order


@pytest.mark.parametrize("classes, clips", [(2, 1), (5, 40), (32, 3000)])
def test_lookups_are_what_a_search_finds(classes: int, clips: int) -> None:
    rng = np.random.default_rng(classes)
    true, said = (
        rng.integers(0, classes, clips),
        rng.integers(0, max(1, classes - 1), clips),
    )  # the last: never predicted
    found = Outcomes(true, said, classes)
    assert len(found) == clips
    predictions = Predictions(
        [f"c{i}" for i in range(clips)], true, {"fused": np.eye(classes, dtype=np.float32)[said]}
    )
    for t in range(classes):
        assert found.of(t).tolist() == np.flatnonzero(true == t).tolist()
        assert found.taken_for(t).tolist() == np.flatnonzero(said == t).tolist()
        for kind in KINDS:
            expected = np.flatnonzero(predictions.kinds("fused", t) == kind)
            assert found.kind(kind, t).tolist() == expected.tolist(), (kind, t)
        for p in range(classes):
            cell = np.flatnonzero((true == t) & (said == p))
            assert found.cell(t, p).tolist() == cell.tolist() == found.pick(t, p).tolist()
            assert found.counts[t, p] == len(cell)
    assert found.pick(None, 0).tolist() == found.taken_for(0).tolist()
    assert found.pick(0, None).tolist() == found.of(0).tolist()
    assert found.pick(None, None).tolist() == list(range(clips))


def test_what_there_is_not() -> None:
    found = Outcomes([0, 1], [0, 0], 2)
    for ask in (lambda: found.cell(0, 2), lambda: found.of(-1), lambda: found.taken_for(2)):
        with pytest.raises(MgkitError, match="the classes are 0 to 1"):
            ask()
    with pytest.raises(MgkitError, match="'TN'"):
        found.kind("TN", 0)


def test_orders_are_permutations_and_put_alike_classes_together() -> None:
    classes = Classes(tuple("abcdef"), ("x", "y", "x", "y", "x", "z"))
    counts = np.eye(6, dtype=int) * 10
    counts[0, 5] = counts[5, 0] = 8  # a and f are taken for each other
    for order in ORDERS:
        assert sorted(class_order(classes, counts, order)) == list(range(6))
    assert class_order(classes, counts, "given").tolist() == list(range(6))
    assert class_order(classes, counts, "groups").tolist() == [0, 2, 4, 1, 3, 5]
    clustered = class_order(classes, counts, "cluster").tolist()
    assert abs(clustered.index(0) - clustered.index(5)) == 1
    plain = Classes(("a", "b"))
    assert class_order(plain, counts[:2, :2], "groups").tolist() == [0, 1]
    assert class_order(plain, counts[:2, :2], "cluster").tolist() == [0, 1]
    with pytest.raises(MgkitError, match="'size'"):
        class_order(classes, counts, "size")


def test_two_runs_are_compared_on_the_same_clips(tmp_path: Path) -> None:
    classes = Classes(("a", "b"))

    def make(name: str, ids: list[str], labels: list[int], known: Classes = classes) -> Run:
        scores = np.tile(np.float32([0.7, 0.3]), (len(ids), 1))
        return import_scores(
            tmp_path / name, clip_ids=ids, labels=labels, probabilities=scores, classes=known, name=name
        )

    one = make("one", ["x", "y", "z"], [0, 1, 0])
    two = make("two", ["z", "w", "y"], [0, 1, 1])
    with pytest.raises(MgkitError, match=r"one lacks 1 of 4 \(w\); .*two lacks 1 of 4 \(x\)\. .*common=True"):
        changes(one, two)
    found = changes(one, two, common=True)
    assert found.before.clip_ids == found.after.clip_ids == ["y", "z"]
    assert found.before.labels.tolist() == found.after.labels.tolist() == [1, 0]
    assert "on the 2 clips that all have (left out: 1 of" in found.words(("one", "two"))
    for other, message in (
        (make("wrong", ["y"], [0]), r"disagree on the true class of y \(1 and 0\)"),
        (make("apart", ["v"], [0]), "have no clip in common"),
        (make("other", ["y"], [1], known=Classes(("a", "c"))), r"different classes \(only one has b, c\)"),
        (
            make("turned", ["y"], [1], known=Classes(("b", "a"))),
            "the same in another order: class 0 is 'a' and 'b'",
        ),
    ):
        with pytest.raises(MgkitError, match=message):
            changes(one, other, common=True)


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one, two = (
        import_scores(
            tmp_path / where / "run",
            clip_ids=["x"],
            labels=[0],
            probabilities=np.float32([[1, 0]]),
            classes=Classes(("a", "b")),
            name="run",
        )
        for where in "ab"
    )
    assert run_names([one, two]) == ["a/run", "b/run"]
