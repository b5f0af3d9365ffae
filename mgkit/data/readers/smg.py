"""SMG: 40 untrimmed sequences of a Kinect, one person each.

Below any folder: `Sample0001_color.mp4`, `Sample0001_skeleton.csv` (a row per frame: 25 Kinect joints x 11 numbers, of
which 8 and 9 are pixels of the colour picture) and `Sample0001_finelabels.csv` (`class, first frame, last frame`;
classes 1 to 17, the last of which is not a micro-gesture).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mgkit.data.readers import RawClip, RawDataset, frame_size_of, load_classes, mark_unseen, note, refuse
from mgkit.data.readers.background import Source, add_background
from mgkit.data.readers.files import VIDEO, PairTable, Roots, Track, folders, named, recordings, walk
from mgkit.data.readers.tables import Sheet, read_spans
from mgkit.data.skeletons import get_skeleton
from mgkit.errors import MgkitError, counted, some

FRAME = (1920, 1080)  # of the Kinect's colour camera
JOINTS, NUMBERS = 25, 11  # world x, y, z; quaternion; pixel x, y; two that are not used
PIXELS = tuple(NUMBERS * joint + at for joint in range(JOINTS) for at in (7, 8))


def read_smg(
    source: str | Path,
    *,
    videos: Roots = None,
    frame_base: Literal[0, 1] = 0,
    classes: Literal[17, 16] = 17,
    split_table: PairTable = None,
    subject_table: PairTable = None,
    frame_size: str | None = None,
    background: float = 0,
    background_seed: int = 0,
) -> RawDataset:
    """Read SMG.

    Args:
        source: the folder that holds the `Sample` folders, at any depth.
        videos: a further folder, or several (`a,b`), if the videos are elsewhere.
        frame_base: the number of the first frame in the label files, 0 or 1: published readers disagree. The last
            frame of a row belongs to the clip.
        classes: 17, or 16 as in the challenge: clips of the 17th (not a micro-gesture) are then left out and counted.
        split_table: csv or mapping `video, split` (`Sample0001, train`) that overrides the folders; else a sequence's
            split is that of the folder (train, validate, test in any usual spelling) around it.
        subject_table: csv or mapping `video, subject`; by default every sequence has its own subject.
        frame_size: width and height that the pixels live in (`1920x1080`); by default that of the video,
            1920 x 1080 without one.
        background: cut this many clips per labelled one where nothing is labelled, as one more class `non_gesture` (0.5
            = one for two; see docs/datasets.md); 0 = none.
        background_seed: of the draw of their places and lengths.

    Returns:
        Clips `Sample0001_<row of the label file, from 0>`, labels from 0; background `Sample0001_background<number>`.

    Raises:
        MgkitError: an unknown option, no label files, files of one name with different content, a sequence in two
            splits, a row that is not a clip, or a class that is not 1 to 17.
    """
    if frame_base not in (0, 1) or classes not in (16, 17):
        raise MgkitError(f"frame_base is {frame_base!r}, classes is {classes!r}: use 0 or 1, and 16 or 17.")
    report: list[dict[str, str]] = []
    problems: list[str] = []
    frame = frame_size_of(frame_size)
    roots = folders(source, videos)
    files = walk(roots, report)
    found = named(files, r"(Sample\d+)_finelabels\.csv")
    if not found:
        raise MgkitError(f"{some(roots)}: no file Sample<number>_finelabels.csv below it: give SMG's folder.")
    parts = recordings(
        found, named(files, rf"(Sample\d+)_color\.{VIDEO}"), named(files, r"(Sample\d+)_skeleton\.csv"), roots,
        split_table=split_table, subject_table=subject_table, report=report,
    )  # fmt: skip
    clips: list[RawClip] = []
    sources: list[Source] = []
    others = 0
    for part in parts:
        rows = []
        spans = read_spans(part.labels, base=frame_base, report=report, problems=problems)
        for span in spans:
            if not 1 <= span.raw <= 17:
                problems.append(f"{part.labels} row {span.line}: class {span.raw}, which is not 1 to 17")
            elif span.raw > classes:
                others += 1
            else:
                rows.append((span, span.raw - 1))
        track = Track(part.points, JOINTS * NUMBERS, _points, used=PIXELS) if part.points else None
        part = replace(part, subject=part.subject or part.name)
        size = frame or (None if part.video else FRAME)
        clips += part.clips(rows, track, size=size)
        labelled = tuple((span.start, span.end) for span in spans)  # of class 17 too
        cut = partial(part.clip, track=track, size=size)
        sources.append(Source(part.name, part.split, labelled, part.video, cut))
    refuse(problems)
    if not clips:
        raise MgkitError(
            f"{some(roots)}: no clip of the {classes} classes in {counted(len(parts), 'label file')}."
        )
    if others:
        report.append(
            note("no micro-gesture", f"{counted(others, 'clip')} of class 17 left out, as classes=16 asks")
        )
    used = [path for part in parts for path in part.files]
    found_classes = load_classes("smg", first=classes)
    if background:
        clips, found_classes = add_background(
            clips, found_classes, sources, background, background_seed, report
        )
    return RawDataset(clips, found_classes, get_skeleton("kinect25"), used, report)


def _points(sheet: Sheet) -> tuple[npt.NDArray[np.float32], str]:
    """(T, 25, 3): pixels of the colour picture, score 1."""
    return mark_unseen(sheet.values[:, PIXELS].reshape(-1, JOINTS, 2)), ""
