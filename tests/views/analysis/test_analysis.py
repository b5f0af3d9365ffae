"""Maps, ambiguity, confusions and prototype geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.files import write_embeddings
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.views.analysis import (
    ambiguous,
    confusions,
    embedding,
    embedding_map,
    entropy,
    joint_maps,
    pathway_disagreement,
    prototype_similarity,
)
from mgkit.views.analysis.embedding import NOTE
from tests.results.fake_run import fake_clips, fake_run


def test_umap_is_seeded_cached_and_keeps_classes_together(make_run: Callable[..., Run]) -> None:
    run = make_run(6, 20, unseen=(1,), noise=0.8)
    first = embedding_map(run, "test", "rgb", cache=False)
    assert not (run.root / "cache").exists()
    again = embedding_map(run, "test", "rgb")
    np.testing.assert_array_equal(first.points, again.points)
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


@pytest.mark.parametrize("classes", [1, 2, 7])
def test_entropy_and_disagreement_against_scipy(classes: int) -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy as reference

    rng = np.random.default_rng(classes)
    p, q = rng.dirichlet(np.full(classes, 0.3), (2, 50))
    p[0], q[0] = np.eye(classes)[0], np.eye(classes)[-1]
    expected = [reference(row) / np.log(classes) if classes > 1 else 0 for row in p]
    np.testing.assert_allclose(entropy(p), expected, atol=1e-12)
    # scipy gives the square root, and NaN where rounding takes it below 0
    there = [jensenshannon(a, b, 2) ** 2 for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(pathway_disagreement(p, q), np.nan_to_num(there), atol=1e-12)
    np.testing.assert_array_equal(pathway_disagreement(p, q), pathway_disagreement(q, p))
    np.testing.assert_allclose(pathway_disagreement(p, p), 0, atol=1e-12)
    assert pathway_disagreement(p, q)[0] == pytest.approx(float(classes > 1))
    assert entropy(np.full((1, classes), 1 / classes)) == pytest.approx(float(classes > 1))


def test_only_probabilities_have_entropy_and_disagreement() -> None:
    fine = np.array([[0.5, 0.5], [0.0, 1.0]])
    assert entropy(fine).tolist() == [1, 0]
    for bad in ([[0.5, 0.5], [2.0, 3.0]], [[0.5, 0.5], [-1.0, 2.0]], [[0.5, 0.5], [np.nan, 1.0]]):
        with pytest.raises(MgkitError, match="row 1 does not consist of probabilities"):
            entropy(bad)
        with pytest.raises(MgkitError, match="row 1 does not consist of probabilities"):
            pathway_disagreement(fine, bad)
    with pytest.raises(MgkitError, match="shape"):
        entropy([0.5, 0.5])
    with pytest.raises(MgkitError, match="do not go together"):
        pathway_disagreement(fine, fine[:1])


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


def test_prototype_similarity(make_run: Callable[..., Run]) -> None:
    run = make_run(6, 20, unseen=(1,), noise=0.8)
    similarity, seen = prototype_similarity(run, "rgb")
    assert seen.tolist() == [True, False, True, True, True, True]
    assert np.isnan(similarity[1]).all()
    assert np.isnan(similarity[:, 1]).all()
    part = similarity[np.ix_(seen, seen)]
    np.testing.assert_array_equal(part, part.T)
    np.testing.assert_array_equal(np.diag(part), 1)
    vectors = run.prototypes().last("rgb")[0]
    expected = vectors[0] @ vectors[2] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[2])
    assert similarity[0, 2] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(MgkitError, match="no prototypes"):
        prototype_similarity(make_run(4, prototypes=False))
