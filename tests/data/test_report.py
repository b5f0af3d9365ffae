from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import write_clip_folder
from mgkit.data.report import report_lines, report_table
from mgkit.errors import MgkitError
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_pose, tiny_row


def test_tables_of_a_small_set(tmp_path: Path) -> None:
    rows = [
        tiny_row("a", 0, frames=10),
        tiny_row("b", 0, frames=31, subject="S2"),
        tiny_row("c", 0, frames=32, split="test", subject="S10"),
        tiny_row("d", 2, frames=100, persons=0, subject="S2"),
        tiny_row("e", 2, frames=4, persons=2, subject=""),
    ]
    poses = [tiny_pose(0, i, row["frames"]) for i, row in enumerate(rows)]
    poses[4] = np.concatenate([poses[4], np.full_like(poses[4], np.nan)])
    poses[1][0, :, 2] = np.nan
    poses[0][0, 0] = np.nan
    stored = [pose if row["persons"] else None for pose, row in zip(poses, rows, strict=True)]
    clips = write_clip_folder(tmp_path, rows, stored, CLASSES, TRIANGLE)
    summary = clips.summary()
    assert summary.classes.loc["red still"].tolist() == [1, 2, 3, 10, 31, 32]
    assert list(summary.classes) == ["test", "train", "all", "min frames", "median frames", "max frames"]
    assert summary.classes["all"].tolist() == [3, 0, 2, 0]
    assert summary.classes.loc["red moving", "max frames":].isna().all()
    assert summary.lengths.loc["train"].tolist() == [4, 4, 20.5, 100, 75.0]
    assert summary.lengths.loc["all", "below 32 (%)"] == 60
    missing = clips.missing_joints()
    assert list(missing) == ["S1", "S2", "S10", "not known"]
    assert missing["S1"].tolist() == [10, 10, 10]
    assert missing["S2"].tolist() == [0, 0, 100]
    assert missing["not known"].tolist() == [50, 50, 50]
    assert clips.missing_joints(None).loc["top", "all"] == pytest.approx(100 * (1 + 4) / (10 + 31 + 32 + 8))
    assert list(clips.missing_joints("class")) == ["red still", "blue still"]
    assert list(summary.joints) == ["test", "train", "all"]
    for text in (repr(summary), summary._repr_html_()):
        assert "below 32 (%)" in text
        assert "right_foot" in text
    with pytest.raises(MgkitError, match="by is 'age': use one of subject"):
        clips.missing_joints("age")


def test_without_poses_there_are_no_joints(tmp_path: Path) -> None:
    clips = write_clip_folder(tmp_path, [tiny_row("a", 0, persons=0)], [None], CLASSES, TRIANGLE)
    assert clips.summary().joints.empty
    assert clips.summary().joints.sort_values("all").empty
    assert "not seen" not in repr(clips.summary())
    with pytest.raises(MgkitError, match="has a pose"):
        clips.missing_joints()


def test_the_report_puts_what_is_left_out_on_top(tmp_path: Path) -> None:
    report = [{"what": "lengths differ", "clip_id": f"c{i}", "detail": "the same"} for i in range(5)]
    report.append({"what": "same subject", "clip_id": "", "detail": "S1"})
    report.append({"what": "left out: end before start", "clip_id": "x", "detail": "a.csv, row 3"})
    table = report_table(report)
    assert table["what"].tolist() == ["left out: end before start", "same subject", "lengths differ"]
    assert table["how many"].tolist() == [1, 1, 5]
    assert table["detail"].tolist() == ["x: a.csv, row 3", "S1", "c0, c1, c2 and 2 more: the same"]
    assert report_table([]).empty
    assert tiny_clips(tmp_path, counts={"train": 1}, videos=False).report_table().empty


def test_each_clip_of_a_report_stands_with_its_own_detail() -> None:
    report = [
        {"what": "nobody seen", "clip_id": f"c{i}", "detail": f"in {i} of 40 frames"} for i in range(1, 5)
    ]
    report += [
        {"what": "hands seen", "clip_id": "c1", "detail": "left in 5 %, right in 90 %"},
        {"what": "hands seen", "clip_id": "c2", "detail": "left in 0 %, right in 1 %"},
        {"what": "several files", "clip_id": "", "detail": "a.csv is not used."},
        {"what": "several files", "clip_id": "c3", "detail": "b.csv is not used."},
    ]
    paired = {
        "nobody seen (4)": "c1 in 1 of 40 frames; c2 in 2 of 40 frames; c3 in 3 of 40 frames; and 1 more",
        "hands seen (2)": "c1: left in 5 %, right in 90 %; c2: left in 0 %, right in 1 %",
        "several files (2)": "a.csv is not used; c3: b.csv is not used",
    }
    lines = [f"{what}: {detail}" for what, detail in paired.items()]
    assert list(report_lines(report)) == lines
    assert " ".join(repr(report_table(report)).split()) == " ".join(lines)
    for detail in paired.values():
        assert f">{detail}</td>" in report_table(report)._repr_html_()


def test_a_report_is_shown_in_full(tmp_path: Path) -> None:
    """pandas cuts a cell after fifty letters, and with it the remedy."""
    detail = (
        "the poses are of another estimator than those of the other split <b>, which costs accuracy: " * 3
    )
    table = report_table([{"what": "several estimators", "clip_id": "", "detail": f"{detail}choose one"}])
    text = repr(table)
    assert " ".join(text.split()) == f"several estimators (1): {' '.join(detail.split())} choose one"
    assert max(map(len, text.splitlines())) <= 120
    page = table._repr_html_()
    for part in ("choose one</td>", "&lt;b&gt;", "white-space: normal"):
        assert part in page
    assert "nothing was odd" in repr(report_table([]))
    assert "nothing was odd" in report_table([])._repr_html_()


def test_an_empty_selection_has_no_summary_and_no_folds(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips")
    for ask in (clips.select([]).summary, lambda: clips.select([]).folds(2)):
        with pytest.raises(MgkitError, match="no clips in this selection"):
            ask()
    one = clips.select(clips.ids[:1])
    assert one.summary().lengths.loc["all", "clips"] == 1
    with pytest.raises(MgkitError, match="all clips have one subject"):
        one.folds(2, splits=one.splits)


def test_a_split_that_is_named_all(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"all": 2}, videos=False)
    joints = clips.summary().joints
    assert list(joints) == ["all"]
    assert joints.index.tolist() == list(TRIANGLE.joints)
