"""What lies in a video file: opened, its frames listed in the order they are shown, decoded from any of them on.

Frames are told apart by their presentation times and never by counting what a decoder gives after a seek: with
B-frames, open groups of pictures (HEVC's default) and damaged packets the two differ.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, some

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

Frames = npt.NDArray[np.uint8]

# A header may promise a frame or two more than a sound file holds (an edit list, a last open frame). A larger
# shortfall is a file that was cut off on its way here.
_TOLERATED_SHORTFALL = 2

# Containers whose seeks land on the key-frame that is asked for; in others (MPEG streams) they land near it, after
# which a decoder may begin with frames that lack what they refer to.
_SEEKABLE = ("mov", "matroska", "avi", "flv")


@dataclass(frozen=True)
class Index:
    """The whole frames of a file in the order they are shown.

    Attributes:
        times: (n,) presentation times in units of the track, ascending; mere numbers when `counted`.
        keys: (k,) numbers of the key-frames, which decoding may begin at, ascending.
        ordered: frames lie in the file in the order they are shown, so that counting after a seek is exact too.
        counted: the file states no times, so that frames are told apart by decoding them all in order.
        promised: frame count of the header, 0 = it has none.
        missing: frames that would fit between the last one and the end that the header gives.
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
        """The key-frames that decoding must begin at to get these frames; 0 where none is known."""
        places = np.searchsorted(self.keys, numbers, side="right") - 1
        return np.where(places >= 0, self.keys[places], 0) if len(self.keys) else np.zeros_like(numbers)


@contextlib.contextmanager
def opened(path: Path, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video track, or say in one sentence why that is impossible.

    Args:
        path: the file.
        threads: of the decoder; loaders bring their own processes, and threads inside each of them only contend.
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
        # As an URL "clip:1.mp4" or "%03d.png" would mean something else to FFmpeg than a file of that name.
        container = av.open(f"file:{path}")
    except PermissionError:
        raise MgkitError(f"{path} cannot be read: check its permissions.") from None
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise MgkitError(
            f"{path} is not a video, or is cut off ({short(error)}): copy it again or convert it to MP4."
        ) from None
    with container:
        # The cover picture of a music file is a video track to FFmpeg.
        tracks = [
            s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
        ]
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
    """Look at every packet of a track without decoding one. Leaves the container at its end."""
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
    """The index of a file that states no times, as raw streams and AVI with B-frames: decoded once, and counted."""
    with opened(path) as (container, stream):
        count = sum(1 for _ in _decoded(container, stream))
        promised = 0 if _is_whole(path, container) else int(stream.frames)
    missing = float(max(0, promised - count))
    return Index(np.arange(count), np.zeros(0, dtype=np.int64), False, True, promised, missing)


def _missing(container: InputContainer, stream: VideoStream, end: int) -> float:
    """Frames that would fit between `end` (in units of the track) and the end that the header gives."""
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
    """An AVI that is as long as it says: the frame count in its header, often a guess of a camera, is then wrong."""
    if container.format.name != "avi":
        return False
    with path.open("rb") as file:
        head = file.read(8)
    return head[:4] == b"RIFF" and int.from_bytes(head[4:], "little") + 8 <= path.stat().st_size


def can_seek(container: InputContainer, index: Index) -> bool:
    """Whether a seek in this file lands on the key-frame that is asked for."""
    return not index.counted and container.format.name.startswith(_SEEKABLE)


def numbered(
    path: Path, container: InputContainer, stream: VideoStream, index: Index, first: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their numbers, ascending, from `first` or a little before it to the end of the file.

    Decoding begins at the nearest key-frame where the container can be trusted to find it, otherwise, and where a
    seek went too far, at the start of the file. A frame that cannot be decoded is left out: the numbers tell.
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


def picture(frame: av.VideoFrame, reformatter: VideoReformatter) -> Frames:
    """(H, W, 3) uint8 RGB, turned upright as players (and decord) do.

    The reformatter keeps what it works out about a size from one frame to the next, and one thread is quickest at the
    sizes of clips: by default swscale starts as many as there are cores for every frame.
    """
    rgb = reformatter.reformat(frame, format="rgb24", threads=1)
    image = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def quiet_av() -> None:
    """FFmpeg prints to stderr by itself what we say in a `MgkitError`."""
    import av

    av.logging.set_level(av.logging.PANIC)


def short(error: BaseException) -> str:
    """What an FFmpeg error says, without its number and path."""
    return str(getattr(error, "strerror", None) or error).split(";")[0].strip().rstrip(".")


def _kinds(container: InputContainer) -> str:
    return some(sorted({stream.type for stream in container.streams})) or "an empty list of tracks"
