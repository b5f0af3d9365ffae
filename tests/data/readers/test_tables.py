from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.readers import frame_size_of, mark_unseen, pose_notes, refuse
from mgkit.data.readers.tables import read_pairs, read_spans
from mgkit.errors import MgkitError

ROWS = [(3, 10, 20), (99, 25, 25)]


def spans(path: Path, content: bytes, base: int = 0) -> tuple[list[tuple[int, ...]], list[str], list[str]]:
    path.write_bytes(content)
    report: list[dict[str, str]] = []
    problems: list[str] = []
    found = read_spans(path, base=base, report=report, problems=problems)
    return [(s.index, s.raw, s.start, s.end) for s in found], [n["detail"] for n in report], problems


@pytest.mark.parametrize(
    ("content", "oddity"),
    [
        (b"3,10,20\n99,25,25\n", ""),
        (b"3,10,20\n99,25,25", ""),
        (b"3,10,20\r\n99,25,25\r\n", "Windows line ends"),
        (b"3,10,20\r99,25,25\r", "Windows line ends"),
        (b"\xef\xbb\xbf3,10,20\n99,25,25\n", "a byte-order mark"),
        ("3,10,20\n99,25,25\n".encode("utf-16"), "UTF-16"),
        (b"3;10;20\n99;25;25\n", "semicolons"),
        (b"3\t10\t20\n99\t25\t25\n", ""),
        (b"3 10 20\n99 25 25\n", ""),
        (b"3,10,20\n\n99,25,25\n\n\n", "3 blank lines"),
        (b"3,10,20\n99,25,25\n,,\n", "1 blank line"),
        (b"class,start,end\n3,10,20\n99,25,25\n", "a header .class, start, end."),
        (b"3.0,10.0,20.0\n99, 25 ,25,,\n", ""),
        (b"\xef\xbb\xbfclass;start;end\r\n3;10;20\r\n99;25;25\r\n\r\n", "mark, Win.*semi.*1 blank.*header"),
    ],
)  # fmt: skip
def test_a_label_file_however_it_was_saved(tmp_path: Path, content: bytes, oddity: str) -> None:
    found, report, problems = spans(tmp_path / "0001_label.csv", content)
    # The last frame belongs to the clip; the second clip has one frame.
    assert found == [(0, 3, 10, 21), (1, 99, 25, 26)]
    assert not problems
    assert len(report) == bool(oddity)
    if oddity:
        assert re.search(f"0001_label.csv has .*{oddity}.*: read anyway", report[0])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"3,10,20\n3,ten,20\n", "row 2 is '3,ten,20', not three whole numbers"),
        (b"3,10,20\n3,1.5,20\n", "row 2 is '3,1.5,20', not three whole numbers"),
        (b"3,10,20\n3,,20\n", "row 2 is '3,,20', not three whole numbers"),
        (b"3,10,20\nnan,1,20\n", "row 2 is 'nan,1,20', not three whole numbers"),
        (b"3,10,20\ninf,1,20\n", "row 2 is 'inf,1,20', not three whole numbers"),
        (b"3,10,20\n\n3,10\n", "row 3 has 2 cells, not 3"),
        (b"3,1_0,20\n", "row 1 is '3,1_0,20', not three whole numbers"),
        (b"3,10,20,7\n", "row 1 has 4 cells, not 3"),
    ],
)
def test_rows_that_are_no_clip_are_named(tmp_path: Path, content: bytes, problem: str) -> None:
    _, _, problems = spans(tmp_path / "0001_label.csv", content)
    assert len(problems) == 1
    assert problems[0].endswith(problem)
    with pytest.raises(MgkitError, match=r"0001_label\.csv.*Correct the rows named"):
        refuse(problems)


def test_frames_counted_from_one(tmp_path: Path) -> None:
    assert spans(tmp_path / "a.csv", b"3,1,5\n", base=1)[0] == [(0, 3, 0, 5)]


def test_impossible_spans_are_told_and_left_to_prepare(tmp_path: Path) -> None:
    found, report, _ = spans(tmp_path / "a.csv", b"3,10,20\n3,30,25\n")
    assert found[1] == (1, 3, 30, 26)
    assert report == ["a.csv row 2: the clip ends at frame 25, begins at 30: correct the row"]
    _, report, _ = spans(tmp_path / "a.csv", b"3,-1,20\n")
    assert report == ["a.csv row 1: frame -1, though the first is 0: correct the row"]
    _, report, _ = spans(tmp_path / "a.csv", b"3,0,5\n", base=1)
    assert report == ["a.csv row 1: frame 0, though the first is 1: correct the row"]


def test_an_empty_label_file_and_a_repeated_row_are_told(tmp_path: Path) -> None:
    for content in (b"", b"\n\n"):
        found, report, problems = spans(tmp_path / "a.csv", content)
        assert (found, problems) == ([], [])
        assert "a.csv has no rows: no clips" in report
    _, report, _ = spans(tmp_path / "a.csv", b"3,10,20\n4,5,6\n9,21,22\n3,7,8\n")
    assert report == ["a.csv row 2, 4 begins before the row above: clips are still numbered by row"]
    found, report, _ = spans(tmp_path / "a.csv", b"3,10,20\n3,10,20\n")
    assert len(found) == 2
    assert report == ["a.csv row 2 repeats row 1: both are kept"]


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"a\.csv is not UTF-8 text \(byte 3\): save it as UTF-8"):
        spans(tmp_path / "a.csv", b"3,1\xff0,20\n")


def test_all_problems_are_told_at_once() -> None:
    refuse([])
    with pytest.raises(MgkitError, match=r"^7 problems: p0; p1; p2; p3; p4 and 2 more\. Correct"):
        refuse([f"p{i}" for i in range(7)])


def test_pairs_from_a_file_or_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "subjects of übung.csv"
    path.write_bytes("\ufeffvideo;subject\r\n0001.mp4;s 1\r\n2;s2\r\n77;s3\r\n".encode())
    report: list[dict[str, str]] = []
    pairs = read_pairs(path, ["0001", "0002", "0003"], ("video", "subject"), report=report)
    assert pairs == {"0001": "s 1", "0002": "s2"}  # a spreadsheet took the zeros of the second
    details = {entry["what"]: entry["detail"] for entry in report}
    assert "lost those of 2: put back" in details["leading zeros"]
    assert details["subject of an unknown video"].endswith("77: not used")
    assert details["no subject given"].endswith("no row for video 0003")
    assert read_pairs({"0001": "x"}, ["0001"], ("video", "split"), report=[]) == {"0001": "x"}
    assert read_pairs(None, ["0001"], ("video", "split"), report=[]) == {}


@pytest.mark.parametrize("header", ["video,split", "Clip,split", "clip_id,Split"])
def test_any_header_of_pairs_is_none_of_them(tmp_path: Path, header: str) -> None:
    (tmp_path / "s.csv").write_text(f"{header}\n\nnod\\0.mp4,val\n\n")
    report: list[dict[str, str]] = []
    assert read_pairs(tmp_path / "s.csv", ["nod/0"], ("clip", "split"), report=report) == {"nod/0": "val"}
    assert [entry["what"] for entry in report] == ["text format"]  # the blank lines
    (tmp_path / "s.csv").write_text("video,val\n")
    assert read_pairs(tmp_path / "s.csv", ["video"], ("clip", "split"), report=[]) == {"video": "val"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video,split\nb,x\nc,y\n", "no row is of a video that is there: it has b, c, and there are a"),
        ("a,x\na,y\n", "row 2: a is split y, and x before"),
        ("a,\n", "row 1: a has no split"),
        ("a,x,y\n", "row 1 has 3 cells, not 2"),
    ],
)
def test_bad_pairs_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(MgkitError, match=message):
        read_pairs(tmp_path / "s.csv", ["a"], ("video", "split"), report=[])


def test_what_counts_as_unseen() -> None:
    xy = np.array([[1, 2], [0, 0], [0, 5], [np.nan, 1], [3, np.inf], [4, 4]], float)
    pose = mark_unseen(xy, np.array([0.5, 1, 1, 1, 1, 0]))
    assert np.isnan(pose).all(-1).tolist() == [False, True, False, True, True, True]
    assert pose.dtype == np.float32
    assert mark_unseen(xy[:1], np.array([7.0]))[0].tolist() == [1, 2, 1]
    assert mark_unseen(xy[:1])[0].tolist() == [1, 2, 1]


def test_what_is_odd_about_key_points_is_told() -> None:
    pose = np.full((2, 4, 3, 3), 5, np.float32)
    assert pose_notes("a", pose[:1], (10, 10)) == []
    pose[1, :3] = np.nan
    pose[0, 0] = np.nan
    pose[0, 1, 0, :2] = (-2, 5)
    pose[0, 1, 1, :2] = (5, 14.4)
    details = {entry["what"]: entry["detail"] for entry in pose_notes("a", pose, (10, 10))}
    assert details["nobody seen"] == "in 1 of 4 frames"
    assert details["several persons"].startswith("up to 2 in a frame, in 1 of 4 frames")
    assert details["points outside the frame"].startswith("2 of 12 points, by up to 4 pixels")
    assert pose_notes("a", np.full((1, 4, 3, 3), np.nan, np.float32), (10, 10)) == []  # for `prepare` to tell


def test_frame_sizes() -> None:
    assert frame_size_of("1280x720") == frame_size_of("1280 X 720") == (1280, 720)
    assert frame_size_of(None) is None
    for bad in ("1280", "axb", "0x720", "1280x-1", "1x2x3"):
        with pytest.raises(MgkitError, match="frame_size is .*: give width and height in pixels"):
            frame_size_of(bad)
