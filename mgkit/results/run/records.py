"""Contents of a run: predictions, embeddings and prototypes, each checked when it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, counted, some

Halfs = npt.NDArray[np.float16]


PATHWAYS = ("rgb", "pose")
OUTPUTS = ("rgb", "pose", "fused")

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class ByClip:
    """Arrays with one row per clip, found by clip id; for dataclasses.

    Subclasses name in `PER_CLIP` their fields (arrays, None, or dictionaries of arrays) that have these rows.
    """

    WHAT: ClassVar[str]  # in messages
    PER_CLIP: ClassVar[tuple[str, ...]]
    clip_ids: list[str]

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._index

    def rows(self, clip_ids: Iterable[str]) -> list[int]:
        """Rows of these clips; unknown ids raise a `MgkitError` that names them."""
        wanted = list(clip_ids)
        unknown = [clip_id for clip_id in wanted if clip_id not in self._index]
        if unknown:
            raise MgkitError(f"the {self.WHAT} have no clip {some(unknown)}.")
        return [self._index[clip_id] for clip_id in wanted]

    def select(self, clip_ids: Iterable[str]) -> Self:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        rows = self.rows(clip_ids)
        parts: dict[str, Any] = {"clip_ids": [self.clip_ids[row] for row in rows]}
        for name in self.PER_CLIP:
            value = getattr(self, name)
            if isinstance(value, dict):
                parts[name] = {key: array[rows] for key, array in value.items()}
            elif value is not None:
                parts[name] = value[rows]
        return replace(self, **parts)  # type: ignore[type-var]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.clip_ids)}

    def _set(self, **fields: Any) -> None:
        """Set fields of a frozen dataclass, while it is being made."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Predictions(ByClip):
    """Scores of N clips over K classes.

    Args:
        clip_ids: N unique ids.
        labels: (N,) true classes in [0, K).
        probabilities: per output ("rgb", "pose", "fused") an (N, K) array of probabilities; each row sums to 1.
            Where both pathways are given, "fused" must be too.
        own: per pathway (N,) cosine distance in [0, 2] of a clip's embedding to the prototype of its true class; NaN
            where that class was never seen. Empty when the run has no prototypes.
        other: the same to the nearest prototype of another class.
        classes: names for `frame`; set on everything read from a run.

    Raises:
        MgkitError: shapes that disagree, a repeated id, a label outside the classes, a value that is not finite or
            not in [0, 1], or a row that does not sum to 1 within 1e-3.
    """

    clip_ids: list[str]
    labels: Ints
    probabilities: dict[str, Floats]
    own: dict[str, Floats] = field(default_factory=dict)
    other: dict[str, Floats] = field(default_factory=dict)
    classes: Classes | None = None

    WHAT = "predictions"
    PER_CLIP = ("labels", "probabilities", "own", "other")

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        if {"rgb", "pose"} <= set(self.probabilities) and "fused" not in self.probabilities:
            raise MgkitError(
                "probabilities of rgb and pose come without those of fused: add their combination."
            )
        scores = check_scores(self.probabilities, ids, (len(ids), None))
        count = next(iter(scores.values())).shape[1]
        if self.classes is not None and len(self.classes) != count:
            raise MgkitError(
                f"probabilities are over {count} classes; the class list has {len(self.classes)}."
            )
        own, other = (
            self._distances("own", self.own, len(ids)),
            self._distances("other", self.other, len(ids)),
        )
        labels = check_labels(self.labels, ids, count)
        self._set(clip_ids=ids, labels=labels, probabilities=scores, own=own, other=other)

    @staticmethod
    def _distances(what: str, distances: dict[str, Floats], clips: int) -> dict[str, Floats]:
        check_names(distances, PATHWAYS, f"distances to the {what} prototype")
        arrays = {name: np.asarray(values, np.float32) for name, values in distances.items()}
        for name, array in arrays.items():
            # A cosine in float32 can leave [-1, 1] by rounding; anything more is another measure.
            wrong = np.isinf(array) | (array < -1e-3) | (array > 2 + 1e-3)
            if array.shape != (clips,) or wrong.any():
                raise MgkitError(
                    f"{name}_{what} must be {clips} cosine distances in [0, 2] (NaN = prototype never seen)."
                )
        return arrays

    def __repr__(self) -> str:
        return (
            f"Predictions({counted(len(self), 'clip')}, {counted(self.class_count, 'class', 'classes')}, "
            f"{', '.join(self.outputs)})"
        )

    @property
    def outputs(self) -> list[str]:
        """The outputs that are there, in the order rgb, pose, fused."""
        return list(self.probabilities)

    @property
    def class_count(self) -> int:
        """K."""
        return int(self.probabilities[self.best].shape[1])

    @property
    def best(self) -> str:
        """The output to report when only one is: "fused" if there is one, else the only pathway."""
        return best_output(self.probabilities)

    def scores(self, pathway: str | None = None) -> Floats:
        """(N, K) probabilities of an output, of `best` by default; an unknown one raises a `MgkitError`."""
        return pick(self.probabilities, self.best if pathway is None else pathway, "predictions")

    def predicted(self, pathway: str | None = None) -> Ints:
        """(N,) most probable class; the lower index wins a tie."""
        return self.scores(pathway).argmax(1).astype(np.int64)

    def correct(self, pathway: str | None = None) -> npt.NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return self.predicted(pathway) == self.labels

    def kinds(self, pathway: str | None, class_index: int) -> npt.NDArray[np.str_]:
        """(N,) role of each clip for one class: "TP", "FN" (of the class, missed), "FP" (taken for it) or "TN"."""
        if not 0 <= class_index < self.class_count:
            raise MgkitError(f"there is no class {class_index}; the classes are 0 to {self.class_count - 1}.")
        true, predicted = self.labels == class_index, self.predicted(pathway) == class_index
        return np.where(true, np.where(predicted, "TP", "FN"), np.where(predicted, "FP", "TN"))

    def without_background(self) -> Predictions:
        """The predictions for labelled clips as if the background class did not exist; the same where there is none.

        Clips of that class are left out. The other probabilities of a clip are divided by their sum (all are equal
        where the background has all of it). Distances to prototypes are left out: the nearest other one may be that of
        the background.

        Raises:
            MgkitError: all clips are background.
        """
        k = None if self.classes is None else self.classes.background
        if self.classes is None or k is None:
            return self
        kept = np.flatnonzero(self.labels != k)
        if not len(kept):
            raise MgkitError(
                f"{counted(len(self), 'clip')}, all of {self.classes.names[k]!r}: there is nothing else."
            )
        scores = {}
        for name, array in self.probabilities.items():
            rest = np.delete(array[kept], k, axis=1).astype(np.float64)
            sums = rest.sum(1, keepdims=True)
            scores[name] = np.where(sums > 0, rest / np.where(sums > 0, sums, 1), 1 / rest.shape[1])
        labels = self.labels[kept]
        return Predictions(
            [self.clip_ids[i] for i in kept],
            labels - (labels > k),
            scores,
            classes=self.classes.without_background(),
        )

    def frame(self, pathway: str | None = None) -> pd.DataFrame:
        """One row per clip for people: clip_id, true, predicted, correct, probability (of the predicted class, in
        [0, 1]), probability of the true class, and the distances to prototypes where there are any."""
        scores, predicted = self.scores(pathway), self.predicted(pathway)
        names = np.array(
            self.classes.names if self.classes else [str(k) for k in range(self.class_count)], dtype=object
        )
        rows = np.arange(len(self))
        columns: dict[str, Any] = {
            "clip_id": self.clip_ids,
            "true": names[self.labels],
            "predicted": names[predicted],
            "correct": predicted == self.labels,
            "probability": scores[rows, predicted],
            "probability_of_true": scores[rows, self.labels],
        }
        columns |= {f"{key}_own": values for key, values in self.own.items()}
        columns |= {f"{key}_other": values for key, values in self.other.items()}
        return pd.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class Embeddings(ByClip):
    """Embeddings of N clips.

    Args:
        clip_ids: N unique ids, in any order (not necessarily that of the predictions).
        vectors: per pathway (N, D), finite.
    """

    clip_ids: list[str]
    vectors: dict[str, Floats]

    WHAT = "embeddings"
    PER_CLIP = ("vectors",)

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        check_names(self.vectors, PATHWAYS, "embeddings")
        if not self.vectors:
            raise MgkitError("there are no embeddings: give at least one of rgb, pose.")
        arrays = {name: np.asarray(array, np.float32) for name, array in self.vectors.items()}
        for name, array in arrays.items():
            if array.ndim != 2 or len(array) != len(ids):
                raise MgkitError(
                    f"{name} embeddings have shape {array.shape}; ({counted(len(ids), 'clip')}, D) is expected."
                )
            bad = ~np.isfinite(array).all(1)
            if bad.any():
                raise MgkitError(f"the {name} embedding of clip {ids[int(bad.argmax())]!r} is not finite.")
        self._set(clip_ids=ids, vectors=arrays)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {array.shape[1]}-d" for name, array in self.vectors.items())
        return f"Embeddings({counted(len(self), 'clip')}: {parts})"

    def of(self, pathway: str) -> Floats:
        """(N, D) vectors of one pathway; an unknown one raises a `MgkitError`."""
        return pick(self.vectors, pathway, "embeddings")


@dataclass(frozen=True, eq=False)
class PrototypeHistory:
    """Class prototypes after each epoch.

    Attributes:
        epochs: (E,) increasing.
        vectors: per pathway (E, K, D).
        updates: per pathway (E, K) how often each prototype has been updated so far; 0 = still the random start,
            not a prototype.
    """

    epochs: Ints
    vectors: dict[str, Floats]
    updates: dict[str, Ints]

    def __post_init__(self) -> None:
        epochs = np.asarray(self.epochs, np.int64)
        if epochs.ndim != 1 or (np.diff(epochs) <= 0).any():
            raise MgkitError("the epochs of the prototypes do not increase.")
        check_names(self.vectors, PATHWAYS, "prototypes")
        if set(self.vectors) != set(self.updates):
            raise MgkitError(
                f"prototypes of {some(self.vectors)} come with update counts of {some(self.updates)}."
            )
        vectors = {name: np.asarray(array, np.float32) for name, array in self.vectors.items()}
        updates = {name: np.asarray(array, np.int64) for name, array in self.updates.items()}
        for name, array in vectors.items():
            if array.ndim != 3 or len(array) != len(epochs) or updates[name].shape != array.shape[:2]:
                raise MgkitError(
                    f"{name} prototypes have shape {array.shape} and update counts {updates[name].shape}; "
                    f"({counted(len(epochs), 'epoch')}, K, D) and (epochs, K) are expected."
                )
            if not np.isfinite(array).all():
                raise MgkitError(f"{name} prototypes are not finite.")
        for name, value in {"epochs": epochs, "vectors": vectors, "updates": updates}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.epochs)

    def last(self, pathway: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The newest prototypes (K, D) of a pathway and, per class (K,), whether it has been seen at all."""
        vectors = pick(self.vectors if len(self) else {}, pathway, "prototypes")
        return vectors[-1], self.updates[pathway][-1] > 0

    def continued(self, later: PrototypeHistory) -> PrototypeHistory:
        """This history up to the first epoch of a later one, which replaces the rest."""
        keep = self.epochs < later.epochs[0]
        if not keep.any():
            return later
        for name, array in later.vectors.items():
            if name not in self.vectors or self.vectors[name].shape[1:] != array.shape[1:]:
                raise MgkitError(
                    f"the {name} prototypes of epoch {later.epochs[0]} differ in shape from earlier ones."
                )
        return PrototypeHistory(
            np.concatenate([self.epochs[keep], later.epochs]),
            {name: np.concatenate([self.vectors[name][keep], new]) for name, new in later.vectors.items()},
            {name: np.concatenate([self.updates[name][keep], new]) for name, new in later.updates.items()},
        )


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def check_ids(clip_ids: Sequence[str]) -> list[str]:
    """The ids as a list of texts; none, or a repeated one, raises a `MgkitError`."""
    ids = [str(clip_id) for clip_id in clip_ids]
    if not ids:
        raise MgkitError("there are no clips.")
    if len(set(ids)) != len(ids):
        repeated = [clip_id for clip_id, count in Counter(ids).items() if count > 1]
        raise MgkitError(f"repeated clip ids: {some(repeated)}. Each clip needs its own id.")
    return ids


def check_labels(labels: npt.ArrayLike, ids: list[str], classes: int) -> Ints:
    """Refuse labels that are not one class of [0, classes) per clip."""
    array = np.asarray(labels)
    if array.shape != (len(ids),) or array.dtype.kind not in "iu":
        raise MgkitError(
            f"labels have shape {array.shape}, type {array.dtype}; {len(ids)} whole numbers are expected."
        )
    outside = (array < 0) | (array >= classes)
    if outside.any():
        first = int(outside.argmax())
        raise MgkitError(f"label {array[first]} of clip {ids[first]!r} is outside 0 to {classes - 1}.")
    return array.astype(np.int64)


def check_names(names: Iterable[str], allowed: Sequence[str], what: str) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise MgkitError(f"{what}: {some(unknown)} is not one of {', '.join(allowed)}.")


def check_scores(
    probabilities: dict[str, Any], ids: list[str], shape: tuple[int | None, ...]
) -> dict[str, Floats]:
    """Probabilities per output as float32, in the order of `OUTPUTS`, checked; the last axis is that of the classes.

    Args:
        probabilities: per output an array; each row of its last axis sums to 1.
        ids: of the clips on the first axis, for messages.
        shape: that each must have; None = any number, the same for all outputs.
    """
    check_names(probabilities, OUTPUTS, "probabilities")
    if not probabilities:
        raise MgkitError("there are no probabilities: give at least one of rgb, pose, fused.")
    scores = {name: np.asarray(probabilities[name], np.float32) for name in OUTPUTS if name in probabilities}
    for name, array in scores.items():
        if array.ndim != len(shape) or any(
            want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
        ):
            wanted = ", ".join("classes" if want is None else str(want) for want in shape)
            raise MgkitError(f"{name} probabilities have shape {array.shape}; ({wanted}) is expected.")
    if len({array.shape for array in scores.values()}) > 1:
        raise MgkitError("the outputs have different numbers of classes.")
    for name, array in scores.items():
        check_probabilities(array, name, ids)
    return scores


def check_probabilities(array: Floats, name: str, ids: list[str]) -> None:
    """Refuse an array of (N clips, ..., K classes) whose last axis is not of probabilities."""
    rows = array.reshape(len(ids), -1, array.shape[-1])
    finite = np.isfinite(rows).all((1, 2))
    if not finite.all():
        raise MgkitError(f"the {name} probabilities of clip {ids[int((~finite).argmax())]!r} are not finite.")
    sums = rows.sum(2, dtype=np.float64)
    wrong = (np.abs(sums - 1) > 1e-3) | (rows.min(2) < -1e-6) | (rows.max(2) > 1 + 1e-3)
    if wrong.any():
        clip, row = np.argwhere(wrong)[0]
        total = common_sum(rows.reshape(-1, rows.shape[2]))
        remedy = (
            "if they are logits, apply a softmax first"
            if total is None
            else f"every row sums to about {total:.4g}, so divide them by it, without a softmax"
        )
        raise MgkitError(
            f"the {name} probabilities of clip {ids[clip]!r} sum to {sums[clip, row]:.4g} "
            f"({counted(int(wrong.any(1).sum()), 'such clip')}), or are not in [0, 1]: {remedy}."
        )


def common_sum(rows: npt.NDArray[Any]) -> float | None:
    """What all rows of (N, K) numbers sum to, within 1 %: 1 of probabilities, 100 of percentages; None of others.

    A softmax over percentages is 1 for the largest, whatever it was, and over probabilities nearly the same for all.
    """
    sums = rows.sum(1, dtype=np.float64)
    total = float(np.median(sums)) if len(rows) else 0.0
    if rows.shape[1] < 2 or total <= 0 or rows.min() < -1e-6 or (np.abs(sums - total) > 0.01 * total).any():
        return None
    usual = next((one for one in (1.0, 100.0) if abs(total - one) <= 0.01 * one), None)
    # One row has a sum in any case; several do not have the same by chance.
    return usual or (total if len(rows) > 1 else None)


def best_output(outputs: Iterable[str]) -> str:
    """The output to report when only one is: "fused" if there is one, else the first."""
    return "fused" if "fused" in outputs else next(iter(outputs))


def percent(share: float) -> str:
    """A probability or another share in whole per cent; what is there, but rounds to nothing, as "< 1 %".

    >>> percent(0.873), percent(0.002), percent(0.0)
    ('87 %', '< 1 %', '0 %')
    """
    rounded = f"{100 * share:.0f} %"
    return "< 1 %" if share > 0 and rounded == "0 %" else rounded


def pick(arrays: dict[str, Floats], name: str, what: str) -> Floats:
    """The array of an output or pathway; an unknown one raises a `MgkitError`."""
    if name not in arrays:
        raise MgkitError(f"there are no {name!r} {what}; there are {some(arrays) or 'none'}.")
    return arrays[name]
