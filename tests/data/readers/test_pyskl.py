from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.clips import Classes, Clips, load_clips, write_clip_folder
from mgkit.data.readers import pose_notes
from mgkit.data.readers.pyskl import find_videos, read_classes, read_pyskl, write_pyskl
from mgkit.data.skeletons import IMIGUE22, Skeleton
from mgkit.errors import MgkitError
from mgkit.files import read_json, write_json
from mgkit.pickles import load_pickle


def annotation(name: str = "a", label: int = 0, **changes: Any) -> dict[str, Any]:
    keypoints = np.random.default_rng(0).uniform(1, 50, (1, 6, 13, 2)).astype(np.float16)
    value = {
        "frame_dir": name, "label": label, "total_frames": 6, "img_shape": (60, 80), "original_shape": (60, 80),
        "keypoint": keypoints, "keypoint_score": np.full((1, 6, 13), 0.5, np.float16),
    }  # fmt: skip
    return {**value, **changes}


def write(
    path: Path, annotations: list[Any], split: dict[str, list[str]] | None = None, protocol: int = 4
) -> Path:
    content: Any = {"annotations": annotations}
    if split is not None:
        content["split"] = split
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "x.pkl", [annotation("a"), annotation("b", 1)], {"train": ["a"], "test": ["b"]})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    path = write(tmp_path / "x.pkl", [annotation("a", np.int64(1))], {"train": ["a"]}, protocol)
    data = read_pyskl(path, skeleton="penn13")
    assert data.clips[0].pose is not None
    assert data.clips[0].pose().shape == (1, 6, 13, 3)
    assert data.clips[0].size == (80, 60)


def test_files_of_numpy_1_are_read(source: Path) -> None:
    old = source.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    # The opcode before the name holds its length, one byte less now.
    old = old.replace(b"\x8c\x16numpy.core.multiarray", b"\x8c\x15numpy.core.multiarray")
    source.write_bytes(old[:3] + (int.from_bytes(old[3:11], "little") - 1).to_bytes(8, "little") + old[11:])
    assert len(read_pyskl(source, skeleton="penn13").clips) == 2


def test_damaged_pickles_are_named(source: Path) -> None:
    whole = source.read_bytes()
    for damaged in (b"", whole[:50], b"not a pickle", whole[: len(whole) // 2]):
        source.write_bytes(damaged)
        with pytest.raises(MgkitError, match=r"x\.pkl"):
            read_pyskl(source, skeleton="penn13")
    with pytest.raises(MgkitError, match=r"none\.pkl cannot be read"):
        read_pyskl(source.parent / "none.pkl", skeleton="penn13")


def test_missing_joints_are_missing(tmp_path: Path) -> None:
    a = annotation("a")
    a["keypoint_score"][0, 0, 0] = 0
    a["keypoint"][0, 1, 1] = 0
    a["keypoint"][0, 2, 2, 0] = np.nan
    data = read_pyskl(write(tmp_path / "x.pkl", [a], {"train": ["a"]}), skeleton="penn13")
    assert data.clips[0].pose is not None
    pose = data.clips[0].pose()
    unseen = np.isnan(pose).all(-1)
    assert {tuple(i) for i in np.argwhere(unseen)} == {(0, 0, 0), (0, 1, 1), (0, 2, 2)}
    assert pose.dtype == np.float32


def test_no_scores_means_seen(tmp_path: Path) -> None:
    a = annotation("a")
    del a["keypoint_score"]
    data = read_pyskl(write(tmp_path / "x.pkl", [a], {"train": ["a"]}), skeleton="penn13")
    assert data.clips[0].pose is not None
    assert (data.clips[0].pose()[..., 2] == 1).all()


def test_a_bare_list_is_one_split(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([annotation("a"), annotation("b")]))
    for split in ("a bare list", None, {}):
        if split != "a bare list":
            path.write_bytes(
                pickle.dumps({"annotations": [annotation("a"), annotation("b")], "split": split})
            )
        data = read_pyskl(path, skeleton="penn13")
        assert [c.split for c in data.clips] == ["all", "all"]
        assert ("no splits", "x.pkl names none: every clip is in the split 'all'") in [
            (n["what"], n["detail"]) for n in data.report
        ]


def test_folds_beside_train_and_test_need_a_choice(tmp_path: Path) -> None:
    split = {"train": ["a", "b"], "test": ["c"], "fold0": ["a", "c"]}
    path = write(tmp_path / "x.pkl", [annotation(n) for n in "abc"], split)
    with pytest.raises(MgkitError, match="clip 'a' is in the splits 'train' and 'fold0'; name the disjoint"):
        read_pyskl(path, skeleton="penn13")
    data = read_pyskl(path, skeleton="penn13", splits=("train", "test"))
    assert {c.clip_id: c.split for c in data.clips} == {"a": "train", "b": "train", "c": "test"}
    assert len(read_pyskl(path, skeleton="penn13", splits="train,test").clips) == 3
    data = read_pyskl(path, skeleton="penn13", splits=("fold0",))
    assert [n["clip_id"] for n in data.report if n["what"] == "in no split"] == ["b"]
    with pytest.raises(MgkitError, match="has no split dev; it has train, test, fold0"):
        read_pyskl(path, skeleton="penn13", splits=("dev",))


@pytest.mark.parametrize(
    ("annotations", "split", "message"),
    [
        ([annotation("a"), annotation("a")], {"t": ["a"]}, "'a' occurs twice .second time in annotation 1"),
        ([annotation("a")], {"t": ["a", "z"]}, r"no annotation of 1 clip that its splits list \(z\)"),
        ([annotation("a", 5)], {"t": ["a"]}, "label 5, outside the 2 classes"),
        ([annotation("a", -1)], {"t": ["a"]}, "label -1, outside"),
        (
            [annotation("a"), annotation("b"), annotation("c", keypoint=np.zeros((1, 6, 17, 2)))],
            {"t": ["a", "b", "c"]},
            r"'keypoint' of clip 'c' has shape \(1, 6, 17, 2\); the layout penn13 asks for \(persons, frames, 13, 2\)",
        ),
        ([{"frame_dir": "a"}], {"t": ["a"]}, "annotation 0 lacks"),
        ([], {}, "has no clips"),
        (
            [annotation("a", img_shape=("60", "80"))],
            {"t": ["a"]},
            r"'img_shape' of clip 'a' is \('60', '80'\):",
        ),
        (
            [annotation("a", img_shape="60x80")],
            {"t": ["a"]},
            "'img_shape' of clip 'a' is '60x80': it must be two",
        ),
        ([annotation("a", img_shape=(60,))], {"t": ["a"]}, "'img_shape' of clip 'a' is"),
        ([annotation("a", img_shape=(0, 80))], {"t": ["a"]}, "'img_shape' of clip 'a' is"),
        ([annotation("a", img_shape=((60, 80), 1))], {"t": ["a"]}, "'img_shape' of clip 'a' is"),
        (
            [annotation("a", img_shape=None, original_shape=["h", "w"])],
            {"t": ["a"]},
            "'original_shape' of clip 'a' is",
        ),
        (
            [annotation("a")],
            [["a"]],
            "'split' is a list, not a dictionary .name: .frame_dir, ...... write it so",
        ),
        ([annotation("a")], "train", "'split' is a str, not a dictionary"),
        ([annotation("a")], {"train": "a"}, "the split 'train' is not a list of clip ids"),
        ([annotation("a")], {"": ["a"]}, r"x\.pkl: 'split' has a split without a name \(''\): name it"),
        ([annotation("a")], {"train": {"a": 1}}, "the split 'train' is not a list of clip ids"),
        ([annotation("a")], {"train": [0]}, "the split 'train' is not a list of clip ids"),
        ([annotation("a")], {"train": []}, r"the splits taken \(train\) list no clip"),
        ([annotation("a", 1.0)], {"t": ["a"]}, "'label' of clip 'a' is 1.0, not a whole number"),
        ([annotation("a", "one")], {"t": ["a"]}, "'label' of clip 'a' is 'one', not a whole number"),
        ([annotation("a", True)], {"t": ["a"]}, "'label' of clip 'a' is True, not a whole number"),
        ([annotation("../a")], {"t": ["../a"]}, "use a name without '..'"),
        ([annotation("/a")], {"t": ["/a"]}, "use a name without '..'"),
        ([annotation(7)], {"t": ["a"]}, "'frame_dir' of annotation 0 is 7"),  # type: ignore[arg-type]
        (
            [annotation("a", keypoint=None)],
            {"t": ["a"]},
            "nobody was seen in any clip: 'keypoint' .* frame_dir, lab",
        ),
        ([annotation("a", keypoint=[[1], [2, 3]])], {"t": ["a"]}, r"has shape \(\)"),
        (
            [annotation("a", keypoint=np.full((1, 6, 13, 2), "x"))],
            {"t": ["a"]},
            "'keypoint' of clip 'a' does not hold numb",
        ),
        (
            [annotation("a", keypoint_score=np.ones((1, 6, 12)))],
            {"t": ["a"]},
            "'keypoint_score' of clip 'a' has",
        ),
        (["a"], {"t": ["a"]}, "annotation 0 lacks"),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, annotations: Any, split: Any, message: str) -> None:
    path = write(tmp_path / "x.pkl", annotations, split)
    with pytest.raises(MgkitError, match=message):
        read_pyskl(path, skeleton="penn13", classes=["one", "two"])


def test_meta_file_gives_classes_and_layout(source: Path) -> None:
    with pytest.raises(MgkitError, match="does not name the joints of its 13 key-points"):
        read_pyskl(source)
    write_json(source.with_suffix(".meta.json"), {"classes": ["jump", "run"], "skeleton": "penn13"})
    data = read_pyskl(source)
    assert data.classes.names == ("jump", "run")
    assert not data.report
    source.with_suffix(".meta.json").unlink()
    data = read_pyskl(source, skeleton="penn13")
    assert data.classes.names == ("class 0", "class 1")
    assert "class names" in [n["what"] for n in data.report]


def test_missing_videos_are_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").write_bytes(b"")
    (tmp_path / "v" / "c.mp4").write_bytes(b"")
    with pytest.raises(
        MgkitError, match=r"v has no video for 1 of 2 clips of x\.pkl: b\. Looked for b\.mp4 .*no clip: c"
    ):
        read_pyskl(source, skeleton="penn13", videos=tmp_path / "v")
    with pytest.raises(MgkitError, match="there is no video folder"):
        read_pyskl(source, skeleton="penn13", videos=tmp_path / "w")


@pytest.mark.parametrize(
    "name", ["a.MP4", "sub/deep/a.mkv", "a_rgb.avi", "A_RGB.AVI", "S1/a_color.mov", "a.m4v", "a_Video.wmv"]
)
def test_a_video_is_found_whatever_its_place_and_capital_letters(
    source: Path, tmp_path: Path, name: str
) -> None:
    for one in (name, "b.mp4", "b_depth.mp4"):
        (tmp_path / "v" / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / one).write_bytes(b"")
    data = read_pyskl(source, skeleton="penn13", videos=tmp_path / "v", classes=["one", "two"])
    assert [clip.video for clip in data.clips] == [tmp_path / "v" / name, tmp_path / "v" / "b.mp4"]
    assert ("no pose", "no annotation of 1 video of v (b_depth.mp4): not used") in [
        (n["what"], n["detail"]) for n in data.report
    ]


def test_the_nearest_name_is_taken_and_two_alike_are_refused(tmp_path: Path) -> None:
    def made(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            path.write_text(path.name)
        return paths

    found = find_videos(
        ["a", "x/b", "C"], tmp_path, made("a.mp4", "a_rgb.mp4", "old/a.mp4", "b.mp4", "c.mp4", "C.mp4"), []
    )
    assert {key: str(path.relative_to(tmp_path)) for key, path in found.items()} == {
        "a": "a.mp4", "x/b": "b.mp4", "C": "C.mp4",
    }  # fmt: skip
    with pytest.raises(
        MgkitError, match=r"p/d\.mp4 and .*q/d\.avi have the same name but not the same content"
    ):
        find_videos(["d"], tmp_path, made("p/d.mp4", "q/d.avi"), [])
    with pytest.raises(MgkitError, match=r"e\.mp4 would be the video of 2 clips \(x/e, y/e\)"):
        find_videos(["x/e", "y/e"], tmp_path, made("e.mp4"), [])


def test_videos_without_a_clip_are_told(source: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.avi", "c.mp4", "notes.txt"):
        (tmp_path / "v é" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "v é" / name).write_bytes(b"")
    data = read_pyskl(source, skeleton="penn13", videos=tmp_path / "v é", classes=["one", "two"])
    assert [clip.video.name for clip in data.clips if clip.video] == ["a.mp4", "b.avi"]
    assert [n["detail"] for n in data.report] == ["no annotation of 1 video of v é (c.mp4): not used"]


def test_stray_labels_without_class_names_are_loud(tmp_path: Path) -> None:
    usual = [annotation(f"c{i}", i) for i in (0, 1, 2, 4)]
    data = read_pyskl(write(tmp_path / "x.pkl", usual), skeleton="penn13")
    assert len(data.classes) == 5
    detail = {n["what"]: n["detail"] for n in data.report}["classes without clips"]
    assert detail.startswith("label 3 has no clip, but becomes a class because clip 'c4' has label 4")
    stray = [*usual, annotation("stray", 7000)]
    path = write(tmp_path / "x.pkl", stray)
    with pytest.raises(
        MgkitError, match="clip 'stray' has label 7000, but its clips have only 5 labels .*--classes"
    ):
        read_pyskl(path, skeleton="penn13")
    with pytest.raises(MgkitError, match="clip 'stray' has label 7000, outside the 5 classes"):
        read_pyskl(path, skeleton="penn13", classes=list("abcde"))


def test_key_points_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    a = annotation("a", total_frames=7)
    a["keypoint"][0, 2, 2, 0] = np.nan
    a["keypoint"][0, 3, 2] = np.inf
    data = read_pyskl(write(tmp_path / "x.pkl", [a], {"t": ["a"]}), skeleton="penn13", classes=["one"])
    assert [(n["what"], n["detail"], n["clip_id"]) for n in data.report] == [
        ("frame count", "total_frames is 7, and 'keypoint' has 6 poses", "a"),
        ("empty cells", "2 points without a finite number: not seen", "a"),
    ]


@pytest.mark.parametrize("shape", [(60, 80), [60, 80], (60, 80, 3), np.array([60, 80]), (60.0, 80.0)])
def test_frame_sizes_of_every_kind(tmp_path: Path, shape: Any) -> None:
    path = write(tmp_path / "x.pkl", [annotation("a", img_shape=shape)], {"t": ["a"]})
    assert read_pyskl(path, skeleton="penn13").clips[0].size == (80, 60)


def test_split_lists_as_arrays(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pkl", [annotation("a"), annotation("b")], {"t": np.array(["a", "b"])})  # type: ignore[dict-item]
    assert len(read_pyskl(path, skeleton="penn13").clips) == 2


def test_a_layout_in_the_meta_file(source: Path) -> None:
    joints = ["head", *(f"{side}_{i}" for i in range(6) for side in ("left", "right"))]
    meta: dict[str, Any] = {"joints": joints, "skeleton": [[0, 1], [0, 2]], "classes": ["x", "y"]}
    write_json(source.with_suffix(".meta.json"), meta)
    data = read_pyskl(source)
    assert data.skeleton.edges == ((0, 1), (0, 2))
    assert data.skeleton.pairs == tuple((i, i + 1) for i in range(1, 13, 2))
    assert data.report[0]["detail"] == "x.pkl: 13 joints, 2 edges and 6 left/right pairs by its meta file"
    write_json(source.with_suffix(".meta.json"), [])
    with pytest.raises(MgkitError, match=r"x\.meta\.json must be an object"):
        read_pyskl(source)


def test_scores_that_are_none_are_told(tmp_path: Path) -> None:
    """Per cent instead of shares, and NaN where a joint was lost."""
    lost = np.full((1, 6, 13), 0.5, np.float32)
    lost[0, 2:4, 5] = np.nan
    high = np.full((1, 6, 13), 87, np.int64)
    source = write(
        tmp_path / "x.pkl", [annotation("a", keypoint_score=lost), annotation("b", keypoint_score=high)]
    )
    data = read_pyskl(source, skeleton="penn13")
    assert [(n["what"], n["detail"], n["clip_id"]) for n in data.report if n["clip_id"]] == [
        ("empty cells", "2 points without a finite number: not seen", "a"),
        ("scores above 1", "78 of 78 scores, up to 87: taken as 1", "b"),
    ]
    assert data.clips[0].pose is not None
    assert np.isnan(data.clips[0].pose()[0, 2:4, 5]).all()


def test_labels_from_one_are_recognised(tmp_path: Path) -> None:
    source = write(tmp_path / "x.pkl", [annotation("a", 1), annotation("b", 2)])
    with pytest.raises(
        MgkitError, match=r"'b' has label 2, outside the 2 classes: labels count from 0.*subtract 1"
    ):
        read_pyskl(source, skeleton="penn13", classes=["x", "y"])
    with pytest.raises(MgkitError, match="outside the 2 classes: correct it, or"):
        read_pyskl(
            write(source, [annotation("a", 0), annotation("b", 2)]), skeleton="penn13", classes=["x", "y"]
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", b"\xef\xbb\xbfwave\r\n\r\nnod head 2\r\n"),
        ("c.txt", "wave\nnod head 2\n".encode("utf-16")),
        ("c.txt", b"0 wave\n1 nod head 2\n"),
        ("c.csv", b"id,name\n1,nod head 2\n0,wave\n"),
        ("c.csv", b'"1";"wave"\n"2";"nod head 2"\n'),
        ("c.csv", b"wave,0\nnod head 2,1\n"),
        ("c.json", b'{"nod head 2": 1, "wave": 0}'),
        ("c.json", b'{"classes": {"0": "wave", "1": "nod head 2"}}'),
    ],
)
def test_class_names_beside_their_numbers(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_classes(tmp_path / name) == ["wave", "nod head 2"]


@pytest.mark.parametrize(
    "names", [["class 0", "class 1"], ["walk", "step 0", "step 1"], ["3 nods", "99 nods"]]
)
def test_numbers_that_belong_to_class_names(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "c.txt").write_text("\n".join(names))
    assert read_classes(tmp_path / "c.txt") == names


@pytest.mark.parametrize("content", ['[{"name": "wave"}]', '{"classes": 3}', '{"wave": 5}', "[]"])
def test_what_is_no_list_of_class_names(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(
        MgkitError, match=r"c\.json does not hold a list of class names: write one name per line"
    ):
        read_classes(tmp_path / "c.json")


def test_ids_with_the_folders_of_windows_find_their_videos(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.mp4").touch()
    found = find_videos(["train\\a"], tmp_path, [tmp_path / "train" / "a.mp4"], [])
    assert found == {"train\\a": tmp_path / "train" / "a.mp4"}


def test_a_remark_on_groups_in_the_meta_file_is_told(source: Path) -> None:
    meta = {"skeleton": "penn13", "classes": ["x", "y"], "groups": "splits are disjoint by recording"}
    write_json(source.with_suffix(".meta.json"), meta)
    data = read_pyskl(source)
    assert data.classes.names == ("x", "y")
    assert data.classes.groups is None
    told = '"groups" of x.meta.json is a text, not a list of one name per class: no groups of classes'
    assert {"what": "class groups", "detail": told, "clip_id": ""} in data.report
    write_json(source.with_suffix(".meta.json"), meta | {"groups": [1, 2]})
    with pytest.raises(MgkitError, match='"groups" must be a list of names'):
        read_pyskl(source)


@pytest.fixture
def folder(tmp_path: Path) -> Clips:
    """Two clips with key-points, one of them of two persons, and one without."""
    rng = np.random.default_rng(0)
    rows, poses = [], []
    for i, (name, persons) in enumerate((("a", 1), ("b é", 2), ("c", 0))):
        rows.append(
            {
                "clip_id": name, "split": ("train", "test", "train")[i], "label": i % 2, "subject": f"s{i}",
                "source": name, "start": 0, "end": 5, "frames": 5, "fps": 25.0, "width": 64, "height": 48, "video": "",
                "persons": persons, "crop_x": 0.0, "crop_y": 0.0, "crop_width": 64.0, "crop_height": 48.0,
            }
        )  # fmt: skip
        pose = rng.uniform(0.1, 1, (persons, 5, 22, 3)).astype(np.float32) * np.array([60, 40, 1], np.float32)
        pose[rng.random(pose.shape[:3]) < 0.2] = np.nan
        poses.append(pose if persons else None)
    return write_clip_folder(
        tmp_path / "folder", rows, poses, Classes(("x", "y"), ("g", "g"), 1), IMIGUE22, []
    )


def test_what_is_written_comes_back(folder: Clips, tmp_path: Path) -> None:
    clips = folder.select(["a", "b é"])
    path = write_pyskl(clips, tmp_path / "out.pkl")
    data = read_pyskl(path)
    assert not data.report
    assert data.classes == folder.classes
    assert data.skeleton == IMIGUE22
    for clip in data.clips:
        row = folder.row(clip.clip_id)
        assert (clip.split, clip.label, clip.subject) == (row["split"], row["label"], row["subject"])
        assert clip.size == (64, 48)
        assert clip.pose is not None
        np.testing.assert_array_equal(clip.pose(), folder.pose(clip.clip_id))
    content = load_pickle(path)
    assert content["split"] == {"test": ["b é"], "train": ["a"]}
    kinds = {key: type(value) for key, value in content["annotations"][0].items()}
    assert kinds == {
        "frame_dir": str, "label": int, "total_frames": int, "img_shape": tuple, "original_shape": tuple,
        "keypoint": np.ndarray, "keypoint_score": np.ndarray, "subject": str,
    }  # fmt: skip
    assert np.isfinite(content["annotations"][0]["keypoint"]).all()
    assert read_json(tmp_path / "out.meta.json")["non_gesture"] == 1
    with pytest.raises(MgkitError, match="c has no pose to write: select clips that have one"):
        write_pyskl(folder, tmp_path / "out.pkl")
    assert load_clips(folder.root).ids == ["a", "b é", "c"]


def test_class_files(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("\ufeffjump\r\nrun é\r\n\r\n".encode())
    assert read_classes(tmp_path / "c.txt") == ["jump", "run é"]
    write_json(tmp_path / "c.json", {"classes": ["x"]})
    assert read_classes(tmp_path / "c.json") == ["x"]
    write_json(tmp_path / "d.json", {"names": ["x"]})
    with pytest.raises(MgkitError, match="not hold a list of class names"):
        read_classes(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("turned", "remedy"),
    [
        (
            (6, 1, 13, 2),
            r"\(6, 1, 13, 2\), and total_frames is 6; .* np.transpose\(keypoint, \(1, 0, 2, 3\)\) gives",
        ),
        ((1, 13, 6, 2), r"np.transpose\(keypoint, \(0, 2, 1, 3\)\) gives \(1, 6, 13, 2\)"),
        ((2, 6, 13, 1), r"np.transpose\(keypoint, \(3, 1, 2, 0\)\) gives"),
        ((6, 13, 2), r"has shape \(6, 13, 2\); .* give keypoint\[None\], one person"),
        ((1, 6, 13, 3), "write the third number of each joint as 'keypoint_score'"),
        ((1, 6, 12, 2), r"asks for \(persons, frames, 13, 2\)\."),
    ],
)
def test_axes_in_another_order_are_refused_with_the_way_to_turn_them(
    tmp_path: Path, turned: tuple[int, ...], remedy: str
) -> None:
    a = annotation("a", keypoint=np.random.default_rng(0).uniform(1, 50, turned), keypoint_score=None)
    others = [annotation("b"), annotation("c")]
    with pytest.raises(MgkitError, match=remedy):
        read_pyskl(write(tmp_path / "x.pkl", [a, *others]), skeleton="penn13")


def test_a_frame_more_than_stated_is_no_other_order(tmp_path: Path) -> None:
    two = annotation("a", total_frames=2, keypoint=np.ones((2, 3, 13, 2)), keypoint_score=None)
    data = read_pyskl(write(tmp_path / "x.pkl", [two]), skeleton="penn13")
    assert [n["detail"] for n in data.report if n["what"] == "frame count"] == [
        "total_frames is 2, and 'keypoint' has 3 poses"
    ]


NOBODY: dict[str, dict[str, Any]] = {
    "no persons": {"keypoint": np.zeros((0, 6, 13, 2)), "keypoint_score": np.zeros((0, 6, 13))},
    "an empty list": {"keypoint": [], "keypoint_score": []},
    "None": {"keypoint": None, "keypoint_score": None},
    "no frames": {"keypoint": np.zeros((1, 0, 13, 2)), "keypoint_score": None},
    "no size": {"keypoint": None, "keypoint_score": None, "img_shape": None, "original_shape": None},
}


@pytest.mark.parametrize("how", [*NOBODY, "no key"])
def test_a_clip_with_nobody_is_kept_as_unseen(tmp_path: Path, how: str) -> None:
    nobody = annotation("a", **NOBODY.get(how, {}))
    if how == "no key":
        del nobody["keypoint"], nobody["keypoint_score"]
    source = write(tmp_path / "x.pkl", [nobody, annotation("b")])
    clips = mg.prepare(
        "pyskl", source, tmp_path / "out", skeleton="penn13", size=32, workers=1, progress=False
    )
    assert clips.table["frames"].tolist() == [6, 6]
    assert np.isnan(clips.pose("a")).all()
    assert [n["clip_id"] for n in clips.report if n["what"] == "no person"] == ["a"]


def test_key_points_under_another_name_are_refused(tmp_path: Path) -> None:
    a = annotation("a")
    a["keypoints"] = a.pop("keypoint")
    with pytest.raises(MgkitError, match="nobody was seen in any clip: .* keypoint_score, keypoints"):
        read_pyskl(write(tmp_path / "x.pkl", [a]), skeleton="penn13")


def test_a_wrong_layout_is_said_before_the_splits(tmp_path: Path) -> None:
    folds = {"train": ["a"], "fold0": ["a"]}
    body = annotation("a", keypoint=np.ones((1, 6, 33, 2)), keypoint_score=None)
    source = write(tmp_path / "x.pkl", [body], folds)
    with pytest.raises(
        MgkitError, match=r"have 33 joints, but the layout coco17 has 17: .* \(one of mediapipe33, or"
    ):
        read_pyskl(source, skeleton="coco17")
    with pytest.raises(
        MgkitError, match=r"its 33 key-points: give .* --skeleton \(one of mediapipe33, or a .json"
    ):
        read_pyskl(source)
    with pytest.raises(MgkitError, match="name the disjoint ones"):
        read_pyskl(source, skeleton="mediapipe33")


@pytest.mark.parametrize(
    ("given", "subject"),
    [("S1", "S1"), (7, "7"), (np.int64(7), "7"), (7.0, "7"), (None, ""), (float("nan"), "")],
)
def test_subjects(tmp_path: Path, given: Any, subject: str) -> None:
    data = read_pyskl(write(tmp_path / "x.pkl", [annotation("a", subject=given)]), skeleton="penn13")
    assert data.clips[0].subject == subject


SAMPLES = [
    # file, layout, splits taken, clips, clips with odd key-points of each kind
    ("penn_action", "penn13", None, 2326, {"nobody seen": 14, "points outside the frame": 4}),
    ("robot6_body25", "body25", ("train", "test"), 272, {"points outside the frame": 141}),
    ("hmdb5_holistic75", "holistic75", None, 5, {"nobody seen": 3, "points outside the frame": 3}),
    ("webcam3_holistic75", "holistic75", None, 180, {"nobody seen": 1, "points outside the frame": 180}),
    ("grufba2hands", None, None, 1099, {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout", "splits", "clips", "odd"), SAMPLES)
def test_real_files_load_and_their_oddities_are_told(
    sample_dir: Path, name: str, layout: Any, splits: Any, clips: int, odd: dict[str, int]
) -> None:
    # Their meta files name the joints in other words than ours, so the layout is given where there is one.
    data = read_pyskl(sample_dir / f"{name}.pkl", skeleton=layout, splits=splits)
    assert len(data.clips) == clips
    counts: dict[str, int] = {}
    for clip in data.clips:
        assert clip.pose is not None
        assert clip.size is not None
        for entry in pose_notes(clip.clip_id, clip.pose(), clip.size):
            counts[entry["what"]] = counts.get(entry["what"], 0) + 1
    assert counts == odd
    assert {n["what"] for n in data.report} == (set() if layout else {"joint layout"})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout", "splits", "clips", "odd"), SAMPLES)
def test_real_files_become_clip_folders(
    sample_dir: Path, tmp_path: Path, name: str, layout: Any, splits: Any, clips: int, odd: dict[str, int]
) -> None:
    videos = sample_dir / "clips" if name.startswith("hmdb5") else None
    made = mg.prepare(
        "pyskl", sample_dir / f"{name}.pkl", tmp_path / "out", skeleton=layout, splits=splits, videos=videos,
        size=32, workers=1, progress=False,
    )  # fmt: skip
    assert len(made) == clips
    assert made.has_pose
    assert made.has_video == (videos is not None)
    counts = made.report_table().set_index("what")["how many"].to_dict()
    assert {what: counts.get(what, 0) for what in odd} == odd
    assert not [what for what in counts if what.startswith("left out")]


def test_real_folds_need_a_choice(sample_dir: Path) -> None:
    with pytest.raises(MgkitError, match="is in the splits .* name the disjoint ones to take"):
        read_pyskl(sample_dir / "robot6_body25.pkl", skeleton="body25")


def test_real_videos_are_found(sample_dir: Path) -> None:
    data = read_pyskl(sample_dir / "hmdb5_holistic75.pkl", skeleton="holistic75", videos=sample_dir / "clips")
    assert all(clip.video and clip.video.is_file() for clip in data.clips)


def test_a_layout_that_is_no_known_one(tmp_path: Path) -> None:
    hands = Skeleton("hands", ("left_hand", "right_hand"), (), ((0, 1),))
    a = annotation("a", keypoint=np.ones((1, 6, 2, 2)), keypoint_score=np.ones((1, 6, 2)))
    write_json(tmp_path / "hands.json", hands.to_dict())
    data = read_pyskl(write(tmp_path / "x.pkl", [a]), skeleton=tmp_path / "hands.json")
    assert data.skeleton == hands
