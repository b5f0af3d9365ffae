from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.readers.ma52 import read_ma52
from mgkit.errors import MgkitError
from mgkit.files import write_json

CLIPS = {  # split: clip: label
    "train": {"0003_01_0001": 9, "0003_02_0017": 23, "0017_06_0001": 51},
    "val": {"0040_00_0001": 0, "0040_05_0003": 47},
    "test": {"0101_00_0001": 0, "0101_05_0003": 0},
}


def annotation(clip: str, label: int | None = None, **changes: Any) -> dict[str, Any]:
    value = {
        "frame_dir": clip, "total_frames": 4, "img_shape": (1080, 1920), "original_shape": (1080, 1920),
        "keypoint": np.full((1, 4, 28, 2), 7, np.float16), "keypoint_score": np.ones((1, 4, 28), np.float16),
    }  # fmt: skip
    return {**value, **({} if label is None else {"label": label}), **changes}


def write(
    root: Path,
    clips: Mapping[str, Mapping[str, int]] = CLIPS,
    lists: bool = True,
    poses: bool = True,
    videos: bool = True,
) -> Path:
    for split, labels in clips.items():
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        if lists:
            lines = "".join(f"{clip}.mp4 {label}\n" for clip, label in labels.items())
            (root / "annotations" / f"{split}_list_videos.txt").write_text(lines)
        if poses:
            made = [annotation(clip, label) for clip, label in labels.items()]
            content = {"split": {split: list(labels)}, "annotations": made}
            (root / f"MA52_{split}.pkl").write_bytes(pickle.dumps(content))
        for clip in labels if videos else ():
            path = root / "videos é" / split / f"{clip}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(clip.encode())
    return root


def test_lists_poses_and_videos(tmp_path: Path) -> None:
    data = read_ma52(write(tmp_path))
    clips = {clip.clip_id: clip for clip in data.clips}
    assert {clip.clip_id: (clip.split, clip.label) for clip in data.clips} == {
        clip: (split, label) for split, labels in CLIPS.items() for clip, label in labels.items()
    }
    one = clips["0003_02_0017"]
    assert (one.subject, one.source, one.size, one.start, one.end) == (
        "0003",
        "0003_02",
        (1920, 1080),
        0,
        None,
    )
    assert one.video is not None
    assert one.video.name == "0003_02_0017.mp4"
    assert one.pose is not None
    assert pickle.loads(pickle.dumps(one.pose))().shape == (1, 4, 28, 3)
    assert len(data.classes) == 52
    assert data.classes.groups is not None
    starts = {group: data.classes.groups.index(group) for group in dict.fromkeys(data.classes.groups)}
    assert starts == {
        "body": 0, "head": 5, "upper limb": 11, "lower limb": 24, "body-hand": 32, "head-hand": 38, "leg-hand": 48,
    }  # fmt: skip
    assert data.skeleton.name == "ma52_28"
    assert [(n["what"], n["detail"]) for n in data.report] == [
        ("test labels", "all 2 are 0: dummies, report no score on this split")
    ]


def test_parts_that_lie_apart(tmp_path: Path) -> None:
    write(tmp_path / "lists", poses=False, videos=False)
    write(tmp_path / "poses", lists=False, videos=False)
    write(tmp_path / "pictures", lists=False, poses=False)
    data = read_ma52(tmp_path / "lists", skeletons=tmp_path / "poses", videos=tmp_path / "pictures")
    assert len(data.clips) == 7
    assert all(clip.video and clip.pose for clip in data.clips)
    data = read_ma52(tmp_path / "lists", videos=tmp_path / "pictures")
    assert not any(clip.pose for clip in data.clips)
    assert data.skeleton.name == "none"
    data = read_ma52(tmp_path / "poses")  # no lists: clips and labels are those of the pickles
    assert {clip.clip_id: clip.label for clip in data.clips if clip.split == "val"} == CLIPS["val"]
    assert [n["what"] for n in data.report].count("no list") == 3
    with pytest.raises(MgkitError, match="7 clips listed, but no video or key-points of any"):
        read_ma52(tmp_path / "lists")


def test_lists_however_they_were_saved(tmp_path: Path) -> None:
    root = write(tmp_path, {"train": CLIPS["train"]})
    lines = ["name label", *(f"train\\{clip}.mp4 {label}" for clip, label in CLIPS["train"].items()), "", ""]
    (root / "annotations/train_list_videos.txt").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    data = read_ma52(root)
    assert {clip.clip_id: clip.label for clip in data.clips} == CLIPS["train"]
    assert "a byte-order mark, Windows line ends, 1 blank line, a header" in data.report[0]["detail"]


def test_what_does_not_match_is_told(tmp_path: Path) -> None:
    root = write(tmp_path, {"train": CLIPS["train"]})
    (root / "videos é/train/0003_01_0001.mp4").unlink()
    (root / "videos é/train/0003_02_0017.mp4").unlink()
    (root / "videos é/train/0099_01_0001.mp4").write_bytes(b"")
    made = [annotation("0003_01_0001", 10), annotation("0017_06_0001", 51), annotation("0098_01_0001", 1)]
    (root / "MA52_train.pkl").write_bytes(pickle.dumps(made))
    data = read_ma52(root)
    assert [clip.clip_id for clip in data.clips] == ["0003_01_0001", "0017_06_0001"]
    entries = {n["what"]: (n["clip_id"], n["detail"]) for n in data.report}
    assert entries == {
        "labels differ": ("0003_01_0001", "9 in the list, 10 in MA52_train.pkl: the list counts"),
        "no video": ("", "1 clip kept without: 0003_01_0001"),
        "neither video nor pose": ("", "1 clip left out: 0003_02_0017"),
        "video in no list": ("", "1 not used: 0099_01_0001"),
        "pose in no list": ("", "1 not used: 0098_01_0001"),
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0003_01_0001.mp4 52\n", r"row 1: label '52', which is not 0 to 51"),
        ("0003_01_0001.mp4 9\n0003_01_0002.mp4 -1\n", r"row 2: label '-1', which"),
        ("0003_01_0001.mp4 9\n0003_01_0002.mp4 nine\n", r"row 2: label 'nine', which"),
        ("0003_01_0001.mp4 9\n\n0003_01_0001.mp4 8\n", r"row 3: 0003_01_0001 has label 8, and 9 before"),
        ("0003_01_0001.mp4 9\nmine.mp4 8\n", r"row 2: 'mine\.mp4' is not named SSSS_VV_NNNN\.mp4"),
        ("0003_01_0001.mp4 9\n0003_01_0002.mp4\n", r"row 2 has 1 cell, not 2"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    root = write(tmp_path, {"train": CLIPS["train"]})
    (root / "annotations/train_list_videos.txt").write_text(lines)
    with pytest.raises(MgkitError, match=r"train_list_videos\.txt " + message):
        read_ma52(root)


def test_a_clip_in_two_splits_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {"train": CLIPS["train"], "test": {"0003_01_0001": 0}}, poses=False)
    with pytest.raises(
        MgkitError, match=r"test_list_videos\.txt: clip '0003_01_0001' is in the splits 'train'"
    ):
        read_ma52(root)
    root = write(tmp_path / "b", {"train": CLIPS["train"], "test": {"0003_01_0001": 0}}, lists=False)
    with pytest.raises(MgkitError, match="is in MA52_train.pkl too; .* is in the splits"):
        read_ma52(root)


def test_a_row_twice_is_taken_once(tmp_path: Path) -> None:
    root = write(tmp_path, {"train": {"0003_01_0001": 9}})
    (root / "annotations/train_list_videos.txt").write_text("0003_01_0001.mp4 9\n0003_01_0001.mp4 9\n")
    data = read_ma52(root)
    assert len(data.clips) == 1
    assert data.report[0]["what"] == "repeated row"


def test_test_annotations_need_no_labels(tmp_path: Path) -> None:
    root = write(tmp_path, {"test": {"0101_00_0001": 0}}, videos=False)
    (root / "MA52_test.pkl").write_bytes(pickle.dumps([annotation("0101_00_0001")]))
    assert len(read_ma52(root).clips) == 1
    (root / "annotations/test_list_videos.txt").unlink()
    with pytest.raises(MgkitError, match=r"MA52_test\.pkl: annotation 0 lacks 'frame_dir' or 'label'"):
        read_ma52(root)


def test_other_key_points_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"no train_list_videos\.txt or MA52_train\.pkl below it"):
        read_ma52(tmp_path)
    root = write(tmp_path, {"train": {"0003_01_0001": 9}})
    made = [annotation("0003_01_0001", 9, keypoint=np.ones((1, 4, 17, 2)))]
    (root / "MA52_train.pkl").write_bytes(pickle.dumps(made))
    with pytest.raises(MgkitError, match=r"has shape \(1, 4, 17, 2\); the layout ma52_28 asks for"):
        read_ma52(root)


def test_another_class_list_in_the_same_layout(tmp_path: Path) -> None:
    root = write(tmp_path / "raw", {"train": {"0003_01_0001": 81}}, poses=False)
    write_json(tmp_path / "mma82.json", {"names": [f"c{i}" for i in range(82)]})
    assert read_ma52(root, class_file=tmp_path / "mma82.json").clips[0].label == 81
    with pytest.raises(MgkitError, match="label '81', which is not 0 to 51"):
        read_ma52(root)


def test_a_list_of_another_split_is_told(tmp_path: Path) -> None:
    root = write(tmp_path, {"train": {"0003_01_0001": 9}, "val": {"0040_00_0001": 9}})
    lists = [root / f"annotations/{split}_list_videos.txt" for split in ("train", "val")]
    texts = [path.read_text() for path in lists]
    for path, text in zip(lists, reversed(texts), strict=True):
        path.write_text(text)
    data = read_ma52(root)
    assert {(n["what"], n["clip_id"], n["detail"]) for n in data.report} == {
        ("splits differ", "0040_00_0001", "train in the list, but in MA52_val.pkl: the list counts"),
        ("splits differ", "0003_01_0001", "val in the list, but in MA52_train.pkl: the list counts"),
    }
