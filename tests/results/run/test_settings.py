"""What is left out of a recipe where it is shown changes nothing of its network."""

from __future__ import annotations

import dataclasses

import pytest

import mgkit as mg
from mgkit.data.skeletons import COCO17
from mgkit.errors import MgkitError
from mgkit.results.run.settings import settings_in_use
from mgkit.training import recipes
from mgkit.training.recipes import Recipe

NARROW = {
    "ctrgcn": recipes.narrow(recipes.ctrgcn(prototypes=True)),
    "tsm": recipes.narrow(recipes.tsm(prototypes=False)),
    "limbs": recipes.narrow(recipes.poseconv3d_semantic("names", heatmap="limb", prototypes=True)),
}


@pytest.mark.parametrize("name", NARROW)
def test_what_is_left_out_changes_no_network(name: str) -> None:
    recipe = NARROW[name]
    whole = recipe.to_dict()
    unused = set(whole) - set(settings_in_use(whole))
    assert {"fusion", "laterals", "milestones"} <= unused
    outlined = mg.outline(recipe, classes=4, skeleton=COCO17)
    for key in sorted(unused):
        value = getattr(recipe, key)
        if isinstance(value, bool):
            other: object = not value
        elif isinstance(value, int | float):
            other = value + 1 if isinstance(value, int) else value / 2
        else:
            continue
        try:
            changed = dataclasses.replace(recipe, **{key: other})
        except MgkitError:
            continue  # refused where it means nothing
        assert mg.outline(changed, classes=4, skeleton=COCO17) == outlined, key


def test_what_is_kept_and_what_is_not() -> None:
    shown = {name: settings_in_use(recipe.to_dict()) for name, recipe in NARROW.items()}
    assert next(iter(shown["limbs"].items())) == ("network", "cnn")
    assert not {"rgb_width", "heatmap", "fusion", "crop_area", "time_sampling"} & set(shown["ctrgcn"])
    assert {"pose_width", "pose_frames", "alpha", "rotation"} - set(shown["ctrgcn"]) == {
        "rotation"
    }  # as it was: 0
    assert {"rgb_width", "crop_area", "pose_frames", "time_sampling"} <= set(shown["tsm"])
    assert not {"alpha", "pose_width", "heatmap_size"} & set(shown["tsm"])
    assert {"heatmap", "semantic"} <= set(shown["limbs"])
    assert "momentum" not in settings_in_use(recipes.video_swin_tiny().to_dict())
    paper = Recipe().to_dict()
    assert set(settings_in_use(paper)) == {"network", *paper}
    assert settings_in_use({"imported": True}) == {"imported": True}
