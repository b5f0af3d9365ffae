"""docs/learning.md: the recipes for sets that are not here build and run, narrow, on the joints of each set; the memory
of networks in training is what its command counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import mgkit as mg
from benchmarks.memory import NETWORKS, row
from benchmarks.step_floors import activation_bytes, kept_bytes
from mgkit.data.batches.streams import magnify
from mgkit.data.skeletons import IMIGUE22, KINECT25, MA52_28, Skeleton
from mgkit.training.build import build_model
from mgkit.training.recipe import Recipe

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "learning.md").read_text(encoding="utf-8")
SETS = {"ma52": (MA52_28, 52), "imigue": (IMIGUE22, 32), "smg": (KINECT25, 17)}


def recipes_of(name: str) -> dict[str, Recipe]:
    """What the page writes out for a set."""
    (block,) = re.findall(rf"```python\n({name} = .*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"mg": mg, "magnify": magnify}
    exec(block, names)
    return names[name]


def narrow(recipe: Recipe) -> Recipe:
    """The recipe with few channels and small inputs, whatever its network is."""
    small = {
        "width": 8, "rgb_width": 4, "pose_width": 4, "blocks": (1, 1, 1), "rgb_blocks": (1, 1, 1, 1),
        "pose_blocks": (1, 1, 1), "rgb_size": 32, "heatmap_size": 8, "rgb_frames": 4, "pose_frames": 16,
        "embedding_dim": 8,
    }  # fmt: skip
    if recipe.network.name == "tsm":
        small["blocks"] = (1, 1, 1, 1)
    return recipe.with_(**{key: value for key, value in small.items() if recipe.has(key)})


@pytest.mark.parametrize(("name", "recipe"), [(set_, row) for set_ in SETS for row in recipes_of(set_)])
def test_recipes_for_sets_that_are_not_here_build(name: str, recipe: str) -> None:
    skeleton, classes = SETS[name]
    made = narrow(recipes_of(name)[recipe])
    for stage in (made, *made.stages):
        assert forward(stage, skeleton, classes) == dict.fromkeys(stage.pathways, (2, classes))


def forward(recipe: Recipe, skeleton: Skeleton, classes: int) -> dict[str, tuple[int, ...]]:
    inputs = recipe.inputs.on(skeleton)
    model = build_model(recipe, classes, inputs, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        outputs = model({name: torch.zeros(2, *shape) for name, shape in inputs.shapes.items()})
    return {name: tuple(output.logits.shape) for name, output in outputs.items()}


@pytest.mark.parametrize("name", ["`stgcnpp`", "`tsm`", "`mvit_v2_small`", "`videomae_small`"])
def test_the_memory_of_a_network_is_what_the_command_prints(name: str) -> None:
    if "mae" in name:
        pytest.importorskip("transformers")
    assert f"\n{row(name, NETWORKS[name], [8, 12, 24, 80])}\n" in PAGE


def test_what_a_step_keeps_is_counted_as_it_is_in_a_real_one() -> None:
    pytest.importorskip("transformers")
    recipe = mg.recipes.narrow(mg.recipes.videomae_small(), rgb_size=32, drop_path=0.1)
    inputs = recipe.inputs.on(IMIGUE22)
    model = build_model(recipe, 5, inputs, torch.Generator().manual_seed(0)).train()
    own = {one.untyped_storage()._cdata for one in (*model.parameters(), *model.buffers())}
    (shape,) = inputs.shapes.values()
    one, two = (kept_bytes(lambda n=n: model({"rgb": torch.zeros(n, *shape)}), own) for n in (1, 2))
    counted = activation_bytes(recipe, 5, IMIGUE22, recomputed=False)
    assert counted == pytest.approx(two - one, rel=0.01)
    assert activation_bytes(recipe, 5, IMIGUE22, recomputed=True) < 0.8 * counted
