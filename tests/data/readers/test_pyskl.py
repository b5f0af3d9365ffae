from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.readers.pyskl import load_pickle, read_classes, read_pyskl
from mgkit.errors import MgkitError
from mgkit.files import write_json


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


class _Hostile:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("hostile-was-here"),))


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "x.pkl", [annotation("a", extra=_Hostile())])
    with pytest.raises(
        MgkitError, match=r"x\.pkl was not read: it asks for .*pathlib.*nothing of it was run"
    ):
        load_pickle(path)
    assert not (tmp_path / "hostile-was-here").exists()


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
    assert [c.split for c in read_pyskl(path, skeleton="penn13").clips] == ["all", "all"]


def test_folds_beside_train_and_test_need_a_choice(tmp_path: Path) -> None:
    split = {"train": ["a", "b"], "test": ["c"], "fold0": ["a", "c"]}
    path = write(tmp_path / "x.pkl", [annotation(n) for n in "abc"], split)
    with pytest.raises(
        MgkitError, match="clip 'a' stands in the splits 'train' and 'fold0'; name the disjoint"
    ):
        read_pyskl(path, skeleton="penn13")
    data = read_pyskl(path, skeleton="penn13", splits=("train", "test"))
    assert {c.clip_id: c.split for c in data.clips} == {"a": "train", "b": "train", "c": "test"}
    data = read_pyskl(path, skeleton="penn13", splits=("fold0",))
    assert [n["clip_id"] for n in data.report if n["what"] == "in no split"] == ["b"]
    with pytest.raises(MgkitError, match="has no split dev; it has train, test, fold0"):
        read_pyskl(path, skeleton="penn13", splits=("dev",))


@pytest.mark.parametrize(
    ("annotations", "split", "message"),
    [
        ([annotation("a"), annotation("a")], {"t": ["a"]}, "'a' stands twice .second time in annotation 1"),
        ([annotation("a")], {"t": ["a", "z"]}, r"1 clips are listed in a split but have no annotation \(z\)"),
        ([annotation("a", 5)], {"t": ["a"]}, "label 5, outside the 2 classes"),
        ([annotation("a", -1)], {"t": ["a"]}, "label -1, outside"),
        ([annotation("a", keypoint=np.zeros((1, 6, 17, 2)))], {"t": ["a"]}, r"has shape \(1, 6, 17, 2\)"),
        ([annotation("a", keypoint=np.zeros((1, 0, 13, 2)))], {"t": ["a"]}, "has shape"),
        ([annotation("a", img_shape=None, original_shape=None)], {"t": ["a"]}, "has no 'img_shape'"),
        ([{"frame_dir": "a"}], {"t": ["a"]}, "annotation 0 lacks"),
        ([], {}, "has no clips"),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, annotations: Any, split: Any, message: str) -> None:
    path = write(tmp_path / "x.pkl", annotations, split)
    with pytest.raises(MgkitError, match=message):
        read_pyskl(path, skeleton="penn13", classes=["one", "two"])


def test_meta_file_gives_classes_and_layout(source: Path) -> None:
    with pytest.raises(MgkitError, match="does not say which joints its 13 key-points are"):
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
    with pytest.raises(MgkitError, match=r"v has no video for 1 of 2 clips of x\.pkl: b"):
        read_pyskl(source, skeleton="penn13", videos=tmp_path / "v")
    with pytest.raises(MgkitError, match="there is no video folder"):
        read_pyskl(source, skeleton="penn13", videos=tmp_path / "w")


def test_class_files(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("\ufeffjump\r\nrun é\r\n\r\n".encode())
    assert read_classes(tmp_path / "c.txt") == ["jump", "run é"]
    write_json(tmp_path / "c.json", {"classes": ["x"]})
    assert read_classes(tmp_path / "c.json") == ["x"]
    write_json(tmp_path / "d.json", {"names": ["x"]})
    with pytest.raises(MgkitError, match="no list of class names"):
        read_classes(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("name", "layout", "splits", "clips"),
    [
        ("penn_action", "penn13", None, 2326),
        ("robot6_body25", "body25", ("train", "test"), 272),
        ("hmdb5_holistic75", "holistic75", None, 5),
        ("webcam3_holistic75", "holistic75", None, 180),
    ],
)
def test_real_files_load(sample_dir: Path, name: str, layout: str, splits: Any, clips: int) -> None:
    # Their meta files name the joints in other words than ours, so the layout is given.
    data = read_pyskl(sample_dir / f"{name}.pkl", skeleton=layout, splits=splits)
    assert len(data.clips) == clips
    assert all(c.pose is not None and np.isfinite(c.pose()[..., 2]).any() for c in data.clips[:20])
