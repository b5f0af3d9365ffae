"""Exemplars and hardest errors of each class against plain sorting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.views.analysis import exemplar, exemplars, hardest_fn, hardest_fp

COLUMNS = ["class", "clip_id", "true", "predicted", "probability", "probability_of_true", "distance"]


@pytest.mark.parametrize("pathway", [None, "rgb", "pose"])
def test_against_sorting(make_run: Callable[..., Run], pathway: str | None) -> None:
    run = make_run(4, 40)
    predictions = run.predictions()
    names = list(run.classes.names)
    scores = predictions.scores(pathway)
    used = ("rgb", "pose") if pathway is None else (pathway,)
    rows = [
        {
            "id": clip_id,
            "true": int(predictions.labels[i]),
            "said": int(scores[i].argmax()),
            "sure": scores[i].max(),
            "far": sum(float(predictions.own[name][i]) for name in used) / len(used),
        }
        for i, clip_id in enumerate(predictions.clip_ids)
    ]
    compared = 0
    for k, name in enumerate(names):
        hits = [r for r in rows if r["true"] == r["said"] == k]
        missed = [r for r in rows if r["true"] == k != r["said"]]
        taken = [r for r in rows if r["true"] != k == r["said"]]
        for table, expected in (
            (exemplars(run, pathway=pathway, n=3), sorted(hits, key=lambda r: r["far"])),
            (hardest_fn(run, pathway=pathway, n=3), sorted(missed, key=lambda r: -r["sure"])),
            (hardest_fn(run, pathway=pathway, n=3, by="distance"), sorted(missed, key=lambda r: -r["far"])),
            (hardest_fp(run, pathway=pathway, n=3), sorted(taken, key=lambda r: -r["sure"])),
        ):
            found = table[table["class"] == name]
            assert found["clip_id"].tolist() == [r["id"] for r in expected[:3]]
            assert found["true"].tolist() == [names[r["true"]] for r in expected[:3]]
            assert found["predicted"].tolist() == [names[r["said"]] for r in expected[:3]]
            np.testing.assert_allclose(found["probability"], [r["sure"] for r in expected[:3]])
            np.testing.assert_allclose(found["distance"], [r["far"] for r in expected[:3]], rtol=1e-5)
            compared += len(found)
    assert compared > 20


def test_the_first_exemplar_is_the_one_put_beside_an_error(make_run: Callable[..., Run]) -> None:
    predictions = make_run(4, 40).predictions()
    missed = hardest_fn(predictions)
    first = exemplars(predictions, n=1).set_index("class")
    assert len(missed)
    for row in missed.itertuples():
        assert exemplar(predictions, row.clip_id).clip_id == first.loc[row.true, "clip_id"]


def few(own: list[float] | None = None) -> Predictions:
    """Two classes, all right but one: two clips of x as sure and as close as each other, in the wrong order of ids."""
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    distances = {} if own is None else {"pose": np.array(own)}
    return Predictions(
        ["b", "a", "c", "d"],
        np.array([0, 0, 0, 1]),
        {"pose": scores},
        distances,
        distances,
        Classes(("x", "y")),
    )


def test_ties_come_by_id_and_a_class_alone_can_be_asked_for() -> None:
    found = exemplars(few([0.1, 0.1, 0.5, 0.3]), class_name="x")
    assert found["clip_id"].tolist() == ["a", "b"]
    assert exemplars(few([0.1, 0.1, 0.5, 0.3]))["class"].tolist() == ["x", "x", "y"]
    assert hardest_fn(few(), class_name="x")["clip_id"].tolist() == ["c"]
    assert hardest_fp(few(), class_name="y")["clip_id"].tolist() == ["c"]
    assert hardest_fp(few())["class"].tolist() == ["y"]
    with pytest.raises(MgkitError, match="there is no class 'z'"):
        exemplars(few([0.1, 0.1, 0.5, 0.3]), class_name="z")
    nameless = replace(few(), classes=None)
    assert hardest_fp(nameless, class_name="1")["clip_id"].tolist() == ["c"]
    with pytest.raises(MgkitError, match="there is no class 'y'"):
        hardest_fp(nameless, class_name="y")


@pytest.mark.parametrize(
    "empty",
    [
        hardest_fn(few(), class_name="y"),
        hardest_fp(few(), class_name="x"),
        hardest_fn(few(), n=0),
        exemplars(few([np.nan] * 4)),
    ],
)
def test_nothing_is_an_empty_table_with_its_columns(empty: pd.DataFrame) -> None:
    assert empty.empty
    assert list(empty) == COLUMNS
    assert empty["distance"].dtype == float
    assert empty["probability"].dtype.kind == "f"


def test_distances_that_are_not_known() -> None:
    unknown = few([np.nan, 0.2, np.nan, 0.3])
    assert exemplars(unknown, class_name="x")["clip_id"].tolist() == ["a"]
    assert hardest_fn(unknown, by="distance")["clip_id"].tolist() == ["c"], (
        "still an error, if without a rank"
    )
    two = Predictions(
        ["p", "q"],
        np.array([0, 0]),
        {name: np.array([[0.6, 0.4], [0.9, 0.1]]) for name in ("rgb", "pose", "fused")},
        {"rgb": np.array([0.4, 0.2]), "pose": np.array([np.nan, np.nan])},
    )
    found = exemplars(two)
    assert found["clip_id"].tolist() == ["q", "p"], "seen in one pathway, it is that pathway's distance"
    np.testing.assert_allclose(found["distance"], [0.2, 0.4])
    assert exemplar(two, "p").clip_id == "q"
    assert exemplars(two, pathway="pose").empty


def test_runs_without_prototypes_and_wrong_arguments(make_run: Callable[..., Run]) -> None:
    run = make_run(4, pathways=("pose",), prototypes=False)
    assert hardest_fp(run)["distance"].isna().all()
    for ask in (lambda: exemplars(run), lambda: hardest_fn(run, by="distance")):
        with pytest.raises(MgkitError, match="no distances to prototypes"):
            ask()
    with pytest.raises(MgkitError, match="by 'size'"):
        hardest_fn(run, by="size")
    with pytest.raises(MgkitError, match="at least 0"):
        hardest_fp(run, n=-1)
    with pytest.raises(MgkitError, match="no 'rgb' predictions"):
        hardest_fp(run, pathway="rgb")
