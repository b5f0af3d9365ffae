from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.run.files import write_embeddings
from mgkit.results.run.folder import Run, create_run, load_run, write_predictions
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.run.status import write_status
from mgkit.results.scores.labelling import centres, gradient_centres, pseudo_labels, what_to_label
from tests.tiny import tiny_clips


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    counts = {"train": 2, "val": 12, "unlabelled": 10, "test": 1}
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts=counts, videos=False)


def made_run(
    clips: Clips, out: Path, seed: int, sure: float = 3.0, pathways: tuple[str, ...] = ("pose",)
) -> Run:
    """A run whose scores are right as far as `sure` outweighs noise."""
    rng = np.random.default_rng(seed)
    run = create_run(
        out, recipe={"imported": "made"}, settings={}, clips=clips, pathways=pathways, environment={}
    )
    for split in ("val", "unlabelled"):
        part = clips.split(split)
        scores = {
            n: softmax(rng.normal(0, 1, (len(part), 4)) + sure * np.eye(4)[part.labels]) for n in pathways
        }
        if len(pathways) > 1:
            scores["fused"] = sum(scores.values()) / len(pathways)
        scores = {name: value.astype(np.float32) for name, value in scores.items()}
        write_predictions(
            run.root, split, Predictions(part.ids, part.labels, scores, classes=clips.classes), {}
        )
        vectors = {name: rng.normal(0, 1, (len(part), 5)).astype(np.float32) for name in pathways}
        write_embeddings(run.root, split, Embeddings(part.ids, vectors))
    write_status(run.root, "finished", 0, 0)
    return load_run(run.root)


@pytest.fixture(scope="module")
def run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_run(clips, tmp_path_factory.mktemp("runs") / "run", 0)


# --- what to label next ---------------------------------------------------------------------------------------------


def test_gradient_centres_are_those_of_outer_products() -> None:
    rng = np.random.default_rng(0)
    scores, z = softmax(rng.normal(size=(30, 4))), rng.normal(size=(30, 6))
    gradients = []
    for p, vector in zip(scores, z, strict=True):
        towards = p.copy()
        towards[p.argmax()] -= 1
        gradients.append(np.outer(towards, vector).ravel())
    g, draw = np.array(gradients), np.random.default_rng(7)
    chosen = [int(np.argmax((g**2).sum(1)))]
    while len(chosen) < 9:
        nearest = np.array(
            [0.0 if i in chosen else min(((g[i] - g[j]) ** 2).sum() for j in chosen) for i in range(30)]
        )
        chosen.append(int(draw.choice(30, p=nearest / nearest.sum())))
    assert gradient_centres(scores, z, 9, np.random.default_rng(7)).tolist() == chosen


@pytest.mark.parametrize("known", [None, 3])
def test_centres_are_the_farthest_of_a_loop(known: int | None) -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(25, 3))
    there = None if known is None else rng.normal(size=(known, 3))
    at = [z.mean(0)] if there is None else list(there)
    chosen: list[int] = []
    for _ in range(8):
        far = [-1.0 if i in chosen else min(((z[i] - c) ** 2).sum() for c in at) for i in range(25)]
        chosen.append(int(np.argmax(far)))
        at.append(z[chosen[-1]])
    assert centres(z, 8, there).tolist() == chosen


def test_clips_that_are_all_the_same_are_chosen_once_each() -> None:
    scores, z = np.full((5, 2), 0.5), np.ones((5, 3))
    assert sorted(gradient_centres(scores, z, 5, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3, 4]
    assert sorted(centres(z, 5).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("way", ["gradient", "margin", "centres"])
def test_the_table_says_which_clips_and_why(run: Run, way: str) -> None:
    found = what_to_label(run, "unlabelled", 6, way=way, labelled="val")
    predictions = run.predictions("unlabelled")
    assert found["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["clip_id"].is_unique
    for row in found.to_dict("records"):
        p = predictions.scores()[predictions.rows([row["clip_id"]])[0]]
        first, second = np.sort(p)[::-1][:2]
        assert run.classes.names[int(p.argmax())] == row["predicted"] != row["second"]
        assert row["probability"] == pytest.approx(first)
        assert row["margin"] == pytest.approx(first - second)
        assert row["entropy"] == pytest.approx(-(p * np.log(p)).sum() / np.log(4), abs=1e-5)
    if way == "margin":
        scores = np.sort(predictions.scores(), axis=1)
        assert found["margin"].tolist() == pytest.approx(np.sort(scores[:, -1] - scores[:, -2])[:6])


def test_uncertain_clips_are_preferred(run: Run) -> None:
    found = what_to_label(run, "unlabelled", 8)
    scores = np.sort(run.predictions("unlabelled").scores(), axis=1)
    assert found["margin"].mean() < (scores[:, -1] - scores[:, -2]).mean()


def test_wrong_questions_are_refused(run: Run) -> None:
    with pytest.raises(MgkitError, match="1 to 40"):
        what_to_label(run, "unlabelled", 41)
    with pytest.raises(MgkitError, match="'gradient', 'margin'"):
        what_to_label(run, "unlabelled", 4, way="best")
    with pytest.raises(MgkitError, match="train"):
        what_to_label(run, "train", 4)


# --- pseudo-labels --------------------------------------------------------------------------------------------------


def test_the_threshold_is_the_smallest_with_that_precision(run: Run) -> None:
    found = pseudo_labels(run, "unlabelled", precision=0.9, least=5)
    val = run.predictions("val")
    best = None
    for value in sorted(set(val.scores().max(1).tolist()), reverse=True):
        passing = val.scores().max(1) >= value
        if passing.sum() >= 5 and val.correct()[passing].mean() >= 0.9:
            best = value
    assert found.threshold == pytest.approx(best)
    assert found.precision[0] >= 0.9
    assert found.of == 40
    predictions = run.predictions("unlabelled")
    accepted = [
        (clip_id, run.classes.names[int(p.argmax())])
        for clip_id, p in zip(predictions.clip_ids, predictions.scores(), strict=True)
        if p.max() >= found.threshold
    ]
    assert sorted(zip(found.table["clip_id"], found.table["label"], strict=True)) == sorted(accepted)
    assert found.table["confidence"].is_monotonic_decreasing
    assert "% correct" in repr(found)


def test_pathways_must_agree(clips: Clips, tmp_path: Path) -> None:
    both = made_run(clips, tmp_path / "both", 2, sure=2.0, pathways=("rgb", "pose"))
    found = pseudo_labels(both, "unlabelled", precision=0.9, least=5)
    predictions = both.predictions("unlabelled").select(found.table["clip_id"])
    names = np.array(both.classes.names, object)
    for name in ("rgb", "pose"):
        assert names[predictions.predicted(name)].tolist() == found.table["label"].tolist()
    smallest = np.minimum(predictions.scores("rgb").max(1), predictions.scores("pose").max(1))
    assert found.table["confidence"].tolist() == pytest.approx(smallest.tolist())
    runs = [made_run(clips, tmp_path / str(seed), seed, sure=2.0) for seed in (3, 4)]
    two = pseudo_labels(runs, "unlabelled", precision=0.9, least=5)
    for one in runs:
        assert (
            names[one.predictions("unlabelled").select(two.table["clip_id"]).predicted()].tolist()
            == two.table["label"].tolist()
        )
    assert set(two.table["source"]) == {"pseudo-label of 3 and 4"}


def test_a_class_has_no_more_than_its_cap(run: Run) -> None:
    every = pseudo_labels(run, "unlabelled", precision=0.8, least=5)
    found = pseudo_labels(run, "unlabelled", precision=0.8, least=5, per_class=3)
    assert found.table["label"].value_counts().max() == 3
    assert found.over == len(every) - len(found)
    for label, rows in found.table.groupby("label"):
        assert (
            rows["clip_id"].tolist() == every.table.loc[every.table["label"] == label, "clip_id"].tolist()[:3]
        )


def test_a_precision_that_is_not_reached_is_refused(clips: Clips, tmp_path: Path) -> None:
    guess = made_run(clips, tmp_path / "guess", 5, sure=0.0)
    with pytest.raises(MgkitError, match=r"no threshold gives 95 %"):
        pseudo_labels(guess, "unlabelled")
    with pytest.raises(MgkitError, match="fewer than 90 clips"):
        pseudo_labels(guess, "unlabelled", least=90)
    with pytest.raises(MgkitError, match="validation clips"):
        pseudo_labels(guess, "unlabelled", calibrate_on="test")
    with pytest.raises(MgkitError, match="at least one"):
        pseudo_labels([], "unlabelled")
