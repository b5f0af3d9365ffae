"""What is wrong with a call is said by name, before anything is made or trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.table import Rows
from mgkit.errors import MgkitError
from mgkit.results.run.folder import load_run
from mgkit.training import recipes
from mgkit.training.inference import test as run_test
from mgkit.training.launch import launch
from mgkit.training.loop import train
from mgkit.training.recipe import Optimisation
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_pose, tiny_row
from tests.training.training import fit, tiny, tiny_pose_only


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": -1}, "seed is -1; use a whole number, 0 to 4294967295"),
        ({"seed": True}, "seed is True"),
        ({"seed": 2**62}, "seed is"),
        ({"workers": -1}, "workers is -1; use a whole number, 0 or more"),
        ({"checkpoint_minutes": "5"}, "checkpoint_minutes is '5'"),
        ({"checkpoint_minutes": float("nan")}, "checkpoint_minutes is nan"),
        ({"precision": "foo"}, "precision is 'foo': use auto, 32-true"),
    ],
    ids=str,
)
def test_options_are_refused_by_name(clips: Clips, tmp_path: Path, options: Any, told: str) -> None:
    with pytest.raises(MgkitError, match=told):
        fit(clips, tiny_pose_only(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    if "precision" not in options:  # the process that is launched looks at that
        with pytest.raises(MgkitError, match=told):
            launch(clips, tiny_pose_only(), tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()


def test_clips_from_which_nothing_can_be_learned_are_refused(clips: Clips, tmp_path: Path) -> None:
    """One class only, or no joint in any clip, would train to 100 % or to chance without a word."""
    one = replace(clips, rows=Rows(clips.table[clips.table["label"] == 2].reset_index(drop=True)))
    with pytest.raises(MgkitError, match="all 3 clips of the training split of .* one class, 'blue still'"):
        fit(one, tiny_pose_only(), tmp_path / "run")
    rows = [tiny_row(f"{split}{i}", i % 2, split=split) for split in ("train", "val") for i in range(4)]
    blind = [np.full_like(tiny_pose(0, 0), np.nan)] * len(rows)
    unseen = write_clip_folder(tmp_path / "unseen", rows, blind, CLASSES, TRIANGLE)
    with pytest.raises(MgkitError, match=r"all 4 clips .* without a joint that was seen.*--recipe rgb-only"):
        fit(unseen, tiny_pose_only(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_split_that_is_not_there_is_told_with_the_way_on(clips: Clips, tmp_path: Path) -> None:
    said = r"no clip in the training split 'all'; its splits are test, train, val: name one of them \(--train-split"
    with pytest.raises(MgkitError, match=said):
        fit(clips, tiny_pose_only(), tmp_path / "run", train_split="all")


@pytest.mark.parametrize("call", [train, launch])
def test_how_long_it_takes_is_said_before_anything_is_begun(
    clips: Clips, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def stop(*given: Any) -> None:
        asked.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mgkit.training.{'loop' if call is train else 'launch'}.say_duration", stop)
    with pytest.raises(KeyboardInterrupt):
        call(clips, tiny_pose_only(), tmp_path / "run", device="cpu", workers=0)
    ((recipe, training),) = asked
    assert (recipe, training.splits) == (tiny_pose_only(), ["train"])
    assert not (tmp_path / "run").exists()


def test_a_launch_leaves_a_network_that_cannot_be_to_the_training(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    monkeypatch.setattr("mgkit.training.launch.start_job", lambda root, *given: started.append(root))
    launch(clips, tiny(**{"fusion.heads": 7, "epochs": 30}), tmp_path / "run", device="cpu")
    assert started == [tmp_path / "run"]


def test_a_launch_looks_at_its_start_at_once(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no run folder"):
        launch(clips, tiny_pose_only(), tmp_path / "run", start={"pose": tmp_path / "none"})
    with pytest.raises(MgkitError, match="say what starts from it"):
        launch(clips, tiny_pose_only(), tmp_path / "run", start="weights.pt")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_test_refuses_a_number_of_workers_that_is_none(clips: Clips, tmp_path: Path) -> None:
    run = fit(clips, tiny_pose_only(epochs=1), tmp_path / "run")
    with pytest.raises(MgkitError, match="workers is -1"):
        run_test(run, "test", workers=-1, device="cpu", progress=False)


def test_a_joint_network_that_cannot_be_is_refused_before_its_branches_are_trained(
    clips: Clips, tmp_path: Path
) -> None:
    with pytest.raises(MgkitError, match="7 attention heads do not divide"):
        fit(clips, tiny(**{"fusion.heads": 7}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_the_last_step_spoilt_are_told_of(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the one step of the epoch was taken before it, and is finite."""
    monkeypatch.setattr(Optimisation, "learning_rate_at", lambda self, epoch: float("inf"))
    with pytest.raises(
        MgkitError, match=r"or a weight, is not finite in epoch 1.*learning_rate.*another run"
    ):
        fit(clips, tiny_pose_only(batch_size=12, epochs=1), tmp_path / "run", val_split=None)
    assert load_run(tmp_path / "run").status()["state"] == "failed"
    assert not (tmp_path / "run" / "checkpoints" / "last.pt").exists()


def test_settings_of_a_recipe_have_their_types() -> None:
    with pytest.raises(MgkitError, match="crop_area is"):
        recipes.demo(crop_area=(0.5, "a"))
    with pytest.raises(MgkitError, match=r"milestones is '8,22'; use a list of whole numbers, like \[8,22\]"):
        recipes.demo(milestones="8,22")
