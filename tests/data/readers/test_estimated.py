from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mgkit as mg
from mgkit.cli import main
from mgkit.data.keypoints import KeyPoints, Origin
from mgkit.data.readers import RawClip, RawDataset
from mgkit.data.readers.estimated import with_poses
from mgkit.data.readers.folders import read_folders
from mgkit.data.skeletons import COCO17, HOLISTIC75, IMIGUE22
from mgkit.errors import MgkitError
from mgkit.files import read_json
from tests.data.video.made import encode

GRID = np.stack([np.arange(17) % 5, np.arange(17) // 5], -1) * 8 + (20, 10)


def points(frames: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    out = np.ones((1, frames, 17, 3), np.float32)
    out[..., :2] = GRID + generator.normal(0, 1.0, (1, frames, 17, 2))
    return out


def made(root: Path, *names: str, estimator: str = "holistic", version: str = "1.2.3") -> Path:
    """Videos <root>/videos/<name>.mp4 and their key-points <root>/poses/<name>.npz."""
    for i, name in enumerate(names):
        video = root / "videos" / f"{name}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        encode(video, 20, crf=str(10 + len(list(root.rglob("*.mp4")))))  # no two videos are the same
        stat = video.stat()
        origin = Origin(
            estimator, version, "ab" * 32, {"person": "left"}, name, stat.st_size, stat.st_mtime_ns
        )
        KeyPoints(points(20, i), COCO17, 25.0, (96, 64), origin).write(root / "poses" / f"{name}.npz")
    return root / "poses"


def test_a_folder_may_be_given_by_any_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a notebook it is ../poses; what is hidden in it is not looked at."""
    poses = made(tmp_path / ".hidden", "wave/1")
    (poses / ".old.npz").write_bytes(b"left by a killed process")
    (tmp_path / ".hidden" / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / ".hidden" / "notebooks")
    data = with_poses(read_folders(tmp_path / ".hidden" / "videos"), Path("../poses"))
    assert [clip.pose is not None for clip in data.clips] == [True]


def test_folders_of_videos_get_their_key_points(tmp_path: Path) -> None:
    poses = made(tmp_path, "train/wave/1", "train/nod/1", "test/wave/1")
    raw = tmp_path / "videos"
    call = {"size": 32, "workers": 1, "progress": False}
    clips = mg.prepare("folders", raw, tmp_path / "as given", poses=poses, smooth="none", **call)
    assert clips.has_pose
    assert clips.skeleton == COCO17
    row = clips.row("train/nod/1")
    scale = row["width"] / row["crop_width"]
    expected = (points(20, 1)[..., :2] - (row["crop_x"], row["crop_y"])) * scale
    assert np.allclose(clips.pose("train/nod/1")[..., :2], expected, atol=1e-3)
    assert read_json(clips.root / "poses.json") == {
        "smoothing": "none",
        "estimators": [
            {"estimator": "holistic", "version": "1.2.3", "model": "ab" * 32, "person": "left", "clips": 3}
        ],
    }
    assert clips.estimators == ["holistic 1.2.3"]
    smooth = mg.prepare("folders", raw, tmp_path / "smooth", poses=poses, **call)
    assert read_json(smooth.root / "poses.json")["smoothing"] == "savgol7"
    steps = [np.abs(np.diff(c.pose("train/nod/1")[0, :, :, :2], axis=0)).mean() for c in (clips, smooth)]
    assert steps[1] < 0.6 * steps[0]


def test_a_second_prepare_does_nothing_and_new_key_points_are_taken_up(tmp_path: Path) -> None:
    poses = made(tmp_path, "wave/1", "nod/1")
    call = {"size": 32, "workers": 1, "progress": False, "poses": poses}
    first = mg.prepare("folders", tmp_path / "videos", tmp_path / "out", **call)
    before = first.pose("nod/1").copy()
    times = {path: path.stat().st_mtime_ns for path in first.root.rglob("*") if path.is_file()}
    again = mg.prepare("folders", tmp_path / "videos", tmp_path / "out", **call)
    assert {path: path.stat().st_mtime_ns for path in again.root.rglob("*") if path.is_file()} == times
    keypoints = mg.pose.read_keypoints(poses / "nod" / "1.npz")
    replace(keypoints, points=points(20, 9)).write(poses / "nod" / "1.npz")
    third = mg.prepare("folders", tmp_path / "videos", tmp_path / "out", **call)
    assert not np.array_equal(third.pose("nod/1"), before)


def test_clips_of_a_longer_video_get_their_span(tmp_path: Path) -> None:
    """By a reader of one's own, whose clips are spans and whose videos lie elsewhere."""
    poses = made(tmp_path, "session/a")
    other = tmp_path / "copy" / "session"
    other.mkdir(parents=True)
    (other / "a.mp4").write_bytes((tmp_path / "videos" / "session" / "a.mp4").read_bytes())
    data = read_folders(tmp_path / "videos")
    spans = [
        RawClip("one", "all", 0, video=other / "a.mp4", start=3, end=11),
        RawClip("all", "all", 0, video=other / "a.mp4"),
    ]
    found = with_poses(replace(data, clips=spans), poses)
    first, whole = found.clips
    assert first.pose is not None
    assert whole.pose is not None
    assert np.array_equal(first.pose(), points(20)[:, 3:11])
    assert np.array_equal(whole.pose(), points(20))
    assert first.pose_frames is not None
    assert first.pose_frames() == 20
    assert whole.pose_frames is None
    assert found.skeleton == COCO17
    assert found.files[-1] == poses / "session" / "a.npz"


def test_clips_without_and_key_points_too_many_are_reported(tmp_path: Path) -> None:
    poses = made(tmp_path, "wave/1", "wave/2", "nod/1")
    (poses / "wave" / "2.npz").unlink()
    (tmp_path / "videos" / "nod" / "1.mp4").rename(tmp_path / "videos" / "nod" / "9.mp4")
    data = with_poses(read_folders(tmp_path / "videos"), poses)
    said = {entry["what"]: entry["detail"] for entry in data.report}
    assert said["no pose"].startswith("no key-points in ")
    assert said["key-points not used"].startswith("1 file of no clip: ")
    assert [clip.pose is not None for clip in data.clips] == [clip.clip_id == "wave/1" for clip in data.clips]


def test_estimators_that_differ_between_splits_are_reported(tmp_path: Path) -> None:
    made(tmp_path, "train/wave/1", "train/nod/1")
    poses = made(tmp_path, "test/wave/1", "test/nod/1", estimator="holistic-legacy", version="0.10.21")
    clips = mg.prepare(
        "folders", tmp_path / "videos", tmp_path / "out", size=32, workers=1, progress=False, poses=poses
    )
    (entry,) = [entry for entry in clips.report if entry["what"] == "several estimators"]
    assert entry["detail"].startswith(
        "test: holistic-legacy 0.10.21 (2 clips); train: holistic 1.2.3 (2 clips); "
    )
    assert clips.estimators == ["holistic 1.2.3", "holistic-legacy 0.10.21"]
    assert "several estimators" in clips.report_table()["what"][:2].tolist()  # on top, with what splits share


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    poses = made(tmp_path, "wave/1", "nod/1")
    data = read_folders(tmp_path / "videos")
    with pytest.raises(MgkitError, match=r"holds no key-points of videos: make them with `mgkit pose VIDEOS"):
        with_poses(data, tmp_path / "gone")
    with pytest.raises(MgkitError, match="have key-points of their own: leave poses out"):
        with_poses(with_poses(data, poses), poses)
    with pytest.raises(MgkitError, match="smooth is 'savgol9': use savgol7 or none"):
        mg.prepare("folders", tmp_path / "videos", tmp_path / "out", smooth="savgol9")
    head = mg.pose.read_keypoints(poses / "wave" / "1.npz")
    head.write(poses / "copy.npz")
    with pytest.raises(MgkitError, match=r"copy.npz, .*1.npz may both be the key-points of"):
        with_poses(data, poses)
    (poses / "copy.npz").unlink()
    other = np.ones((1, 20, 75, 3), np.float32)
    replace(head, points=other, skeleton=HOLISTIC75).write(poses / "wave" / "1.npz")
    with pytest.raises(MgkitError, match="several layouts \\(coco17, holistic75\\)"):
        with_poses(data, poses)
    encode(tmp_path / "videos" / "wave" / "1.mp4", 12)
    with pytest.raises(
        MgkitError, match=r"wave/1.mp4 has another size than when .*1.npz was made. Run `mgkit pose`"
    ):
        with_poses(data, poses)
    alone = RawDataset([RawClip("a", "all", 0, end=3)], data.classes, IMIGUE22, [])
    with pytest.raises(MgkitError, match="of 2 videos, but of none of these: a"):
        with_poses(alone, poses)


def test_from_a_shell_and_a_run_knows_its_estimator(tmp_path: Path) -> None:
    from mgkit.results.run.folder import create_run, other_estimators

    poses = made(tmp_path, "train/wave/1", "train/nod/1")
    words = [
        "prepare",
        "folders",
        str(tmp_path / "videos"),
        str(tmp_path / "out"),
        "--size",
        "32",
        "--workers",
        "1",
    ]
    assert main([*words, "--poses", str(poses), "--smooth", "none"]) == 0
    clips = mg.load_clips(tmp_path / "out")
    run = create_run(tmp_path / "run", recipe={}, clips=clips, pathways=("pose",), environment={})
    assert run.config["data"]["estimators"] == ["holistic 1.2.3"]
    assert other_estimators(run, clips) == ""
    made(tmp_path / "b", "train/wave/1", "train/nod/1", estimator="rtmw", version="1")
    other = mg.prepare(
        "folders", tmp_path / "b" / "videos", tmp_path / "other", size=32, workers=1, progress=False,
        poses=tmp_path / "b" / "poses",
    )  # fmt: skip
    assert "were estimated by rtmw 1, those of the training by holistic 1.2.3" in other_estimators(run, other)
