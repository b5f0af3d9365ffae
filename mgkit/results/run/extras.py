"""Where in time and space a network's decision comes from, clip by clip: what `mgkit explain` writes.

`splits/<split>/saliency.npz` holds `clip_id`, `target`, `score`, per pathway that the network has `joints`
and `pose_frames`, `maps` and `rgb_frames`, and `settings` (JSON): the fields of `Saliency` under their names.

What each test view of a clip said, before the views were averaged: what `mgkit test --views` keeps.

`splits/<split>/views.npz` holds `clip_id` (N,), `mirrored` (V,) and per output (N, V, K) probabilities in float16. That
is exact to one part in 2,000, which is finer than anything that is told from them, and half the size.

What a network costs: parameters, operations and measured speed, in cost.json of a run folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, write_json
from mgkit.results.run import files as storage
from mgkit.results.run.files import read_dict
from mgkit.results.run.records import (
    OUTPUTS,
    Floats,
    Ints,
    check_ids,
    check_names,
    check_probabilities,
    rows_of,
)

__all__ = ["Cost", "cost_path", "read_cost", "together", "write_cost"]

REMEDY = "make it again with `mgkit explain --replace`"
PARTS = {"joints": "pose_frames", "maps": "rgb_frames"}
FIELDS = ("target", "score", *PARTS, *PARTS.values())
Halfs = npt.NDArray[np.float16]


class ClipSaliency(NamedTuple):
    """Of one clip: the fields of `Saliency` without their first axis, values in float32.

    Each frame stands there once: where a short clip repeats frames, the values of the repeats are added up.
    """

    target: int
    score: float
    joints: Floats | None
    pose_frames: Ints | None
    maps: Floats | None
    rgb_frames: Ints | None


@dataclass(frozen=True, eq=False)
class Saliency:
    """How much each joint in each sampled frame, and each part of each sampled picture, spoke for a class.

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

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        put = object.__setattr__
        put(self, "clip_ids", ids)
        for name, kind in (("target", np.int64), ("score", np.float32)):
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
        return ClipSaliency(int(self.target[row]), float(self.score[row]), joints, pose, maps, rgb)

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
    lacking = {"clip_id", "target", "score", "settings"} - set(arrays)
    if lacking:
        raise MgkitError(f"{path} lacks {some(sorted(lacking))}: {REMEDY}.")
    with storage.naming(path, REMEDY):
        settings = json.loads(str(arrays.pop("settings")))
        known = {name: arrays[name] for name in FIELDS if name in arrays}
        return Saliency(arrays["clip_id"].tolist(), **known, settings=settings)


VIEWS_REMEDY = "test the split again"


@dataclass(frozen=True, eq=False)
class ViewScores:
    """Probabilities of N clips over K classes, of each of V views of the clip.

    Args:
        clip_ids: N unique ids.
        probabilities: per output ("rgb", "pose", "fused") an (N, V, K) array; each row sums to 1.
        mirrored: (V,) whether a view was the mirrored twin of another. Views of either kind stand in the order of
            their time shifts: view i of n begins (i + 0.5) / n of the way into each of its time bins.

    Raises:
        MgkitError: shapes that disagree, a repeated id, or rows that are not of probabilities.
    """

    clip_ids: list[str]
    probabilities: dict[str, Floats]
    mirrored: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        ids, mirrored = check_ids(self.clip_ids), np.asarray(self.mirrored, bool)
        check_names(self.probabilities, OUTPUTS, "probabilities")
        if not self.probabilities:
            raise MgkitError("there are no probabilities: give at least one of rgb, pose, fused.")
        scores = {
            name: np.asarray(self.probabilities[name], np.float32)
            for name in OUTPUTS
            if name in self.probabilities
        }
        if len({array.shape for array in scores.values()}) != 1:
            raise MgkitError("the outputs have different numbers of clips, views or classes.")
        for name, array in scores.items():
            if array.ndim != 3 or array.shape[:2] != (len(ids), mirrored.size) or mirrored.ndim != 1:
                raise MgkitError(
                    f"{name} probabilities of views have shape {array.shape}; ({len(ids)} clips, {mirrored.size} "
                    "views, classes) is expected."
                )
            check_probabilities(
                array.reshape(-1, array.shape[2]),
                name,
                [clip_id for clip_id in ids for _ in range(mirrored.size)],
            )
        object.__setattr__(self, "clip_ids", ids)
        object.__setattr__(self, "probabilities", scores)
        object.__setattr__(self, "mirrored", mirrored)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        return f"ViewScores({len(self)} clips, {self.views} views, {', '.join(self.probabilities)})"

    @property
    def views(self) -> int:
        """V."""
        return int(self.mirrored.size)

    def scores(self, pathway: str | None = None) -> Floats:
        """(N, V, K) of an output, by default fused or the only one; an unknown one raises a `MgkitError`."""
        default = "fused" if "fused" in self.probabilities else next(iter(self.probabilities))
        name = default if pathway is None else pathway
        if name not in self.probabilities:
            raise MgkitError(
                f"there are no {name!r} scores of views; there are {', '.join(self.probabilities)}."
            )
        return self.probabilities[name]

    def select(self, clip_ids: Iterable[str]) -> ViewScores:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        rows = rows_of(
            {clip_id: i for i, clip_id in enumerate(self.clip_ids)}, list(clip_ids), "scores of views"
        )
        return replace(
            self,
            clip_ids=[self.clip_ids[i] for i in rows],
            probabilities={name: array[rows] for name, array in self.probabilities.items()},
        )


def views_path(root: str | Path, split: str) -> Path:
    return storage.split_folder(root, split) / "views.npz"


def write_view_scores(root: str | Path, split: str, scores: ViewScores) -> None:
    """Write splits/<split>/views.npz, whole or not at all."""
    arrays: dict[str, Any] = {name: array.astype(np.float16) for name, array in scores.probabilities.items()}
    with atomic(views_path(root, split)) as temporary:
        np.savez(temporary, clip_id=np.array(scores.clip_ids, dtype=str), mirrored=scores.mirrored, **arrays)


def read_view_scores(path: Path, classes: Classes) -> ViewScores:
    """Read what `write_view_scores` wrote, and check it against the classes of the run."""
    arrays = storage.read_npz(path)
    if not {"clip_id", "mirrored"} <= set(arrays):
        raise MgkitError(f"{path} lacks the array clip_id or mirrored: {VIEWS_REMEDY}.")
    with storage.naming(path, VIEWS_REMEDY):
        found = ViewScores(
            arrays.pop("clip_id").tolist(), mirrored=arrays.pop("mirrored"), probabilities=arrays
        )
        if found.scores().shape[2] != len(classes):
            raise MgkitError(f"it is over {found.scores().shape[2]} classes, the run over {len(classes)}")
    return found


@dataclass(frozen=True)
class Cost:
    """What one forward of a network costs. Everything is for one view of one clip: a test with V views costs V times.

    Attributes:
        parameters: numbers that are learnt, of the whole network, its heads included.
        flops: floating-point operations of a view. A multiplication and an addition count as **two**; much of the
            literature calls half of this FLOPs (see `multiply_adds`). Convolutions, linear layers and the products of
            attention are counted; normalisation, activations, pooling and sums are not.
        inputs: shape of one clip, of each input.
        clips_per_second: clips that the network alone answered a second (the median batch), from inputs that lay
            ready on the device; None where it was not measured.
        slow, fast: the quartiles of the batches, clips a second.
        loaded_clips_per_second: the same with reading, decoding and preparing the clips, as `mg.test` does with one
            view; None where it was not measured.
        batch_size, device, threads, precision: what it was measured with; device is the name of a GPU, or "cpu".
        workers: loader processes of the measurement with loading.
        measured: when, ISO 8601 UTC; software: version of torch.
    """

    parameters: int
    flops: int
    inputs: dict[str, list[int]]
    clips_per_second: float | None = None
    slow: float | None = None
    fast: float | None = None
    loaded_clips_per_second: float | None = None
    batch_size: int | None = None
    device: str = ""
    threads: int | None = None
    precision: str = ""
    workers: int | None = None
    measured: str = ""
    software: str = ""

    def __post_init__(self) -> None:
        for name in ("parameters", "flops"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise MgkitError(f"{name} is {value!r}: a whole number, 0 or more, is expected.")
        for name in ("clips_per_second", "slow", "fast", "loaded_clips_per_second"):
            value = getattr(self, name)
            good = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (good and isfinite(value) and value > 0):
                raise MgkitError(f"{name} is {value!r}: a number above 0 is expected.")
        if not isinstance(self.inputs, dict):
            raise MgkitError("inputs must be the shape of each input.")
        for name in ("device", "precision"):
            if not isinstance(getattr(self, name), str):
                raise MgkitError(f"{name} is {getattr(self, name)!r}: a text is expected.")

    @property
    def multiply_adds(self) -> int:
        """Half of `flops`: what fvcore, MMAction2, PYSKL and most papers print as FLOPs."""
        return self.flops // 2

    @property
    def conditions(self) -> str:
        """What the speed was measured with, in one phrase; "" where it was not measured."""
        if self.clips_per_second is None:
            return ""
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.device == "cpu" else ""
        return f"{self.device}{threads}, batch {self.batch_size}, {self.precision}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def together(costs: Sequence[Cost]) -> Cost:
    """Cost of an ensemble: each member answers in turn, so parameters, operations and seconds add up.

    The speed is only known where that of every member was measured under the same conditions.
    """
    if not costs:
        raise MgkitError("the cost of no network is not defined.")
    inputs = {f"{i}.{name}": shape for i, cost in enumerate(costs) for name, shape in cost.inputs.items()}
    total = Cost(sum(cost.parameters for cost in costs), sum(cost.flops for cost in costs), inputs)
    speeds = [cost.clips_per_second for cost in costs if cost.clips_per_second]
    if len(speeds) < len(costs) or len({cost.conditions for cost in costs}) > 1:
        return total
    first, speed = costs[0], 1 / sum(1 / speed for speed in speeds)
    return Cost(
        total.parameters, total.flops, inputs, speed, batch_size=first.batch_size, device=first.device,
        threads=first.threads, precision=first.precision, measured=max(cost.measured for cost in costs),
    )  # fmt: skip


def cost_path(root: str | Path) -> Path:
    return Path(root) / "cost.json"


def write_cost(root: str | Path, cost: Cost) -> None:
    """Write cost.json of a run folder."""
    write_json(cost_path(root), cost.to_dict())


def read_cost(root: str | Path) -> Cost:
    """Read cost.json of a run folder, checked."""
    path = cost_path(root)
    value = read_dict(path)
    try:
        return Cost(**value)
    except TypeError:
        unknown = sorted(set(value) - set(Cost.__dataclass_fields__))
        what = f"has the unknown entry {unknown[0]!r}" if unknown else "lacks parameters, flops or inputs"
        raise MgkitError(f"{path} {what}: delete it, and measure the run again.") from None
    except MgkitError as error:
        raise MgkitError(f"{path}: {error} Delete it, and measure the run again.") from None
