"""What of a clip a network is shown: the body, some of the joints, moved and cut at random, and sides in a mirror."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.batches.samplers import StepSampler
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import COCO17, LAYOUTS
from mgkit.data.table import Rows
from mgkit.errors import MgkitError
from tests.tiny import tiny_row

SIDES = Classes(("left ear", "wave", "right ear", "nod"))
KEYPOINTS = Inputs(reads=("keypoints",), pose_frames=6, flip=0.0)


def standing(seed: int, frames: int = 12) -> np.ndarray:
    """(1, frames, 17, 3): somebody with shoulders 8 pixels wide, who moves at random but for the shoulders."""
    generator = np.random.default_rng(seed)
    pose = np.ones((1, frames, 17, 3), np.float32)
    pose[..., :2] = generator.uniform(10, 22, (1, frames, 17, 2))
    pose[0, :, 5, :2], pose[0, :, 6, :2] = [20, 16], [12, 16]
    pose[0, :, 11, :2], pose[0, :, 12, :2] = [18, 26], [14, 26]
    return pose


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """A clip of each class; then the same four, twice as large and elsewhere; then walking."""
    poses = [standing(label) for label in range(4)]
    nearer, walking = [pose.copy() for pose in poses], [pose.copy() for pose in poses]
    for pose in nearer:
        pose[..., :2] = 2 * pose[..., :2] - [7, 15]
    for pose in walking:
        pose[..., 0] += np.arange(12, dtype=np.float32)[:, None]
    rows = [tiny_row(f"{i:02d}", i % 4, frames=12) for i in range(12)]
    root = tmp_path_factory.mktemp("inputs")
    return write_clip_folder(root, rows, [*poses, *nearer, *walking], SIDES, COCO17)


def shown(
    clips: Clips, spec: Inputs, rows: list[int], training: bool = False, epoch: int = 0
) -> torch.Tensor:
    dataset = ClipDataset(clips, spec, training=training, seed=3)
    return batch_inputs(collate([dataset[epoch, row, 0] for row in rows]), dataset.spec)["pose"]


@pytest.mark.parametrize("reads", ["keypoints", "heatmaps"])
def test_the_square_around_the_body_makes_place_and_size_alike(clips: Clips, reads: str) -> None:
    spec = Inputs(reads=(reads,), pose_frames=6, centre="body", body_span=5)
    one, nearer, walking = shown(clips, spec, [0, 4, 8])
    torch.testing.assert_close(one, nearer, atol=1e-4, rtol=1e-4)
    assert (one - walking).abs().max() > 0.1
    one, nearer, walking = shown(clips, replace(spec, centre="moving body"), [0, 4, 8])
    torch.testing.assert_close(one, nearer, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one, walking, atol=1e-4, rtol=1e-4)
    one, nearer, walking = shown(clips, replace(spec, centre="picture"), [0, 4, 8])
    assert (one - nearer).abs().max() > 0.1


def test_places_are_in_halves_of_the_span(clips: Clips) -> None:
    """The shoulders' middle at 0, a shoulder half a shoulder width from it."""
    (points,) = shown(clips, replace(KEYPOINTS, centre="body", body_span=4), [0])
    np.testing.assert_allclose(points[0, :, 5, :2], np.tile([0.25, 0], (6, 1)), atol=1e-5)
    np.testing.assert_allclose(points[0, :, 6, :2], np.tile([-0.25, 0], (6, 1)), atol=1e-5)


def test_a_clip_with_nobody_is_shown_whole(tmp_path: Path) -> None:
    empty = write_clip_folder(
        tmp_path / "c",
        [tiny_row("a", 0, frames=12)],
        [np.full((1, 12, 17, 3), np.nan, np.float32)],
        SIDES,
        COCO17,
    )
    assert (shown(empty, replace(KEYPOINTS, centre="moving body"), [0]) == 0).all()


def test_bodies_need_poses_and_frames_do_not_move_along(clips: Clips) -> None:
    unposed = replace(clips, rows=Rows(clips.table.assign(pose_offset=-1, video="videos/x.mp4")))
    with pytest.raises(MgkitError, match="centre='body' needs to find the body"):
        ClipDataset(unposed, Inputs(reads=("frames",), centre="body"), training=False)
    with pytest.raises(MgkitError, match="not moved along"):
        Inputs(centre="moving body")


@pytest.mark.parametrize("heatmap", ["joint", "limb"])
def test_some_joints_only(clips: Clips, heatmap: str) -> None:
    spec = Inputs(reads=("heatmaps",), pose_frames=6, heatmap=heatmap, joints=("upper",))
    part = COCO17.part(["upper"])
    maps = shown(clips, spec, [0])
    assert maps.shape[1] == spec.on(COCO17).channels == (len(part) if heatmap == "joint" else len(part.edges))
    whole = shown(clips, replace(spec, joints=()), [0])
    if heatmap == "joint":
        assert (maps == whole[:, COCO17.positions(part)]).all()
    mirrored = replace(spec, flip=1.0, crop_area=(1.0, 1.0))
    maps, whole = (shown(clips, one, [0], training=True) for one in (mirrored, replace(mirrored, joints=())))
    if heatmap == "joint":
        assert (maps == whole[:, COCO17.positions(part)]).all()
    assert shown(clips, replace(KEYPOINTS, joints=("left_*", "nose")), [0]).shape == (1, 1, 6, 9, 3)


def test_parts_of_a_layout_hang_together() -> None:
    part = COCO17.part(["nose", "*_wrist", "*_shoulder"])
    assert part.joints == ("nose", "left_shoulder", "right_shoulder", "left_wrist", "right_wrist")
    edges = {frozenset((part.joints[a], part.joints[b])) for a, b in part.edges}
    assert frozenset(("left_wrist", "left_shoulder")) in edges  # over the elbow
    assert part.flip_index.tolist() == [0, 2, 1, 4, 3]
    assert COCO17.part([]) is COCO17
    assert COCO17.part(["*"]) is COCO17
    for layout in LAYOUTS.values():
        upper = layout.part(["upper"])
        assert not any("knee" in joint or "ankle" in joint for joint in upper.joints)
        assert (upper.hops < len(upper)).all() or (layout.hops >= len(layout)).any()
    with pytest.raises(
        MgkitError, match=r"no joint 'left_wirst' \(did you mean 'left_wrist'|no joint 'left_wirst'"
    ):
        COCO17.part(["left_wirst"])


def test_moves_and_cuts_in_time_are_drawn_within_their_bounds(clips: Clips) -> None:
    still = replace(KEYPOINTS, flip=0.0)
    (plain,) = shown(clips, still, [0], training=True)
    (moved,) = shown(clips, replace(still, translation=0.25), [0], training=True)
    change = (moved - plain)[0, :, :, :2]
    assert (change - change[0, 0]).abs().max() < 1e-5  # one move for all frames and joints
    assert 0 < change.abs().max() <= 0.5  # in halves of the crop
    long = replace(clips, rows=Rows(clips.table))
    dataset = ClipDataset(long, replace(still, time_crop=(0.5, 0.5)), training=True, seed=0)
    spans, firsts = set(), set()
    for epoch in range(60):
        times = dataset._draw((epoch, 0, 0))[0]
        assert 0 <= times.min() <= times.max() <= 11
        spans.add(times.max() - times.min() <= 5)
        firsts.add(int(times.min()))
    assert spans == {True}
    assert min(firsts) == 0
    assert max(firsts) >= 5
    with pytest.raises(MgkitError, match="time_crop"):
        Inputs(time_crop=(0.0, 1.0))


def test_a_mirrored_clip_has_the_label_of_the_other_side(clips: Clips) -> None:
    spec = replace(KEYPOINTS, flip=1.0, mirror_pairs=("named",))
    dataset = ClipDataset(clips, spec, training=True)
    assert [dataset[0, row, 0].label for row in range(4)] == [2, 1, 0, 3]
    assert [
        ClipDataset(clips, replace(spec, flip=0.0), training=True)[0, row, 0].label for row in range(4)
    ] == [0, 1, 2, 3]
    half = ClipDataset(clips, replace(spec, flip=0.5), training=True)
    sampler = StepSampler(half, 4, parts=2)
    seen = []
    for epoch in range(4):
        sampler.begin(epoch)
        batches = iter(sampler)
        for step in range(sampler.steps):
            labels = [half[key].label for _ in sampler.shares(step) for key in next(batches)]
            assert sampler.whole_labels(step).tolist() == labels
            seen += labels
    assert np.bincount(seen, minlength=4).tolist() != [12, 12, 12, 12]
    assert dataset.label((0, 0, 0)) == 2


def test_pairs_of_classes_by_name_or_given() -> None:
    assert SIDES.sided == [("left ear", "right ear")]
    assert Classes(("Touching LeftEar", "Touching RightEar", "bright", "leftover")).sided == [
        ("Touching LeftEar", "Touching RightEar")
    ]
    assert Classes(("raise_left_arm", "nod")).one_sided == ["raise_left_arm"]
    assert Inputs(mirror_pairs="named").mirrored(SIDES).tolist() == [2, 1, 0, 3]
    assert Inputs(mirror_pairs=("wave", "nod")).mirrored(SIDES).tolist() == [0, 3, 2, 1]
    both = Inputs(mirror_pairs=[["wave", "nod"], "named"])
    assert both.mirrored(SIDES).tolist() == [2, 3, 0, 1]
    assert Inputs.from_dict(both.to_dict(), "here") == both
    for wrong, message in (
        ((("wave", "nod"), ("nod", "left ear")), "name each class once"),
        ((("wave", "wave"),), "its own other"),
        ((("wave", "knock"),), "no class 'knock'"),
    ):
        with pytest.raises(MgkitError, match=message):
            Inputs(mirror_pairs=wrong).mirrored(SIDES)
    with pytest.raises(MgkitError, match="pairs of class names"):
        Inputs(mirror_pairs=("wave",))
    assert "left ear / right ear" in Inputs().mirror_warning(SIDES)
    assert "raise_left_arm" in Inputs().mirror_warning(Classes(("raise_left_arm", "nod")))
    assert Inputs(mirror_pairs="named").mirror_warning(SIDES) == ""
    alone = Classes(("raise_left_arm", "raise_arm", "nod"))
    assert "raise_left_arm" in Inputs(mirror_pairs="named").mirror_warning(alone)
    assert Inputs(mirror_pairs=("raise_left_arm", "raise_arm")).mirror_warning(alone) == ""
    assert Inputs().mirror_warning(Classes(("wave", "nod"))) == ""
