"""Videos made in the tests, whose frames carry their number as six bars, one a bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

FRAMES, HEIGHT, WIDTH = 30, 64, 96


def pictures(count: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Iterator[np.ndarray]:
    """Frames with their number in bars, a red corner above them and a textured block that moves below."""
    texture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    for i in range(count):
        frame = np.full((height, width, 3), 20, dtype=np.uint8)
        for bit in range(6):
            if i >> bit & 1:
                frame[16:48, bit * width // 6 : (bit + 1) * width // 6] = 230
        frame[:12, :12] = (255, 0, 0)
        frame[50:62, i : i + 16] = texture[: height - 50]
        yield frame


def number(frame: np.ndarray) -> int:
    """Which frame of `pictures` this is."""
    width = frame.shape[1]
    bars = [frame[20:44, bit * width // 6 + 3 : (bit + 1) * width // 6 - 3].mean() > 125 for bit in range(6)]
    return sum(1 << bit for bit, lit in enumerate(bars) if lit)


def encode(
    path: Path,
    count: int = FRAMES,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    times: list[int] | None = None,
    sound: bool = False,
    container_format: str | None = None,
    **options: str,
) -> Path:
    """A video as others make them: by default B-frames, one key-frame, index at the end; `times` in milliseconds."""
    defaults = {"bf": "3", "g": "100", "sc_threshold": "0", "crf": "12", "threads": "1"}
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.options = {**(defaults if codec == "libx264" else {}), **options}
        if sound:
            audio = container.add_stream("aac", rate=44100, layout="mono")
            container.mux(audio.encode(_silence(0)))
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(pictures(count, *size)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            for i in range(1, 8):
                container.mux(audio.encode(_silence(i)))
            container.mux(audio.encode())
    return path


def encode_sizes(
    path: Path, sizes: dict[int, tuple[int, int]], codec: str = "libx264", count: int = FRAMES, **options: str
) -> Path:
    """A video whose picture size changes on the way, as a browser records it: `sizes` are (height, width) by frame."""
    starts = sorted(sizes)
    grey = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25)
        (track.height, track.width), track.pix_fmt = sizes[0], grey
        track.codec_context.time_base = Fraction(1, 25)
        for start, stop in zip(starts, [*starts[1:], count], strict=True):
            encoder: Any = av.CodecContext.create(codec, "w")
            (encoder.height, encoder.width), encoder.pix_fmt = sizes[start], grey
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            encoder.options = options
            packets = []
            for i, image in enumerate(pictures(count, *sizes[start])):
                if start <= i < stop:
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=grey)
                    frame.pts, frame.time_base = i, Fraction(1, 25)
                    packets += encoder.encode(frame)
            for one in [*packets, *encoder.encode(None)]:
                packet: Any = av.Packet(bytes(one))
                packet.pts, packet.dts, packet.time_base = one.pts, one.pts, Fraction(1, 25)
                packet.is_keyframe, packet.stream = one.is_keyframe, track
                container.mux(packet)
    return path


def turned(video: Path, path: Path, matrix: tuple[int, ...] = (0, 1, -1, 0)) -> Path:
    """A copy of an MP4 that asks to be shown turned, by default by 90 degrees, as telephones do."""
    content, one = bytearray(video.read_bytes()), 0x10000
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    at = content.find(upright, content.find(b"tkhd"))
    a, b, c, d = (one * value for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(content)
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=44100, layout="mono")
        for i in range(8):
            container.mux(audio.encode(_silence(i)))
        container.mux(audio.encode())
    return path


def _silence(i: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 44100, 1024 * i
    return frame
