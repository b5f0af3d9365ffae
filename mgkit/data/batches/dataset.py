"""Clip rows to samples: time sampling, one affine per clip, and what a batch of them is.

A worker ships uint8 frames and a few kilobytes of key-points. Resampling, normalisation and heatmaps happen on the
device, for frames and key-points with the same matrix, so that both pathways see the same crop and the same mirror.
Every random choice comes from a generator derived from (seed, epoch, clip position): the number of workers, an
interruption or the order of loading changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mgkit.data.batches.augment import crop_affine, random_box, shifted, square_around, turned
from mgkit.data.batches.pose import (
    select_persons,
)
from mgkit.data.batches.spec import Inputs, rgb_times, uniform_times
from mgkit.data.batches.streams import stream_frames
from mgkit.data.body import find_body, main_person
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, counted
from mgkit.parts import Part


class Sample(NamedTuple):
    """One view of one clip, on the CPU."""

    row: int  # position in the table of the clips
    label: int
    frames: npt.NDArray[np.uint8] | None  # (T, H, W, 3)
    # (M, T', V, 3), clip pixels; for changes (M, 2 T', V, 3): the sampled frames, then the one after each of them
    keypoints: npt.NDArray[np.float32] | None
    affine: npt.NDArray[np.float32]  # (2, 3), clip pixels to the unit square


class Batch(NamedTuple):
    """Samples stacked; `rows` says which clips they are."""

    rows: Tensor  # (N,) int64
    labels: Tensor  # (N,) int64
    frames: Tensor | None  # (N, T, H, W, 3) uint8
    keypoints: Tensor | None  # (N, M, T' or 2 T', V, 3) float32, clip pixels, NaN = not seen
    affines: Tensor  # (N, 2, 3) float32

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed."""
        frames, keypoints = (None if t is None else change(t) for t in (self.frames, self.keypoints))
        return Batch(change(self.rows), change(self.labels), frames, keypoints, change(self.affines))

    def to(self, device: torch.device) -> Batch:
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))


# --- samples --------------------------------------------------------------------------------------------------------


class ClipDataset(Dataset[Sample]):
    """Views of clips, addressed by (epoch, position, view).

    Args:
        clips: the clips, with what `spec.pathways` needs.
        spec: sizes and sampling.
        training: random times, crops and mirrors, or the whole frame at fixed times.
        seed: of the random draws.
        views: number of test views of a clip, spread over shifts of the time bins.
        flip: in testing, add the mirrored twin of every view (2 x views in all).
        augment: in training, functions from a clip's key-points (M, T, V, 3), x and y in clip pixels, score, NaN where
            a joint was not seen, and a generator to key-points of the same shape. They come after the mirror and before
            the affine, in their order.
    """

    def __init__(
        self,
        clips: Clips,
        spec: Inputs,
        *,
        training: bool,
        seed: int = 0,
        views: int = 1,
        flip: bool = False,
        augment: Sequence[Part] = (),
    ) -> None:
        if "rgb" in spec.pathways and not clips.has_video:
            _refuse_lack(
                clips, clips.rows.narrow("video") == "", "video",
                "the RGB pathway needs: prepare with videos, or train a pose-only recipe.",
            )  # fmt: skip
        if "pose" in spec.pathways and not clips.has_pose:
            _refuse_lack(
                clips, clips.rows.narrow("pose_offset") < 0, "pose",
                "the pose pathway needs: prepare with poses, or train an RGB-only recipe.",
            )  # fmt: skip
        if spec.centre != "picture" and not clips.has_pose:
            _refuse_lack(
                clips, clips.rows.narrow("pose_offset") < 0, "pose",
                f"centre={spec.centre!r} needs to find the body: prepare with poses, or use centre='picture'.",
            )  # fmt: skip
        self.clips, self.spec, self.training, self.seed = clips, spec.on(clips.skeleton), training, seed
        self.views, self.flip, self.augment = views, flip, tuple(augment)
        # In narrow columns: a dictionary per clip takes 1 kB in every loader process.
        self._labels, self._lengths, *sizes = (
            clips.rows.narrow(name).to_numpy() for name in ("label", "frames", "width", "height")
        )  # (N,) each
        self._sizes = np.stack(sizes, axis=1)  # (N, 2)
        part = self.spec.skeleton or clips.skeleton
        self._joints = None if len(part) == len(clips.skeleton) else clips.skeleton.positions(part)
        self._flip_index = part.flip_index
        self.mirrored_class = spec.mirrored(clips.classes)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def views_per_clip(self) -> int:
        return self.views * (2 if self.flip else 1)

    @property
    def sample_bytes(self) -> int:
        """Bytes of the frames and key-points of a sample, at most."""
        spec, size = self.spec, 0
        if "rgb" in spec.pathways:
            width, height = map(int, self._sizes.max(axis=0))
            size += spec.rgb_frames * height * width * 3
        if "pose" in spec.pathways:
            people = int(self.clips.rows.narrow("persons").max())
            joints = len(self.spec.skeleton or self.clips.skeleton)
            size += 4 * people * spec.pose_frames * (2 if spec.motion else 1) * joints * 3
        return size

    def label(self, key: tuple[int, int, int]) -> int:
        """The label of a view: that of its clip or, mirrored, of the class that the mirror makes of it."""
        return self._label(key[1], bool(self.spec.mirror_pairs) and self._draw(key)[1])

    def _label(self, position: int, mirrored: bool) -> int:
        label = int(self._labels[position])
        return int(self.mirrored_class[label]) if mirrored else label

    def _draw(
        self, key: tuple[int, int, int]
    ) -> tuple[npt.NDArray[np.int64], bool, np.random.Generator | None]:
        """Times of the frames (T',) of a view, whether it is mirrored, and in training what draws the rest."""
        epoch, position, view = key
        length, spec = int(self._lengths[position]), self.spec
        if not self.training:
            return uniform_times(length, spec.pose_frames, shift=self._shift(view)), view >= self.views, None
        # A clip drawn again in the same epoch (balanced sampling) gets another crop.
        generator = np.random.default_rng([self.seed, epoch, position, *([view] if view else [])])
        first, part = 0, length
        if spec.time_crop != (1, 1):
            part = max(1, round(generator.uniform(*spec.time_crop) * length))
            first = int(generator.integers(length - part + 1))
        times = first + uniform_times(part, spec.pose_frames, generator)
        return times, bool(generator.random() < spec.flip), generator

    def _shift(self, view: int) -> float:
        """Where in each time bin a test view looks."""
        return 0.5 if self.training else (view % self.views + 0.5) / self.views

    def _whole(
        self, pose: npt.NDArray[np.float32] | None, width: int, height: int
    ) -> tuple[tuple[float, float, float, float], npt.NDArray[np.float32] | None]:
        """The box (x, y, w, h) that a clip is shown in before any crop and, where it is to be held still, how far the
        body is from its usual place in each frame, (T, 2)."""
        person = None if pose is None or self.spec.centre == "picture" else main_person(pose)
        if pose is None or person is None:
            if self.spec.keypoints:
                return square_around(width, height), None
            return (0.0, 0.0, float(width), float(height)), None
        body = find_body(pose[person], self.clips.skeleton)
        middle, side = np.median(body.centre, axis=0), self.spec.body_span * body.size
        box = (float(middle[0] - side / 2), float(middle[1] - side / 2), side, side)
        moving = self.spec.centre == "moving body"
        return box, (body.centre - middle).astype(np.float32) if moving else None

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        position, view = key[1:]
        spec, length = self.spec, int(self._lengths[position])
        times, mirrored, generator = self._draw(key)
        posed = "pose" in spec.pathways or spec.centre != "picture"
        whole_clip = self.clips.pose_at(position) if posed else None
        whole, moves = self._whole(whole_clip, *map(int, self._sizes[position]))
        box = whole
        if generator is not None and not spec.keypoints:
            x, y, w, h = random_box(whole[2], whole[3], spec.crop_area, generator)
            box = (whole[0] + x, whole[1] + y, w, h)
        affine = crop_affine(box, mirrored)
        if generator is not None and (spec.rotation or spec.scaling):
            affine = turned(affine, box, spec.rotation, spec.scaling, generator)
        if generator is not None and spec.translation:
            affine = shifted(affine, spec.translation, generator)
        frames = keypoints = None
        if "rgb" in spec.pathways:
            if spec.time_sampling == "subset":
                frame_times = rgb_times(times, spec.rgb_frames, generator)
            else:
                frame_times = uniform_times(length, spec.rgb_frames, generator, self._shift(view))
            frames = stream_frames(
                self.clips, self.clips.rows.value("clip_id", position), frame_times, spec.rgb_stream
            )
        if "pose" in spec.pathways and whole_clip is not None:
            if moves is not None:
                whole_clip = np.array(whole_clip)
                whole_clip[..., :2] -= moves[:, None]
            if (
                spec.keypoints and len(whole_clip) > spec.persons
            ):  # by all frames: the same in every draw and view
                everyone = torch.from_numpy(np.array(whole_clip))[None]
                whole_clip = select_persons(everyone, spec.persons)[0].numpy()
            if self._joints is not None:
                whole_clip = whole_clip[:, :, self._joints]
            keypoints = whole_clip[:, times]  # (M, T', V, 3), a copy
            if spec.motion:
                after = whole_clip[:, np.minimum(times + 1, length - 1)]
                after[:, times + 1 == length] = np.nan
                keypoints = np.concatenate([keypoints, after], axis=1)
            if mirrored:
                keypoints = keypoints[:, :, self._flip_index]
            if generator is not None and self.augment:
                keypoints = self._augmented(keypoints, generator)
        return Sample(position, self._label(position, mirrored), frames, keypoints, affine)

    def _augmented(
        self, keypoints: npt.NDArray[np.float32], generator: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Key-points (M, T, V, 3) after the recipe's augmentations; each must leave shape and type as they are."""
        points = torch.from_numpy(keypoints)
        draws = torch.Generator().manual_seed(int(generator.integers(2**63)))
        for one in self.augment:
            changed = one.build(keypoints=points.clone(), generator=draws)
            if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (
                points.shape,
                points.dtype,
            ):
                got = (
                    f"{tuple(changed.shape)} {changed.dtype}"
                    if isinstance(changed, Tensor)
                    else f"{changed!r}"
                )
                raise MgkitError(
                    f"the augmentation {one.name} must return key-points {tuple(points.shape)} {points.dtype}, as it "
                    f"got them, but returned {got}."
                )
            points = changed
        return points.numpy()


def _refuse_lack(clips: Clips, without: pd.Series, what: str, needed: str) -> NoReturn:
    """Refuse clips of which some have no video or pose."""
    lacking = clips.column("clip_id")[without]
    raise MgkitError(
        f"{clips.root}: no {what} in {len(lacking)} of {counted(len(clips), 'clip')} (first: {lacking.iloc[0]}), "
        f"which {needed}"
    )
