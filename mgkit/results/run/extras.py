"""What may be added to a tested run: saliency, the scores of single test views, and the cost of the network.

    splits/<split>/saliency.npz  from `mgkit explain`: `clip_id`, `target`, `score`, per pathway of the network `joints`
                                 and `pose_frames`, `maps` and `rgb_frames`, and `settings` (JSON)
    splits/<split>/views.npz     from `mgkit test --views`: `clip_id` (N,), `mirrored` (V,) and per output (N, V, K)
                                 probabilities in float16, exact to one part in 2,000
    cost.json                    from `mg.measure`

The names are those of the fields of `Saliency`, `ViewScores` and `Cost`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.files import write_json
from mgkit.results.run.files import differences, naming, plain, read_dict, read_npz, split_folder, write_npz
from mgkit.results.run.records import ByClip, Floats, Ints, best_output, check_ids, check_scores, pick

PARTS = {"joints": "pose_frames", "maps": "rgb_frames"}
Halfs = npt.NDArray[np.float16]

# ---------------------------------------------------------------------------------------------------------------------
# Saliency


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
                    f"{name} has shape {array.shape}; one finite value for each of {len(ids)} clips is expected."
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
                f"{name} of shape {values.shape} do not go with {of} of shape {frames.shape} and {len(ids)} clips."
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
        return f"Saliency({len(self)} clips, {self.settings.get('target', 'some')} class: {', '.join(parts)})"

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
    remedy = "make it again with `mgkit explain --replace`"
    arrays = read_npz(path, ["clip_id", "target", "score", "settings"], remedy)
    with naming(path, remedy):
        known = {name: arrays[name] for name in Saliency.PER_CLIP if name in arrays}
        return Saliency(arrays["clip_id"].tolist(), **known, settings=json.loads(str(arrays["settings"])))


# ---------------------------------------------------------------------------------------------------------------------
# Scores of single views


@dataclass(frozen=True, eq=False)
class ViewScores(ByClip):
    """Probabilities of N clips over K classes, of each of V views of the clip.

    Args:
        clip_ids: N unique ids.
        probabilities: per output ("rgb", "pose", "fused") an (N, V, K) array; each row sums to 1.
        mirrored: (V,) whether a view was the mirrored twin of another. Views of either kind are in the order of their
            time shifts: view i of n begins (i + 0.5) / n of the way into each of its time bins.

    Raises:
        MgkitError: shapes that disagree, a repeated id, or rows that are not probabilities.
    """

    clip_ids: list[str]
    probabilities: dict[str, Floats]
    mirrored: npt.NDArray[np.bool_]

    WHAT = "scores of views"
    PER_CLIP = ("probabilities",)

    def __post_init__(self) -> None:
        ids, mirrored = check_ids(self.clip_ids), np.asarray(self.mirrored, bool)
        scores = check_scores(self.probabilities, ids, (len(ids), mirrored.size, None))
        self._set(clip_ids=ids, mirrored=mirrored.reshape(-1), probabilities=scores)

    def __repr__(self) -> str:
        return f"ViewScores({len(self)} clips, {self.views} views, {', '.join(self.probabilities)})"

    @property
    def views(self) -> int:
        """V."""
        return int(self.mirrored.size)

    def scores(self, pathway: str | None = None) -> Floats:
        """(N, V, K) of an output, by default fused or the only one; an unknown one raises a `MgkitError`."""
        name = best_output(self.probabilities) if pathway is None else pathway
        return pick(self.probabilities, name, self.WHAT)


def views_path(root: str | Path, split: str) -> Path:
    return split_folder(root, split) / "views.npz"


def write_view_scores(root: str | Path, split: str, scores: ViewScores) -> None:
    """Write splits/<split>/views.npz, whole or not at all."""
    halves = {name: array.astype(np.float16) for name, array in scores.probabilities.items()}
    write_npz(views_path(root, split), clip_id=scores.clip_ids, mirrored=scores.mirrored, **halves)


def read_view_scores(path: Path, classes: Classes) -> ViewScores:
    """Read views.npz, and check it against the classes of the run."""
    remedy = "test the split again"
    arrays = read_npz(path, ["clip_id", "mirrored"], remedy)
    with naming(path, remedy):
        ids, mirrored = arrays.pop("clip_id").tolist(), arrays.pop("mirrored")
        found = ViewScores(ids, arrays, mirrored)
        if found.scores().shape[2] != len(classes):
            raise MgkitError(f"it is over {found.scores().shape[2]} classes, the run over {len(classes)}")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Cost


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass, for one view of one clip: a test with V views costs V times as much.

    Attributes:
        parameters: learnt numbers of the whole network, its heads included.
        flops: floating-point operations of a view. A multiplication and an addition count as **two**; much of the
            literature calls half of this FLOPs (see `multiply_adds`). Convolutions, linear layers and the products of
            attention are counted; normalisation, activations, pooling and sums are not.
        inputs: shape of one clip, of each input.
        clips_per_second: speed of the network alone (median over batches), from inputs that are ready on the device;
            None where it was not measured.
        slow, fast: the quartiles over batches, clips per second.
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
            if type(value) is not int or value < 0:
                raise MgkitError(f"{name} is {value!r}: a whole number, 0 or more, is expected.")
        for name in ("clips_per_second", "slow", "fast", "loaded_clips_per_second"):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and isfinite(value) and value > 0):
                raise MgkitError(f"{name} is {value!r}: a number above 0 is expected.")
        for name, kind in (("inputs", dict), ("device", str), ("precision", str)):
            if not isinstance(getattr(self, name), kind):
                raise MgkitError(f"{name} is {getattr(self, name)!r}: a {kind.__name__} is expected.")

    @property
    def multiply_adds(self) -> int:
        """Half of `flops`: what fvcore, MMAction2, PYSKL and most papers print as FLOPs."""
        return self.flops // 2

    @property
    def conditions(self) -> str:
        """Device, threads, batch and precision of the measured speed, in one phrase; "" where it was not measured."""
        if self.clips_per_second is None:
            return ""
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.device == "cpu" else ""
        return f"{self.device}{threads}, batch {self.batch_size}, {self.precision}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def together(costs: Sequence[Cost]) -> Cost:
    """Cost of an ensemble: its members run in turn, so parameters, operations and seconds add up.

    The speed is only known where that of every member was measured under the same conditions.
    """
    if not costs:
        raise MgkitError("an ensemble without members has no cost.")
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
    path, value = cost_path(root), read_dict(cost_path(root))
    unknown = sorted(set(value) - set(Cost.__dataclass_fields__))
    with naming(path, "delete it, and measure the run again"):
        if unknown:
            raise MgkitError(f"the entry {unknown[0]!r} is unknown")
        if missing := [name for name in ("parameters", "flops", "inputs") if name not in value]:
            raise MgkitError(f"it lacks {some(missing)}")
        return Cost(**value)
