"""Where in time and space a network's decision comes from, clip by clip: what `mgkit explain` writes.

`splits/<split>/saliency.npz` holds `clip_id`, `target`, `score`, `baseline`, per pathway that the network has `joints`
and `pose_frames`, `maps` and `rgb_frames`, and `settings` (JSON): the fields of `Saliency` under their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.results import storage
from mgkit.results.records import Floats, Ints, check_ids, rows_of

REMEDY = "make it anew with `mgkit explain --replace`"
PARTS = {"joints": "pose_frames", "maps": "rgb_frames"}
FIELDS = ("target", "score", "baseline", *PARTS, *PARTS.values())
Halfs = npt.NDArray[np.float16]


class ClipSaliency(NamedTuple):
    """Of one clip: the fields of `Saliency` without their first axis, values in float32.

    Each frame stands there once: where a short clip repeats frames, the values of the repeats are added up.
    """

    target: int
    score: float
    baseline: float
    joints: Floats | None
    pose_frames: Ints | None
    maps: Floats | None
    rgb_frames: Ints | None


@dataclass(frozen=True, eq=False)
class Saliency:
    """How much each joint in each sampled frame, and each part of each sampled picture, spoke for a class.

    Values are in nats of the class's log-odds, log p - log(1 - p): positive = speaks for the class, negative = against
    it. Of the method "gradient" a value is, to first order, what the log-odds would lose without that joint or part.
    Of "integrated" all values of a clip together are, up to `gaps`, the difference between the log-odds of the clip
    (`score`) and of nothing (`baseline`: empty heatmaps, pictures of the mean colour). Either way they are
    sensitivities of this network, not causes of the gesture.

    Args:
        clip_ids: N unique ids.
        target: (N,) the explained class.
        score, baseline: (N,) log-odds of the target, natural logarithms.
        joints: (N, T', V), or None without a pose pathway. Of limb heatmaps each limb gave half to each of its ends;
            of several persons a joint has one value, as it has one heatmap.
        pose_frames: (N, T') frames of the clip, from 0, that the first is about; they repeat in short clips.
        maps: (N, T, G, G) sums over G x G equal parts of the whole picture, rows from top to bottom, or None without
            an RGB pathway.
        rgb_frames: (N, T) frames of the clip that these are about.
        settings: how they were made: method, steps, target, output and so on. Only what was made alike can be merged.

    Raises:
        MgkitError: shapes that disagree, a repeated id, a value that is not finite, or neither joints nor maps.
    """

    clip_ids: list[str]
    target: Ints
    score: Floats
    baseline: Floats
    joints: Halfs | None = None
    pose_frames: Ints | None = None
    maps: Halfs | None = None
    rgb_frames: Ints | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        put = object.__setattr__
        put(self, "clip_ids", ids)
        for name, kind in (("target", np.int64), ("score", np.float32), ("baseline", np.float32)):
            array = np.asarray(getattr(self, name))
            if array.shape != (len(ids),) or not np.isfinite(array).all():
                raise MgkitError(
                    f"{name} has shape {array.shape}; one finite value for each of {len(ids)} clips is expected."
                )
            put(self, name, array.astype(kind))
        if self.target.min() < 0:
            raise MgkitError("targets are classes, which are counted from 0.")
        if self.joints is None and self.maps is None:
            raise MgkitError("there are neither joints nor maps: give what the pathways of the network have.")
        for name, of in PARTS.items():
            values, frames = getattr(self, name), getattr(self, of)
            if (values is None) != (frames is None):
                raise MgkitError(f"{name} and {of} belong together: give both or neither.")
            if values is None:
                continue
            values, frames = np.asarray(values), np.asarray(frames)
            if frames.ndim != 2 or values.ndim != (3 if name == "joints" else 4):
                raise MgkitError(
                    f"{name} have shape {values.shape}, {of} {frames.shape}: see the shapes of Saliency."
                )
            if values.shape[:2] != frames.shape or len(frames) != len(ids) or 0 in values.shape:
                raise MgkitError(
                    f"{name} of shape {values.shape} do not go with {of} of shape {frames.shape} and {len(ids)} clips."
                )
            with np.errstate(over="ignore"):
                values = values.astype(np.float16)
            wrong = ~np.isfinite(values).reshape(len(ids), -1).all(1)
            if wrong.any():
                raise MgkitError(f"the {name} of clip {ids[int(wrong.argmax())]!r} are not finite.")
            if frames.dtype.kind not in "iu" or frames.min() < 0:
                raise MgkitError(f"{of} must be whole numbers from 0.")
            put(self, name, values)
            put(self, of, frames.astype(np.int64))

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._index

    def __repr__(self) -> str:
        parts = [f"{self.joints.shape[2]} joints"] if self.joints is not None else []
        parts += [f"maps of {self.maps.shape[2]} x {self.maps.shape[3]}"] if self.maps is not None else []
        return f"Saliency({len(self)} clips, {self.settings.get('target', 'some')} class: {', '.join(parts)})"

    @cached_property
    def gaps(self) -> Floats:
        """(N,) score - baseline - sum of all values, nats: what the steps of "integrated" miss of the integral."""
        total = self.score.astype(np.float64) - self.baseline
        for values in (self.joints, self.maps):
            if values is not None:
                total -= values.reshape(len(self), -1).sum(1, dtype=np.float64)
        return total.astype(np.float32)

    def over_time(self, pathway: str) -> Floats:
        """(N, T) sum of each sampled frame, of "pose" or "rgb"; one that is not there raises a `MgkitError`."""
        values = {"pose": self.joints, "rgb": self.maps}.get(pathway)
        if values is None:
            raise MgkitError(f"there is no saliency of {pathway!r}: the network has no such pathway.")
        return values.reshape(*values.shape[:2], -1).sum(2, dtype=np.float32)

    def clip(self, clip_id: str) -> ClipSaliency:
        """What there is of one clip; an unknown one raises a `MgkitError`."""
        (row,) = rows_of(self._index, [clip_id], "saliency")
        joints, pose = _by_frame(self.joints, self.pose_frames, row)
        maps, rgb = _by_frame(self.maps, self.rgb_frames, row)
        return ClipSaliency(
            int(self.target[row]), float(self.score[row]), float(self.baseline[row]), joints, pose, maps, rgb
        )

    def select(self, clip_ids: Iterable[str]) -> Saliency:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        rows = rows_of(self._index, list(clip_ids), "saliency")
        parts = {name: getattr(self, name)[rows] for name in FIELDS if getattr(self, name) is not None}
        return replace(self, clip_ids=[self.clip_ids[i] for i in rows], **parts)

    def merged(self, other: Saliency) -> Saliency:
        """These clips and those of `other`, which must have been made alike and wins where both have a clip."""
        kept = [clip_id for clip_id in self.clip_ids if clip_id not in other]
        return Saliency.joined([self.select(kept), other]) if kept else Saliency.joined([other])

    @staticmethod
    def joined(parts: Sequence[Saliency]) -> Saliency:
        """Those of different clips, one after the other; made otherwise or repeated they raise a `MgkitError`."""
        first = parts[0]
        arrays: dict[str, Any] = {}
        for part in parts:
            if part.settings != first.settings:
                unlike = some(storage.differences(first.settings, part.settings), 3)
                raise MgkitError(f"saliency made with different settings does not go together: {unlike}.")
        for name in FIELDS:
            values = [getattr(part, name) for part in parts]
            if len({None if value is None else value.shape[1:] for value in values}) > 1:
                raise MgkitError(f"saliency with {name} of different shapes does not go together.")
            arrays[name] = None if values[0] is None else np.concatenate(values)
        ids = [clip_id for part in parts for clip_id in part.clip_ids]
        return Saliency(ids, **arrays, settings=first.settings)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {clip_id: i for i, clip_id in enumerate(self.clip_ids)}


def _by_frame(values: Halfs | None, frames: Ints | None, row: int) -> tuple[Floats | None, Ints | None]:
    """The values of one clip, those of repeated frames added up, and the frames, each once."""
    if values is None or frames is None:
        return None, None
    times, place = np.unique(frames[row], return_inverse=True)
    sums = np.zeros((len(times), *values.shape[2:]), np.float32)
    np.add.at(sums, place, values[row].astype(np.float32))
    return sums, times


def saliency_path(root: str | Path, split: str) -> Path:
    return storage.split_folder(root, split) / "saliency.npz"


def write_saliency(root: str | Path, split: str, saliency: Saliency) -> None:
    """Write splits/<split>/saliency.npz, whole or not at all."""
    arrays: dict[str, Any] = {
        "clip_id": np.array(saliency.clip_ids, dtype=str),
        "target": saliency.target.astype(np.int32),
        "score": saliency.score,
        "baseline": saliency.baseline,
        "settings": np.array(json.dumps(storage.plain(saliency.settings, "the settings of the saliency"))),
    }
    for name, of in PARTS.items():
        if getattr(saliency, name) is not None:
            arrays |= {name: getattr(saliency, name), of: getattr(saliency, of).astype(np.int32)}
    with atomic(saliency_path(root, split)) as temporary:
        np.savez(temporary, **arrays)


def read_saliency(path: Path) -> Saliency:
    """Read what `write_saliency` wrote; anything else raises a `MgkitError` that names the file."""
    arrays = storage.read_npz(path)
    lacking = {"clip_id", "target", "score", "baseline", "settings"} - set(arrays)
    if lacking:
        raise MgkitError(f"{path} lacks {some(sorted(lacking))}: {REMEDY}.")
    with storage.naming(path, REMEDY):
        settings = json.loads(str(arrays.pop("settings")))
        known = {name: arrays[name] for name in FIELDS if name in arrays}
        return Saliency(arrays["clip_id"].tolist(), **known, settings=settings)
