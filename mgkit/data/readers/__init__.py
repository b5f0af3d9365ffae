"""Readers: one short file per dataset layout, each yielding `RawClip` rows and nothing else.

A reader is `read_NAME(source, *, <its own options>) -> RawDataset`; one that asks for `cache` is given a folder for
what is slow to convert. It never cuts, crops, decodes or trains; `mgkit.data.prepare.folder` does that, the same way
for every dataset. What is odd in the files is either reported (`note`) or refused with an error that names file, row
and remedy. docs/datasets.md shows how to write one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.data.keypoints import Origin
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted
from mgkit.files import read_json

DATA = Path(__file__).parent  # class lists and hierarchies: imigue.json, ...

LEFT_OUT = "left out: "  # begins what a report says of a clip that could not be made: such clips are counted

NO_SKELETON = Skeleton("none", (), (), ())  # of a dataset without key-points


@dataclass(frozen=True)
class RawClip:
    """One clip as its dataset has it.

    Attributes:
        clip_id: unique in the dataset.
        split: name of its split.
        label: index into the dataset's classes.
        size: (width, height) in pixels of the frame that the key-points live in; None = that of the video.
        subject: "" when not known.
        video: the file the clip is cut from, None when only poses are known.
        source: the name recorded for the source; clips of one source video share it.
        start, end: source frames, half-open; end None = to the end.
        fps: frames per second, 0 when not known (that of a video counts).
        pose: called when needed, gives (M, T, V, 3): x, y in source pixels, score in [0, 1], NaN = not seen; None or
            an empty array where nobody was seen. It must be picklable, and cheap when the clips of one source are asked
            for in a row in one process.
        notes: called after `pose`, gives report entries on what was odd in the files that it read.
        pose_frames: called after `pose`, gives the number of frames with key-points of the whole source. Where it
            differs from its video, a missing row has shifted all that follow. With it, `pose` and `notes` also take
            `start` and `end`, in frames of the key-points, for those of another rate than the video.
    """

    clip_id: str
    split: str
    label: int
    size: tuple[int, int] | None = None
    subject: str = ""
    video: Path | None = None
    source: str = ""
    start: int = 0
    end: int | None = None
    fps: float = 0.0
    pose: Callable[[], npt.NDArray[np.float32]] | None = None
    notes: Callable[[], list[dict[str, str]]] | None = None
    pose_frames: Callable[[], int] | None = None


@dataclass(frozen=True)
class RawDataset:
    """The result of a reader: the clips, the meaning of their labels and joints, and what was odd.

    `origins` says of clips, by id, what their key-points were estimated by, where that is known.
    """

    clips: list[RawClip]
    classes: Classes
    skeleton: Skeleton
    files: list[Path]  # everything the reader depends on, so that a changed source is noticed
    report: list[dict[str, str]] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)


def note(what: str, detail: str, clip_id: str = "") -> dict[str, Any]:
    """One entry of the report."""
    return {"what": what, "clip_id": clip_id, "detail": detail}


def refuse(problems: list[str], remedy: str = "Correct the rows named, or take the file out.") -> None:
    """Raise one `MgkitError` for all problems found, so that they can be fixed in one go; none = nothing happens."""
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        count = "" if len(problems) == 1 else f"{len(problems)} problems: "
        raise MgkitError(f"{count}{'; '.join(problems[:5])}{more}. {remedy}")


def frame_size_of(given: str | tuple[int, int] | None, option: str = "frame_size") -> tuple[int, int] | None:
    """(width, height) of text like `1280x720` or of two numbers; None stays None. `option` is its name in errors."""
    if given is None:
        return None
    parts = given.lower().split("x") if isinstance(given, str) else [str(side) for side in given]
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise MgkitError(f"{option} is {given!r}: give width and height in pixels, for example 1280x720.")
    return int(parts[0]), int(parts[1])


def load_classes(name: str, file: str | Path | None = None, *, first: int | None = None) -> Classes:
    """Load a class list.

    Args:
        name: of one that comes with mgkit, `<name>.json` next to this file.
        file: a list to use instead, `{"names": [...], "groups": [...] or null, "non_gesture": index or null}`.
        first: keep only that many classes.
    """
    path = DATA / f"{name}.json" if file is None else Path(file)
    classes = Classes.from_dict(read_json(path), where=str(path))
    if first is None or first == len(classes):
        return classes
    gesture = classes.non_gesture if classes.non_gesture is not None and classes.non_gesture < first else None
    return Classes(classes.names[:first], None if classes.groups is None else classes.groups[:first], gesture)


def mark_unseen(
    xy: npt.NDArray[np.floating[Any]], score: npt.NDArray[np.floating[Any]] | None = None
) -> npt.NDArray[np.float32]:
    """Join x, y and score, NaN where a point was not seen: score 0, not a finite number, or the origin as filler.

    Args:
        xy: (..., V, 2) pixels.
        score: (..., V), clipped to [0, 1]; None = every point has score 1.

    Returns:
        (..., V, 3) float32.
    """
    xy = np.asarray(xy, dtype=np.float32)
    score = np.ones(xy.shape[:-1], np.float32) if score is None else np.asarray(score, dtype=np.float32)
    pose = np.concatenate([xy, np.clip(score, 0, 1)[..., None]], axis=-1)
    pose[~np.isfinite(pose).all(-1) | (pose[..., 2] <= 0) | (xy == 0).all(-1)] = np.nan
    return pose


def pose_notes(
    clip_id: str, pose: npt.NDArray[np.floating[Any]], frame: tuple[int, int]
) -> list[dict[str, str]]:
    """Report entries on the key-points of a clip, whatever they were read from; nothing is changed.

    Args:
        clip_id: the clip.
        pose: (M, T, V, 3) as `RawClip.pose` gives it.
        frame: (width, height) of the source, pixels.

    Returns:
        Entries on frames in which nobody was seen (`prepare` reports a clip without any joint), on several persons,
        and on points outside the frame.
    """
    seen = np.isfinite(pose[..., :2]).all(-1)
    persons = seen.any(2).sum(0)
    found = []
    if 0 < (persons == 0).sum() < len(persons):
        found.append(
            note("nobody seen", f"in {(persons == 0).sum()} of {counted(len(persons), 'frame')}", clip_id)
        )
    if persons.size and persons.max() > 1:
        detail = (
            f"up to {persons.max()} in a frame, in {(persons > 1).sum()} of {counted(len(persons), 'frame')}: all are "
            "kept"
        )
        found.append(note("several persons", detail, clip_id))
    beyond = []  # pixels, of the points outside
    for first in range(0, pose.shape[1], 4096):  # an hour of video in one go would take as much again
        points = pose[:, first : first + 4096, :, :2][seen[:, first : first + 4096]]
        far = np.maximum(-points, points - np.asarray(frame, dtype=np.float32)).max(-1)
        beyond.append(far[far > 0])
    if outside := sum(map(len, beyond)):
        farthest = max(far.max() for far in beyond if len(far))
        detail = (
            f"{outside} of {counted(seen.sum(), 'point')}, by up to {counted(round(farthest), 'pixel')}: kept"
        )
        found.append(note("points outside the frame", detail, clip_id))
    return found
