"""Key-points as skeleton networks read them: streams, people, and how clips are turned and resized."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.batches.augment import crop_affine, square_around, turned
from mgkit.data.batches.dataset import Batch, ClipDataset, uniform_times
from mgkit.data.batches.device import batch_inputs, transform_keypoints
from mgkit.data.batches.loader import collate
from mgkit.data.batches.pose import select_persons, skeleton_stream
from mgkit.data.batches.spec import STREAMS, Inputs
from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.skeletons import COCO17, IMIGUE22, Skeleton
from mgkit.errors import MgkitError
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_row


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 4}, videos=False)


def some_points(
    n: int = 2, m: int = 2, t: int = 5, v: int = 17, seed: int = 0, unseen: float = 0.2
) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(n, m, t, v, 3, generator=g)
    points[torch.rand(n, m, t, v, generator=g) < unseen] = torch.nan
    return points


def slow_stream(points: torch.Tensor, parents: Any, stream: str) -> Any:
    """Straight from the words of the docstring, one number at a time."""
    n, m, t, v, _ = points.shape

    def place(i: int, j: int, k: int, joint: int) -> list[float]:
        if "bone" not in stream:
            return [float(x) for x in points[i, j, k, joint]]
        one, other = points[i, j, k, joint], points[i, j, k, parents[joint]]
        return [float(one[0] - other[0]), float(one[1] - other[1]), float(one[2] + other[2]) / 2]

    out = np.zeros(points.shape, np.float32)
    for i, j, k, joint in np.ndindex(n, m, t, v):
        value = place(i, j, k, joint)
        if "motion" in stream:
            if k + 1 == t:
                value = [np.nan] * 3
            else:
                after = place(i, j, k + 1, joint)
                value = [after[0] - value[0], after[1] - value[1], (after[2] + value[2]) / 2]
        if not np.isnan(value).any():
            out[i, j, k, joint] = value
    return out


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("skeleton", [COCO17, IMIGUE22], ids=lambda s: s.name)
def test_streams_are_those_of_a_slow_loop(stream: str, skeleton: Skeleton) -> None:
    points = some_points(v=len(skeleton))
    before = points.clone()
    found = skeleton_stream(points, skeleton.parents, stream)
    np.testing.assert_allclose(found.numpy(), slow_stream(points, skeleton.parents, stream), atol=1e-6)
    assert torch.equal(points.nan_to_num(-9), before.nan_to_num(-9))  # the input is left as it was


def test_a_joint_with_a_place_but_no_score_counts_as_unseen() -> None:
    points = torch.ones(1, 1, 1, 17, 3)
    points[0, 0, 0, 3, 2] = torch.nan
    found = skeleton_stream(points, COCO17.parents)
    assert found[0, 0, 0, 3].tolist() == [0, 0, 0]
    assert found[0, 0, 0, 4].tolist() == [1, 1, 1]


@pytest.mark.parametrize("stream", ["joint-motion", "bone-motion"])
@pytest.mark.parametrize("training", [False, True])
def test_what_moves_is_told_by_the_next_frame_of_the_clip(stream: str, training: bool, clips: Clips) -> None:
    """As published (PYSKL takes differences of the whole clip, and samples afterwards): 25 frames of a clip of 10 show
    most of them twice or more, and none is a rest. Per frame, in units of half the longer side."""
    spec = Inputs(reads=("keypoints",), pose_frames=25, stream=stream, flip=0)
    for position, clip_id in enumerate(clips.ids):
        whole = clips.pose(clip_id)[0].astype(np.float64)
        if stream == "bone-motion":
            whole = whole - whole[:, clips.skeleton.parents]
        moved = np.zeros_like(whole)
        moved[:-1] = 2 * np.diff(whole, axis=0) / 32
        dataset = ClipDataset(clips, spec, training=training, seed=3)
        found = batch_inputs(collate([dataset[0, position, 0]]), spec, clips.skeleton)["pose"]
        assert found.shape == (1, 1, 25, 3, 3)
        generator = np.random.default_rng([3, 0, position]) if training else None
        times = uniform_times(10, 25, generator)
        np.testing.assert_allclose(found[0, 0, :, :, :2].numpy(), moved[times][..., :2], atol=1e-5)
        assert ((found[0, 0, :, :, 2] == 0).all(-1).numpy() == (times == 9)).all()


def test_the_root_has_no_bone_and_the_last_frame_no_motion() -> None:
    points = some_points(unseen=0)
    assert (skeleton_stream(points, COCO17.parents, "bone")[..., COCO17.root, :2] == 0).all()
    for stream in ("joint-motion", "bone-motion"):
        assert (skeleton_stream(points, COCO17.parents, stream)[:, :, -1] == 0).all()


def test_an_unknown_stream_is_refused_by_name() -> None:
    with pytest.raises(MgkitError, match="'bones': use one of joint, bone"):
        skeleton_stream(some_points(), COCO17.parents, "bones")


def test_the_people_with_the_highest_scores_are_kept_in_their_order() -> None:
    points = torch.zeros(1, 4, 2, 3, 3)
    points[0, :, :, :, 2] = torch.tensor([0.5, 0.1, 0.9, 0.5])[:, None, None]
    points[0, :, :, :, 0] = torch.arange(4.0)[:, None, None]  # who is who
    assert select_persons(points, 2)[0, :, 0, 0, 0].tolist() == [0, 2]  # of equals the first
    assert select_persons(points, 4) is points
    padded = select_persons(points, 6)
    assert padded.shape[1] == 6
    assert padded[0, 4:].isnan().all()


def test_every_view_of_a_clip_shows_the_same_people(tmp_path: Path) -> None:
    """One is surer in the first half, the other in the second, and over all the frames."""
    pose = np.ones((2, 10, 3, 3), np.float32)
    pose[0, :, :, 0], pose[1, :, :, 0] = 8, 24
    pose[0, :5, :, 2], pose[0, 5:, :, 2] = 0.9, 0.1
    pose[1, :5, :, 2], pose[1, 5:, :, 2] = 0.2, 0.9
    clips = write_clip_folder(tmp_path, [tiny_row("two", 0, persons=2)], [pose], CLASSES, TRIANGLE)
    spec = Inputs(reads=("keypoints",), pose_frames=1, flip=0)
    for training, count in ((False, 10), (True, 10)):
        dataset = ClipDataset(clips, spec, training=training, views=10)
        for i in range(count):
            sample = dataset[(i, 0, 0) if training else (0, 0, i)]
            found = batch_inputs(collate([sample]), spec, TRIANGLE)["pose"]
            np.testing.assert_allclose(found[..., 0].numpy(), 0.5)


def test_people_who_are_not_there_are_zero() -> None:
    spec = Inputs(reads=("keypoints",), pose_frames=5, persons=3)
    points = some_points(n=1, m=1) * 100
    batch = Batch(torch.tensor([0]), torch.tensor([0]), None, points, torch.eye(2, 3)[None] / 100)
    found = batch_inputs(batch, spec, COCO17)["pose"]
    assert found.shape == (1, 3, 5, 17, 3)
    assert not found.isnan().any()
    assert (found[:, 1:] == 0).all()
    assert (found[:, 0] != 0).any()


def test_a_frame_keeps_its_proportions() -> None:
    for width, height in ((640, 480), (200, 900)):
        affine = torch.from_numpy(crop_affine(square_around(width, height), mirrored=False))[None]
        corners = torch.tensor([[0.0, 0, 1], [width, height, 1], [width / 2, height / 2, 1]])[
            None, None, None
        ]
        x = 2 * transform_keypoints(corners, affine, 1)[0, 0, 0, :, :2] - 1
        longer = max(width, height)
        expected = [[-width / longer, -height / longer], [width / longer, height / longer], [0, 0]]
        np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)


def test_turning_is_a_turn_about_the_middle_in_pixels() -> None:
    class Fixed(np.random.Generator):
        def __init__(self, *values: float) -> None:
            super().__init__(np.random.PCG64(0))
            self.values = list(values)

        def uniform(self, low: Any, high: Any) -> Any:  # type: ignore[override]
            value = self.values.pop(0)
            assert low <= value <= high
            return value

    box = square_around(640, 480)
    plain = crop_affine(box, mirrored=False).astype(np.float64)
    found = turned(plain.astype(np.float32), box, 30, 0.5, Fixed(30.0, 0.25)).astype(np.float64)
    points = np.array([[320.0, 240], [420, 240], [320, 140], [37, 411]])
    middle = np.array([320.0, 240])
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    expected = middle + 1.25 * (points - middle) @ np.array([[c, -s], [s, c]]).T
    np.testing.assert_allclose(
        points @ found[:, :2].T + found[:, 2], expected @ plain[:, :2].T + plain[:, 2], atol=1e-5
    )


def test_a_mirrored_clip_is_turned_too_and_stays_mirrored() -> None:
    box = square_around(100, 60)
    g = np.random.default_rng(3)
    plain, turned_one = crop_affine(box, True), turned(crop_affine(box, True), box, 20, 0.1, g)
    assert np.linalg.det(plain[:, :2]) < 0
    assert np.linalg.det(turned_one[:, :2]) < 0
    assert not np.allclose(plain, turned_one)


def test_lengths_of_limbs_change_alike_and_unseen_joints_stay_unseen(clips: Clips) -> None:

    spec = Inputs(reads=("keypoints",), pose_frames=6, rotation=40, scaling=0.3, flip=0.5)
    plain = Inputs(reads=("keypoints",), pose_frames=6, flip=0.5)
    turned_set = ClipDataset(clips, spec, training=True, seed=5)
    plain_set = ClipDataset(clips, plain, training=True, seed=5)
    for position in range(len(clips)):
        a, b = turned_set[0, position, 0], plain_set[0, position, 0]
        np.testing.assert_array_equal(a.keypoints, b.keypoints)  # the same times, the same mirror
        one = batch_inputs(collate([a]), spec, clips.skeleton)["pose"][0, 0]
        other = batch_inputs(collate([b]), plain, clips.skeleton)["pose"][0, 0]
        np.testing.assert_array_equal((one == 0).all(-1), (other == 0).all(-1))
        seen = (other != 0).any(-1)
        np.testing.assert_array_equal(one[..., 2], other[..., 2])
        distances, before = (torch.cdist(p[..., :2], p[..., :2]) for p in (one, other))
        pairs = seen[:, :, None] & seen[:, None, :] & (before > 1e-3)
        ratios = (distances / before)[pairs]
        if len(ratios):
            assert ratios.max() / ratios.min() < 1.001
            assert 0.69 < ratios.mean() < 1.31


def test_test_views_are_not_turned(clips: Clips) -> None:

    spec = Inputs(reads=("keypoints",), pose_frames=4, rotation=90, scaling=0.5)
    plain = Inputs(reads=("keypoints",), pose_frames=4)
    for one, other in zip(
        [ClipDataset(clips, spec, training=False)[0, i, 0] for i in range(len(clips))],
        [ClipDataset(clips, plain, training=False)[0, i, 0] for i in range(len(clips))],
        strict=True,
    ):
        np.testing.assert_array_equal(one.affine, other.affine)


def test_what_heatmap_networks_are_fed_has_not_changed_with_the_new_settings(clips: Clips) -> None:
    """The draws of a turn come after all others, and only where there is one."""

    plain = Inputs(reads=("heatmaps",), pose_frames=4, heatmap_size=4)
    odd = Inputs(reads=("heatmaps",), pose_frames=4, heatmap_size=4, rotation=10)
    a, b = ClipDataset(clips, plain, training=True)[0, 0, 0], ClipDataset(clips, odd, training=True)[0, 0, 0]
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    assert not np.array_equal(a.affine, b.affine)
