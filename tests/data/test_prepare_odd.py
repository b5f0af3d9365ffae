"""`prepare` on what is nearly right: damaged pictures, key-points out of step, a folder that cannot be written."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.prepare import prepare
from mgkit.data.readers import RawDataset, note
from mgkit.data.readers.sequences import _gaps
from tests.data.test_prepare import LABELS, film, untrimmed


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "raw data ü"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        film(folder / f"{name}.mp4", seed=seed)
    (folder / "labels.csv").write_text("\n".join(LABELS))
    return folder


def say_odd(clip_id: str) -> list[dict[str, str]]:
    return [note("odd", "as its reader found", clip_id)]


def frames_of(count: int) -> int:
    return count


def noting(source: Path) -> RawDataset:
    """`untrimmed` with notes, and key-points of 79 frames for videos of 80."""
    raw = untrimmed(source)
    clips = [
        replace(clip, notes=partial(say_odd, clip.clip_id), pose_frames=partial(frames_of, 79))
        for clip in raw.clips
    ]
    return replace(raw, clips=clips)


def test_what_a_reader_notes_is_told_once(videos: Path, tmp_path: Path) -> None:
    clips = prepare(noting, videos, tmp_path / "out", size=32, workers=1, progress=False)
    odd = Counter(entry["clip_id"] for entry in clips.report if entry["what"] == "odd")
    assert odd == Counter(clips.ids)


def test_key_points_of_another_length_than_the_video_are_told_of_once_a_video(
    videos: Path, tmp_path: Path
) -> None:
    clips = prepare(noting, videos, tmp_path / "out", size=32, workers=1, progress=False)
    told = [e["detail"] for e in clips.report if e["what"] == "video and key-points of different lengths"]
    assert len(told) == 2
    assert "b.mp4 has 80 frames, its key-points 79" in "\n".join(told)
    assert "(b_3, b_4)" in "\n".join(told)


@pytest.mark.parametrize("workers", [1, 2])
def test_pictures_that_the_decoder_patched_are_told_also_by_the_next_call(
    videos: Path, tmp_path: Path, workers: int
) -> None:
    content = bytearray((videos / "a.mp4").read_bytes())
    at = content.index(b"mdat") + 4
    for place in np.linspace(at + 600, len(content) - 50, 9).astype(int):
        content[place] ^= 0x5A
    (videos / "a.mp4").write_bytes(bytes(content))
    out = tmp_path / "out"
    clips = prepare(untrimmed, videos, out, size=32, workers=workers, progress=False, tolerated=1)
    told = {e["clip_id"]: e["detail"] for e in clips.report if e["what"] == "damaged pictures"}
    left_out = {e["clip_id"] for e in clips.report if e["what"].startswith("left out")}
    assert told
    assert set(told) | left_out <= {"a_0", "a_1", "a_2"}
    assert all("a.mp4" in detail for detail in told.values())
    (out / "clips.parquet").unlink()  # nothing is decoded again, but the table is made anew
    again = prepare(untrimmed, videos, out, size=32, workers=workers, progress=False, tolerated=1)
    assert again.report == clips.report


def test_numbers_left_out_in_a_row_of_recordings() -> None:
    assert _gaps({"Sample0001", "Sample0002", "Sample0005"}) == ["Sample0003", "Sample0004"]
    assert _gaps({"0007", "0009"}) == ["0008"]
    assert _gaps({"0007", "0300"}) == []  # a part of a dataset, taken on purpose
    assert _gaps({"0007", "0009", "x"}) == []
    assert _gaps({"007", "0009"}) == []
    assert _gaps({"0007"}) == []
