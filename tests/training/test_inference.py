from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.errors import MgkitError
from mgkit.files import read_json, write_json
from mgkit.models import fuse_probabilities
from mgkit.results.compare.runs import subjects_of
from mgkit.results.ensembles.search import choose
from mgkit.results.run.folder import Run, load_run
from mgkit.results.scores.scores import import_scores
from mgkit.training import recipes
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.inference import open_network
from mgkit.training.inference import test as run_test
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe
from tests.tiny import TRIANGLE, tiny_clips, tiny_pose, tiny_row
from tests.training.training import fit, tiny_pose_only

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 2, "val": 1, "test": 3})


@pytest.fixture(scope="module")
def run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = recipes.demo(
        rgb_frames=2, pose_frames=8, rgb_size=32, heatmap_size=8, rgb_width=4, pose_width=4, embedding_dim=8,
        batch_size=4, epochs=2, learning_rate=0.1,
    )  # fmt: skip
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(clips, recipe, out, workers=0, device="cpu", progress=False)


def quiet(run: Run, **options: Any) -> Any:
    return run_test(run, **{"workers": 0, "device": "cpu", "progress": False, **options})


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_predictions_do_not_depend_on_batches_or_workers(run: Run, views: int, flip: bool) -> None:
    """Batches that cut through the views of a clip, more than all views at once, and two loader processes."""
    one = quiet(run, batch_size=1, views=views, flip=flip)
    vectors = run.embeddings("test").vectors
    for options in ({"batch_size": 7}, {"batch_size": 500, "workers": 2}):
        two = quiet(run, views=views, flip=flip, **options)
        assert one.clip_ids == two.clip_ids
        for name in ("rgb", "pose", "fused"):
            np.testing.assert_allclose(one.probabilities[name], two.probabilities[name], atol=1e-5)
        for name, values in run.embeddings("test").vectors.items():
            np.testing.assert_allclose(values, vectors[name], atol=1e-4)
        for name in ("rgb", "pose"):
            np.testing.assert_allclose(one.own[name], two.own[name], atol=1e-5)
    again = quiet(run, batch_size=7, views=views, flip=flip, workers=1)
    same = quiet(run, batch_size=7, views=views, flip=flip)
    for name in ("rgb", "pose", "fused"):  # workers change not a bit
        np.testing.assert_array_equal(again.probabilities[name], same.probabilities[name])
    embeddings = run.embeddings("test")
    assert embeddings.clip_ids == one.clip_ids
    assert embeddings.vectors["rgb"].shape == (12, 8)


def test_views_are_averaged(run: Run, clips: Clips) -> None:
    plain = quiet(run, views=1)
    both = quiet(run, views=1, flip=True)
    assert not np.allclose(plain.probabilities["pose"], both.probabilities["pose"])
    for p in (plain, both):
        np.testing.assert_allclose(p.probabilities["fused"].sum(1), 1, atol=1e-5)
        mean = (p.probabilities["rgb"] + p.probabilities["pose"]) / 2
        np.testing.assert_allclose(p.probabilities["fused"], mean, atol=1e-6)
    weighted = quiet(run, weights={"rgb": 3, "pose": 1})
    mean = 0.75 * plain.probabilities["rgb"] + 0.25 * plain.probabilities["pose"]
    np.testing.assert_allclose(weighted.probabilities["fused"], mean, atol=1e-6)


def test_what_each_view_said_is_kept(run: Run) -> None:
    """Against each view tested alone, in batches that end in the middle of a clip, and in other processes."""
    clips = run.clips().split("test")
    whole = quiet(run, views=3, flip=True, batch_size=4)
    kept = run.view_scores("test")
    assert kept.clip_ids == whole.clip_ids
    assert kept.views == 6
    assert kept.mirrored.tolist() == [False] * 3 + [True] * 3
    for name, p in whole.probabilities.items():
        np.testing.assert_allclose(kept.scores(name).mean(1), p, atol=5e-4)
    recipe = Recipe.from_dict(run.recipe, where="here")
    network = open_network(run, None, "best", "cpu", None, 0.0)
    network.model.eval()
    dataset = ClipDataset(clips, recipe.inputs.on(clips.skeleton), training=False, views=3, flip=True)
    for position in (0, 7):
        for view in range(6):
            batch = collate([dataset[0, position, view]])
            with torch.no_grad():
                outputs = network.model(batch_inputs(batch, dataset.spec, clips.skeleton))
            for name, p in fuse_probabilities(outputs).items():
                np.testing.assert_allclose(kept.scores(name)[position, view], p[0], atol=5e-4)
    for options in ({"batch_size": 1}, {"batch_size": 64, "workers": 2}):
        quiet(run, views=3, flip=True, **options)
        np.testing.assert_allclose(run.view_scores("test").scores(), kept.scores(), atol=5e-4)
    picked = kept.select([clips.ids[5], clips.ids[1]])
    np.testing.assert_array_equal(picked.scores("pose"), kept.scores("pose")[[5, 1]])
    assert run.has_view_scores("test")
    quiet(run, views=1)
    assert not run.has_view_scores("test"), "never the views of other predictions"
    with pytest.raises(MgkitError, match="--views 10"):
        run.view_scores("test")


def test_distances_to_prototypes_are_those_of_the_checkpoint(run: Run, clips: Clips) -> None:
    predictions = quiet(run)
    state = load_checkpoint(run.checkpoint("best"))["objective"]
    for name in ("rgb", "pose"):
        bank = state[f"refinement.{name}.prototypes"].numpy()
        seen = state[f"refinement.{name}.updates"].numpy() > 0
        vectors = run.embeddings("test").vectors[name]
        for i, label in enumerate(predictions.labels):
            cosine = bank @ vectors[i] / np.linalg.norm(bank, axis=1) / np.linalg.norm(vectors[i])
            distance = np.where(seen, 1 - cosine, np.nan)
            np.testing.assert_allclose(predictions.own[name][i], distance[label], atol=1e-5)
            rest = np.delete(distance, label)
            nearest = np.nan if np.isnan(rest).all() else np.nanmin(rest)
            np.testing.assert_allclose(predictions.other[name][i], nearest, atol=1e-5)


def test_rectification_adds_similarities_to_the_logits(run: Run) -> None:
    plain, moved = quiet(run), quiet(run, rectification=3.0)
    state = load_checkpoint(run.checkpoint("best"))["objective"]
    embeddings = run.embeddings("test")
    for name in ("rgb", "pose"):
        bank = state[f"refinement.{name}.prototypes"].numpy()
        seen = state[f"refinement.{name}.updates"].numpy() > 0
        vectors = embeddings.vectors[name]
        cosine = vectors @ bank.T / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(bank, axis=1)
        # Of one view the softmax undoes the logarithm, up to a constant a clip.
        logits = np.log(plain.probabilities[name]) + 3.0 * np.where(seen, cosine, 0)
        wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(moved.probabilities[name], wanted, atol=1e-5)
    assert run.test_settings("test") == {
        "checkpoint": "best", "epoch": load_checkpoint(run.checkpoint("best"))["epoch"] + 1, "views": 1,
        "flip": False, "weights": None, "rectification": 3.0, "clips": run.clips().fingerprint,
    }  # fmt: skip
    with pytest.raises(MgkitError, match="rectification is -1"):
        quiet(run, rectification=-1.0)


def test_without_prototypes_nothing_can_be_rectified(clips: Clips, tmp_path: Path) -> None:
    recipe = recipes.demo(
        rgb_frames=2, pose_frames=8, rgb_size=32, heatmap_size=8, rgb_width=4, pose_width=4, embedding_dim=8,
        batch_size=4, epochs=1, prototypes=False,
    ).stages[1]  # fmt: skip
    bare = train(clips, recipe, tmp_path / "run", workers=0, device="cpu", progress=False)
    with pytest.raises(MgkitError, match="trained without prototypes"):
        quiet(bare, rectification=1.0)


def test_what_does_not_fit_the_run_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="no clip in split 'dev'"):
        quiet(run, split="dev")
    other = write_clip_folder(
        tmp_path, [tiny_row("a", 0, split="test")], [tiny_pose(0, 0)], Classes(("x", "y")), TRIANGLE
    )
    with pytest.raises(MgkitError, match="has other classes than the run"):
        quiet(run, clips=other)
    for wrong in ({"views": 0}, {"batch_size": 0}, {"batch_size": -2}):
        with pytest.raises(MgkitError, match="use a whole number, 1 or more"):
            quiet(run, **wrong)
    for weights in ({"rgb": 1.0}, {"rgb": 1, "pose": 1, "x": 1}):
        with pytest.raises(MgkitError, match="give one for each of rgb, pose"):
            quiet(run, weights=weights)
    with pytest.raises(MgkitError, match="device is 'tpu'"):
        quiet(run, device="tpu")


def test_imported_scores_have_no_network(clips: Clips, tmp_path: Path) -> None:
    scores = np.full((1, len(clips.classes)), 1 / len(clips.classes))
    run = import_scores(
        tmp_path / "theirs",
        clip_ids=clips.ids[:1],
        labels=[0],
        probabilities=scores,
        classes=clips.classes,
        name="a",
    )
    for given in (None, clips):
        with pytest.raises(MgkitError, match="was made from scores, so it has no network"):
            run_test(run, clips=given)


def test_a_broken_video_is_one_sentence_from_a_worker_too(run: Run, tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"test": 1})
    (tmp_path / clips.table["video"].iloc[1]).write_bytes(b"rubbish")
    for workers in (0, 1):
        with pytest.raises(MgkitError) as error:
            quiet(run, clips=clips, workers=workers)
        assert "test_1_0.mp4" in str(error.value)
        assert "Traceback" not in str(error.value)


def test_a_checkpoint_that_runs_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (Path("hostile-was-here"),))

    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "model": Hostile()}, tmp_path / "x.pt")
    with pytest.raises(MgkitError, match=r"x\.pt cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "x.pt")
    assert not (tmp_path / "hostile-was-here").exists()
    torch.save({"format": 2}, tmp_path / "y.pt")
    with pytest.raises(MgkitError, match="not a checkpoint of this version"):
        load_checkpoint(tmp_path / "y.pt")


def test_a_checkpoint_of_another_run_is_refused(run: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run.root, tmp_path / "run")
    copy = load_run(tmp_path / "run")
    shutil.copy(run.stage("rgb").checkpoint("best"), copy.checkpoint("best"))
    with pytest.raises(MgkitError, match=r"best\.pt does not fit this recipe \(its model\)"):
        quiet(copy, clips=run.clips())


def test_scores_of_sides_trade_places_in_a_mirror(clips: Clips, tmp_path: Path, capsys: Any) -> None:
    """The mirrored views of a run, against those of the same weights without pairs."""
    pair = ("red still", "blue moving")
    run = fit(clips, tiny_pose_only(mirror_pairs=[pair], epochs=1), tmp_path / "run")
    quiet(run, views=1, flip=True)
    kept = run.view_scores("test").scores("pose")
    assert not capsys.readouterr().err
    config = read_json(run.root / "config.json")
    config["recipe"]["inputs"]["mirror_pairs"] = []
    write_json(run.root / "config.json", config)
    quiet(load_run(run.root), views=1, flip=True)
    plain = run.view_scores("test").scores("pose")
    np.testing.assert_allclose(kept[:, 0], plain[:, 0], atol=1e-6)
    np.testing.assert_allclose(kept[:, 1], plain[:, 1][:, [3, 1, 2, 0]], atol=1e-6)
    assert np.abs(kept[:, 1] - plain[:, 1]).max() > 1e-3


def test_mirrored_sides_are_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = replace(
        tiny_clips(tmp_path / "clips", videos=False), classes=Classes(("left", "right", "nod", "wave"))
    )
    run = fit(sides, tiny_pose_only(epochs=1), tmp_path / "run", progress=True)
    assert "left / right" in capsys.readouterr().err
    run_test(run, "test", clips=sides, flip=True, workers=0, device="cpu")
    assert "mirror_pairs='named'" in capsys.readouterr().err
    fit(sides, tiny_pose_only(epochs=1, flip=0.0), tmp_path / "none", progress=True)
    fit(sides, tiny_pose_only(epochs=1, mirror_pairs="named"), tmp_path / "named", progress=True)
    assert "left / right" not in capsys.readouterr().err


def test_weights_and_rectification_are_chosen_on_validation(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The best Top-1 on validation of all weights and rectifications, each tested by itself."""
    chosen = quiet(run, split="test", choose_on="val", progress=True)
    said = capsys.readouterr().err
    settings = run.test_settings("test")
    assert settings["chosen_on"] == "val"
    assert "4 clips" in said or "val: nothing is better there" in said
    assert chosen.clip_ids == run.clips().split("test").ids
    shares = sorted(np.arange(21), key=lambda n: abs(n - 10))  # those nearest to equal weights first
    tried, right = [], []
    for value in (0.0, 0.5, 1.0, 2.0, 5.0):
        each = quiet(run, split="val", rectification=value)
        for n in [10, *shares]:
            mixed = (1 - n / 20) * each.scores("rgb") + n / 20 * each.scores("pose")
            tried.append(({"rgb": 1 - n / 20, "pose": n / 20}, value))
            right.append(mixed.argmax(1) == each.labels)
    found = choose(np.stack(right), each.labels, subjects_of(run, each.clip_ids))
    weights, value = tried[found.taken]
    assert settings["rectification"] == value
    assert settings["weights"] == (None if found.taken == 0 else pytest.approx(weights))
    again = quiet(run, weights=settings["weights"], rectification=settings["rectification"])
    np.testing.assert_allclose(again.scores(), chosen.scores(), atol=1e-6)
    plain = quiet(run)
    quiet(run, choose_on="val", out=tmp_path / "beside")
    beside = load_run(tmp_path / "beside")
    np.testing.assert_array_equal(
        beside.predictions("test").scores(), chosen.scores()
    )  # a run of its own ...
    np.testing.assert_array_equal(
        run.predictions("test").scores(), plain.scores()
    )  # ... and the run's are as they were
    assert beside.clips().split("test").ids == chosen.clip_ids
    with pytest.raises(MgkitError, match="was made from scores, so it has no network"):
        quiet(beside)
    for wrong, message in (
        ({"choose_on": "test"}, "validation clips.*worthless. Name a validation split.$"),
        ({"choose_on": "val", "rectification": 1.0}, "leave out one"),
        ({"choose_on": "nosuch"}, "splits are"),
    ):
        with pytest.raises(MgkitError, match=message):
            quiet(run, **wrong)
    alone = fit(run.clips(), tiny_pose_only(epochs=1, prototypes=False), tmp_path / "alone")
    with pytest.raises(MgkitError, match="nothing to choose"):
        quiet(alone, choose_on="val")
    with pytest.raises(MgkitError, match="already holds another run"):
        quiet(run, out=alone.root)
