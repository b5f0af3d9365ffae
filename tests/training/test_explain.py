from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mgkit.cli import main
from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.skeletons import COCO17
from mgkit.errors import MgkitError
from mgkit.files import exclusive
from mgkit.models import PathwayOutput, fuse_probabilities
from mgkit.results.run.folder import Run, load_run
from mgkit.training import explain as explaining
from mgkit.training import recipes
from mgkit.training.explain import (
    explain,
    gradient_times_input,
    log_odds,
    over_grid,
    over_joints,
)
from mgkit.training.inference import open_network
from mgkit.training.inference import test as run_test
from mgkit.training.loop import train
from tests.models.nets import pose_only, two_pathway
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_pose, tiny_row

pytestmark = pytest.mark.slow

SMALL = {
    "rgb_frames": 2, "pose_frames": 8, "rgb_size": 32, "heatmap_size": 8, "rgb_width": 4, "pose_width": 4,
    "embedding_dim": 8, "batch_size": 4, "epochs": 2, "learning_rate": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 2, "val": 1, "test": 2})


@pytest.fixture(scope="module")
def trained(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(clips, recipes.demo(**SMALL), out, workers=0, device="cpu", progress=False)


@pytest.fixture
def run(trained: Run, clips: Clips, tmp_path: Path) -> Run:
    """A copy of its own for each test; it finds the clips at the same distance."""
    shutil.copytree(trained.root, trained.root.parent / tmp_path.name, dirs_exist_ok=True)
    return load_run(trained.root.parent / tmp_path.name)


def quiet(run: Run, **options: Any) -> Any:
    return explain(run, **{"workers": 0, "device": "cpu", "progress": False, **options})


def small_network() -> tuple[Any, dict[str, Tensor]]:
    """A fused network in float64 with laterals and fusion that do something, and inputs of two clips."""
    generator = torch.Generator().manual_seed(0)
    model = two_pathway(
        3, 3, rgb_width=4, pose_width=4, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1), zero_init_gates=False,
        fusion_heads=2, embedding_dim=8, generator=generator,
    ).double()  # fmt: skip
    inputs = {
        "rgb": torch.randn(2, 3, 2, 32, 32, generator=generator, dtype=torch.float64),
        "pose": torch.rand(2, 3, 8, 8, 8, generator=generator, dtype=torch.float64),
    }
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.momentum = 1.0
                module.weight.uniform_(0.5, 1.5, generator=generator)
        model.train()(inputs)  # the statistics of these inputs, so that signals neither die nor explode
        for head in model.heads.values():
            head.classifier.weight.normal_(std=0.5, generator=generator)
    return model.eval(), inputs


# ---------------------------------------------------------------------------------------------------------------------
# The method against slow loops


@pytest.mark.parametrize("output", ["fused", "pose", "rgb"])
def test_attributions_are_slopes_by_finite_differences(output: str) -> None:
    """Each joint and frame, and each part of each picture: the slope of the score as that part alone is scaled."""
    model, inputs = small_network()
    target = torch.tensor([2, 0])

    def score(x: Mapping[str, Tensor]) -> Tensor:
        return log_odds(model(x), output, {"rgb": 3.0, "pose": 1.0}).gather(1, target[:, None])[:, 0]

    found = gradient_times_input(score, inputs)
    joints = over_joints(found.parts["pose"], TRIANGLE, "joint")
    maps = over_grid(found.parts["rgb"], 4)
    assert joints.shape == (2, 8, 3)
    assert maps.shape == (2, 2, 4, 4)

    def slope(name: str, mask: Tensor) -> Tensor:
        step = 1e-5
        up, down = ({**inputs, name: inputs[name] * (1 + sign * step * mask)} for sign in (1, -1))
        with torch.no_grad():
            return (score(up) - score(down)) / (2 * step)

    generator = np.random.default_rng(0)
    for _ in range(5):
        t, v, r, c = (int(generator.integers(n)) for n in (8, 3, 4, 4))
        mask = torch.zeros(1, 3, 8, 1, 1, dtype=torch.float64)
        mask[0, v, t] = 1
        np.testing.assert_allclose(joints[:, t, v], slope("pose", mask), rtol=1e-4, atol=1e-7)
        mask = torch.zeros(1, 1, 2, 32, 32, dtype=torch.float64)
        mask[0, 0, t % 2, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = 1
        np.testing.assert_allclose(maps[:, t % 2, r, c], slope("rgb", mask), rtol=1e-4, atol=1e-7)
    assert joints.abs().sum() > 1e-6, "through the laterals a pathway's score reaches both inputs"
    assert maps.abs().sum() > 1e-6


def test_an_input_that_the_score_does_not_depend_on_has_no_part_in_it() -> None:
    inputs = {name: torch.randn(2, 5, dtype=torch.float64) for name in ("rgb", "pose")}
    found = gradient_times_input(lambda x: (x["rgb"] ** 2).sum(1), inputs)
    torch.testing.assert_close(found.parts["rgb"], 2 * inputs["rgb"] ** 2)
    torch.testing.assert_close(found.score, (inputs["rgb"] ** 2).sum(1))
    assert not found.parts["pose"].any()
    assert not any(part.requires_grad for part in (*found.parts.values(), found.score))


def test_clips_do_not_touch_each_other() -> None:
    model, inputs = small_network()

    def score(x: Mapping[str, Tensor]) -> Tensor:
        return log_odds(model(x), "fused")[:, 0]

    both = gradient_times_input(score, inputs)
    for i in range(2):
        one = gradient_times_input(score, {name: x[i : i + 1] for name, x in inputs.items()})
        for name, part in one.parts.items():
            torch.testing.assert_close(part[0], both.parts[name][i])


def test_log_odds_are_those_of_the_fused_probabilities() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = {
        name: PathwayOutput(
            3 * torch.randn(5, 4, generator=generator, dtype=torch.float64), None, torch.empty(0)
        )
        for name in ("rgb", "pose")
    }
    for weights in (None, {"rgb": 2.0, "pose": 1.0}, {"rgb": 0.0, "pose": 1.0}):
        for name, p in fuse_probabilities(outputs, weights).items():
            p = p.double()
            torch.testing.assert_close(
                log_odds(outputs, name, weights), p.log() - (1 - p).log(), rtol=1e-4, atol=1e-5
            )
    sure = {"pose": PathwayOutput(torch.tensor([[90.0, 0.0, 0.0]]), None, torch.empty(0))}
    assert torch.isfinite(log_odds(sure, "pose")).all()


def test_limbs_give_half_to_each_end_and_parts_cover_the_picture() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, len(COCO17.edges), 3, 4, 4))
    found = over_joints(torch.from_numpy(values), COCO17, "limb").numpy()
    expected = np.zeros((2, 3, len(COCO17)))
    for limb, ends in enumerate(COCO17.edges):
        for end in ends:
            expected[:, :, end] += values[:, limb].sum((2, 3)) / 2
    np.testing.assert_allclose(found, expected)
    picture = generator.normal(size=(2, 3, 2, 20, 33))
    grid = over_grid(torch.from_numpy(picture), 7).numpy()
    expected = np.zeros((2, 2, 7, 7))
    for y in range(20):
        for x in range(33):
            expected[:, :, y * 7 // 20, x * 7 // 33] += picture[..., y, x].sum(1)
    np.testing.assert_allclose(grid, expected)
    assert over_grid(torch.ones(1, 3, 1, 4, 4), 7).shape == (1, 1, 4, 4)


# ---------------------------------------------------------------------------------------------------------------------
# Does it say anything about the network? (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018)


def test_it_finds_the_joint_that_decides_and_forgets_it_with_the_weights(tmp_path: Path) -> None:
    """Only the top joint tells the classes apart: it must be found, and taking it away must hurt most."""
    generator = np.random.default_rng(0)
    rows, poses = [], []
    for split, count in (("train", 20), ("test", 10)):
        for i in range(2 * count):
            pose = tiny_pose(0, seed=len(rows))
            pose[0, :, 1:, :2] += generator.normal(0, 1, (10, 2, 2))
            pose[0, :, 1:][:, generator.random(2) < 0.4] = np.nan  # feet are there or not, and no clue
            pose[0, :, 0, 0] += 7.0 * np.cos(np.pi * np.arange(10)) if i % 2 else 0.0
            rows.append(tiny_row(f"{split}{i}", i % 2, split=split))
            poses.append(pose)
    clips = write_clip_folder(tmp_path / "clips", rows, poses, CLASSES, TRIANGLE)
    recipe = recipes.pose_small(
        pose_frames=8, heatmap_size=16, pose_width=4, embedding_dim=8, batch_size=4, epochs=15, learning_rate=0.1,
        flip=0.0,
    )  # fmt: skip
    run = train(clips, recipe, tmp_path / "run", val_split=None, workers=0, device="cpu", progress=False)
    assert run_test(run, workers=0, device="cpu", progress=False).correct().mean() > 0.9
    network = open_network(run, None, "last", "cpu", None, 0.0)
    dataset = ClipDataset(clips.split("test"), recipe.inputs.on(clips.skeleton), training=False)
    batch = collate([dataset[0, i, 0] for i in range(len(dataset))])
    maps = batch_inputs(batch, recipe.inputs.on(clips.skeleton), TRIANGLE)
    network.model.eval()
    saliency = quiet(run, target="true", checkpoint="last")
    assert saliency.clip_ids == clips.split("test").ids
    per_joint = saliency.joints.astype(np.float32).sum(1)  # (N, 3)
    largest = np.abs(per_joint).argmax(1)
    assert (largest == 0).mean() > 0.7
    with torch.no_grad():
        own = batch.labels[:, None]
        before = log_odds(network.model(maps), "pose").gather(1, own)[:, 0]
        np.testing.assert_allclose(saliency.score, before, rtol=1e-3, atol=1e-4)
        drops = []
        for joint in range(3):
            without = {"pose": maps["pose"].clone()}
            without["pose"][:, joint] = 0
            drops.append(before - log_odds(network.model(without), "pose").gather(1, own)[:, 0])
    change = torch.stack(drops, 1).abs().numpy()
    chosen = change[np.arange(len(change)), largest]
    assert chosen.mean() > 1.5 * change.mean() > 0.1, "more than a joint taken at random"

    # The same network with other weights must tell another story.
    other = pose_only(
        4, 3, width=4, blocks=(1, 1, 1), embedding_dim=8, generator=torch.Generator().manual_seed(5)
    ).eval()

    def score(x: Mapping[str, Tensor]) -> Tensor:
        return log_odds(other(x), "pose").gather(1, batch.labels[:, None])[:, 0]

    found = over_joints(gradient_times_input(score, maps).parts["pose"], TRIANGLE, "joint").sum(1)
    assert (found.abs().argmax(1) == 0).double().mean() < 0.6


# ---------------------------------------------------------------------------------------------------------------------
# The file


def test_it_is_the_same_for_any_batches_and_workers(run: Run) -> None:
    one = quiet(run, batch_size=1)
    assert one.joints.shape == (8, 8, 3)
    assert one.maps.shape == (8, 2, 14, 14)
    assert one.joints.dtype == np.float16
    assert (np.diff(one.pose_frames, axis=1) >= 0).all()
    assert set(one.rgb_frames[0]) <= set(one.pose_frames[0])
    assert one.pose_frames.max() < 10
    two = quiet(run, batch_size=5, workers=2, replace=True)
    assert one.clip_ids == two.clip_ids
    for name in ("score", "joints", "maps"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=5e-3, atol=1e-5)
    np.testing.assert_array_equal(
        one.target, run_test(run, workers=0, device="cpu", progress=False).predicted()
    )


@pytest.mark.parametrize("output", ["rgb", "pose"])
def test_single_outputs_and_single_pathways(run: Run, clips: Clips, output: str) -> None:
    fused = quiet(run)
    assert fused.settings["output"] == "fused"
    part = quiet(run, output=output, target="true", replace=True)
    np.testing.assert_array_equal(part.target, clips.split("test").labels)
    assert not np.allclose(part.joints.astype(float), fused.joints.astype(float))
    alone = quiet(run.stage(output), clips=clips)
    assert (alone.joints is None) == (output == "rgb")
    assert (alone.maps is None) == (output == "pose")
    with pytest.raises(MgkitError, match="use 'rgb'|use 'pose'"):
        quiet(run.stage(output), clips=clips, output="fused")


def test_subsets_are_added_and_other_settings_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quiet(run)
    quiet(run, clip_ids=["test_1_0"], replace=True)
    assert run.saliency("test").clip_ids == ["test_1_0"]
    calls = []
    slow = explaining.gradient_times_input
    monkeypatch.setattr(
        explaining, "gradient_times_input", lambda *a: calls.append(len(a[1]["pose"])) or slow(*a)
    )
    added = quiet(run, clip_ids=["test_0_0", "test_1_0"])
    assert added.clip_ids == ["test_1_0", "test_0_0"]
    assert calls == [1], "what is there is not explained again"
    quiet(run)
    quiet(run)
    assert sum(calls) == 7
    again = run.saliency("test").select(whole.clip_ids)
    np.testing.assert_allclose(again.joints, whole.joints, rtol=5e-3, atol=1e-5)
    before = (run.root / "splits/test/saliency.npz").read_bytes()
    for other, word in (
        ({"target": "true"}, "target"),
        ({"checkpoint": "last"}, ""),
    ):
        with pytest.raises(MgkitError, match=rf"made with another .*{word}.*--replace"):
            quiet(run, **other)
    assert (run.root / "splits/test/saliency.npz").read_bytes() == before
    assert quiet(run, target="true", replace=True, clip_ids=["test_0_1"]).clip_ids == ["test_0_1"]


def test_an_interruption_keeps_what_was_done_and_leaves_no_half(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, calls = explaining.gradient_times_input, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return slow(*arguments)

    monkeypatch.setattr(explaining, "gradient_times_input", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(run, batch_size=2)
    assert run.saliency("test").clip_ids == run.clips().split("test").ids[:4]
    assert sorted(path.name for path in (run.root / "splits/test").iterdir()) == [".lock", "saliency.npz"]
    assert len(quiet(run, batch_size=2)) == 8
    assert len(calls) == 5


def test_two_at_once_do_not_lose_each_others_clips(run: Run) -> None:
    quiet(run, clip_ids=["test_0_0"])
    with (
        exclusive(run.root / "splits" / "test"),
        pytest.raises(MgkitError, match="another process is working"),
    ):
        quiet(run)
    assert run.saliency().clip_ids == ["test_0_0"]


def test_a_broken_video_keeps_what_was_done(run: Run, tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"test": 1})
    (tmp_path / clips.table["video"].iloc[2]).write_bytes(b"rubbish")
    with pytest.raises(MgkitError, match=r"test_2_0\.mp4"):
        quiet(run, clips=clips, batch_size=1)
    assert run.saliency().clip_ids == ["test_0_0", "test_1_0"]


def test_what_cannot_be_explained_is_refused(run: Run) -> None:
    for options, words in (
        ({"split": "dev"}, "no clip in split 'dev'"),
        ({"clip_ids": ["nobody"]}, "no clip nobody"),
        ({"clip_ids": []}, "give ids of its clips"),
        ({"target": "best"}, "target is 'best': use 'predicted' or 'true'"),
        ({"output": "sound"}, "output is 'sound'"),
        ({"batch_size": 0}, "batch_size is 0: use a whole number"),
        ({"weights": {"rgb": 1.0}}, "give one for each of rgb, pose"),
    ):
        with pytest.raises(MgkitError, match=words):
            quiet(run, **options)
    assert not (run.root / "splits" / "test" / "saliency.npz").exists()
    with pytest.raises(MgkitError, match="run `mgkit explain"):
        run.saliency("test")


def test_rectified_and_weighted_scores_are_explained(run: Run) -> None:
    plain = quiet(run, target="true")
    for change in ({"rectification": 2.0}, {"weights": {"rgb": 1.0, "pose": 9.0}}):
        moved = quiet(run, target="true", replace=True, **change)
        predictions = run_test(run, workers=0, device="cpu", progress=False, **change)
        p = predictions.scores()[np.arange(8), predictions.labels].astype(float)
        np.testing.assert_allclose(moved.score, np.log(p / (1 - p)), atol=1e-3)
        assert not np.allclose(plain.joints.astype(float), moved.joints.astype(float))


def test_from_a_shell(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "explain",
        str(run.root),
        "--device",
        "cpu",
        "--workers",
        "0",
        "--clip",
        "test_0_0",
    ]
    assert main(words) == 0
    assert "Saliency(1 clip, predicted class: 3 joints, maps of 14 x 14)" in capsys.readouterr().out
    words += ["--target", "true"]
    assert main(words) == 2
    assert "--replace" in capsys.readouterr().err
    assert main([*words, "--replace"]) == 0
    assert run.saliency().settings["target"] == "true"


def test_limb_heatmaps(clips: Clips, tmp_path: Path) -> None:
    small = {key: value for key, value in SMALL.items() if not key.startswith("rgb")}
    recipe = recipes.pose_small(**{**small, "epochs": 1}, heatmap="limb")
    run = train(clips, recipe, tmp_path / "run", workers=0, device="cpu", progress=False)
    saliency = quiet(run)
    assert saliency.joints.shape == (8, 8, 3)
    halves = saliency.joints.astype(np.float64).sum((0, 1))
    np.testing.assert_allclose(halves[0], halves[1] + halves[2], rtol=2e-2)  # both limbs end in the top joint


def test_joints_that_the_network_does_not_see_have_none(clips: Clips, tmp_path: Path) -> None:
    small = {key: value for key, value in SMALL.items() if not key.startswith("rgb")}
    recipe = recipes.pose_small(**{**small, "epochs": 1}, joints=("top", "right_foot"), centre="moving body")
    run = train(clips, recipe, tmp_path / "run", workers=0, device="cpu", progress=False)
    joints = quiet(run).joints
    assert joints.shape == (8, 8, 3)
    assert (joints[..., 1] == 0).all()
    assert (joints[..., 0] != 0).any()
