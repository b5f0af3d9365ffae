from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.training import recipes
from mgkit.training.build import build_model, build_objective
from mgkit.training.recipes import Recipe


def test_the_default_is_the_papers_recipe() -> None:
    paper = recipes.paper()
    assert (paper.rgb_frames, paper.pose_frames, paper.rgb_size, paper.heatmap_size) == (8, 32, 224, 56)
    assert (paper.epochs, paper.batch_size, paper.learning_rate) == (30, 10, 0.0075)
    assert (paper.momentum, paper.weight_decay, paper.gradient_clip) == (0.9, 1e-4, 40.0)
    assert (paper.alpha, paper.temperature, paper.prototype_momentum) == (0.2, 0.125, 0.9)
    assert (paper.fusion, paper.fusion_sequential, paper.zero_init_gates, paper.shift) == (
        "channel",
        False,
        True,
        "tp",
    )
    rates = [paper.learning_rate_at(epoch) for epoch in range(30)]
    assert rates[:8] == [0.0075] * 8
    assert rates[8:22] == pytest.approx([0.00075] * 14)
    assert rates[22:] == pytest.approx([0.000075] * 8)
    assert [stage.pathways for stage in paper.stages] == [("rgb",), ("pose",)]
    assert all(replace(stage, pathways=paper.pathways) == replace(paper, stages=()) for stage in paper.stages)


def test_the_learning_rate_scales_with_the_batch() -> None:
    assert Recipe(batch_size=40).learning_rate_at(0) == pytest.approx(0.03)


def test_cosine_and_warm_up() -> None:
    recipe = Recipe(schedule="cosine", warmup_epochs=2, epochs=12)
    rates = [recipe.learning_rate_at(epoch) for epoch in range(12)]
    assert rates[0] == pytest.approx(0.00075)
    assert max(rates) == rates[2] == pytest.approx(0.0075)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.0005


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_survive_json(name: str) -> None:
    recipe = recipes.RECIPES[name](**({"semantic": "names"} if name == "poseconv3d-semantic" else {}))
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_changes_hold_for_every_stage() -> None:
    recipe = recipes.fusion(epochs=12, fusion=None)
    assert [r.epochs for r in (recipe, *recipe.stages)] == [12] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": "space"}, "fusion is 'space'; use 'channel' or 'time' or None"),
        ({"pose_frames": 48}, "takes 4 pose frames an RGB frame; got pose_frames=48, rgb_frames=8"),
        ({"rgb_size": 112}, "rgb_size is 4 x heatmap_size; got 112 and 56"),
        ({"epochs": 0}, "epochs is 0; use a whole number"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"pathways": ("pose", "rgb")}, "pathways is"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        Recipe(**change)  # type: ignore[arg-type]


def test_settings_from_a_shell() -> None:
    words = [
        "epochs=12",
        "fusion=none",
        "milestones=[3, 5]",
        "learning_rate=1e-2",
        "laterals=false",
        "keep=last",
    ]
    assert recipes.parse_changes(words) == {
        "epochs": 12, "fusion": None, "milestones": (3, 5), "learning_rate": 0.01, "laterals": False, "keep": "last"
    }  # fmt: skip
    with pytest.raises(MgkitError, match="'epoch=12' is not a setting: write name=value with one of accumul"):
        recipes.parse_changes(["epoch=12"])
    with pytest.raises(MgkitError, match="unknown setting 'depth'"):
        Recipe.from_dict({"depth": 1})


def test_every_recipe_builds_its_model_and_objective() -> None:
    with torch.device("meta"):
        for recipe in (recipes.paper(), recipes.rgb_only(), recipes.pose_only()):
            model = build_model(recipe, 32, 22)
            assert model.pathways == recipe.pathways
            assert set(build_objective(recipe, 32).refinement) == set(recipe.pathways)
    assert not build_objective(Recipe(prototypes=False), 32).refinement


def test_every_field_is_documented() -> None:
    assert Recipe.__doc__ is not None
    missing = [f.name for f in fields(Recipe) if f.name not in Recipe.__doc__]
    assert not missing


# As in the published configurations: PYSKL's of its graph networks (HRNet key-points of NTU60) and of DG-STGCN, the
# hypergraph transformer's of NTU120, MMAction2's of TSM and Video Swin, and the code of Li et al., 2023.
PYSKL = {
    "pose_frames": 100, "optimizer": "sgd", "nesterov": True, "momentum": 0.9, "weight_decay": 5e-4, "dropout": 0.0,
    "schedule": "cosine", "gradient_clip": None, "label_smoothing": 0.0, "flip": 0.0,
}  # fmt: skip
SWIN = {"rgb_frames": 32, "optimizer": "adamw", "weight_decay": 0.05, "epochs": 30, "gradient_clip": None}
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
    "poseconv3d-semantic": (
        {"pose_frames": 48, "halve_time": True, "sigma": 0.6, "crop_area": (0.56, 1.0), "flip": 0.5, "epochs": 100,
         "schedule": "cosine", "weight_decay": 3e-4, "batch_size": 32, "gradient_clip": None, "nesterov": False,
         "semantic_dim": 300, "semantic_weight": 20.0, "dropout": 0.5, "pose_blocks": (4, 6, 3), "pose_width": 32},
        (0.4 / 6, 2 * 16),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_other_systems_are_trained_as_published(name: str) -> None:
    settings, (rate, clips) = PUBLISHED[name]
    recipe = recipes.RECIPES[name](**({"semantic": "names"} if name == "poseconv3d-semantic" else {}))
    assert {key: getattr(recipe, key) for key in settings} == settings
    assert not recipe.prototypes
    assert recipe.learning_rate / recipe.learning_rate_batch == pytest.approx(rate / clips)
