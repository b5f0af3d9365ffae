"""Packing: frame k of the bytes is frame k of the video, key-points are untouched, and the cache keeps its bound."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from mgkit.data.clips import Clips, load_clips
from mgkit.data.table import Rows
from mgkit.errors import MgkitError
from mgkit.views.widgets.player import packing as module
from mgkit.views.widgets.player.packing import PackCache, Packed, pack_clip, pack_heatmaps
from tests.player_clips import FRAMES, HEIGHT, WIDTH, number_of


def pictures(packed: Packed) -> list[np.ndarray]:
    """The JPEGs of a packed clip, decoded (H, W, 3) RGB."""
    starts = packed.meta["jpegs"]
    parts = [packed.data[a:b] for a, b in pairwise(starts)]
    return [cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for part in parts]


def points(packed: Packed) -> np.ndarray:
    offset, *shape = packed.meta["pose"]
    count = int(np.prod(shape)) * 3
    return np.frombuffer(packed.data, "<f4", count, offset).reshape(*shape, 3)


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("clip_id", ["a", "b", "d"])
def test_frame_k_is_frame_k(
    player_clips: Clips, clip_id: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    packed = pack_clip(player_clips, clip_id)
    found = pictures(packed)
    assert [number_of(picture) for picture in found] == list(range(FRAMES[clip_id]))
    assert {picture.shape for picture in found} == {(HEIGHT, WIDTH, 3)}
    assert packed.meta["jpegs"][-1] == len(packed.data)
    assert packed.meta["problems"] == []


def test_colours_are_kept(player_clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    red = np.zeros((1, 64, 96, 3), np.uint8)
    red[..., 0] = 200
    monkeypatch.setattr("mgkit.data.video.read_frames", lambda path, indices: red.repeat(len(indices), 0))
    picture = pictures(pack_clip(player_clips, "a"))[7]
    assert np.abs(picture.astype(int) - red[0]).max() < 12


@pytest.mark.parametrize("clip_id", ["a", "b", "c"])
def test_key_points_are_untouched(player_clips: Clips, clip_id: str) -> None:
    packed = pack_clip(player_clips, clip_id)
    np.testing.assert_array_equal(points(packed), player_clips.pose(clip_id))
    assert np.isnan(points(packed)[0, 3, 1]).all()


def test_clips_without_video_without_pose_and_without_a_rate(player_clips: Clips) -> None:
    assert pack_clip(player_clips, "c").meta["jpegs"] is None
    meta = pack_clip(player_clips, "d").meta
    assert (meta["pose"], meta["fps"]) == (None, None)


def test_a_clip_with_nothing_to_show_says_so(player_clips: Clips) -> None:
    from dataclasses import replace

    table = player_clips.table.assign(video="", persons=0, pose_offset=-1)
    packed = pack_clip(replace(player_clips, rows=Rows(table)), "a")
    assert packed.data == b""
    assert packed.meta["problems"] == ["Clip a has neither a video nor a pose to show."]


def test_large_frames_are_made_smaller_and_key_points_are_not(player_clips: Clips) -> None:
    packed = pack_clip(player_clips, "a", longest=48)
    found = pictures(packed)
    assert found[0].shape == (32, 48, 3)
    assert [number_of(picture) for picture in found] == list(range(40))
    assert (packed.meta["width"], packed.meta["height"]) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(points(packed), player_clips.pose("a"))


def test_a_long_clip_is_cut_and_says_so(player_clips: Clips) -> None:
    packed = pack_clip(player_clips, "b", limit=10)
    assert [number_of(picture) for picture in pictures(packed)] == list(range(10))
    np.testing.assert_array_equal(points(packed), player_clips.pose("b")[:, :10])
    assert (packed.meta["frames"], packed.meta["total"]) == (10, 24)
    assert packed.meta["problems"] == [
        "Only the first 10 of 24 frames are shown: raise max_frames to see them all."
    ]


@pytest.mark.parametrize("damage", ["gone", "noise", "cut", "short"])
def test_a_broken_video_is_a_sentence_and_the_pose_remains(
    player_clips: Clips, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(player_clips.root, tmp_path / "clips")
    clips = load_clips(tmp_path / "clips")
    path = tmp_path / "clips" / "videos" / "a.mp4"
    if damage == "gone":
        path.unlink()
    elif damage == "noise":
        path.write_bytes(b"this is not a video" * 50)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    else:  # a video of fewer frames than the table says
        shutil.copy(tmp_path / "clips" / "videos" / "d.mp4", path)
    packed = pack_clip(clips, "a")
    (problem,) = packed.meta["problems"]
    assert str(path) in problem
    assert problem.endswith(".") or ":" in problem
    assert "Traceback" not in problem
    assert packed.meta["jpegs"] is None
    np.testing.assert_array_equal(points(packed), clips.pose("a"))


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_is_checked(player_clips: Clips, quality: int) -> None:
    with pytest.raises(MgkitError, match="1 \\(worst\\) to 100"):
        pack_clip(player_clips, "a", quality=quality)


def test_better_quality_is_larger_and_closer(player_clips: Clips) -> None:
    small, large = (pack_clip(player_clips, "a", quality=q) for q in (30, 95))
    assert len(small.data) < len(large.data)


def test_heatmaps_come_back_exactly() -> None:
    maps = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 9), dtype=np.uint8)
    packed = pack_heatmaps(maps)
    assert packed.meta == {"count": 5, "width": 9, "height": 7}
    sheet = cv2.imdecode(np.frombuffer(packed.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(sheet.reshape(5, 7, 9, 3).transpose(3, 0, 1, 2), maps)


def test_the_cache_keeps_the_most_recently_used_within_its_bound() -> None:
    made: list[str] = []

    def get(key: str, size: int = 40) -> Packed:
        def make() -> Packed:
            made.append(key)
            return Packed({}, bytes(size))

        return cache.get(key, make)

    cache = PackCache(100)
    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
        assert cache.size <= 100
    assert made == ["a", "b", "c", "b"], "a was used last when c came, so b had to go"
    assert len(get("huge", 500).data) == 500
    assert (len(cache), cache.size) == (0, 0)
    assert get("a").data == bytes(40)
    assert made[-1] == "a"
