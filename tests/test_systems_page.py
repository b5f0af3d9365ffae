"""docs/systems.md: its code runs, its commands are understood, its sizes are those of the networks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mgkit.cli import _parser
from mgkit.data.clips import Clips
from mgkit.data.skeletons import IMIGUE22
from mgkit.training import recipes
from mgkit.training.cost import measure

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "systems.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)


def test_every_recipe_but_the_small_ones_is_listed() -> None:
    named = {name.replace("-", "_") for name in recipes.RECIPES}
    assert {row[0] for row in ROWS} == named - {
        "demo",
        "pose_small",
        "small",
        "small_skeleton",
        "fusion",
        "rgb_only",
    }


@pytest.mark.parametrize(("name", "parameters", "operations"), ROWS)
def test_sizes_are_those_of_the_networks(name: str, parameters: str, operations: str) -> None:
    changes = {"vectors": "names"} if name == "poseconv3d_semantic" else {}
    recipe = getattr(recipes, name)(**changes)
    skeleton = IMIGUE22 if "pose" in recipe.pathways else None
    cost = measure(recipe, classes=32, skeleton=skeleton, speed=False)
    assert f"{cost.parameters / 1e6:.2f}" == parameters
    assert f"{cost.flops / 1e9:.2f}" == operations


def test_its_code_runs(demo_clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(demo_clips.root)
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, given)
    assert [run.root.name for run in given["runs"]] == ["semantic-joint", "semantic-limb"]


def test_its_commands_are_understood() -> None:
    commands = re.findall(r"^    mgkit (.+)$", PAGE, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        options = _parser().parse_args(shlex.split(command))
        if command.startswith("train"):
            assert options.recipe in recipes.RECIPES
