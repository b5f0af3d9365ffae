"""Key-points to what skeleton networks read: joints, bones, and how either moves, batched, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mgkit.data.inputs import STREAMS
from mgkit.errors import MgkitError

__all__ = ["select_persons", "skeleton_stream"]


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
            "bone-motion" are what either changes by up to the next frame.
        after: for the motions, the points of the frame after each of the T frames, NaN where there is none; the next
            of the T frames when omitted. Frames that were sampled from a clip are no neighbours in it, and in a short
            one the next is often the same: what moves is told by the clip's own next frame, as published.

    Returns:
        (N, M, T, V, 3) of the same type. Scores of a difference are the mean of those of its two parts. Whatever a
        joint that was not seen takes part in is 0, 0 with score 0: networks know nothing of NaN, and a difference with
        a joint that is not there means nothing.
    """
    if stream not in STREAMS:
        raise MgkitError(f"stream is {stream!r}: use one of {', '.join(STREAMS)}.")
    if stream.startswith("bone"):
        index = torch.as_tensor(parents, device=points.device)
        points = _difference(points, points[..., index, :])
        after = None if after is None else _difference(after, after[..., index, :])
    if stream.endswith("motion"):
        if after is None:  # the last has none, and would be a rest that nobody saw
            after = torch.cat([points[:, :, 1:], torch.full_like(points[:, :, :1], torch.nan)], dim=2)
        points = _difference(after, points)
    unseen = points.isnan().any(dim=-1, keepdim=True)
    return points.masked_fill(unseen, 0.0)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """x, y of `one` minus those of `other`, with the mean of their scores."""
    return torch.cat([one[..., :2] - other[..., :2], (one[..., 2:] + other[..., 2:]) / 2], dim=-1)


def select_persons(points: Tensor, persons: int) -> Tensor:
    """The `persons` people of each clip with the highest sums of scores, (N, M, T, V, 3) -> (N, persons, T, V, 3).

    The order of people in a clip is kept; where there are fewer the rest is NaN, seen nowhere.
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
