from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mgkit.data.readers.files import folders, named, only, splits_of, walk
from mgkit.data.report import natural
from mgkit.data.splits import split_by_name
from mgkit.errors import MgkitError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("imigue_skeleton_train", "train"), ("imigue_skeleton_validate", "val"), ("imigue_skeleton_test", "test"),
        ("train_data", "train"), ("validation_data", "val"), ("imigue_rgb_train", "train"), ("Validate", "val"),
        ("IMIGUE2026Train", "train"), ("iMiGUE-RGB test 2", "test"), ("VAL", "val"), ("valid2023", "val"),
        ("imigue_rgb_phase1", None), ("IMIGUE2026_RGB", None), ("trainval", None), ("train_test", None),
        ("latest", None), ("retrain", None), ("0054", None),
    ],
)  # fmt: skip
def test_splits_are_read_from_folder_names(name: str, split: str | None) -> None:
    assert split_by_name(name) == split


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def test_files_are_found_anywhere_and_hidden_ones_counted(tmp_path: Path) -> None:
    root = make(
        tmp_path / "ein Ordner é", "b/0002_label.csv", "a/0001_label.CSV", "a/._0001_label.csv", "~$0001.xlsx",
        "__MACOSX/a/0001_label.csv", ".git/0003_label.csv",
    )  # fmt: skip
    report: list[dict[str, str]] = []
    found = named(walk([root], report), r"(.+)_label\.csv")
    assert {key: [p.parent.name for p in paths] for key, paths in found.items()} == {
        "0001": ["a"],
        "0002": ["b"],
    }
    assert report[0]["detail"] == "2 not looked at: ._0001_label.csv, ~$0001.xlsx"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    disk = make(tmp_path / "disk", "0001.mp4")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "imigue").symlink_to(disk)
    (disk / "again").symlink_to(tmp_path / "data")
    assert [path.name for path in walk([tmp_path / "data"], [])] == ["0001.mp4"]


def test_overlapping_folders_are_searched_once(tmp_path: Path) -> None:
    make(tmp_path, "a/b/0001.mp4")
    assert len(walk(folders(tmp_path, [tmp_path / "a"], tmp_path / "a" / "b"), [])) == 1
    assert folders(f"{tmp_path},{tmp_path / 'a'}") == [tmp_path, tmp_path / "a"]
    with pytest.raises(MgkitError, match="there is no folder .*none"):
        folders(tmp_path, [tmp_path / "none"])


def test_the_same_file_twice(tmp_path: Path) -> None:
    make(tmp_path, "a/0001.mp4", "b/0001.mp4")
    report: list[dict[str, str]] = []
    found = named(walk([tmp_path], []), r"(.+)\.mp4")
    assert only(found, report) == {"0001": tmp_path / "a/0001.mp4"}
    assert report[0]["what"] == "found twice"
    assert "b/0001.mp4" in report[0]["detail"].replace("\\", "/")
    (tmp_path / "b/0001.mp4").write_text("y")
    with pytest.raises(
        MgkitError, match=r"a.0001\.mp4 and .*b.0001\.mp4 have the same name but not the same content"
    ):
        only(found, [])


def test_the_nearest_folder_tells_the_split(tmp_path: Path) -> None:
    root = make(tmp_path / "test", "phase1/train_data/0001/0001.csv", "phase1/val/0002.csv", "x/0003.csv")
    found = named(walk([root], []), r"(.+)\.csv")
    report: list[dict[str, str]] = []
    # The third has only the root's own name to go by, which is reported.
    assert splits_of(found, [root], {}, report) == {"0001": "train", "0002": "val", "0003": "test"}
    assert [n["detail"] for n in report] == ["test is taken to mean test: split_table overrides it"]
    assert splits_of(found, [root], {"0001": "val"}, [])["0001"] == "val"
    bare = make(tmp_path / "bare", "train/1.csv", "x/2.csv")
    found = named(walk([bare], []), r"(.+)\.csv")
    with pytest.raises(
        MgkitError, match=r"no folder around .*2\.csv is named train, val or test.*split_table"
    ):
        splits_of(found, [bare], {}, [])
    assert splits_of(found, [bare], {"2": "test"}, []) == {"1": "train", "2": "test"}
    report.clear()
    assert splits_of({"2": found["2"]}, [bare], {}, report) == {"2": "all"}
    assert report[0]["what"] == "no splits"


def test_a_video_in_two_splits_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "train/1.csv", "test/1.csv")
    found = named(walk([tmp_path], []), r"(.+)\.csv")
    with pytest.raises(
        MgkitError, match=r"1 is in the splits test \(.*\) and train \(.*disjoint.*split_table"
    ):
        splits_of(found, [tmp_path], {}, [])
    assert splits_of(found, [tmp_path], {"1": "test"}, []) == {"1": "test"}


def test_numbers_in_names_sort_as_numbers() -> None:
    assert sorted(["10", "2", "1", "11", "a10", "a9", "é", "²"], key=natural) == [
        "1", "2", "10", "11", "a9", "a10", "²", "é",
    ]  # fmt: skip
