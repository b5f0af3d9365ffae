from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.readers.smg import read_smg
from mgkit.errors import MgkitError
from tests.made.points import in_source
from tests.made.trees import write_smg

FRAMES = 9


def numbers(frames: int = FRAMES) -> np.ndarray:
    """(T, 25, 11): every number its own, but pixels (joint + 1, frame + 1)."""
    values = np.arange(frames * 25 * 11, dtype=np.float64).reshape(frames, 25, 11) + 5000
    values[..., 7] = np.arange(25) + 1
    values[..., 8] = np.arange(frames)[:, None] + 1
    return values


def write_sample(
    root: Path,
    sample: str,
    folder: str = "train",
    labels: str = "1,0,3\n17,4,4\n16,5,8\n",
    video: bool = False,
) -> Path:
    place = root / folder / sample
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{sample}_finelabels.csv").write_text(labels)
    rows = [",".join(map(str, row)) for row in numbers().reshape(FRAMES, -1).tolist()]
    (place / f"{sample}_skeleton.csv").write_text("\n".join(rows) + "\n")
    if video:
        (place / f"{sample}_color.mp4").write_bytes(b"not decoded by a reader")
    return root


def test_rows_become_clips(tmp_path: Path) -> None:
    write_sample(tmp_path / "SMG é", "Sample0001", video=True)
    write_sample(tmp_path / "SMG é", "Sample0036", "test", video=True)
    data = read_smg(tmp_path / "SMG é")
    rows = [(c.clip_id, c.split, c.label, c.start, c.end, c.subject, c.source) for c in data.clips]
    assert rows[:3] == [
        ("Sample0001_0", "train", 0, 0, 4, "Sample0001", "Sample0001_color.mp4"),
        ("Sample0001_1", "train", 16, 4, 5, "Sample0001", "Sample0001_color.mp4"),
        ("Sample0001_2", "train", 15, 5, 9, "Sample0001", "Sample0001_color.mp4"),
    ]
    assert {clip.split for clip in data.clips} == {"train", "test"}
    assert len(data.classes) == 17
    assert data.classes.non_gesture == 16
    assert data.skeleton.name == "kinect25"
    assert not data.report
    assert data.clips[2].pose is not None
    pose = pickle.loads(pickle.dumps(data.clips[2].pose))()
    assert pose.shape == (1, 4, 25, 3)
    assert pose[0, 0, :, 0].tolist() == list(range(1, 26))
    assert pose[0, :, 0, 1].tolist() == [6, 7, 8, 9]
    assert (pose[..., 2] == 1).all()
    assert data.skeleton.joints[6] == "left_wrist"
    assert data.skeleton.joints[10] == "right_wrist"


def test_the_challenge_has_16_classes(tmp_path: Path) -> None:
    data = read_smg(write_sample(tmp_path, "Sample0001"), classes=16)
    assert [clip.clip_id for clip in data.clips] == [
        "Sample0001_0",
        "Sample0001_2",
    ]  # rows keep their numbers
    assert len(data.classes) == 16
    assert data.classes.non_gesture is None
    assert [n["detail"] for n in data.report] == ["1 clip of class 17 left out, as classes=16 asks"]
    assert [clip.size for clip in data.clips] == [(1920, 1080)] * 2  # no video tells it


def test_frames_from_one(tmp_path: Path) -> None:
    root = write_sample(tmp_path, "Sample0001", labels="1,1,4\n2,5,9\n")
    assert [(c.start, c.end) for c in read_smg(root, frame_base=1).clips] == [(0, 4), (4, 9)]
    assert [(c.start, c.end) for c in read_smg(root).clips] == [(1, 5), (5, 10)]
    with pytest.raises(MgkitError, match="frame_base is 2, classes is 17: use 0 or 1"):
        read_smg(root, frame_base=2)  # type: ignore[arg-type]


def test_classes_outside_the_list_are_refused(tmp_path: Path) -> None:
    root = write_sample(tmp_path, "Sample0001", labels="1,0,4\n0,5,8\n18,5,8\n")
    with pytest.raises(
        MgkitError, match=r"2 problems: .*finelabels\.csv row 2: class 0, .*row 3: class 18, which is"
    ):
        read_smg(root)


def test_what_is_odd_in_the_skeleton_file_is_told(tmp_path: Path) -> None:
    root = write_sample(tmp_path, "Sample0001")
    path = root / "train/Sample0001/Sample0001_skeleton.csv"
    values = numbers()
    values[1, 3, 7] = np.nan
    values[2, 4, 0] = np.nan  # a number that is not used
    values[6, 5, 7:9] = 0
    values[7, 6, 7:9] = -np.inf
    rows = [";".join("" if np.isnan(v) else str(v) for v in row) for row in values.reshape(FRAMES, -1)]
    path.write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n\r\n").encode())
    first, _, last = read_smg(root).clips
    assert first.pose is not None
    assert first.notes is not None
    assert np.argwhere(np.isnan(first.pose()[0]).all(-1)).tolist() == [[1, 3]]
    assert [(n["what"], n["detail"]) for n in first.notes()] == [
        (
            "empty cells",
            "Sample0001_skeleton.csv: no number in 1 cell of 1 frame (1 of the clip): not seen",
        ),
        ("pose file", "Sample0001_skeleton.csv has a byte-order mark"),
        ("pose file", "Sample0001_skeleton.csv has Windows line ends"),
        ("pose file", "Sample0001_skeleton.csv has 1 blank line at its end"),
        ("pose file", "Sample0001_skeleton.csv has semicolons between the cells"),
    ]
    assert last.pose is not None
    assert last.notes is not None
    assert np.argwhere(np.isnan(last.pose()[0]).all(-1)).tolist() == [[1, 5], [2, 6]]
    assert [n["what"] for n in last.notes()] == ["empty cells"]  # infinite is not a number either


def test_key_points_that_end_early(tmp_path: Path) -> None:
    clip = read_smg(write_sample(tmp_path, "Sample0001", labels="1,20,30\n")).clips[0]
    assert clip.pose is not None
    with pytest.raises(
        MgkitError, match=r"Sample0001_skeleton\.csv has 9 frames; the clip would start at frame 20"
    ):
        clip.pose()


def test_no_splits_is_told(tmp_path: Path) -> None:
    root = write_sample(tmp_path / "SMG", "Sample0001", "all of it")
    write_sample(root, "Sample0002", "all of it")
    data = read_smg(root)
    assert {clip.split for clip in data.clips} == {"all"}
    assert data.report[0]["what"] == "no splits"
    data = read_smg(
        root, split_table={"Sample0001": "train", "Sample0002": "test"}, subject_table={"Sample0001": "7"}
    )
    assert [(c.split, c.subject) for c in data.clips[::3]] == [("train", "7"), ("test", "Sample0002")]


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="no file Sample<number>_finelabels"):
        read_smg(tmp_path)
    with pytest.raises(MgkitError, match="no clip of the 16 classes in 1 label file"):
        read_smg(write_sample(tmp_path, "Sample0001", labels="17,0,3\n"), classes=16)


@pytest.mark.slow
def test_key_points_of_every_second_frame(tmp_path: Path) -> None:
    write_smg(tmp_path / "smg", train=1, test=1, gestures=2, size=64)
    options: dict[str, Any] = {"size": 32, "workers": 1, "progress": False}
    whole = mg.prepare("smg", tmp_path / "smg", tmp_path / "whole", **options)
    for path in (tmp_path / "smg").rglob("*_skeleton.csv"):
        path.write_text("\n".join(path.read_text().splitlines()[::2]) + "\n")
    with pytest.raises(
        MgkitError, match=r"poses at another rate than the video \(2\).*about 2 frames per pose"
    ):
        mg.prepare("smg", tmp_path / "smg", tmp_path / "half", **options)
    clips = mg.prepare("smg", tmp_path / "smg", tmp_path / "half", pose_step=2, **options)
    assert clips.table["frames"].tolist() == whole.table["frames"].tolist()
    for clip_id in clips.ids:  # every second frame is one that was read, the others lie between
        difference = np.abs(in_source(clips, clip_id) - in_source(whole, clip_id))
        assert np.nanmedian(difference) < 0.1
    assert "video and key-points of different lengths" not in {entry["what"] for entry in clips.report}
