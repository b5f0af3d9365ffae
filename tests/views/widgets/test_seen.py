"""The network input shown by the player is that of training and testing, checked against the loader itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.training.recipes import ctrgcn, demo, paper, pose_only
from mgkit.views.widgets.player.panels import (
    GROUPS,
    View,
    checked_view,
    recorded_inputs,
    sampled,
    seen_heatmaps,
)

SPEC = Inputs(rgb_frames=4, pose_frames=16, rgb_size=64, heatmap_size=16)


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("how", ["subset", "independent"])
@pytest.mark.parametrize("clip_id", ["a", "b"])
def test_the_sampled_frames_are_those_that_the_loader_reads(
    player_clips: Clips, monkeypatch: pytest.MonkeyPatch, clip_id: str, how: str, views: int
) -> None:
    asked: list[np.ndarray] = []

    def read(path: Any, indices: Any) -> np.ndarray:
        asked.append(np.asarray(indices))
        return np.zeros((len(indices), 64, 96, 3), np.uint8)

    monkeypatch.setattr("mgkit.data.video.read_frames", read)
    spec = replace(SPEC, time_sampling=how)
    dataset = ClipDataset(player_clips.select([clip_id]), spec, training=False, views=views)
    pose = player_clips.pose(clip_id)
    for number in range(views):
        sample = dataset[0, 0, number]
        times = sampled(spec, pose.shape[1], View(number, views))
        np.testing.assert_array_equal(times["rgb"], asked[-1])
        np.testing.assert_array_equal(pose[:, times["pose"]], sample.keypoints)


def test_only_the_pathways_that_the_model_has() -> None:
    assert list(sampled(SPEC.only("pose"), 30)) == ["pose"]
    assert list(sampled(SPEC.only("rgb"), 30)) == ["rgb"]


@pytest.mark.parametrize("kind", ["joint", "limb"])
def test_heatmaps_are_those_of_the_network_grouped_by_side(player_clips: Clips, kind: str) -> None:
    both = replace(SPEC, heatmap=kind)
    spec = both.only("pose")
    clips = player_clips.select(["b"])
    dataset = ClipDataset(clips, spec, training=False, views=2)
    fed = batch_inputs(collate([dataset[0, 0, 1]]), spec, clips.skeleton)["pose"][0].numpy()  # (C, T, S, S)
    maps = seen_heatmaps(player_clips, "b", both, View(1, 2))
    assert maps.shape == (3, 16, 16, 16)
    np.testing.assert_array_equal(maps.max(0), np.rint(255 * fed.max(0)).astype(np.uint8))
    # joints: 0 middle, 1 left, 2 right; limbs: 0-1 left, 0-2 right
    channel = {"middle": 0, "left": 1, "right": 2} if kind == "joint" else {"left": 0, "right": 1}
    for group, name in zip(maps, GROUPS, strict=True):
        expected = fed[channel[name]] if name in channel else np.zeros_like(fed[0])
        np.testing.assert_array_equal(group, np.rint(255 * expected).astype(np.uint8))


def test_inputs_are_read_from_every_recipe() -> None:
    for recipe in (paper(), demo(), pose_only(heatmap="limb", crop_area=(0.8, 1.0)), ctrgcn(stream="bone")):
        assert recorded_inputs(recipe.to_dict()) == recipe.inputs


def test_a_recipe_that_does_not_say_is_not_guessed() -> None:
    assert recorded_inputs({"epochs": 30}) is None
    assert recorded_inputs({}) is None
    with pytest.raises(MgkitError, match="multiple"):
        recorded_inputs({"inputs": {**Inputs().to_dict(), "pose_frames": 31}})


def test_views() -> None:
    assert checked_view(None, 1) == View(0, 1)
    assert checked_view(None, 10) == View(5, 10)
    assert checked_view(2, 3) == View(2, 3)
    with pytest.raises(MgkitError, match="no test view 3: the clips were tested with 3 views"):
        checked_view(3, 3)
