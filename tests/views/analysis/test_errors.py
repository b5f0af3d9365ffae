"""Ambiguous clips, the best and worst of each class, partners for an error, and label errors, against slow searches."""

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
from mgkit.views.analysis import (
    ambiguous,
    confident_joint,
    confusions,
    exemplar,
    exemplars,
    hardest_fn,
    hardest_fp,
    label_errors,
    nearest_correct,
)


def handmade() -> Predictions:
    """Four clips of a: sure and right; between a and b; taken for c; of b, taken for a, far from its prototype."""
    fused = np.array([[0.98, 0.01, 0.01], [0.45, 0.44, 0.11], [0.2, 0.1, 0.7], [0.9, 0.08, 0.02]])
    own, other = np.array([0.1, 0.5, 0.8, 1.4]), np.array([1.0, 0.55, 0.4, np.nan])
    return Predictions(
        ["sure", "between", "taken", "far"],
        np.array([0, 0, 0, 1]),
        {"rgb": fused, "pose": fused[:, [1, 0, 2]], "fused": fused},
        {"rgb": own, "pose": own},
        {"rgb": other, "pose": other},
        Classes(("a", "b", "c")),
    )


def test_the_most_ambiguous_clip_comes_first() -> None:
    table = ambiguous(handmade()).set_index("clip_id")
    assert table.index[0] == "between"
    assert table.index[-1] in ("sure", "far")
    assert (table["ambiguity"].diff().dropna() <= 0).all()
    assert table["ambiguity"].between(0, 1).all()
    assert table.loc["taken", ["true", "predicted", "role", "confused_with"]].tolist() == [
        "a",
        "c",
        "FN",
        "c",
    ]
    assert table.loc["sure", "confused_with"] == "b"
    assert table.loc["taken", "margin"] == pytest.approx(-0.4)
    assert np.isnan(table.loc["far", "margin"])
    assert table.loc["far", "ambiguity"] == pytest.approx(1 - 0.82, abs=1e-6), "from probabilities alone"
    # p = (.98, .01, .01) and q = (.01, .98, .01): by hand 1 - (.99 h(.98 / .99) + .01), h the binary entropy
    share = 0.98 / 0.99
    binary = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert table.loc["sure", "disagreement"] == pytest.approx(0.99 * (1 - binary), abs=1e-6)
    assert table.loc["sure", "disagree"]
    assert table["entropy"].idxmax() == "between"


def test_roles_for_one_class() -> None:
    roles = ambiguous(handmade(), class_name="a").set_index("clip_id")["role"]
    assert roles.to_dict() == {"sure": "TP", "between": "TP", "taken": "FN", "far": "FP"}
    with pytest.raises(MgkitError, match="there is no class 'z'"):
        ambiguous(handmade(), class_name="z")


def test_ambiguity_of_a_single_pathway_and_of_a_whole_run(make_run: Callable[..., Run]) -> None:
    table = ambiguous(make_run(4, pathways=("pose",), prototypes=False), "test")
    assert table["margin"].isna().all()
    assert table["disagreement"].isna().all()
    assert not table["disagree"].any()
    run = make_run(6, 20)
    table = ambiguous(run, "test", "rgb")
    np.testing.assert_allclose(table["margin"], table["margin_rgb"])
    assert set(table["clip_id"]) == set(run.predictions("test").clip_ids)


def test_confusions_are_counted() -> None:
    there = Predictions(
        [str(i) for i in range(6)],
        np.array([0, 0, 0, 1, 1, 2]),
        {"rgb": np.eye(3)[[1, 1, 2, 0, 1, 2]]},
        classes=Classes(("a", "b", "c")),
    )
    table = confusions(there, 2)
    assert table["true"].tolist() == ["a", "b"], "of the same count, the larger share comes first"
    assert table["predicted"].tolist() == ["b", "a"]
    assert table["clips"].tolist() == [2, 1]
    assert table["share"].tolist() == [2 / 3, 0.5]
    assert table["reverse"].tolist() == [1, 2]
    assert len(confusions(there, 99)) == 3
    assert confusions(Predictions(["x"], np.array([0]), {"rgb": np.eye(2)[:1]})).empty


# ---------------------------------------------------------------------------------------------------------------------
# The best and the worst of each class


RANKED = ["class", "clip_id", "true", "predicted", "probability", "probability_of_true", "distance"]


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
    assert list(empty) == RANKED
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


# ---------------------------------------------------------------------------------------------------------------------
# A clip to compare another one with


@pytest.mark.parametrize("pathway", [None, "rgb", "pose"])
def test_nearest_correct_against_a_search(make_run: Callable[..., Run], pathway: str | None) -> None:
    run = make_run(5)
    predictions, embeddings = run.predictions(), run.embeddings()
    right = dict(zip(predictions.clip_ids, predictions.correct(pathway), strict=True))
    label = dict(zip(predictions.clip_ids, predictions.labels, strict=True))
    names = ["rgb", "pose"] if pathway is None else [pathway]
    vectors = {name: dict(zip(embeddings.clip_ids, embeddings.of(name), strict=True)) for name in names}

    def distance(a: str, b: str) -> float:
        each = []
        for name in names:
            u, v = vectors[name][a].astype(float), vectors[name][b].astype(float)
            each.append(1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v))
        return float(np.mean(each))

    checked = 0
    for clip_id in predictions.clip_ids:
        others = [i for i in predictions.clip_ids if i != clip_id and right[i] and label[i] == label[clip_id]]
        if not others:
            with pytest.raises(MgkitError, match="no other clip of"):
                nearest_correct(run, clip_id, pathway)
            continue
        found = nearest_correct(predictions, clip_id, pathway, embeddings=embeddings)
        assert found == nearest_correct(run.root, clip_id, pathway)
        assert found.clip_id == min(others, key=lambda other, at=clip_id: distance(at, other))
        assert found.distance == pytest.approx(distance(clip_id, found.clip_id), abs=1e-6)
        checked += 1
    assert checked > 10


def test_exemplar_against_a_search(make_run: Callable[..., Run]) -> None:
    run = make_run(5)
    predictions = run.predictions()
    own = (predictions.own["rgb"] + predictions.own["pose"]) / 2
    for at, clip_id in enumerate(predictions.clip_ids):
        hits = predictions.kinds(None, int(predictions.labels[at])) == "TP"
        hits[at] = False
        if not hits.any():
            continue
        found = exemplar(predictions, clip_id)
        assert found.distance == pytest.approx(own[hits].min())
        assert hits[predictions.clip_ids.index(found.clip_id)]


def test_a_missing_partner_is_named(make_run: Callable[..., Run]) -> None:
    run = make_run(5, prototypes=False)
    predictions = run.predictions()
    with pytest.raises(MgkitError, match="no distances to prototypes"):
        exemplar(predictions, predictions.clip_ids[0])
    with pytest.raises(MgkitError, match="no clip 'nobody'"):
        exemplar(predictions, "nobody")
    with pytest.raises(MgkitError, match="no clip 'nobody'"):
        nearest_correct(run, "nobody")
    with pytest.raises(MgkitError, match="pass the run, or embeddings="):
        nearest_correct(predictions, predictions.clip_ids[0])


# ---------------------------------------------------------------------------------------------------------------------
# Label errors


SUSPECTS = ["clip_id", "given", "suggested", "probability_of_given", "probability_of_suggested", "margin"]


def labelled(seed: int, classes: int, clips: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=clips)
    p = rng.dirichlet(np.full(classes, 0.6), clips)
    p[np.arange(clips), labels] += rng.random(clips)
    return labels, (p / p.sum(1, keepdims=True)).astype(np.float32)


def predictions_of(labels: np.ndarray, p: np.ndarray) -> Predictions:
    return Predictions([f"{i:03d}" for i in range(len(p))], labels, {"pose": p})


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("absent", [False, True])
def test_label_errors_against_a_loop(classes: int, absent: bool) -> None:
    labels, p = labelled(classes, classes)
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


def test_label_errors_against_cleanlab() -> None:
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
    labels, _ = labelled(0, 4)
    learnt = np.eye(4)[labels] * 0.9 + 0.025
    found = label_errors(predictions_of(labels, learnt))
    assert found.empty
    assert list(found) == SUSPECTS
    assert confident_joint(labels, learnt).counts.sum() == np.trace(confident_joint(labels, learnt).counts)


def test_ties_of_label_errors() -> None:
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


def test_labels_that_do_not_go_together_are_refused(make_run: Callable[..., Run]) -> None:
    labels, p = labelled(0, 3)
    with pytest.raises(MgkitError, match="do not go together"):
        confident_joint(labels[:-1], p)
    with pytest.raises(MgkitError, match="outside 0 to 1"):
        confident_joint(labels, p[:, :2])
    p[5, 0] = np.nan
    with pytest.raises(MgkitError, match="row 5 are not finite"):
        confident_joint(labels, p)
    with pytest.raises(MgkitError, match="no 'rgb' predictions"):
        label_errors(make_run(4, pathways=("pose",), prototypes=False), pathway="rgb")


def test_empty_tables_say_that_nothing_was_found() -> None:
    right = Predictions(["x", "y"], np.array([0, 1]), {"rgb": np.eye(2)})
    for table in (confusions(right), hardest_fn(right), hardest_fp(right), label_errors(right)):
        assert table.empty
        assert str(table).startswith("nothing found")
        assert table.columns[0] in str(table)
        assert "nothing found" in (table._repr_html_() or "")
        assert list(pd.concat([table, table]).columns) == list(table.columns)
    long = ambiguous(
        Predictions([f"c{i}" for i in range(500)], np.arange(500) % 2, {"rgb": np.eye(2)[np.arange(500) % 2]})
    )
    assert len(str(long).splitlines()) < 200
    assert "<table" in (long._repr_html_() or "")
