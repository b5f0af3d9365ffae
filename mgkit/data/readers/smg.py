"""SMG: 40 untrimmed sequences of a Kinect, one person each.

Below any folder: `Sample0001_color.mp4`, `Sample0001_skeleton.csv` (a row per frame: 25 Kinect joints x 11 numbers, of
which 8 and 9 are pixels of the colour picture) and `Sample0001_finelabels.csv` (`class, first frame, last frame`;
classes 1 to 17, the last of which is not a micro-gesture).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mgkit.data.readers import RawClip, RawDataset, frame_size_of, load_classes, mark_unseen, note, refuse
from mgkit.data.readers.files import PairTable, Roots, folders, named, recordings, walk
from mgkit.data.readers.tables import empty_cells, read_sheet, read_spans
from mgkit.data.skeletons import get_skeleton
from mgkit.errors import MgkitError, some

FRAME = (1920, 1080)  # of the Kinect's colour camera
JOINTS, NUMBERS = 25, 11  # world x, y, z; quaternion; pixel x, y; two that are not used
PIXEL = slice(7, 9)


def read_smg(
    source: str | Path,
    *,
    cache: Path | None = None,
    videos: Roots = None,
    frame_base: Literal[0, 1] = 0,
    classes: Literal[17, 16] = 17,
    split_table: PairTable = None,
    subject_table: PairTable = None,
    frame_size: str | None = None,
) -> RawDataset:
    """Read SMG.

    Args:
        source: the folder that holds the `Sample` folders, at any depth.
        cache: not used; csv files are quick.
        videos: a further folder, or several (`a,b`), if the videos are elsewhere.
        frame_base: the number of the first frame in the label files, 0 or 1: published readers disagree. The last
            frame of a row belongs to the clip.
        classes: 17, or 16 as in the challenge: clips of the 17th (not a micro-gesture) are then left out and counted.
        split_table: csv or mapping `video, split` (`Sample0001, train`) that overrides the folders; else a sequence's
            split is that of the folder (train, validate, test in any usual spelling) around it.
        subject_table: csv or mapping `video, subject`; by default every sequence has its own subject.
        frame_size: width and height that the pixels live in (`1920x1080`); by default that of the video,
            1920 x 1080 without one.

    Returns:
        Clips `Sample0001_<row of the label file, from 0>`, labels from 0.

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
        found, named(files, r"(Sample\d+)_color\.mp4"), named(files, r"(Sample\d+)_skeleton\.csv"), roots,
        split_table=split_table, subject_table=subject_table, report=report,
    )  # fmt: skip
    clips: list[RawClip] = []
    others = 0
    for part in parts:
        first = True  # clip of this file that can be cut: its notes are about the whole file too
        for span in read_spans(part.labels, base=frame_base, report=report, problems=problems):
            if not 1 <= span.raw <= 17:
                problems.append(f"{part.labels} row {span.line}: class {span.raw}, which is not 1 to 17")
                continue
            if span.raw > classes:
                others += 1
                continue
            clip_id = f"{part.name}_{span.index}"
            pose = notes = count = None
            if part.points:
                where = (part.points, span.start, span.end)
                pose, notes = partial(read_pose, *where), partial(read_pose_notes, clip_id, first, *where)
                count = partial(pose_frames, part.points)
            clips.append(
                RawClip(
                    clip_id=clip_id,
                    split=part.split,
                    label=span.raw - 1,
                    size=frame or (None if part.video else FRAME),
                    subject=part.subject or part.name,
                    video=part.video,
                    source=part.source,
                    start=span.start,
                    end=span.end,
                    pose=pose,
                    notes=notes,
                    pose_frames=count,
                )
            )
            first = first and not span.frames
    refuse(problems)
    if not clips:
        raise MgkitError(
            f"{some(roots)}: its {len(parts)} label files have no clip of the {classes} classes."
        )
    if others:
        report.append(note("no micro-gesture", f"{others} clips of class 17 left out, as classes=16 asks"))
    used = [path for part in parts for path in part.files]
    return RawDataset(clips, load_classes("smg", first=classes), get_skeleton("kinect25"), used, report)


def read_pose(path: Path, start: int, end: int) -> npt.NDArray[np.float32]:
    """(1, T, 25, 3) of the frames start to end - 1: pixels of the colour picture, score 1; NaN where not seen."""
    values = read_sheet(path, JOINTS * NUMBERS, index=False).values
    if start >= len(values):
        raise MgkitError(f"{path} has {len(values)} frames; the clip would start at frame {start}.")
    values = values[start:end]
    return mark_unseen(values.reshape(len(values), JOINTS, NUMBERS)[..., PIXEL])[None]


def pose_frames(path: Path) -> int:
    """Number of frames in the file."""
    return len(read_sheet(path, JOINTS * NUMBERS, index=False).values)


def read_pose_notes(clip_id: str, first: bool, path: Path, start: int, end: int) -> list[dict[str, str]]:
    """Report entries on these frames; and, for the first clip of a sequence, on the whole file."""
    sheet = read_sheet(path, JOINTS * NUMBERS, index=False)
    empty = empty_cells(
        sheet.values[start:end].reshape(-1, JOINTS, NUMBERS)[..., PIXEL].reshape(-1, 2 * JOINTS)
    )
    found = [note("empty cells", f"{path.name}: {empty}", clip_id)] if empty else []
    if first:
        found += [note("pose file", f"{path.name} has {oddity}") for oddity in sheet.oddities]
    return found
