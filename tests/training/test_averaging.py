"""The mean of the last weights is that of a slow loop over what each epoch left, and lives through interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.batches.samplers import epoch_order
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.training import loop, recipes
from mgkit.training.build import build_model
from mgkit.training.checkpoints import Checkpoints, load_checkpoint
from mgkit.training.epoch import add_to_mean
from mgkit.training.inference import test as run_test
from mgkit.training.recipe import Recipe
from tests.tiny import tiny_clips
from tests.training.training import TIMES, assert_same_run, fit, states, tiny_pose_only

# Five epochs of three batches, of which the last three epochs are averaged.
AVERAGED: dict[str, Any] = {"epochs": 5, "average": 0.6, "batch_size": 5, "keep": "last"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def trained(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, Tensor]]]:
    """A run without dropout, and the network's own state after each epoch."""
    seen = []

    class Watched(Checkpoints):
        def save_epoch(self, position: Any, best: bool) -> None:
            seen.append({key: value.clone() for key, value in self.parts["model"].state_dict().items()})
            super().save_epoch(position, best)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Checkpoints", Watched)
        run = fit(clips, tiny_pose_only(**AVERAGED, dropout=0.0), tmp_path_factory.mktemp("runs") / "run")
    return run, seen


@pytest.mark.slow
def test_kept_is_the_mean_of_the_weights_after_each_of_the_last_epochs(
    trained: tuple[Run, list[dict[str, Tensor]]],
) -> None:
    run, seen = trained
    state = load_checkpoint(run.checkpoint("last"))
    for name, last in seen[-1].items():
        assert torch.equal(state["trained"][name], last)
        if "running" in name or "tracked" in name:
            continue
        slow = sum(weights[name].double() for weights in seen[2:]) / 3
        torch.testing.assert_close(state["model"][name].double(), slow, atol=1e-7, rtol=1e-5)
    name = "heads.pose.classifier.weight"
    assert not torch.equal(state["model"][name], seen[-1][name])
    best = load_checkpoint(run.checkpoint("best"))[
        "model"
    ]  # what is tested, and what a next stage starts from
    assert all(torch.equal(value, best[key]) for key, value in state["model"].items())


@pytest.mark.slow
def test_the_statistics_are_those_of_the_mean_network(
    trained: tuple[Run, list[dict[str, Tensor]]], clips: Clips
) -> None:
    """Measured by hand on the batches of the last epoch, from what goes into each layer."""
    run, _ = trained
    recipe, state = Recipe.from_dict(run.recipe), load_checkpoint(run.checkpoint("last"))["model"]
    model = build_model(recipe, 4, recipe.inputs.on(clips.skeleton)).train()
    model.load_state_dict(state)
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def watch(name: str) -> Any:
        def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
            rows = inputs[0].double().movedim(1, -1).flatten(0, -2)
            found.setdefault(name, []).append((rows.mean(0), rows.var(0)))

        return look

    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(watch(name))
    dataset = ClipDataset(
        clips.split("train"), recipe.inputs.on(clips.skeleton), training=True, augment=recipe.augment
    )
    order = epoch_order(dataset.clips.labels, 0, 4)[:, 0]
    for i in range(0, len(order), 5):
        batch = collate([dataset[(4, int(position), 0)] for position in order[i : i + 5]])
        with torch.no_grad():
            model(batch_inputs(batch, dataset.spec))
    assert found
    for name, values in found.items():
        for key, part in (("running_mean", 0), ("running_var", 1)):
            slow = torch.stack([value[part] for value in values]).mean(0)
            torch.testing.assert_close(state[f"{name}.{key}"].double(), slow, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_averaging_leaves_the_training_alone_and_is_what_validation_sees(
    trained: tuple[Run, list[dict[str, Tensor]]], clips: Clips, tmp_path: Path
) -> None:
    run, seen = trained
    plain = fit(clips, tiny_pose_only(**AVERAGED | {"average": 0.0}, dropout=0.0), tmp_path / "plain")
    for name, value in states(plain)[0].items():
        assert torch.equal(value, seen[-1][name])
    one, other = run.history(), plain.history()
    mine = [name for name in one if not name.startswith("val_") and name not in TIMES]
    assert one[mine].equals(other[mine])
    assert one["val_loss"][:2].equals(other["val_loss"][:2])
    assert (one["val_loss"][2:] != other["val_loss"][2:]).all()
    predictions = run_test(run, "val", checkpoint="last", workers=0, device="cpu", progress=False)
    true = predictions.scores()[np.arange(len(predictions.labels)), predictions.labels]
    assert one["val_loss"].iloc[-1] == pytest.approx(-np.log(true).mean(), abs=1e-5)


@pytest.mark.slow
def test_interrupted_anywhere_the_mean_is_the_same(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps before and after it has begun, and while the statistics are measured; with dropout and mixed clips."""
    recipe = tiny_pose_only(epochs=3, average=0.5, dropout=0.5, batch_size=5, prototypes=False, mixup=0.4)
    whole = fit(clips, recipe, tmp_path / "whole")
    real, calls = loop.batch_inputs, 0

    def tripped(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (5, 9, 11, 15):
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "batch_inputs", tripped)
    times = 0
    while True:
        try:
            killed = fit(clips, recipe, tmp_path / "killed", checkpoint_minutes=0)
            break
        except KeyboardInterrupt:
            times += 1
    assert times == 4
    assert_same_run(whole, killed)
    first, second = (load_checkpoint(run.checkpoint("last")) for run in (whole, killed))
    assert first["averaged"] == second["averaged"] == 2
    for name, value in first["trained"].items():
        assert torch.equal(value, second["trained"][name]), name


class Counting(nn.Module):
    """A network with a counter, and a norm that it keeps in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.kept = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.register_buffer("steps", torch.tensor(0))

    def train(self, mode: bool = True) -> Counting:
        super().train(mode)
        self.kept.eval()
        return self

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.kept(self.norm(self.linear(inputs["pose"])))


def test_counters_and_norms_that_stand_still_are_those_of_the_network() -> None:
    torch.manual_seed(0)
    model = Counting()
    model.kept.running_mean = torch.tensor([1.0, 2.0, 3.0])
    averaged, kept = AveragedModel(model), []
    for step in range(1, 4):
        with torch.no_grad():
            model.linear.weight.normal_()
            model.steps.fill_(step)
        kept.append(model.linear.weight.detach().clone())
        add_to_mean(averaged, model, [{"pose": torch.randn(4, 3)} for _ in range(2)])
    mean: Any = averaged.module
    torch.testing.assert_close(mean.linear.weight.detach(), torch.stack(kept).mean(0))
    assert int(mean.steps) == 3
    assert mean.kept.running_mean.tolist() == [1, 2, 3]
    assert mean.norm.running_mean.abs().min() > 0


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(MgkitError, match=f"average is {share}"):
        recipes.demo(average=share)


def test_a_recipe_that_averages_nothing_is_recorded_as_before() -> None:
    assert "average" not in recipes.demo().to_dict()["optimisation"]
    assert Recipe.from_dict(recipes.demo(average=0.25).to_dict())["average"] == 0.25
