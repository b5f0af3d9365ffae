"""What the network was fed at test time, from the recipe that a run records: no network is needed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Clips
from mgkit.data.inputs import InputSpec, view_times
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError

GROUPS = ("left", "middle", "right")
# Input settings that a recorded recipe leaves out where they are the usual ones.
LATER = ("network", "stream", "persons", "rotation", "scaling")


class View(NamedTuple):
    """One of the test views of a clip: `number`, from 0, of so many. Mirrored twins see the same frames."""

    number: int = 0
    of: int = 1


MIDDLE = View()


def recorded_inputs(recipe: Mapping[str, Any]) -> InputSpec | None:
    """The input specification in a recipe of a run, or None where it does not say all of it (an imported run).

    Raises:
        MgkitError: the recorded values contradict each other.
    """
    names = [field.name for field in fields(InputSpec)]
    if any(name not in recipe and name not in LATER for name in names):
        return None
    values: dict[str, Any] = {name: recipe[name] for name in names if name in recipe}
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return InputSpec(**plain)


def sampled(spec: InputSpec, length: int, view: View = MIDDLE) -> dict[str, npt.NDArray[np.int64]]:
    """Per pathway the frames of a clip of `length` frames that a test view shows it, in order, with repeats."""
    return view_times(spec, length, (view.number + 0.5) / view.of)


def seen_heatmaps(clips: Clips, clip_id: str, spec: InputSpec, view: View = MIDDLE) -> npt.NDArray[np.uint8]:
    """The heatmaps that the pose pathway gets, as the maximum over the left, the middle and the right ones.

    Returns:
        (3, T, S, S) uint8, 255 = 1: the groups in the order of `GROUPS`, T = `spec.pose_frames`, S =
        `spec.heatmap_size`. The maximum over the groups is that over all joints (or limbs).
    """
    from mgkit.data.batches import ClipDataset, batch_inputs, collate

    alone = replace(spec, pathways=("pose",))
    dataset = ClipDataset(clips.select([clip_id]), alone, training=False, views=view.of)
    maps = batch_inputs(collate([dataset[0, 0, view.number]]), alone, clips.skeleton)["pose"][0].numpy()
    sides = np.array(_channel_sides(clips.skeleton, spec.heatmap))
    grouped = np.zeros((len(GROUPS), *maps.shape[1:]), np.float32)
    for group, name in zip(grouped, GROUPS, strict=True):
        if (sides == name).any():
            group[:] = maps[sides == name].max(0)
    return np.rint(255 * grouped).astype(np.uint8)


def checked_view(number: int | None, count: int) -> View:
    """The view asked for, by default the one in the middle; one that does not exist raises a `MgkitError`."""
    if number is None:
        return View(count // 2, count)
    if not 0 <= number < count:
        raise MgkitError(f"there is no test view {number}: the clips were tested with {count} views, from 0.")
    return View(number, count)


def _channel_sides(skeleton: Skeleton, heatmap: str) -> tuple[str, ...]:
    return skeleton.edge_sides if heatmap == "limb" else skeleton.sides
