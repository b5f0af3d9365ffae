"""Maps of the embedding, and the separability of classes against loops and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.metrics.pairwise import cosine_distances

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.files import write_embeddings
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Embeddings
from mgkit.results.scores.scores import import_scores
from mgkit.views.analysis import (
    embedding,
    embedding_map,
    joint_maps,
    run_separability,
    separability,
)
from mgkit.views.analysis.embedding import NOTE
from tests.results.fake_run import fake_clips, fake_run


@pytest.mark.slow
def test_umap_is_seeded_cached_and_keeps_classes_together(make_run: Callable[..., Run]) -> None:
    run = make_run(6, 20, unseen=(1,), noise=0.8)
    first = embedding_map(run, "test", "rgb", cache=False)
    assert not (run.root / "cache").exists()
    again = embedding_map(run, "test", "rgb")
    np.testing.assert_array_equal(first.points, again.points)
    import umap
    from numba.core.dispatcher import Dispatcher

    compiled = [one for one in vars(umap.umap_).values() if isinstance(one, Dispatcher) and one.signatures]
    assert compiled
    assert all(one.stats.cache_path for one in compiled)  # the next process compiles nothing
    assert (first.method, first.note) == ("UMAP", NOTE)
    assert np.isfinite(first.points).all()
    assert first.seen.tolist() == [True, False, True, True, True, True]
    assert np.isnan(first.prototypes[1]).all()
    assert first.clip_ids == run.predictions("test").clip_ids
    np.testing.assert_array_equal(first.labels, run.predictions("test").labels)
    middles = np.stack([first.points[first.labels == k].mean(0) for k in range(6)])
    near = np.linalg.norm(middles[None] - first.prototypes[:, None], axis=-1)[first.seen].argmin(1)
    assert near.tolist() == np.flatnonzero(first.seen).tolist(), (
        "a prototype lies among the clips of its class"
    )

    (cached,) = (run.root / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:40])  # a broken cache is made again
    np.testing.assert_array_equal(embedding_map(run, "test", "rgb").points, first.points)
    table = first.frame(run.classes)
    assert table["kind"].value_counts().to_dict() == {"clip": len(first.points), "prototype": 5}
    assert table[["x", "y"]].notna().all().all()


def test_the_cache_answers_for_the_same_data_and_seed_only(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = fake_run(tmp_path / "run", make_run(6, 20).clips(), epochs=2, splits=("test",))
    calls: list[int] = []

    def lay(fitted: np.ndarray, moving: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        calls.append(seed)
        return fitted[:, :2], moving[:, :2]

    monkeypatch.setattr("mgkit.views.analysis.embedding._umap", lay)
    for _ in range(2):
        embedding_map(run, "test", "rgb")
    assert calls == [0]
    embedding_map(run, "test", "rgb", seed=1)
    embedding_map(run, "test", "pose")
    assert calls == [0, 1, 0]
    there = run.embeddings("test")
    changed = there.of("rgb").copy()
    changed[0, 0] += 1
    write_embeddings(run.root, "test", Embeddings(there.clip_ids, {"rgb": changed, "pose": there.of("pose")}))
    embedding_map(run, "test", "rgb")
    assert calls == [0, 1, 0, 0]


@pytest.mark.slow
def test_paths_are_placed_on_a_map_that_they_do_not_change(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = make_run(6, 20, noise=0.8).clips()
    run = fake_run(tmp_path / "run", clips, epochs=6, splits=("test",), unseen=(1,), noise=0.8)
    found = embedding_map(run, "test", "pose")
    assert found.epochs.tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(found.paths[-1], found.prototypes)
    assert np.isnan(found.paths[:, 1]).all(), "never updated"
    assert np.isfinite(np.delete(found.paths, 1, axis=1)).all()
    np.testing.assert_array_equal(embedding_map(run, "test", "pose", cache=False).paths, found.paths)
    source = embedding._source(run, "test", "pose", found.clip_ids)
    alone, nothing = embedding._umap(source.fitted, source.moving[:0], 0)
    np.testing.assert_array_equal(alone[: len(found.points)], found.points)
    assert nothing.shape == (0, 2)
    # Prototypes settle: late steps are shorter than early ones. UMAP does not promise that, a linear map keeps it.
    monkeypatch.setattr(embedding, "_umap", lambda fitted, moving, seed: embedding._pca(fitted, moving))
    paths = np.delete(embedding_map(run, "test", "pose", cache=False).paths, 1, axis=1)
    steps = np.linalg.norm(np.diff(paths, axis=0), axis=-1).mean(1)
    assert steps[-1] < steps[0]
    np.testing.assert_array_equal(found.stars(3), found.paths[2])
    with pytest.raises(MgkitError, match="no prototypes of epoch 9"):
        found.stars(9)
    table = found.frame(run.classes, epoch=2, paths=True)
    assert table["kind"].value_counts().to_dict() == {"path": 30, "clip": len(found.points), "prototype": 5}
    assert table.loc[table["kind"] == "prototype", "epoch"].unique().tolist() == [2]


def test_two_runs_on_one_map_are_turned_onto_each_other(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clips = make_run(6, 20).clips()
    before = fake_run(tmp_path / "before", clips, epochs=2, splits=("test",))
    after = fake_run(tmp_path / "after", clips, epochs=2, splits=("test",), prototypes=False)
    there = before.embeddings("test")
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(32, 32)))[0]
    kept = there.select(there.clip_ids[::-1])  # another order: the runs are joined by clip id
    write_embeddings(
        after.root,
        "test",
        Embeddings(kept.clip_ids, {n: (v @ turn).astype("f4") for n, v in kept.vectors.items()}),
    )
    fitted: list[np.ndarray] = []

    def lay(vectors: np.ndarray, moving: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        fitted.append(vectors)
        return vectors[:, :2], moving[:, :2]

    monkeypatch.setattr("mgkit.views.analysis.embedding._umap", lay)
    first, second = joint_maps(before, after, "test", "rgb")
    assert len(fitted) == 1, "one fit"
    assert first.clip_ids == second.clip_ids == before.predictions().clip_ids
    np.testing.assert_allclose(first.points, second.points, atol=1e-4)
    assert first.seen.all()
    assert not second.seen.any()
    joint_maps(before, after, "test", "rgb")
    assert len(fitted) == 1, "kept"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_clips_falls_back_to_pca(tmp_path: Path, count: int) -> None:
    clips = fake_clips(tmp_path / "clips", 2, 20)
    few = clips.select([*clips.split("train").ids, *clips.split("test").ids[:count]])
    run = fake_run(tmp_path / "run", few, epochs=1, splits=("test",), pathways=("pose",))
    found = embedding_map(run)
    assert found.method == "PCA"
    assert f"too few points for UMAP ({count + 2})" in found.note
    assert found.points.shape == (count, 2)
    assert np.isfinite(found.points).all()
    assert np.isfinite(found.prototypes).all()


def test_maps_without_prototypes_and_of_nothing(
    make_run: Callable[..., Run], flat: None, tmp_path: Path
) -> None:
    found = embedding_map(make_run(4, prototypes=False))
    assert not found.seen.any()
    assert np.isnan(found.prototypes).all()
    with pytest.raises(MgkitError, match="no 'audio' embeddings"):
        embedding_map(make_run(4), "test", "audio")
    given = import_scores(
        tmp_path,
        clip_ids=["a"],
        labels=[0],
        probabilities=[[1.0, 0.0]],
        classes=Classes(("x", "y")),
        name="x",
    )
    with pytest.raises(MgkitError, match="no pathway"):
        embedding_map(given)


# ---------------------------------------------------------------------------------------------------------------------
# Separability


def clusters(classes: int, per_class: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), per_class))
    vectors = rng.normal(size=(classes, 5))[labels] + rng.normal(size=(len(labels), 5))
    return vectors.astype(np.float32), labels, [f"class {k}" for k in range(classes)]


@pytest.mark.parametrize("classes", [2, 6])
def test_separability_against_loops_and_scikit_learn(classes: int) -> None:
    vectors, labels, names = clusters(classes)
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
    vectors, labels, names = clusters(4)
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
    vectors, _, names = clusters(2)
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


def test_vectors_that_do_not_go_together_are_refused() -> None:
    vectors, labels, names = clusters(3)
    with pytest.raises(MgkitError, match="do not go together"):
        separability(vectors, labels[:-1], names)
    with pytest.raises(MgkitError, match="outside 0 to 1"):
        separability(vectors, labels, names[:2])
    vectors[7, 1] = np.nan
    with pytest.raises(MgkitError, match="row 7 is not finite"):
        separability(vectors, labels, names)


def test_separability_of_a_run(make_run: Callable[..., Run]) -> None:
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
