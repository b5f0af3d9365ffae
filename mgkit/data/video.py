"""The one module that knows a video library: probe, read exact frames, write.

Frames are counted in presentation order from 0. Reading prefers decord and falls back on PyAV wherever decord is
absent or refuses a file; both give the same frames, upright when the file asks for a rotation. No reader outlives a
call: decord keeps its buffers for as long as the reader lives, and a reader does not survive a fork.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, some
from mgkit.files import atomic

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

Frames = npt.NDArray[np.uint8]

# A header may promise a frame or two more than a sound file holds (an edit list, a last open frame). A larger
# shortfall is a file that was cut off on its way here.
_TOLERATED_SHORTFALL = 2


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


@dataclass(frozen=True)
class _Index:
    """Presentation times of the whole frames of a file in order, and which of them are key-frames."""

    times: npt.NDArray[np.int64]
    keys: npt.NDArray[np.bool_]
    promised: int  # frame count of the header, 0 = it has none
    missing: float  # frames that would fit between the last one and the end that the header gives

    @property
    def cut_off(self) -> bool:
        """The header promises clearly more than there is, in frames and in time: an edit list changes only one."""
        return min(self.promised - len(self.times), self.missing) > _TOLERATED_SHORTFALL


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
    with _opened(path) as (container, stream):
        return _inspect(path, container, stream)[0]


def read_frames(path: str | Path, indices: Sequence[int] | npt.NDArray[np.integer]) -> Frames:
    """Decode exact frames of a video.

    Args:
        path: any video that FFmpeg reads.
        indices: 0-based frame numbers in presentation order, in any order and with repeats; each is decoded once.

    Returns:
        (n, H, W, 3) uint8 RGB frames in the order of `indices`, n = len(indices).

    Raises:
        MgkitError: the file is missing, empty, not a video or has no picture; `indices` is empty; an index lies
            outside the video, or its frame cannot be decoded because the file is cut off or damaged.
    """
    path = Path(path)
    wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
    if not len(wanted):
        raise MgkitError(f"no frames of {path} were asked for: give at least one index.")
    unique, places = np.unique(wanted, return_inverse=True)
    with _opened(path) as (container, stream):
        index = _index(container, stream)
        _check_inside(path, index, unique)
        frames = _read_decord(path, index, unique)
        if frames is None:
            frames = _read_av(path, container, stream, index, unique)
    return frames[places]


def write_video(
    path: str | Path,
    frames: Iterable[Frames],
    fps: float,
    key_frame_distance: int = 8,
    quality: float = 20.0,
) -> int:
    """Write an H.264 video (yuv420p, MP4 with its index in front) that browsers play and that seeks cheaply.

    There are no B-frames and a key-frame every `key_frame_distance` frames, so that a single frame costs at most
    that many decodes. One encoder thread: the same frames give the same bytes on the same machine. The file appears
    whole or not at all.

    Args:
        path: where to write; the name should end in `.mp4`.
        frames: (H, W, 3) uint8 RGB pictures of one size; H and W even, which yuv420p needs. May be a generator.
        fps: frames per second, above 0.
        key_frame_distance: frames from one key-frame to the next, at least 1.
        quality: constant rate factor of x264, 0 (lossless) to 51 (worst); 20 is visually close to the source.

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
    _quiet_av()
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
            stream = _h264_stream(container, fps, size, key_frame_distance, quality)
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
            f"{path} cannot be written ({_short(error)}): check free space and permissions."
        ) from None
    return count


def _h264_stream(
    container: OutputContainer, fps: float, size: tuple[int, int], key_frame_distance: int, quality: float
) -> VideoStream:
    """The track that every prepared video is written to: see `write_video`. `size` is (height, width)."""
    stream = container.add_stream("libx264", rate=_rational(fps))
    stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
    stream.codec_context.thread_count = 1
    stream.options = {
        "crf": f"{quality:g}",
        "preset": "veryfast",
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


# --- decord ---------------------------------------------------------------------------------------------------------


def _read_decord(path: Path, index: _Index, unique: npt.NDArray[np.int64]) -> Frames | None:
    """Frames by decord, or None where it is absent or cannot be trusted with the file."""
    if importlib.util.find_spec("decord") is None or index.cut_off:
        return None
    try:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # One thread: loaders bring their own processes, and threads inside each of them only contend.
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != len(
            index.times
        ):  # it counts frames that an edit list hides, then repeats the last one
            return None
        batch = reader.get_batch(unique.tolist())
    except Exception:  # decord raises what its C++ side throws, and an import may fail on a missing library
        return None
    # A notebook may have set decord's bridge to another library, which changes what it returns.
    frames = np.asarray(batch.asnumpy() if hasattr(batch, "asnumpy") else batch)
    return frames if frames.ndim == 4 and len(frames) == len(unique) else None


# --- PyAV -----------------------------------------------------------------------------------------------------------


def _check_inside(path: Path, index: _Index, unique: npt.NDArray[np.int64]) -> None:
    count = len(index.times)
    outside = [int(i) for i in unique if not 0 <= i < count]
    if not outside:
        return
    if not count:
        remedy = ": copy it again"
    elif index.cut_off and outside[0] >= 0:
        remedy = f", although its header promises {index.promised}: it is cut off, copy it again"
    else:
        remedy = f": use 0 to {count - 1}"
    raise MgkitError(f"frame {some(outside)} was asked for but {path} has {count} frames{remedy}.")


def _read_av(
    path: Path, container: InputContainer, stream: VideoStream, index: _Index, unique: npt.NDArray[np.int64]
) -> Frames:
    """Frames by PyAV (n, H, W, 3): decode on from the nearest key-frame before each frame that is wanted."""
    found: dict[int, Frames] = {}
    for key, members in _runs(unique, index.keys):
        if key:
            container.seek(int(index.times[key]), stream=stream)
        else:
            container.seek(0)
        wanted = {int(index.times[i]): i for i in members}
        last = int(index.times[members[-1]])
        for frame in _decoded(container, stream):
            if frame.pts in wanted:
                found[wanted[frame.pts]] = _picture(frame)
            if frame.pts is not None and frame.pts >= last:
                break
    lost = [int(i) for i in unique if int(i) not in found]
    if lost:
        raise MgkitError(
            f"frame {some(lost)} of {path} cannot be decoded: the file is damaged or cut off, copy it again."
        )
    return np.stack([found[int(i)] for i in unique])


def _runs(unique: npt.NDArray[np.int64], keys: npt.NDArray[np.bool_]) -> list[tuple[int, list[int]]]:
    """Group sorted frames by the key-frame that decoding must begin at: [(key-frame, frames), ...]."""
    positions = np.flatnonzero(keys)
    runs: dict[int, list[int]] = {}
    for i in unique:
        at = int(np.searchsorted(positions, i, side="right")) - 1
        runs.setdefault(int(positions[at]) if at >= 0 else 0, []).append(int(i))
    return sorted(runs.items())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video track, or say in one sentence why that is impossible."""
    import av

    _quiet_av()
    if not path.exists():
        raise MgkitError(f"there is no video {path}: check the path.")
    if not path.is_file():
        raise MgkitError(f"{path} is not a file: give the path of a video.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror}): check its permissions.") from None
    if not size:
        raise MgkitError(f"{path} is an empty file: copy the video again.")
    try:
        container = av.open(str(path))
    except PermissionError:
        raise MgkitError(f"{path} cannot be read: check its permissions.") from None
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise MgkitError(
            f"{path} is not a video, or is cut off ({_short(error)}): copy it again or convert it to MP4."
        ) from None
    with container:
        if not container.streams.video:
            raise MgkitError(
                f"{path} has no picture, only {_kinds(container)}: give a file with a video track."
            )
        stream = container.streams.video[0]
        try:
            stream.codec_context.thread_count = 1
            yield container, stream
        except av.error.FFmpegError as error:
            raise MgkitError(
                f"{path} cannot be decoded ({_short(error)}): copy it again or convert it to MP4."
            ) from None


def _inspect(path: Path, container: InputContainer, stream: VideoStream) -> tuple[VideoInfo, _Index]:
    """What `probe` says of an opened file, and the index that it found on the way."""
    index = _index(container, stream)
    count = len(index.times)
    if index.cut_off:
        raise MgkitError(
            f"{path} is cut off: its header promises {index.promised} frames and {count} are there; "
            "copy it again from its source, or re-encode what is left with ffmpeg."
        )
    container.seek(0)
    first = next(_decoded(container, stream), None)
    if first is None or not count:
        raise MgkitError(
            f"{path} has a video track of which no frame can be decoded: copy or export it again."
        )
    height, width = _picture(first).shape[:2]
    fps = float(stream.average_rate or stream.guessed_rate or 0.0)
    return VideoInfo(frames=count, fps=fps, width=width, height=height), index


def _index(container: InputContainer, stream: VideoStream) -> _Index:
    """Look at every packet of a track without decoding one. Leaves the container at its end."""
    import av

    times: list[int] = []
    keys: list[bool] = []
    end = 0
    with contextlib.suppress(av.error.FFmpegError):  # what was read up to a tear counts
        for packet in container.demux(stream):
            # The closing packet has no data; a corrupt one is the torn end of a cut file.
            if not packet.size or packet.is_corrupt or packet.is_discard:
                continue
            if (
                packet.pts is None
            ):  # only decoding tells the order; without key-frames it is always from the start
                container.seek(0)
                shown = [frame.pts for frame in _decoded(container, stream)]
                times = [time for time in shown if time is not None]
                keys = [False] * len(times)
                break
            times.append(packet.pts)
            keys.append(packet.is_keyframe)
            end = max(end, packet.pts + (packet.duration or 0))
    missing = 0.0
    if end and stream.duration and stream.time_base and stream.average_rate:
        missing = float(
            ((stream.start_time or 0) + stream.duration - end) * stream.time_base * stream.average_rate
        )
    order = np.argsort(np.asarray(times, dtype=np.int64), kind="stable")
    return _Index(
        np.asarray(times, dtype=np.int64)[order],
        np.asarray(keys, dtype=np.bool_)[order],
        int(stream.frames),
        missing,
    )


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Frames from where the container stands; packets that cannot be decoded are passed over."""
    import av

    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                continue
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue
    except av.error.InvalidDataError:
        return


def _picture(frame: av.VideoFrame) -> Frames:
    """(H, W, 3) uint8 RGB, turned upright as players (and decord) do."""
    picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _quiet_av() -> None:
    """FFmpeg prints to stderr by itself what we say in a `MgkitError`."""
    import av

    av.logging.set_level(av.logging.PANIC)


def _rational(fps: float) -> Any:
    from fractions import Fraction

    return Fraction(fps).limit_denominator(100_000)


def _kinds(container: InputContainer) -> str:
    return some(sorted({stream.type for stream in container.streams})) or "nothing that FFmpeg knows"


def _short(error: BaseException) -> str:
    """What an FFmpeg error says, without its number and path."""
    return str(getattr(error, "strerror", None) or error).split(";")[0].strip().rstrip(".")
