"""Key-points to heatmaps, a whole batch at once, on whatever device they lie on (method: Duan et al., CVPR 2022).

The Gaussian of a joint is separable, exp(-dx^2 / 2s^2) exp(-dy^2 / 2s^2), so a map is an outer product of two short
vectors and no loop over joints, frames or pixels is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def joint_heatmaps(
    keypoints: Tensor,
    *,
    size: tuple[int, int],
    sigma: float = 0.7,
    centre: float = 0.5,
    cut: float | None = None,
) -> Tensor:
    """One Gaussian per joint, scaled by its score, maximum over persons.

    Args:
        keypoints: (N, M, T, V, 3) x and y in heatmap pixels, score in [0, 1]; NaN = not seen, which draws nothing.
        size: (height, width) of a map.
        sigma: standard deviation in heatmap pixels.
        centre: where in a pixel the Gaussian is sampled: 0.5 is the middle of the pixel, aligned with the frames;
            0 reproduces published pipelines, whose maps sit half a pixel off.
        cut: zero beyond this many sigmas, as published pipelines do (3); None keeps the tails.

    Returns:
        (N, V, T, H, W), values in [0, 1].
    """
    x, y, score = _split(keypoints)
    across = _gaussian(x, size[1], sigma, centre, cut)  # (N, M, T, V, W)
    down = _gaussian(y, size[0], sigma, centre, cut) * score[..., None]  # (N, M, T, V, H)
    # Persons are folded in one at a time: the maximum never needs all their maps in memory.
    maps = down[:, 0, ..., :, None] * across[:, 0, ..., None, :]  # (N, T, V, H, W)
    for person in range(1, keypoints.shape[1]):
        maps = torch.maximum(maps, down[:, person, ..., :, None] * across[:, person, ..., None, :])
    return maps.transpose(1, 2)


def limb_heatmaps(
    keypoints: Tensor,
    edges: Sequence[tuple[int, int]],
    *,
    size: tuple[int, int],
    sigma: float = 0.7,
    centre: float = 0.5,
    cut: float | None = None,
) -> Tensor:
    """One map per limb: a Gaussian of the distance to the segment, scaled by the smaller score of its ends.

    Arguments and result as in `joint_heatmaps`, with one channel per edge: (N, E, T, H, W).
    """
    x, y, score = _split(keypoints)
    first, second = torch.tensor(list(edges), device=keypoints.device).T
    peak = torch.minimum(score[..., first], score[..., second])[..., None, None]
    ax, ay = x[..., first, None, None], y[..., first, None, None]
    bx, by = x[..., second, None, None], y[..., second, None, None]
    px = _pixels(size[1], centre, x)[None, :]
    py = _pixels(size[0], centre, y)[:, None]
    length = ((bx - ax) ** 2 + (by - ay) ** 2).clamp_min(1e-12)
    maps = None
    for person in range(keypoints.shape[1]):
        pick = (slice(None), person)
        along = ((px - ax[pick]) * (bx - ax)[pick] + (py - ay[pick]) * (by - ay)[pick]) / length[pick]
        along = along.clamp(0, 1)
        square = (px - ax[pick] - along * (bx - ax)[pick]) ** 2 + (
            py - ay[pick] - along * (by - ay)[pick]
        ) ** 2
        value = torch.exp(-square / (2 * sigma**2))  # (N, T, E, H, W)
        if cut is not None:
            reach = cut * sigma
            inside = _patch(px, torch.minimum(ax, bx)[pick], torch.maximum(ax, bx)[pick], reach)
            inside = inside & _patch(py, torch.minimum(ay, by)[pick], torch.maximum(ay, by)[pick], reach)
            value = value * inside
        value = value * peak[pick]
        maps = value if maps is None else torch.maximum(maps, value)
    assert maps is not None
    return maps.transpose(1, 2)


def _split(keypoints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and score, where an unseen joint has score 0 and lies far outside (its Gaussian is then exactly 0)."""
    seen = torch.isfinite(keypoints).all(-1)
    x = torch.where(seen, keypoints[..., 0], -1e6)
    y = torch.where(seen, keypoints[..., 1], -1e6)
    return x, y, torch.where(seen, keypoints[..., 2], 0.0)


def _pixels(count: int, centre: float, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device, dtype=like.dtype) + centre


def _gaussian(position: Tensor, count: int, sigma: float, centre: float, cut: float | None) -> Tensor:
    """(..., count): the one-dimensional Gaussian around `position`, sampled at every pixel."""
    pixels = _pixels(count, centre, position)
    value = torch.exp(-((pixels - position[..., None]) ** 2) / (2 * sigma**2))
    if cut is not None:
        value = value * _patch(pixels, position[..., None], position[..., None], cut * sigma)
    return value


def _patch(pixels: Tensor, low: Tensor, high: Tensor, reach: float) -> Tensor:
    """Pixels of the published patch: from int(low - reach) up to and with int(high + reach)."""
    return (pixels >= (low - reach).trunc()) & (pixels < (high + reach).trunc() + 1)
