from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import xlsxwriter

from mgkit.data.readers import RawDataset
from mgkit.data.readers import imigue as imigue_points
from mgkit.data.readers.imigue import read_imigue, sides_by_wrist
from mgkit.errors import MgkitError
from mgkit.files import write_json

FRAMES = 12
LABELS = "3,0,4\n99,5,5\n31,6,11\n"
TREE = {  # video: folder of its label file and key-points
    "0001": "imigue_data_phase1/datasets/imigue_skeleton_train",
    "0002": "imigue_data_phase1/datasets/imigue_skeleton_validate",
    "0003": "imigue_data_phase2/imigue_skeleton_test",
}


def openpose(frames: int = FRAMES) -> np.ndarray:
    """(T, 137, 3) whose x is 1 + the number of the point and whose y is 1 + the frame; the legs are not seen."""
    points = np.zeros((frames, 137, 3), np.float32)
    points[..., 0] = np.arange(137) + 1
    points[..., 1] = np.arange(frames)[:, None] + 1
    points[..., 2] = 0.5
    points[:, [*range(8, 15), *range(19, 25)]] = 0
    return points


def light_hand(frames: int = FRAMES) -> np.ndarray:
    """(T, 35, 3): the left wrist at x = 100, the right at x = 500; the first block of tips left, the second right."""
    points = np.full((frames, 35, 3), 0.5, np.float32)
    points[..., 0] = 300 + np.arange(35)
    points[..., 1] = np.arange(frames)[:, None] + 1
    points[:, 7, 0], points[:, 4, 0] = 100, 500
    points[:, 25:30, 0], points[:, 30:, 0] = 100 + np.arange(5), 500 + np.arange(5)
    return points


def write_xlsx(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = xlsxwriter.Workbook(str(path))
    page = book.add_worksheet()
    for i, row in enumerate(points.reshape(len(points), -1).astype(float)):
        page.write_row(i, 0, row)
    book.close()


def write_light_hand(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [",".join(map(str, [i, *row])) for i, row in enumerate(points.reshape(len(points), -1).tolist())]
    path.write_text("\n".join(rows) + "\n")


def write_tree(root: Path, tree: Mapping[str, str] = TREE, kinds: Sequence[str] = ("openpose",)) -> Path:
    for video, folder in tree.items():
        place = root / folder / video
        place.mkdir(parents=True)
        (place / f"{video}_label.csv").write_text(LABELS)
        if "openpose" in kinds:
            write_xlsx(place / f"{video}_openpose.xlsx", openpose())
        if "light_hand" in kinds:
            write_light_hand(place / f"{video}_light_hand.csv", light_hand())
    return root


def write_videos(root: Path, tree: Mapping[str, str]) -> Path:
    for video, folder in tree.items():
        path = root / folder / video / f"{video}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not decoded by a reader")
    return root


def details(data: RawDataset) -> dict[str, list[str]]:
    entries: dict[str, list[str]] = {}
    for entry in data.report:
        entries.setdefault(entry["what"], []).append(entry["detail"])
    return entries


def test_rows_become_clips(tmp_path: Path) -> None:
    data = read_imigue(write_tree(tmp_path / "ein Ordner é"))
    clips = {clip.clip_id: clip for clip in data.clips}
    assert sorted(clips) == [f"{video}_{row}" for video in TREE for row in range(3)]
    first = clips["0001_0"]
    assert (first.split, first.label, first.start, first.end, first.fps, first.size) == (
        "train", 2, 0, 5, 25.0, (1280, 720),
    )  # fmt: skip
    assert [clips[f"0002_{row}"].label for row in range(3)] == [2, 31, 30]
    assert (clips["0001_1"].start, clips["0001_1"].end) == (5, 6)  # the last frame belongs to the clip
    assert {clip.split for clip in data.clips} == {"train", "val", "test"}
    assert clips["0003_0"].split == "test"
    assert len(data.classes) == 32
    assert data.classes.names[0] == "turtle neck"
    assert data.classes.non_gesture == 31
    assert data.skeleton.name == "imigue22"
    assert (
        "3 clips, taken as they are; the class column of test label files cannot"
        in details(data)["test labels"][0]
    )
    assert set(details(data)) == {"test labels"}
    assert len(data.files) == 6


def test_the_usual_22_points(tmp_path: Path) -> None:
    data = read_imigue(write_tree(tmp_path, {"0001": "train"}))
    assert data.clips[2].pose is not None
    pose = pickle.loads(pickle.dumps(data.clips[2].pose))()  # as it reaches a worker
    assert pose.shape == (1, 6, 22, 3)
    assert pose.dtype == np.float32
    # The point numbers of the published set, written out once more.
    wanted = [0, 1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 18, 99, 103, 107, 111, 115, 120, 124, 128, 132, 136]
    assert pose[0, 0, :, 0].tolist() == [n + 1 for n in wanted]
    assert pose[0, :, 0, 1].tolist() == [7, 8, 9, 10, 11, 12]  # frames 6 to 11
    assert (pose[..., 2] == 0.5).all()
    joints = data.skeleton.joints
    assert joints[4] == "right_wrist"
    assert joints[12] == "left_thumb_tip"
    assert joints[17] == "right_thumb_tip"


@pytest.mark.parametrize(
    ("points", "layout", "count"),
    [
        (22, "imigue22", 22), (25, "body25", 25), (35, "light_hand35", 35), (36, "light_hand35", 35),
        (137, "openpose137", 137),
    ],
)  # fmt: skip
def test_every_set_of_points(tmp_path: Path, points: int, layout: str, count: int) -> None:
    data = read_imigue(write_tree(tmp_path, {"0001": "train"}), points=points)
    assert data.skeleton.name == layout
    assert len(data.skeleton) == count
    assert data.clips[0].pose is not None
    pose = data.clips[0].pose()
    assert pose.shape == (1, 5, count, 3)
    if count >= 25:  # zeros are not seen
        unseen = np.isnan(pose[0, 0]).all(-1)
        assert np.flatnonzero(unseen).tolist() == [*range(8, 15), *range(19, 25)]
    if count == 137:
        assert np.nanmax(pose[0, 0, :, 0]) == 137
    if count == 35:
        assert pose[0, 0, 25:, 0].tolist() == [100, 104, 108, 112, 116, 121, 125, 129, 133, 137]
    assert ("points" in details(data)) == (points == 36)


def test_a_spreadsheet_is_converted_once_for_all_clips_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgkit.data.readers import tables as sheets

    conversions = []
    convert = sheets._read_xlsx
    monkeypatch.setattr(sheets, "_read_xlsx", lambda path: conversions.append(path.name) or convert(path))
    write_tree(tmp_path / "raw", {"0001": "train", "0002": "train"})
    for points in (22, 22, 137):
        sheets._read.cache_clear()
        imigue_points._points.cache_clear()
        for clip in read_imigue(tmp_path / "raw", cache=tmp_path / "cache", points=points).clips:
            assert clip.pose is not None
            assert clip.notes is not None
            clip.pose()
            assert clip.notes() == []
    assert conversions == ["0001_openpose.xlsx", "0002_openpose.xlsx"]
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_reading_opens_no_key_points(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"0001": "train"})
    (root / "train/0001/0001_openpose.xlsx").write_bytes(b"broken")
    clip = read_imigue(root).clips[0]
    assert clip.pose is not None
    with pytest.raises(MgkitError, match=r"0001_openpose\.xlsx is not a readable spreadsheet"):
        clip.pose()


@pytest.mark.parametrize(
    ("skeletons", "pictures"),
    [
        ("imigue_data_phase1/datasets/imigue_skeleton_train", "imigue_rgb_phase1/train_data"),
        ("iMiGUE_Skeleton_Phase1/imigue_skeleton_train", "iMiGUE_RGB_Phase1/imigue_rgb_train"),
        ("IMIGUE2026_SKELETON/Train", "IMIGUE2026_RGB"),
        ("train", "train"),
    ],
)
def test_the_trees_of_all_years(tmp_path: Path, skeletons: str, pictures: str) -> None:
    tree = {"0001": skeletons}
    together = write_videos(write_tree(tmp_path / "one", tree), {"0001": pictures})
    for data in (
        read_imigue(together),
        read_imigue(
            write_tree(tmp_path / "a", tree), videos=write_videos(tmp_path / "b", {"0001": pictures})
        ),
        read_imigue(tmp_path / "b", skeletons=[tmp_path / "a"]),
        read_imigue(tmp_path / "a" / skeletons, videos=tmp_path / "b"),
    ):
        assert [clip.split for clip in data.clips] == ["train"] * 3
        assert all(clip.video and clip.video.name == "0001.mp4" and clip.pose for clip in data.clips)
        assert {clip.source for clip in data.clips} == {"0001.mp4"}
        assert {clip.size for clip in data.clips} == {None}  # that of the video
        assert {n["what"] for n in data.report} <= {"split by the folder given"}
    assert read_imigue(together, frame_size="640x360").clips[0].size == (640, 360)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    tree = {f"000{i}": "train" for i in range(1, 5)}
    root = write_videos(write_tree(tmp_path, tree), {"0001": "rgb", "0002": "rgb", "0009": "rgb"})
    (root / "train/0002/0002_openpose.xlsx").unlink()
    (root / "train/0004/0004_openpose.xlsx").unlink()
    write_xlsx(root / "train/0008/0008_openpose.xlsx", openpose(1))
    data = read_imigue(root)
    here = {clip.clip_id[:4]: (clip.video is not None, clip.pose is not None) for clip in data.clips}
    assert here == {"0001": (True, True), "0002": (True, False), "0003": (False, True)}
    assert {clip.size for clip in data.clips if clip.video is None} == {(1280, 720)}
    entries = details(data)
    assert entries["no video"] == ["0003_label.csv: no video found, its clips have poses only"]
    assert entries["no pose"] == ["0002_label.csv: no key-points found, its clips have video only"]
    assert entries["neither video nor pose"][0].startswith("0004_label.csv: left out")
    assert entries["no label file"] == ["0008_openpose.xlsx: not used", "0009.mp4: not used"]


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="no file <VVVV>_label.csv below it: give the folder"):
        read_imigue(tmp_path)
    with pytest.raises(MgkitError, match="there is no folder"):
        read_imigue(tmp_path / "none")
    root = write_tree(tmp_path, {"0001": "train"}, kinds=())
    with pytest.raises(MgkitError, match="1 label file, but neither videos nor key-points"):
        read_imigue(root)
    write_xlsx(root / "train/0001/0001_openpose.xlsx", openpose())
    (root / "train/0001/0001_label.csv").write_text("\n")
    with pytest.raises(MgkitError, match="none of its 1 label file has a row"):
        read_imigue(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 23}, "points is 23: use one of 22, 25, 35, 137"),
        ({"keypoints": "mediapipe"}, "keypoints is 'mediapipe': use one of auto, openpose, light_hand"),
        ({"test_labels": "drop"}, "test_labels is 'drop': use one of keep, hide"),
        ({"points": 137, "keypoints": "light_hand"}, "light-hand files hold 35 points"),
    ],
)
def test_unknown_options_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        read_imigue(tmp_path, **options)  # type: ignore[arg-type]


def test_classes_outside_the_list(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    for video, folder in TREE.items():
        (root / folder / video / f"{video}_label.csv").write_text("0,0,4\n32,5,5\n98,6,11\n-1,6,11\n5,1,2\n")
    with pytest.raises(MgkitError) as error:
        read_imigue(root)
    assert "8 problems" in str(error.value)
    assert "0001_label.csv row 1: class 0, which is not 1 to 31 or 99; " in str(error.value)
    assert "Correct the rows named" in str(error.value)
    data = read_imigue(write_tree(tmp_path / "b", {"0003": "test"}))
    assert [clip.label for clip in data.clips] == [2, 31, 30]
    shutil.copy(root / TREE["0003"] / "0003/0003_label.csv", tmp_path / "b/test/0003/0003_label.csv")
    data = read_imigue(tmp_path / "b")
    assert [clip.label for clip in data.clips] == [0, 0, 0, 0, 4]  # of test clips nothing is to be trusted
    assert details(data)["test label outside the list"][1] == "0003_label.csv row 2: 32, given class 0"
    data = read_imigue(tmp_path / "b", test_labels="hide")
    assert [clip.label for clip in data.clips] == [0] * 5
    assert details(data)["test labels"][0].startswith("5 clips, all given class 0;")


def test_a_label_file_found_twice(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"0001": "a/train"})
    shutil.copytree(root / "a", root / "b")
    data = read_imigue(root)
    assert len(data.clips) == 3
    assert len(details(data)["found twice"]) == 2  # labels and key-points
    (root / "b/train/0001/0001_label.csv").write_text("1,0,4\n")
    with pytest.raises(
        MgkitError, match=r"0001_label\.csv and .*0001_label\.csv have the same name but not the same"
    ):
        read_imigue(root)


def test_a_video_in_two_splits(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"0001": "train"})
    shutil.copytree(root / "train", root / "validate")
    with pytest.raises(MgkitError, match="0001 is in the splits train .* and val .*disjoint"):
        read_imigue(root)
    assert {clip.split for clip in read_imigue(root, split_table={"0001": "val"}).clips} == {"val"}


def test_splits_and_subjects_from_tables(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw")
    (tmp_path / "splits.csv").write_text("video,split\n1,fold 0\n0002.mp4,fold 1\n")
    (tmp_path / "subjects.csv").write_text("0001,17\n0002,17\n0003,40\n")
    data = read_imigue(root, split_table=tmp_path / "splits.csv", subject_table=tmp_path / "subjects.csv")
    assert {clip.clip_id[:4]: (clip.split, clip.subject) for clip in data.clips} == {
        "0001": ("fold 0", "17"), "0002": ("fold 1", "17"), "0003": ("test", "40"),
    }  # fmt: skip
    assert details(data)["no split given"][0].endswith("no row for video 0003")


def test_light_hand_files(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"0001": "train", "0002": "train"}, kinds=("openpose", "light_hand"))
    points = light_hand()
    points[6:, 25:30], points[6:, 30:] = points[6:, 30:].copy(), points[6:, 25:30].copy()
    points[0, 0] = 0
    write_light_hand(root / "train/0001/0001_light_hand.csv", points)
    data = read_imigue(root, keypoints="light_hand")
    clip = data.clips[0]
    assert clip.source == "0001_light_hand.csv"
    assert clip.pose is not None
    assert clip.notes is not None
    pose = clip.pose()
    assert np.isnan(pose[0, 0, 0]).all()
    assert clip.notes() == [
        {
            "what": "finger sides",
            "clip_id": "",
            "detail": "0001_light_hand.csv: by the nearest wrist; the other way round in 6 of 12 frames with hands",
        }
    ]
    (root / "train/0001/0001_label.csv").write_text("1,4,2\n3,0,4\n99,5,5\n31,6,11\n")
    noted = [bool(c.notes and c.notes()) for c in read_imigue(root, keypoints="light_hand").clips[:4]]
    assert noted[1:] == [True, False, False]  # the first is not a clip, and never asked
    later = data.clips[2]
    assert later.pose is not None
    assert later.notes is not None
    assert later.notes() == []  # reported once per file
    for pose in (clip.pose(), later.pose()):
        assert pose[0, 1, 12:, 0].tolist() == [100, 101, 102, 103, 104, 500, 501, 502, 503, 504]
    (root / "train/0002/0002_openpose.xlsx").unlink()
    data = read_imigue(root)
    assert {clip.source for clip in data.clips} == {"0001_openpose.xlsx", "0002_light_hand.csv"}
    assert "only light-hand key-points for 1 video (0002)" in details(data)["two kinds of key-points"][0]


def slow_sides(points: np.ndarray) -> np.ndarray:
    """The same decision one frame at a time, from its description."""
    out = points.copy()
    for t, frame in enumerate(points):
        costs = {}
        for order in ((0, 1), (1, 0)):  # the block that the left, the right wrist gets
            distances = []
            for block, wrist in zip(order, (7, 4), strict=True):
                tips = [tip for tip in frame[25 + 5 * block : 30 + 5 * block, :2] if not np.isnan(tip).any()]
                if tips and not np.isnan(frame[wrist, :2]).any():
                    distances.append(np.linalg.norm(np.mean(tips, axis=0) - frame[wrist, :2]))
            costs[order] = distances
        a, b = costs[0, 1], costs[1, 0]
        if len(a) == len(b) > 0 and sum(b) < sum(a):
            out[t, 25:30], out[t, 30:] = frame[30:], frame[25:30]
    return out


def test_sides_against_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(1, 100, (400, 35, 3)).astype(np.float32)
    gone = rng.random((400, 35)) < 0.3
    gone[:, 25:30] |= rng.random((400, 1)) < 0.3
    gone[:, 30:] |= rng.random((400, 1)) < 0.3
    points[gone] = np.nan
    found, text = sides_by_wrist(points)
    np.testing.assert_array_equal(found, slow_sides(points))
    assert "could not be decided and stay as they are" in text
    swapped = (np.nan_to_num(found) != np.nan_to_num(points)).any((1, 2)).sum()
    assert 50 < swapped < 350


def test_odd_cells_are_told_by_clip(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"0001": "train"})
    points = openpose()
    points[2, 3, 0] = np.nan
    rows = points.reshape(FRAMES, -1)
    path = root / "train/0001/0001_openpose.xlsx"
    book = xlsxwriter.Workbook(str(path))
    page = book.add_worksheet()
    for i, row in enumerate(rows.tolist()):
        for j, cell in enumerate(row):
            if not np.isnan(cell):
                page.write_number(i, j, cell)
    book.close()
    notes = {}
    for clip in read_imigue(root).clips:
        assert clip.pose is not None
        assert clip.notes is not None
        pose = clip.pose()
        notes[clip.clip_id] = [(entry["what"], entry["detail"]) for entry in clip.notes()]
        assert np.isnan(pose[0, :, 3]).all(-1).any() == (clip.clip_id == "0001_0")
    assert notes["0001_0"] == [
        ("empty cells", "0001_openpose.xlsx: no number in 1 cell of 1 frame (2 of the clip): not seen")
    ]
    assert notes["0001_1"] == notes["0001_2"] == []


def test_key_points_that_end_early(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"0001": "train"})
    write_xlsx(root / "train/0001/0001_openpose.xlsx", openpose(8))
    first, _, last = read_imigue(root).clips
    assert last.pose is not None
    assert last.pose().shape[1] == 2  # `prepare` compares it with the label
    write_xlsx(root / "train/0001/0001_openpose.xlsx", openpose(3))
    assert first.pose is not None
    assert first.pose().shape[1] == 3
    with pytest.raises(
        MgkitError, match=r"0001_openpose\.xlsx has 3 frames; the clip would start at frame 6"
    ):
        last.pose()


def test_another_class_list_in_the_same_layout(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "raw", {"0001": "train"})
    write_json(tmp_path / "mine.json", {"names": [f"c{i}" for i in range(40)], "non_gesture": 39})
    (root / "train/0001/0001_label.csv").write_text("39,0,4\n99,5,5\n")
    data = read_imigue(root, class_file=tmp_path / "mine.json")
    assert [clip.label for clip in data.clips] == [38, 39]
    assert len(data.classes) == 40
