"""Batches on the device: all of them, in order; and the options that change the speed of a step, not its result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mgkit.data.batches.dataset import Batch
from mgkit.data.batches.device import mixed, on_device
from mgkit.data.batches.spec import Inputs
from tests.tiny import tiny_clips
from tests.training.training import assert_same_run, assert_same_weights, fit, states, tiny_pose_only


def batches(count: int) -> list[Batch]:
    return [
        Batch(torch.tensor([i]), torch.tensor([0]), None, None, torch.zeros(1, 2, 3)) for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_batch_arrives_once_and_in_order(count: int, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    there = list(on_device(iter(batches(count)), torch.device(device)))
    assert [int(batch.rows) for batch in there] == list(range(count))
    assert all(batch.rows.device.type == device for batch in there)


def test_frames_and_heatmaps_are_mixed_value_by_value() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = {"rgb": (3, 3, 2, 4, 4), "pose": (3, 5, 2, 4, 4)}
    one, other = ({k: torch.rand(s, generator=g) for k, s in shapes.items()} for _ in range(2))
    one["rgb"] = one["rgb"].to(memory_format=torch.channels_last_3d)
    share = torch.tensor([0.0, 0.3, 1.0])
    made = mixed(one, other, share, Inputs())
    for name, value in made.items():
        for i, part in enumerate(share.tolist()):
            torch.testing.assert_close(value[i], part * one[name][i] + (1 - part) * other[name][i])
        assert torch.equal(value[2], one[name][2])
    assert made["rgb"].is_contiguous(memory_format=torch.channels_last_3d)


def test_a_joint_seen_in_one_clip_is_mixed_where_it_was_seen() -> None:
    g = torch.Generator().manual_seed(1)
    one, other = torch.rand(2, 4, 1, 6, 7, 3, generator=g) - torch.tensor([0.5, 0.5, 0.0])
    for points in (one, other):
        points[torch.rand(points.shape[:-1], generator=g) < 0.4] = 0  # not seen
    share = torch.rand(4, generator=g)
    made = mixed({"pose": one}, {"pose": other}, share, Inputs(reads=("keypoints",)))["pose"]
    for n, _, t, v in np.ndindex(4, 1, 6, 7):
        a, b, part = one[n, 0, t, v], other[n, 0, t, v], float(share[n])
        place = part * a + (1 - part) * b
        if not a.any() or not b.any():
            place = a + b
        torch.testing.assert_close(made[n, 0, t, v, :2], place[:2])
        assert float(made[n, 0, t, v, 2]) == pytest.approx(float(part * a[2] + (1 - part) * b[2]), abs=1e-6)


@pytest.mark.slow
def test_saving_memory_changes_nothing(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips", videos=False)
    plain = fit(clips, tiny_pose_only(), tmp_path / "plain")
    saving = fit(clips, tiny_pose_only(), tmp_path / "saving", save_memory=True)
    assert_same_weights(plain, saving)
    assert_same_run(plain, saving)


@pytest.mark.slow
def test_a_compiled_training_is_the_same_up_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced and differentiated as for a GPU; making kernels of it for a CPU would take a minute and a half.
    compile_whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_whole(self, backend="aot_eager"))
    clips = tiny_clips(tmp_path / "clips", videos=False)
    recipe = tiny_pose_only(epochs=1, dropout=0.0)
    plain = fit(clips, recipe, tmp_path / "plain")
    compiled = fit(clips, recipe, tmp_path / "compiled", compiled=True)
    assert compiled.history()["loss"].item() == pytest.approx(plain.history()["loss"].item(), rel=1e-4)
    for one, other in zip(states(plain), states(compiled), strict=True):
        assert one.keys() == other.keys()  # a compiled network is saved like any other
        for name, value in one.items():
            np.testing.assert_allclose(value, other[name], rtol=1e-2, atol=1e-4, err_msg=name)
