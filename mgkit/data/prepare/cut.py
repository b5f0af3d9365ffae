"""All clips of a source video in one pass: decode, crop, resize, encode.

An untrimmed video is decoded once, in order, whatever the number of clips and however they overlap; a stretch that no
clip needs is skipped where a key-frame allows it. One picture is held at a time. Pictures stay in the YUV planes that
the decoder gives and the encoder takes: cropping and resizing these is three times less work than going to RGB and
back, and loses nothing.

Apart from `mgkit.data.video` this is the only module that uses a video library.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgkit.data.report import LOOKS
from mgkit.data.video.decode import Index, OneSize, can_seek, frame_times, inspect, numbered, opened, short
from mgkit.data.video.encode import h264_stream
from mgkit.errors import MgkitError
from mgkit.files import atomic

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

KEY_FRAME_DISTANCE = 8
QUALITY = 21.0
FORMAT = 3  # of the videos: raise it when the same source would give other pictures

Plane = npt.NDArray[np.uint8]


class SourceError(MgkitError):
    """A source video cannot be used; its clips are left out, other videos are not affected."""


@dataclass(frozen=True)
class Crop:
    """A square in source pixels, all three even, so that it cuts whole chroma pixels; it may reach beyond the frame."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Cut:
    """One clip to be cut: frames [start, stop) of the source, cropped, resized, written to `target`."""

    clip_id: str
    target: Path
    start: int
    stop: int
    crop: Crop


@dataclass(frozen=True)
class Written:
    """Result of a cut.

    Attributes:
        bytes: size of the file.
        sha256: of the file.
        looks: (LOOKS, size, size) uint8 brightness of frames at 1/6, 3/6 and 5/6 of the clip.
        damaged: frames of the clip, or that it was predicted from, which the decoder had to patch.
    """

    bytes: int
    sha256: str
    looks: Plane
    damaged: int


@dataclass(frozen=True)
class SourceInfo:
    """Properties of a source video, recorded from one `prepare` to the next.

    Attributes:
        bytes, mtime_ns: of the file when it was probed; another value means that it has changed.
        frames, fps, width, height: see `mgkit.data.video.VideoInfo`.
        turned: rotation that the file asks for, degrees.
        fastest, slowest: shortest and longest time from one frame to the next, in milliseconds.
        steady: hardly any frame lasts more than half as long again, or half as long, as the others.
    """

    bytes: int
    mtime_ns: int
    frames: int
    fps: float
    width: int
    height: int
    turned: int = 0
    fastest: float = 0.0
    slowest: float = 0.0
    steady: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Source:
    """An opened source video. Make one with `open_source`."""

    path: Path
    info: SourceInfo
    _container: InputContainer
    _stream: VideoStream
    index: Index
    _rotation: int = field(default=0)
    _damaged: set[int] = field(default_factory=set)  # all frames that were decoded with errors

    def cut(
        self, cuts: Sequence[Cut], size: int, fps: float, stopped: Callable[[], bool] | None = None
    ) -> dict[str, Written | str]:
        """Write clips in one pass.

        Args:
            cuts: spans within the video, in any order; they may overlap.
            size: side of the clips in pixels, even.
            fps: of the clips, above 0.
            stopped: asked at each frame; once it is True a `KeyboardInterrupt` is raised, and what has begun is
                removed.

        Returns:
            For each clip id what was written, or a sentence on why it could not be.

        Raises:
            MgkitError: the clips cannot be written (a full disk, a read-only folder).
        """
        waiting = sorted(cuts, key=lambda cut: (cut.start, cut.clip_id), reverse=True)
        needed = np.zeros(self.info.frames, dtype=np.bool_)
        for cut in cuts:
            needed[cut.start : cut.stop] = True
        made: dict[str, Written | str] = {}
        sizes = self.sizes()
        with contextlib.ExitStack() as writers:
            active: list[_Writer] = []
            for i, frame in self.frames(needed):
                if stopped is not None and stopped():
                    raise KeyboardInterrupt
                while waiting and waiting[-1].start <= i:
                    cut = waiting.pop()
                    if i < cut.stop:  # else all of it was lost, see below
                        active.append(_Writer(cut, size, fps, writers))
                if fault := sizes.fault(i, frame):
                    for writer in active:
                        writer.fault = writer.fault or fault
                elif active:
                    planes, tags = self.planes(frame)
                    for writer in active:
                        writer.add(i, planes, tags)
                for writer in [writer for writer in active if i >= writer.cut.stop - 1]:
                    active.remove(writer)
                    made[writer.cut.clip_id] = writer.finish(self.path, self._patched(writer.cut))
            for writer in active:
                made[writer.cut.clip_id] = writer.finish(self.path, self._patched(writer.cut))
        for cut in cuts:
            made.setdefault(
                cut.clip_id, f"no frame from {cut.start} to {cut.stop - 1} of {self.path} can be decoded"
            )
        return made

    def sizes(self) -> OneSize:
        """What tells a picture of another size than the first one; made before any frame is decoded."""
        return OneSize(self.path, self._stream, self.index, (self.info.width, self.info.height))

    def times(self) -> npt.NDArray[np.float64]:
        """(T,) seconds from the first frame to each, as a player shows them."""
        return frame_times(self.index, self._stream, self.info.fps)

    def planes(self, frame: av.VideoFrame) -> tuple[tuple[Plane, ...], tuple[int, bool]]:
        """Brightness (H, W) and the two colour planes (H/2, W/2) of a frame, upright; its colour space and range."""
        return _planes(frame, self._rotation)

    def _patched(self, cut: Cut) -> int:
        """Number of frames with errors that a clip shows or, from the key-frame before it on, is predicted from."""
        key = int(self.index.keys_before(np.array([cut.start]))[0])
        return sum(key <= number < cut.stop for number in self._damaged)

    def frames(self, needed: npt.NDArray[np.bool_]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames that are needed, in order, as far as they can be decoded."""
        if not can_seek(self._container, self.index):
            for number, picture in numbered(self.path, self._container, self._stream, self.index, 0):
                if picture.is_corrupt:
                    self._damaged.add(number)
                if needed[number]:
                    yield number, picture
            return
        edges = np.flatnonzero(np.diff(np.concatenate([[0], needed.view(np.int8), [0]])))
        place = {int(time): i for i, time in enumerate(self.index.times)}
        wanted = {int(time) for time in self.index.times[needed]}
        frames: Iterator[av.VideoFrame] | None = None
        at = -1  # the last frame that was decoded
        for start, stop in edges.reshape(-1, 2):
            key = int(self.index.keys_before(np.array([start]))[0])
            if frames is None or key > at + 1:
                if key:
                    self._container.seek(int(self.index.times[key]), stream=self._stream)
                else:
                    self._container.seek(0)
                frames = _needed_only(self._container, self._stream, wanted)
            while at < stop - 1:
                frame = next(frames, None)
                if frame is None:
                    break
                here = place.get(frame.pts) if frame.pts is not None else None
                if here is None:
                    continue
                at = here
                if frame.is_corrupt:
                    self._damaged.add(here)
                if needed[here]:
                    yield here, frame


def _needed_only(container: InputContainer, stream: VideoStream, wanted: set[int]) -> Iterator[av.VideoFrame]:
    """Decode on; a frame that is neither wanted nor needed by another one is not decoded at all."""
    import av

    context = stream.codec_context
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                continue
            context.skip_frame = (
                "DEFAULT" if packet.pts is None or packet.pts in wanted or not packet.size else "NONREF"
            )
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue
    except av.error.InvalidDataError:
        return
    finally:
        context.skip_frame = "DEFAULT"


@contextlib.contextmanager
def open_source(path: Path, threads: int = 1) -> Iterator[Source]:
    """Open a video to cut clips from; a `SourceError` names the file and the fault."""
    with contextlib.ExitStack() as stack:
        try:
            stat = path.stat() if path.is_file() else None
            container, stream = stack.enter_context(opened(path, threads))
            info, index, turned = inspect(path, container, stream)
        except MgkitError as error:
            raise SourceError(str(error)) from None
        assert stat is not None
        fastest, slowest, steady = _tempo(index, stream)
        yield Source(
            path,
            SourceInfo(
                stat.st_size, stat.st_mtime_ns, info.frames, info.fps, info.width, info.height,
                turned=90 * turned, fastest=fastest, slowest=slowest, steady=steady,
            ),
            container,
            stream,
            index,
            turned,
        )  # fmt: skip


def _tempo(index: Index, stream: VideoStream) -> tuple[float, float, bool]:
    """Shortest and longest step between frames in milliseconds, and whether nearly all are alike."""
    steps = np.diff(index.times)
    if not len(steps) or stream.time_base is None:
        return 0.0, 0.0, True
    usual = float(np.median(steps))
    other = np.mean((steps > 1.5 * usual) | (steps < 0.5 * usual))
    unit = 1000 * float(stream.time_base)
    return float(steps.min()) * unit, float(steps.max()) * unit, bool(other <= 0.01)


# --- pictures -------------------------------------------------------------------------------------------------------


def _planes(frame: av.VideoFrame, rotation: int) -> tuple[tuple[Plane, ...], tuple[int, bool]]:
    """Brightness (H, W) and the two colour planes (H/2, W/2) of a frame, upright; its colour space and range."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
        rows = rows[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
        picture = rows[:, : plane.width]
        planes.append(np.rot90(picture, rotation) if rotation else picture)
    full = frame.format.name == "yuvj420p" or int(frame.color_range) == 2
    return tuple(planes), (int(frame.colorspace), full)


def crop_plane(plane: Plane, x: int, y: int, side: int, size: int, outside: int) -> Plane:
    """A square of a plane, resized to (size, size); the part beyond the plane has the value `outside`."""
    import cv2

    height, width = plane.shape
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
    part = np.ascontiguousarray(plane[top:bottom, left:right])
    if part.shape != (side, side):
        part = np.asarray(
            cv2.copyMakeBorder(
                part, top - y, y + side - bottom, left - x, x + side - right, cv2.BORDER_CONSTANT,
                value=(float(outside),),
            ),
            dtype=np.uint8,
        )  # fmt: skip
    # Averaging over all source pixels under an output pixel keeps edges smooth; enlarging interpolates.
    # Halving first gives the same to a grey level or so in half the time.
    while side >= 2 * size and side % 2 == 0:
        side //= 2
        part = np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (size, size), interpolation=how), dtype=np.uint8)


def square(
    planes: tuple[Plane, ...], tags: tuple[int, bool], crop: Crop, size: int
) -> tuple[Plane, av.VideoFrame]:
    """The crop of a picture as a prepared video shows it, before it is encoded.

    Args:
        planes, tags: of the whole picture, see `Source.planes`.
        crop: in pixels of that.
        size: side of the result, even.

    Returns:
        Its planes (3/2 size, size), the first `size` rows of which are its brightness, and the same as a frame.
    """
    import av

    # The layout of yuv420p: brightness, then the two colour planes of half the size, one after the other.
    values = np.empty(size * size * 3 // 2, dtype=np.uint8)
    values[: size * size] = crop_plane(
        planes[0], crop.x, crop.y, crop.side, size, 0 if tags[1] else 16
    ).reshape(-1)
    half, quarter = size // 2, size * size // 4
    for i, plane in enumerate(planes[1:]):
        part = crop_plane(plane, crop.x // 2, crop.y // 2, crop.side // 2, half, 128)
        values[size * size + i * quarter : size * size + (i + 1) * quarter] = part.reshape(-1)
    picture: Plane = values.reshape(size * 3 // 2, size)
    frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.colorspace, frame.color_range = tags[0], 2 if tags[1] else 1
    if tags[1] or tags[0] not in (2, 5, 6):  # prepared videos are all BT.601 of limited range
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
    frame.colorspace, frame.color_range = 2, 0
    return picture, frame


class _Writer:
    """One clip being written. The file appears when it is finished, or not at all."""

    def __init__(self, cut: Cut, size: int, fps: float, writers: contextlib.ExitStack) -> None:
        import av

        self.cut, self._size = cut, size
        self.fault = ""  # why the clip cannot be kept, where that is found on the way
        self._next = cut.start
        self._looks: list[Plane] = []
        length = cut.stop - cut.start
        self._look_at = [cut.start + (2 * i + 1) * length // (2 * LOOKS) for i in range(LOOKS)]
        self._files = contextlib.ExitStack()
        writers.push(self._files)  # an interrupt, a full disk: what has begun is removed
        try:
            self._temporary = self._files.enter_context(atomic(cut.target))
            self._container = self._files.enter_context(
                av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._stream = h264_stream(self._container, fps, (size, size), KEY_FRAME_DISTANCE, QUALITY)
        except (av.error.FFmpegError, OSError) as error:
            raise _unwritten(cut.target, error) from None

    def add(self, number: int, planes: tuple[Plane, ...], tags: tuple[int, bool]) -> None:
        """Encode frame `number` of the source; one that does not follow the last is not encoded (see `finish`)."""
        import av

        if number != self._next or self.fault:
            return
        self._next += 1
        size = self._size
        picture, frame = square(planes, tags, self.cut.crop, size)
        if number in self._look_at:
            self._looks += [picture[:size]] * self._look_at.count(number)
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise _unwritten(self.cut.target, error) from None

    def finish(self, source: Path, damaged: int) -> Written | str:
        """Close the file and return what was written; one with a gap or fault is removed. `damaged`: see `Written`."""
        import av

        if self._next < self.cut.stop:
            with contextlib.suppress(_Abandoned):
                self._files.__exit__(_Abandoned, _Abandoned(), None)
            return (
                self.fault
                or f"frame {self._next} of {source} cannot be decoded: the file is damaged, copy it again"
            )
        try:
            self._container.mux(self._stream.encode())
            self._files.close()
        except (av.error.FFmpegError, OSError) as error:
            raise _unwritten(self.cut.target, error) from None
        content = self.cut.target.read_bytes()
        return Written(len(content), hashlib.sha256(content).hexdigest(), np.stack(self._looks), damaged)


class _Abandoned(Exception):
    """Unwinds the files of a clip that is not to be kept."""


def _unwritten(path: Path, error: BaseException) -> MgkitError:
    return MgkitError(f"{path} cannot be written ({short(error)}): check free space and permissions.")


def person_crop(pose: npt.NDArray[np.float32] | None, frame: tuple[int, int], margin: float = 0.25) -> Crop:
    """The square around every joint seen in a clip, rounded outwards to even numbers.

    Args:
        pose: (M, T, V, 3) in source pixels, NaN = not seen; None = not known.
        frame: (width, height) of the source.
        margin: added on every side, as a share of half the side.

    The outermost 0.5 % of the points on each side, and points outside the frame, do not count: a single joint thrown
    across the picture by the pose estimator would otherwise shrink the person to a dot.
    """
    width, height = frame
    middle, side = np.array([width / 2, height / 2]), float(max(frame))
    if pose is not None:
        points = pose[..., :2].reshape(-1, 2)
        points = points[np.isfinite(points).all(-1)]
        points = points[((points >= 0) & (points <= (width, height))).all(-1)]
        if len(points):
            low, high = np.percentile(points, [0.5, 99.5], axis=0)
            middle = (low + high) / 2
            side = float(max(*(high - low), 0.1 * max(frame))) * (1 + margin)
    even = 2 * int(np.ceil(side / 2))
    x, y = (2 * round((float(m) - even / 2) / 2) for m in middle)
    return Crop(x, y, even)
