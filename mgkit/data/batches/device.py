"""Batches on the device: frames resampled, key-points transformed and heatmaps drawn for the whole batch at once.

`on_device` copies the next batch while the current one is in use; `batch_inputs` makes the network's inputs of a batch,
`mixed` mixes them in pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mgkit.data.batches.dataset import Batch
from mgkit.data.batches.pose import (
    joint_heatmaps,
    limb_heatmaps,
    select_persons,
    skeleton_stream,
    uninitialised,
)
from mgkit.data.batches.spec import Inputs
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches of a loader, moved to the device in order.

    On a GPU the copies run on their own stream, one batch ahead: they need page-locked memory (`pin_memory` of the
    loader) and then cost the computation nothing.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    copies = torch.cuda.Stream(device)
    waiting: Batch | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            moved = batch.to(device)
        if waiting is not None:
            yield _arrived(waiting, copies, device)
        waiting = moved
    if waiting is not None:
        yield _arrived(waiting, copies, device)


def _arrived(batch: Batch, copies: torch.cuda.Stream, device: torch.device) -> Batch:
    """The batch for use on the current stream: it waits for the copy, and its memory is not handed on before."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(copies)
    for tensor in batch:
        if tensor is not None:
            tensor.record_stream(current)
    return batch


# ImageNet statistics on the 0-255 scale, which every published RGB backbone of this family was trained with.
RGB_MEAN = (123.675, 116.28, 103.53)


RGB_STD = (58.395, 57.12, 57.375)


@torch.no_grad()
def batch_inputs(batch: Batch, spec: Inputs, skeleton: Skeleton | None = None) -> dict[str, Tensor]:
    """Network inputs of a batch, on the batch's device.

    Args:
        batch: of a `ClipDataset` with the same inputs.
        spec: the inputs.
        skeleton: the layout of the batch's key-points; by default that of `spec`, where it is bound to clips.

    Returns:
        {"rgb": (N, 3, T, S, S) normalised, "pose": (N, V or E, T', S', S') in [0, 1], of motion in [-1, 1]}, as far as
        the batch has them, float32 in the memory format channels_last_3d, which 3D convolutions want. For a skeleton
        network "pose" is (N, M, T', V, 3): x and y with the middle of the frame at 0 and half its longer side as 1, and
        the score.
    """
    inputs: dict[str, Tensor] = {}
    layout = skeleton or spec.skeleton
    if batch.frames is not None:
        inputs["rgb"] = resample_frames(batch.frames, batch.affines, spec.rgb_size)
    if batch.keypoints is None:
        return inputs
    if layout is None:
        raise MgkitError(
            "the layout of the key-points is not known: pass one, or inputs bound to clips (`on`)."
        )
    if spec.keypoints:
        points = transform_keypoints(select_persons(batch.keypoints, spec.persons), batch.affines, 1)
        points = torch.cat([2 * points[..., :2] - 1, points[..., 2:]], dim=-1)
        points, after = points.chunk(2, dim=2) if spec.motion else (points, None)
        inputs["pose"] = skeleton_stream(points, layout.parents, spec.stream, after)
    else:
        points = transform_keypoints(batch.keypoints, batch.affines, spec.heatmap_size)
        if spec.motion:
            now, after = points.chunk(2, dim=2)
            unseen = (now.isnan() | after.isnan()).any(dim=-1, keepdim=True)
            now, after = (_heatmaps(one.masked_fill(unseen, torch.nan), spec, layout) for one in (now, after))
            inputs["pose"] = after.sub_(now)
        else:
            inputs["pose"] = _heatmaps(points, spec, layout)
    return inputs


def _heatmaps(points: Tensor, spec: Inputs, layout: Skeleton) -> Tensor:
    size = (spec.heatmap_size, spec.heatmap_size)
    if spec.limbs:
        return limb_heatmaps(points, layout.edges, size=size, sigma=spec.sigma)
    return joint_heatmaps(points, size=size, sigma=spec.sigma)


def mixed(
    inputs: Mapping[str, Tensor], partners: Mapping[str, Tensor], share: Tensor, spec: Inputs
) -> dict[str, Tensor]:
    """Network inputs of clips, each mixed with another clip (Zhang et al., ICLR 2018, equation 1).

    Frames and heatmaps are weighted means, value by value. So are key-points, where a joint was seen in both clips; one
    that was seen in one of them is where it was seen, since the other's 0, 0 is no place. Its score is the weighted
    mean in any case, with 0 for a joint that was not seen: as the peak of its heatmap would be.

    Args:
        inputs: of N clips, from `batch_inputs`.
        partners: the same of the clips that they are mixed with.
        share: (N,) of the clips of `inputs`, 0 to 1.
        spec: the inputs.
    """
    made = {}
    for name, one in inputs.items():
        other = partners[name]
        made[name] = mean = torch.lerp(one, other, (1 - share).to(one.dtype).view(-1, *[1] * (one.ndim - 1)))
        if name == "pose" and spec.keypoints:
            here, there = one.any(-1, keepdim=True), other.any(-1, keepdim=True)  # not seen is 0, 0, 0
            place = torch.where(here & there, mean, torch.where(here, one, other))
            made[name] = torch.cat([place[..., :2], mean[..., 2:]], dim=-1)
    return made


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
