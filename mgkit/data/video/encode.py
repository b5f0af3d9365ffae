"""Video that browsers play and that loaders read cheaply."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgkit.data.video.decode import Frames, quiet_av, short
from mgkit.errors import MgkitError
from mgkit.files import atomic

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream


def write_video(
    path: str | Path,
    frames: Iterable[Frames],
    fps: float,
    key_frame_distance: int = 8,
    quality: float = 21.0,
) -> int:
    """Write an H.264 video (yuv420p, MP4 with its index in front) that browsers play and that seeks cheaply.

    There are no B-frames and a key-frame every `key_frame_distance` frames, so that a single frame costs at most
    that many decodes, and the features of H.264 that cost a decoder most are not used, which halves its work for a file
    that is a sixth larger. One encoder thread: the same frames give the same bytes on the same machine. The file
    appears whole or not at all.

    Args:
        path: where to write; the name should end in `.mp4`.
        frames: (H, W, 3) uint8 RGB pictures of one size; H and W even, which yuv420p needs. May be a generator.
        fps: frames per second, above 0.
        key_frame_distance: frames from one key-frame to the next, at least 1.
        quality: constant rate factor of x264, 0 (lossless) to 51 (worst); 21 is visually close to the source.

    Returns:
        The number of frames written.

    Raises:
        MgkitError: no frames, odd or changing sizes, frames that are not (H, W, 3) uint8, or an argument out of
            range, each named; or the folder cannot be written.
    """
    import av

    path = Path(path)
    if not fps > 0:
        raise MgkitError(f"{path} cannot be written at {fps} frames per second: give a rate above 0.")
    if key_frame_distance < 1:
        raise MgkitError(
            f"{path} cannot be written with a key-frame distance of {key_frame_distance}: give 1 or more."
        )
    if not 0 <= quality <= 51:
        raise MgkitError(f"{path} cannot be written with quality {quality}: give 0 (lossless) to 51 (worst).")
    quiet_av()
    count, size = 0, (0, 0)
    # The header names the size and frames may be a generator, so that the first frame opens the file.
    pending = iter(frames)
    first = next(pending, None)
    if first is None:
        raise MgkitError(f"{path} cannot be written without frames: give at least one.")
    size = _checked_size(path, first, 0, None)
    try:
        with (
            atomic(path) as temporary,
            av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container,
        ):
            stream = h264_stream(container, fps, size, key_frame_distance, quality)
            frame: Frames | None = first
            while frame is not None:
                _checked_size(path, frame, count, size)
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                container.mux(stream.encode(picture))
                count += 1
                frame = next(pending, None)
            container.mux(stream.encode())
    except (av.error.FFmpegError, OSError) as error:
        raise MgkitError(
            f"{path} cannot be written ({short(error)}): check free space and permissions."
        ) from None
    return count


def h264_stream(
    container: OutputContainer, fps: float, size: tuple[int, int], key_frame_distance: int, quality: float
) -> VideoStream:
    """The track that every prepared video is written to: see `write_video`. `size` is (height, width)."""
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000))
    stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
    stream.codec_context.thread_count = 1
    stream.options = {
        "crf": f"{quality:g}",
        "preset": "veryfast",
        "tune": "fastdecode",  # neither CABAC nor deblocking
        "mbtree": "0",  # in small frames it reads memory that nobody wrote: the bytes would differ now and then
        "bf": "0",
        "g": str(key_frame_distance),
        "keyint_min": str(key_frame_distance),
        "sc_threshold": "0",  # no extra key-frames where the picture changes: the distance stays even
        "threads": "1",
    }
    return stream


def _checked_size(path: Path, frame: Any, number: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """The (height, width) of a frame that may be encoded; anything else raises a `MgkitError`."""
    shape, dtype = getattr(frame, "shape", None), getattr(frame, "dtype", None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        found = type(frame).__name__ if shape is None else f"{tuple(shape)} {dtype}"
        raise MgkitError(f"frame {number} for {path} is {found}: give (height, width, 3) uint8 RGB pictures.")
    height, width = int(shape[0]), int(shape[1])
    if size is not None and (height, width) != size:
        raise MgkitError(
            f"frame {number} for {path} is {width}x{height}, the ones before it {size[1]}x{size[0]}: "
            "resize all frames of a video to one size."
        )
    if height < 2 or width < 2 or height % 2 or width % 2:
        raise MgkitError(
            f"frame {number} for {path} is {width}x{height}: H.264 needs even sizes, crop or pad it to even ones."
        )
    return height, width
