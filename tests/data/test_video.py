"""Reading and writing video: exact frames by either library, and one sentence for every bad file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mgkit.data import video
from mgkit.data.video import VideoInfo, probe, read_frames, write_video
from mgkit.errors import MgkitError

FRAMES, HEIGHT, WIDTH = 30, 64, 96


def pictures(count: int = FRAMES) -> Iterator[np.ndarray]:
    """Frames whose brightness is their number (times 6), with a red corner and a textured block that moves."""
    texture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    for i in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), 6 * i, dtype=np.uint8)
        frame[:12, :12] = (255, 0, 0)
        frame[30:46, i : i + 16] = texture
        yield frame


def number(frame: np.ndarray) -> int:
    """Which frame of `pictures` this is."""
    return round(float(frame[-8:, 60:].mean()) / 6)


def encode(path: Path, count: int = FRAMES, b_frames: int = 3, times: list[int] | None = None) -> Path:
    """A video as others make them: B-frames, one key-frame, index at the end; `times` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"bf": str(b_frames), "g": "100", "sc_threshold": "0", "crf": "12", "threads": "1"}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(pictures(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(params=["decord", "av"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each library in turn."""
    if request.param == "decord":
        pytest.importorskip("decord")
    else:
        monkeypatch.setattr(video, "_read_decord", lambda *_: None)
    return str(request.param)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "ein Vidéo mit Leerzeichen.mp4"
    assert write_video(path, pictures(), 25) == FRAMES
    return path


def test_probe(clip: Path) -> None:
    assert probe(clip) == VideoInfo(FRAMES, 25.0, WIDTH, HEIGHT)


def test_exact_frames_in_any_order_with_repeats(clip: Path, backend: str) -> None:
    wanted = [29, 0, 7, 8, 7, 23, 0]
    frames = read_frames(clip, wanted)
    assert frames.shape == (7, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8
    assert [number(frame) for frame in frames] == wanted
    red, green, blue = frames[0, 4, 4].astype(int)
    assert red > 230
    assert max(green, blue) < 30


def test_both_libraries_agree(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    foreign = encode(tmp_path / "b-frames.mp4")
    for path in (clip, foreign):
        ours = read_frames(path, range(FRAMES))
        with monkeypatch.context() as without:
            without.setattr(video, "_read_decord", lambda *_: None)
            theirs = read_frames(path, range(FRAMES))
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2


def test_decord_is_really_used(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    monkeypatch.setattr(video, "_read_av", lambda *_: pytest.fail("PyAV decoded what decord should have"))
    assert len(read_frames(clip, [3, 1])) == 2


def test_without_decord(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setitem(__import__("sys").modules, "decord", None)
    assert number(read_frames(clip, [11])[0]) == 11


def test_b_frames_and_variable_rate(tmp_path: Path, backend: str) -> None:
    times = np.cumsum([40 if i % 3 else 110 for i in range(FRAMES)]).tolist()
    for path in (encode(tmp_path / "b.mp4"), encode(tmp_path / "variable.mp4", times=times)):
        assert probe(path).frames == FRAMES
        assert [number(frame) for frame in read_frames(path, [28, 3, 14])] == [28, 3, 14]


@pytest.mark.parametrize(
    ("turn", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))]
)
def test_rotated_video_is_upright(clip: Path, backend: str, turn: int, matrix: tuple[int, ...]) -> None:
    content = bytearray(clip.read_bytes())
    one = 0x10000
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    at = content.find(upright, content.find(b"tkhd"))
    a, b, c, d = (one * value for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path = clip.with_name("turned.mp4")
    path.write_bytes(content)
    info = probe(path)
    expected = np.rot90(read_frames(clip, [5])[0], -turn // 90)
    assert (info.height, info.width) == expected.shape[:2]
    assert np.abs(read_frames(path, [5])[0].astype(int) - expected).max() <= 2


def test_edit_list_hides_frames(tmp_path: Path) -> None:
    """A lossless trim leaves frames in the file that no player shows; they are not counted."""
    whole = encode(tmp_path / "whole.mp4")
    content = bytearray(whole.read_bytes())
    at = content.find(b"elst") + 4
    version, entries, duration, start, rate = struct.unpack(">IIIiI", content[at : at + 20])
    tick = 12800 // 25
    content[at : at + 20] = struct.pack(">IIIiI", version, entries, duration - 5 * 40, start + 5 * tick, rate)
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(content)
    assert probe(path).frames == FRAMES - 5
    assert [number(frame) for frame in read_frames(path, [0, 24])] == [5, 29]


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


def bad_file(kind: str, folder: Path, good: Path) -> Path:
    path = folder / f"{kind}.mp4"
    content = good.read_bytes()
    if kind == "empty":
        path.touch()
    elif kind == "garbage":
        path.write_bytes(np.random.default_rng(0).bytes(4000))
    elif kind == "text":
        path.write_text("clip_id,label\n")
    elif kind == "folder":
        path.mkdir()
    elif kind == "headless":
        foreign = encode(folder / "foreign.mp4").read_bytes()
        path.write_bytes(foreign[: len(foreign) // 2])  # its index was at the end
    elif kind == "truncated":
        path.write_bytes(content[: content.find(b"mdat") + (len(content) - content.find(b"mdat")) // 2])
    elif kind == "audio":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100, layout="mono")
            for i in range(8):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = 44100, 1024 * i
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


BAD = {
    "missing": "there is no video",
    "folder": "not a file",
    "empty": "empty file",
    "garbage": "not a video",
    "text": "not a video",
    "headless": "not a video, or is cut off",
    "audio": "no picture, only audio",
}


@pytest.mark.parametrize("kind", [*BAD, "truncated"])
def test_bad_files(
    kind: str, tmp_path: Path, clip: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bad_file(kind, tmp_path, clip)
    with pytest.raises(MgkitError, match=BAD.get(kind, "is cut off: its header promises 30")) as probing:
        probe(path)
    with pytest.raises(MgkitError, match=BAD.get(kind, "header promises 30: it is cut off")) as reading:
        read_frames(path, [FRAMES - 1])
    for error in (probing, reading):
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.__cause__ is None
    assert capfd.readouterr().err == ""


def test_what_is_left_of_a_truncated_file_can_be_read(tmp_path: Path, clip: Path, backend: str) -> None:
    path = bad_file("truncated", tmp_path, clip)
    assert [number(frame) for frame in read_frames(path, [4, 0])] == [4, 0]


@pytest.mark.parametrize("indices", [[FRAMES], [-1], [0, 5, 99, -3]])
def test_indices_outside(clip: Path, backend: str, indices: list[int]) -> None:
    with pytest.raises(MgkitError, match=f"has {FRAMES} frames: use 0 to {FRAMES - 1}"):
        read_frames(clip, indices)


def test_no_indices(clip: Path) -> None:
    with pytest.raises(MgkitError, match="at least one index"):
        read_frames(clip, [])
