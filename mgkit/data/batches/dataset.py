"""Clip rows to batches: time sampling, one affine per clip, and the device side that makes network inputs of them.

A worker ships uint8 frames and a few kilobytes of key-points. Resampling, normalisation and heatmaps happen on the
device, for frames and key-points with the same matrix, so that both pathways see the same crop and the same mirror.
Every random choice comes from a generator derived from (seed, epoch, clip position): the number of workers, an
interruption or the order of loading changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from mgkit.data.batches.augment import crop_affine, random_box, square_around, turned
from mgkit.data.batches.pose import (
    select_persons,
)
from mgkit.data.batches.spec import Inputs, rgb_times, uniform_times
from mgkit.data.clips import Clips
from mgkit.data.video import read_frames
from mgkit.errors import MgkitError
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

    def to(self, device: torch.device) -> Batch:
        def moved(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device, non_blocking=True)

        rows, labels, affines = (
            t.to(device, non_blocking=True) for t in (self.rows, self.labels, self.affines)
        )
        return Batch(rows, labels, moved(self.frames), moved(self.keypoints), affines)


# --- space ----------------------------------------------------------------------------------------------------------


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
            lacking = clips.table.loc[clips.table["video"] == "", "clip_id"]
            raise MgkitError(
                f"{clips.root}: {len(lacking)} of {len(clips)} clips have no video (first: {lacking.iloc[0]}), which "
                "the RGB pathway needs: prepare with videos, or train a pose-only recipe."
            )
        if "pose" in spec.pathways and not clips.has_pose:
            lacking = clips.table.loc[clips.table["pose_offset"] < 0, "clip_id"]
            raise MgkitError(
                f"{clips.root}: {len(lacking)} of {len(clips)} clips have no pose (first: {lacking.iloc[0]}), which "
                "the pose pathway needs: prepare with poses, or train an RGB-only recipe."
            )
        self.clips, self.spec, self.training, self.seed = clips, spec, training, seed
        self.views, self.flip, self.augment = views, flip, tuple(augment)
        self._ids = clips.ids
        self._rows = clips.table.to_dict("records")

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def views_per_clip(self) -> int:
        return self.views * (2 if self.flip else 1)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, position, view = key
        row, spec = self._rows[position], self.spec
        length, width, height = row["frames"], row["width"], row["height"]
        generator = None
        whole = square_around(width, height) if spec.keypoints else (0.0, 0.0, float(width), float(height))
        if self.training:  # a clip drawn again in the same epoch (balanced sampling) gets another crop
            again = [view] if view else []
            generator = np.random.default_rng([self.seed, epoch, position, *again])
        if generator is None:
            shift = (view % self.views + 0.5) / self.views
            times = uniform_times(length, spec.pose_frames, shift=shift)
            mirrored, box = view >= self.views, whole
        else:
            shift = 0.5
            times = uniform_times(length, spec.pose_frames, generator)
            mirrored = bool(generator.random() < spec.flip)
            box = whole if spec.keypoints else random_box(width, height, spec.crop_area, generator)
        affine = crop_affine(box, mirrored)
        if generator is not None and (spec.rotation or spec.scaling):
            affine = turned(affine, box, spec.rotation, spec.scaling, generator)
        frames = keypoints = None
        if "rgb" in spec.pathways:
            if spec.time_sampling == "subset":
                frame_times = rgb_times(times, spec.rgb_frames, generator)
            else:
                frame_times = uniform_times(length, spec.rgb_frames, generator, shift)
            frames = read_frames(self.clips.root / row["video"], frame_times)
        if "pose" in spec.pathways:
            whole_clip = self.clips.pose(self._ids[position])
            if (
                spec.keypoints and len(whole_clip) > spec.persons
            ):  # by all frames: the same in every draw and view
                everyone = torch.from_numpy(np.array(whole_clip))[None]
                whole_clip = select_persons(everyone, spec.persons)[0].numpy()
            keypoints = whole_clip[:, times]  # (M, T', V, 3), a copy
            if spec.motion:
                after = whole_clip[:, np.minimum(times + 1, length - 1)]
                after[:, times + 1 == length] = np.nan
                keypoints = np.concatenate([keypoints, after], axis=1)
            if mirrored:
                keypoints = keypoints[:, :, self.clips.skeleton.flip_index]
            if generator is not None and self.augment:
                keypoints = self._augmented(keypoints, generator)
        return Sample(position, row["label"], frames, keypoints, affine)

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


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; smaller frames are padded at the right and bottom, fewer persons with NaN."""
    frames = [sample.frames for sample in samples if sample.frames is not None]
    keypoints = [sample.keypoints for sample in samples if sample.keypoints is not None]
    return Batch(
        torch.tensor([s.row for s in samples]),
        torch.tensor([s.label for s in samples]),
        _stacked(frames, 0) if frames else None,
        _stacked(keypoints, np.nan) if keypoints else None,
        torch.from_numpy(np.stack([s.affine for s in samples])),
    )


def _stacked(arrays: Sequence[npt.NDArray[Any]], fill: float) -> Tensor:
    """Arrays stacked, smaller ones filled up at the end of each axis."""
    shape = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True))
    whole = []
    for array in arrays:
        if array.shape != shape:
            padded = np.full(shape, fill, array.dtype)
            padded[tuple(slice(size) for size in array.shape)] = array
            array = padded
        whole.append(torch.from_numpy(array))
    # In a loader process this stacks into shared memory, which spares the copy on the way to the trainer.
    return default_collate(whole)


# --- on the device --------------------------------------------------------------------------------------------------


def worker_options(workers: int, device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a DataLoader for this many workers."""
    # A generator of its own: a loader otherwise takes numbers from torch's global one, which dropout uses.
    options: dict[str, Any] = {
        "num_workers": workers, "pin_memory": device.type == "cuda", "generator": torch.Generator()
    }  # fmt: skip
    if workers:
        options.update(persistent_workers=True, prefetch_factor=2)
    return options
