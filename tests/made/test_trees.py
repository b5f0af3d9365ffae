"""The made raw trees: exactly the files, columns and numberings of the datasets, and the truth that is handed back."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.skeletons import BODY25, IMIGUE22, LIGHT_HAND35, OPENPOSE137
from mgkit.data.video import probe, read_frames
from mgkit.errors import MgkitError
from tests.made import trees as synthetic_trees
from tests.made.tree_parts import Tree
from tests.made.trees import NOT_IN_VAL, write_imigue, write_ma52, write_smg

IMIGUE = {"train": 4, "val": 2, "test": 1, "gestures": 2, "size": 64}


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def numbers(path: Path) -> np.ndarray:
    return np.array([[float(cell) for cell in row] for row in rows(path)])


@pytest.fixture(scope="module")
def imigue(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_imigue(tmp_path_factory.mktemp("made") / "imigue", **IMIGUE)


@pytest.fixture(scope="module")
def smg(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_smg(tmp_path_factory.mktemp("made") / "smg", train=2, test=1, size=64)


@pytest.fixture(scope="module")
def ma52(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_ma52(tmp_path_factory.mktemp("made") / "ma52", size=64)


def check_truth(tree: Tree) -> None:
    height, width = tree.size
    assert width == pytest.approx(height * 16 / 9, abs=1)
    assert len({clip.clip_id for clip in tree.clips}) == len(tree.clips)
    for key, files in tree.files.items():
        info = probe(files["video"])
        assert (info.height, info.width, info.fps) == (height, width, 25.0)
        assert info.frames == tree.frames[key] == len(tree.poses[key])
        assert all(path.is_file() for path in files.values())
        poses = tree.poses[key]
        assert np.isfinite(poses).all()
        assert (poses[poses[..., 2] == 0] == 0).all()
        assert poses[..., 2].max() <= 1
    for clip in tree.clips:
        assert 0 <= clip.start < clip.end <= tree.frames[clip.source]
    for source in tree.files:  # in time order, with rest between
        spans = [(c.start, c.end) for c in tree.clips if c.source == source]
        assert all(a[1] < b[0] for a, b in pairwise(spans))


@pytest.mark.slow
def test_imigue_truth(imigue: Tree) -> None:
    check_truth(imigue)
    assert [clip.clip_id for clip in imigue.clips[:5]] == ["0001_0", "0001_1", "0002_0", "0002_1", "0003_0"]
    subjects = {s: {c.subject for c in imigue.of_split(s)} for s in ("train", "val", "test")}
    assert subjects["val"] <= subjects["train"]
    assert not subjects["test"] & (subjects["train"] | subjects["val"])
    assert not {c.label for c in imigue.of_split("val")} & set(NOT_IN_VAL)
    assert sum(c.label == 31 for c in imigue.clips) >= 7


@pytest.mark.slow
def test_imigue_folders(imigue: Tree, tmp_path: Path) -> None:
    def below(root: Path) -> set[str]:
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}

    first, second = "imigue_data_phase1/datasets", "imigue_data_phase2/imigue_skeleton_test"
    expected = set()
    for split, rgb, keys in (
        (f"{first}/imigue_skeleton_train", "imigue_rgb_phase1/train_data", ("0001", "0002", "0003", "0004")),
        (f"{first}/imigue_skeleton_validate", "imigue_rgb_phase1/validation_data", ("0005", "0006")),
        (second, "imigue_rgb_phase2", ("0007",)),
    ):
        for key in keys:
            names = ("label.csv", "openpose.xlsx", "light_hand.csv")
            expected |= {f"{split}/{key}/{key}_{name}" for name in names} | {f"{rgb}/{key}/{key}.mp4"}
    assert below(imigue.root) == expected
    renamed = write_imigue(
        tmp_path / "renamed", train=1, val=1, test=1, size=64, tops="renamed", poses=["light_hand"]
    )
    assert "iMiGUE_RGB_Phase1/imigue_rgb_train/0001/0001.mp4" in below(renamed.root)
    assert "IMIGUE2026_RGB/0003/0003.mp4" in below(renamed.root)
    assert not [name for name in below(renamed.root) if name.endswith("xlsx")]
    assert renamed.poses["0001"].shape[1] == 35


def test_imigue_labels(imigue: Tree) -> None:
    """One-based classes, 99 for the last one, inclusive ends; nonsense classes in the test split."""
    for key, files in imigue.files.items():
        clips = [c for c in imigue.clips if c.source == key]
        written = [[int(cell) for cell in row] for row in rows(files["labels"])]
        assert [row[1:] for row in written] == [[c.start, c.end - 1] for c in clips]
        read = [31 if raw == 99 else raw - 1 for raw, _, _ in written]
        assert all(1 <= raw <= 31 or raw == 99 for raw, _, _ in written)
        if clips[0].split == "test":
            assert read != [c.label for c in clips]
        else:
            assert read == [c.label for c in clips]


def test_imigue_openpose(imigue: Tree) -> None:
    calamine = pytest.importorskip("python_calamine")
    for key, files in list(imigue.files.items())[:2]:
        book = calamine.CalamineWorkbook.from_path(str(files["openpose"]))
        table = np.array(book.get_sheet_by_index(0).to_python(skip_empty_area=False), dtype=float)
        assert table.shape == (imigue.frames[key], 411)
        points = table.reshape(-1, 137, 3)
        assert np.array_equal(points, imigue.poses[key])
        legs = [i for i in range(25) if i not in (*range(8), *range(15, 19))]
        assert (points[:, legs] == 0).all()
        assert (points[:, [0, 1, 2, 5]] != 0).mean() > 0.95
        # The left hand's points lie near joint 7, the right hand's near joint 4, which is further left in the picture.
        for start, wrist in ((95, 7), (116, 4)):
            seen = (points[:, start, 2] > 0.5) & (points[:, wrist, 2] > 0.5)
            assert np.median(np.linalg.norm(points[seen, start] - points[seen, wrist], axis=1)) < 4
        assert np.median(points[:, 4, 0]) < np.median(points[:, 7, 0])


def test_imigue_light_hand(imigue: Tree) -> None:
    """BODY_25 and two blocks of tips, whose order changes."""
    tips = [start + i for start in (95, 116) for i in (4, 8, 12, 16, 20)]
    orders = set()
    for key, files in imigue.files.items():
        table = numbers(files["light_hand"])
        assert table.shape == (imigue.frames[key], 106)
        assert table[:, 0].tolist() == list(range(len(table)))
        points = table[:, 1:].reshape(-1, 35, 3)
        assert np.array_equal(points[:, :25], imigue.poses[key][:, :25])
        left, right = imigue.poses[key][:, tips[:5]], imigue.poses[key][:, tips[5:]]
        straight = (points[:, 25:30] == left).all(axis=(1, 2)) & (points[:, 30:] == right).all(axis=(1, 2))
        crossed = (points[:, 25:30] == right).all(axis=(1, 2)) & (points[:, 30:] == left).all(axis=(1, 2))
        assert (straight | crossed).all()
        orders |= {bool(value) for value in straight}
    assert orders == {True, False}
    assert LIGHT_HAND35.joints[:25] == BODY25.joints


def test_the_hand_moves_where_the_label_says(imigue: Tree) -> None:
    """Key-points of the 22 joints move more within the clips than between them."""
    keep = [
        OPENPOSE137.joints.index(j)
        for j in ("left_elbow", "right_elbow", "left_wrist", "right_wrist", "nose")
    ]
    inside, outside = [], []
    for key in imigue.files:
        points = imigue.poses[key][:, keep]
        step = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=2)
        step[(points[1:, :, 2] == 0) | (points[:-1, :, 2] == 0)] = np.nan
        busy = np.zeros(len(step), dtype=bool)
        for clip in (c for c in imigue.clips if c.source == key):
            busy[clip.start : clip.end - 1] = True
        inside.append(np.nanmean(step[busy]))
        outside.append(np.nanmean(step[~busy]))
    assert np.mean(inside) > 1.5 * np.mean(outside)
    assert set(IMIGUE22.joints[:8]) == set(OPENPOSE137.joints[:8])


@pytest.mark.slow
def test_smg_tree(smg: Tree) -> None:
    check_truth(smg)
    assert {str(p.relative_to(smg.root)) for p in smg.root.rglob("*") if p.is_file()} == {
        f"{split}/{key}/{key}_{name}"
        for split, key in (("train", "Sample0001"), ("train", "Sample0002"), ("test", "Sample0003"))
        for name in ("color.mp4", "skeleton.csv", "finelabels.csv")
    }
    for key, files in smg.files.items():
        table = numbers(files["poses"])
        assert table.shape == (smg.frames[key], 275)
        joints = table.reshape(-1, 25, 11)
        truth = smg.poses[key]
        seen = truth[..., 2] > 0
        assert np.array_equal(joints[..., 7:9], truth[..., :2])
        assert (joints[~seen] == 0).all()
        assert np.allclose(np.linalg.norm(joints[seen][:, 3:7], axis=1), 1.0, atol=2e-3)
        assert (joints[..., 9:] == 0).all()
        x, z = joints[seen][:, 0], joints[seen][:, 2]
        assert 1.2 < z.min() < z.max() < 2.6
        assert np.abs(x).max() < 1.5
        # y points up: the head (3) is above the base of the spine (0)
        both = seen[:, 3] & seen[:, 0]
        assert (joints[both, 3, 1] > joints[both, 0, 1]).all()
        clips = [c for c in smg.clips if c.source == key]
        labels = [[int(cell) for cell in row] for row in rows(files["labels"])]
        assert labels == [[c.label + 1, c.start, c.end - 1] for c in clips]
        assert all(1 <= row[0] <= 17 for row in labels)
    assert len({c.subject for c in smg.clips}) == 3


@pytest.mark.slow
def test_smg_frames_from_one_and_flat(smg: Tree, tmp_path: Path) -> None:
    other = write_smg(tmp_path / "flat", train=2, test=1, size=64, first_frame=1, split_folders=False)
    assert other.clips == smg.clips
    assert (other.root / "Sample0003" / "Sample0003_color.mp4").is_file()
    for key in smg.files:
        before, after = (numbers(tree.files[key]["labels"]) for tree in (smg, other))
        assert np.array_equal(after, before + [0, 1, 1])
        assert other.files[key]["poses"].read_bytes() == smg.files[key]["poses"].read_bytes()


def test_ma52_tree(ma52: Tree) -> None:
    check_truth(ma52)
    subjects: list[set[str]] = []
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        clips = ma52.of_split(split)
        assert len(clips) == count
        subjects.append({c.subject for c in clips})
        shown = {c.clip_id: c.label if split != "test" else 0 for c in clips}
        listed = (ma52.root / f"{split}_list_videos.txt").read_text().splitlines()
        assert listed == [f"{name}.mp4 {label}" for name, label in shown.items()]
        with (ma52.root / f"MA52_{split}.pkl").open("rb") as file:
            content = pickle.load(file)
        assert content["split"] == {split: list(shown)}
        for a in content["annotations"]:
            name = a["frame_dir"]
            assert a["label"] == shown[name]
            assert a["keypoint"].shape == (1, ma52.frames[name], 28, 2)
            assert a["keypoint_score"].shape == (1, ma52.frames[name], 28)
            assert a["total_frames"] == ma52.frames[name]
            assert a["img_shape"] == ma52.size
            assert np.allclose(a["keypoint"][0], ma52.poses[name][..., :2], atol=1e-4)
            subject, video, instance = name.split("_")
            assert (len(subject), len(video), len(instance)) == (4, 2, 4)
    assert not subjects[0] & subjects[1]
    assert not subjects[2] & (subjects[0] | subjects[1])
    assert any(c.label != 0 for c in ma52.of_split("test"))


@pytest.mark.slow
def test_trees_are_the_same_whatever_the_workers(tmp_path: Path) -> None:
    few = {"train": 1, "val": 0, "test": 1, "gestures": 1, "size": 64}
    script = tmp_path / "make.py"
    script.write_text(
        "from tests.made.trees import write_imigue\n"
        "if __name__ == '__main__':\n"
        f"    write_imigue({str(tmp_path / 'two')!r}, workers=2, **{few!r})\n"
    )
    root = Path(synthetic_trees.__file__).parents[2]
    subprocess.run([sys.executable, str(script)], check=True, cwd=root, timeout=120)
    one = write_imigue(tmp_path / "one", **few)  # type: ignore[arg-type]
    for path in (path for files in one.files.values() for path in files.values()):
        assert (tmp_path / "two" / path.relative_to(one.root)).read_bytes() == path.read_bytes(), path


def test_another_seed_is_another_tree(smg: Tree, tmp_path: Path) -> None:
    other = write_smg(tmp_path / "other", train=2, test=1, size=64, seed=1)
    assert [c.label for c in other.clips] != [c.label for c in smg.clips]
    assert other.frames != smg.frames


def test_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for write in (write_imigue, write_smg, write_ma52):
        with pytest.raises(MgkitError, match="not an empty folder"):
            write(tmp_path)
        with pytest.raises(MgkitError, match="not an empty folder"):
            write(tmp_path / "thesis.txt")
        with pytest.raises(MgkitError, match="63 pixels"):
            write(tmp_path / "new", size=63)
        with pytest.raises(MgkitError, match="negative seed"):
            write(tmp_path / "new", seed=-1)
    with pytest.raises(MgkitError, match="tops is one of phases, renamed"):
        write_imigue(tmp_path / "new", tops="2027")
    with pytest.raises(MgkitError, match="poses some of"):
        write_imigue(tmp_path / "new", poses=["kinect"])
    with pytest.raises(MgkitError, match="first frame has number 2"):
        write_smg(tmp_path / "new", first_frame=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.txt"]


def test_videos_of_a_tree_show_the_recording(smg: Tree) -> None:
    """Something moves in the picture while a gesture is on, more than at rest before it."""
    clip = smg.clips[0]
    video = smg.files[clip.source]["video"]
    rest = read_frames(video, [clip.start - 4, clip.start - 1]).astype(int)
    busy = read_frames(video, [clip.start, (clip.start + clip.end) // 2]).astype(int)
    assert np.abs(busy[1] - busy[0]).mean() > np.abs(rest[1] - rest[0]).mean()
