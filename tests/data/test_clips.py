from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import load_clips, write_clip_folder
from mgkit.data.table import Classes, check_table
from mgkit.errors import MgkitError
from mgkit.files import write_json
from tests.tiny import CLASSES, TRIANGLE, tiny_clips, tiny_pose, tiny_row


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    rows = [tiny_row("b", 1, persons=2, frames=4), tiny_row("a", 0, persons=0), tiny_row("c", 3, frames=7)]
    pose_b = np.concatenate([tiny_pose(1, 0, 4), tiny_pose(1, 1, 4)])
    pose_b[1, 2, 0] = np.nan
    pose_c = tiny_pose(3, 2, 7)
    write_clip_folder(tmp_path, rows, iter([pose_b, None, pose_c]), CLASSES, TRIANGLE)
    clips = load_clips(tmp_path)
    assert clips.ids == ["a", "b", "c"]
    assert clips.labels.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(clips.pose("b"), pose_b)
    np.testing.assert_array_equal(clips.pose("c"), pose_c)
    with pytest.raises(MgkitError, match="'a' .* has no pose"):
        clips.pose("a")
    assert not clips.has_pose
    assert clips.video("a") is None
    assert clips.skeleton == TRIANGLE
    assert clips.classes == CLASSES


def test_selections_keep_their_poses(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, videos=False)
    part = clips.select(["val_2_0", "train_1_1"])
    assert part.ids == ["val_2_0", "train_1_1"]
    np.testing.assert_array_equal(part.pose("train_1_1"), clips.pose("train_1_1"))
    assert set(clips.split("val").table["split"]) == {"val"}
    assert len(pickle.dumps(clips)) < 100_000  # a worker gets the table, not the poses
    with pytest.raises(MgkitError, match="has no clip nobody"):
        clips.select(["nobody"])
    with pytest.raises(MgkitError, match=r"no clip in split 'dev'; its splits are test, train, val"):
        clips.split("dev")


def test_fingerprint_follows_content_not_order(tmp_path: Path) -> None:
    rows = [tiny_row("a", 0), tiny_row("b", 1)]
    poses = [tiny_pose(0, 0), tiny_pose(1, 1)]
    one = write_clip_folder(tmp_path / "1", rows, poses, CLASSES, TRIANGLE)
    two = write_clip_folder(tmp_path / "2", rows[::-1], poses[::-1], CLASSES, TRIANGLE)
    other = write_clip_folder(tmp_path / "3", [rows[0], tiny_row("b", 2)], poses, CLASSES, TRIANGLE)
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_summary_counts_every_class(tmp_path: Path) -> None:
    table = tiny_clips(tmp_path, videos=False).summary().classes
    assert table.loc["blue moving", "train"] == 3
    assert table["all"].sum() == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_id": "a"}, "occur twice: a"),
        ({"label": 9}, r"label 9 of clip 'b' is outside the 4 classes"),
        ({"frames": 0}, "no frames"),
        ({"split": None}, "split has an empty cell in row 1"),
        ({"label": 0.7}, "label in row 1 is 0.7, not a whole number"),
        ({"label": "one"}, "label in row 1 is 'one', not a whole number"),
        ({"label": True}, "label in row 1 is True, not a whole number"),
        ({"fps": float("inf")}, "fps in row 1 is inf, not a finite number"),
        ({"clip_id": ""}, "a clip has no clip_id"),
        ({"persons": -1}, "persons and pose_offset of clip b contradict"),
        ({"persons": 0}, "persons and pose_offset of clip b contradict"),
        ({"pose_offset": 5}, "the poses of clip b begin inside those of another clip"),
        ({"video": "../x.mp4"}, "the video of clip b lies outside"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    clips = write_clip_folder(
        tmp_path, [tiny_row("a", 0), tiny_row("b", 1)], [tiny_pose(0, 0), tiny_pose(1, 1)], CLASSES, TRIANGLE
    )
    table = clips.table.astype(object)
    for column, value in change.items():
        table.loc[1, column] = value
    with pytest.raises(MgkitError, match=message):  # some of these values cannot even be written as parquet
        check_table(table, CLASSES, where="clips.parquet")


def test_a_folder_with_faults_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no clip folder"):
        load_clips(tmp_path / "none")
    with pytest.raises(MgkitError, match=r"not a clip folder \(no clips\.parquet\)"):
        load_clips(tmp_path)
    clips = tiny_clips(tmp_path / "x", counts={"train": 1})
    victim = clips.table["video"].iloc[0]
    (tmp_path / "x" / victim).unlink()
    with pytest.raises(MgkitError, match=f"lacks 1 of its videos .*{victim}"):
        load_clips(tmp_path / "x")
    tiny_clips(tmp_path / "x", counts={"train": 1})
    np.save(tmp_path / "x" / "poses.npy", np.zeros((5, 3, 3), np.float32))
    with pytest.raises(MgkitError, match=r"poses\.npy has 5 rows, too few"):
        load_clips(tmp_path / "x")
    (tmp_path / "x" / "poses.npy").write_bytes(b"rubbish")
    with pytest.raises(MgkitError, match=r"poses\.npy cannot be read"):
        load_clips(tmp_path / "x")
    (tmp_path / "x" / "clips.parquet").write_bytes(b"rubbish")
    with pytest.raises(MgkitError, match=r"clips\.parquet cannot be read"):
        load_clips(tmp_path / "x")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    tiny_clips(tmp_path, counts={"train": 1}, videos=False)
    table = pd.read_parquet(tmp_path / "clips.parquet").drop(columns="fps")
    table.to_parquet(tmp_path / "clips.parquet")
    with pytest.raises(MgkitError, match="lacks the column fps"):
        load_clips(tmp_path)


def test_classes() -> None:
    assert CLASSES.index("blue still") == 2
    with pytest.raises(MgkitError, match="no class 'green'; the classes are red still"):
        CLASSES.index("green")
    with pytest.raises(MgkitError, match="not unique"):
        Classes(("a", "a"))
    with pytest.raises(MgkitError, match="1 class group for 2 classes"):
        Classes(("a", "b"), ("x",))
    with pytest.raises(MgkitError, match="outside 0 to 1"):
        Classes(("a", "b"), non_gesture=2)
    for odd in ("nod\nhead", " ", "a\tb", "a\u2028b"):
        with pytest.raises(MgkitError, match="empty, or hold a line break or the like"):
            Classes(("a", odd))
    with pytest.raises(MgkitError, match=r"not unique: touch  face , touch face\."):
        Classes(("touch face", "touch  face "))
    odd_but_right = ("touch/face", "👩\u200d🦰 wave", "7", "دست\u200cها", "wave", "Wave")
    assert Classes(odd_but_right).names == odd_but_right


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.json", {"names": "abc"}),
        ("classes.json", {"names": ["a", "b", "c", "d"], "groups": 3}),
        ("classes.json", {"names": ["a", "b", "c", "d"], "non_gesture": True}),
        ("skeleton.json", None),
        ("skeleton.json", {"name": "x", "joints": ["a", "b", "c"], "edges": [[0, 1, 2]], "pairs": []}),
        ("skeleton.json", {"name": "x", "joints": 3, "edges": [], "pairs": []}),
        ("report.json", [{"what": "x"}]),
    ],
)
def test_side_files_of_another_shape_are_named(tmp_path: Path, name: str, content: object) -> None:
    tiny_clips(tmp_path, counts={"train": 1}, videos=False)
    write_json(tmp_path / name, content)
    with pytest.raises(MgkitError, match=name):
        load_clips(tmp_path)


def test_poses_of_another_type_are_refused(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 1}, videos=False)
    np.save(tmp_path / "poses.npy", np.load(tmp_path / "poses.npy").astype(np.float16))
    with pytest.raises(MgkitError, match=r"poses\.npy holds float16, not float32"):
        load_clips(clips.root)
    (tmp_path / "poses.npy").write_bytes(b"")
    with pytest.raises(MgkitError, match=r"poses\.npy cannot be read"):
        load_clips(clips.root)


@pytest.mark.parametrize("typed", ["Touch Face", "touch_face", "touch-face", "tuch face", "touch  face"])
def test_a_mistyped_class_is_answered_with_the_one_meant(typed: str) -> None:
    classes = Classes(("touch face", "nod", "摸脸"))
    with pytest.raises(MgkitError, match=f"there is no class '{typed}': did you mean 'touch face'\\?"):
        classes.index(typed)


def test_a_class_that_is_like_none_is_answered_with_all_of_them() -> None:
    with pytest.raises(MgkitError, match="no class 'waltz'; the classes are touch face, nod"):
        Classes(("touch face", "nod")).index("waltz")


def test_classes_know_their_background() -> None:
    classes = Classes(("a", "b", "c"), ("x", "x", "y"), non_gesture=2, background=1)
    assert Classes.from_dict(classes.to_dict()) == classes
    assert classes.without_background() == Classes(("a", "c"), ("x", "y"), non_gesture=1)
    assert Classes(("a", "b"), non_gesture=1, background=1).without_background() == Classes(("a",))
    assert Classes(("a",)).without_background() == Classes(("a",))
    with pytest.raises(MgkitError, match='here: "background" must be a class number'):
        Classes.from_dict({"names": ["a"], "background": "a"}, "here")
    with pytest.raises(MgkitError, match="the background class is 1, outside 0 to 0"):
        Classes(("a",), background=1)
