"""Stretches of untrimmed videos in which nothing is labelled, as clips of one more class.

A classifier that only ever saw gestures makes a gesture of every idle second. With such clips it can also say that
there is none. An option of the readers `imigue` and `smg`; any reader of untrimmed videos can offer it, see
`add_background` and docs/datasets.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from mgkit.data.clips import Classes
from mgkit.data.readers import RawClip, note
from mgkit.data.video import probe
from mgkit.errors import MgkitError, counted, some

NAME = "non_gesture"  # of the class, and of its group
DISTANCE = 10  # frames between a label and the background
IDS = re.compile(r".+_background\d+")  # of the clips; never those of a row of a label file

Span = tuple[int, int]  # frames, half-open


@dataclass(frozen=True)
class Source:
    """An untrimmed recording.

    Attributes:
        name: begins the ids of its background clips.
        split: of all its clips.
        labelled: the spans that are labelled with anything, those of classes that are left out too.
        video: whose length is the recording's; without one nothing is cut after the last label.
        cut: called with clip id, label, start and end, gives the clip of this recording.
    """

    name: str
    split: str
    labelled: tuple[Span, ...]
    video: Path | None
    cut: Callable[[str, int, int, int], RawClip]


def add_background(
    clips: Sequence[RawClip],
    classes: Classes,
    sources: Iterable[Source],
    share: float,
    seed: int = 0,
    report: list[dict[str, str]] | None = None,
) -> tuple[list[RawClip], Classes]:
    """The clips with background clips behind them, and the classes with their class.

    In each split `share` background clips are cut per labelled clip. Their lengths are drawn from those of the labelled
    clips of that split; places are drawn evenly from all unlabelled time of its recordings, at least `DISTANCE` frames
    from every label and without overlap. The longest are placed first, as they fit in fewest places.

    Args:
        clips: the labelled clips.
        classes: theirs.
        sources: the recordings that they were cut from.
        share: above 0; 0.5 is one for two.
        seed: of the draws. The same files and seed give the same clips.
        report: what was cut, and what could not be, is added to it.

    Raises:
        MgkitError: share is not above 0, or there is a class of the name already.
    """
    if not 0 < share < 100:
        raise MgkitError(f"background is {share}: give background clips per labelled clip, for example 0.5.")
    if NAME in classes.names:
        raise MgkitError(f"the classes have {NAME!r} already: rename it, or leave background out.")
    report = [] if report is None else report
    more = replace(
        classes,
        names=(*classes.names, NAME),
        groups=None if classes.groups is None else (*classes.groups, NAME),
        background=len(classes),
    )
    by_split: dict[str, list[Source]] = {}
    for source in sources:
        by_split.setdefault(source.split, []).append(source)
    found: list[RawClip] = []
    endless: list[str] = []
    for split, here in by_split.items():
        # Each split has its own draws: a video more in one changes nothing in another.
        generator = np.random.default_rng([seed, crc32(split.encode())])
        lengths = [
            c.end - c.start for c in clips if c.split == split and c.end is not None and c.end > c.start
        ]
        wanted = round(share * len(lengths))
        drawn = np.sort(generator.choice(lengths, wanted))[::-1].tolist() if wanted else []
        free: list[tuple[int, int, int]] = []  # source, start, end
        for i, source in enumerate(here):
            frames = _frames(source)
            if frames is None:
                endless.append(source.name)
            free += [(i, *span) for span in unlabelled(source.labelled, frames)]
        placed, lost = _place(drawn, free, generator)
        count: Counter[int] = Counter()
        for i, start, end in placed:
            clip_id = f"{here[i].name}_background{count[i]}"
            count[i] += 1
            found.append(here[i].cut(clip_id, len(classes), start, end))
        detail = (
            f"{split}: {counted(len(placed), 'clip')} of {NAME!r} cut where nothing is labelled, from "
            f"{counted(len(count), 'recording')}"
        )
        report.append(note("background", detail))
        if lost:
            detail = (
                f"{split}: {len(lost)} of {counted(wanted, 'clip')} ({min(lost)} to {counted(max(lost), 'frame')}): "
                "no stretch that long"
            )
            report.append(note("background not cut", f"{detail} is {DISTANCE} frames from every label"))
    if endless:
        detail = f"{some(endless)}: without a readable video nothing is cut after their last label"
        report.append(note("background", detail))
    return [*clips, *found], more


def sources_of(
    clips: Iterable[RawClip], labelled: Mapping[str, Iterable[Span]] | None = None
) -> list[Source]:
    """The recordings that clips were cut from, for a reader of one's own.

    Args:
        clips: of untrimmed recordings: clips of one recording share `source`, and have `pose_frames` if they have
            key-points, so that `pose` takes another span (see `RawClip`).
        labelled: further spans that are labelled, by `source`: those of rows that became no clip.

    Raises:
        MgkitError: a clip without a source or an end, or with key-points of that clip alone.
    """
    groups: dict[str, list[RawClip]] = {}
    for clip in clips:
        if not clip.source or clip.end is None or (clip.pose is not None and clip.pose_frames is None):
            raise MgkitError(
                f"clip {clip.clip_id!r} is not cut from a recording: background needs source, end, and, with a pose, "
                "pose_frames."
            )
        groups.setdefault(clip.source, []).append(clip)
    return [
        Source(
            Path(name).stem,
            own[0].split,
            (*((c.start, c.end or c.start) for c in own), *(labelled or {}).get(name, ())),
            own[0].video,
            partial(_elsewhere, own[0]),
        )
        for name, own in groups.items()
    ]


def unlabelled(labelled: Iterable[Span], frames: int | None) -> list[Span]:
    """The stretches of a recording that are `DISTANCE` frames or more from every label, in order.

    Args:
        labelled: spans in any order; one that ends before it starts covers what lies between.
        frames: length of the recording; None = up to the last label.

    >>> unlabelled([(30, 40), (100, 90)], 200)
    [(0, 20), (50, 80), (110, 200)]
    """
    spans = sorted((min(span), max(span)) for span in labelled)
    end = frames if frames is not None else max((span[1] for span in spans), default=0)
    free, at = [], 0
    for first, last in spans:
        if first - DISTANCE > at:
            free.append((at, min(first - DISTANCE, end)))
        at = max(at, last + DISTANCE)
    free.append((at, end))
    return [span for span in free if span[1] > span[0]]


def _place(
    lengths: Sequence[int], free: list[tuple[int, int, int]], generator: np.random.Generator
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Places (source, start, end) in order for as many of the lengths as fit, and the lengths that do not."""
    free, placed, lost = list(free), [], []
    for length in lengths:
        starts = np.array([max(0, end - start - length + 1) for _, start, end in free], np.int64)
        if not starts.sum():
            lost.append(length)
            continue
        # Every first frame that leaves room is as likely as any other.
        at = int(generator.integers(starts.sum()))
        which = int(np.searchsorted(np.cumsum(starts), at, side="right"))
        source, start, end = free[which]
        first = start + at - int(starts[:which].sum())
        placed.append((source, first, first + length))
        free[which : which + 1] = [(source, start, first), (source, first + length, end)]
    return sorted(placed), lost


def _frames(source: Source) -> int | None:
    """Length of a recording; None where there is no video, or one that `prepare` will report."""
    if source.video is None:
        return None
    try:
        return probe(source.video).frames
    except MgkitError:
        return None


def _elsewhere(clip: RawClip, clip_id: str, label: int, start: int, end: int) -> RawClip:
    """Another clip of the same recording. Its notes are left out: they name the first one."""
    given: Any = clip.pose  # with `pose_frames` it takes a span
    pose = None if given is None else partial(given, start=start, end=end)
    return replace(clip, clip_id=clip_id, label=label, start=start, end=end, pose=pose, notes=None)
