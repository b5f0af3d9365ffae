"""Exact frames of a video: probe a file, decode frames of it, or stream through it.

Frames are identified by their presentation times and never by counting what a decoder gives after a seek: with
B-frames, open groups of pictures (HEVC's default) and damaged packets the two differ.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, counted, some

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

Frames = npt.NDArray[np.uint8]

LIBRARIES = ("pyav", "decord")

# The header of an intact file may promise a frame or two more than it holds (an edit list, a last open frame). A larger
# shortfall means that the file was truncated.
_TOLERATED_SHORTFALL = 2

# Containers whose seeks land on the requested key-frame; in others (MPEG streams) they land near it, and a decoder may
# start with frames whose references are missing.
_SEEKABLE = ("mov", "matroska", "avi", "flv")


@dataclass(frozen=True)
class VideoInfo:
    """Frames, rate and size of a video.

    Attributes:
        frames: number of frames that can be decoded, which may differ from the header's.
        fps: average frames per second.
        width: pixels, after the rotation that the file asks for.
        height: pixels, after the rotation that the file asks for.
    """

    frames: int
    fps: float
    width: int
    height: int


def is_video(path: str | Path) -> bool:
    """Whether FFmpeg finds moving pictures in a file, whatever its name; no frame is decoded."""
    import av

    quiet_av()
    try:
        with av.open(f"file:{path}") as container:
            # Every picture is a video to FFmpeg, and every text a screen of a terminal.
            still = container.format.name.endswith("_pipe") or container.format.name in (
                "image2",
                "tty",
                "ico",
            )
            return not still and bool(_tracks(container))
    except (av.error.FFmpegError, OSError, UnicodeError):
        return False


def probe(path: str | Path) -> VideoInfo:
    """Count the frames of a video that can be decoded, and find its rate and size.

    Every packet is inspected, so the count is that of the file and not of its header; only the first frame is decoded.

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
    """The result of `probe` for an opened file, its index, and the quarter turns of its pictures."""
    index = read_index(path, container, stream)
    if index.cut_off:
        raise MgkitError(_cut_off(path, index))
    first = next(numbered(path, container, stream, index, 0), None)
    if first is None:
        raise MgkitError(_no_frames(path))
    width, height = upright_size(first[1])
    fps = float(stream.average_rate or stream.guessed_rate or 0.0)
    turns = round(first[1].rotation / 90) % 4
    return VideoInfo(frames=len(index), fps=fps, width=width, height=height), index, turns


def frame_times(index: Index, stream: VideoStream, fps: float) -> npt.NDArray[np.float64]:
    """(n,) seconds from the first frame to each, as the file states them, else at a rate."""
    unit = 1 / fps if index.counted or stream.time_base is None else float(stream.time_base)
    return (index.times - index.times[0]) * unit


def read_frames(
    path: str | Path, indices: Sequence[int] | npt.NDArray[np.integer], library: str = "pyav"
) -> Frames:
    """Decode exact frames of a video.

    Args:
        path: any video that FFmpeg reads.
        indices: 0-based frame numbers in presentation order, in any order and with repeats; each is decoded once.
        library: "pyav", or "decord", which gives the same frames more slowly and is not used where it is absent or
            would miscount (B-frames, truncated files, containers other than MP4 and Matroska).

    Returns:
        (n, H, W, 3) uint8 RGB frames in the order of `indices`, n = len(indices).

    Raises:
        MgkitError: the file is missing, empty, not a video or has no picture; `indices` is empty; an index lies
            outside the video, its frame cannot be decoded because the file is cut off or damaged, or it has another
            size than the first frame of the file.
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
        sizes = OneSize(path, stream, index)
        frames = _by_decord(path, container, stream, index, unique, sizes) if library == "decord" else None
        if frames is None:
            frames = _by_pyav(path, container, stream, index, unique, sizes)
    return frames if len(unique) == len(wanted) and (unique == wanted).all() else frames[places]


def stream_frames(
    path: str | Path, start: int = 0, end: int | None = None, *, threads: int = 1, index: Index | None = None
) -> Iterator[Frames]:
    """Decode a span of a video one frame at a time, whatever its length: one frame is held in memory.

    Each call inspects every packet of the file first, so go once through a long video rather than once per clip, or
    give its `index`.

    Args:
        path: any video that FFmpeg reads.
        start: first frame, 0-based in presentation order.
        end: one past the last frame; None = to the end of the video.
        threads: of the decoder.
        index: of the same file, as `inspect` gives it.

    Yields:
        (H, W, 3) uint8 RGB frames in order, end - start of them; each is the caller's own.

    Raises:
        MgkitError: at the first frame: the file is missing, empty, not a video, has no picture, is cut off before
            `end`, or the span is empty or reaches outside the video. Later: a frame that cannot be decoded, or has
            another size than the first one of the file.
    """
    from av.video.reformatter import VideoReformatter

    path = Path(path)
    with opened(path, threads) as (container, stream):
        index = read_index(path, container, stream) if index is None else index
        if end is None:
            if index.cut_off:
                raise MgkitError(_cut_off(path, index))
            end = len(index)
        if not len(index):
            raise MgkitError(_no_frames(path))
        if not 0 <= start < end:
            raise MgkitError(
                f"frames {start} to {end} of {path} are not a span: give 0 <= start < end; it has "
                f"{counted(len(index), 'frame')}."
            )
        _check_inside(path, index, np.array([start, end - 1]))
        reformatter, following, sizes = VideoReformatter(), start, OneSize(path, stream, index)
        for number, frame in numbered(path, container, stream, index, start):
            if number < start:
                continue
            if number != following:
                break
            sizes.check(number, frame)
            yield picture(frame, reformatter)
            following += 1
            if following == end:
                return
    raise MgkitError(_lost(path, [following]))


# --- what is in a file ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Index:
    """The intact frames of a file in presentation order.

    Attributes:
        times: (n,) presentation times in units of the track, ascending; frame numbers when `counted`.
        keys: (k,) numbers of the key-frames, where decoding can start, ascending.
        ordered: frames are stored in presentation order, so that counting after a seek is exact too.
        counted: the file states no times, so that frames are identified by decoding them all in order.
        promised: frame count of the header, 0 = none.
        missing: frames that would fit between the last one and the end stated by the header.
    """

    times: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    ordered: bool
    counted: bool
    promised: int
    missing: float

    def __len__(self) -> int:
        return len(self.times)

    @property
    def cut_off(self) -> bool:
        """The header promises clearly more than there is, in frames and in time: an edit list changes only one."""
        shortfall = self.missing if not self.promised else min(self.promised - len(self), self.missing)
        return shortfall > _TOLERATED_SHORTFALL

    def keys_before(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The key-frames where decoding must start to get these frames; 0 where none is known."""
        places = np.searchsorted(self.keys, numbers, side="right") - 1
        return np.where(places >= 0, self.keys[places], 0) if len(self.keys) else np.zeros_like(numbers)


@contextlib.contextmanager
def opened(path: Path, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video track; a `MgkitError` explains why that is impossible.

    Args:
        path: the file.
        threads: of the decoder; loaders bring their own processes, and threads inside each of them only compete.
    """
    import av

    quiet_av()
    try:
        if not path.exists():
            raise MgkitError(f"there is no video {path}: check the path.")
        if not path.is_file():
            raise MgkitError(f"{path} is not a file: give the path of a video.")
        size = path.stat().st_size
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror}): check its permissions.") from None
    if not size:
        raise MgkitError(f"{path} is an empty file: copy the video again.")
    try:
        # Without "file:" FFmpeg would not take "clip:1.mp4" or "%03d.png" for file names.
        container = av.open(f"file:{path}")
    except PermissionError:
        raise MgkitError(f"{path} cannot be read: check its permissions.") from None
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise MgkitError(
            f"{path} is not a video, or is cut off ({short(error)}): copy it again or convert it to MP4."
        ) from None
    with container:
        tracks = _tracks(container)
        if not tracks:
            raise MgkitError(
                f"{path} has no picture, only {_kinds(container)}: give a file with a video track."
            )
        stream = tracks[0]
        try:
            stream.codec_context.thread_count = threads
            yield container, stream
        except av.error.FFmpegError as error:
            raise MgkitError(
                f"{path} cannot be decoded ({short(error)}): copy it again or convert it to MP4."
            ) from None


def read_index(path: Path, container: InputContainer, stream: VideoStream) -> Index:
    """Inspect every packet of a track without decoding one. Leaves the container at its end."""
    import av

    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return _counted(path)  # its times are those of decoding
    times: list[int] = []  # in the order of the file, which is the order of decoding
    keys: list[bool] = []
    end = 0
    with contextlib.suppress(av.error.FFmpegError):  # what was read up to a tear counts
        for packet in container.demux(stream):
            # The closing packet has no data; a corrupt one is the torn end of a cut file.
            if not packet.size or packet.is_corrupt or packet.is_discard:
                continue
            if packet.pts is None:
                return _counted(path)
            times.append(packet.pts)
            keys.append(packet.is_keyframe)
            end = max(end, packet.pts + (packet.duration or 0))
    written = np.asarray(times, dtype=np.int64)
    order = np.argsort(written, kind="stable")
    whole = _is_whole(path, container)
    return Index(
        times=written[order],
        keys=np.flatnonzero(np.asarray(keys, dtype=np.bool_)[order]),
        ordered=bool((np.diff(written) > 0).all()),
        counted=False,
        promised=0 if whole else int(stream.frames),
        missing=0.0 if whole else _missing(container, stream, end),
    )


def _counted(path: Path) -> Index:
    """The index of a file without times, such as a raw stream or AVI with B-frames: decoded once, and counted."""
    with opened(path) as (container, stream):
        count = sum(1 for _ in _decoded(container, stream))
        promised = 0 if _is_whole(path, container) else int(stream.frames)
    missing = float(max(0, promised - count))
    return Index(np.arange(count), np.zeros(0, dtype=np.int64), False, True, promised, missing)


def _missing(container: InputContainer, stream: VideoStream, end: int) -> float:
    """Frames that would fit between `end` (in units of the track) and the end stated by the header."""
    if not end or not stream.time_base or not stream.average_rate:
        return 0.0
    if stream.duration:
        return float(
            ((stream.start_time or 0) + stream.duration - end) * stream.time_base * stream.average_rate
        )
    # Matroska gives the duration of the file alone, which another track may fill.
    if "matroska" in container.format.name and container.duration and len(container.streams) == 1:
        return float((container.duration / 1_000_000 - float(end * stream.time_base)) * stream.average_rate)
    return 0.0


def _is_whole(path: Path, container: InputContainer) -> bool:
    """True for an AVI of the stated length: the frame count in its header, often a camera's guess, is then ignored."""
    if container.format.name != "avi":
        return False
    with path.open("rb") as file:
        head = file.read(8)
    return head[:4] == b"RIFF" and int.from_bytes(head[4:], "little") + 8 <= path.stat().st_size


def can_seek(container: InputContainer, index: Index) -> bool:
    """True if a seek in this file lands on the requested key-frame."""
    return not index.counted and container.format.name.startswith(_SEEKABLE)


def numbered(
    path: Path, container: InputContainer, stream: VideoStream, index: Index, first: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their numbers, ascending, from `first` or a little before it to the end of the file.

    Decoding starts at the nearest key-frame where the container can be trusted to find it; otherwise, and where a seek
    went too far, at the start of the file. A frame that cannot be decoded is left out, which shows in the numbers.
    """
    key = int(index.keys_before(np.array([first]))[0])
    if len(index) and can_seek(container, index):
        container.seek(int(index.times[key]), stream=stream)
        frames = _with_numbers(container, stream, index)
        head = next(frames, None)
        if head is not None and head[0] <= first:
            yield head
            yield from frames
            return
    with opened(path, stream.codec_context.thread_count) as (again, track):
        yield from _with_numbers(again, track, index)


def _with_numbers(
    container: InputContainer, stream: VideoStream, index: Index
) -> Iterator[tuple[int, av.VideoFrame]]:
    number = -1
    for frame in _decoded(container, stream):
        following = number + 1
        if index.counted or (following < len(index) and frame.pts == index.times[following]):
            number = following
        elif frame.pts is None:
            continue
        else:
            place = int(np.searchsorted(index.times, frame.pts))
            if place == len(index) or index.times[place] != frame.pts:
                continue  # an edit list hides it
            number = place
        yield number, frame


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Frames from the current position of the container on; packets that cannot be decoded are skipped."""
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


def picture(frame: av.VideoFrame, reformatter: VideoReformatter) -> Frames:
    """(H, W, 3) uint8 RGB, turned upright as players (and decord) do.

    The reformatter keeps its setup for a size from one frame to the next, and one thread is fastest at the sizes of
    clips: by default swscale starts one per core for every frame.
    """
    rgb = reformatter.reformat(frame, format="rgb24", threads=1)
    image = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """(width, height) of a frame, turned upright."""
    turned = round(frame.rotation / 90) % 2
    return (frame.height, frame.width) if turned else (frame.width, frame.height)


class OneSize:
    """The size that every picture of a file must have, that of its first one: recordings of a browser change theirs.

    Key-points and crops are in pixels of the first picture, so those of another size would be shown in the wrong place.

    Args:
        path, stream, index: the file, of which no frame has been decoded yet.
        size: (width, height) of its first picture, upright, where that is known.
    """

    def __init__(
        self, path: Path, stream: VideoStream, index: Index, size: tuple[int, int] | None = None
    ) -> None:
        self._path, self._index, self._size = path, index, size
        # Decoding changes what the context states.
        self._stated = (stream.codec_context.width, stream.codec_context.height)

    def fault(self, number: int, frame: av.VideoFrame) -> str:
        """A sentence on a frame of another size, "" for one of the right size."""
        size = upright_size(frame)
        if self._size is None:
            # The header nearly always states the size of the first picture; where it does not, that is decoded.
            self._size = size if (frame.width, frame.height) == self._stated else self._first(size)
        if size == self._size:
            return ""
        (width, height), (other_width, other_height) = self._size, size
        return (
            f"{self._path} changes its size from {width}x{height} to {other_width}x{other_height} by frame {number}: "
            f"convert it to one size, for example with ffmpeg -i IN -vf scale={width}:{height} OUT"
        )

    def check(self, number: int, frame: av.VideoFrame) -> None:
        """Raise a `MgkitError` on a frame of another size."""
        if fault := self.fault(number, frame):
            raise MgkitError(f"{fault}.")

    def _first(self, otherwise: tuple[int, int]) -> tuple[int, int]:
        with opened(self._path) as (container, stream):
            first = next(numbered(self._path, container, stream, self._index, 0), None)
        return otherwise if first is None else upright_size(first[1])


def quiet_av() -> None:
    """Silence FFmpeg, which prints to stderr what a `MgkitError` says."""
    import av

    av.logging.set_level(av.logging.PANIC)


def short(error: BaseException) -> str:
    """The text of an FFmpeg error, without its number and path."""
    return str(getattr(error, "strerror", None) or error).split(";")[0].strip().rstrip(".")


def _tracks(container: InputContainer) -> list[VideoStream]:
    """The video tracks of a file; the cover picture of a music file, which is one to FFmpeg, is not."""
    import av

    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _kinds(container: InputContainer) -> str:
    return some(sorted({stream.type for stream in container.streams})) or "an empty list of tracks"


# --- decoding -------------------------------------------------------------------------------------------------------


def _by_pyav(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    index: Index,
    unique: npt.NDArray[np.int64],
    sizes: OneSize,
) -> Frames:
    """Frames by PyAV (n, H, W, 3), each decoded from the nearest key-frame before it."""
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    frames: Frames | None = None
    found = np.zeros(len(unique), dtype=np.bool_)
    for members in _runs(index, unique):
        numbers = unique[members]
        for number, frame in numbered(path, container, stream, index, int(numbers[0])):
            place = int(np.searchsorted(numbers, number))
            if place < len(numbers) and numbers[place] == number:
                sizes.check(number, frame)
                image = picture(frame, reformatter)
                if frames is None:
                    frames = np.empty((len(unique), *image.shape), dtype=np.uint8)
                frames[members.start + place] = image
                found[members.start + place] = True
            if number >= numbers[-1]:
                break
    if frames is None or not found.all():
        raise MgkitError(_lost(path, unique[~found].tolist()))
    return frames


def _runs(index: Index, unique: npt.NDArray[np.int64]) -> list[slice]:
    """Sorted frames grouped by the key-frame where decoding must start."""
    starts = [0, *(np.flatnonzero(np.diff(index.keys_before(unique))) + 1).tolist()]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(unique)], strict=True)]


def _by_decord(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    index: Index,
    unique: npt.NDArray[np.int64],
    sizes: OneSize,
) -> Frames | None:
    """Frames by decord, or None where it is absent, would count wrongly, or would resize pictures."""
    # After a seek decord counts what comes out of the decoder, which is wrong with B-frames, and beyond what it can
    # decode it repeats the last frame.
    exact = index.ordered and not index.counted and not index.cut_off
    if not exact or importlib.util.find_spec("decord") is None:
        return None
    if not container.format.name.startswith(("mov", "matroska")):
        return None
    try:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        # One thread, see `opened`. A reader is used for one call: it keeps every buffer it ever needed, and does not
        # survive a fork.
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != len(index):  # it counts frames that an edit list hides
            return None
        batch = reader.get_batch(unique.tolist())
    except Exception:  # decord raises what its C++ side throws, and an import may fail on a missing library
        return None
    # A notebook may have set decord's bridge to another library, which changes what it returns.
    frames = np.asarray(batch.asnumpy() if hasattr(batch, "asnumpy") else batch)
    if frames.ndim != 4 or len(frames) != len(unique):
        return None
    # It stretches pictures of another size to that of the header. H.264 and the like change theirs at key-frames only.
    if stream.codec_context.name in ("vp9", "libvpx-vp9", "av1", "libdav1d"):
        return None
    for key in np.unique(index.keys_before(unique)).tolist():
        head = next(numbered(path, container, stream, index, key), None)
        if head is None or sizes.fault(*head) or upright_size(head[1]) != (frames.shape[2], frames.shape[1]):
            return None
    return frames


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
    raise MgkitError(f"frame {some(outside)} was asked for but {path} has {counted(count, 'frame')}{remedy}.")


def _promise(index: Index) -> str:
    return str(index.promised or f"about {len(index) + round(index.missing)}")


def _cut_off(path: Path, index: Index) -> str:
    return (
        f"{path} is cut off: its header promises {_promise(index)} frames, it holds {len(index)}; "
        "copy it again from its source, or re-encode what is left with ffmpeg."
    )


def _no_frames(path: Path) -> str:
    return f"{path} has a video track of which no frame can be decoded: copy or export it again."


def _lost(path: Path, numbers: Sequence[int]) -> str:
    return (
        f"frame {some(numbers)} of {path} cannot be decoded: the file is damaged or cut off, copy it again."
    )
