"""Readers: one short file a dataset layout, each yielding `RawClip` rows and nothing else.

A reader never cuts, crops, re-encodes or trains; `mgkit.data.prepare` does that, the same way for every dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.data.skeletons import Skeleton


@dataclass(frozen=True)
class RawClip:
    """One clip as its dataset has it.

    Attributes:
        clip_id: unique in the dataset.
        split: the split it stands in.
        label: index into the dataset's classes.
        size: (width, height) in pixels of the frame that the key-points live in.
        subject: "" when not known.
        video: the file the clip is cut from, None when only poses are known.
        source: the name recorded for the source, relative to the dataset.
        start, end: source frames, half-open; end None = to the end.
        fps: frames per second, 0 when not known (a video says its own).
        pose: called when needed, gives (M, T, V, 3): x, y in source pixels, score in [0, 1], NaN = not seen.
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


@dataclass(frozen=True)
class RawDataset:
    """What a reader returns: the clips, what their labels and joints mean, and what was odd."""

    clips: list[RawClip]
    classes: Classes
    skeleton: Skeleton
    files: list[Path]  # everything the reader depends on, so that a changed source is noticed
    report: list[dict[str, str]] = field(default_factory=list)


def note(what: str, detail: str, clip_id: str = "") -> dict[str, Any]:
    """One entry of the report."""
    return {"what": what, "clip_id": clip_id, "detail": detail}
