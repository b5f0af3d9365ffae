"""Reading video: probe a file, decode exact frames of it, or stream through it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgkit.data.video.container import Frames, Index, numbered, opened, picture, read_index
from mgkit.errors import MgkitError, some

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

LIBRARIES = ("pyav", "decord")


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    Attributes:
        frames: frames that can be decoded, which may differ from what the header promises.
        fps: average frames per second.
        width: pixels, after the rotation that the file asks for.
        height: pixels, after the rotation that the file asks for.
    """

    frames: int
    fps: float
    width: int
    height: int


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video that can be decoded, and find its rate and size.

    Every packet is looked at, so the count is that of the file and not of its header; only the first frame is
    decoded.

    Args:
        path: any video that FFmpeg reads.

    Raises:
        MgkitError: the file is missing, empty, not a video, has no picture, or is cut off (its header promises
            more frames than there are). The message names the file and the remedy.
    """
    path = Path(path)
    with opened(path) as (container, stream):
        return inspect(path, container, stream)[0]


def inspect(path: Path, container: InputContainer, stream: VideoStream) -> tuple[VideoInfo, Index, int]:
    """What `probe` says of an opened file, its frames, and the quarter turns by which its pictures are turned."""
    from av.video.reformatter import VideoReformatter

    index = read_index(path, container, stream)
    if index.cut_off:
        raise MgkitError(_cut_off(path, index))
    first = next(numbered(path, container, stream, index, 0), None)
    if first is None:
        raise MgkitError(_no_frames(path))
    height, width = picture(first[1], VideoReformatter()).shape[:2]
    fps = float(stream.average_rate or stream.guessed_rate or 0.0)
    turns = round(first[1].rotation / 90) % 4
    return VideoInfo(frames=len(index), fps=fps, width=width, height=height), index, turns


def read_frames(
    path: str | Path, indices: Sequence[int] | npt.NDArray[np.integer], library: str = "pyav"
) -> Frames:
    """Decode exact frames of a video.

    Args:
        path: any video that FFmpeg reads.
        indices: 0-based frame numbers in presentation order, in any order and with repeats; each is decoded once.
        library: "pyav", or "decord", which gives the same frames more slowly and is passed over where it is not
            installed or would miscount (B-frames, cut-off files, containers other than MP4 and Matroska).

    Returns:
        (n, H, W, 3) uint8 RGB frames in the order of `indices`, n = len(indices).

    Raises:
        MgkitError: the file is missing, empty, not a video or has no picture; `indices` is empty; an index lies
            outside the video, or its frame cannot be decoded because the file is cut off or damaged.
    """
    path = Path(path)
    if library not in LIBRARIES:
        raise MgkitError(f"there is no video library {library!r}: use {' or '.join(map(repr, LIBRARIES))}.")
    wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
    if not len(wanted):
        raise MgkitError(f"no frames of {path} were asked for: give at least one index.")
    unique, places = np.unique(wanted, return_inverse=True)
    with opened(path) as (container, stream):
        index = read_index(path, container, stream)
        _check_inside(path, index, unique)
        frames = _by_decord(path, container, index, unique) if library == "decord" else None
        if frames is None:
            frames = _by_pyav(path, container, stream, index, unique)
    return frames if len(unique) == len(wanted) and (unique == wanted).all() else frames[places]


def stream_frames(
    path: str | Path, start: int = 0, end: int | None = None, *, threads: int = 1
) -> Iterator[Frames]:
    """Decode a span of a video one frame at a time, whatever its length: one frame is held in memory.

    Each call looks at every packet of the file first, so go once through a long video rather than once a clip.

    Args:
        path: any video that FFmpeg reads.
        start: first frame, 0-based in presentation order.
        end: one past the last frame; None = to the end of the video.
        threads: of the decoder.

    Yields:
        (H, W, 3) uint8 RGB frames in order, end - start of them; each is the caller's own.

    Raises:
        MgkitError: at the first frame: the file is missing, empty, not a video, has no picture, is cut off before
            `end`, or the span is empty or reaches outside the video. Later: a frame that cannot be decoded.
    """
    from av.video.reformatter import VideoReformatter

    path = Path(path)
    with opened(path, threads) as (container, stream):
        index = read_index(path, container, stream)
        if end is None:
            if index.cut_off:
                raise MgkitError(_cut_off(path, index))
            end = len(index)
        if not len(index):
            raise MgkitError(_no_frames(path))
        if not 0 <= start < end:
            raise MgkitError(
                f"frames {start} to {end} of {path} are no span: give 0 <= start < end; it has {len(index)} frames."
            )
        _check_inside(path, index, np.array([start, end - 1]))
        reformatter, following = VideoReformatter(), start
        for number, frame in numbered(path, container, stream, index, start):
            if number < start:
                continue
            if number != following:
                break
            yield picture(frame, reformatter)
            following += 1
            if following == end:
                return
    raise MgkitError(_lost(path, [following]))


def _by_pyav(
    path: Path, container: InputContainer, stream: VideoStream, index: Index, unique: npt.NDArray[np.int64]
) -> Frames:
    """Frames by PyAV (n, H, W, 3): decode on from the nearest key-frame before each frame that is wanted."""
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    frames: Frames | None = None
    found = np.zeros(len(unique), dtype=np.bool_)
    for members in _runs(index, unique):
        numbers = unique[members]
        for number, frame in numbered(path, container, stream, index, int(numbers[0])):
            place = int(np.searchsorted(numbers, number))
            if place < len(numbers) and numbers[place] == number:
                image = picture(frame, reformatter)
                if frames is None:
                    frames = np.empty((len(unique), *image.shape), dtype=np.uint8)
                elif image.shape != frames.shape[1:]:
                    raise MgkitError(
                        f"{path} changes its size from {frames.shape[2]}x{frames.shape[1]} to "
                        f"{image.shape[1]}x{image.shape[0]} at frame {number}: convert it to one size."
                    )
                frames[members.start + place] = image
                found[members.start + place] = True
            if number >= numbers[-1]:
                break
    if frames is None or not found.all():
        raise MgkitError(_lost(path, unique[~found].tolist()))
    return frames


def _runs(index: Index, unique: npt.NDArray[np.int64]) -> list[slice]:
    """Sorted frames grouped by the key-frame that decoding must begin at."""
    starts = [0, *(np.flatnonzero(np.diff(index.keys_before(unique))) + 1).tolist()]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(unique)], strict=True)]


def _by_decord(
    path: Path, container: InputContainer, index: Index, unique: npt.NDArray[np.int64]
) -> Frames | None:
    """Frames by decord, or None where it is absent or would count wrongly."""
    # After a seek decord counts what comes out of the decoder, which B-frames put out of step, and beyond what it can
    # decode it repeats the last frame.
    exact = index.ordered and not index.counted and not index.cut_off
    if not exact or importlib.util.find_spec("decord") is None:
        return None
    if not container.format.name.startswith(("mov", "matroska")):
        return None
    try:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # One thread: loaders bring their own processes, and threads inside each of them only contend. A reader lives
        # for one call: it keeps every buffer it ever needed, and does not survive a fork.
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != len(index):  # it counts frames that an edit list hides
            return None
        batch = reader.get_batch(unique.tolist())
    except Exception:  # decord raises what its C++ side throws, and an import may fail on a missing library
        return None
    # A notebook may have set decord's bridge to another library, which changes what it returns.
    frames = np.asarray(batch.asnumpy() if hasattr(batch, "asnumpy") else batch)
    return frames if frames.ndim == 4 and len(frames) == len(unique) else None


def _check_inside(path: Path, index: Index, numbers: npt.NDArray[np.int64]) -> None:
    count = len(index)
    outside = [int(i) for i in numbers if not 0 <= i < count]
    if not outside:
        return
    if not count:
        remedy = ": copy it again"
    elif index.cut_off and outside[0] >= 0:
        remedy = f", although its header promises {_promise(index)}: it is cut off, copy it again"
    else:
        remedy = f": use 0 to {count - 1}"
    raise MgkitError(f"frame {some(outside)} was asked for but {path} has {count} frames{remedy}.")


def _promise(index: Index) -> str:
    return str(index.promised or f"about {len(index) + round(index.missing)}")


def _cut_off(path: Path, index: Index) -> str:
    return (
        f"{path} is cut off: its header promises {_promise(index)} frames and {len(index)} are there; "
        "copy it again from its source, or re-encode what is left with ffmpeg."
    )


def _no_frames(path: Path) -> str:
    return f"{path} has a video track of which no frame can be decoded: copy or export it again."


def _lost(path: Path, numbers: Sequence[int]) -> str:
    return (
        f"frame {some(numbers)} of {path} cannot be decoded: the file is damaged or cut off, copy it again."
    )
