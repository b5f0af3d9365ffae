"""What the made trees of `tests.made.trees` have in common: what they hold, and how a video is made."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xlsxwriter

from mgkit.data.skeletons import Skeleton
from mgkit.demo.gestures import CLASS_SETS
from mgkit.demo.people import make_subject
from mgkit.errors import MgkitError
from mgkit.files import atomic
from mgkit.parallel import run_jobs
from tests.made.recording import WIDE, Recording, Take, record, record_clip

Poses = npt.NDArray[np.float64]

_PERSON_STREAM, _VIDEO_STREAM, LABEL_STREAM = 11, 12, 13  # keep random numbers apart


@dataclass(frozen=True)
class TreeClip:
    """One clip as a reader should find it; `label` is the true one, also where the files hide it.

    `start` and `end` are frames of the source video, half-open, 0-based.
    """

    clip_id: str
    split: str
    source: str
    label: int
    subject: str
    start: int
    end: int


@dataclass(frozen=True)
class Tree:
    """What was written.

    Attributes:
        root: the folder.
        clips: in the order of videos and of time.
        files: of each source, by kind: `"video"`, and what the dataset has of `"labels"`, `"openpose"`, `"light_hand"`
            and `"poses"`.
        frames: of each source.
        poses: of each source (T, V, 3): x, y in pixels of the video and score, 0 = not seen, as in its files; hands are
            on their true side.
        size: (height, width) of all videos.
    """

    root: Path
    clips: tuple[TreeClip, ...]
    files: dict[str, dict[str, Path]]
    frames: dict[str, int]
    poses: dict[str, Poses]
    size: tuple[int, int]

    def of_split(self, split: str) -> tuple[TreeClip, ...]:
        return tuple(clip for clip in self.clips if clip.split == split)


@dataclass(frozen=True)
class Video:
    """One recording to make: enough to make it anywhere, alone."""

    dataset: str
    key: str
    split: str
    person: int
    labels: tuple[int, ...]
    index: int
    seed: int
    size: int
    files: dict[str, Path] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, _VIDEO_STREAM, self.index])

    def record(self, rng: np.random.Generator) -> Recording:
        """The recording, untrimmed with all labels in a row; of MA-52 a trimmed clip of its only one."""
        person = np.random.default_rng([self.seed, _PERSON_STREAM, self.person])
        subject = make_subject(f"S{self.person:02d}", person)
        gestures = [CLASS_SETS[self.dataset][label] for label in self.labels]
        if self.dataset == "ma52":
            return record_clip(gestures[0], subject, self.size, int(rng.integers(16, 41)), rng)
        rests, spans = rng.integers(10, 20, len(gestures)), rng.integers(6, 33, len(gestures))
        takes = [Take(g, int(r), int(s)) for g, r, s in zip(gestures, rests, spans, strict=True)]
        return record(takes, subject, self.size, rng)


@dataclass(frozen=True)
class Made:
    """What one recording became."""

    key: str
    spans: tuple[tuple[int, int], ...]
    poses: Poses


def seen(recording: Recording, layout: Skeleton, rng: np.random.Generator) -> Poses:
    """(T, V, 3) x, y, score with as many digits as the files have."""
    points, score = recording.observe(layout, rng)
    values = np.concatenate([points, score[..., None]], axis=2, dtype=np.float64)
    return np.asarray(np.round(values, 3), dtype=np.float64)


def make(
    work: Callable[[Video, Callable[[], bool]], Made], jobs: list[Video], workers: int | None
) -> dict[str, Made]:
    return {made.key: made for _, made in run_jobs(work, jobs, workers)}


def tree(root: Path, jobs: list[Video], made: dict[str, Made], clips: list[TreeClip], size: int) -> Tree:
    return Tree(
        root=root,
        clips=tuple(clips),
        files={job.key: job.files for job in jobs},
        frames={job.key: len(made[job.key].poses) for job in jobs},
        poses={job.key: made[job.key].poses for job in jobs},
        size=frame_shape(size),
    )


def new_folder(out: str | Path, size: int, seed: int, *counts: int) -> Path:
    """A folder to write a tree into; one with something in it raises a `MgkitError`, and so do numbers out of range."""
    root = Path(out)
    if size < 64 or size % 2:
        raise MgkitError(f"videos {size} pixels high were asked for: give an even number of 64 or more.")
    if min(seed, *counts) < 0:
        raise MgkitError(f"{root} cannot be made of a negative seed, too few videos or no gestures in them.")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise MgkitError(f"{root} is not an empty folder: give a new one for the made tree.")
    root.mkdir(parents=True, exist_ok=True)
    return root


def frame_shape(size: int) -> tuple[int, int]:
    """(height, width) of videos of a size."""
    return size, 2 * round(size * WIDE / 2)


def numbers(row: npt.NDArray[np.float64]) -> str:
    """A row of a CSV with as many digits as `seen` leaves."""
    return ",".join(f"{value:.3f}" for value in row)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_sheet(path: Path, rows: npt.NDArray[np.float64]) -> None:
    """Numbers as the only sheet of a spreadsheet, without header; the same numbers give the same bytes."""
    with atomic(path) as temporary:
        book = xlsxwriter.Workbook(str(temporary), {"constant_memory": True})
        book.set_properties({"created": datetime.datetime(2020, 1, 1)})
        sheet = book.add_worksheet()
        for r, row in enumerate(rows.tolist()):
            for c, value in enumerate(row):
                sheet.write_number(r, c, value)
        book.close()
