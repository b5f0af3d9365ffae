"""Writing video: deterministic, cheap to seek, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mgkit.data.video import write_video
from mgkit.errors import MgkitError
from tests.data.video.made import FRAMES, pictures


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    assert write_video(path, pictures(), 25) == FRAMES
    return path


def test_writing_is_deterministic_and_cheap_to_seek(tmp_path: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "sub" / "b.mp4"
    for path in (first, second):
        write_video(path, pictures(), 25, key_frame_distance=5)
    assert first.read_bytes() == second.read_bytes()
    content = first.read_bytes()
    assert content.find(b"moov") < content.find(b"mdat")  # the index in front
    with av.open(str(first)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [i for i, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, FRAMES, 5))
        assert all(packet.pts == packet.dts for packet in packets)  # no B-frames
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_what_is_in_memory_does_not_change_the_bytes(tmp_path: Path) -> None:
    """x264's mb-tree reads beyond its arrays: with it, about one write in thirty of small frames differs."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    frames = blocks.repeat(8, 1).repeat(8, 2).repeat(2, 0)  # (16, 32, 32, 3)
    found = set()
    for _ in range(60):
        used = [np.full(int(rng.integers(1000, 60_000)), 255, np.uint8) for _ in range(20)]
        del used
        write_video(tmp_path / "a.mp4", frames, 25)
        found.add((tmp_path / "a.mp4").read_bytes())
    assert len(found) == 1


def test_a_failed_write_leaves_the_old_file(clip: Path) -> None:
    before = clip.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield from pictures(3)
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_video(clip, broken(), 25)
    assert clip.read_bytes() == before
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]


def grey(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "without frames"),
        ([grey(64, 95)], {}, "95x64: H.264 needs even sizes"),
        ([grey(64, 96), grey(64, 98)], {}, "frame 1 .* is 98x64"),
        ([grey(64, 96).astype(np.float32)], {}, "uint8 RGB"),
        ([grey(64, 96)[:, :, 0]], {}, "uint8 RGB"),
        ([None], {}, "without frames|NoneType"),
        ([grey(64, 96)], {"fps": 0}, "rate above 0"),
        ([grey(64, 96)], {"key_frame_distance": 0}, "1 or more"),
        ([grey(64, 96)], {"quality": 99}, "0 \\(lossless\\) to 51"),
    ],
)
def test_refused_writes(tmp_path: Path, frames: list, options: dict, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        write_video(tmp_path / "out.mp4", frames, **{"fps": 25, **options})
    assert not list(tmp_path.iterdir())
