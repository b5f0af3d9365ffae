from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mgkit.data.batches.augment import crop_affine, random_box
from mgkit.data.batches.dataset import ClipDataset, rgb_times, uniform_times
from mgkit.data.batches.device import RGB_MEAN, RGB_STD, batch_inputs, resample_frames, transform_keypoints
from mgkit.data.batches.loader import collate
from mgkit.data.batches.samplers import EpochSampler
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from tests.tiny import TRIANGLE, tiny_clips

SPEC = Inputs(rgb_frames=2, pose_frames=8, rgb_size=16, heatmap_size=8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 2})


def test_times_lie_one_in_each_bin() -> None:
    for length in (1, 5, 10, 33, 200):
        for count in (1, 8, 32):
            for generator in (None, np.random.default_rng(0)):
                times = uniform_times(length, count, generator)
                assert len(times) == count
                assert (np.diff(times) >= 0).all()
                low = np.floor(np.arange(count) * length / count)
                high = np.ceil((np.arange(count) + 1) * length / count)
                assert ((times >= low) & (times < np.maximum(high, low + 1))).all()
    assert uniform_times(40, 4).tolist() == [5, 15, 25, 35]
    with pytest.raises(MgkitError, match="from a clip of 0"):
        uniform_times(0, 4)


def test_times_lie_in_the_bins_of_the_published_sampling(reference_dir: Path) -> None:
    """Clips at least twice as long as the sample. Shorter ones differ on purpose: see `uniform_times`."""
    arrays, compared = dict(np.load(reference_dir / "transforms.npz")), 0
    for name, published in arrays.items():
        kind, *figures = name.split("_")
        if kind not in ("train", "test"):
            continue
        length, count = map(int, figures[:2])
        if length < 2 * count:
            continue
        compared += 1
        low = uniform_times(length, count, shift=0.0)
        high = np.ceil((np.arange(count) + 1) * length / count)
        for times in published.reshape(-1, count):
            assert (times >= low).all()
            assert (times < high).all()
    assert compared == 30  # ten pairs of length and count, each trained on, tested once and ten times


def test_rgb_times_are_a_subset_of_the_pose_times() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        pose = uniform_times(47, 32, generator)
        rgb = rgb_times(pose, 8, generator)
        assert all(rgb[i] in pose[4 * i : 4 * i + 4] for i in range(8))
    assert rgb_times(np.arange(32), 8).tolist() == [2, 6, 10, 14, 18, 22, 26, 30]


def test_a_box_fills_the_unit_square() -> None:
    for mirrored in (False, True):
        matrix = crop_affine((10, 20, 40, 60), mirrored)
        corners = np.array([[10, 20, 1], [50, 80, 1]]) @ matrix.T
        expected = [[1, 0], [0, 1]] if mirrored else [[0, 0], [1, 1]]
        np.testing.assert_allclose(corners, expected, atol=1e-6)


def test_random_boxes_stay_inside_and_keep_their_area() -> None:
    generator = np.random.default_rng(0)
    areas = []
    for _ in range(200):
        x, y, w, h = random_box(100, 100, (0.56, 1.0), generator)
        assert x >= 0
        assert y >= 0
        assert x + w <= 100 + 1e-9
        assert y + h <= 100 + 1e-9
        areas.append(w * h / 1e4)
    assert 0.5 < min(areas) < 0.62
    assert max(areas) > 0.9


def test_two_mirrors_are_the_identity(clips: Clips) -> None:
    generator = np.random.default_rng(0)
    frames = torch.from_numpy(generator.integers(0, 255, (1, 2, 16, 16, 3), dtype=np.uint8))
    points = torch.from_numpy(generator.uniform(0, 16, (1, 1, 4, 3, 3)).astype(np.float32))
    mirror = torch.from_numpy(crop_affine((0, 0, 16, 16), True))[None]
    plain = torch.from_numpy(crop_affine((0, 0, 16, 16), False))[None]
    flip = TRIANGLE.flip_index
    once = transform_keypoints(points[:, :, :, flip], mirror, 16)
    twice = transform_keypoints(once[:, :, :, flip], mirror, 16)
    torch.testing.assert_close(twice, points, atol=1e-5, rtol=0)
    picture = resample_frames(frames, plain, 16)
    mirrored = resample_frames(frames, mirror, 16)
    torch.testing.assert_close(mirrored, picture.flip(-1), atol=1e-4, rtol=0)


def test_the_whole_frame_at_its_own_size_is_the_frame() -> None:
    frames = torch.randint(0, 255, (2, 3, 12, 12, 3), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    plain = torch.from_numpy(np.stack([crop_affine((0, 0, 12, 12), False)] * 2))
    out = resample_frames(frames, plain, 12)
    expected = (frames.float() - torch.tensor(RGB_MEAN)) / torch.tensor(RGB_STD)
    torch.testing.assert_close(out, expected.permute(0, 4, 1, 2, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_and_keypoints_move_together(mirrored: bool) -> None:
    """A bright dot and a key-point on it must land on the same spot of both inputs, whatever the crop."""
    generator = np.random.default_rng(3)
    for _ in range(20):
        box = random_box(64, 64, (0.56, 1.0), generator)
        x, y = generator.uniform(0.25, 0.75, 2) * box[2:] + box[:2]
        yy, xx = np.mgrid[:64, :64] + 0.5
        blob = 255 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 3**2))
        frames = torch.from_numpy(np.repeat(blob[None, None, :, :, None], 3, -1).astype(np.uint8))
        affine = torch.from_numpy(crop_affine(box, mirrored))[None]
        seen = resample_frames(frames, affine, 32)[0, 0, 0] * RGB_STD[0] + RGB_MEAN[0]
        weight = seen.clamp(min=0) / seen.clamp(min=0).sum()
        middle = torch.arange(32) + 0.5
        centre = torch.stack([(weight.sum(0) * middle).sum(), (weight.sum(1) * middle).sum()])
        point = torch.tensor([[[[[x, y, 1.0]]]]], dtype=torch.float32)
        torch.testing.assert_close(
            transform_keypoints(point, affine, 32)[0, 0, 0, 0, :2], centre, atol=0.1, rtol=0
        )


def test_inputs_have_the_promised_shapes(clips: Clips) -> None:
    dataset = ClipDataset(clips, SPEC, training=True)
    batch = collate([dataset[(0, i, 0)] for i in range(3)])
    inputs = batch_inputs(batch, SPEC, clips.skeleton)
    assert inputs["rgb"].shape == (3, 3, 2, 16, 16)
    assert inputs["pose"].shape == (3, 3, 8, 8, 8)
    for value in inputs.values():
        assert value.is_contiguous(memory_format=torch.channels_last_3d)
    limb = Inputs(rgb_frames=2, pose_frames=8, rgb_size=16, heatmap_size=8, heatmap="limb")
    assert batch_inputs(batch, limb, clips.skeleton)["pose"].shape[1] == limb.on(clips.skeleton).channels == 2


def test_draws_depend_on_epoch_and_clip_alone(clips: Clips) -> None:
    dataset = ClipDataset(clips, SPEC, training=True, seed=5)
    one, again, later = dataset[(0, 1, 0)], dataset[(0, 1, 0)], dataset[(1, 1, 0)]
    np.testing.assert_array_equal(one.frames, again.frames)
    np.testing.assert_array_equal(one.affine, again.affine)
    assert not np.array_equal(one.affine, later.affine)


def test_every_epoch_has_every_clip_in_an_order_of_its_own(clips: Clips) -> None:
    sampler = EpochSampler(ClipDataset(clips, SPEC, training=True, seed=5))
    first = list(sampler)
    sampler.epoch = 1
    later = list(sampler)
    assert sorted(p for _, p, _ in first) == list(range(len(clips))) == sorted(p for _, p, _ in later)
    assert [p for _, p, _ in first] != [p for _, p, _ in later]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("heatmap", ["joint", "limb"])
def test_an_autocast_around_the_inputs_changes_nothing(
    clips: Clips, dtype: torch.dtype, heatmap: str
) -> None:
    spec = replace(SPEC, heatmap=heatmap, heatmap_size=56)
    dataset = ClipDataset(clips, spec, training=True)
    batch = collate([dataset[(0, i, 0)] for i in range(3)])
    expected = batch_inputs(batch, spec, clips.skeleton)
    with torch.autocast("cpu", dtype=dtype):
        found = batch_inputs(batch, spec, clips.skeleton)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value)


def test_test_views_are_shifts_and_mirrors(clips: Clips) -> None:
    dataset = ClipDataset(clips, SPEC, training=False, views=3, flip=True)
    assert len(EpochSampler(dataset)) == 6 * len(clips)
    plain, mirrored = dataset[(0, 0, 0)], dataset[(0, 0, 3)]
    np.testing.assert_array_equal(plain.frames, mirrored.frames)
    assert plain.keypoints is not None
    assert mirrored.keypoints is not None
    np.testing.assert_array_equal(plain.keypoints[:, :, TRIANGLE.flip_index], mirrored.keypoints)
    assert mirrored.affine[0, 0] == -plain.affine[0, 0]


def test_persons_and_sizes_of_a_batch_may_differ(clips: Clips) -> None:
    dataset = ClipDataset(clips, SPEC, training=False)
    one = dataset[(0, 0, 0)]
    assert one.keypoints is not None
    assert one.frames is not None
    two = one._replace(keypoints=np.concatenate([one.keypoints] * 2), frames=one.frames[:, :20, :24])
    batch = collate([one, two])
    assert batch.keypoints is not None
    assert batch.frames is not None
    assert batch.keypoints.shape[1] == 2
    assert batch.keypoints[0, 1].isnan().all()
    assert batch.frames[1, :, 20:].sum() == 0


def test_clips_without_what_the_recipe_needs_are_refused(tmp_path: Path) -> None:
    posed = tiny_clips(tmp_path, counts={"train": 1}, videos=False)
    ClipDataset(posed, Inputs(reads=("heatmaps",)), training=True)
    with pytest.raises(MgkitError, match="no video in 4 of 4 clips .first: train_0_0"):
        ClipDataset(posed, Inputs(), training=True)


def test_bad_specs_are_refused() -> None:
    with pytest.raises(MgkitError, match="multiple of rgb_frames"):
        Inputs(rgb_frames=5)
    with pytest.raises(MgkitError, match="heatmap is 'bone'"):
        Inputs(heatmap="bone")
