"""Clip rows to batches: time sampling, one affine per clip, and the device side that makes network inputs of them.

A worker ships uint8 frames and a few kilobytes of key-points. Resampling, normalisation and heatmaps happen on the
device, for frames and key-points with the same matrix, so that both pathways see the same crop and the same mirror.
Every random choice comes from a generator derived from (seed, epoch, clip position): the number of workers, an
interruption or the order of loading changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler, default_collate

from mgkit.data.batches.pose import (
    joint_heatmaps,
    limb_heatmaps,
    select_persons,
    skeleton_stream,
    uninitialised,
)
from mgkit.data.batches.spec import Inputs, rgb_times, uniform_times
from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.data.video import read_frames
from mgkit.errors import MgkitError
from mgkit.parts import Part

# ImageNet statistics on the 0-255 scale, which every published RGB backbone of this family was trained with.
RGB_MEAN = (123.675, 116.28, 103.53)
RGB_STD = (58.395, 57.12, 57.375)


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


def crop_affine(box: tuple[float, float, float, float], mirrored: bool) -> npt.NDArray[np.float32]:
    """(2, 3) matrix that takes clip pixels to the unit square: `box` (x, y, w, h) fills it, mirrored or not."""
    x, y, w, h = box
    matrix = np.array([[1 / w, 0, -x / w], [0, 1 / h, -y / h]], dtype=np.float64)
    if mirrored:
        matrix[0] = [-1 / w, 0, 1 + x / w]
    return matrix.astype(np.float32)


def random_box(
    width: int, height: int, area: tuple[float, float], generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """A crop of random size (share of the frame's area in `area`), aspect (3/4 to 4/3) and place, inside the frame."""
    share = generator.uniform(*area)
    aspect = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
    w = min(width, float(np.sqrt(share * width * height * aspect)))
    h = min(height, float(np.sqrt(share * width * height / aspect)))
    return float(generator.uniform(0, width - w)), float(generator.uniform(0, height - h)), w, h


def square_around(width: int, height: int) -> tuple[float, float, float, float]:
    """The square around the whole frame, with which it keeps its proportions: key-points are not resampled pixels."""
    side = float(max(width, height))
    return (width - side) / 2, (height - side) / 2, side, side


def turned(
    affine: npt.NDArray[np.float32],
    box: tuple[float, float, float, float],
    rotation: float,
    scaling: float,
    generator: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """A clip's matrix after a random turn and change of size about the middle of its box, drawn in clip pixels.

    In pixels, so that a turn is a turn whatever the frame's proportions; alike in both directions, so that limbs keep
    their proportions; one draw for all frames, so that nothing moves that did not.

    Args:
        affine: (2, 3) clip pixels to the unit square.
        box: (x, y, w, h) in clip pixels.
        rotation: largest angle, degrees.
        scaling: largest share by which sizes change.
    """
    angle = np.deg2rad(generator.uniform(-rotation, rotation))
    size = 1 + generator.uniform(-scaling, scaling)
    middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = affine.astype(np.float64)
    linear = matrix[:, :2] @ turn
    return np.column_stack([linear, matrix[:, 2] + (matrix[:, :2] - linear) @ middle]).astype(np.float32)


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


class EpochSampler(Sampler[tuple[int, int, int]]):
    """The keys of one epoch: every clip once in random order (training), or every view in order (testing).

    In testing each of several processes takes every `processes`-th clip from `rank` on: together they have each once.
    Training on several processes takes whole batches apart instead, see `order.StepSampler`.
    """

    def __init__(self, dataset: ClipDataset, rank: int = 0, processes: int = 1) -> None:
        self.dataset, self.epoch = dataset, 0
        self.positions = range(rank, len(dataset), processes)

    def __len__(self) -> int:
        return len(self.positions) * (1 if self.dataset.training else self.dataset.views_per_clip)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        if self.dataset.training:
            order = np.random.default_rng([self.dataset.seed, self.epoch]).permutation(len(self.dataset))
            return iter([(self.epoch, int(position), 0) for position in order])
        return iter([(0, p, view) for p in self.positions for view in range(self.dataset.views_per_clip)])


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


@torch.no_grad()
def batch_inputs(batch: Batch, spec: Inputs, skeleton: Skeleton) -> dict[str, Tensor]:
    """Network inputs of a batch, on the batch's device.

    Returns:
        {"rgb": (N, 3, T, S, S) normalised, "pose": (N, V or E, T', S', S') in [0, 1]}, as far as the batch has them,
        float32 in the memory format channels_last_3d, which 3D convolutions want. For a skeleton network "pose" is
        (N, M, T', V, 3): x and y with the middle of the frame at 0 and half its longer side as 1, and the score.
    """
    inputs: dict[str, Tensor] = {}
    if batch.frames is not None:
        inputs["rgb"] = resample_frames(batch.frames, batch.affines, spec.rgb_size)
    if batch.keypoints is not None and spec.keypoints:
        points = transform_keypoints(select_persons(batch.keypoints, spec.persons), batch.affines, 1)
        points = torch.cat([2 * points[..., :2] - 1, points[..., 2:]], dim=-1)
        points, after = points.chunk(2, dim=2) if spec.motion else (points, None)
        inputs["pose"] = skeleton_stream(points, skeleton.parents, spec.stream, after)
    elif batch.keypoints is not None:
        points = transform_keypoints(batch.keypoints, batch.affines, spec.heatmap_size)
        size = (spec.heatmap_size, spec.heatmap_size)
        if spec.heatmap == "joint":
            inputs["pose"] = joint_heatmaps(points, size=size, sigma=spec.sigma)
        else:
            inputs["pose"] = limb_heatmaps(points, skeleton.edges, size=size, sigma=spec.sigma)
    return inputs


def transform_keypoints(keypoints: Tensor, affines: Tensor, size: int) -> Tensor:
    """Key-points (N, M, T, V, 3) in clip pixels to output pixels of a square of side `size`; scores are kept."""
    # Products, not a matrix product, which an autocast would round to a quarter of a pixel.
    matrix = (affines * size)[:, None, None, None]  # (N, 1, 1, 1, 2, 3)
    x, y = keypoints[..., :1], keypoints[..., 1:2]
    xy = matrix[..., 0] * x + matrix[..., 1] * y + matrix[..., 2]
    return torch.cat([xy, keypoints[..., 2:]], dim=-1)


def resample_frames(frames: Tensor, affines: Tensor, size: int) -> Tensor:
    """uint8 frames (N, T, H, W, 3) to normalised (N, 3, T, size, size), by the inverse of each clip's matrix.

    The result is in the memory format channels_last_3d.
    """
    n, t, height, width, _ = frames.shape
    device = frames.device
    # grid_sample wants, for each output pixel, where to read in the input, both on a scale of -1 to 1 over the edges.
    inverse = torch.linalg.inv(affines[:, :, :2].double())  # unit square -> clip pixels
    offset = -(inverse @ affines[:, :, 2:].double())[..., 0]  # (N, 2)
    centres = (torch.arange(size, device=device, dtype=torch.float64) + 0.5) / size
    square = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)  # (S, S, 2): x, y
    pixels = torch.einsum("nij,hwj->nhwi", inverse, square) + offset[:, None, None]
    scale = torch.tensor([2 / width, 2 / height], device=device, dtype=torch.float64)
    grid = (pixels * scale - 1).float()
    factor = 1 / torch.tensor(RGB_STD, device=device)
    shift = -torch.tensor(RGB_MEAN, device=device) * factor
    out = uninitialised((n, t, size, size, 3), device)
    # One clip at a time on a CPU: its memory is then taken once and is still in the cache when it is used again.
    step = 1 if device.type == "cpu" else max(1, n)
    for i in range(0, n, step):
        part = slice(i, i + step)
        planes = frames[part].permute(0, 1, 4, 2, 3).reshape(-1, t * 3, height, width).float()
        with torch.autocast(device.type, enabled=False):
            warped = F.grid_sample(planes, grid[part], "bilinear", "border", align_corners=False)
        picture = warped.view(-1, t, 3, size, size).permute(0, 1, 3, 4, 2)
        torch.addcmul(shift, picture, factor, out=out[part])
    return out.permute(0, 4, 1, 2, 3)


def worker_options(workers: int, device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a DataLoader for this many workers."""
    # A generator of its own: a loader otherwise takes numbers from torch's global one, which dropout uses.
    options: dict[str, Any] = {
        "num_workers": workers, "pin_memory": device.type == "cuda", "generator": torch.Generator()
    }  # fmt: skip
    if workers:
        options.update(persistent_workers=True, prefetch_factor=2)
    return options
