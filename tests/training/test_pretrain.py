"""Pre-training without labels is a training: it resumes to the last bit, and another starts from its weights."""

from __future__ import annotations

import json
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.clips import Classes, Clips, load_clips, write_clip_folder
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, load_run
from mgkit.training import recipes
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.inference import test as run_test
from mgkit.training.pretrain import pooled, pretrain
from mgkit.training.recipe import Recipe
from tests.tiny import TRIANGLE, tiny_clips, tiny_pose, tiny_row
from tests.training.test_resume import Trip, raising
from tests.training.training import fit
from tests.training.training import main as train_once

pytestmark = pytest.mark.slow


def tiny_skeleton(**changes: Any) -> Recipe:
    """A skeleton network, very small."""
    small: dict[str, Any] = {"pose_frames": 8, "width": 8, "blocks": (1, 1), "epochs": 2, "batch_size": 4}
    return recipes.stgcn(**{**small, "embedding_dim": 8, "learning_rate": 0.1, **changes})


def begin(clips: Clips, recipe: Recipe, out: Path, **options: Any) -> Run:
    return pretrain(clips, recipe, out, **{"workers": 0, "device": "cpu", "progress": False, **options})


def weights(run: Run, name: str = "last") -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run.checkpoint(name))["model"])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def first(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return begin(clips, tiny_skeleton(), tmp_path_factory.mktemp("runs") / "first")


def test_no_accuracy_and_no_label_is_in_its_history(first: Run) -> None:
    assert first.status()["state"] == "finished"
    assert {"loss", "loss_masked_pose"} <= set(first.history())
    assert not [name for name in first.history() if "top1" in name or "ce_" in name]
    assert 0.2 < first.history()["loss"].iloc[-1] < 2
    assert first.recipe["cross_entropy"] is None
    assert load_run(first.root).config["settings"]["val_split"] is None


def test_labels_are_not_looked_at(clips: Clips, first: Run, tmp_path: Path) -> None:
    """The weights are the same with labels that are all of one class, which a training would refuse."""
    same = clips.with_splits(
        clips.table["split"].tolist(), "one-class", labels=np.zeros(len(clips), np.int64)
    )
    same.save_splits()
    other = begin(load_clips(same.path), tiny_skeleton(), tmp_path / "run")
    for name, value in weights(first).items():
        assert torch.equal(value, weights(other)[name]), name


def test_killed_in_a_step_it_ends_with_the_same_weights(
    clips: Clips, first: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Trip(patch, 5, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            begin(clips, tiny_skeleton(), tmp_path / "run", checkpoint_minutes=0)
    assert load_run(tmp_path / "run").status()["state"] == "interrupted"
    again = begin(clips, tiny_skeleton(), tmp_path / "run")
    for name, value in weights(first).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_training_starts_from_it(clips: Clips, first: Run, tmp_path: Path) -> None:
    still = tiny_skeleton(learning_rate=1e-30, weight_decay=0.0, epochs=1)
    run = fit(clips, still, tmp_path / "run", start={"pose": first})
    backbone = [name for name in weights(run) if name.startswith("backbones.") and "running" not in name]
    assert len(backbone) > 10
    for name in backbone:
        if "num_batches" not in name:
            torch.testing.assert_close(weights(run)[name], weights(first, "best")[f"network.{name}"])
    assert "the classes are new" in (run.root / "start.txt").read_text()


def test_a_linear_probe_leaves_the_features_as_they_are(clips: Clips, first: Run, tmp_path: Path) -> None:
    run = fit(clips, tiny_skeleton(backbone_rate=0), tmp_path / "run", start={"pose": first.root})
    for name, parameter in weights(run).items():
        if name.startswith("backbones.") and not name.endswith(
            ("running_mean", "running_var", "num_batches_tracked")
        ):
            assert torch.equal(parameter, weights(first)[f"network.{name}"]), name
    random = weights(fit(clips, tiny_skeleton(epochs=1), tmp_path / "scratch"))
    assert not torch.equal(
        weights(run)["heads.pose.classifier.weight"], random["heads.pose.classifier.weight"]
    )


def test_clips_of_other_classes_and_joints_start_from_it(first: Run, tmp_path: Path) -> None:
    rows = [tiny_row(f"c{i}", i % 2, split="val" if i > 5 else "train") for i in range(8)]
    poses = [tiny_pose(i % 2, i)[:, :, [1, 0, 2]] for i in range(8)]
    turned = type(TRIANGLE)("turned", ("left_foot", "top", "right_foot"), ((1, 0), (1, 2)), ((0, 2),))
    other = write_clip_folder(tmp_path / "other", rows, poses, Classes(("still", "moving")), turned)
    run = fit(other, tiny_skeleton(epochs=1), tmp_path / "run", start={"pose": first})
    text = (run.root / "start.txt").read_text()
    assert "the joints are new" in text
    assert "data_bn" in text


def test_its_test_gives_features_to_look_at(clips: Clips, first: Run) -> None:
    run_test(first, "test", workers=0, device="cpu", progress=False)
    assert first.embeddings("test").vectors["pose"].shape == (len(clips.split("test")), 16)


def test_splits_are_pooled_but_for_test_and_validation(clips: Clips) -> None:
    column = ["unlabelled" if i % 2 else split for i, split in enumerate(clips.table["split"])]
    mixed = clips.with_splits([s if t != "train" else c for s, t, c in zip(
        clips.table["split"], clips.table["split"], column, strict=True)], "mixed")  # fmt: skip
    one, name = pooled(mixed, None)
    assert name == "train"
    assert set(one.split("train").ids) == set(clips.split("train").ids)
    assert load_clips(one.path).table["split"].equals(one.table["split"])
    assert pooled(mixed, ["unlabelled"]) == (mixed, "unlabelled")
    with pytest.raises(MgkitError, match="no split nowhere"):
        pooled(mixed, ["nowhere"])
    unsure = clips.with_splits(["eval"] * len(clips), "unsure")
    with pytest.raises(MgkitError, match="may be a test split"):
        pooled(unsure, None)


def test_frames_are_pre_trained_and_started_from(clips: Clips, tmp_path: Path) -> None:
    small = recipes.rgb_only(
        rgb_frames=2, pose_frames=8, rgb_size=32, rgb_width=4, rgb_blocks=(1, 1, 1, 1), embedding_dim=8,
        epochs=1, batch_size=4,
    )  # fmt: skip
    run = begin(clips, recipes.masked(small, patch=8, share=0.75), tmp_path / "first")
    assert np.isfinite(run.history()["loss_masked_rgb"]).all()
    assert fit(clips, small, tmp_path / "run", start={"rgb": run}).status()["state"] == "finished"


def test_a_video_transformer_is_pre_trained_as_videomae_is(clips: Clips, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    small = recipes.videomae_small(
        rgb_frames=2, pose_frames=8, rgb_size=32, width=12, blocks=1, heads=2, patch=8
    )
    small = small.with_(epochs=1, batch_size=4, warmup_epochs=0)
    made = recipes.masked(small, patch=8, share=0.75, width=32)
    assert (made["layer_decay"], made["drop_path"]) == (1, 0)
    run = begin(clips, made, tmp_path / "first")
    assert np.isfinite(run.history()["loss_masked_rgb"]).all()
    assert fit(clips, small, tmp_path / "run", start={"rgb": run}).status()["state"] == "finished"
    assert "used" in (tmp_path / "run" / "start.txt").read_text()


def test_killed_while_it_learns_from_frames_it_ends_with_the_same_weights(
    clips: Clips, tmp_path: Path, forkserver: ForkServerContext
) -> None:
    pytest.importorskip("transformers")
    small = recipes.videomae_small(
        rgb_frames=2, pose_frames=8, rgb_size=32, width=12, blocks=2, heads=2, patch=8
    )
    made = recipes.masked(small.with_(epochs=2, batch_size=4, warmup_epochs=0), patch=8, share=0.75, width=32)
    words = json.dumps(made.to_dict())
    options = {"val_split": None, "checkpoint_minutes": 0}
    train_once(str(clips.root), str(tmp_path / "whole"), words, json.dumps(options))
    kill = json.dumps({**options, "kill_at": 6})
    process = forkserver.Process(
        target=train_once, args=(str(clips.root), str(tmp_path / "run"), words, kill)
    )
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "run" / "checkpoints" / "step.pt").is_file()
    train_once(str(clips.root), str(tmp_path / "run"), words, json.dumps(options))
    whole, killed = load_run(tmp_path / "whole"), load_run(tmp_path / "run")
    assert whole.history()["loss"].equals(killed.history()["loss"])
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(killed)[name]), name


def test_what_cannot_be_pre_trained_is_refused(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="not of frames and heatmaps"):
        begin(clips, recipes.demo(), tmp_path / "run")
    with pytest.raises(MgkitError, match="give losses"):
        fit(clips, tiny_skeleton(labels=False), tmp_path / "run")
    with pytest.raises(MgkitError, match="need labels"):
        recipes.masked(tiny_skeleton()).with_(sampling="balanced")
    assert not (tmp_path / "run").exists()


def test_the_recipe_is_the_same_from_its_plain_values() -> None:
    made = recipes.masked(tiny_skeleton(), hide_joints=0.3)
    again = Recipe.from_dict(made.to_dict())
    assert again.to_dict() == made.to_dict()
    assert again.cross_entropy is None
    assert made["labels"] is False
    assert tiny_skeleton()["labels"] is True
    assert made["hide_joints"] == 0.3
    assert made.with_(labels=True).cross_entropy == Recipe(made.network, reads=("keypoints",)).cross_entropy
