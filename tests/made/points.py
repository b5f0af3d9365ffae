"""Made key-points and a reader of them, to see what `prepare` does with numbers that are not what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mgkit as mg
from mgkit.data.clips import Classes, Clips
from mgkit.data.readers import RawClip, RawDataset
from mgkit.data.skeletons import PENN13
from mgkit.data.video import write_video

BODY = np.array(  # joints of PENN13 in units of a person's height, from the middle of the body
    [(0, -0.5), (0.1, -0.35), (-0.1, -0.35), (0.15, -0.2), (-0.15, -0.2), (0.16, -0.05), (-0.16, -0.05),
     (0.07, 0), (-0.07, 0), (0.08, 0.25), (-0.08, 0.25), (0.08, 0.5), (-0.08, 0.5)]
)  # fmt: skip


def person(
    frames: int = 24,
    at: tuple[float, float] = (320, 240),
    height: float = 200.0,
    seed: int = 0,
    walk: float = 0.0,
) -> np.ndarray:
    """(frames, 13, 3): somebody who waves the left wrist, trembles a little and walks `walk` pixels per frame."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)
    xy = np.asarray(at) + BODY * height + rng.normal(0, 0.3, (frames, 13, 2))
    xy[:, 5, 0] += 0.1 * height * np.sin(time / 4 + seed)
    xy[..., 0] += walk * time[:, None]
    return np.concatenate([xy, np.full((frames, 13, 1), 0.9)], axis=-1).astype(np.float32)


def clip(name: str, pose: Any, *, size: tuple[int, int] | None = (640, 480), **more: Any) -> RawClip:
    """A clip with these key-points, which must be (persons, frames, 13, 3) to be right."""
    return RawClip(name, "train", 0, size=size, source="made.npy", pose=lambda: pose, **more)


def prepared(folder: Path, clips: Sequence[RawClip], **options: Any) -> Clips:
    """The clip folder of some clips."""

    def read(source: Path) -> RawDataset:
        return RawDataset(list(clips), Classes(("wave",)), PENN13, [])

    return mg.prepare(read, folder / "source", folder / "out", size=32, workers=1, progress=False, **options)


def in_source(clips: Clips, clip_id: str) -> np.ndarray:
    """Key-points of a prepared clip, (M, T, V, 2), in pixels of its source again."""
    row, pose = clips.row(clip_id), clips.pose(clip_id)
    return pose[..., :2] * (row["crop_width"] / row["width"]) + (row["crop_x"], row["crop_y"])


def notes(clips: Clips, what: str) -> dict[str, str]:
    """Details of the report entries of one kind by clip id."""
    return {entry["clip_id"]: entry["detail"] for entry in clips.report if entry["what"] == what}


def film(path: Path, frames: int, size: tuple[int, int] = (64, 48), fps: float = 25) -> Path:
    """A grey video of so many frames of this (width, height)."""
    grey = np.full((size[1], size[0], 3), 120, dtype=np.uint8)
    write_video(path, [grey] * frames, fps)
    return path
