"""The content of the player: origin, predictions, network input and saliency of a clip, as plain values and bytes.

The network's input at test time follows from the recipe that a run records: no network is needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mgkit.data.batches.spec import Inputs, view_times
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, command, counted, some
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Embeddings, Predictions, percent
from mgkit.results.run.saliency import Saliency, saliency_path
from mgkit.views.analysis.errors import exemplar, nearest_correct
from mgkit.views.figures.saliency import scaled
from mgkit.views.figures.style import OUTPUT_NAMES
from mgkit.views.widgets.player.packing import PackCache, Packed, pack_clip, pack_heatmaps

GROUPS = ("left", "middle", "right")
NEIGHBOURS = {"nearest_correct": "nearest correct clip", "exemplar": "class exemplar"}

# --- origin, predictions and saliency --------------------------------------------------------------------------------


def caption(clips: Clips, clip_id: str) -> dict[str, Any]:
    """The origin of a clip: `clip_id`, `true` (class name), `label` (what that is: "true", "predicted", or "" where the
    clip has none), `group`, `subject`, `split`, `source`, `start`, `end`."""
    row, classes = clips.row(clip_id), clips.classes
    label = int(row["label"])
    return {
        "clip_id": clip_id,
        "true": classes.names[label],
        "label": clips.labels_are,
        "group": None if classes.groups is None else classes.groups[label],
        "subject": row["subject"],
        "split": row["split"],
        "source": row["source"],
        "start": int(row["start"]),
        "end": int(row["end"]),
    }


def verdict(
    predictions: Predictions, names: tuple[str, ...], clip_id: str, top: int = 5
) -> dict[str, Any] | None:
    """The predictions of each output for a clip, or None if the split was tested without it.

    Returns:
        `output`: the one that decides; `predicted`, `correct`: its class name and whether that is the true one;
        `outputs`: for each available one of rgb, pose, fused `key`, `name`, `correct`, and `rows`: its `top` most
        probable classes, and the true class if it is not among them, each `name`, `probability` in [0, 1], `rank`
        (from 1), `true`, `predicted`; `distances`: per pathway with prototypes `key`, `name`, `own`, `other` (cosine
        distances, None = no prototype).
    """
    if clip_id not in predictions.clip_ids:
        return None
    at = predictions.clip_ids.index(clip_id)
    label = int(predictions.labels[at])
    outputs: list[dict[str, Any]] = []
    for key in predictions.outputs:
        scores = predictions.scores(key)[at]
        order = np.argsort(-scores, kind="stable")  # as argmax: the lower class wins a tie
        rank = {int(k): i + 1 for i, k in enumerate(order)}
        shown = [int(k) for k in order[:top]]
        shown += [] if label in shown else [label]
        rows = [
            {
                "name": names[k], "probability": float(scores[k]), "percent": percent(scores[k]), "rank": rank[k],
                "true": k == label, "predicted": rank[k] == 1,
            }
            for k in shown
        ]  # fmt: skip
        outputs.append({"key": key, "name": OUTPUT_NAMES[key], "correct": rank[label] == 1, "rows": rows})
    decides = next(output for output in outputs if output["key"] == predictions.best)
    distances = [
        {
            "key": key,
            "name": OUTPUT_NAMES[key],
            "own": _number(predictions.own[key][at]),
            "other": _number(predictions.other[key][at]) if key in predictions.other else None,
        }
        for key in predictions.own
    ]
    return {
        "output": OUTPUT_NAMES[predictions.best],
        "predicted": decides["rows"][0]["name"],
        "correct": decides["correct"],
        "outputs": outputs,
        "distances": distances,
    }


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def clip_saliency(run: Run, split: str, saliency: Saliency | None, clip_id: str) -> dict[str, Any]:
    """The saliency of a clip for drawing.

    Returns:
        `{"empty": sentence}` if there is none. Else `target` (class name), and for each available one of "pose" and
        "rgb" `frames` (sampled frames, each once, increasing), `values` (per frame one number per joint, or G x G parts
        of the picture row by row: 255 times the result of `scaled`) and `time` (per frame the sum of its values, nats).
        `size` is G.
    """
    if saliency is None and run.scores_only:
        return {"empty": f"{run.name} was imported from scores: there is no network to explain."}
    if saliency is None:
        return {
            "empty": f"{run.name} has no saliency yet: run `{command('explain', run.root, '--split', split)}`."
        }
    if clip_id not in saliency:
        way = command("explain", run.root, "--split", split, "--clip", clip_id)
        return {
            "empty": f"Clip {clip_id} is not among the {counted(len(saliency), 'explained clip')}: run `{way}`."
        }
    found = saliency.clip(clip_id)
    answer: dict[str, Any] = {"target": run.classes.names[found.target]}
    for name, values, frames in (
        ("pose", found.joints, found.pose_frames),
        ("rgb", found.maps, found.rgb_frames),
    ):
        if values is None or frames is None:
            continue
        flat = values.reshape(len(values), -1)
        answer[name] = {
            "frames": frames.tolist(),
            "values": np.rint(255 * scaled(flat)).astype(int).tolist(),
            "time": [round(float(value), 5) for value in flat.sum(1)],
        }
        if name == "rgb":
            answer[name]["size"] = int(values.shape[1])
    return answer


# --- the network's input ---------------------------------------------------------------------------------------------


class View(NamedTuple):
    """One of the test views of a clip: `number`, from 0, `of` how many. Mirrored twins see the same frames."""

    number: int = 0
    of: int = 1


MIDDLE = View()


def recorded_inputs(recipe: Mapping[str, Any]) -> Inputs | None:
    """The inputs in the recipe of a run, or None for a run imported from scores.

    A stream that is the user's code is left out: opening a run never runs its code.

    Raises:
        MgkitError: the recorded values contradict each other.
    """
    if "inputs" not in recipe:
        return None
    stream = recipe["inputs"].get("rgb_stream", "frames")
    foreign = isinstance(stream, Mapping) and not str(stream.get("part")).startswith("mgkit.")
    left_out = {"rgb_stream": "frames"} if foreign else {}
    return Inputs.from_dict({**recipe["inputs"], **left_out}, "inputs")


def sampled(spec: Inputs, length: int, view: View = MIDDLE) -> dict[str, npt.NDArray[np.int64]]:
    """Per pathway the frames that a test view samples from a clip of `length` frames, in order, with repeats."""
    return view_times(spec, length, (view.number + 0.5) / view.of)


def seen_heatmaps(clips: Clips, clip_id: str, spec: Inputs, view: View = MIDDLE) -> npt.NDArray[np.uint8]:
    """The heatmaps that the pose pathway gets, as the maximum over left, middle and right ones.

    Returns:
        (3, T, S, S) uint8, 255 = 1: the groups in the order of `GROUPS`, T = `spec.pose_frames`, S =
        `spec.heatmap_size`. The maximum over the groups is the maximum over all joints (or limbs).
    """
    from mgkit.data.batches.dataset import ClipDataset
    from mgkit.data.batches.device import batch_inputs
    from mgkit.data.batches.loader import collate

    alone = spec.only("pose")
    dataset = ClipDataset(clips.select([clip_id]), alone, training=False, views=view.of)
    skeleton = dataset.spec.skeleton or clips.skeleton
    maps = batch_inputs(collate([dataset[0, 0, view.number]]), dataset.spec)["pose"][0].numpy()
    sides = np.array(skeleton.edge_sides if spec.limbs else skeleton.sides)
    grouped = np.zeros((len(GROUPS), *maps.shape[1:]), np.float32)
    for group, name in zip(grouped, GROUPS, strict=True):
        if (sides == name).any():
            group[:] = np.abs(maps[sides == name]).max(0)  # motion has a sign
    return np.rint(255 * grouped).astype(np.uint8)


def checked_view(number: int | None, count: int) -> View:
    """The test view of this number, by default the middle one; an unknown one raises a `MgkitError`."""
    if number is None:
        return View(count // 2, count)
    if not 0 <= number < count:
        raise MgkitError(
            f"there is no test view {number}: the clips were tested with {counted(count, 'view')}, counted from 0."
        )
    return View(number, count)


# --- all of it together ----------------------------------------------------------------------------------------------


class Panels:
    """Everything the player shows of a clip, from clips alone or with a run.

    Args:
        clips: the clips.
        run: a run on them, or None.
        split: an evaluated split of the run.
        pathway: the output that decides what is correct and near; None = fused, or the only one.
        inputs: the input of a network; by default that of the run's recipe.
        view: the test view whose sampling is shown, from 0; by default the middle one.
        quality, limit, blur_faces: see `pack_clip`.
        cache: bytes of packed clips to keep.

    Raises:
        MgkitError: the run has no such split or output, was tested with fewer views, or has other classes.
    """

    def __init__(
        self,
        clips: Clips,
        run: Run | None,
        *,
        split: str,
        pathway: str | None,
        inputs: Inputs | None,
        view: int | None,
        quality: int,
        limit: int,
        blur_faces: bool,
        cache: int,
    ) -> None:
        self.clips, self.run, self.split, self.pathway = clips, run, split, pathway
        self.predictions: Predictions | None = None
        views = 1
        if run is not None:
            if run.classes.names != clips.classes.names:
                odd = sorted(set(run.classes.names) ^ set(clips.classes.names))
                raise MgkitError(
                    f"{run.root} and {clips.root} have different classes ({some(odd) or 'another order'}): open the "
                    "clips that the run was made from."
                )
            self.predictions = run.predictions(split)
            self.predictions.scores(pathway)  # refuses an unknown output
            views = int(run.test_settings(split).get("views", 1))
        self.view = checked_view(view, views)
        self._inputs = inputs
        self._packing: dict[str, Any] = {"quality": quality, "limit": limit, "blur_faces": blur_faces}
        self._cache = PackCache(cache)
        self._saliency: tuple[int, Saliency] | None = None  # with the time its file was written

    @property
    def pathways(self) -> tuple[str, ...]:
        """The pathways whose input is known."""
        return () if self._spec is None else tuple(self._spec.pathways)

    @property
    def heatmapped(self) -> bool:
        """True if the network reads heatmaps, and not key-points or frames only."""
        return self._spec is not None and "pose" in self._spec.pathways and not self._spec.keypoints

    @property
    def streamed(self) -> bool:
        """True if the network is fed something else than the clip's frames."""
        return self._spec is not None and bool(self._spec.parts)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._ids

    def panel(
        self, clip_id: str, *, heat: bool, saliency: bool = False, stream: bool = False
    ) -> tuple[dict[str, Any], list[Packed]]:
        """One clip; with `stream` in the pictures that the network is fed.

        Returns:
            `clip` (see `pack_clip`), `caption`, `verdict`, `sampled` (per pathway the frames of the test view), `heat`
            (`width`, `height`, `count`, `kind`, or None) and `saliency` (see `clip_saliency`, or None); and the bytes:
            frames and key-points, then the heatmaps if there are any.
        """
        fed = self._spec.rgb_stream if stream and self._spec is not None else "frames"
        frames = self._cache.get(
            clip_id if fed == "frames" else (clip_id, "stream"),
            lambda: pack_clip(self.clips, clip_id, **self._packing, stream=fed),
        )
        packed = [frames]
        panel: dict[str, Any] = {
            "clip": frames.meta,
            "caption": caption(self.clips, clip_id),
            "verdict": None,
            "sampled": {},
            "heat": None,
            "saliency": self._explained(clip_id) if saliency else None,
        }
        if self.predictions is not None:
            panel["verdict"] = verdict(self.predictions, self.clips.classes.names, clip_id)
        spec = self._spec
        if spec is not None:
            times = sampled(spec, frames.meta["total"], self.view)
            panel["sampled"] = {name: times[name].tolist() for name in self.pathways}
            if heat and self.heatmapped and frames.meta["pose"] is not None:
                maps = self._cache.get(
                    (clip_id, "heat"),
                    lambda: pack_heatmaps(seen_heatmaps(self.clips, clip_id, spec, self.view)),
                )
                panel["heat"] = {**maps.meta, "kind": spec.heatmap}
                packed.append(maps)
        return panel, packed

    def second(self, clip_id: str, compare: str) -> tuple[str, str]:
        """The clip to compare a clip with, and how the two are related.

        Raises:
            MgkitError: there is no such clip, or the run lacks what is needed to find it.
        """
        if compare not in NEIGHBOURS:
            self.clips.row(compare)
            return compare, "chosen clip"
        if self.predictions is None:
            raise MgkitError(f"{compare!r} needs the predictions of a run: give a run instead of clips.")
        if compare == "nearest_correct":
            found = nearest_correct(self.predictions, clip_id, self.pathway, embeddings=self._embeddings)
            return found.clip_id, f"nearest correct clip, at distance {found.distance:.2f}"
        found = exemplar(self.predictions, clip_id, self.pathway)
        return found.clip_id, f"class exemplar, at distance {found.distance:.2f} from the prototype"

    def saliency(self) -> Saliency | None:
        """The saliency of the split, read again when its file has changed; None without a run or a file.

        Raises:
            MgkitError: the file cannot be used, has other joints than the clips, or belongs to other weights or clips
                than the predictions (if a resumed training was tested again, say).
        """
        if self.run is None or not self.run.has_saliency(self.split):
            return None
        changed = saliency_path(self.run.root, self.split).stat().st_mtime_ns
        if self._saliency is None or self._saliency[0] != changed:
            found = self.run.saliency(self.split)
            if found.joints is not None and self.run.skeleton.joints != self.clips.skeleton.joints:
                raise MgkitError(
                    f"{self.clips.root} has other joints than {self.run.root}: open the clips that the run was made "
                    "from to see its saliency."
                )
            self._saliency = changed, found
        made, tested = self._saliency[1].settings, self.run.test_settings(self.split)
        unlike = [
            key for key in ("checkpoint", "epoch", "clips") if made.get(key) != tested.get(key, made.get(key))
        ]
        if made.get("content") and unlike:  # only `mg.explain` records which weights it used
            raise MgkitError(
                f"the saliency belongs to another {some(unlike)} than the predictions: run "
                f"`{command('explain', self.run.root, '--split', self.split, '--replace')}`, or test again."
            )
        return self._saliency[1]

    def _explained(self, clip_id: str) -> dict[str, Any] | None:
        if self.run is None:
            return None
        try:
            return clip_saliency(self.run, self.split, self.saliency(), clip_id)
        except MgkitError as error:
            return {"empty": str(error)}

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(self.clips.ids)

    @cached_property
    def _spec(self) -> Inputs | None:
        if self._inputs is not None or self.run is None:
            return self._inputs
        return recorded_inputs(self.run.recipe)

    @cached_property
    def _embeddings(self) -> Embeddings:
        assert self.run is not None
        return self.run.embeddings(self.split)
