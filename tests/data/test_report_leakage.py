from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.report import picture_hash
from mgkit.data.skeletons import Skeleton
from mgkit.data.video import write_video
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_row


def bits_apart(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def scene(seed: int, size: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (size, size), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), size / 12).astype(float)
    return (128 + 60 * (blurred - blurred.mean()) / blurred.std()).clip(0, 255).astype(np.uint8)


def test_hashes_survive_what_a_second_export_does_and_tell_scenes_apart() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        one = scene(seed)
        small = cv2.resize(one, (48, 48), interpolation=cv2.INTER_AREA)
        noisy = (one * 0.9 + 12 + rng.normal(0, 3, one.shape)).clip(0, 255).astype(np.uint8)
        for twin in (small, noisy):
            assert bits_apart(picture_hash(one[None]), picture_hash(np.asarray(twin)[None])) <= 6
        assert bits_apart(picture_hash(one[None]), picture_hash(scene(seed + 100)[None])) > 12
    assert len(picture_hash(np.stack([scene(i) for i in range(3)]))) == 48
    assert picture_hash(np.stack([scene(1), np.zeros((64, 64), np.uint8)])) == ""  # black says nothing


def posed(root: Path, rows: list[dict[str, Any]], poses: list[np.ndarray | None]) -> Clips:
    rows = [{**row, "persons": 0 if pose is None else 1} for row, pose in zip(rows, poses, strict=True)]
    return write_clip_folder(root, rows, poses, CLASSES, TRIANGLE)


def walk(seed: int, frames: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pose = np.ones((1, frames, 3, 3), np.float32)
    pose[..., :2] = rng.uniform(4, 28, (1, 1, 3, 2)) + np.cumsum(rng.normal(0, 0.2, (1, frames, 3, 2)), 1)
    return pose


def found(clips: Clips, what: str) -> list[str]:
    table = clips.leakage()
    return sorted(table.loc[table["what"] == what, "name"])


def test_a_copied_pose_is_found_though_shifted_cut_and_noisy(tmp_path: Path) -> None:
    original = walk(0, 42)
    copy = original[:, 1:41] + np.random.default_rng(1).normal(0, 0.1, (1, 40, 3, 3)).astype(np.float32)
    copy[0, 20:22] = np.nan
    others = [walk(k) for k in range(1, 30)]
    rows = [tiny_row("original", 0, source="x", frames=42, end=42)]
    rows += [tiny_row("copy", 0, split="test", source="y", frames=40, end=40, subject="S9")]
    rows += [
        tiny_row(
            f"o{k}", 1, split=("train", "test")[k % 2], source=f"z{k}", frames=20, end=20, subject=f"P{k}"
        )
        for k in range(len(others))
    ]
    clips = posed(tmp_path, rows, [original, copy, *others])
    assert found(clips, "near-duplicate") == ["original ~ copy"]
    assert found(clips, "same subject") == []


def still_people(moves: Sequence[tuple[int, slice]], seed: int = 0) -> list[np.ndarray]:
    """The same person sitting still, with the jitter of an estimator; in each clip one joint of 20 moves."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(20, 80, (20, 2))
    clips = []
    for joint, frames in moves:
        pose = np.ones((1, 48, 20, 3), np.float32)
        pose[..., :2] = body + rng.normal(0, 0.2, (1, 48, 20, 2))
        pose[0, frames, joint, :2] += (0, -2.5)  # of a crop of 100
        clips.append(pose)
    return clips


def test_one_moving_joint_makes_still_people_different(tmp_path: Path) -> None:
    """Micro-gestures are one moving wrist: a clip of another gesture, or of another time of it, is not a copy."""
    whole, brief, late = slice(0, 48), slice(12, 24), slice(30, 42)
    moves = [(3, whole), (3, brief), (7, whole), (7, brief), (7, late), (3, brief)]
    rows = [
        tiny_row(
            f"c{i}", 0, split=("train", "test")[i % 2], subject=f"P{i}", source=f"c{i}", frames=48, end=48
        )
        for i in range(len(moves))
    ]
    rows = [{**row, "width": 100, "height": 100, "persons": 1} for row in rows]
    skeleton = Skeleton("twenty", tuple(f"j{i}" for i in range(20)), (), ())
    clips = write_clip_folder(tmp_path / "a", rows, still_people(moves), CLASSES, skeleton)
    assert found(clips, "near-duplicate") == []
    moves[3] = moves[0]  # two clips of the same, one in each split
    clips = write_clip_folder(tmp_path / "b", rows, still_people(moves), CLASSES, skeleton)
    assert found(clips, "near-duplicate") == ["c0 ~ c3"]


def test_pictures_must_agree_too_and_so_must_poses(tmp_path: Path) -> None:
    """The same picture with other joints, and the same joints before another picture, are two clips, not one."""
    (tmp_path / "videos").mkdir()
    rows, poses = [], []
    for name, split, picture, pose in (
        ("a", "train", 1, 1), ("twin", "test", 1, 1), ("pose only", "test", 2, 1), ("picture only", "test", 1, 2)
    ):  # fmt: skip
        frames = np.stack([scene(picture, 32)] * 3, -1)
        write_video(tmp_path / "videos" / f"{name}.mp4", [frames] * 20, 25)
        changes = {"source": name, "subject": name, "video": f"videos/{name}.mp4", "frames": 20, "end": 20}
        rows.append(tiny_row(name, 0, split=split, **changes))
        poses.append(walk(pose))
    clips = posed(tmp_path, rows, poses)
    assert found(clips, "near-duplicate") == ["a ~ twin"]
    without = posed(tmp_path, rows, [None] * 4)
    assert found(without, "near-duplicate") == ["a ~ picture only", "a ~ twin"]


def test_a_list_of_annotations_is_no_recording(tmp_path: Path) -> None:
    """Poses of a pickle all have it as their source, and begin at 0: that is not one video in two splits."""
    rows = [
        tiny_row(f"c{i}", 0, split=("train", "test")[i % 2], source="a.pkl", subject="") for i in range(4)
    ]
    clips = posed(tmp_path, rows, [walk(i, 10) for i in range(4)])
    assert clips.leakage().empty
    cut = [{**row, "start": 20 * i, "end": 20 * i + 10} for i, row in enumerate(rows)]
    assert found(posed(tmp_path, cut, [walk(i, 10) for i in range(4)]), "same video") == ["a.pkl"]


@pytest.mark.parametrize(("start", "expected"), [(4, ["a ~ b"]), (6, [])])
def test_footage_is_shared_when_more_than_half_of_a_clip_is(
    tmp_path: Path, start: int, expected: list[str]
) -> None:
    rows = [
        tiny_row("a", 0, source="v", start=0, end=10, subject="x"),
        tiny_row("b", 0, source="v", start=start, end=start + 10, split="val", subject="y"),
        tiny_row("c", 0, source="v", start=2, end=9, split="train", subject="x"),
    ]
    clips = posed(tmp_path, rows, [None] * 3)
    names = found(clips, "same footage")
    assert [name for name in names if "c" not in name] == expected
    assert found(clips, "same video") == ["v"]


def test_one_split_leaks_nothing(tmp_path: Path) -> None:
    assert tiny_clips(tmp_path, counts={"train": 2}, videos=False).leakage().empty


@pytest.mark.slow
def test_the_embedded_data_has_no_leak(demo_clips: Clips) -> None:
    assert demo_clips.leakage().empty
    assert not [e for e in demo_clips.report if e["what"] in ("near-duplicate", "same subject", "same video")]
