from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mgkit as mg
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, load_run
from mgkit.training import loop, recipes
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.inference import test as run_test
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe
from tests.tiny import tiny_clips
from tests.training.training import assert_same_run, assert_same_weights, fit, states, tiny, tiny_pose_only

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(clips, tiny(), tmp_path_factory.mktemp("runs") / "run")


def test_a_staged_training_leaves_whole_run_folders(clips: Clips, run: Run) -> None:
    assert run.status()["state"] == "finished"
    assert run.stages() == ["pose", "rgb"]
    assert Recipe.from_dict(run.recipe) == tiny()
    assert run.config["settings"] == {"seed": 0, "train_split": "train", "val_split": "val"}
    assert run.config["data"]["fingerprint"] == clips.fingerprint
    history = run.history()
    assert history["epoch"].tolist() == [1, 2]
    wanted = {"loss", "loss_ce_rgb", "loss_ce_pose", "loss_pr_rgb", "loss_pr_pose", "learning_rate"}
    wanted |= {f"{part}_top1_{name}" for part in ("train", "val") for name in ("rgb", "pose", "fused")}
    wanted |= {f"{kind}_{name}" for kind in ("tp", "fn", "fp") for name in ("rgb", "pose")}
    wanted |= {"val_macro_f1", "clips_per_second", "seconds"}
    assert wanted <= set(history.columns)
    # Every clip is a TP of its class or an FN of it and an FP of another.
    assert (history["tp_rgb"] + history["fn_rgb"] == 12).all()
    assert (history["fn_pose"] == history["fp_pose"]).all()
    total = history["loss_ce_rgb"] + history["loss_ce_pose"]
    total += tiny()["alpha"] * (history["loss_pr_rgb"] + history["loss_pr_pose"])
    np.testing.assert_allclose(history["loss"], total, atol=1e-4)
    prototypes = run.prototypes()
    assert prototypes.vectors["rgb"].shape == (2, 4, 8)
    environment = run.environment()
    assert set(environment) >= {"packages", "revision", "device", "processes", "command", "python", "mgkit"}
    assert environment["seed"] == 0
    assert environment["data"] == clips.fingerprint


def test_the_joint_stage_begins_with_its_branches(clips: Clips, run: Run, tmp_path: Path) -> None:
    """With no step taken, the joint model is the late fusion of the branches, and knows their prototypes."""
    frozen = fit(
        clips, tiny(learning_rate=1e-30, epochs=1, weight_decay=0.0, dropout=0.0), tmp_path / "frozen"
    )
    joint = load_checkpoint(frozen.checkpoint("last"))["model"]
    for name in ("rgb", "pose"):
        branch = load_checkpoint(frozen.stage(name).checkpoint("best"))["model"]
        for key, value in branch.items():
            if "running" in key or "num_batches" in key:
                continue  # batch statistics move in training mode
            ours = joint[key]
            torch.testing.assert_close(ours[:, : value.shape[1]] if value.ndim > 1 else ours, value)


def test_the_same_call_twice_is_one_training(
    clips: Clips, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run.checkpoint("last").stat().st_mtime_ns
    again = fit(clips, tiny(), run.root, progress=True)
    assert again.checkpoint("last").stat().st_mtime_ns == before
    assert "already finished" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_weights_whatever_the_workers(
    clips: Clips, run: Run, tmp_path: Path
) -> None:
    assert_same_weights(run, fit(clips, tiny(), tmp_path / "again", workers=1))
    one, other = (fit(clips, tiny_pose_only(epochs=1), tmp_path / str(seed), seed=seed) for seed in range(2))
    name = "heads.pose.classifier.weight"
    assert not torch.equal(states(one)[0][name], states(other)[0][name])


def test_the_callers_random_state_is_left_alone(clips: Clips, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fit(clips, tiny(epochs=1), tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("stop_at", [2, 8, 14])
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_weights(
    clips: Clips, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Interrupt in the middle of an epoch of the rgb, pose or joint stage, then call again."""
    calls = 0
    real = loop.batch_inputs

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "batch_inputs", interrupted)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(clips, tiny(), out)
    status = load_run(out).status()
    assert status["state"] == "interrupted"
    assert "resume with the same" in status["message"]
    monkeypatch.setattr(loop, "batch_inputs", real)
    resumed = fit(clips, tiny(), out)
    assert resumed.status()["state"] == "finished"
    assert_same_run(run, resumed)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    clips: Clips, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path.write_bytes
    count = 0

    def full_disk(path: Path, content: Any) -> int:
        nonlocal count
        count += path.suffix == ".pt"
        if count == 4:
            written(path, bytes(content)[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(MgkitError, match="No space left on device"):
        fit(clips, tiny(), tmp_path / "run")
    assert load_run(tmp_path / "run").status()["state"] == "failed"
    monkeypatch.setattr(Path, "write_bytes", written)
    assert_same_weights(run, fit(clips, tiny(), tmp_path / "run"))


def test_another_recipe_does_not_enter_the_folder(clips: Clips, run: Run) -> None:
    with pytest.raises(MgkitError, match="alpha"):
        fit(clips, tiny(alpha=0.5), run.root)
    with pytest.raises(MgkitError, match="seed"):
        fit(clips, tiny(), run.root, seed=7)


def test_what_is_wrong_with_the_clips_is_said_before_training(tmp_path: Path, clips: Clips) -> None:
    with pytest.raises(
        MgkitError, match=r"no clip in the validation split 'dev'; its splits are test, train, val"
    ):
        fit(clips, tiny(), tmp_path / "a", val_split="dev")
    assert not (tmp_path / "a").exists()
    posed = tiny_clips(tmp_path / "posed", videos=False)
    with pytest.raises(MgkitError, match="no video in "):
        fit(posed, tiny(), tmp_path / "b")
    broken = tiny_clips(tmp_path / "broken")
    victim = broken.split("train").table["video"].iloc[2]
    (broken.root / victim).write_bytes(b"rubbish")
    with pytest.raises(MgkitError, match=f"1 of 16 videos cannot be used: .*{victim}"):
        fit(broken, tiny(), tmp_path / "c")
    assert not list((tmp_path / "c").rglob("*.pt"))


def test_a_loss_that_explodes_says_what_to_do(tmp_path: Path, clips: Clips) -> None:
    recipe = tiny_pose_only(gradient_clip=None, learning_rate=1e18)
    with pytest.raises(MgkitError, match="not finite in epoch 1: try a lower learning_rate"):
        fit(clips, recipe, tmp_path / "run")
    assert load_run(tmp_path / "run").status()["state"] == "failed"


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path, clips: Clips) -> None:
    recipe = tiny_pose_only()
    run = fit(clips, recipe, tmp_path / "run", val_split=None)
    best, last = (load_checkpoint(run.checkpoint(name)) for name in ("best", "last"))
    assert best["epoch"] == last["epoch"] == 2
    assert not [c for c in run.history() if c.startswith("val")]


def test_without_prototypes_there_are_none(tmp_path: Path, clips: Clips) -> None:
    recipe = tiny_pose_only(prototypes=False)
    run = fit(clips, recipe, tmp_path / "run")
    assert not (run.root / "prototypes.npz").exists()
    predictions = run_test(run, "test", workers=0, device="cpu", progress=False)
    assert not predictions.own


def test_it_learns(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Colour is only in the frames and motion mostly in the poses; both are learnt."""
    clips = tiny_clips(tmp_path_factory.mktemp("more"), counts={"train": 8, "val": 4})
    run = fit(
        clips,
        tiny(epochs=8, batch_size=8, learning_rate=0.05, crop_area=(0.95, 1.0), flip=0.0, dropout=0.0),
        tmp_path / "run",
    )
    assert run.history()["train_top1_fused"].iloc[-1] > 0.7
    assert run.history()["loss"].iloc[-1] < run.stage("rgb").history()["loss"].iloc[0] * 2


def test_a_missing_validation_split_says_what_to_do(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips", counts={"train": 1, "test": 1})
    with pytest.raises(
        MgkitError, match=r"no clip in the validation split 'val'; its splits are test, train: .*folds"
    ):
        train(clips, recipes.pose_only(), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_what_the_prototypes_did_is_in_the_history(run: Run, clips: Clips) -> None:
    """Of the last epoch, against the kept predictions: the same weights on the same clips."""
    history = run.history()
    run_test(run, "val", checkpoint="last", workers=0, device="cpu", progress=False)
    found = run.predictions("val")
    for name in ("rgb", "pose"):
        nearest = (found.own[name] < found.other[name]).mean()
        assert history[f"val_nearest_{name}"].iloc[-1] == pytest.approx(nearest, abs=1e-6)
        assert (history[f"gate_{name}"] >= 0).all()
    assert history[["gate_rgb", "gate_pose"]].iloc[-1].max() > 0  # they begin at 0 and have been trained
    table = mg.analysis.refinement_history(run)
    assert list(table.columns) == [
        "epoch", "pathway", "fn_share", "fp_share", "loss", "nearest", "classifier", "gate",
    ]  # fmt: skip
    assert len(table) == 2 * len(history)
    shares = table[["fn_share", "fp_share"]].to_numpy(float)
    assert ((shares >= 0) & (shares <= 1) | np.isnan(shares)).all()
    with pytest.raises(MgkitError, match="without prototypes"):
        mg.analysis.refinement_history(Run(run.root, {**run.config, "pathways": []}))


def test_the_weight_of_the_refinement_may_wait_for_the_prototypes(clips: Clips, tmp_path: Path) -> None:
    late = fit(clips, tiny_pose_only(epochs=3, alpha=1.0, alpha_warmup=2), tmp_path / "late").history()
    extra = late["loss"] - late["loss_ce_pose"]
    np.testing.assert_allclose(extra, [0, 0.5, 1] * late["loss_pr_pose"], atol=2e-5)
    assert (late["loss_pr_pose"] > 0).any()
