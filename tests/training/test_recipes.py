from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mgkit.cli import _parser
from mgkit.cli import train as train_cli
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import write_clip_folder
from mgkit.data.skeletons import COCO17, get_skeleton
from mgkit.errors import MgkitError
from mgkit.parts import part
from mgkit.settings import Settings, flat
from mgkit.training import recipes
from mgkit.training.build import build_model, build_objective
from mgkit.training.recipe import CrossEntropy, Optimisation, Recipe, Refinement
from tests.tiny import CLASSES, TRIANGLE, tiny_pose, tiny_row


def test_the_default_is_the_papers_recipe() -> None:
    paper = recipes.paper()
    assert {key: paper[key] for key in PAPER} == PAPER
    rates = [paper.optimisation.learning_rate_at(epoch) for epoch in range(30)]
    assert rates[:8] == [0.0075] * 8
    assert rates[8:22] == pytest.approx([0.00075] * 14)
    assert rates[22:] == pytest.approx([0.000075] * 8)
    assert [stage.pathways for stage in paper.stages] == [("rgb",), ("pose",)]
    for stage in paper.stages:
        mine, its = paper.settings(), stage.settings()
        assert {path for path in its if its[path] != mine[path]} == {"inputs.reads", "network"}


def test_the_learning_rate_scales_with_the_batch() -> None:
    assert Optimisation(batch_size=40).learning_rate_at(0) == pytest.approx(0.03)


def test_cosine_and_warm_up() -> None:
    settings = Optimisation(schedule="cosine", warmup_epochs=2, epochs=12)
    rates = [settings.learning_rate_at(epoch) for epoch in range(12)]
    assert rates[0] == pytest.approx(0.00075)
    assert max(rates) == rates[2] == pytest.approx(0.0075)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.0005


def ready(name: str) -> Recipe:
    return recipes.RECIPES[name](**({"vectors": "names"} if name == "poseconv3d-semantic" else {}))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_survive_json(name: str) -> None:
    recipe = ready(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_recorded_recipe_holds_what_its_network_has() -> None:
    shown = {name: flat(ready(name).to_dict()) for name in recipes.RECIPES}
    assert not {"rgb_width", "heatmap", "fusion", "crop_area", "time_sampling", "alpha"} & set(
        shown["ctrgcn"]
    )
    assert {"network", "width", "pose_frames", "rotation", "prototypes"} <= set(shown["ctrgcn"])
    assert (shown["ctrgcn"]["network"], shown["ctrgcn"]["prototypes"]) == ("ctrgcn", False)
    assert {"width", "crop_area", "pose_frames", "time_sampling"} <= set(shown["tsm"])
    assert not {"alpha", "heatmap_size", "stream", "ce_pose_weight"} & set(shown["tsm"])
    assert {"heatmap", "vectors", "semantic_dim", "weight"} <= set(shown["poseconv3d-semantic"])
    assert "momentum" not in shown["video-swin-tiny"]
    assert "milestones" not in shown["demo"]
    assert flat({"imported": True}) == {"imported": True}


def test_changes_hold_for_every_stage_that_has_the_setting() -> None:
    recipe = recipes.fusion(epochs=12, fusion=None, rgb_size=160, heatmap_size=40)
    assert [r["epochs"] for r in (recipe, *recipe.stages)] == [12] * 3
    assert [r.inputs.rgb_size for r in (recipe, recipe.stages[0])] == [160] * 2
    one = recipe.with_(**{"rgb.epochs": 20, "joint.epochs": 5})
    assert [r["epochs"] for r in (one, *one.stages)] == [5, 20, 12]
    assert recipe["fusion"] is None
    with pytest.raises(MgkitError, match="no setting 'axis'"):
        recipe["axis"]


def test_a_setting_is_found_wherever_it_lives() -> None:
    recipe = recipes.fusion(axis="time", embedding_dim=64, alpha=0.3, label_smoothing=0.1)
    assert recipe["network.fusion.axis"] == recipe["fusion.axis"] == recipe["axis"] == "time"
    assert (recipe["head.embedding_dim"], recipe["alpha"]) == (64, 0.3)
    both = recipes.ctrgcn(losses=[part(stretch, p=1.0)], augment=[part(jitter, p=0.5)])
    with pytest.raises(
        MgkitError, match=r"p is a setting of several parts: say which, 'losses.stretch.p' or"
    ):
        both.with_(p=0.1)
    assert both.with_(**{"jitter.p": 0.1})["augment.jitter.p"] == 0.1
    assert both.with_(weight=2.0).losses[0].weight == 2.0


def stretch(outputs: Any, labels: Any, *, p: float = 0.5) -> Any: ...


def jitter(keypoints: Any, generator: Any, *, p: float) -> Any: ...


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"epoch": 3},
            r"no setting 'epoch': did you mean epochs\? There are inputs: reads, .*; network: .*epochs",
        ),
        (
            {"nonsense": 3},
            r"there are inputs: reads, .*; cross entropy: label_smoothing, .*; refinement: p",
        ),
        ({"epochs": 0}, "epochs is 0; use a whole number, 1 or more"),
        ({"learning_rate": 0}, "learning_rate is 0; use a number above 0"),
        ({"reads": ("pose",)}, "reads is"),
        ({"heads": "many"}, "heads is 'many'; use a number"),
        ({"fusion": "time"}, r"fusion is 'time'; use a part, mg.part\(...\), or None"),
        (
            {"alpha": 0.1, "prototypes": False},
            "alpha is a setting of the refinement, which this recipe does without",
        ),
        ({"losses": [part(stretch), part(stretch)]}, "two losses are called stretch"),
        ({"losses": [part(stretch, name="ce_x")]}, "must not begin with ce_"),
        ({"augment": [part(stretch)]}, "must take `keypoints`"),
        ({"stream": "bone"}, "stream is 'bone', but it is a setting of keypoints"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        recipes.fusion(**change)


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 300}, {"epochs": 30}, {"rgb_width": 32}, {"optimisation.epochs": 40}, {"batch_size": 4},
        {"rgb_size": 112, "dropout": 0.7}, {"alpha": 0.5}, {"milestones": (3, 4)}, {"schedule": "step"},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_recipe_was_given_stays_when_it_is_made_narrow(given: dict[str, Any]) -> None:
    """Also where it is the default of the full-size recipe, and whichever way it was given."""
    for recipe in (recipes.rgb_only(**given), recipes.rgb_only().with_(**given)):
        small = recipes.narrow(recipe)
        assert {name: small[name] for name in given} == given
        assert small["embedding_dim"] == 64
    assert recipes.narrow(recipes.rgb_only(**given), epochs=2)["epochs"] == 2
    branch = recipes.branch(recipes.fusion(**given), "rgb")
    assert {name: recipes.narrow(branch)[name] for name in given} == given


def test_what_belongs_together_is_made_narrow_together() -> None:
    small = recipes.narrow(recipes.tsm(learning_rate=0.3))
    assert (small["learning_rate"], small["learning_rate_batch"]) == (0.3, 64)
    small = recipes.narrow(recipes.rgb_only(milestones=(3, 4)))
    assert (small["schedule"], small["milestones"]) == ("step", (3, 4))
    for name in (
        "pose-small",
        "poseconv3d-semantic",
        "ehct",
    ):  # what these are made of was not given by anybody
        assert recipes.narrow(ready(name))["epochs"] == 12
    assert recipes.narrow(recipes.rgb_only(optimisation=Optimisation(epochs=77)))["epochs"] == 77


def test_branches_and_stages_from_a_shell(tmp_path: Path) -> None:
    def recipe(*words: str) -> Recipe:
        made = train_cli._recipe(_parser().parse_args(["train", "clips", "run", *words]))
        assert isinstance(made, Recipe)
        return made

    demo = recipe("--recipe", "demo", "--set", "rgb.epochs=3", "--set", "joint.epochs=2")
    assert [one["epochs"] for one in (demo, *demo.stages)] == [2, 3, 12]
    assert recipe("--recipe", "demo.rgb") == recipes.demo().stages[0]
    assert recipe("--recipe", "demo.pose", "--set", "epochs=5") == recipes.demo().stages[1].with_(epochs=5)
    assert recipe("--recipe", "paper.pose", "--narrow").pathways == ("pose",)
    (tmp_path / "mine.py").write_text("from mgkit.training.recipes import demo\n\nours = demo(rgb_width=4)\n")
    assert recipe("--recipe", f"{tmp_path / 'mine.py'}:ours.rgb")["rgb_width"] == 4
    with pytest.raises(MgkitError, match="ctrgcn has no branches"):
        recipe("--recipe", "ctrgcn.rgb")
    with pytest.raises(MgkitError, match=r"there is no recipe 'demo.depth'; .* such as demo\.rgb"):
        recipe("--recipe", "demo.depth")


def test_settings_from_a_shell() -> None:
    words = [
        "epochs=12",
        "fusion=none",
        "milestones=[3, 5]",
        "learning_rate=1e-2",
        "laterals=false",
        "keep=last",
    ]
    changes = recipes.parse_changes(words)
    recipe = recipes.fusion(**changes)
    assert (recipe["epochs"], recipe["fusion"], recipe["milestones"]) == (12, None, (3, 5))
    assert (recipe["learning_rate"], recipe["laterals"], recipe["keep"]) == (0.01, False, "last")
    with pytest.raises(MgkitError, match="'epochs' is not a setting: write name=value"):
        recipes.parse_changes(["epochs"])
    with pytest.raises(MgkitError, match="names no network"):
        Recipe.from_dict({})
    with pytest.raises(MgkitError, match="unknown setting 'depth'"):
        Recipe.from_dict({"depth": 1})


def test_every_recipe_builds_its_model_and_objective() -> None:
    with torch.device("meta"):
        for recipe in (recipes.paper(), recipes.rgb_only(), recipes.pose_only()):
            model = build_model(recipe, 32, recipe.inputs.on(22))
            assert model.pathways == recipe.pathways
            widths = dict.fromkeys(recipe.pathways, 256)
            assert set(build_objective(recipe, 32, widths).refinement) == set(recipe.pathways)
    assert not build_objective(recipes.paper(prototypes=False), 32, {}).refinement
    with pytest.raises(MgkitError, match="prototypes need an embedding"):
        build_objective(recipes.paper(), 32, {"rgb": 4})


def test_a_recipe_shows_one_setting_per_line() -> None:
    recipe = recipes.demo(axis="time")
    lines = recipe.show(all=False).splitlines()
    assert "  network.fusion.axis = time" in lines
    assert not [line for line in lines if "momentum" in line]
    assert "  optimisation.momentum = 0.9" in repr(recipe).splitlines()


@pytest.mark.parametrize("kind", [Inputs, CrossEntropy, Refinement, Optimisation])
def test_every_setting_is_documented(kind: type[Settings]) -> None:
    assert kind.__doc__ is not None
    assert not [name for name in kind.names() if name not in kind.__doc__]


PAPER = {
    "rgb_frames": 8, "pose_frames": 32, "rgb_size": 224, "heatmap_size": 56, "epochs": 30, "batch_size": 10,
    "learning_rate": 0.0075, "momentum": 0.9, "weight_decay": 1e-4, "gradient_clip": 40.0, "alpha": 0.2,
    "temperature": 0.125, "prototype_momentum": 0.9, "axis": "channel", "sequential": False, "zero_init_gates": True,
    "shift": "tp",
}  # fmt: skip

# As in the published configurations: PYSKL's of its graph networks (HRNet key-points of NTU60) and of DG-STGCN, the
# hypergraph transformer's of NTU120, MMAction2's of TSM and Video Swin, and the code of Li et al., 2023.
PYSKL = {
    "pose_frames": 100, "optimizer": "sgd", "nesterov": True, "momentum": 0.9, "weight_decay": 5e-4, "dropout": 0.0,
    "schedule": "cosine", "gradient_clip": None, "label_smoothing": 0.0, "flip": 0.0,
}  # fmt: skip
SWIN = {"rgb_frames": 32, "optimizer": "adamw", "weight_decay": 0.05, "epochs": 30, "gradient_clip": None}
# VideoMAE's of Kinetics, but for its number of epochs and its rate, which are ours.
MAE = {
    "rgb_frames": 16, "optimizer": "adamw", "weight_decay": 0.05, "warmup_epochs": 5, "schedule": "cosine",
    "label_smoothing": 0.1, "gradient_clip": None, "layer_decay": 0.75,
}  # fmt: skip
PUBLISHED: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
    **{
        name: ({**PYSKL, "epochs": 16 * 5}, (0.1, 8 * 16))
        for name in ("stgcn", "stgcnpp", "stgcnpp-strong", "aagcn", "ctrgcn")
    },
    "dgstgcn": ({**PYSKL, "epochs": 150}, (0.1, 4 * 16)),
    **{
        name: (
            {**PYSKL, "pose_frames": 64, "schedule": "step", "milestones": (110, 120), "epochs": 140,
             "weight_decay": 4e-4, "warmup_epochs": 5, "batch_size": 64},
            (0.025, 64),
        )
        for name in ("hyperformer", "ehct")
    },
    "tsm": (
        {"rgb_frames": 8, "schedule": "step", "milestones": (20, 40), "epochs": 50, "weight_decay": 1e-4,
         "gradient_clip": 20.0, "nesterov": False, "dropout": 0.5},
        (5 * 0.01, 8 * 8),
    ),
    "video-swin-tiny": ({**SWIN, "stochastic_depth": 0.1}, (1e-3, 64)),
    "video-swin-small": ({**SWIN, "stochastic_depth": 0.2}, (1e-3, 64)),
    "video-swin-base": ({**SWIN, "stochastic_depth": 0.3}, (1e-3, 64)),
    "videomae-small": ({**MAE, "drop_path": 0.1, "width": 384, "heads": 6, "blocks": 12}, (5e-4, 64)),
    "videomae-base": ({**MAE, "drop_path": 0.1, "width": 768, "heads": 12, "blocks": 12}, (5e-4, 64)),
    "videomae-large": ({**MAE, "drop_path": 0.2, "width": 1024, "heads": 16, "blocks": 24}, (5e-4, 64)),
    "vjepa2-large": ({**MAE, "rgb_size": 256, "width": 1024, "heads": 16, "blocks": 24}, (5e-4, 64)),
    "videoprism-base": ({**MAE, "rgb_size": 288, "width": 768, "pixels": "unit"}, (5e-4, 64)),
    "mvit-v2-small": ({**MAE, "drop_path": 0.2, "pixels": "kinetics"}, (5e-4, 64)),
    "poseconv3d-semantic": (
        {"pose_frames": 48, "halve_time": True, "sigma": 0.6, "crop_area": (0.56, 1.0), "flip": 0.5, "epochs": 100,
         "schedule": "cosine", "weight_decay": 3e-4, "batch_size": 32, "gradient_clip": None, "nesterov": False,
         "semantic_dim": 300, "semantic.weight": 20.0, "dropout": 0.5, "pose_blocks": (4, 6, 3), "pose_width": 32},
        (0.4 / 6, 2 * 16),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_other_systems_are_trained_as_published(name: str) -> None:
    settings, (rate, clips) = PUBLISHED[name]
    recipe = ready(name)
    assert {key: recipe[key] for key in settings} == settings
    assert recipe.refinement is None
    assert recipe["learning_rate"] / recipe["learning_rate_batch"] == pytest.approx(rate / clips)


def test_rows_of_the_ablation_differ_in_the_part_they_name() -> None:
    rows = recipes.ablation()
    joint = {name: row for name, row in rows.items() if isinstance(row, recipes.Recipe) and row.stages}
    parts = {
        name: (row["laterals"], row.network.settings["fusion"] and row["axis"], row["prototypes"])
        for name, row in joint.items()
    }
    assert parts == {
        "joint training": (False, None, False),
        "laterals": (True, None, False),
        "+ fusion (channel)": (True, "channel", False),
        "+ fusion (time)": (True, "time", False),
        "+ fusion (held back)": (True, "time", False),
        "+ prototypes": (True, None, True),
        "+ both": (True, "time", True),
    }
    bounded = {name: row["bounded"] for name, row in joint.items() if row.network.settings["fusion"]}
    assert [name for name, yes in bounded.items() if yes] == ["+ fusion (held back)", "+ both"]
    assert rows["late fusion"] == ("RGB", "pose")
    assert rows["+ rectification"] == ("+ prototypes",)
    assert list(recipes.ablation(validation=False)) == [name for name in rows if name != "+ rectification"]
    for row in joint.values():  # all start from the same branches, which are rows themselves
        assert [stage.to_dict() for stage in row.stages] == [rows["RGB"].to_dict(), rows["pose"].to_dict()]
    small = recipes.ablation(recipes.small(), prototypes=True, **{"joint.steps": 30})
    assert small["RGB"]["rgb_width"] == 16
    assert small["RGB"]["steps"] == 1500
    assert {row["steps"] for row in small.values() if isinstance(row, recipes.Recipe) and row.stages} == {30}
    with pytest.raises(MgkitError, match="staged recipe with fusion and prototypes"):
        recipes.ablation(recipes.pose_only())
    with pytest.raises(MgkitError, match="staged recipe with fusion and prototypes"):
        recipes.ablation(recipes.demo(fusion=None))


@pytest.mark.parametrize(
    "videos, poses, expected", [(True, True, None), (True, False, "rgb"), (False, True, "pose")]
)
def test_clips_of_one_kind_are_trained_with_the_branch_that_reads_them(
    tmp_path: Path, videos: bool, poses: bool, expected: str | None
) -> None:
    row = tiny_row("a", 0, video="videos/a.mp4" if videos else "", persons=int(poses))
    left_out = tiny_row("b", 0, split="unused", persons=0)
    if videos:
        (tmp_path / "videos").mkdir()
        (tmp_path / "videos" / "a.mp4").touch()
    clips = write_clip_folder(
        tmp_path, [row, left_out], [tiny_pose(0, 0) if poses else None, None], CLASSES, TRIANGLE
    )
    recipe = recipes.demo()
    fitting = recipes.fitting(recipe, clips)
    assert fitting == (
        recipe if expected is None else {stage.name: stage for stage in recipe.stages}[expected]
    )
    alone = recipes.rgb_only()
    if videos:
        assert recipes.fitting(alone, clips) is alone
    else:
        with pytest.raises(MgkitError, match="not every clip of .* has a video, which the recipe reads"):
            recipes.fitting(alone, clips)


def test_steps_make_as_many_epochs_as_they_need() -> None:
    few = recipes.pose_small(epochs=10, batch_size=16, steps=200, milestones=[5, 8], schedule="step")
    made = few.for_clips(33)  # 3 steps an epoch
    assert made["epochs"] == 67
    assert made["milestones"] == (34, 54)
    assert made.for_clips(33) == made
    assert few.for_clips(10_000) == few
    assert recipes.pose_small(epochs=10).for_clips(16)["epochs"] == 10
    staged = recipes.demo(steps=100).for_clips(80)  # 10 steps an epoch; the RGB stage has more already
    assert (staged["epochs"], *(stage["epochs"] for stage in staged.stages)) == (10, 20, 12)
    assert recipes.demo(steps=150).for_clips(80)["epochs"] == 15


@pytest.mark.parametrize(
    "made", [recipes.small(), *recipes.small().stages, recipes.small_skeleton()], ids=str
)
def test_the_recipes_for_small_sets_suit_any_layout_of_a_body(made: Recipe) -> None:
    """Built and fed once, whatever the joints: with legs and hands, without either, and without known names."""
    for layout in ("holistic75", "coco17", "imigue22", "penn13"):
        inputs = made.inputs.on(get_skeleton(layout))
        assert not any("knee" in joint for joint in (inputs.skeleton or COCO17).joints) or made.name == "rgb"
        if made.inputs.keypoints:
            model = build_model(made, 5, inputs, torch.Generator().manual_seed(0)).eval()
            outputs = model({"pose": torch.zeros(2, *inputs.shapes["pose"])})
            assert outputs["pose"].logits.shape == (2, 5)
    assert made["mirror_pairs"] == ("named",)
    assert made.for_clips(315)["epochs"] > made["epochs"]
