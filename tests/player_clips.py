"""Clips that can be checked by their pixels: each frame carries its number, and its joints walk along known paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.video import write_video
from mgkit.results.run.files import write_embeddings
from mgkit.results.run.folder import Run, create_run, load_run, write_predictions
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.run.saliency import Saliency, write_saliency
from tests.tiny import CLASSES, TRIANGLE, tiny_row

WIDTH, HEIGHT, BITS = 96, 64, 6  # not square: x and y cannot be mixed up
FRAMES = {"a": 40, "b": 24, "c": 40, "d": 12}
FED = {"inputs": Inputs(rgb_frames=4, pose_frames=16, rgb_size=64, heatmap_size=16).to_dict()}


def numbered_frame(number: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3): the number in six stripes from left to right, the highest bit first; light = 1. Joints stay below."""
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(BITS):
        if number >> (BITS - 1 - bit) & 1:
            frame[: HEIGHT // 2, bit * WIDTH // BITS : (bit + 1) * WIDTH // BITS] = 210
    return frame


def number_of(frame: npt.NDArray[np.integer[Any]]) -> int:
    """The number in a frame (H, W, 3) of any size, as it was written or as it came back from a JPEG or a canvas."""
    height, width = frame.shape[:2]
    bits = [frame[height // 4, int((bit + 0.5) * width / BITS), 1] > 125 for bit in range(BITS)]
    return sum(int(one) << (BITS - 1 - i) for i, one in enumerate(bits))


def walking_pose(frames: int, persons: int = 1) -> npt.NDArray[np.float32]:
    """(M, T, 3, 3): joint 0 (middle) walks right, 1 (left) and 2 (right) stand apart; all in the lower half.

    Scores are 1, 0.5 and 0.2. The second person lacks joint 2 in every frame, and both lack joint 1 in frame 3.
    """
    pose = np.empty((persons, frames, 3, 3), np.float32)
    for person in range(persons):
        pose[person, :, 0, 0] = 12 + 1.5 * np.arange(frames) + 6 * person
        pose[person, :, 0, 1] = 40
        pose[person, :, 1, :2] = 84, 58 - 6 * person
        pose[person, :, 2, :2] = 8, 58
        pose[person, ..., 2] = 1, 0.5, 0.2
    pose[:, 3, 1] = np.nan
    pose[1:, :, 2] = np.nan
    return pose


def numbered_clips(root: Path, classes: Classes = CLASSES, copies: int = 1) -> Clips:
    """a, b (two persons), c (no video) and d (no pose, rate not known), all of class 1 but d; `copies` of each."""
    (root / "videos").mkdir(parents=True, exist_ok=True)
    rows, poses = [], []
    for copy in range(copies):
        for name, frames in FRAMES.items():
            clip_id = name if not copy else f"{name}{copy}"
            video = "" if name == "c" else f"videos/{clip_id}.mp4"
            persons = {"b": 2, "d": 0}.get(name, 1)
            if video:
                write_video(root / video, map(numbered_frame, range(frames)), 25, quality=8)
            rows.append(
                tiny_row(
                    clip_id, 0 if name == "d" else 1, split="test", video=video, frames=frames, start=100,
                    end=100 + frames, width=WIDTH, height=HEIGHT, persons=persons, fps=0.0 if name == "d" else 25.0,
                    crop_width=float(WIDTH), crop_height=float(HEIGHT), source="film.mp4",
                )
            )  # fmt: skip
            poses.append(walking_pose(frames, persons) if persons else None)
    return write_clip_folder(root, rows, poses, classes, TRIANGLE)


def numbered_run(root: Path, clips: Clips, recipe: dict[str, Any] | None = None) -> Run:
    """A run on `numbered_clips`: a is taken for another class, b, c and d are right; b is nearer to a than c is."""
    create_run(
        root, recipe=FED if recipe is None else recipe, clips=clips, pathways=("rgb", "pose"), environment={}
    )
    count, ids, labels = len(clips.classes), clips.ids, clips.labels
    scores = np.full((len(ids), count), 0.1 / (count - 1), np.float32)
    said = np.where([clip_id == "a" for clip_id in ids], count - 1, labels)
    scores[np.arange(len(ids)), said] = 0.9
    own = np.array([{"a": 0.7, "b": 0.4, "c": 0.2}.get(clip_id, np.nan) for clip_id in ids], np.float32)
    other = np.full(len(ids), 0.5, np.float32)
    write_predictions(
        root,
        "test",
        Predictions(
            ids, labels, {"rgb": scores, "pose": scores[:, ::-1].copy(), "fused": scores}, {"rgb": own, "pose": own},
            {"rgb": other, "pose": other},
        ),
    )  # fmt: skip
    angle = np.array([{"a": 0.0, "b": 0.3, "c": 1.0}.get(clip_id, 2.0) for clip_id in ids])
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    order = np.arange(len(ids))[::-1]
    write_embeddings(
        root, "test", Embeddings([ids[i] for i in order], {"rgb": vectors[order], "pose": vectors[order]})
    )
    return load_run(root)


def known_saliency(clip_ids: list[str], **changes: Any) -> Saliency:
    """Of pose frames 0, 10, 20, 30 and RGB frames 10, 30 of each clip, with one answer a frame that can be checked.

    In pose frame 10 i only joint i speaks (joint 0 again in frame 30), the more the later; in RGB frame 10 it is the
    top left quarter of the picture, in frame 30 the bottom right one. Frame 0 as a whole, and joint 2 in it, speaks
    against the class, which is class 3.
    """
    joints = np.zeros((4, 3))
    for frame, value in enumerate((1.0, 2.0, 3.0, 4.0)):
        joints[frame, frame % 3] = value
    joints[0, 2] = -3.0
    maps = np.zeros((2, 8, 8))
    maps[0, :4, :4] = maps[1, 4:, 4:] = 1 / 16
    count = len(clip_ids)
    parts: dict[str, Any] = {
        "joints": np.tile(joints, (count, 1, 1)), "pose_frames": np.tile([0, 10, 20, 30], (count, 1)),
        "maps": np.tile(maps, (count, 1, 1, 1)), "rgb_frames": np.tile([10, 30], (count, 1)),
    }  # fmt: skip
    return Saliency(
        clip_ids,
        np.full(count, 3),
        np.ones(count),
        **{**parts, **changes},
        settings={"target": "true"},
    )


def explained_run(root: Path, clips: Clips, clip_ids: list[str] | None = None, **changes: Any) -> Run:
    """`numbered_run` with the saliency of `known_saliency`, of clips a and c unless others are named."""
    run = numbered_run(root, clips)
    write_saliency(root, "test", known_saliency(["a", "c"] if clip_ids is None else clip_ids, **changes))
    return run
