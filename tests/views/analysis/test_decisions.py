"""Certainty of decisions over classes, pathways and views, and the joints they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.saliency import Saliency, write_saliency
from mgkit.results.run.view_scores import ViewScores, write_view_scores
from mgkit.views import figures
from mgkit.views.analysis import (
    ambiguous,
    entropy,
    joint_importance,
    pathway_disagreement,
    view_variation,
    views_disagree,
)
from tests.results.fake_run import fake_clips, fake_run
from tests.results.run.test_saliency import made

pytestmark = pytest.mark.usefixtures("flat")


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


@pytest.mark.parametrize("shape", [(6, 10, 4), (3, 2, 52), (4, 5, 2)])
def test_variation_against_a_slow_loop(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.full(shape[2], 0.3), shape[:2])
    scores[0] = scores[0, 0]
    for got, dtype in (
        (view_variation(scores), float),
        (view_variation(scores.astype(np.float16)), np.float16),
    ):
        for i, views in enumerate(scores.astype(dtype).astype(float)):
            mean = views.mean(0) / views.mean(0).sum()
            total = 0.0
            for view in views:
                p = view / view.sum()
                total += sum(p[k] * np.log(p[k] / mean[k]) for k in range(len(p)) if p[k] > 0)
            assert got[i] == pytest.approx(total / len(views) / np.log(min(shape[1:])), abs=2e-3)
    assert view_variation(scores)[0] == pytest.approx(0, abs=1e-9)
    votes = views_disagree(scores)
    for i, views in enumerate(scores):
        said = int(np.argmax(views.mean(0)))
        assert votes[i] == np.mean([int(np.argmax(view)) != said for view in views])


def test_the_ends_of_the_scale() -> None:
    sure = np.eye(3)[None]  # three views, each sure of another class
    np.testing.assert_allclose(view_variation(sure), 1)
    assert views_disagree(sure)[0] == pytest.approx(2 / 3)
    assert view_variation(np.full((2, 4, 5), 0.2)).tolist() == [0, 0]
    assert view_variation(np.ones((2, 4, 1))).tolist() == [0, 0]
    assert view_variation(np.full((2, 1, 2), 0.5)).tolist() == [0, 0]
    for wrong in (np.zeros((2, 3)), np.zeros((2, 3, 4)), np.full((1, 2, 2), np.nan), np.zeros((0, 2, 2))):
        with pytest.raises(MgkitError, match="views|row 0"):
            view_variation(wrong)


def test_ambiguous_clips_vary_over_their_views(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", 4, 6), epochs=2, splits=("test",))
    assert ambiguous(run)[["view_variation", "views_disagree"]].isna().all(axis=None)
    predictions = run.predictions()
    rng = np.random.default_rng(1)
    each = {name: rng.dirichlet(np.ones(4), (len(predictions), 3)) for name in predictions.outputs}
    order = rng.permutation(len(predictions))
    write_view_scores(
        run.root, "test",
        ViewScores([predictions.clip_ids[i] for i in order], {n: a[order] for n, a in each.items()}, np.zeros(3, bool)),
    )  # fmt: skip
    for pathway in (None, "rgb"):
        table = ambiguous(run, pathway=pathway).set_index("clip_id")
        expected = view_variation(each[pathway or "fused"])
        np.testing.assert_allclose(table.loc[predictions.clip_ids, "view_variation"], expected, atol=5e-3)
    assert ambiguous(predictions)["view_variation"].isna().all()


def explained(run: Run, **changes: Any) -> Saliency:
    saliency = made(run.predictions().clip_ids, **changes)
    write_saliency(run.root, "test", saliency)
    return saliency


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", 5, 6), epochs=2, splits=("test",))


def test_importance_against_a_slow_loop(run: Run) -> None:
    saliency = explained(run)
    table = joint_importance(run)
    assert table.index.tolist() == list(run.classes.names)
    assert table.columns.tolist() == list(run.skeleton.joints)
    for k in range(5):
        votes = []
        for i in range(len(saliency)):
            if saliency.target[i] == k:
                sums = [max(0.0, sum(float(saliency.joints[i, t, v]) for t in range(4))) for v in range(17)]
                votes.append([one / sum(sums) for one in sums])
        if votes:
            np.testing.assert_allclose(table.iloc[k], np.mean(votes, 0), rtol=1e-6)
        else:
            assert table.iloc[k].isna().all()
    assert table.isna().all(axis=1).any(), "a class without clips is among them"


def test_importance_needs_joints_that_speak(run: Run) -> None:
    with pytest.raises(MgkitError, match="mgkit explain"):
        joint_importance(run)
    explained(run, joints=None, pose_frames=None)
    with pytest.raises(MgkitError, match="no pose pathway"):
        joint_importance(run)
    explained(run, joints=np.full((len(run.predictions()), 4, 17), -1.0))
    assert joint_importance(run).isna().all(axis=None)
    with pytest.raises(MgkitError, match="speaks for its class"):
        figures.joint_importance(run)
