from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mgkit as mg
from mgkit.data.keypoints import KeyPoints, Origin
from mgkit.data.readers.segments import read_segments
from mgkit.data.skeletons import COCO17
from mgkit.errors import MgkitError
from tests.data.readers.test_estimated import points
from tests.data.video.made import encode

HEAD = "video,start,end,class,subject,split\n"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three videos of 30 frames, two of which are coded."""
    for i, name in enumerate(("a", "b c", "sub/a")):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        encode(tmp_path / "raw" / f"{name}.mp4", crf=str(12 + i))
    write(
        tmp_path / "raw", "a,0.2,0.6,wave,p,train\na.mp4,0.8,0.84,nod,p,train\nsub\\a.MP4,0,1.2,wave,q,val\n"
    )
    return tmp_path / "raw"


def write(root: Path, rows: str, head: str = HEAD) -> None:
    (root / "segments.csv").write_text(head + rows, encoding="utf-8")


def said(data: Any, what: str) -> str:
    return "; ".join(entry["detail"] for entry in data.report if entry["what"] == what)


def test_rows_are_clips(raw: Path) -> None:
    data = read_segments(raw)
    assert data.classes.names == ("nod", "wave")
    assert [(c.clip_id, c.start, c.end, c.label, c.subject, c.split) for c in data.clips] == [
        ("a_0", 5, 15, 1, "p", "train"), ("a_1", 20, 21, 0, "p", "train"), ("sub/a_0", 0, 30, 1, "q", "val"),
    ]  # fmt: skip
    assert [clip.source for clip in data.clips] == ["a.mp4", "a.mp4", "sub/a.mp4"]
    assert said(data, "video not in the table") == "b c: not used"
    assert read_segments(raw, classes=["wave", "nod"]).clips[0].label == 0


def test_a_spreadsheet_s_table_and_answers_of_spotting(raw: Path) -> None:
    """Decimal commas, other columns, another order; no split; a video in which nothing happens."""
    (raw / "coded.csv").write_bytes(
        "\ufeffscore;class;video;end;start\r\n0,9;wave;a;0,6;0,2\r\n\r\n;;b c;;\r\n".encode()
    )
    data = read_segments(raw, table=raw / "coded.csv", background=1)
    assert [(clip.clip_id, clip.start, clip.end, clip.split) for clip in data.clips][:1] == [
        ("a_0", 5, 15, "all")
    ]
    assert said(data, "columns not used") == "coded.csv: score"
    assert "semicolons" in said(data, "text format")
    assert data.classes.background == 1
    (background,) = (clip for clip in data.clips if clip.label == 1)
    assert background.clip_id == "b c_background0"  # 30 frames leave no room beside the one of a


def test_seconds_are_those_of_a_player_where_the_rate_varies(raw: Path) -> None:
    times = [40 * i if i < 10 else 400 + 100 * (i - 10) for i in range(30)]  # milliseconds
    encode(raw / "a.mp4", times=times)
    write(raw, "a,0.2,0.4,nod,,\na,1.0,1.4,wave,,\na,2.2,9,wave,,\n")
    data = read_segments(raw)
    assert [(clip.start, clip.end) for clip in data.clips][:2] == [(5, 10), (16, 20)]
    assert data.clips[2].start == 28
    assert (data.clips[2].end or 0) > 31  # beyond the video, which `prepare` reports


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,0.5,0.2,wave,,\n", "row 2: the segment would last from 0.5 to 0.2 s"),
        (
            "a,x,0.2,wave,,\na,0,1,,,\n",
            r"row 2: start is 'x' and end '0\.2', not seconds; .* row 3 has no class",
        ),
        ("a,0,inf,wave,,\n", "not seconds"),
        ("A1,0,1,wave,,\n", r"row 2: there is no video 'A1'"),
        ("a,0,1\n", "row 2 has 3 cells, not 6"),
        ("a,0,1,wave,p,train\na,1,1.1,wave,q,train\n", "a is of subject 'q', and of 'p' before"),
        ("a,0,1,wave,p,train\nb c,0,1,wave,,\n", "no split for b c, and one for the others"),
        ("a,,,,,\n", "has no segment, only videos"),
    ],
)
def test_what_is_no_segment_is_refused(raw: Path, rows: str, message: str) -> None:
    write(raw, rows)
    with pytest.raises(MgkitError, match=message):
        read_segments(raw)


def test_what_is_missing_is_said(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"no class 'wave'; |no class 'wave'"):
        read_segments(raw, classes=["waves", "nod"])
    write(raw, "a,1,2\n", "video,start,end\n")
    with pytest.raises(MgkitError, match="no column class"):
        read_segments(raw)
    (raw / "segments.csv").write_text("\n")
    with pytest.raises(MgkitError, match="is empty"):
        read_segments(raw)
    (raw / "segments.csv").unlink()
    with pytest.raises(MgkitError, match=r"there is no table .*segments\.csv: write one"):
        read_segments(raw)
    with pytest.raises(MgkitError, match="no folder"):
        read_segments(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MgkitError, match="holds no videos"):
        read_segments(tmp_path / "empty")


def test_a_video_that_cannot_be_read_is_left_out(raw: Path) -> None:
    (raw / "a.mp4").write_bytes(b"no video")
    data = read_segments(raw)
    assert [clip.clip_id for clip in data.clips] == ["sub/a_0"]
    lost = [entry["clip_id"] for entry in data.report if entry["what"] == "left out: video cannot be read"]
    assert lost == ["a_0", "a_1"]
    (raw / "sub" / "a.mp4").write_bytes(b"no video")
    with pytest.raises(MgkitError, match="none of the videos"):
        read_segments(raw)


@pytest.mark.slow
def test_with_key_points_they_are_a_clip_folder(raw: Path, tmp_path: Path) -> None:
    for name in ("a", "sub/a", "b c"):
        stat = (raw / f"{name}.mp4").stat()
        origin = Origin("holistic", "1", "", {}, name, stat.st_size, stat.st_mtime_ns)
        KeyPoints(points(30), COCO17, 25.0, (96, 64), origin).write(tmp_path / "poses" / f"{name}.npz")
    write(raw, "a,0.2,0.6,wave,,\nsub/a,0,0.4,nod,,\n")
    clips = mg.prepare(
        "segments", raw, tmp_path / "clips", poses=tmp_path / "poses", background=1, size=32, workers=1,
        progress=False,
    )  # fmt: skip
    assert clips.classes.names == ("nod", "wave", "non_gesture")
    assert len(clips) > 2
    assert clips.has_pose
    row = clips.row("sub/a_0")
    assert (row["start"], row["end"], row["source"]) == (0, 10, "sub/a.mp4")
