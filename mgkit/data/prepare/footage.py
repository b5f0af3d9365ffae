"""Spans of a video, or of its key-points, as clips in memory: what `prepare` would have made of them, without a file.

Key-points pass through the same checks and conversions, and pictures through the same crop and resizing; what is left
out is the compression of the prepared video. A video is decoded once and in order, whatever the number of spans and
however they overlap, and only the frames that somebody wants are turned into pictures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data import video as videos
from mgkit.data.clips import Clips
from mgkit.data.prepare.cut import Crop, SourceInfo, open_source, person_crop, square
from mgkit.data.prepare.people import anybody
from mgkit.data.prepare.plan import MARGIN, frame_size, moved, oddities
from mgkit.data.prepare.points import SMOOTHING, PoseRules, Unusable, incoming, smoothed
from mgkit.data.readers import RawClip, pose_notes
from mgkit.data.skeletons import Skeleton
from mgkit.data.table import COLUMNS, Classes, Rows
from mgkit.data.video import Frames
from mgkit.data.video.decode import picture
from mgkit.errors import MgkitError, some
from mgkit.parallel import cores

Points = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Footage:
    """A video, key-points, or both. Made by `open_footage`, or by `of_clip` of a clip that is prepared already.

    Attributes:
        name: for people.
        path: the video; None = key-points alone.
        points: (M, T, V, 3) in pixels of the frame, NaN = not seen; None = the video alone.
        frames: T.
        fps: frames per second; 0 = not known.
        size: (width, height) of the frame in pixels.
        smooth: frames of the filter that the key-points of each span pass through; 0 = none.
        prepared: it is a clip of a clip folder, whose pictures are taken as they are.
        times: (T,) seconds of each frame as a player shows them, of a video whose rate varies; None = even.
        notes: what was odd.
    """

    name: str
    path: Path | None
    points: Points | None
    frames: int
    fps: float
    size: tuple[int, int]
    smooth: int = 0
    prepared: bool = False
    times: npt.NDArray[np.float64] | None = None
    notes: list[dict[str, str]] = field(default_factory=list)


def open_footage(
    name: str,
    video: Path | None,
    points: Points | None,
    skeleton: Skeleton,
    *,
    fps: float = 0.0,
    size: tuple[int, int] | None = None,
    rules: PoseRules | None = None,
) -> Footage:
    """Check a video and its key-points as `prepare` checks them.

    Args:
        name: for messages.
        video: the file.
        points: (M, T, V, 3) x, y, score; NaN = not seen.
        skeleton: their layout.
        fps, size: of the key-points, where their file states them; 0 and None = not known.
        rules: what is stated about them, and how they are smoothed.

    Raises:
        MgkitError: neither of them, a file that is no video, key-points in another unit, rate, size or order of axes,
            each in a sentence.
    """
    rules = rules or PoseRules()
    info: SourceInfo | None = None
    times = None
    if video is not None:
        with open_source(video) as source:
            info = source.info
            if not info.steady:
                times = source.times()
    elif points is None:
        raise MgkitError(f"{name}: give a video, key-points, or both.")
    odd = oddities(video, info, []) if video is not None and info is not None else []
    if points is None:
        assert info is not None
        size = (info.width, info.height)
        return Footage(name, video, None, info.frames, info.fps, size, times=times, notes=odd)
    if points.ndim != 4 or points.shape[2:] != (len(skeleton), 3):
        raise MgkitError(
            f"{name}: the key-points have shape {points.shape}, and the layout {skeleton.name} asks for (persons, "
            f"frames, {len(skeleton)}, 3): give them in that layout."
        )
    if not points.shape[1]:
        raise MgkitError(f"{name}: the key-points have no frames.")
    end = None if info is not None else points.shape[1]
    clip = RawClip(name, "", 0, size, video=video, source=name, end=end, fps=fps, pose=lambda: points)
    # `prepare` smooths the key-points of each clip by itself, so each span is smoothed here; at another rate it does so
    # before they are resampled, which can only be done for the whole.
    smooth = 0
    if rules.smooth is not None and rules.steps(clip, info) in (None, 1.0):
        smooth, rules = SMOOTHING[rules.smooth], replace(rules, smooth=None)
    try:
        frame, stated = frame_size(clip, info, rules)
        pose, notes, _ = incoming(clip, info, frame, stated, len(skeleton), rules)
    except Unusable as error:
        raise MgkitError(f"{error.kind}: {error.detail}.") from None
    frames = pose.shape[1] if info is None else min(pose.shape[1], info.frames)
    rate = info.fps if info is not None else fps or rules.fps or 0.0
    notes = [*odd, *notes, *pose_notes(name, pose, frame)]
    return Footage(name, video, pose[:, :frames], frames, rate, frame, smooth, times=times, notes=notes)


def of_clip(clips: Clips, clip_id: str) -> Footage:
    """A clip of a clip folder, as it was prepared."""
    row = clips.row(clip_id)
    pose = clips.pose(clip_id) if row["pose_offset"] >= 0 else None
    size = int(row["width"]), int(row["height"])
    return Footage(
        clip_id, clips.video(clip_id), pose, int(row["frames"]), float(row["fps"]), size, prepared=True
    )


@dataclass(frozen=True, eq=False)
class Span:
    """Frames [start, stop) of footage as a clip.

    Attributes:
        footage: what they are of.
        start, stop: frames.
        size: (width, height) of the clip in pixels.
        crop: in pixels of the frame; None = all of it, as it is.
        pose: (M, stop - start, V, 3) in pixels of the clip; None = not known.
        pictures: those that were decoded already, (H, W, 3) each, by the number of the frame in the footage.
    """

    footage: Footage
    start: int
    stop: int
    size: tuple[int, int]
    crop: Crop | None
    pose: Points | None
    pictures: Mapping[int, Frames] = field(default_factory=dict)

    @property
    def seen(self) -> float:
        """Share of its frames in which somebody is seen; 0 without key-points."""
        return 0.0 if self.pose is None else float(anybody(self.pose).any(0).mean())

    def frames(self, indices: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Frames:
        """Pictures (n, H, W, 3) uint8 RGB, of frames counted from its start."""
        wanted = np.asarray(indices, np.int64)
        there = self.pictures
        if not set((self.start + wanted).tolist()) <= set(there):
            if self.footage.path is None:
                raise MgkitError(f"{self.footage.name} has no video, only key-points.")
            if self.crop is None:
                return videos.read_frames(self.footage.path, self.start + wanted)
            (found,) = decoded(self.footage, [(self.start, self.stop)], self.size[0], lambda _: wanted)
            if isinstance(found, str):
                raise MgkitError(f"{found}.")
            there = found.pictures
        return np.stack([there[number] for number in (self.start + wanted).tolist()])


def span_of(footage: Footage, start: int, stop: int, size: int) -> Span:
    """Frames [start, stop) as `prepare` would crop and resize them.

    Args:
        footage: the footage.
        start, stop: frames.
        size: side of a prepared video, pixels; not used for a clip that is prepared already.
    """
    pose = None if footage.points is None else footage.points[:, start:stop]
    if footage.prepared:
        return Span(footage, start, stop, footage.size, None, pose)
    if pose is not None:  # rows of people who are not there would be padding
        there = anybody(pose).any(1)
        pose = pose[there] if there.any() else pose[:1]
        pose = smoothed(pose, footage.smooth) if footage.smooth else pose
    crop = person_crop(pose, footage.size, MARGIN)
    return Span(footage, start, stop, (size, size), crop, None if pose is None else moved(pose, crop, size))


def decoded(
    footage: Footage,
    bounds: Sequence[tuple[int, int]],
    size: int,
    times: Callable[[int], npt.NDArray[np.int64]],
) -> Iterator[Span | str]:
    """Spans with those of their pictures that are wanted; the video is decoded once and in order.

    Args:
        footage: with a video.
        bounds: first frame and one past the last of each span, in the order of the latter; they may overlap.
        size: side of a prepared video, pixels.
        times: from the length of a span to the frames of it that are wanted.

    Yields:
        Each span, in the same order; where a picture of it cannot be decoded a sentence, without a full stop.
    """
    from av.video.reformatter import VideoReformatter

    assert footage.path is not None
    of_length = {length: np.unique(times(length)) for length in {stop - start for start, stop in bounds}}
    wanted = [start + of_length[stop - start] for start, stop in bounds]
    # One with a later end may begin earlier: they come into view in another order than they are finished in.
    coming = deque(sorted(range(len(bounds)), key=lambda at: int(wanted[at][0])))
    open_: dict[int, tuple[Span, set[int], dict[int, Frames]]] = {}
    fault, finished = "", 0

    def begin(number: int) -> None:
        while coming and wanted[coming[0]][0] <= number:
            at = coming.popleft()
            open_[at] = (span_of(footage, *bounds[at], size), set(wanted[at].tolist()), {})

    def finish(at: int) -> Span | str:
        span, numbers, pictures = open_.pop(at)
        if lost := sorted(numbers - set(pictures)):
            text = (
                f"frame {some(lost)} of {footage.path} cannot be decoded: the file is damaged, copy it again"
            )
            return fault or text
        return replace(span, pictures=pictures)

    with open_source(footage.path, cores()) as source:
        needed = np.zeros(source.info.frames, dtype=np.bool_)
        for numbers in wanted:
            needed[numbers] = True
        sizes, reformatter = source.sizes(), VideoReformatter()
        for number, frame in source.frames(needed):
            begin(number)
            other = sizes.fault(number, frame)
            fault = other or fault
            if not other:
                planes = source.planes(frame)
                for span, numbers_of, pictures in open_.values():
                    if number in numbers_of:
                        assert span.crop is not None
                        pictures[number] = picture(square(*planes, span.crop, size)[1], reformatter)
            while finished < len(bounds) and wanted[finished][-1] <= number:
                yield finish(finished)
                finished += 1
        begin(source.info.frames)
        for at in range(finished, len(bounds)):
            yield finish(at)


@dataclass(frozen=True, eq=False)
class SpanClips(Clips):
    """Spans as clips, for everything that takes clips: nothing of them is on disk.

    Made by `clips_of`.
    """

    spans: Mapping[str, Span] = field(default_factory=dict)
    labels_are: str = ""

    def pose_at(self, place: int) -> Points:
        clip_id = self.table["clip_id"].iloc[place]
        found = self.spans[clip_id].pose
        if found is None:
            raise MgkitError(f"clip {clip_id!r} has no pose.")
        return found

    def frames(
        self, clip_id: str, indices: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[np.uint8]:
        return self.spans[self.row(clip_id)["clip_id"]].frames(indices)


def clips_of(
    spans: Mapping[str, Span], classes: Classes, skeleton: Skeleton, labels: Sequence[int] | None = None
) -> SpanClips:
    """Spans as clips, keyed by their id; their labels mean nothing unless some are given, which are predictions."""
    rows = []
    for i, (clip_id, span) in enumerate(spans.items()):
        footage, crop = span.footage, span.crop
        box = (0.0, 0.0, *map(float, span.size)) if crop is None else (crop.x, crop.y, crop.side, crop.side)
        rows.append(
            (
                clip_id, "all", 0 if labels is None else int(labels[i]), "", footage.name, span.start, span.stop,
                span.stop - span.start, footage.fps, *span.size, "" if footage.path is None else str(footage.path),
                0 if span.pose is None else len(span.pose), -1 if span.pose is None else 0, *box,
            )
        )  # fmt: skip
    said = "" if labels is None else "predicted"
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return SpanClips(Path(), Rows(table), classes, skeleton, spans=dict(spans), labels_are=said)
