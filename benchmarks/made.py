"""Clips to measure on, made on the spot: 256 pixels, the lengths of real micro-gestures, poses of one person."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import get_skeleton
from mgkit.data.video import write_video


def make_clips(root: Path, count: int, size: int = 256, seed: int = 0) -> Clips:
    """A clip folder of `count` clips of 12 to 120 frames (median about 40).

    The pictures are a blurred texture with a moving disc and camera noise, which costs a codec about what a person in
    a room does: 3 kB a frame.
    """
    generator = np.random.default_rng(seed)
    layout = get_skeleton("coco17")
    rows, poses = [], []
    for i in range(count):
        frames = int(np.clip(np.exp(generator.normal(np.log(40), 0.5)), 12, 120))
        texture = generator.integers(0, 255, (size, size, 3), dtype=np.uint8)
        ground = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), size / 64), None, 0, 255, cv2.NORM_MINMAX)
        start, step = generator.uniform(0.3, 0.6, 2) * size, generator.uniform(-1, 1, 2)
        pictures = []
        for t in range(frames):
            noise = generator.normal(0, 3, (size, size, 1))
            picture = np.clip(ground + noise, 0, 255).astype(np.uint8)
            x, y = (start + t * step).astype(int).tolist()
            cv2.circle(picture, (x, y), size // 12, (200, 150, 120), -1)
            pictures.append(picture)
        name = f"videos/clip{i:04d}.mp4"
        write_video(root / name, pictures, 25)
        joints = generator.uniform(0.2, 0.8, (1, 1, len(layout), 2)) * size
        walk = generator.normal(0, 1, (1, frames, len(layout), 2)).cumsum(1)
        scores = generator.uniform(0.3, 1, (1, frames, len(layout), 1))
        poses.append(np.concatenate([joints + walk, scores], axis=-1).astype(np.float32))
        rows.append(
            {
                "clip_id": f"clip{i:04d}",
                "split": "train",
                "label": i % 32,
                "subject": "S1",
                "source": "made",
                "start": 0,
                "end": frames,
                "frames": frames,
                "fps": 25.0,
                "width": size,
                "height": size,
                "video": name,
                "persons": 1,
                "crop_x": 0.0,
                "crop_y": 0.0,
                "crop_width": float(size),
                "crop_height": float(size),
            }
        )
    return write_clip_folder(root, rows, poses, Classes(tuple(f"class {k}" for k in range(32))), layout)
