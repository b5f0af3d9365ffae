"""`prepare` on what is nearly right: damaged pictures, key-points out of step, a folder that cannot be written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.prepare.folder import prepare
from mgkit.data.readers import RawDataset, note
from mgkit.data.readers.files import _gaps
from mgkit.errors import MgkitError
from tests.data.prepare.test_folder import LABELS, film, untrimmed
from tests.data.video.made import FRAMES, encode, sound_only


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "raw data ü"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        film(folder / f"{name}.mp4", seed=seed)
    (folder / "labels.csv").write_text("\n".join(LABELS))
    return folder


def say_odd(clip_id: str) -> list[dict[str, str]]:
    return [note("odd", "as its reader found", clip_id)]


def frames_of(count: int) -> int:
    return count


def noting(source: Path) -> RawDataset:
    """`untrimmed` with notes, and key-points of 79 frames for videos of 80."""
    raw = untrimmed(source)
    clips = [
        replace(clip, notes=partial(say_odd, clip.clip_id), pose_frames=partial(frames_of, 79))
        for clip in raw.clips
    ]
    return replace(raw, clips=clips)


def test_what_a_reader_notes_is_told_once(videos: Path, tmp_path: Path) -> None:
    clips = prepare(noting, videos, tmp_path / "out", size=32, workers=1, progress=False)
    odd = Counter(entry["clip_id"] for entry in clips.report if entry["what"] == "odd")
    assert odd == Counter(clips.ids)


def test_key_points_of_another_length_than_the_video_are_told_of_once_a_video(
    videos: Path, tmp_path: Path
) -> None:
    clips = prepare(noting, videos, tmp_path / "out", size=32, workers=1, progress=False)
    reported = [e["detail"] for e in clips.report if e["what"] == "video and key-points of different lengths"]
    assert len(reported) == 2
    assert "b.mp4 has 80 frames, its key-points 79" in "\n".join(reported)
    assert "(b_3, b_4)" in "\n".join(reported)


@pytest.mark.parametrize("workers", [1, 2])
def test_pictures_that_the_decoder_patched_are_told_also_by_the_next_call(
    videos: Path, tmp_path: Path, workers: int
) -> None:
    content = bytearray((videos / "a.mp4").read_bytes())
    at = content.index(b"mdat") + 4
    for place in np.linspace(at + 600, len(content) - 50, 9).astype(int):
        content[place] ^= 0x5A
    (videos / "a.mp4").write_bytes(bytes(content))
    out = tmp_path / "out"
    clips = prepare(untrimmed, videos, out, size=32, workers=workers, progress=False, tolerated=1)
    reported = {e["clip_id"]: e["detail"] for e in clips.report if e["what"] == "damaged pictures"}
    left_out = {e["clip_id"] for e in clips.report if e["what"].startswith("left out")}
    assert reported
    assert set(reported) | left_out <= {"a_0", "a_1", "a_2"}
    assert all("a.mp4" in detail for detail in reported.values())
    (out / "clips.parquet").unlink()  # nothing is decoded again, but the table is made again
    again = prepare(untrimmed, videos, out, size=32, workers=workers, progress=False, tolerated=1)
    assert again.report == clips.report


def test_numbers_left_out_in_a_row_of_recordings() -> None:
    assert _gaps({"Sample0001", "Sample0002", "Sample0005"}) == ["Sample0003", "Sample0004"]
    assert _gaps({"0007", "0009"}) == ["0008"]
    assert _gaps({"0007", "0300"}) == []  # a part of a dataset, taken on purpose
    assert _gaps({"0007", "0009", "x"}) == []
    assert _gaps({"007", "0009"}) == []
    assert _gaps({"0007"}) == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"garbage", b"PAR1 and no more PAR1"])
def test_a_damaged_table_is_made_anew(videos: Path, tmp_path: Path, damage: bytes) -> None:
    out = tmp_path / "out"
    clips = prepare(untrimmed, videos, out, size=32, workers=1, progress=False)
    (out / "clips.parquet").write_bytes(damage)
    again = prepare(untrimmed, videos, out, size=32, workers=1, progress=False)
    assert again.ids == clips.ids


def test_a_finished_folder_is_not_taken_where_less_may_be_left_out(videos: Path, tmp_path: Path) -> None:
    (videos / "labels.csv").write_text("\n".join([*LABELS, "a,30,20,0,S1,train"]))
    out = tmp_path / "out"
    clips = prepare(untrimmed, videos, out, size=32, workers=1, progress=False, tolerated=0.5)
    for options in ({"strict": True}, {}):
        with pytest.raises(MgkitError, match=r"1 of 6 clips cannot be made.*a_5"):
            prepare(untrimmed, videos, out, size=32, workers=1, progress=False, **options)
    assert prepare(untrimmed, videos, out, size=32, workers=1, progress=False, tolerated=0.5).ids == clips.ids


def lazy(source: Path) -> RawDataset:
    """`untrimmed` with key-points that numpy reads from a separate file."""
    raw = untrimmed(source)
    return replace(raw, clips=[replace(clip, pose=partial(np.load, source / "p.npy")) for clip in raw.clips])


@pytest.mark.parametrize("content", [None, b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"])
def test_key_points_that_a_library_cannot_read_are_named(
    videos: Path, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (videos / "p.npy").write_bytes(content)
    with pytest.raises(MgkitError, match=r"pose cannot be read \(\d\), a_0: a.mp4"):
        prepare(lazy, videos, tmp_path / "out", size=32, workers=1, progress=False)


def test_places_that_cannot_be(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (videos / "inside").mkdir()
    quick: dict[str, Any] = {"size": 32, "workers": 1, "progress": False}
    for out, message in (
        (tmp_path / "file", "cannot be made a folder"),
        (tmp_path / "file" / "below", "cannot be made a folder"),
        (videos, "is inside the dataset"),
        (videos / "inside" / "clips", "is inside the dataset"),
        (tmp_path / os.fsdecode(b"caf\xe9"), "not UTF-8"),
    ):
        with pytest.raises(MgkitError, match=message):
            prepare(untrimmed, videos, out, **quick)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not have such names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    source = tmp_path / "classes"
    (source / "red").mkdir(parents=True)
    film(source / "red" / "1.mp4", frames=4)
    (source / "red" / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    clips = prepare("folders", source, tmp_path / "out", size=32, workers=1, progress=False)
    assert clips.ids == ["red/1"]
    reported = clips.report_table().set_index("what")["detail"]
    assert "caf\\udce9.mp4: rename them" in reported["names that are not UTF-8"]
    (source / os.fsdecode(b"r\xe9d")).mkdir()
    with pytest.raises(MgkitError, match="name of the folder .* is not UTF-8"):
        prepare("folders", source, tmp_path / "out2", size=32, workers=1, progress=False)


FULL = """
import resource, sys
from tests.data.prepare.test_folder import untrimmed
from mgkit.data.prepare.folder import prepare
from mgkit.errors import MgkitError
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        prepare(untrimmed, sys.argv[1], sys.argv[2], size=64, workers=1, progress=False)
    except MgkitError as error:
        print("refused:", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
@pytest.mark.parametrize("limit", [0, 100, 1500, 3000])
def test_a_disk_that_is_full_is_told_and_gone_on_from(videos: Path, tmp_path: Path, limit: int) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-c", FULL, str(videos), str(out), str(limit)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout.startswith("refused:"), done.stdout + done.stderr
    assert "cannot be written" in done.stdout
    clips = prepare(untrimmed, videos, out, size=64, workers=1, progress=False)
    assert len(clips) == len(LABELS)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]


def test_odd_kinds_of_video_are_told_or_left_out_by_name(tmp_path: Path) -> None:
    """Only sound, a frame rate that varies, a picture that asks to be turned."""
    source = tmp_path / "two words" / "wave é"
    source.mkdir(parents=True)
    sound_only(source / "sound.mp4")
    encode(source / "varying.mp4", times=np.cumsum([40 if i % 5 else 120 for i in range(FRAMES)]).tolist())
    content = bytearray(encode(source / "plain.mp4").read_bytes())
    one = 0x10000
    at = content.find(struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000), content.find(b"tkhd"))
    content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
    (source / "turned.mp4").write_bytes(bytes(content))
    out = tmp_path / "out é"
    clips = prepare("folders", source.parent, out, size=32, workers=1, progress=False, tolerated=0.5)
    assert clips.ids == ["wave é/plain", "wave é/turned", "wave é/varying"]
    reported = {entry["what"]: entry["detail"] for entry in clips.report}
    assert "sound.mp4 has no picture, only audio" in reported["left out: video cannot be read"]
    assert "varying.mp4: frames last 40 to 120 ms" in reported["variable frame rate"]
    assert "turned.mp4: turned by" in reported["rotated video"]


def test_a_source_is_noticed_by_its_size_or_its_time(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(untrimmed, videos, out, size=32, workers=1, progress=False)
    before = (out / "videos" / "a_0.mp4").read_bytes()
    stat = (videos / "a.mp4").stat()
    film(videos / "new.mp4", seed=7)
    new = (videos / "new.mp4").read_bytes()
    (videos / "a.mp4").write_bytes(new.ljust(stat.st_size, b"\0")[: max(stat.st_size, len(new))])
    os.utime(videos / "a.mp4", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    prepare(untrimmed, videos, out, size=32, workers=1, progress=False)
    assert (out / "videos" / "a_0.mp4").read_bytes() != before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "1"),
        ("clip_id", 7),
        ("split", ""),
        ("split", None),
        ("subject", 3),
        ("video", "a.mp4"),
        ("end", 2.5),
    ],
)
def test_fields_of_another_kind_are_named(videos: Path, tmp_path: Path, name: str, value: Any) -> None:
    def read(source: Path) -> RawDataset:
        raw = untrimmed(source)
        first, second, *others = raw.clips
        return replace(raw, clips=[first, replace(second, **{name: value}), *others])

    with pytest.raises(MgkitError, match=rf"reader gave clip 1 \(.*\) the {name} .*: let it give "):
        prepare(read, videos, tmp_path / "out", size=32, workers=1, progress=False)


def test_poses_that_cannot_go_to_other_processes_are_named(videos: Path, tmp_path: Path) -> None:
    def read(source: Path) -> RawDataset:
        raw = untrimmed(source)
        return replace(raw, clips=[replace(clip, pose=lambda: np.ones((1, 9, 3, 3))) for clip in raw.clips])

    for name in "cd":
        film(videos / f"{name}.mp4", frames=20)
    lines = [f"{name},{start},{start + 9},0,S,train" for name in "abcd" for start in range(9)]
    (videos / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(MgkitError, match=r"cannot be sent to other processes .* workers=1"):
        prepare(read, videos, tmp_path / "out", size=32, workers=2, progress=False)
    clips = prepare(read, videos, tmp_path / "out", size=32, workers=1, progress=False)
    assert len(clips) == len(lines)
