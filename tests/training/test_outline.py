"""What a recipe's outline says of its losses, and where it takes classes and joints from."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mgkit as mg
from mgkit.data.skeletons import IMIGUE22
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.training import recipes
from tests.tiny import tiny_clips

SMALL: dict[str, Any] = {
    "rgb_width": 4, "pose_width": 4, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1), "embedding_dim": 6,
    "rgb_size": 64, "heatmap_size": 16, "fusion.heads": 2,
}  # fmt: skip


def test_the_losses_are_the_recipes() -> None:
    found = mg.recipes.outline(recipes.fusion(alpha=0.3, **SMALL), classes=4, joints=5)
    assert found["losses"] == [
        {"name": "cross-entropy", "pathway": "rgb", "weight": 1.0},
        {"name": "refinement", "pathway": "rgb", "weight": 0.3, "prototypes": [4, 6]},
        {"name": "cross-entropy", "pathway": "pose", "weight": 1.0},
        {"name": "refinement", "pathway": "pose", "weight": 0.3, "prototypes": [4, 6]},
    ]
    assert json.loads(json.dumps(found)) == found
    plain = mg.recipes.outline(recipes.fusion(prototypes=False, **SMALL), classes=4, joints=5)
    assert {term["name"] for term in plain["losses"]} == {"cross-entropy"}


def test_factors_and_auxiliary_losses_are_the_recipes() -> None:
    weighted = recipes.fusion(alpha=0.3, ce_pose_weight=0.5, pr_rgb_weight=2.0, **SMALL)
    weights = {
        (t["name"], t["pathway"]): t["weight"]
        for t in mg.recipes.outline(weighted, classes=4, joints=5)["losses"]
    }
    assert weights["cross-entropy", "pose"] == 0.5
    assert weights["refinement", "rgb"] == pytest.approx(0.6)
    assert weights["refinement", "pose"] == pytest.approx(0.3)
    semantic = mg.recipes.outline(recipes.narrow(recipes.poseconv3d_semantic("names")), classes=4, joints=5)
    assert {"name": "semantic", "pathway": "pose", "weight": 20.0} in semantic["losses"]
    ehct = mg.recipes.outline(recipes.narrow(recipes.ehct()), classes=4, skeleton=IMIGUE22)
    assert {"name": "groups", "pathway": "pose", "weight": 1.0} in ehct["losses"]


def test_what_has_no_outline_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no run folder .*x: make one"):
        mg.recipes.outline(str(tmp_path / "x"))


@pytest.mark.slow
def test_a_skeleton_network_is_outlined_of_clips_or_a_skeleton(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path)
    recipe = recipes.narrow(recipes.ctrgcn(stream="bone", persons=2))
    (lane,) = mg.recipes.outline(recipe, clips)["pathways"]
    assert lane["input"] == [2, 32, len(clips.skeleton), 3]
    assert (lane["network"], lane["stream"], lane["heatmap"]) == ("ctrgcn", "bone", None)
    assert mg.recipes.outline(
        recipe, classes=len(clips.classes), skeleton=clips.skeleton
    ) == mg.recipes.outline(recipe, clips)
    with pytest.raises(MgkitError, match=r"ctrgcn is built on a skeleton's graph.*skeleton="):
        mg.recipes.outline(recipe, classes=3, joints=5)
    with pytest.raises(MgkitError, match="either a skeleton or joints"):
        mg.recipes.outline(recipe, classes=3, joints=5, skeleton=clips.skeleton)


@pytest.mark.parametrize("recipe", [{"imported": True}, {"ensemble": {"weights": [0.5, 0.5]}}])
def test_a_run_that_was_made_of_scores_has_none(tmp_path: Path, recipe: dict[str, Any]) -> None:
    run = Run(tmp_path / "run", {"recipe": recipe, "pathways": [], "data": {}})
    with pytest.raises(MgkitError, match="was made (of|from) scores"):
        mg.recipes.outline(run)
    with pytest.raises(MgkitError, match="was made (of|from) scores"):
        mg.measure(run)
    with pytest.raises(MgkitError, match="was made (of|from) scores"):
        mg.Recipe.from_dict(recipe)
    with pytest.raises(MgkitError, match="was made (of|from) scores"):
        run.saliency()


def test_clips_know_the_classes_and_the_heatmaps(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path)
    for heatmap, channels in (("joint", len(clips.skeleton)), ("limb", len(clips.skeleton.edges))):
        found = mg.recipes.outline(recipes.fusion(heatmap=heatmap, **SMALL), clips)
        assert found["pathways"][1]["input"] == [channels, 32, 16, 16]
        assert found["pathways"][0]["head"]["classes"] == len(clips.classes)


@pytest.mark.slow
def test_a_run_knows_all(tmp_path: Path) -> None:
    clips, recipe = tiny_clips(tmp_path), recipes.fusion(**SMALL)
    config = {
        "recipe": recipe.to_dict(), "pathways": ["rgb", "pose"],
        "data": {"classes": clips.classes.to_dict(), "skeleton": clips.skeleton.to_dict()},
    }  # fmt: skip
    run = Run(tmp_path / "run", config)
    assert mg.recipes.outline(run) == mg.recipes.outline(recipe, clips)
    with pytest.raises(MgkitError, match="the run alone"):
        mg.recipes.outline(run, classes=3)


def test_rgb_needs_no_joints_and_what_is_missing_is_named() -> None:
    assert mg.recipes.outline(recipes.rgb_only(rgb_width=4), classes=2)["pathways"][0]["name"] == "rgb"
    with pytest.raises(MgkitError, match="classes= and joints="):
        mg.recipes.outline(recipes.fusion(**SMALL), classes=3)
    with pytest.raises(MgkitError, match="classes="):
        mg.recipes.outline(recipes.rgb_only())
    with pytest.raises(MgkitError, match="joints is 0"):
        mg.recipes.outline(recipes.fusion(**SMALL), classes=3, joints=0)
    clips: Any = SimpleNamespace()
    with pytest.raises(MgkitError, match="either clips or numbers"):
        mg.recipes.outline(recipes.fusion(**SMALL), clips, classes=3)
