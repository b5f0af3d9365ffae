"""Each reader on raw folders that `tests.made.trees` makes, whose truth is known, and through `prepare`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.readers import RawDataset
from mgkit.data.readers.imigue import read_imigue
from mgkit.data.readers.ma52 import read_ma52
from mgkit.data.readers.smg import read_smg
from mgkit.errors import MgkitError
from tests.data.corrupt import corrupt
from tests.made.trees import write_imigue, write_ma52, write_smg

POINTS_22 = [*range(8), *range(15, 19), *range(99, 116, 4), *range(120, 137, 4)]


@pytest.fixture(scope="module")
def imigue(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_imigue(tmp_path_factory.mktemp("raw") / "imigue", train=1, val=1, test=1, gestures=2)


@pytest.fixture(scope="module")
def smg(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_smg(tmp_path_factory.mktemp("raw") / "smg", train=1, test=1, gestures=2, first_frame=1)


@pytest.fixture(scope="module")
def ma52(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_ma52(tmp_path_factory.mktemp("raw") / "ma52", train=3, val=1, test=1)


def check(
    data: RawDataset, tree: Any, pick: list[int] | None = None, labels_of: tuple[str, ...] = ("train", "val")
) -> None:
    clips = {clip.clip_id: clip for clip in data.clips}
    assert sorted(clips) == sorted(truth.clip_id for truth in tree.clips)
    for truth in tree.clips:
        clip = clips[truth.clip_id]
        assert clip.split == truth.split
        assert clip.video == tree.files[truth.source]["video"]
        assert (clip.start, clip.end or truth.end) == (truth.start, truth.end)
        if truth.split in labels_of:
            assert clip.label == truth.label
        wanted = tree.poses[truth.source][truth.start : truth.end]
        wanted = wanted if pick is None else wanted[:, pick]
        assert clip.pose is not None
        pose = clip.pose()
        np.testing.assert_allclose(
            np.nan_to_num(pose[0]), np.where(wanted[..., 2:] > 0, wanted, 0), atol=1e-3
        )


@pytest.mark.slow
def test_imigue_from_spreadsheets(imigue: Any, tmp_path: Path) -> None:
    data = read_imigue(imigue.root, cache=tmp_path)
    check(data, imigue, POINTS_22)
    check(read_imigue(imigue.root, cache=tmp_path, points=137), imigue)
    assert {entry["what"] for entry in data.report} == {"test labels"}
    assert len(list(tmp_path.glob("*.npy"))) == len(imigue.frames)


@pytest.mark.slow
def test_imigue_from_light_hand_files_with_hands_the_wrong_way_round(imigue: Any) -> None:
    data = read_imigue(imigue.root, keypoints="light_hand")
    right = total = 0
    for clip in data.clips:
        assert clip.pose is not None
        pose = np.nan_to_num(clip.pose()[0])
        wanted = imigue.poses[clip.clip_id[:4]][clip.start : clip.end][:, POINTS_22]
        np.testing.assert_allclose(
            pose[:, :12], np.where(wanted[:, :12, 2:] > 0, wanted[:, :12], 0), atol=1e-3
        )
        agree = np.abs(pose[:, 12:] - wanted[:, 12:])[..., :2].max((1, 2)) < 0.01
        right, total = right + agree.sum(), total + len(agree)
    # Half of the frames are swapped in the file. Hands that lie in each other cannot all be distinguished.
    assert right / total > 0.9


def test_smg(smg: Any) -> None:
    check(read_smg(smg.root, frame_base=1), smg, labels_of=("train", "test"))


def test_ma52(ma52: Any) -> None:
    data = read_ma52(ma52.root)
    check(data, ma52)
    assert {clip.subject for clip in data.clips} == {truth.subject for truth in ma52.clips}


@pytest.mark.parametrize(
    ("name", "options"), [("imigue", {"points": 25}), ("smg", {"frame_base": 1, "classes": 16}), ("ma52", {})]
)
def test_the_whole_way_into_a_clip_folder(
    name: str, options: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tree = request.getfixturevalue(name)
    clips = mg.prepare(name, tree.root, tmp_path / "out é", size=64, workers=1, progress=False, **options)
    truths = [truth for truth in tree.clips if name != "smg" or truth.label < 16]
    assert clips.ids == sorted(truth.clip_id for truth in truths)
    assert clips.has_video
    assert clips.has_pose
    for truth in truths:
        assert clips.row(truth.clip_id)["frames"] == truth.end - truth.start


def test_a_second_preparation_converts_nothing(
    imigue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgkit.data.readers import tables as sheets

    conversions: list[Path] = []
    convert: Callable[[Path], Any] = sheets._read_xlsx
    monkeypatch.setattr(sheets, "_read_xlsx", lambda path: conversions.append(path) or convert(path))
    sheets._read.cache_clear()
    for size in (64, 64):
        mg.prepare("imigue", imigue.root, tmp_path / "out", size=size, workers=1, progress=False)
        sheets._read.cache_clear()
    assert len(conversions) == len(imigue.frames)
    (tmp_path / "out" / "clips.parquet").unlink()
    mg.prepare("imigue", imigue.root, tmp_path / "out", size=64, workers=1, progress=False)
    assert len(conversions) == len(imigue.frames)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imigue", "smg", "ma52"])
def test_whatever_breaks_is_told_or_refused(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    read: dict[str, Callable[..., RawDataset]] = {"imigue": read_imigue, "smg": read_smg, "ma52": read_ma52}
    source = request.getfixturevalue(name).root
    options = {"keypoints": "light_hand"} if name == "imigue" else {}
    refused = 0
    for seed in range(30):
        root = tmp_path / str(seed)
        shutil.copytree(source, root)
        fault = corrupt(root, seed)
        messages = []
        try:
            data = read[name](root, **options)
        except MgkitError as error:
            messages.append(str(error))
        else:
            for clip in data.clips:
                try:
                    if clip.pose and (clip.end is None or 0 <= clip.start < clip.end):
                        assert clip.pose().ndim == 4
                        assert clip.notes is None or isinstance(clip.notes(), list)
                except MgkitError as error:
                    messages.append(str(error))
        assert all(str(root) in message for message in messages), (fault, messages)
        refused += bool(messages)
        shutil.rmtree(root)
    assert refused
