"""Pose inputs of networks from key-points, a whole batch at once and on their device: heatmaps and skeleton streams.

Heatmaps (Duan et al., CVPR 2022): everything costly is a product or a sum of two short vectors, one along each side of
the map, so that no loop over joints or pixels is needed. A joint's Gaussian is exp(-dx^2 / 2s^2) exp(-dy^2 / 2s^2),
and both the distance across a limb and the position along it are sums of a part in x and a part in y. Maps are written
once, in the memory format channels_last_3d that 3D convolutions want, and always in float32: in bfloat16 a coordinate
of 50 is exact to a quarter of a pixel only.

Skeleton streams (Shi et al., CVPR 2019 and TIP 2020): joints, bones, and the motion of either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mgkit.data.batches.spec import STREAMS
from mgkit.errors import MgkitError

# Values worked on at a time on a CPU, so that they stay in its cache.
_CHUNK = 1 << 19
# Values up to this are 0: half the last bit of a peak of 1. The product of two larger ones is above 3e-15, far from
# float32's denormal numbers (below 1.2e-38), which a CPU computes some ten times slower, in the convolutions after.
_NEGLIGIBLE = 2.0**-24


# --- heatmaps -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def joint_heatmaps(
    keypoints: Tensor,
    *,
    size: tuple[int, int],
    sigma: float = 0.7,
    centre: float = 0.5,
    cut_sigma: float | None = None,
) -> Tensor:
    """One Gaussian per joint, scaled by its score, maximum over persons.

    Args:
        keypoints: (N, M, T, V, 3) x and y in heatmap pixels, score in [0, 1]; NaN = not seen, which draws nothing.
        size: (height, width) of a map.
        sigma: standard deviation in heatmap pixels.
        centre: where in a pixel the Gaussian is sampled: 0.5 is the middle of the pixel, aligned with the frames;
            0 reproduces published pipelines, whose maps sit half a pixel off.
        cut_sigma: zero beyond this many sigmas, as published pipelines do (3); None keeps the tails.

    Returns:
        (N, V, T, H, W) float32, values in [0, 1], in the memory format channels_last_3d; without gradient.
    """
    x, y, score = _split(keypoints)  # (M, N * T, V)
    across = _gaussian(x, size[1], sigma, centre, cut_sigma)  # (M, N * T, W, V)
    down = _gaussian(y, size[0], sigma, centre, cut_sigma).mul_(score[..., None, :])  # (M, N * T, H, V)
    _drop_tails_(down)

    def draw(person: int, rows: slice, out: Tensor) -> None:
        torch.mul(down[person, rows, :, None], across[person, rows, None, :], out=out)

    return _drawn(draw, keypoints, x.shape[-1], size)


@torch.no_grad()
def limb_heatmaps(
    keypoints: Tensor,
    edges: Sequence[tuple[int, int]],
    *,
    size: tuple[int, int],
    sigma: float = 0.7,
    centre: float = 0.5,
    cut_sigma: float | None = None,
) -> Tensor:
    """One map per limb: a Gaussian of the distance to the segment, scaled by the smaller score of its ends.

    Arguments and result as in `joint_heatmaps`, with one channel per edge: (N, E, T, H, W). With `cut_sigma` a map is
    zero outside the rectangle that reaches this many sigmas beyond both ends.
    """
    x, y, score = _split(keypoints)  # (M, N * T, V)
    first, second = torch.tensor(list(edges), dtype=torch.long, device=keypoints.device).reshape(-1, 2).T
    peak = torch.minimum(score[..., first], score[..., second])  # (M, N * T, E)
    # Positions are taken from the end nearer to the map: the other may be so far out that float32 knows it badly.
    near = x[..., first].abs() + y[..., first].abs() <= x[..., second].abs() + y[..., second].abs()
    ax, bx = _ordered(x, first, second, near)
    ay, by = _ordered(y, first, second, near)
    length = torch.hypot(bx - ax, by - ay)
    point = length < 1e-6  # both ends in one place: any direction will do
    ux = torch.where(point, 1.0, (bx - ax) / length)  # (M, N * T, E): unit vector along the limb
    uy = torch.where(point, 0.0, (by - ay) / length)
    # In units of sqrt(2) sigma the Gaussian is exp(-distance^2).
    unit = 2**0.5 * sigma
    px = (_pixels(size[1], centre, x)[:, None] - ax[..., None, :]) / unit  # (M, N * T, W, E)
    py = (_pixels(size[0], centre, y)[:, None] - ay[..., None, :]) / unit  # (M, N * T, H, E)
    ux, uy, length = ux[..., None, :], uy[..., None, :], length / unit
    along_x, along_y = px * ux, py * uy
    across_x, across_y = px.mul_(uy), py.mul_(-ux)
    if cut_sigma is not None:
        reach = cut_sigma * sigma
        for across, a, b in ((across_x, ax, bx), (across_y, ay, by)):
            pixels = _pixels(across.shape[-2], centre, x)[:, None]
            inside = _patch(
                pixels, torch.minimum(a, b)[..., None, :], torch.maximum(a, b)[..., None, :], reach
            )
            across.masked_fill_(~inside, torch.inf)
    zero = torch.zeros((), device=keypoints.device)

    def draw(person: int, rows: slice, out: Tensor) -> None:
        torch.add(along_y[person, rows, :, None], along_x[person, rows, None, :], out=out)
        beyond = out.sub_(torch.clamp(out, zero, length[person, rows, None, None]))  # how far past an end
        across = across_y[person, rows, :, None] + across_x[person, rows, None, :]
        power = beyond.square_().addcmul_(across, across).neg_()
        _drop_tails_(_exp_(power).mul_(peak[person, rows, None, None]))

    return _drawn(draw, keypoints, len(first), size)


def _drawn(
    draw: Callable[[int, slice, Tensor], None], keypoints: Tensor, channels: int, size: tuple[int, int]
) -> Tensor:
    """Maps (N, C, T, H, W) of every frame, maximum over persons.

    `draw(person, rows, out)` writes the maps of one person in some of the N * T frames into `out`, (rows, H, W, C).
    """
    n, persons, t = keypoints.shape[:3]
    device = keypoints.device
    maps = uninitialised((n * t, *size, channels), device)
    if not persons:
        maps.zero_()
    rows = n * t if device.type != "cpu" else max(1, _CHUNK // max(1, size[0] * size[1] * channels))
    for start in range(0, n * t if persons else 0, max(1, rows)):
        part = slice(start, min(start + rows, n * t))
        draw(0, part, maps[part])
        for person in range(1, persons):
            other = torch.empty_like(maps[part])
            draw(person, part, other)
            torch.maximum(maps[part], other, out=maps[part])
    return maps.view(n, t, *size, channels).permute(0, 4, 1, 2, 3)


def uninitialised(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Float32 memory for a batch of inputs.

    On a CPU it is NumPy's, which asks the system for large pages: a batch is tens of megabytes, and getting them page
    by page takes several times longer than filling them.
    """
    if device.type == "cpu":
        return torch.from_numpy(np.empty(shape, np.float32))
    return torch.empty(shape, dtype=torch.float32, device=device)


def _split(keypoints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and score, each (M, N * T, V); an unseen joint has score 0 and is far outside, where nothing is drawn."""
    n, persons, t, joints, _ = keypoints.shape
    values = keypoints.float().permute(4, 1, 0, 2, 3).reshape(3, persons, n * t, joints)
    seen = values.isfinite().all(0)
    x, y, score = torch.where(
        seen, values, torch.tensor([-1e6, -1e6, 0.0], device=values.device)[:, None, None, None]
    )
    return x, y, score


def _ordered(values: Tensor, first: Tensor, second: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    a, b = values[..., first], values[..., second]
    return torch.where(keep, a, b), torch.where(keep, b, a)


def _pixels(count: int, centre: float, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device, dtype=like.dtype) + centre


def _gaussian(position: Tensor, count: int, sigma: float, centre: float, cut_sigma: float | None) -> Tensor:
    """(..., count, V): the one-dimensional Gaussian around each of the positions (..., V), at every pixel."""
    pixels = _pixels(count, centre, position)[:, None]
    value = _drop_tails_(_exp_((pixels - position[..., None, :]).square_().mul_(-1 / (2 * sigma**2))))
    if cut_sigma is not None:
        low = high = position[..., None, :]
        value *= _patch(pixels, low, high, cut_sigma * sigma)
    return value


def _exp_(power: Tensor) -> Tensor:
    """exp, in place, of what is not so far below 0 that float32 gets short of bits, and exp five times slower."""
    return power.clamp_min_(-80).exp_()


def _drop_tails_(values: Tensor) -> Tensor:
    return F.threshold(values, _NEGLIGIBLE, 0.0, inplace=True)


def _patch(pixels: Tensor, low: Tensor, high: Tensor, reach: float) -> Tensor:
    """Pixels of the published patch: from int(low - reach) to int(high + reach), inclusive."""
    return (pixels >= (low - reach).trunc()) & (pixels < (high + reach).trunc() + 1)


# --- skeleton streams -----------------------------------------------------------------------------------------------


def skeleton_stream(
    points: Tensor,
    parents: Sequence[int] | npt.NDArray[np.int64],
    stream: str = "joint",
    after: Tensor | None = None,
) -> Tensor:
    """One of the four streams of a skeleton network (Shi et al., CVPR 2019, section 3.3; motion: Shi et al., TIP 2020).

    Args:
        points: (N, M, T, V, 3) x, y and score; NaN, in x or y, = not seen.
        parents: (V,) the neighbour of each joint towards the root; the root is its own.
        stream: "joint" leaves them as they are; "bone" is joint minus parent, (0, 0) at the root; "joint-motion" and
            "bone-motion" are the change of either to the next frame.
        after: for the motions, the points of the frame after each of the T frames, NaN where there is none; the next
            of the T frames when omitted. Frames that were sampled from a clip are not neighbours in it, and in a short
            one the next is often the same: motion is measured to the clip's own next frame, as published.

    Returns:
        (N, M, T, V, 3) of the same type. The score of a difference is the mean of those of its two parts. Whatever
        involves a joint that was not seen is 0, 0 with score 0: networks cannot handle NaN, and a difference to a
        missing joint means nothing.
    """
    if stream not in STREAMS:
        raise MgkitError(f"stream is {stream!r}: use one of {', '.join(STREAMS)}.")
    if stream.startswith("bone"):
        index = torch.as_tensor(parents, device=points.device)
        points = _difference(points, points[..., index, :])
        after = None if after is None else _difference(after, after[..., index, :])
    if stream.endswith("motion"):
        if after is None:  # the last frame has none: not seen, rather than at rest
            after = torch.cat([points[:, :, 1:], torch.full_like(points[:, :, :1], torch.nan)], dim=2)
        points = _difference(after, points)
    unseen = points.isnan().any(dim=-1, keepdim=True)
    return points.masked_fill(unseen, 0.0)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """x, y of `one` minus those of `other`, with the mean of their scores."""
    return torch.cat([one[..., :2] - other[..., :2], (one[..., 2:] + other[..., 2:]) / 2], dim=-1)


def select_persons(points: Tensor, persons: int) -> Tensor:
    """The `persons` people of each clip with the highest sums of scores, (N, M, T, V, 3) -> (N, persons, T, V, 3).

    The order of people in a clip is kept; where there are fewer the rest is NaN (not seen).
    """
    n, there = points.shape[:2]
    if there > persons:
        seen = ~points[..., :2].isnan().any(dim=-1)  # (N, M, T, V)
        scores = torch.where(seen, points[..., 2].nan_to_num(0.0), 0.0).sum(dim=(2, 3))
        # Of equal people the first: a stable sort, which topk is not.
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :persons].sort(dim=1).values
        return points[torch.arange(n, device=points.device)[:, None], order]
    if there < persons:
        nobody = points.new_full((n, persons - there, *points.shape[2:]), torch.nan)
        return torch.cat([points, nobody], dim=1)
    return points
