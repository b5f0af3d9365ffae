"""Untrimmed videos and one table of what was coded in them: `video, start, end, class`, in seconds.

The same columns as the segments that `mg.spotting` makes, so that answers, once corrected, are a table to train on.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mgkit.data.clips import Classes
from mgkit.data.readers import LEFT_OUT, NO_SKELETON, RawClip, RawDataset, note, refuse
from mgkit.data.readers.background import Source, add_background
from mgkit.data.readers.files import VIDEO_SUFFIXES, may_be_video, splits_of, video_name, walk
from mgkit.data.readers.tables import delimiter_of, read_text
from mgkit.data.report import natural
from mgkit.data.video.decode import frame_times, inspect, opened
from mgkit.errors import MgkitError, meant, some

TABLE = "segments.csv"
NEEDED = ("video", "start", "end", "class")
OF_VIDEO = ("split", "subject")  # further columns that are used


def read_segments(
    source: str | Path,
    *,
    table: str | Path | None = None,
    classes: Sequence[str] | None = None,
    background: float = 0,
    background_seed: int = 0,
) -> RawDataset:
    """Read untrimmed videos with a table of coded segments.

    Args:
        source: the folder that holds the videos, at any depth.
        table: a csv with the columns `video, start, end, class` and, where known, `split` and `subject`, in any order;
            by default `segments.csv` in the folder. A video is its path below the folder, with or without the suffix;
            start and end are seconds of the video. A row without start, end and class names a video in which nothing
            happens.
        classes: class names in label order; by default those of the table, in alphabetical order.
        background: cut this many clips per labelled one where nothing is labelled, as one more class `non_gesture` (0.5
            = one for two; see docs/datasets.md); 0 = none.
        background_seed: of the draw of their places and lengths.

    Returns:
        Clips `<video>_<number of its row among those of the video, from 0>`. Splits are those of the table, else of
        folders named train, val or test, else all clips are in "all".

    Raises:
        MgkitError: no folder, no videos, no table, a column that is missing, a row that is not a segment of a video
            that is there, a class that is not in `classes`, or a video in two splits or of two subjects.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise MgkitError(f"there is no folder {folder}.")
    report: list[dict[str, str]] = []
    videos: dict[str, Path] = {}
    for path in walk([folder], report):
        if may_be_video(path):
            name = video_name(path, folder)
            if name in videos:
                raise MgkitError(f"{videos[name]} and {path} have one name: rename or remove one.")
            videos[name] = path
    if not videos:
        raise MgkitError(f"{folder} holds no videos, in any format.")
    file = folder / TABLE if table is None else Path(table)
    if not file.is_file():
        raise MgkitError(
            f"there is no table {file}: write one with the columns {', '.join(NEEDED)} (seconds), a row per segment, "
            "or name another one (table, --table)."
        )
    rows, given = _rows(file, videos, report)
    names = list(dict.fromkeys(row.label for row in rows))
    if classes is None:
        names.sort(key=natural)
    else:
        problems = [
            f"{file} row {row.line}: there is no class {row.label!r}{meant(row.label, classes)}"
            for row in rows
            if row.label not in classes
        ]
        refuse(problems, "Correct the row, or add the class to `classes`.")
        names = list(classes)
    if not rows:
        raise MgkitError(f"{file} has no segment, only videos: add rows with a start, an end and a class.")

    # A video that is not in the table may hold gestures that nobody has coded: nothing is cut from it.
    used = {name: path for name, path in videos.items() if name in given}
    spare = [name for name in videos if name not in given]
    if spare:
        report.append(note("video not in the table", f"{some(spare)}: not used"))
    lacking = [name for name, about in given.items() if not about["split"]]
    if lacking and len(lacking) < len(given):
        raise MgkitError(
            f"{file} has no split for {some(lacking)}, and one for the others: fill the column `split`."
        )
    splits = (
        splits_of({name: [path] for name, path in used.items()}, [folder], None, report)
        if lacking
        else {name: about["split"] for name, about in given.items()}
    )
    clips: list[RawClip] = []
    sources: list[Source] = []
    for name, path in used.items():
        own = [row for row in rows if row.video == name]
        try:
            clock = _Clock.of(path)
        except MgkitError as error:
            for number in range(len(own)):
                report.append(note(f"{LEFT_OUT}video cannot be read", str(error), f"{name}_{number}"))
            continue
        cut = partial(_clip, path, path.relative_to(folder).as_posix(), splits[name], given[name]["subject"])
        spans = [(clock.frame(row.start), clock.frame(row.end)) for row in own]
        for number, (row, (start, end)) in enumerate(zip(own, spans, strict=True)):
            clips.append(cut(f"{name}_{number}", names.index(row.label), start, end))
        sources.append(Source(name, splits[name], tuple(spans), path, cut))
    if not clips:
        raise MgkitError(f"none of the videos in {file} can be read: {report[-1]['detail']}")
    found = Classes(tuple(names))
    if background:
        clips, found = add_background(clips, found, sources, background, background_seed, report)
    return RawDataset(clips, found, NO_SKELETON, [file, *used.values()], report)


@dataclass(frozen=True)
class _Row:
    line: int
    video: str
    start: float
    end: float
    label: str


def _rows(
    file: Path, videos: Mapping[str, Path], report: list[dict[str, str]]
) -> tuple[list[_Row], dict[str, dict[str, str]]]:
    """The segments, and the split and subject ("" = not given) of each video that is in the table."""
    text, odd = read_text(file)
    lines = [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip(" \t,;")]
    if not lines:
        raise MgkitError(f"{file} is empty: write the columns {', '.join(NEEDED)} and a row per segment.")
    mark = delimiter_of(lines[0][1])
    titles, *cells = [
        [cell.strip() for cell in next(csv.reader([line], delimiter=mark))] for _, line in lines
    ]
    titles = [title.lower() for title in titles]
    lacking = [name for name in NEEDED if name not in titles]
    if lacking:
        raise MgkitError(
            f"{file} has no column {some(lacking)}: its first row must name the columns {', '.join(NEEDED)}."
        )
    if mark == ";":
        odd.append("semicolons between the cells")
    if odd:
        report.append(note("text format", f"{file.name} has {some(odd, 9)}: read anyway"))
    others = [title for title in titles if title and title not in (*NEEDED, *OF_VIDEO)]
    if others:
        report.append(note("columns not used", f"{file.name}: {some(others)}"))
    rows: list[_Row] = []
    given: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    seen: dict[tuple[str, float, float, str], int] = {}
    for (line, _), row in zip(lines[1:], cells, strict=True):
        where = f"{file} row {line}"
        if len(row) != len(titles):
            problems.append(f"{where} has {len(row)} cells, not {len(titles)}")
            continue
        about = dict(zip(titles, row, strict=True))
        name = _named(about["video"], videos)
        if name is None:
            likely = meant(about["video"], list(videos)) or f"; there are {some(videos, 3)}"
            problems.append(f"{where}: there is no video {about['video']!r}{likely}".rstrip("."))
            continue
        before = given.setdefault(name, dict.fromkeys(OF_VIDEO, ""))
        for what in OF_VIDEO:
            value = about.get(what, "")
            if value and before[what] not in ("", value):
                problems.append(f"{where}: {name} is of {what} {value!r}, and of {before[what]!r} before")
            before[what] = before[what] or value
        if not (about["start"] or about["end"] or about["class"]):
            continue
        start, end = (_seconds(about[what], mark) for what in ("start", "end"))
        if not about["class"]:
            problems.append(f"{where} has no class")
        elif start is None or end is None:
            problems.append(f"{where}: start is {about['start']!r} and end {about['end']!r}, not seconds")
        elif not 0 <= start < end:
            problems.append(f"{where}: the segment would last from {start:g} to {end:g} s")
        else:
            again = seen.setdefault((name, start, end, about["class"]), line)
            if again != line:
                report.append(
                    note("repeated row", f"{file.name} row {line} repeats row {again}: both are kept")
                )
            rows.append(_Row(line, name, start, end, about["class"]))
    refuse(problems)
    return rows, given


def _named(text: str, videos: Mapping[str, Path]) -> str | None:
    """The video that a cell of the table means."""
    name = text.replace("\\", "/")
    if name not in videos and name.lower().endswith(VIDEO_SUFFIXES):
        name = name[: name.rindex(".")]
    return name if name in videos else None


def _seconds(cell: str, mark: str) -> float | None:
    try:
        value = float(cell.replace(",", ".") if mark == ";" else cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class _Clock:
    """The times of the frames of a video in seconds, so that a coded second is the frame that a player showed then,
    also where the rate varies."""

    times: np.ndarray
    step: float

    @classmethod
    def of(cls, path: Path) -> _Clock:
        with opened(path) as (container, stream):
            info, index, _ = inspect(path, container, stream)
            fps = info.fps or 25.0
            return cls(frame_times(index, stream, fps), 1 / fps)

    def frame(self, seconds: float) -> int:
        """The frame that begins nearest to a time; one past the end of the video goes on at its rate."""
        beyond = seconds - (self.times[-1] + self.step)
        if beyond > -self.step / 2:
            return len(self.times) + max(0, round(beyond / self.step))
        after = int(np.searchsorted(self.times, seconds))
        if after and (
            after == len(self.times) or seconds - self.times[after - 1] <= self.times[after] - seconds
        ):
            return after - 1
        return after


def _clip(
    video: Path, source: str, split: str, subject: str, clip_id: str, label: int, start: int, end: int
) -> RawClip:
    # A segment shorter than half a frame is that frame.
    return RawClip(
        clip_id,
        split,
        label,
        subject=subject,
        video=video,
        source=source,
        start=start,
        end=max(end, start + 1),
    )
