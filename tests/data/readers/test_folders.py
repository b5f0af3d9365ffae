from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mgkit.data.readers.files import same_content
from mgkit.data.readers.folders import read_folders
from mgkit.errors import MgkitError
from tests.data.video.made import encode


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize("suffix", ["MTS", "mpg", "m4v", "wmv", "3gp", "flv", "ts", "M2TS", "ogv"])
def test_every_usual_suffix_is_that_of_a_video(tmp_path: Path, suffix: str) -> None:
    data = read_folders(
        make(tmp_path / "raw", "wave/1.mp4", f"nod/1.{suffix}"), split_table={f"nod/1.{suffix}": "a"}
    )
    assert {clip.clip_id: clip.split for clip in data.clips} == {"nod/1": "a", "wave/1": "all"}


def test_a_video_is_what_the_decoder_opens_and_what_it_does_not_is_left_out(tmp_path: Path) -> None:
    """Names that say nothing are looked into; what goes with a video or is evidently something else is not a clip."""
    names = ("wave/1.mp4", "wave/1.bvh", "wave/notes.txt", "wave/LICENSE", "nod/3.r3d", "top.xyz")
    root = make(tmp_path, *names)
    for name, kind in (("nod/1.dat", "mp4"), ("nod/2", "avi")):
        codec = "mjpeg" if kind == "avi" else "libx264"
        encode(
            root / name,
            3,
            codec=codec,
            pix_fmt="yuvj420p" if kind == "avi" else "yuv420p",
            container_format=kind,
        )
    cv2.imwrite(str(root / "nod" / "still.png"), np.zeros((8, 8, 3), np.uint8))
    (root / "nod" / "still.png").rename(root / "nod" / "still.xyz")
    data = read_folders(root)
    assert [clip.clip_id for clip in data.clips] == ["nod/1.dat", "nod/2", "wave/1"]
    said = [(n["what"], n["clip_id"]) for n in data.report if n["what"].startswith("left out")]
    assert said == [("left out: not a video", "nod/3.r3d"), ("left out: not a video", "nod/still.xyz")]
    other = next(n["detail"] for n in data.report if n["what"] == "not a video")
    assert other == "4 files not used: top.xyz, wave/1.bvh, wave/LICENSE, wave/notes.txt"


def test_folders_are_classes(tmp_path: Path) -> None:
    data = read_folders(make(tmp_path / "my clips é", "wave/b 1.mp4", "wave/a.avi", "nod/a.MP4"))
    assert data.classes.names == ("nod", "wave")
    assert {clip.clip_id: (clip.label, clip.split) for clip in data.clips} == {
        "nod/a": (0, "all"), "wave/a": (1, "all"), "wave/b 1": (1, "all"),
    }  # fmt: skip
    assert data.clips[0].source == "nod/a.MP4"
    assert [n["what"] for n in data.report] == ["no splits"]
    assert data.skeleton.name == "none"
    assert all(clip.pose is None and clip.video for clip in data.clips)


def test_folders_of_splits_hold_classes(tmp_path: Path) -> None:
    names = ("Training/wave/1.mp4", "validate/wave/1.mp4", "test/nod/1.mp4", "test/spare/readme.txt")
    data = read_folders(make(tmp_path, *names))
    assert {clip.clip_id: (clip.split, data.classes.names[clip.label]) for clip in data.clips} == {
        "Training/wave/1": ("train", "wave"), "validate/wave/1": ("val", "wave"), "test/nod/1": ("test", "nod"),
    }  # fmt: skip
    assert [(n["what"], n["detail"]) for n in data.report] == [
        ("not a video", "1 file not used: test/spare/readme.txt"),
        ("classes without clips", "no video in spare"),
    ]


def test_numbered_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    data = read_folders(make(tmp_path, *(f"{i}/x.mp4" for i in (1, 2, 10, 11))))
    assert data.classes.names == ("1", "2", "10", "11")
    assert data.report[0] == {
        "what": "class order",
        "clip_id": "",
        "detail": "in numerical order: 1, 2, 10, 11; sorted as text: 1, 10, 11, 2",
    }
    data = read_folders(make(tmp_path / "b", *(f"{i:02d}/x.mp4" for i in (1, 2, 10))))
    assert "class order" not in [n["what"] for n in data.report]
    data = read_folders(tmp_path / "b", classes=["10", "02", "01", "03"])
    assert data.classes.names == ("10", "02", "01", "03")
    assert {clip.clip_id: clip.label for clip in data.clips}["10/x"] == 0
    assert ("classes without clips", "no video in 03") in [(n["what"], n["detail"]) for n in data.report]
    with pytest.raises(MgkitError, match="the class folder 01, 02 is not in the list of classes"):
        read_folders(tmp_path / "b", classes=["10"])


def test_splits_and_subjects_from_tables(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", "wave/1.mp4", "wave/2.mp4", "nod/1.mp4")
    (tmp_path / "s.csv").write_text("clip,split\nwave/1,train\nwave/2.mp4,train\nnod/1,test\n")
    data = read_folders(root, split_table=tmp_path / "s.csv", subject_table={"wave/1": "anna"})
    assert {clip.clip_id: (clip.split, clip.subject) for clip in data.clips} == {
        "wave/1": ("train", "anna"), "wave/2": ("train", ""), "nod/1": ("test", ""),
    }  # fmt: skip
    assert [n["what"] for n in data.report] == ["no subject given"]


def test_files_that_are_no_clips_are_told(tmp_path: Path) -> None:
    root = make(
        tmp_path, "wave/1.mp4", "top.mp4", "wave/notes.txt", "wave/._1.mp4", ".cache/x.mp4", "wave/deep/2.mp4"
    )
    data = read_folders(root)
    assert [clip.clip_id for clip in data.clips] == ["wave/1", "wave/deep/2"]
    assert {n["what"]: n["detail"] for n in data.report if n["what"] != "no splits"} == {
        "hidden files": "1 not looked at: ._1.mp4",
        "not a video": "1 file not used: wave/notes.txt",
        "in no class folder": "1 file not used: top.mp4",
    }


def test_accents_written_in_two_ways_are_one_class(tmp_path: Path) -> None:
    data = read_folders(make(tmp_path, "train/caf\u00e9/1.mp4", "test/cafe\u0301/2.mp4"))
    assert data.classes.names == ("caf\u00e9",)
    assert len(data.clips) == 2


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no folder"):
        read_folders(tmp_path / "none")
    with pytest.raises(MgkitError, match="has no videos .*in class folders"):
        read_folders(make(tmp_path / "a", "x.mp4"))
    with pytest.raises(MgkitError, match="are two videos of one clip: rename or remove one"):
        read_folders(make(tmp_path / "b", "wave/1.mp4", "wave/1.avi"))
    root = make(tmp_path / "c", "train/wave/1.mp4", "test/wave/9.mp4")
    (root / "test/wave/9.mp4").write_text("train/wave/1.mp4")
    with pytest.raises(
        MgkitError, match="are the same video in two splits, which must be disjoint: remove one"
    ):
        read_folders(root)


def test_splits_beside_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="holds the splits test, train, but also notes: move that elsewhere"):
        read_folders(make(tmp_path / "a", "train/wave/1.mp4", "test/wave/2.mp4", "notes/x.txt"))
    data = read_folders(make(tmp_path / "b", "train/1.mp4", "bus/1.mp4"))  # one may be a train
    assert data.classes.names == ("bus", "train")


def test_links_to_nowhere_are_told_or_named(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "wave").mkdir(parents=True)
        (tmp_path / split / "wave" / f"{split}.mp4").write_bytes(split.encode())
    (tmp_path / "train" / "wave" / "gone.mp4").symlink_to(tmp_path / "not mounted" / "gone.mp4")
    clips = read_folders(tmp_path).clips
    assert len(clips) == 3  # `prepare` leaves it out by name, like any video that is missing
    other = tmp_path / "train" / "again.mp4"
    other.symlink_to(tmp_path / "not mounted" / "again.mp4")
    with pytest.raises(MgkitError, match=r"again\.mp4 cannot be read .*fix it, or remove it"):
        same_content(tmp_path / "val" / "wave" / "val.mp4", other)
