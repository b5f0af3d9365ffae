"""Cutting: against frames read one by one and cropped in RGB, whatever the source is like."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from mgkit.data.prepare.cut import Crop, Cut, SourceError, Written, crop_plane, open_source
from mgkit.data.video import probe, read_frames, write_video
from mgkit.errors import MgkitError
from tests.data.video.made import encode_sizes

W, H, N = 96, 64, 40


def pictures(n: int = N) -> list[np.ndarray]:
    """A smooth picture that drifts, so that each frame differs from the others and codecs lose little."""
    yy, xx = np.mgrid[:H, :W]
    return [
        (
            128
            + 60
            * np.stack(
                [np.sin(xx / 9 + i / 3), np.sin(xx / 9 - yy / 15 + i / 3), np.cos(xx / 11 + i / 4)], -1
            )
        ).astype(np.uint8)
        for i in range(n)
    ]


def source(
    path: Path, *, pix_fmt: str = "yuv420p", space: int | None = None, full: bool = False, g: int = 12, bf: int = 2,
    codec: str = "libx264", times: list[int] | None = None, frames: int = N,
) -> Path:  # fmt: skip
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, pix_fmt
        stream.options = (
            {"crf": "8", "g": str(g), "bf": str(bf), "preset": "veryfast"} if codec == "libx264" else {}
        )
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(pictures(frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace="ITU709" if space == 1 else "ITU601",
                dst_color_range="JPEG" if full else "MPEG",
            )  # fmt: skip
            if space is not None:
                frame.colorspace = space
            frame.color_range = 2 if full else 1
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def expected(path: Path, span: range, crop: Crop, size: int) -> np.ndarray:
    """The same clip by way of RGB: read, pad, cut, resize."""
    out = []
    for picture in read_frames(path, span):
        pad = 200
        padded = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        part = padded[crop.y + pad :, crop.x + pad :][: crop.side, : crop.side]
        how = cv2.INTER_AREA if crop.side > size else cv2.INTER_LINEAR
        out.append(cv2.resize(part, (size, size), interpolation=how))
    return np.stack(out).astype(int)


def through_codec(path: Path, frames: np.ndarray) -> np.ndarray:
    """What the same codec makes of these frames."""
    write_video(path, frames.astype(np.uint8), 25)
    return read_frames(path, range(len(frames))).astype(int)


def cut(path: Path, cuts: list[Cut], size: int = 32, threads: int = 1) -> dict[str, Written | str]:
    with open_source(path, threads) as opened:
        return opened.cut(cuts, size, 25)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"space": 1},
        {"space": 1, "full": True},
        {"full": True, "pix_fmt": "yuvj420p"},
        {"pix_fmt": "yuv444p"},
        {"bf": 0, "g": 1},
        {"g": 250},
        {"codec": "mpeg4"},
    ],
    ids=str,
)
@pytest.mark.parametrize("crop", [Crop(20, 10, 40), Crop(-10, -20, 110), Crop(70, 40, 24)], ids=str)
def test_a_cut_shows_what_reading_and_cropping_in_rgb_shows(
    tmp_path: Path, kind: dict[str, Any], crop: Crop
) -> None:
    path = source(tmp_path / "v.mp4", **kind)
    made = cut(path, [Cut("a", tmp_path / "a.mp4", 13, 29, crop)])
    assert isinstance(made["a"], Written)
    assert probe(tmp_path / "a.mp4").frames == 16
    found = read_frames(tmp_path / "a.mp4", range(16)).astype(int)
    want = expected(path, range(13, 29), crop, 32)
    # Of the right frames: a shift by one differs by more than the codec does.
    right = np.abs(found - want).mean((1, 2, 3))
    by_rgb = through_codec(tmp_path / "rgb.mp4", want)
    shifted = np.abs(found - expected(path, range(14, 30), crop, 32)).mean((1, 2, 3))
    assert right.mean() < 1.1 * np.abs(by_rgb - want).mean() + 0.7
    assert (right < shifted).all()
    # The way by RGB rounds a level or two down; another matrix or range would shift a channel by seven or more.
    assert np.abs((found - by_rgb).mean((0, 1, 2))).max() < 2.5


def test_one_pass_makes_overlapping_clips_and_jumps_over_what_nobody_needs(tmp_path: Path) -> None:
    path = source(tmp_path / "v.mp4", g=10)
    crop = Crop(20, 10, 40)
    spans = {"a": (0, 9), "b": (4, 7), "c": (4, 33), "d": (39, 40), "e": (32, 40)}
    cuts = [Cut(name, tmp_path / f"{name}.mp4", *span, crop) for name, span in spans.items()]
    together = cut(path, cuts[::-1])
    for one in cuts:
        whole = one.target.read_bytes()
        alone = cut(path, [one])[one.clip_id]
        assert one.target.read_bytes() == whole, "neither neighbours nor seeking change a clip"
        now = together[one.clip_id]
        assert isinstance(now, Written)
        assert isinstance(alone, Written)
        assert now.sha256 == alone.sha256
        assert now.bytes == len(whole)
        assert now.looks.shape == (3, 32, 32)
        assert probe(one.target).frames == one.stop - one.start
    many = cut(path, cuts, threads=3)
    assert {name: m.sha256 for name, m in many.items() if isinstance(m, Written)} == {
        name: m.sha256 for name, m in together.items() if isinstance(m, Written)
    }


def test_a_turned_video_is_cut_upright(tmp_path: Path) -> None:
    plain = source(tmp_path / "plain.mp4")
    turned = tmp_path / "turned.mp4"
    # The display matrix in the track header (tkhd): turn by 90 degrees.
    content = bytearray(plain.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    matrix = np.array([0, 0x10000, 0, -0x10000, 0, 0, H << 16, 0, 0x40000000], dtype=">i4")
    content[at : at + 36] = matrix.tobytes()
    turned.write_bytes(bytes(content))
    assert (probe(turned).width, probe(turned).height) == (H, W)
    crop = Crop(10, 20, 40)
    with open_source(turned) as opened:
        assert (opened.info.width, opened.info.height, opened.info.turned in (90, 270)) == (H, W, True)
        opened.cut([Cut("a", tmp_path / "a.mp4", 3, 11, crop)], 32, 25)
    found = read_frames(tmp_path / "a.mp4", range(8)).astype(int)
    want = expected(turned, range(3, 11), crop, 32)
    assert np.abs(found - through_codec(tmp_path / "rgb.mp4", want)).mean() < 3


def test_a_variable_frame_rate_is_seen(tmp_path: Path) -> None:
    steady = source(tmp_path / "steady.mp4", times=list(range(0, 40 * N, 40)))
    times = np.cumsum([40 if i % 5 else 120 for i in range(N)]).tolist()
    varying = source(tmp_path / "varying.mp4", times=times)
    with open_source(steady) as opened:
        assert opened.info.steady
    with open_source(varying) as opened:
        info = opened.info
        assert (info.steady, round(info.fastest), round(info.slowest), info.frames) == (False, 40, 120, N)
        made = opened.cut([Cut("a", tmp_path / "a.mp4", 7, 20, Crop(20, 10, 40))], 32, 25)
    assert isinstance(made["a"], Written)
    found = read_frames(tmp_path / "a.mp4", range(13)).astype(int)
    want = expected(varying, range(7, 20), Crop(20, 10, 40), 32)
    assert np.abs(found - through_codec(tmp_path / "rgb.mp4", want)).mean() < 3


def test_what_cannot_be_opened_is_a_source_error_that_names_the_file(tmp_path: Path) -> None:
    whole = source(tmp_path / "v.mp4").read_bytes()
    for name, content in {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello" * 100}.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        with pytest.raises(SourceError, match=rf"{name}\.mp4"), open_source(tmp_path / f"{name}.mp4"):
            pass
    with (
        pytest.raises(SourceError, match=r"there is no video .*gone\.mp4"),
        open_source(tmp_path / "gone.mp4"),
    ):
        pass
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match=r"sound\.mp4 has no picture"), open_source(tmp_path / "sound.mp4"):
        pass


def test_a_hole_in_the_video_costs_the_clips_over_it_and_no_other(tmp_path: Path) -> None:
    """Packets lost in the middle, as of a damaged copy whose index is whole."""
    whole = source(tmp_path / "v.mp4", g=10, bf=0)
    damaged = tmp_path / "damaged.mkv"
    with av.open(str(whole)) as read, av.open(str(damaged), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for i, packet in enumerate(read.demux(read.streams.video[0])):
            if packet.dts is None:
                continue
            packet.stream = stream
            if 20 <= i < 25:
                hole = av.Packet(b"\x00\x00\x00\x02\x65\x88")
                hole.pts, hole.dts, hole.time_base = packet.pts, packet.dts, packet.time_base
                hole.stream, packet = stream, hole
            written.mux(packet)
    crop = Crop(20, 10, 40)
    spans = {"before": (2, 15), "over": (18, 28), "after": (31, 39)}
    made = cut(damaged, [Cut(name, tmp_path / f"{name}.mp4", *span, crop) for name, span in spans.items()])
    assert isinstance(made["before"], Written)
    assert isinstance(made["after"], Written)
    assert "damaged.mkv" in str(made["over"])
    assert "cannot be decoded" in str(made["over"])
    assert sorted(path.name for path in tmp_path.glob("*r*.mp4")) == ["after.mp4", "before.mp4"]


def test_stopping_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = source(tmp_path / "v.mp4")
    asked = iter([False] * 10 + [True])
    cuts = [
        Cut(name, tmp_path / "out" / f"{name}.mp4", a, a + 20, Crop(20, 10, 40))
        for name, a in (("a", 2), ("b", 5))
    ]
    with pytest.raises(KeyboardInterrupt), open_source(path) as opened:
        opened.cut(cuts, 32, 25, lambda: next(asked))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_cannot_be_written_is_not_the_fault_of_the_source(tmp_path: Path) -> None:
    path = source(tmp_path / "v.mp4")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(MgkitError, match="cannot be written") as raised:
        cut(path, [Cut("a", tmp_path / "out" / "a.mp4", 0, 5, Crop(20, 10, 40))])
    assert not isinstance(raised.value, SourceError)


@pytest.mark.parametrize("side", [20, 32, 50, 64, 130])
def test_a_plane_is_cropped_about_pixel_areas(side: int) -> None:
    """A ramp stays a ramp: pixel i covers [i, i + 1) before and after, whatever the ratio."""
    plane = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    out = crop_plane(plane, 30, 30, side, 32, 0).astype(float)
    want = 30 + (np.arange(32) + 0.5) * side / 32 - 0.5
    inner = slice(2, -2)
    assert np.abs(out[5, inner] - want[inner]).max() <= 1.01
    assert (crop_plane(plane, -side, 0, side + 2, 32, 77)[:, :24] == 77).all()


def test_clips_from_where_the_picture_changes_its_size_are_left_out(tmp_path: Path) -> None:
    """Those before the change, and after the change back, are pixels of the frame that the key-points live in."""
    path = encode_sizes(tmp_path / "v.mp4", {0: (H, W), 10: (96, 128), 20: (H, W)}, g="5", bf="0")
    spans = {"before": (2, 8), "across": (6, 14), "within": (12, 18), "after": (22, 28), "into": (15, 25)}
    made = cut(
        path, [Cut(name, tmp_path / f"{name}.mp4", *span, Crop(0, 0, 64)) for name, span in spans.items()]
    )
    assert {name for name, one in made.items() if isinstance(one, Written)} == {"before", "after"}
    for name in ("across", "within", "into"):
        assert str(made[name]).startswith(f"{path} changes its size from 96x64 to 128x96 by frame 1")
    assert {found.name for found in tmp_path.iterdir()} == {"v.mp4", "before.mp4", "after.mp4"}
