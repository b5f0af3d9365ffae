from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import Skeleton, get_skeleton
from mgkit.demo.open import demo_clips as make_demo_clips
from mgkit.errors import MgkitError
from mgkit.models import read_checkpoint, write_published
from mgkit.parts import part
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.status import write_status
from mgkit.training import recipes
from mgkit.training.build import build_model
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.inference import test as run_test
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe
from mgkit.training.start import Weights
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_pose, tiny_row
from tests.training.own import my_net

pytestmark = pytest.mark.slow

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
    return recipe.with_(learning_rate=1e-30, weight_decay=0.0, epochs=1)


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
    joint = recipes.demo(**TINY).with_(stages=())

    def refused(match: str, recipe: Recipe = joint, given: Clips = clips, **start: Any) -> None:
        with pytest.raises(MgkitError, match=match):
            fit(given, recipe, tmp_path / "run", start=start)
        assert not (tmp_path / "run").exists()

    refused("give 'all' alone, or 'rgb' and 'pose'", rbg=branches["rgb"])
    refused("give 'all' alone", all=branches["rgb"], rgb=branches["rgb"])
    refused("is a run of pose; give one of rgb", rgb=branches["pose"], pose=branches["pose"])
    refused("start lacks 'pose', and the recipe has no stage", rgb=branches["rgb"])
    refused("there is no run folder", rgb=tmp_path / "nowhere", pose=branches["pose"])


ARM = Skeleton("arm", ("left_hand", "Right-Foot", "top"), ((0, 1), (1, 2)), ())


def others(path: Path) -> Clips:
    """Clips of two classes, one of them known, on three joints, two of them known."""
    return write_clip_folder(
        path,
        [tiny_row(f"{s}{i}", i, split=s, video="") for s in ("train", "val", "test") for i in range(2)],
        [tiny_pose(0, 0)] * 6,
        Classes(("x", CLASSES.names[2])),
        ARM,
    )


def test_a_run_on_other_clips_is_matched_by_the_names_of_classes_and_joints(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    recipe = still(recipes.demo(**TINY).stages[1])
    run = fit(others(tmp_path / "others"), recipe, tmp_path / "run", start={"pose": branches["pose"]}, seed=5)
    before = load_checkpoint(branches["pose"].checkpoint("best"))["model"]
    after = load_checkpoint(run.checkpoint("last"))["model"]
    stem = "backbones.pose.stem.conv.weight"
    assert torch.equal(after[stem][:, [1, 2]], before[stem][:, [2, 0]])
    assert not any(torch.equal(after[stem][:, 0], before[stem][:, i]) for i in range(3))
    row = "heads.pose.classifier.weight"
    assert torch.equal(after[row][1], before[row][2])
    assert not torch.equal(after[row][0], before[row][0])
    said = (run.root / "start.txt").read_text()
    assert f"classes: 1 of 2 are those of the same name ({CLASSES.names[2]}), 1 are new (x)" in said
    assert "joints: 2 of 3" in said


def test_a_stage_begins_with_a_run_on_other_clips(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    """It does not stand for the stage, as a run on the same clips would: no class of it need be known."""
    made = write_clip_folder(
        tmp_path / "renamed",
        [tiny_row(f"{s}{i}", i, split=s) for s in ("train", "val") for i in range(2)],
        [tiny_pose(0, 0)] * 4, Classes(("x", "y")), TRIANGLE,
    )  # fmt: skip
    recipe = recipes.demo(**TINY).stages[1]
    run = fit(made, recipe, tmp_path / "run", start={"pose": branches["pose"]})
    assert run.config["settings"]["start"]["pose"]["classes"] == "new"
    assert "the classes are new" in (run.root / "start.txt").read_text()


def test_a_network_of_a_users_own_takes_what_has_its_shape(clips: Clips, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"reads": ("keypoints",), "epochs": 1, "batch_size": 4, "pose_frames": 8}
    recipe = still(Recipe(part(my_net, width=8), **settings))
    first = fit(clips, recipe, tmp_path / "first")
    run = fit(others(tmp_path / "others"), recipe, tmp_path / "run", start={"pose": first})
    before, after = (load_checkpoint(r.checkpoint("last"))["model"] for r in (first, run))
    assert torch.equal(after["embed.0.bias"], before["embed.0.bias"])
    assert after["classify.weight"].shape == (2, 8)
    assert "left 2 (of another shape, with other classes or joints)" in (run.root / "start.txt").read_text()


def published(path: Path, recipe: Recipe, joints: int, classes: int = 4) -> Path:
    """A file of weights under MMAction2's names, of a model with other classes or joints."""
    model = build_model(recipe, classes, recipe.inputs.on(joints), torch.Generator().manual_seed(7))
    write_published(path, model)
    return path


def test_a_stage_begins_with_published_weights(clips: Clips, tmp_path: Path) -> None:
    """A file is where a branch's training begins; a finished run takes the branch's place."""
    recipe = recipes.demo(**TINY)
    file = published(tmp_path / "posec3d.pth", recipe.stages[1], joints=17, classes=60)
    joints = [0, None, 5]  # as if the first and the third of our joints were the file's 0 and 5
    run = fit(clips, recipe, tmp_path / "run", start={"pose": Weights(file, classes="new", joints=joints)})
    assert run.stages() == ["pose", "rgb"]
    assert "3 joints" in (run.stage("pose").root / "start.txt").read_text()
    assert run.config["settings"]["start"]["pose"]["joints"] == joints
    begun = fit(
        clips, still(recipe.stages[1]), tmp_path / "still", start={"all": Weights(file, "new", joints)}
    )
    stem = load_checkpoint(begun.checkpoint("last"))["model"]["backbones.pose.stem.conv.weight"]
    theirs = read_checkpoint(file).state["backbone.conv1.conv.weight"]
    assert torch.equal(stem[:, [0, 2]], theirs[:, [0, 5]])


def test_joints_are_found_by_the_name_of_their_layout(tmp_path: Path) -> None:
    made = make_demo_clips(tmp_path / "clips", train=16, val=8, test=0, workers=1, progress=False)
    recipe = still(recipes.demo(**{**TINY, "heatmap_size": 16, "rgb_size": 64}).stages[1])
    file = published(tmp_path / "posec3d.pth", recipe, joints=17, classes=8)
    run = fit(made, recipe, tmp_path / "run", start={"pose": Weights(file, joints="coco17")})
    stem = load_checkpoint(run.checkpoint("last"))["model"]["backbones.pose.stem.conv.weight"]
    theirs = read_checkpoint(file).state["backbone.conv1.conv.weight"]
    ours, coco = get_skeleton("imigue22").joints, get_skeleton("coco17").joints
    for name in ("nose", "left_wrist", "right_shoulder"):
        assert torch.equal(stem[:, ours.index(name)], theirs[:, coco.index(name)])
    with pytest.raises(MgkitError, match="mediapipe9"):
        fit(made, recipe, tmp_path / "other", start={"pose": Weights(file, joints="mediapipe9")})


def test_published_branches_are_merged_without_stages(clips: Clips, tmp_path: Path) -> None:
    recipe = recipes.demo(**TINY)
    files = {
        stage.name: published(tmp_path / f"{stage.name}.pth", stage, joints=3) for stage in recipe.stages
    }
    run = fit(clips, recipe.with_(stages=()), tmp_path / "run", start=files)
    assert run.stages() == []
    assert "zero weights for the lateral" in (run.root / "start.txt").read_text()
    with pytest.raises(MgkitError, match="there is no file of weights"):
        fit(clips, recipe, tmp_path / "none", start={"rgb": Weights(tmp_path / "nowhere.pth")})
    with pytest.raises(MgkitError, match="classes"):
        fit(
            clips, recipe.stages[0], tmp_path / "wrong",
            start={"rgb": published(tmp_path / "k400.pth", recipe.stages[0], joints=3, classes=400)},
        )  # fmt: skip


def test_an_unfinished_start_is_refused(clips: Clips, tmp_path: Path) -> None:
    pose = recipes.demo(**TINY).stages[1]
    run = fit(clips, pose, tmp_path / "pose")
    write_status(run.root, "interrupted", 0, 1)
    with pytest.raises(MgkitError, match="is not finished"):
        fit(clips, pose, tmp_path / "run", start={"pose": load_run(run.root)})


def test_a_run_that_stands_for_a_stage_is_not_the_file_that_a_stage_begins_with(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    recipe = recipes.demo(**TINY)
    run = fit(clips, recipe, tmp_path / "run", start=branches)
    with pytest.raises(MgkitError, match="start"):
        fit(clips, recipe, tmp_path / "run", start={**branches, "rgb": branches["rgb"].checkpoint("best")})
    assert run.stages() == []


def test_weights_for_a_later_stage_are_looked_at_before_the_first_is_trained(
    clips: Clips, tmp_path: Path
) -> None:
    recipe = recipes.demo(**TINY)
    file = published(tmp_path / "posec3d.pth", recipe.stages[1], joints=17, classes=60)
    for start in (file, Weights(file, classes="new"), Weights(file, "new", "no such layout")):
        with pytest.raises(MgkitError, match="classes|joints|no such layout"):
            fit(clips, recipe, tmp_path / "run", start={"pose": start})
        assert not (tmp_path / "run").exists()


def test_looking_at_weights_leaves_the_random_state_alone(
    clips: Clips, branches: dict[str, Run], tmp_path: Path
) -> None:
    before = torch.get_rng_state()
    fit(clips, recipes.demo(**TINY), tmp_path / "run", start=branches)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_no_start_is_explained(clips: Clips, tmp_path: Path) -> None:
    somewhere: Any = "somewhere"
    with pytest.raises(MgkitError, match="start"):
        fit(clips, recipes.demo(**TINY).stages[1], tmp_path / "run", start=somewhere)
    assert not (tmp_path / "run").exists()
