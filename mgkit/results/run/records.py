"""What a run holds: predictions, embeddings and prototypes, each checked when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some

PATHWAYS = ("rgb", "pose")
OUTPUTS = ("rgb", "pose", "fused")

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of N clips over K classes, checked when they are made.

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

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        labels = np.asarray(self.labels)
        if labels.shape != (len(ids),) or labels.dtype.kind not in "iu":
            raise MgkitError(
                f"labels have shape {labels.shape}, type {labels.dtype}; {len(ids)} whole numbers are expected."
            )
        if not self.probabilities:
            raise MgkitError("there are no probabilities: give at least one of rgb, pose, fused.")
        check_names(self.probabilities, OUTPUTS, "probabilities")
        if {"rgb", "pose"} <= set(self.probabilities) and "fused" not in self.probabilities:
            raise MgkitError(
                "probabilities of rgb and pose come without those of fused: add their combination."
            )
        scores = {
            name: np.asarray(self.probabilities[name], np.float32)
            for name in OUTPUTS
            if name in self.probabilities
        }
        classes = {array.shape[-1] if array.ndim == 2 else 0 for array in scores.values()}
        for name, array in scores.items():
            if array.ndim != 2 or len(array) != len(ids) or len(classes) != 1:
                raise MgkitError(
                    f"{name} probabilities have shape {array.shape}; ({len(ids)} clips, classes) is expected."
                )
            check_probabilities(array, name, ids)
        count = classes.pop()
        if self.classes is not None and len(self.classes) != count:
            raise MgkitError(
                f"probabilities are over {count} classes; the class list has {len(self.classes)}."
            )
        outside = (labels < 0) | (labels >= count)
        if outside.any():
            first = int(outside.argmax())
            raise MgkitError(f"label {labels[first]} of clip {ids[first]!r} is outside 0 to {count - 1}.")
        for what, distances in (("own", self.own), ("other", self.other)):
            check_names(distances, PATHWAYS, f"distances to the {what} prototype")
            for name, values in distances.items():
                array = np.asarray(values, np.float32)
                # A cosine in float32 can leave [-1, 1] by rounding; anything more is another measure.
                wrong = np.isinf(array) | (array < -1e-3) | (array > 2 + 1e-3)
                if array.shape != (len(ids),) or wrong.any():
                    raise MgkitError(
                        f"{name}_{what} must be {len(ids)} cosine distances in [0, 2] (NaN = prototype never seen)."
                    )
        set_field = object.__setattr__
        set_field(self, "clip_ids", ids)
        set_field(self, "labels", labels.astype(np.int64))
        set_field(self, "probabilities", scores)
        set_field(self, "own", {name: np.asarray(values, np.float32) for name, values in self.own.items()})
        set_field(
            self, "other", {name: np.asarray(values, np.float32) for name, values in self.other.items()}
        )

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        return f"Predictions({len(self)} clips, {self.class_count} classes, {', '.join(self.outputs)})"

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
        return "fused" if "fused" in self.probabilities else next(iter(self.probabilities))

    def scores(self, pathway: str | None = None) -> Floats:
        """(N, K) probabilities of an output, of `best` by default; an unknown one raises a `MgkitError`."""
        name = self.best if pathway is None else pathway
        if name not in self.probabilities:
            raise MgkitError(f"there are no {name!r} predictions; there are {', '.join(self.probabilities)}.")
        return self.probabilities[name]

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
        true, said = self.labels == class_index, self.predicted(pathway) == class_index
        return np.where(true, np.where(said, "TP", "FN"), np.where(said, "FP", "TN"))

    def select(self, clip_ids: Iterable[str]) -> Predictions:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        rows = rows_of(self._index, list(clip_ids), "predictions")
        return replace(
            self,
            clip_ids=[self.clip_ids[i] for i in rows],
            labels=self.labels[rows],
            probabilities={name: array[rows] for name, array in self.probabilities.items()},
            own={name: array[rows] for name, array in self.own.items()},
            other={name: array[rows] for name, array in self.other.items()},
        )

    def frame(self, pathway: str | None = None) -> pd.DataFrame:
        """One row a clip for people: clip_id, true, predicted, correct, probability (of the predicted class, in
        [0, 1]), probability of the true class, and the distances to prototypes where there are any."""
        name = self.best if pathway is None else pathway
        scores, said = self.scores(name), self.predicted(name)
        names = np.array(
            self.classes.names if self.classes else [str(k) for k in range(self.class_count)], dtype=object
        )
        rows = np.arange(len(self))
        columns: dict[str, Any] = {
            "clip_id": self.clip_ids,
            "true": names[self.labels],
            "predicted": names[said],
            "correct": said == self.labels,
            "probability": scores[rows, said],
            "probability_of_true": scores[rows, self.labels],
        }
        for key in self.own:
            columns[f"{key}_own"] = self.own[key]
        for key in self.other:
            columns[f"{key}_other"] = self.other[key]
        return pd.DataFrame(columns)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {clip_id: i for i, clip_id in enumerate(self.clip_ids)}


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of N clips.

    Args:
        clip_ids: N unique ids, in any order (not necessarily that of the predictions).
        vectors: per pathway (N, D), finite.
    """

    clip_ids: list[str]
    vectors: dict[str, Floats]

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        check_names(self.vectors, PATHWAYS, "embeddings")
        if not self.vectors:
            raise MgkitError("there are no embeddings: give at least one of rgb, pose.")
        arrays = {name: np.asarray(array, np.float32) for name, array in self.vectors.items()}
        for name, array in arrays.items():
            if array.ndim != 2 or len(array) != len(ids):
                raise MgkitError(
                    f"{name} embeddings have shape {array.shape}; ({len(ids)} clips, D) is expected."
                )
            bad = ~np.isfinite(array).all(1)
            if bad.any():
                raise MgkitError(f"the {name} embedding of clip {ids[int(bad.argmax())]!r} is not finite.")
        object.__setattr__(self, "clip_ids", ids)
        object.__setattr__(self, "vectors", arrays)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {array.shape[1]}-d" for name, array in self.vectors.items())
        return f"Embeddings({len(self)} clips: {parts})"

    def of(self, pathway: str) -> Floats:
        """(N, D) vectors of one pathway; an unknown one raises a `MgkitError`."""
        if pathway not in self.vectors:
            raise MgkitError(f"there are no {pathway!r} embeddings; there are {', '.join(self.vectors)}.")
        return self.vectors[pathway]

    def select(self, clip_ids: Iterable[str]) -> Embeddings:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        index = {clip_id: i for i, clip_id in enumerate(self.clip_ids)}
        rows = rows_of(index, list(clip_ids), "embeddings")
        return Embeddings(
            [self.clip_ids[i] for i in rows], {name: array[rows] for name, array in self.vectors.items()}
        )


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
                    f"({len(epochs)} epochs, K, D) and (epochs, K) are expected."
                )
            if not np.isfinite(array).all():
                raise MgkitError(f"{name} prototypes are not finite.")
        object.__setattr__(self, "epochs", epochs)
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "updates", updates)

    def __len__(self) -> int:
        return len(self.epochs)

    def last(self, pathway: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The newest prototypes (K, D) of a pathway and, per class (K,), whether it has been seen at all."""
        if pathway not in self.vectors or not len(self):
            raise MgkitError(
                f"there are no {pathway!r} prototypes; there are {some(self.vectors) or 'none'}."
            )
        return self.vectors[pathway][-1], self.updates[pathway][-1] > 0


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def check_ids(clip_ids: Sequence[str]) -> list[str]:
    ids = [str(clip_id) for clip_id in clip_ids]
    if not ids:
        raise MgkitError("there are no clips.")
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        repeated = [clip_id for clip_id in ids if clip_id in seen or seen.add(clip_id)]  # type: ignore[func-returns-value]
        raise MgkitError(
            f"clip ids stand twice: {some(dict.fromkeys(repeated))}. Each clip needs its own id."
        )
    return ids


def check_names(names: Iterable[str], allowed: Sequence[str], what: str) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise MgkitError(f"{what}: {some(unknown)} is none of {', '.join(allowed)}.")


def check_probabilities(array: Floats, name: str, ids: list[str]) -> None:
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise MgkitError(f"the {name} probabilities of clip {ids[int((~finite).argmax())]!r} are not finite.")
    sums = array.sum(1, dtype=np.float64)
    wrong = (np.abs(sums - 1) > 1e-3) | (array.min(1) < -1e-6) | (array.max(1) > 1 + 1e-3)
    if wrong.any():
        first = int(wrong.argmax())
        raise MgkitError(
            f"the {name} probabilities of clip {ids[first]!r} sum to {sums[first]:.4g} ({int(wrong.sum())} such "
            "clips), or are not in [0, 1]: if they are logits, apply a softmax first."
        )


def rows_of(index: dict[str, int], wanted: list[str], what: str) -> list[int]:
    unknown = [clip_id for clip_id in wanted if clip_id not in index]
    if unknown:
        raise MgkitError(f"the {what} have no clip {some(unknown)}.")
    return [index[clip_id] for clip_id in wanted]
