from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.clips import Classes, Clips
from mgkit.data.skeletons import get_skeleton
from mgkit.errors import MgkitError
from mgkit.models.outline import outline
from mgkit.results.run.cost import Cost, read_cost, together, write_cost
from mgkit.results.run.folder import load_run
from mgkit.results.scores.scores import import_scores
from mgkit.training import cost, recipes
from mgkit.training.build import build_model
from mgkit.training.cost import count_operations, measure, say_duration, training_operations
from mgkit.training.recipe import Recipe
from tests.models.nets import pose_only, two_pathway
from tests.tiny import TRIANGLE, tiny_clips
from tests.training.training import fit, tiny, tiny_pose_only

SHAPES = {"rgb": (3, 2, 64, 64), "pose": (5, 8, 16, 16)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


def by_hand(model: nn.Module, shapes: dict[str, tuple[int, ...]]) -> int:
    """Two for each weight of a convolution or linear layer and each place it is used at, from a real forward."""
    total = 0

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose3d):  # each input value goes through a whole kernel
            total += 2 * given[0][0].numel() * module.out_channels * math.prod(module.kernel_size)
        elif isinstance(module, nn.Conv3d):
            assert module.groups == 1
            total += 2 * made[0].numel() * module.in_channels * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            total += 2 * made[0].numel() * module.in_features

    for module in model.modules():
        module.register_forward_hook(note)
    with torch.no_grad():
        model.eval()({name: torch.rand(1, *shape) for name, shape in shapes.items()})
    return total


def test_a_long_training_on_a_cpu_names_its_time_and_the_small_recipe(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = clips.split("train")
    monkeypatch.setattr(cost, "_rate", lambda: 1.0)
    # As if a training took so many seconds.
    monkeypatch.setattr(
        cost,
        "training_operations",
        lambda recipe, clips: 0.1 * recipe["embedding_dim"] * recipe["epochs"] * 12,
    )
    say_duration(recipes.paper(), training)
    said = capsys.readouterr().err
    assert re.match(
        r"joint: about \d+ h( \d+ min)? on this CPU; the same made small, to try it out, takes about", said
    )
    assert "mg.recipes.demo() in Python, --recipe demo in a shell" in said
    say_duration(recipes.rgb_only(), training)
    assert "mg.recipes.narrow(recipe) in Python, --narrow in a shell" in capsys.readouterr().err
    say_duration(recipes.demo(epochs=20), training)
    say_duration(recipes.paper(epochs=1), training)
    assert capsys.readouterr().err == "", "short ones need no announcement"
    monkeypatch.setattr(cost, "_rate", lambda: 0.1)
    say_duration(recipes.demo(epochs=20), training)
    assert "made small" not in capsys.readouterr().err, "the small one is the small one"


def test_the_operations_of_a_training_are_those_of_all_its_stages(clips: Clips) -> None:
    recipe, training = tiny(), clips.split("train")
    shapes = recipe.inputs.on(clips.skeleton).shapes
    with torch.device("meta"):
        joint = count_operations(build_model(recipe, 4, recipe.inputs.on(clips.skeleton)), shapes)
    alone = [training_operations(stage, training) for stage in recipe.stages]
    assert training_operations(recipe, training) == sum(alone) + 3 * joint * 12 * recipe["epochs"]


@pytest.mark.parametrize("two", [False, True])
def test_operations_are_those_counted_by_hand(two: bool) -> None:
    small: dict[str, Any] = {
        "pose_blocks": (1, 1, 1),
        "rgb_blocks": (1, 1, 1, 1),
        "rgb_width": 4,
        "pose_width": 4,
    }
    with torch.device("meta"):
        there = two_pathway(3, 5, fusion=None, **small) if two else pose_only(3, 5, width=4, blocks=(1, 1))
    here = two_pathway(3, 5, fusion=None, **small) if two else pose_only(3, 5, width=4, blocks=(1, 1))
    shapes = SHAPES if two else {"pose": SHAPES["pose"]}
    assert count_operations(there, shapes) == by_hand(here, shapes) > 0
    assert there.training, "it is left as it was"


def test_one_block_and_its_head_written_out() -> None:
    """4 frames of 6 x 6, 2 joints, one bottleneck: the numbers that a reader can check with a pencil."""
    with torch.device("meta"):
        model = pose_only(3, 2, width=4, blocks=(1,), embedding_dim=None)
    stem = (4 * 6 * 6 * 4) * (2 * 7 * 7)  # places x filters, joints x kernel
    first = (4 * 6 * 6 * 4) * 4
    middle = (4 * 3 * 3 * 4) * (4 * 3 * 3)  # halves the height and the width
    last = beside = (4 * 3 * 3 * 16) * 4
    classifier = 16 * 3
    counted = count_operations(model, {"pose": (2, 4, 6, 6)})
    assert counted == 2 * (stem + first + middle + last + beside + classifier)


@pytest.mark.slow
def test_parameters_are_those_of_the_outline_and_full_size_is_what_the_method_page_says() -> None:
    cost = measure(recipes.paper(), classes=32, skeleton=get_skeleton("imigue22"), speed=False)
    assert cost.inputs == {"rgb": [3, 8, 224, 224], "pose": [22, 32, 56, 56]}
    with torch.device("meta"):
        model = build_model(recipes.paper(), 32, recipes.paper().inputs.on(22))
    assert cost.parameters == outline(model, cost.inputs)["parameters"]
    assert (round(cost.parameters / 1e6, 1), round(cost.flops / 1e9)) == (38.7, 121)
    assert cost.multiply_adds * 2 == cost.flops
    assert (cost.clips_per_second, cost.conditions) == (None, "")


@pytest.mark.parametrize("recipe", [tiny(), tiny_pose_only(heatmap="limb"), recipes.rgb_only(rgb_size=32)])
def test_shapes_are_those_that_the_network_is_fed(recipe: Recipe, clips: Clips) -> None:
    dataset = ClipDataset(clips, recipe.inputs.on(clips.skeleton), training=False)
    fed = batch_inputs(collate([dataset[(0, 0, 0)]]), dataset.spec, clips.skeleton)
    assert dataset.spec.shapes == {name: tuple(value.shape[1:]) for name, value in fed.items()}


def test_a_run_is_measured_into_its_folder(clips: Clips, tmp_path: Path) -> None:
    run = fit(clips, tiny_pose_only(epochs=1), tmp_path / "run")
    with pytest.raises(MgkitError, match=r"has not been measured: run `mg\.measure`"):
        run.cost()
    cost = measure(run, split="test", batches=2, batch_size=3, device="cpu", workers=0)
    assert run.has_cost()
    assert run.cost() == load_run(run.root).cost() == cost
    assert cost.clips_per_second is not None
    assert cost.loaded_clips_per_second is not None
    assert cost.slow is not None
    assert cost.fast is not None
    assert 0 < cost.slow <= cost.clips_per_second <= cost.fast
    assert (cost.device, cost.batch_size, cost.workers, cost.precision) == ("cpu", 3, 0, "32-true")
    assert cost.conditions.startswith("cpu, ")
    with torch.device("meta"):
        model = build_model(tiny_pose_only(), 4, tiny_pose_only().inputs.on(3))
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    measure(run.root, speed=False)
    assert run.cost().clips_per_second is None


def test_what_cannot_be_measured_is_refused(clips: Clips, tmp_path: Path) -> None:
    imported = import_scores(
        tmp_path / "imported", clip_ids=["a"], labels=[0], probabilities=np.eye(2)[:1], classes=Classes(("x", "y")),
        name="other",
    )  # fmt: skip
    recipe = tiny_pose_only()
    for given, message in (
        ({"run": imported}, "was made of scores"),
        ({"run": recipe}, "needs clips, or classes="),
        ({"run": recipe, "classes": 3}, "depends on the skeleton"),
        ({"run": recipe, "clips": clips, "classes": 3}, "either clips or numbers"),
        ({"run": imported, "classes": 3}, "the run alone"),
        ({"run": recipe, "classes": 3, "skeleton": TRIANGLE, "split": "test"}, "needs clips"),
        ({"run": recipe, "clips": clips, "batches": 0}, "batches is 0"),
    ):
        with pytest.raises(MgkitError, match=message):
            measure(**given)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    write_cost(tmp_path, Cost(3, 4, {"pose": [1]}))
    good = json.loads((tmp_path / "cost.json").read_text())
    assert read_cost(tmp_path) == Cost(3, 4, {"pose": [1]})
    for change, message in (
        ({"flops": -1}, "flops is -1"), ({"parameters": "many"}, "parameters is 'many'"), ({"more": 1}, "'more'"),
        ({"clips_per_second": 0}, "above 0"), ({"inputs": []}, "inputs"), ({"device": None}, "device"),
    ):  # fmt: skip
        (tmp_path / "cost.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(MgkitError, match=rf"cost\.json.*{message}"):
            read_cost(tmp_path)
    (tmp_path / "cost.json").write_text("{}")
    with pytest.raises(MgkitError, match="lacks parameters"):
        read_cost(tmp_path)
    shutil.rmtree(tmp_path)


def test_members_of_an_ensemble_answer_in_turn() -> None:
    speed: dict[str, Any] = {"batch_size": 4, "device": "cpu", "threads": 2, "precision": "32-true"}
    one = Cost(10, 100, {"pose": [2]}, clips_per_second=20.0, **speed)
    two = Cost(5, 50, {"rgb": [3]}, clips_per_second=30.0, **speed)
    both = together([one, two])
    assert (both.parameters, both.flops) == (15, 150)
    assert both.clips_per_second == pytest.approx(1 / (1 / 20 + 1 / 30))
    assert both.conditions == one.conditions
    elsewhere = Cost(5, 50, {}, clips_per_second=30.0, **{**speed, "threads": 1})
    assert together([one, elsewhere]).clips_per_second is None
    assert together([one, Cost(1, 1, {})]).clips_per_second is None
    with pytest.raises(MgkitError, match="no cost"):
        together([])
