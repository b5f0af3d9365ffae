"""Distances within and between classes against loops, silhouettes against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.metrics.pairwise import cosine_distances

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views.analysis import run_separability, separability


def made(classes: int, per_class: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), per_class))
    vectors = rng.normal(size=(classes, 5))[labels] + rng.normal(size=(len(labels), 5))
    return vectors.astype(np.float32), labels, [f"class {k}" for k in range(classes)]


@pytest.mark.parametrize("classes", [2, 6])
def test_against_loops_and_scikit_learn(classes: int) -> None:
    vectors, labels, names = made(classes)
    labels = labels[:-3]  # classes of different sizes
    vectors = vectors[:-3]
    vectors[4] = 0
    found = separability(vectors, labels, names)
    np.testing.assert_allclose(
        found.silhouettes, silhouette_samples(vectors, labels, metric="cosine"), atol=1e-6
    )
    assert found.silhouette == pytest.approx(silhouette_score(vectors, labels, metric="cosine"), abs=1e-6)
    distance = cosine_distances(vectors)
    for k, row in enumerate(found.classes.itertuples()):
        own = np.flatnonzero(labels == k)
        assert row.clips == len(own)
        assert row.intra == pytest.approx(
            np.mean([distance[i, j] for i in own for j in own if i != j]), abs=1e-6
        )
        rest = np.flatnonzero(labels != k)
        assert row.inter == pytest.approx(distance[np.ix_(own, rest)].mean(), abs=1e-6)
        means = {m: distance[np.ix_(own, labels == m)].mean() for m in range(classes) if m != k}
        nearest = min(means, key=lambda m: means[m])
        assert row.nearest == names[nearest]
        assert row.nearest_distance == pytest.approx(means[nearest], abs=1e-6)
        assert row.silhouette == pytest.approx(found.silhouettes[own].mean())
    assert found.intra == pytest.approx(found.classes["intra"].mean())
    assert found.inter == pytest.approx(found.classes["inter"].mean())


def test_classes_of_one_clip_and_of_none() -> None:
    vectors, labels, names = made(4)
    keep = (labels != 2) & ((labels != 1) | (np.cumsum(labels == 1) == 1))
    vectors, labels = vectors[keep], labels[keep]
    found = separability(vectors, labels, names)
    table = found.classes
    assert table["clips"].tolist() == [9, 1, 0, 9]
    assert table["intra"].isna().tolist() == table["silhouette"].isna().tolist() == [False, True, True, False]
    assert table["inter"].isna().tolist() == [False, False, True, False]
    assert table["nearest"].isna().tolist() == [False, False, True, False]
    assert "class 2" not in set(table["nearest"])
    reference = silhouette_samples(vectors, labels, metric="cosine")
    several = labels != 1
    np.testing.assert_allclose(found.silhouettes[several], reference[several], atol=1e-6)
    assert np.isnan(found.silhouettes[~several]).all()
    assert found.silhouette == pytest.approx(reference[several].mean(), abs=1e-6)


def test_only_one_class_with_clips_has_no_silhouette() -> None:
    vectors, _, names = made(2)
    for given in (names, names[:1]):
        found = separability(vectors, np.zeros(len(vectors), int), given)
        assert np.isnan([found.silhouette, found.inter]).all()
        assert np.isnan(found.silhouettes).all()
        assert found.classes["intra"].iloc[0] == pytest.approx(found.intra)
        assert found.classes["nearest"].isna().all()
    alone = separability([[1.0, 0.0], [0.0, 1.0]], [0, 1], names)
    assert np.isnan([alone.silhouette, alone.intra]).all()
    assert alone.inter == pytest.approx(1)


def test_equal_vectors_have_a_silhouette_of_zero() -> None:
    found = separability(np.ones((4, 3)), [0, 0, 1, 1], ["a", "b"])
    np.testing.assert_allclose(found.silhouettes, 0, atol=1e-9)
    assert found.classes["nearest"].tolist() == ["b", "a"]


def test_what_does_not_go_together_is_refused() -> None:
    vectors, labels, names = made(3)
    with pytest.raises(MgkitError, match="do not go together"):
        separability(vectors, labels[:-1], names)
    with pytest.raises(MgkitError, match="outside 0 to 1"):
        separability(vectors, labels, names[:2])
    vectors[7, 1] = np.nan
    with pytest.raises(MgkitError, match="row 7 is not finite"):
        separability(vectors, labels, names)


def test_of_a_run(make_run: Callable[..., Run]) -> None:
    run = make_run(5, 20)  # its embeddings lie in another order than its predictions
    predictions, embeddings = run.predictions(), run.embeddings()
    labels = dict(zip(predictions.clip_ids, predictions.labels, strict=True))
    for pathway in ("rgb", "pose"):
        found = run_separability(run, pathway=pathway)
        reference = silhouette_samples(
            embeddings.of(pathway), [labels[i] for i in embeddings.clip_ids], metric="cosine"
        )
        there = dict(zip(embeddings.clip_ids, reference, strict=True))
        np.testing.assert_allclose(found.silhouettes, [there[i] for i in predictions.clip_ids], atol=1e-6)
    assert list(found.classes.index) == list(run.classes.names)
    assert run_separability(make_run(4, pathways=("pose",), prototypes=False)).classes["clips"].sum() > 0
    with pytest.raises(MgkitError, match="no 'audio' embeddings"):
        run_separability(run, pathway="audio")
