from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.errors import MgkitError
from mgkit.results.runs import Run, load_run, write_status
from mgkit.training import recipes
from mgkit.training.inference import load_checkpoint
from mgkit.training.inference import test as run_test
from mgkit.training.loop import train
from mgkit.training.recipes import Recipe
from tests.tiny import TRIANGLE, tiny_clips, tiny_pose, tiny_row

TINY: dict[str, Any] = {
    "rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "heatmap_size": 8, "rgb_width": 4, "pose_width": 4,
    "embedding_dim": 8, "batch_size": 4, "epochs": 1,
}  # fmt: skip


def fit(clips: Clips, recipe: Recipe, out: Path, **options: Any) -> Run:
    return train(clips, recipe, out, **{"workers": 0, "device": "cpu", "progress": False, **options})


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def branches(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    root = tmp_path_factory.mktemp("branches")
    return {stage.name: fit(clips, stage, root / stage.name) for stage in recipes.demo(**TINY).stages}


def still(recipe: Recipe) -> Recipe:
    """The recipe with a step too small to change a weight, so that what it started from can be read off."""
    from dataclasses import replace

    return replace(recipe, learning_rate=1e-30, weight_decay=0.0, epochs=1)


def scores(run: Run) -> Any:
    return run_test(run, "test", workers=0, device="cpu", progress=False)


def test_branches_given_are_the_branches_trained(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    recipe = recipes.demo(**TINY)
    staged = fit(clips, recipe, tmp_path / "staged")
    started = fit(clips, recipe, tmp_path / "started", start=branches)
    assert staged.stages() == ["pose", "rgb"]
    assert started.stages() == []
    np.testing.assert_array_equal(scores(staged).scores(), scores(started).scores())
    assert set(started.config["settings"]["start"]) == {"rgb", "pose"}


def test_one_branch_given_the_other_is_trained(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    run = fit(clips, recipes.demo(**TINY), tmp_path / "run", start={"rgb": branches["rgb"].root})
    assert run.stages() == ["pose"]


def test_a_whole_model_is_trained_on(clips: Clips, branches: dict[str, Run], tmp_path: Path) -> None:
    recipe = still(recipes.demo(**TINY).stages[1])
    run = fit(clips, recipe, tmp_path / "run", start={"all": branches["pose"]}, seed=5)
    before, after = (load_checkpoint(r.checkpoint("best")) for r in (branches["pose"], run))
    for name, value in before["model"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, after["model"][name]), name
    # The prototypes came along and moved on: their counts can only have grown.
    for name, value in before["objective"].items():
        if name.endswith("updates"):
            assert bool((after["objective"][name] >= value).all())


def test_branches_without_prototypes_can_be_merged_into_a_model_with_them(
    clips: Clips, tmp_path: Path
) -> None:
    plain = recipes.demo(**TINY, prototypes=False)
    start = {stage.name: fit(clips, stage, tmp_path / stage.name) for stage in plain.stages}
    run = fit(clips, recipes.demo(**TINY), tmp_path / "run", start=start)
    assert run.prototypes().vectors["rgb"].shape == (1, 4, 8)


def test_runs_that_began_elsewhere_are_never_mixed(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    recipe = recipes.demo(**TINY)
    fit(clips, recipe, tmp_path / "run", start=branches)
    with pytest.raises(MgkitError, match="start"):
        fit(clips, recipe, tmp_path / "run")
    other = fit(clips, recipe.stages[0], tmp_path / "rgb", seed=3)
    with pytest.raises(MgkitError, match="start"):
        fit(clips, recipe, tmp_path / "run", start={**branches, "rgb": other})


def test_a_start_that_does_not_fit_is_refused_before_anything_is_made(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    from dataclasses import replace

    joint = replace(recipes.demo(**TINY), stages=())

    def refused(match: str, recipe: Recipe = joint, given: Clips = clips, **start: Any) -> None:
        with pytest.raises(MgkitError, match=match):
            fit(given, recipe, tmp_path / "run", start=start)
        assert not (tmp_path / "run").exists()

    refused("give 'all' alone, or 'rgb' and 'pose'", rbg=branches["rgb"])
    refused("give 'all' alone", all=branches["rgb"], rgb=branches["rgb"])
    refused("is a run of pose; for 'rgb' give one of rgb", rgb=branches["pose"], pose=branches["pose"])
    refused("start lacks 'pose', and the recipe has no stage", rgb=branches["rgb"])
    refused("there is no run folder", rgb=tmp_path / "nowhere", pose=branches["pose"])
    others = write_clip_folder(
        tmp_path / "others",
        [tiny_row(s, 0, split=s, video="") for s in ("train", "val")],
        [tiny_pose(0, 0)] * 2,
        Classes(("x", "y")),
        TRIANGLE,
    )
    pose = recipes.demo(**TINY).stages[1]
    refused("trained on other classes or joints", pose, others, pose=branches["pose"])


def test_an_unfinished_start_is_refused(clips: Clips, tmp_path: Path) -> None:
    pose = recipes.demo(**TINY).stages[1]
    run = fit(clips, pose, tmp_path / "pose")
    write_status(run.root, "interrupted", 0, 1)
    with pytest.raises(MgkitError, match="is not finished"):
        fit(clips, pose, tmp_path / "run", start={"pose": load_run(run.root)})
