"""A clip folder of a few small clips, quick to make: a square that moves (pose) and has a colour (RGB)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import Skeleton
from mgkit.data.video import write_video

TRIANGLE = Skeleton("triangle", ("top", "left_foot", "right_foot"), ((0, 1), (0, 2)), ((1, 2),))
CLASSES = Classes(("red still", "red moving", "blue still", "blue moving"), ("red", "red", "blue", "blue"))


def tiny_row(clip_id: str, label: int, **changes: Any) -> dict[str, Any]:
    row = {
        "clip_id": clip_id, "split": "train", "label": label, "subject": "S1", "source": "tiny", "start": 0, "end": 10,
        "frames": 10, "fps": 25.0, "width": 32, "height": 32, "video": "", "persons": 1, "crop_x": 0.0, "crop_y": 0.0,
        "crop_width": 32.0, "crop_height": 32.0,
    }  # fmt: skip
    return {**row, **changes}


def tiny_pose(label: int, seed: int, frames: int = 10) -> np.ndarray:
    """(1, frames, 3, 3): a triangle in a 32 x 32 picture that walks to the right if the class moves."""
    generator = np.random.default_rng(seed)
    middle = generator.uniform(10, 16, 2) + np.outer(np.arange(frames), [1.0 if label % 2 else 0.0, 0.0])
    corners = np.array([[0, -5], [-5, 5], [5, 5]])
    pose = np.ones((1, frames, 3, 3), np.float32)
    pose[0, :, :, :2] = middle[:, None] + corners
    return pose


def tiny_clips(
    root: Path, *, counts: dict[str, int] | None = None, videos: bool = True, subjects: int = 1
) -> Clips:
    """`counts` clips a class and split (default: 3 train, 1 val, 1 test), of `subjects` people in turn."""
    rows, poses = [], []
    (root / "videos").mkdir(parents=True, exist_ok=True)
    for split, count in (counts or {"train": 3, "val": 1, "test": 1}).items():
        for label in range(4):
            for i in range(count):
                clip_id = f"{split}_{label}_{i}"
                pose = tiny_pose(label, seed=len(rows))
                video = ""
                if videos:
                    video = f"videos/{clip_id}.mp4"
                    frames = np.full((10, 32, 32, 3), 90, np.uint8)
                    for frame, centre in zip(frames, pose[0].mean(1)[:, :2].astype(int), strict=True):
                        x, y = centre
                        frame[y - 4 : y + 4, x - 4 : x + 4] = (220, 40, 40) if label < 2 else (40, 40, 220)
                    write_video(root / video, frames, 25)
                subject = f"S{len(rows) % subjects + 1}"
                rows.append(tiny_row(clip_id, label, split=split, video=video, subject=subject))
                poses.append(pose)
    return write_clip_folder(root, rows, poses, CLASSES, TRIANGLE)
