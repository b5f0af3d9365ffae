"""Reading video: exact frames whatever the file is like, and one sentence for every bad file."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from mgkit.data.video import VideoInfo, probe, read_frames, stream_frames, write_video
from mgkit.data.video import decode as reading
from mgkit.errors import MgkitError
from tests.data.video.made import (
    FRAMES,
    HEIGHT,
    WIDTH,
    encode,
    encode_sizes,
    number,
    pictures,
    sound_only,
    turned,
)


@pytest.fixture(params=["decord", "pyav"])
def library(request: pytest.FixtureRequest) -> str:
    """Each library in turn."""
    if request.param == "decord":
        pytest.importorskip("decord")
    return str(request.param)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "ein Vidéo mit Leerzeichen.mp4"
    assert write_video(path, pictures(), 25) == FRAMES
    return path


def numbers(frames: np.ndarray) -> list[int]:
    return [number(frame) for frame in frames]


# --- sound files ----------------------------------------------------------------------------------------------------

X264 = {"g": "12"}
FILES: dict[str, tuple[str, dict]] = {
    "no B-frames": ("a.mp4", {"bf": "0", "g": "7"}),
    "B-frames, one key-frame": ("a.mp4", {}),
    "key-frames closer than B-frames reach": ("a.mp4", {"g": "3", "keyint_min": "1"}),
    "open groups of pictures": ("a.mp4", {"g": "8", "x264-params": "open-gop=1"}),
    "HEVC": ("a.mp4", {"codec": "libx265", "x265-params": "log-level=none:keyint=8:pools=1"}),
    "variable rate": ("a.mp4", {"times": np.cumsum([40 if i % 3 else 110 for i in range(FRAMES)]).tolist()}),
    "late start": ("a.mp4", {"times": list(range(5000, 5000 + 40 * FRAMES, 40)), **X264}),
    "one frame": ("a.mp4", {"count": 1}),
    "two frames": ("a.mkv", {"count": 2}),
    "grey": ("a.mp4", {"pix_fmt": "gray", **X264}),
    "yuv444": ("a.mp4", {"pix_fmt": "yuv444p", **X264}),
    "10 bit": ("a.mp4", {"pix_fmt": "yuv420p10le", **X264}),
    "odd size": ("a.mp4", {"pix_fmt": "yuv444p", "size": (63, 95), **X264}),
    "with sound": ("a.mp4", {"sound": True, **X264}),
    "quicktime": ("a.mov", X264),
    "matroska": ("a.mkv", X264),
    "matroska with sound": ("a.mkv", {"sound": True, **X264}),
    "webm, VP9": ("a.webm", {"codec": "libvpx-vp9", "g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "webm, VP8": ("a.webm", {"codec": "libvpx", "g": "10", "deadline": "realtime"}),
    "AVI, MJPEG": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "AVI, MPEG-4 with B-frames": ("a.avi", {"codec": "mpeg4", "bf": "2", "g": "12"}),
    "AVI, H.264 with B-frames": ("a.avi", X264),
    "MPEG transport stream": ("a.ts", X264),
    "MPEG-2 program stream": ("a.mpg", {"codec": "mpeg2video", "bf": "2", "g": "12"}),
    "Flash": ("a.flv", X264),
    "raw H.264, which states no times": ("a.h264", {"container_format": "h264", **X264}),
    "colon in the name": ("a:b 100%d #1.mp4", X264),
    "no extension": ("Übung ñ 手势", {"container_format": "mp4", **X264}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that were made already, by the name in `FILES`."""
    return {"": tmp_path_factory.mktemp("videos")}


def file_of(kind: str, made: dict[str, Path]) -> Path:
    if kind not in made:
        name, options = FILES[kind]
        folder = made[""] / str(len(made))
        folder.mkdir()
        made[kind] = encode(folder / name, **options)
    return made[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_frames_are_exact(kind: str, made: dict[str, Path], library: str) -> None:
    path, (_, options) = file_of(kind, made), FILES[kind]
    count, (height, width) = options.get("count", FRAMES), options.get("size", (HEIGHT, WIDTH))
    info = probe(path)
    assert (info.frames, info.height, info.width) == (count, height, width)
    whole = read_frames(path, range(count), library)
    assert whole.shape == (count, height, width, 3)
    assert numbers(whole) == list(range(count))
    for wanted in ([count - 1, count // 3, count // 2], [count // 2], [count - 1], [0]):
        some = read_frames(path, wanted, library)
        assert numbers(some) == wanted
        np.testing.assert_array_equal(some, whole[wanted])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_stream_gives_the_same_frames(kind: str, made: dict[str, Path]) -> None:
    path, count = file_of(kind, made), FILES[kind][1].get("count", FRAMES)
    for start, end in ((0, None), (count // 2, None), (count // 3, count // 3 + 1), (0, count)):
        frames = np.stack(list(stream_frames(path, start, end)))
        wanted = range(count)[start:end]
        assert numbers(frames) == list(wanted)
        np.testing.assert_array_equal(frames, read_frames(path, wanted))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("a.mp4", {"pix_fmt": "gray"}),
        ("a.mp4", {"pix_fmt": "yuv444p", "size": (63, 95)}),
    ],
)
def test_both_libraries_give_the_same_pixels(
    tmp_path: Path, name: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("decord")
    path = encode(tmp_path / name, bf="0", g="7", **options)
    for wanted in (range(FRAMES), [29, 3, 15], [13, 14]):
        ours = read_frames(path, wanted, "pyav").astype(int)
        with monkeypatch.context() as alone:
            alone.setattr(reading, "_by_pyav", lambda *_: pytest.fail("PyAV decoded what decord should have"))
            theirs = read_frames(path, wanted, "decord").astype(int)
        assert np.abs(ours - theirs).max() <= 2


def test_probe(clip: Path) -> None:
    assert probe(clip) == VideoInfo(FRAMES, 25.0, WIDTH, HEIGHT)


def test_any_order_with_repeats(clip: Path, library: str) -> None:
    wanted = [29, 0, 7, 8, 7, 23, 0]
    frames = read_frames(clip, wanted, library)
    assert frames.shape == (7, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == wanted
    red, green, blue = frames[0, 4, 4].astype(int)
    assert red > 230
    assert max(green, blue) < 30


def test_without_decord(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    monkeypatch.setitem(sys.modules, "decord", None)
    assert numbers(read_frames(clip, [11], "decord")) == [11]


def test_an_unknown_library_is_refused(clip: Path) -> None:
    with pytest.raises(MgkitError, match="no video library 'opencv': use 'pyav' or 'decord'"):
        read_frames(clip, [0], "opencv")


@pytest.mark.parametrize(
    ("turn", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))]
)
def test_rotated_video_is_upright(clip: Path, library: str, turn: int, matrix: tuple[int, ...]) -> None:
    path = turned(clip, clip.with_name("turned.mp4"), matrix)
    info = probe(path)
    expected = np.rot90(read_frames(clip, [5])[0], -turn // 90)
    assert (info.height, info.width) == expected.shape[:2]
    for frame in (read_frames(path, [5], library)[0], next(stream_frames(path, 5, 6))):
        assert np.abs(frame.astype(int) - expected).max() <= 2


def test_edit_list_hides_frames(tmp_path: Path, library: str) -> None:
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
    assert numbers(read_frames(path, [0, 24], library)) == [5, 29]
    assert numbers(np.stack(list(stream_frames(path)))) == list(range(5, FRAMES))


@pytest.mark.parametrize("stated", [3, 300])
def test_a_wrong_frame_count_in_the_header(tmp_path: Path, library: str, stated: int) -> None:
    content = bytearray(encode(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p").read_bytes())
    for at in (content.find(b"avih") + 8 + 16, content.find(b"strh") + 8 + 32):
        assert struct.unpack("<I", content[at : at + 4]) == (FRAMES,)
        content[at : at + 4] = struct.pack("<I", stated)
    path = tmp_path / "wrong.avi"
    path.write_bytes(content)
    assert probe(path).frames == FRAMES
    assert numbers(read_frames(path, [29, 4], library)) == [29, 4]
    assert len(list(stream_frames(path))) == FRAMES


# --- bad files ------------------------------------------------------------------------------------------------------


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
        sound_only(path)
    elif kind == "bodiless":
        path.write_bytes(content[: content.find(b"mdat") + 8])
    return path


BAD = {
    "missing": "there is no video",
    "folder": "not a file",
    "empty": "empty file",
    "garbage": "not a video",
    "text": "not a video",
    "headless": "not a video, or is cut off",
    "audio": "no picture, only audio",
    "bodiless": "no frame can be decoded|has 0 frames: copy it again",
}


@pytest.mark.parametrize("kind", [*BAD, "truncated"])
def test_bad_files(
    kind: str, tmp_path: Path, clip: Path, library: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bad_file(kind, tmp_path, clip)
    whole = BAD.get(kind, "is cut off: its header promises 30")
    with pytest.raises(MgkitError, match=whole) as probing:
        probe(path)
    with pytest.raises(MgkitError, match=BAD.get(kind, "header promises 30: it is cut off")) as one:
        read_frames(path, [FRAMES - 1], library)
    with pytest.raises(MgkitError, match=whole) as streaming:
        next(stream_frames(path))
    for error in (probing, one, streaming):
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)
        assert error.value.__cause__ is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi"])
def test_truncated_files_of_other_containers(tmp_path: Path, name: str) -> None:
    options = {"codec": "libvpx", "g": "5"} if name == "a.webm" else {"g": "5"}
    content = encode(tmp_path / name, **options).read_bytes()
    path = tmp_path / f"torn-{name}"
    body = content.find(b"movi" if name == "a.avi" else b"\x1f\x43\xb6\x75")  # of Matroska: the first cluster
    path.write_bytes(content[: (body + len(content)) // 2])
    with pytest.raises(MgkitError, match=f"{path.name} is cut off: its header promises"):
        probe(path)
    assert numbers(read_frames(path, [2, 0])) == [2, 0]


def test_what_is_left_of_a_truncated_file_can_be_read(tmp_path: Path, clip: Path, library: str) -> None:
    path = bad_file("truncated", tmp_path, clip)
    assert numbers(read_frames(path, [4, 0], library)) == [4, 0]
    assert numbers(np.stack(list(stream_frames(path, 1, 5)))) == [1, 2, 3, 4]


def test_a_damaged_frame_shifts_no_other(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", bf="0", g="10")
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for at, size in packets[13:15]:
        content[at : at + size] = bytes(size)
    path.write_bytes(content)
    assert numbers(read_frames(path, [0, 9, 12, 25])) == [0, 9, 12, 25]
    with pytest.raises(MgkitError, match="frame 13, 14 of .*a.mp4 cannot be decoded: the file is damaged"):
        read_frames(path, [9, 13, 14, 25])
    seen = []
    with pytest.raises(MgkitError, match="frame 13 of .*a.mp4 cannot be decoded"):
        seen.extend(number(frame) for frame in stream_frames(path, 5))
    assert seen == list(range(5, 13))


CHANGING = {
    "a.webm": {"codec": "libvpx", "g": "10", "deadline": "realtime"},
    "b.webm": {"codec": "libvpx-vp9", "g": "10", "deadline": "realtime"},
    "a.mp4": {"g": "10", "bf": "0"},
    "a.mkv": {"g": "10", "bf": "0"},
    "a.avi": {"codec": "mjpeg"},
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_picture_size_that_changes_is_refused_wherever_it_is_read(
    tmp_path: Path, name: str, library: str
) -> None:
    """Also where only frames of the second size are read: their pixels are not those of the file's key-points."""
    small, large = (HEIGHT, WIDTH), (96, 128)
    path = encode_sizes(tmp_path / name, {0: small, 10: large, 20: small}, **CHANGING[name])
    assert (probe(path).width, probe(path).height) == (WIDTH, HEIGHT)
    assert numbers(read_frames(path, [22, 3], library)) == [22, 3]
    said = f"{name} changes its size from 96x64 to 128x96 by frame 1.: convert it to one size"
    for wanted in ([3, 15], [15, 16], [12]):
        with pytest.raises(MgkitError, match=said):
            read_frames(path, wanted, library)
    for start in (5, 12):
        with pytest.raises(MgkitError, match=said):
            list(stream_frames(path, start))


def test_a_header_that_misstates_the_picture_size_is_no_change_of_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.webm", codec="libvpx", g="10", deadline="realtime")
    content = path.read_bytes()
    track = bytes([0xB0, 0x81, WIDTH, 0xBA, 0x81, HEIGHT])  # PixelWidth, PixelHeight
    assert content.count(track) == 1
    path.write_bytes(content.replace(track, bytes([0xB0, 0x81, 50, 0xBA, 0x81, 30])))
    assert numbers(read_frames(path, [25, 3])) == [25, 3]
    assert (probe(path).width, probe(path).height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("indices", [[FRAMES], [-1], [0, 5, 99, -3]])
def test_indices_outside(clip: Path, library: str, indices: list[int]) -> None:
    with pytest.raises(MgkitError, match=f"has {FRAMES} frames: use 0 to {FRAMES - 1}"):
        read_frames(clip, indices, library)


def test_no_indices(clip: Path) -> None:
    with pytest.raises(MgkitError, match="at least one index"):
        read_frames(clip, [])


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (0, FRAMES + 1, f"has {FRAMES} frames: use 0 to {FRAMES - 1}"),
        (FRAMES, None, f"frames {FRAMES} to {FRAMES} of .* are not a span"),
        (-1, 3, "give 0 <= start < end"),
        (5, 5, "are not a span"),
        (6, 5, "are not a span"),
    ],
)
def test_spans_outside(clip: Path, start: int, end: int | None, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        next(stream_frames(clip, start, end))


# --- memory ---------------------------------------------------------------------------------------------------------


def test_a_stream_holds_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_video(path, (np.zeros((480, 640, 3), np.uint8) for _ in range(60)), 25)
    tracemalloc.start()
    for _ in stream_frames(path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 480 * 640 * 3


def test_a_stream_that_is_left_early_closes_its_file(clip: Path) -> None:
    frames = stream_frames(clip)
    next(frames)
    frames.close()
    clip.rename(clip.with_name("moved.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pyav", "decord"])
def test_reading_on_and_on_needs_no_more_memory(tmp_path: Path, name: str) -> None:
    """In a separate process, so that nothing else allocates meanwhile."""
    if name == "decord":
        pytest.importorskip("decord")
    if not Path("/proc/self/statm").exists():
        pytest.skip("only Linux tells the resident size of a process in /proc")
    path = tmp_path / "clip.mp4"
    write_video(path, pictures(12, 256, 256), 25)
    code = """
import sys
from mgkit.data.video import read_frames
path, library = sys.argv[1:]
sizes = []
for count in (100, 300):
    for i in range(count):
        read_frames(path, [i % 12, 11 - i % 12], library)
    with open("/proc/self/statm") as file:
        sizes.append(int(file.read().split()[1]) * 4096)
print(sizes[1] - sizes[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), name], capture_output=True, text=True, check=True
    )
    # A frame that were kept a read would be 59 MB, a reader of decord that were kept many times that.
    assert int(done.stdout) < 20_000_000
