"""A folder of videos to a folder of key-points: one `.npz` a video, in several processes, resumed where it stopped.

A long video is shared by the processes in spans, a short one goes with others; each finished span is kept in
`.parts/` until its video is whole. Frames are decoded as `prepare` decodes them, so that frame and pose agree.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.data.keypoints import KeyPoints, Origin, Points, convert, read_keypoints
from mgkit.data.ledger import digest
from mgkit.data.prepare.checks import check_places
from mgkit.data.prepare.cut import SourceError, SourceInfo, open_source
from mgkit.data.prepare.footage import Footage, clips_of, span_of
from mgkit.data.prepare.plan import oddities
from mgkit.data.readers import LEFT_OUT, note
from mgkit.data.readers.files import may_be_video, video_name, walk
from mgkit.data.report import report_table
from mgkit.data.skeletons import Skeleton, get_skeleton
from mgkit.data.table import Classes
from mgkit.data.video import Frames, stream_frames
from mgkit.data.video.decode import Index
from mgkit.errors import MgkitError, counted, meant, some
from mgkit.files import LONGEST_NAME, atomic, exclusive, write_json
from mgkit.parallel import cores, run_jobs
from mgkit.pose.estimators import BLOCK, Estimate, Estimator, get_estimator, not_sent
from mgkit.pose.person import WHOM, choose, half, sightings
from mgkit.progress import Progress, spoken

PARTS = ".parts"


@dataclass(frozen=True)
class Poses:
    """The key-points of a folder of videos.

    Attributes:
        root: the folder.
        names: of the videos; the key-points of each are in `<name>.npz`.
        report: entries on what was odd, {"what", "clip_id", "detail"}; `clip_id` is the name of the video.
        made: how many of them this call made.
        videos: the video of each, by name.
    """

    root: Path
    names: list[str]
    report: list[dict[str, str]] = field(default_factory=list)
    made: int = 0
    videos: Mapping[str, Path] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> KeyPoints:
        return read_keypoints(self.root / f"{name}.npz")

    def __repr__(self) -> str:
        return f"Poses({str(self.root)!r}: {counted(len(self), 'video')}, {self.made} made now)"

    def clips(self, name: str | None = None) -> Clips:
        """A video with its key-points as one clip, to look at: `mg.widgets.ClipPlayer(poses.clips())`.

        Args:
            name: of the video; by default the first.
        """
        name = self.names[0] if name is None else name
        if name not in self.videos:
            raise MgkitError(
                f"there is no video {name!r}{meant(name, self.names) or f': {some(self.names)}.'}"
            )
        return as_clips(self.videos[name], self[name])

    def report_table(self) -> pd.DataFrame:
        """What was odd, in one table, see `Clips.report_table`."""
        return report_table(self.report)


@dataclass(frozen=True)
class _Video:
    name: str
    path: Path
    info: SourceInfo
    index: Index
    target: Path
    parts: Path  # where its finished spans are kept

    def spans(self, length: int | None) -> list[tuple[int, int]]:
        step = length or self.info.frames
        return [(at, min(at + step, self.info.frames)) for at in range(0, self.info.frames, step)]


@dataclass(frozen=True)
class _Job:
    estimator: Estimator
    whom: str
    spans: tuple[tuple[_Video, int, int], ...]


class _Unreadable(Exception):
    """Frames of a video cannot be decoded."""


def estimate(
    videos: str | Path,
    out: str | Path,
    estimator: str | Estimate = "holistic",
    *,
    quality: str = "full",
    model: str | Path | None = None,
    person: str = "largest",
    layout: str | Path | Skeleton | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Poses:
    """Estimate the key-points of videos; the same call resumes, and redoes what has changed.

    Args:
        videos: a folder, searched at any depth, or one video.
        out: the folder for the key-points: `<name>.npz`, a name being the path below `videos` without the suffix.
        estimator: "holistic" (MediaPipe), "holistic-legacy" (MediaPipe 0.10.21, in an environment of its own, true to
            the amplitude of small motions), "rtmw" (an ONNX file of yours), "file.py:function", or a function
            `estimate(frames, fps)`, see `mgkit.pose.estimators`.
        quality, model: weights, see `get_estimator`.
        person: "largest" (of the first frame with anybody, then followed), "left" or "right" (half of the picture), or
            "all", where an estimator finds several.
        layout: give the points in this one, as far as it follows from the estimator's (imigue22, coco17, ...); for a
            function that does not state its layout, the layout that it gives.
        workers: processes, each with an estimator; by default one per core, or this one alone for a function that
            cannot be sent to others, as one of a notebook.
        progress: show progress and the time left.

    Returns:
        The folder; points are in pixels, as estimated and not smoothed.

    Raises:
        MgkitError: see `get_estimator`; no video, no video that can be read, `out` holds key-points of another
            estimator or person, or a function gives something else than points.
    """
    if person not in WHOM:
        raise MgkitError(f"person is {person!r}: use {', '.join(WHOM)}.")
    if workers is not None and workers < 1:
        raise MgkitError(f"workers is {workers}: give 1 or more, or None for one per core.")
    chosen = get_estimator(estimator, quality=quality, model=model, layout=layout)
    if person == "all" and not chosen.several:
        raise MgkitError(
            f"{chosen.name} finds one person in a picture: take 'left' and 'right', each of which looks at half of "
            "it, or an estimator that finds several (rtmw with a detector, a function of yours)."
        )
    skeleton = chosen.layout if layout is None else get_skeleton(layout)
    convert(np.zeros((1, 1, len(chosen.layout), 3), np.float32), chosen.layout, skeleton)  # or a refusal, now
    videos, out = Path(videos), Path(out)
    report: list[dict[str, str]] = []
    found = _found(videos, report)
    check_places(videos, out)
    out.mkdir(parents=True, exist_ok=True)
    origin = Origin(chosen.name, chosen.version, chosen.model, {"person": person, "layout": skeleton.name})
    with exclusive(out), Progress("pose", progress, unit="frames") as bar:
        known = _known(out, origin)
        todo: dict[str, _Video] = {}
        for name, path in found.items():
            target, stat = out / f"{name}.npz", path.stat()
            old = known.get(target)
            if old is not None and (old.bytes, old.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                continue
            if len(target.name.encode()) > LONGEST_NAME:
                report.append(note(f"{LEFT_OUT}name too long", f"{path}: rename it", name))
                continue
            try:
                with open_source(path) as source:
                    info, index = source.info, source.index
            except SourceError as error:
                report.append(note(f"{LEFT_OUT}video cannot be read", str(error), name))
                continue
            key = digest(
                origin.name, origin.model, origin.options, name, info.bytes, info.mtime_ns, chosen.span
            )
            todo[name] = _Video(name, path, info, index, target, out / PARTS / key[:16])
        made = 0
        for video, points in _estimated(chosen, person, list(todo.values()), workers, bar):
            if isinstance(points, str):
                report.append(note(f"{LEFT_OUT}video cannot be read", points, video.name))
                continue
            _finished(video, points, person, chosen.layout, skeleton, origin).write(video.target)
            shutil.rmtree(video.parts, ignore_errors=True)
            made += 1
            if made == 1 and len(todo) > 1:
                words = f"mg.widgets.ClipPlayer(mg.pose.as_clips({str(video.path)!r}, {str(video.target)!r}))"
                bar.say(f"pose: {video.name} is finished; to look at it before the others are: {words}")
        shutil.rmtree(out / PARTS, ignore_errors=True)
        lost = {entry["clip_id"] for entry in report if entry["what"].startswith(LEFT_OUT)}
        names = [name for name in found if name not in lost]
        if not names:
            lines = [entry["detail"].rstrip(".") for entry in report if entry["what"].startswith(LEFT_OUT)]
            rest = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
            raise SourceError(
                f"{lines[0]}."
                if videos.is_file()
                else f"no video of {videos} can be used: {'; '.join(lines[:3])}{rest}."
            )
        for name in names:
            report += read_keypoints(out / f"{name}.npz", points=False).notes
        write_json(out / "report.json", report)
    return Poses(out, names, report, made, {name: found[name] for name in names})


def as_clips(video: str | Path, keypoints: str | Path | KeyPoints) -> Clips:
    """A video with its key-points as one clip, to look at: `mg.widgets.ClipPlayer(mg.pose.as_clips(video, npz))`.

    Args:
        video: the file.
        keypoints: its `.npz`.
    """
    found = keypoints if isinstance(keypoints, KeyPoints) else read_keypoints(keypoints)
    name, video, frames = Path(video).stem, Path(video), found.points.shape[1]
    footage = Footage(name, video, found.points, frames, found.fps, found.size, prepared=True)
    return clips_of({name: span_of(footage, 0, frames, 0)}, Classes(("not coded",)), found.skeleton)


# --- what there is --------------------------------------------------------------------------------------------------


def _found(videos: Path, report: list[dict[str, str]]) -> dict[str, Path]:
    """Videos by name."""
    if videos.is_file():
        return {video_name(videos, videos.parent): videos}
    if not videos.is_dir():
        raise MgkitError(f"there is no video or folder {videos}: check the path.")
    found: dict[str, Path] = {}
    for path in walk([videos], report):
        if may_be_video(path):
            name = video_name(path, videos)
            if name in found:
                raise MgkitError(
                    f"{found[name]} and {path} would have one file of key-points: rename or move one."
                )
            found[name] = path
    if not found:
        raise MgkitError(f"{videos} holds no videos, in any format.")
    return found


def _known(out: Path, origin: Origin) -> dict[Path, Origin]:
    """The files that are there, all of which must have been made in the same way; a damaged one is made again."""
    known = {}
    for path in sorted(out.rglob("*.npz")):
        if PARTS in path.parts:
            continue
        if path.name.startswith("."):  # what a killed process was writing, see `mgkit.files.atomic`
            path.unlink(missing_ok=True)
            continue
        try:
            there = read_keypoints(path, points=False).origin
        except MgkitError:
            continue
        pairs = {
            "estimator": (there.name, origin.name), "set of weights": (there.model[:12], origin.model[:12]),
            **{key: (there.options.get(key), value) for key, value in origin.options.items()},
        }  # fmt: skip
        for what, (before, now) in pairs.items():
            if before != now:
                raise MgkitError(
                    f"{out} holds key-points of another {what}, {before} and not {now} ({path.name}): choose another "
                    "folder, or delete them."
                )
        known[path] = there
    return known


# --- spans ----------------------------------------------------------------------------------------------------------


def _estimated(
    estimator: Estimator, whom: str, videos: Sequence[_Video], workers: int | None, bar: Progress
) -> Iterator[tuple[_Video, Points | str]]:
    """Each video with its points as they were estimated, or a sentence on why it has none, in any order."""
    done: dict[str, dict[int, Points | Path]] = {video.name: {} for video in videos}
    left: list[tuple[_Video, int, int]] = []
    for video in videos:
        for start, stop in video.spans(estimator.span):
            if (kept := video.parts / f"{start}.npy").is_file():
                done[video.name][start] = kept
            else:
                left.append((video, start, stop))
    count, total, began, failed = 0, sum(stop - start for _, start, stop in left), time.monotonic(), set()
    jobs = _jobs(estimator, whom, left)
    if min(workers or cores(), len(jobs)) > 1:
        reason = not_sent(estimator)
        if reason and workers is not None:
            raise MgkitError(
                f"the estimator cannot be sent to other processes ({reason}): keep the function in a .py file and give "
                "'file.py:function', or give workers=1."
            )
        workers = 1 if reason else workers
    whole = [video for video in videos if len(done[video.name]) == len(video.spans(estimator.span))]
    yield from ((video, _joined(done.pop(video.name))) for video in whole)
    for job, results in run_jobs(_work, jobs, workers):
        for (video, start, stop), result in zip(job.spans, results, strict=True):
            count += stop - start
            if isinstance(result, str):
                if video.name not in failed:
                    failed.add(video.name)
                    yield video, result
                continue
            parts, spans = done[video.name], video.spans(estimator.span)
            if len(spans) > 1:
                with atomic(video.parts / f"{start}.npy") as temporary:
                    np.save(temporary, result)
            parts[start] = result if len(spans) == 1 else video.parts / f"{start}.npy"
            if len(parts) == len(spans) and video.name not in failed:
                yield video, _joined(done.pop(video.name))
        rest = (time.monotonic() - began) / max(count, 1) * (total - count)
        bar.advance(sum(stop - start for _, start, stop in job.spans), total, f"{spoken(rest)} left")


def _jobs(estimator: Estimator, whom: str, spans: Sequence[tuple[_Video, int, int]]) -> list[_Job]:
    """Spans in the order of their videos; short videos share a job where an estimator takes a while to begin."""
    groups: list[list[tuple[_Video, int, int]]] = []
    room = 0
    for span in spans:
        length = span[2] - span[1]
        if room < length:
            groups.append([])
            room = 0 if estimator.at_once else estimator.span or 0
        groups[-1].append(span)
        room -= length
    return [_Job(estimator, whom, tuple(group)) for group in groups]


def _work(job: _Job, stopped: Callable[[], bool]) -> list[Points | str]:
    """The points of each span, in this process."""
    results: list[Points | str] = []
    with job.estimator.start() as function:
        for video, start, stop in job.spans:
            getattr(function, "reset", lambda: None)()
            first = max(0, start - job.estimator.warm)
            parts = []
            try:
                for frames in _blocks(video, first, stop):
                    if stopped():
                        raise KeyboardInterrupt
                    part, offset = half(frames, job.whom)
                    points = _checked(function(part, video.info.fps), len(part), job.estimator)
                    points[..., 0] += offset
                    parts.append(points)
            except _Unreadable as error:
                results.append(str(error))
            else:
                results.append(_joined(dict(enumerate(parts)))[:, start - first :])
    return results


def _blocks(video: _Video, start: int, stop: int) -> Iterator[Frames]:
    """Frames of a span (T, H, W, 3), as many at a time as a call of an estimator gets."""
    size = max(1, BLOCK // (video.info.width * video.info.height * 3))
    frames = stream_frames(video.path, start, stop, index=video.index)
    while start < stop:
        block = np.empty((min(size, stop - start), video.info.height, video.info.width, 3), np.uint8)
        for i in range(len(block)):
            try:
                block[i] = next(frames)
            except MgkitError as error:
                raise _Unreadable(str(error)) from None
        yield block
        start += len(block)


def _checked(given: Any, frames: int, estimator: Estimator) -> Points:
    """What a function gave, as (M, T, V, 3) of its own; anything else raises a `MgkitError`."""
    joints = len(estimator.layout)
    points = (
        np.zeros((0, frames, joints, 3), np.float32) if given is None else np.array(given, dtype=np.float32)
    )
    if points.ndim != 4 or points.shape[1:] != (frames, joints, 3):
        raise MgkitError(
            f"{estimator.name} gave points of shape {points.shape} for {counted(frames, 'frame')}: it must give "
            f"(persons, frames, {joints} joints of {estimator.layout.name}, 3)."
        )
    points[~np.isfinite(points).all(-1)] = np.nan
    return points


def _joined(parts: Mapping[int, Points | Path]) -> Points:
    """Points one after the other in time, with as many rows as the part with most people."""
    arrays = [np.load(part) if isinstance(part, Path) else part for _, part in sorted(parts.items())]
    most = max(1, *(len(array) for array in arrays))
    padded = [
        np.concatenate([array, np.full((most - len(array), *array.shape[1:]), np.nan, np.float32)])
        for array in arrays
    ]
    return np.concatenate(padded, axis=1)


def _finished(
    video: _Video, points: Points, whom: str, given: Skeleton, wanted: Skeleton, origin: Origin
) -> KeyPoints:
    """The key-points of a whole video, with the notes on it."""
    info = video.info
    size = (info.width, info.height)
    points, notes = choose(points, whom, size, video.name)
    odd = [
        note(entry["what"], entry["detail"].removeprefix(f"{video.path.name}: "), video.name)
        for entry in oddities(Path(video.path.name), info, [])
    ]
    notes = [*odd, *notes, *sightings(points, given, video.name)]
    made_by = Origin(
        origin.estimator, origin.version, origin.model, origin.options, video.name, info.bytes, info.mtime_ns
    )
    return KeyPoints(convert(points, given, wanted), wanted, info.fps, size, made_by, notes)
