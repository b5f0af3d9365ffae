"""Which frames and joints a run's decisions come from: the records of `mg.explain` in `splits/<split>/saliency.npz`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mgkit.errors import MgkitError, command, counted, some
from mgkit.results.run.files import differences, naming, plain, read_npz, split_folder, write_npz
from mgkit.results.run.records import ByClip, Floats, Halfs, Ints, check_ids

PARTS = {"joints": "pose_frames", "maps": "rgb_frames"}


class ClipSaliency(NamedTuple):
    """Of one clip: the fields of `Saliency` without their first axis, values in float32.

    Each frame is there once: where a short clip repeats frames, the values of the repeats are added up.
    """

    target: int
    score: float
    joints: Floats | None
    pose_frames: Ints | None
    maps: Floats | None
    rgb_frames: Ints | None


@dataclass(frozen=True, eq=False)
class Saliency(ByClip):
    """Contribution of each joint in each sampled frame, and of each part of each sampled picture, to a class.

    Values are in nats of the class's log-odds, log p - log(1 - p): positive = speaks for the class, negative = against
    it. A value is, to first order, what the log-odds would lose without that joint (an empty heatmap) or part (the mean
    colour). Values are sensitivities of this network, not causes of the gesture.

    Args:
        clip_ids: N unique ids.
        target: (N,) the explained class.
        score: (N,) log-odds of the target, natural logarithms.
        joints: (N, T', V), or None without a pose pathway. Of limb heatmaps each limb gave half to each of its ends;
            of several persons a joint has one value, as it has one heatmap.
        pose_frames: (N, T') frames of the clip, from 0, that the first is about; they repeat in short clips.
        maps: (N, T, G, G) sums over G x G equal parts of the whole picture, rows from top to bottom, or None without
            an RGB pathway.
        rgb_frames: (N, T) frames of the clip that these are about.
        settings: how they were made: target, output, checkpoint and so on. Only what was made alike can be merged.

    Raises:
        MgkitError: shapes that disagree, a repeated id, a value that is not finite, or neither joints nor maps.
    """

    clip_ids: list[str]
    target: Ints
    score: Floats
    joints: Halfs | None = None
    pose_frames: Ints | None = None
    maps: Halfs | None = None
    rgb_frames: Ints | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    WHAT = "saliency"
    PER_CLIP = ("target", "score", *PARTS, *PARTS.values())

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        self._set(clip_ids=ids)
        for name, kind in (("target", np.int64), ("score", np.float32)):
            array = np.asarray(getattr(self, name))
            if array.shape != (len(ids),) or not np.isfinite(array).all():
                raise MgkitError(
                    f"{name} has shape {array.shape}; one finite value for each of {counted(len(ids), 'clip')} is "
                    "expected."
                )
            self._set(**{name: array.astype(kind)})
        if self.target.min() < 0:
            raise MgkitError("targets are classes, which are counted from 0.")
        if self.joints is None and self.maps is None:
            raise MgkitError("there are neither joints nor maps: give what the pathways of the network have.")
        for name, of in PARTS.items():
            if (getattr(self, name) is None) != (getattr(self, of) is None):
                raise MgkitError(f"{name} and {of} belong together: give both or neither.")
            if getattr(self, name) is not None:
                self._check_part(name, of)

    def _check_part(self, name: str, of: str) -> None:
        values, frames, ids = np.asarray(getattr(self, name)), np.asarray(getattr(self, of)), self.clip_ids
        if frames.ndim != 2 or values.ndim != (3 if name == "joints" else 4):
            raise MgkitError(
                f"{name} have shape {values.shape}, {of} {frames.shape}: see the shapes of Saliency."
            )
        if values.shape[:2] != frames.shape or len(frames) != len(ids) or 0 in values.shape:
            raise MgkitError(
                f"{name} of shape {values.shape} do not go with {of} of shape {frames.shape} and "
                f"{counted(len(ids), 'clip')}."
            )
        with np.errstate(over="ignore"):
            values = values.astype(np.float16)
        wrong = ~np.isfinite(values).reshape(len(ids), -1).all(1)
        if wrong.any():
            raise MgkitError(f"the {name} of clip {ids[int(wrong.argmax())]!r} are not finite.")
        if frames.dtype.kind not in "iu" or frames.min() < 0:
            raise MgkitError(f"{of} must be whole numbers from 0.")
        self._set(**{name: values, of: frames.astype(np.int64)})

    def __repr__(self) -> str:
        parts = [f"{self.joints.shape[2]} joints"] if self.joints is not None else []
        parts += [f"maps of {self.maps.shape[2]} x {self.maps.shape[3]}"] if self.maps is not None else []
        target = self.settings.get("target", "some")
        return f"Saliency({counted(len(self), 'clip')}, {target} class: {', '.join(parts)})"

    def over_time(self, pathway: str) -> Floats:
        """(N, T) sum of each sampled frame, of "pose" or "rgb"; one that is not there raises a `MgkitError`."""
        values = {"pose": self.joints, "rgb": self.maps}.get(pathway)
        if values is None:
            raise MgkitError(f"there is no saliency of {pathway!r}: the network has no such pathway.")
        return values.reshape(*values.shape[:2], -1).sum(2, dtype=np.float32)

    def clip(self, clip_id: str) -> ClipSaliency:
        """The saliency of one clip; an unknown one raises a `MgkitError`."""
        (row,) = self.rows([clip_id])
        joints, pose = _by_frame(self.joints, self.pose_frames, row)
        maps, rgb = _by_frame(self.maps, self.rgb_frames, row)
        return ClipSaliency(int(self.target[row]), float(self.score[row]), joints, pose, maps, rgb)

    def merged(self, other: Saliency) -> Saliency:
        """These clips and those of `other`, which must have the same settings and wins where both have a clip."""
        kept = [clip_id for clip_id in self.clip_ids if clip_id not in other]
        return Saliency.joined([self.select(kept), other]) if kept else Saliency.joined([other])

    @staticmethod
    def joined(parts: Sequence[Saliency]) -> Saliency:
        """Saliency of different clips in one; other settings, or a repeated clip, raise a `MgkitError`."""
        first = parts[0]
        arrays: dict[str, Any] = {}
        for part in parts:
            if part.settings != first.settings:
                unlike = some(differences(first.settings, part.settings), 3)
                raise MgkitError(f"saliency made with different settings cannot be joined: {unlike}.")
        for name in Saliency.PER_CLIP:
            values = [getattr(part, name) for part in parts]
            if len({None if value is None else value.shape[1:] for value in values}) > 1:
                raise MgkitError(f"saliency with {name} of different shapes cannot be joined.")
            arrays[name] = None if values[0] is None else np.concatenate(values)
        ids = [clip_id for part in parts for clip_id in part.clip_ids]
        return Saliency(ids, **arrays, settings=first.settings)


def _by_frame(values: Halfs | None, frames: Ints | None, row: int) -> tuple[Floats | None, Ints | None]:
    """The values of one clip, those of repeated frames added up, and the frames, each once."""
    if values is None or frames is None:
        return None, None
    times, place = np.unique(frames[row], return_inverse=True)
    sums = np.zeros((len(times), *values.shape[2:]), np.float32)
    np.add.at(sums, place, values[row].astype(np.float32))
    return sums, times


def saliency_path(root: str | Path, split: str) -> Path:
    return split_folder(root, split) / "saliency.npz"


def write_saliency(root: str | Path, split: str, saliency: Saliency) -> None:
    """Write splits/<split>/saliency.npz, whole or not at all."""
    arrays = {name: getattr(saliency, name) for name in Saliency.PER_CLIP}
    for name in ("target", *PARTS.values()):
        if arrays[name] is not None:
            arrays[name] = arrays[name].astype(np.int32)
    write_npz(
        saliency_path(root, split), clip_id=saliency.clip_ids,
        settings=json.dumps(plain(saliency.settings, "the settings of the saliency")),
        **{name: array for name, array in arrays.items() if array is not None},
    )  # fmt: skip


def read_saliency(path: Path) -> Saliency:
    """Read saliency.npz; anything else raises a `MgkitError` that names the file."""
    root, split = path.parents[2], path.parent.name
    remedy = f"make it again with `{command('explain', root, '--split', split, '--replace')}`"
    arrays = read_npz(path, ["clip_id", "target", "score", "settings"], remedy)
    with naming(path, remedy):
        known = {name: arrays[name] for name in Saliency.PER_CLIP if name in arrays}
        return Saliency(arrays["clip_id"].tolist(), **known, settings=json.loads(str(arrays["settings"])))
