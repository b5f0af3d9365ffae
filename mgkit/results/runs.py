"""The run folder: everything one training produced, in one layout, whatever made it.

    config.json             {"format": 1, "recipe": {...}, "settings": {...}, "data": {...},
                            "pathways": ["rgb", "pose"]}; settings are what beside the recipe decides the result
                            (seed, names of the train and val splits); data holds "root" (the clip folder, relative
                            to the run folder), "fingerprint", "classes", "skeleton" and "splits" (clips per class
                            of each split)
    environment.json        versions, git revision, device, seed, command
    status.json             {"state", "epoch", "epochs", "message", "updated"}
    history.csv             one row an epoch, see `append_history`
    checkpoints/            last.pt, best.pt
    prototypes.npz          `epoch` (E,); per pathway `<pathway>` (E, K, D) and `<pathway>_updates` (E, K)
    splits/<split>/         predictions.parquet and embeddings.npz of one evaluated split
    stages/<name>/          run folders of the branches a staged training began with
    figures/, cache/        drawn from the above; may be deleted at any time

Everything is keyed by `clip_id`, and the class order travels in config.json. Every file is written whole or not at
all, so a notebook may read a run while it is being trained.

Outputs are named `rgb`, `pose` and `fused`. A run with two pathways has all three; a single-pathway run has its own
name only; a run imported from elsewhere (`import_scores`) may have `fused` only.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, read_json, write_json

FORMAT = 1
PATHWAYS = ("rgb", "pose")
OUTPUTS = ("rgb", "pose", "fused")
STATES = ("running", "finished", "interrupted", "failed")

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


# ---------------------------------------------------------------------------------------------------------------------
# What a run holds


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
        ids = _check_ids(self.clip_ids)
        labels = np.asarray(self.labels)
        if labels.shape != (len(ids),) or labels.dtype.kind not in "iu":
            raise MgkitError(
                f"labels have shape {labels.shape}, type {labels.dtype}; {len(ids)} whole numbers are expected."
            )
        if not self.probabilities:
            raise MgkitError("there are no probabilities: give at least one of rgb, pose, fused.")
        _check_names(self.probabilities, OUTPUTS, "probabilities")
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
            _check_probabilities(array, name, ids)
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
            _check_names(distances, PATHWAYS, f"distances to the {what} prototype")
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
        rows = _rows(self._index, list(clip_ids), "predictions")
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
        ids = _check_ids(self.clip_ids)
        _check_names(self.vectors, PATHWAYS, "embeddings")
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
        rows = _rows(index, list(clip_ids), "embeddings")
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
        _check_names(self.vectors, PATHWAYS, "prototypes")
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


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder. Make one with `create_run`, open one with `load_run`; its methods read, and never write.

    Attributes:
        root: the run folder.
        config: config.json as it stands there.
    """

    root: Path
    config: dict[str, Any]

    def __repr__(self) -> str:
        state = self.status()["state"] if (self.root / "status.json").is_file() else "no status"
        evaluated = f", evaluated on {some(self.splits())}" if self.splits() else ""
        return f"Run({str(self.root)!r}: {state}, {len(self.classes)} classes, {' + '.join(self.outputs)}{evaluated})"

    @property
    def name(self) -> str:
        """What the run is called in tables: the name of its folder, or the one given to `import_scores`."""
        return str(self.config.get("name") or self.root.resolve().name)

    @cached_property
    def classes(self) -> Classes:
        return Classes.from_dict(self.config["data"]["classes"], where=str(self.root / "config.json"))

    @cached_property
    def skeleton(self) -> Skeleton:
        """The key-point layout; an imported run may have none, which raises a `MgkitError`."""
        if self.config["data"]["skeleton"] is None:
            raise MgkitError(
                f"{self.root} was imported without a skeleton: pass `skeleton=` to import_scores."
            )
        return Skeleton.from_dict(self.config["data"]["skeleton"], where=str(self.root / "config.json"))

    @property
    def pathways(self) -> tuple[str, ...]:
        """Which of "rgb" and "pose" the model has."""
        return tuple(self.config["pathways"])

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs its predictions have: the pathways, and "fused" unless there is exactly one pathway."""
        return self.pathways if len(self.pathways) == 1 else (*self.pathways, "fused")

    @property
    def recipe(self) -> dict[str, Any]:
        return dict(self.config["recipe"])

    def class_counts(self, split: str) -> Ints | None:
        """(K,) clips per class that a split had when the run was made; None when the run does not know the split."""
        counts = self.config["data"]["splits"].get(split)
        return None if counts is None else np.asarray(counts, np.int64)

    def environment(self) -> dict[str, Any]:
        """environment.json: what the run was made with; a resumed run lists later environments under "resumed"."""
        return _read_dict(self.root / "environment.json")

    def status(self) -> dict[str, Any]:
        """{"state", "epoch", "epochs", "message", "updated"}; state is one of `STATES`, updated is ISO 8601 UTC."""
        path = self.root / "status.json"
        status = _read_dict(path)
        if status.get("state") not in STATES:
            raise MgkitError(f"{path}: state {status.get('state')!r} is none of {', '.join(STATES)}.")
        return status

    def history(self) -> pd.DataFrame:
        """One row an epoch, as `append_history` describes; empty before the first epoch has ended."""
        return _read_history(self.root / "history.csv")

    def splits(self) -> list[str]:
        """The splits that have been evaluated."""
        return sorted(path.parent.name for path in (self.root / "splits").glob("*/predictions.parquet"))

    def predictions(self, split: str = "test") -> Predictions:
        """Predictions of an evaluated split, checked against the classes of the run."""
        path = self.root / "splits" / split / "predictions.parquet"
        self._evaluated(path, split)
        return _read_predictions(path, self.classes)

    def embeddings(self, split: str = "test") -> Embeddings:
        """Embeddings of an evaluated split."""
        path = self.root / "splits" / split / "embeddings.npz"
        self._evaluated(path, split)
        arrays = _read_npz(path)
        if "clip_id" not in arrays:
            raise MgkitError(f"{path} lacks the array clip_id: evaluate the split again.")
        with _naming(path, "evaluate the split again"):
            return Embeddings(arrays.pop("clip_id").tolist(), arrays)

    def prototypes(self) -> PrototypeHistory:
        """Prototypes after each epoch; a run without refinement raises a `MgkitError`."""
        path = self.root / "prototypes.npz"
        if not path.is_file():
            raise MgkitError(f"{self.root} has no prototypes: train it with prototypical refinement.")
        found = _read_prototypes(path)
        for name, array in found.vectors.items():
            if array.shape[1] != len(self.classes):
                raise MgkitError(
                    f"{path}: {name} has prototypes of {array.shape[1]} classes; the run has {len(self.classes)}."
                )
        return found

    def stages(self) -> list[str]:
        """Names of the runs this staged training began with."""
        return sorted(path.parent.name for path in (self.root / "stages").glob("*/config.json"))

    def stage(self, name: str) -> Run:
        """The run of one stage; an unknown name raises a `MgkitError` that lists the known ones."""
        if name not in self.stages():
            raise MgkitError(
                f"{self.root} has no stage {name!r}; its stages are {some(self.stages()) or 'none'}."
            )
        return load_run(self.root / "stages" / name)

    def clips(self) -> Clips:
        """Open the clip folder that the run was made from.

        Raises:
            MgkitError: the run was imported and has none, the folder has moved, or it no longer holds the same
                clips, splits and classes: predictions would then be compared with the wrong truth.
        """
        recorded = self.config["data"]["root"]
        elsewhere = "open the right folder with load_clips and pass it on as `clips=`"
        if recorded is None:
            raise MgkitError(f"{self.root} was imported and knows no clip folder: {elsewhere}.")
        path = (self.root.resolve() / recorded).resolve()
        if path.is_relative_to(Path.cwd()):  # reads better in a notebook, and says nothing about the machine
            path = path.relative_to(Path.cwd())
        if not path.is_dir():
            raise MgkitError(f"the clip folder of {self.root} is no longer at {path}: {elsewhere}.")
        clips = load_clips(path)
        if clips.fingerprint != self.config["data"]["fingerprint"]:
            raise MgkitError(
                f"{path} does not hold the clips that {self.root} was made from (other clips, splits, classes or "
                f"skeleton): {elsewhere}."
            )
        return clips

    def checkpoint(self, which: str = "best") -> Path:
        """Path of checkpoints/best.pt or checkpoints/last.pt; a missing one raises a `MgkitError`."""
        if which not in ("best", "last"):
            raise MgkitError(f"there is no checkpoint {which!r}: ask for 'best' or 'last'.")
        path = self.root / "checkpoints" / f"{which}.pt"
        if not path.is_file():
            there = sorted(found.name for found in (self.root / "checkpoints").glob("*.pt"))
            raise MgkitError(
                f"{path} is missing (there is {some(there) or 'no checkpoint'}): train the run first."
            )
        return path

    @property
    def figures(self) -> Path:
        """The folder for figures; it is made when the first one is saved."""
        return self.root / "figures"

    def _evaluated(self, path: Path, split: str) -> None:
        if not path.is_file():
            there = some(self.splits()) or "none yet"
            raise MgkitError(
                f"{self.root} has no {path.stem} of split {split!r} (evaluated: {there}): run `mgkit test` on it."
            )


# ---------------------------------------------------------------------------------------------------------------------
# Making and opening


def create_run(
    root: str | Path,
    *,
    recipe: dict[str, Any],
    clips: Clips,
    pathways: Sequence[str],
    environment: dict[str, Any],
    settings: dict[str, Any] | None = None,
) -> Run:
    """Begin a run folder, or return the one that is there if it was begun with the same settings (resume).

    Args:
        root: the run folder, made if need be.
        recipe: the recipe, plain JSON values.
        settings: what beside the recipe decides the result (seed, splits), plain JSON values.
        clips: all splits that the run will see.
        pathways: which of "rgb" and "pose" the model has.
        environment: versions, git revision, device, seed, command.

    Raises:
        MgkitError: the folder holds a run with another recipe, other data or other pathways (the message names the
            first differences), it is not a place for a run, or the recipe is not plain JSON.
    """
    root = Path(root)
    _check_names(pathways, PATHWAYS, "pathways")
    if not pathways or len(set(pathways)) != len(pathways):
        raise MgkitError(f"pathways are {list(pathways)}: give one or both of rgb and pose, each once.")
    splits = {
        name: np.bincount(
            clips.labels[clips.table["split"].to_numpy() == name], minlength=len(clips.classes)
        ).tolist()
        for name in clips.splits
    }
    config = {
        "format": FORMAT,
        "recipe": recipe,
        "settings": settings or {},
        "data": {
            "root": _relative(clips.root, root),
            "fingerprint": clips.fingerprint,
            "classes": clips.classes.to_dict(),
            "skeleton": clips.skeleton.to_dict(),
            "splits": splits,
        },
        "pathways": [name for name in PATHWAYS if name in pathways],
    }
    return _begin(root, config, environment, state="running", epochs=int(recipe.get("epochs", 0) or 0))


def load_run(root: str | Path) -> Run:
    """Open a run folder.

    Raises:
        MgkitError: there is no such folder, it is not a run folder, it was written by a newer mgkit, or config.json
            is broken. The other files are checked when they are read.
    """
    root = Path(root)
    if not root.is_dir():
        raise MgkitError(f"there is no run folder {root}: make one with `mgkit train`.")
    path = root / "config.json"
    if not path.is_file():
        inside = sorted(found.parent.name for found in root.glob("*/config.json"))
        hint = (
            f"did you mean one of its folders, {some(inside)}?" if inside else "make one with `mgkit train`."
        )
        raise MgkitError(f"{root} is not a run folder (no config.json): {hint}")
    config = _read_dict(path)
    version = config.get("format")
    if not isinstance(version, int):
        raise MgkitError(
            f"{path}: format is {version!r}, not a number; this is not the config.json of a run."
        )
    if version > FORMAT:
        raise MgkitError(
            f"{path} has format {version}, newer than this mgkit reads ({FORMAT}): upgrade mgkit."
        )
    wanted = {"recipe": dict, "data": dict, "pathways": list}
    for key, kind in wanted.items():
        if not isinstance(config.get(key), kind):
            raise MgkitError(f"{path}: {key!r} is missing or not a {kind.__name__}.")
    data = config["data"]
    missing = [key for key in ("root", "fingerprint", "classes", "skeleton", "splits") if key not in data]
    if missing:
        raise MgkitError(f"{path}: data lacks {some(missing)}.")
    try:
        _check_names(config["pathways"], PATHWAYS, "pathways")
    except MgkitError as error:
        raise MgkitError(f"{path}: {error}") from None
    run = Run(root, config)
    if not isinstance(data["splits"], dict):
        raise MgkitError(f"{path}: data.splits is not a dictionary of class counts.")
    for name, counts in data["splits"].items():
        if not isinstance(counts, list) or len(counts) != len(run.classes):
            raise MgkitError(f"{path}: data.splits.{name} must hold {len(run.classes)} class counts.")
    return run


def import_scores(
    root: str | Path,
    *,
    clip_ids: Sequence[str],
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    classes: Classes,
    name: str,
    skeleton: Skeleton | None = None,
    split: str = "test",
    train_counts: Sequence[int] | None = None,
) -> Run:
    """Give the scores of another toolbox the shape of a run, so that every table and figure works on them.

    Args:
        root: the run folder to make; importing the same scores again into it is allowed.
        clip_ids: N unique ids, those of the clip folder if clips are to be looked at.
        labels: (N,) true classes in [0, K).
        probabilities: (N, K), or a dictionary of them under "rgb", "pose", "fused". Where both pathways are given
            without "fused", their mean is taken for it. Logits must go through a softmax first.
        classes: the class list, in the order of the K columns.
        name: what the run is called in tables.
        skeleton: the key-point layout, if film strips are to be drawn.
        split: the split that the clips belong to.
        train_counts: (K,) training clips per class, for the always-majority score.
    """
    root = Path(root)
    if isinstance(probabilities, Mapping):
        given = {str(key): np.asarray(value, np.float32) for key, value in probabilities.items()}
        if {"rgb", "pose"} <= set(given) and "fused" not in given:
            given["fused"] = np.asarray((given["rgb"] + given["pose"]) / 2, np.float32)
    else:
        given = {"fused": np.asarray(probabilities, np.float32)}
    predictions = Predictions(list(clip_ids), np.asarray(labels), given, classes=classes)
    counts = {split: np.bincount(predictions.labels, minlength=len(classes)).tolist()}
    if train_counts is not None:
        if len(train_counts) != len(classes):
            raise MgkitError(f"there are {len(train_counts)} train counts for {len(classes)} classes.")
        counts["train"] = [int(count) for count in train_counts]
    config = {
        "format": FORMAT,
        "name": name,
        "recipe": {"imported": True},
        "data": {
            "root": None,
            "fingerprint": None,
            "classes": classes.to_dict(),
            "skeleton": None if skeleton is None else skeleton.to_dict(),
            "splits": counts,
        },
        "pathways": [pathway for pathway in PATHWAYS if pathway in given],
    }
    run = _begin(root, config, {}, state="finished", epochs=0)
    write_predictions(root, split, predictions)
    return run


def _begin(root: Path, config: dict[str, Any], environment: dict[str, Any], state: str, epochs: int) -> Run:
    if root.exists() and not root.is_dir():
        raise MgkitError(f"{root} is a file: choose a folder for the run.")
    if (root / "clips.parquet").exists():
        raise MgkitError(f"{root} is a clip folder: choose another folder for the run.")
    config, environment = _plain(config, "the recipe"), _plain(environment, "the environment")
    if (root / "config.json").exists():
        there = load_run(root)
        differences = _differences(there.config, config)
        if differences:
            raise MgkitError(
                f"{root} already holds another run, which differs in {some(differences, 3)}: choose another folder, "
                "or delete that run."
            )
        if there.config != config:  # only the way to the clip folder: it or the run has moved
            write_json(root / "config.json", config)
        before = there.environment() if (root / "environment.json").is_file() else environment
        if {key: value for key, value in before.items() if key != "resumed"} != environment:
            write_json(
                root / "environment.json", {**before, "resumed": [*before.get("resumed", []), environment]}
            )
        return load_run(root)
    write_json(root / "environment.json", environment)
    write_status(root, state, 0, epochs)
    write_json(root / "config.json", config)  # last: a folder without it is not a run folder
    return load_run(root)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write_status(root: str | Path, state: str, epoch: int, epochs: int, message: str = "") -> None:
    """Say how far a run is: `epoch` of `epochs` have ended, and `state` is one of `STATES`."""
    if state not in STATES:
        raise MgkitError(f"there is no state {state!r}: use one of {', '.join(STATES)}.")
    updated = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        Path(root) / "status.json",
        {"state": state, "epoch": int(epoch), "epochs": int(epochs), "message": message, "updated": updated},
    )


def append_history(root: str | Path, row: Mapping[str, Any]) -> None:
    """Add the row of one epoch to history.csv.

    A row of an epoch that is already there replaces it and drops the later ones: a run resumed at epoch 5 must not
    keep what a lost epoch 6 said. Rows may have different keys; missing values are empty cells.

    Args:
        row: "epoch" (a whole number; the first is 1) and numbers under these names, which figures and widgets
            look for:
            `loss` and `loss_<term>`: training loss and its terms, `ce_<pathway>` and `pr_<pathway>` among them;
            `train_top1_<output>`, `val_top1_<output>`: accuracy in [0, 1] of rgb, pose, fused; `val_macro_f1`;
            `tp_<pathway>`, `fn_<pathway>`, `fp_<pathway>`: clips over the epoch;
            `learning_rate`, `clips_per_second`, `seconds`. Others are kept as they are.
    """
    path = Path(root) / "history.csv"
    epoch = row.get("epoch")
    if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer):
        raise MgkitError(f"{path}: a row needs a whole number under 'epoch', not {epoch!r}.")
    before = _read_history(path)
    kept = before[before["epoch"] < int(epoch)].to_dict("records")
    table = pd.DataFrame([*kept, dict(row)])
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def write_predictions(root: str | Path, split: str, predictions: Predictions) -> None:
    """Write splits/<split>/predictions.parquet: clip_id, label, one fixed-size list of K float32 an output, and
    `<pathway>_own`, `<pathway>_other`. They must be over the classes of the run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    run, count = load_run(root), predictions.class_count
    if count != len(run.classes):
        raise MgkitError(f"predictions are over {count} classes; the run {run.root} has {len(run.classes)}.")
    columns: dict[str, Any] = {
        "clip_id": pa.array(predictions.clip_ids, pa.string()),
        "label": pa.array(predictions.labels, pa.int64()),
    }
    for name, array in predictions.probabilities.items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel(), pa.float32()), count)
    for what, distances in (("own", predictions.own), ("other", predictions.other)):
        for name, values in distances.items():
            columns[f"{name}_{what}"] = pa.array(values, pa.float32())
    with atomic(_split_folder(root, split) / "predictions.parquet") as temporary:
        pq.write_table(pa.table(columns), temporary)


def write_embeddings(root: str | Path, split: str, embeddings: Embeddings) -> None:
    """Write splits/<split>/embeddings.npz: `clip_id` (N,) and per pathway (N, D) float32."""
    arrays: dict[str, Any] = {"clip_id": np.array(embeddings.clip_ids, dtype=str), **embeddings.vectors}
    with atomic(_split_folder(root, split) / "embeddings.npz") as temporary:
        np.savez(temporary, **arrays)


def write_prototypes(
    root: str | Path,
    epoch: int,
    prototypes: Mapping[str, npt.ArrayLike],
    updates: Mapping[str, npt.ArrayLike],
) -> None:
    """Add the prototypes of one epoch to prototypes.npz; the same epoch and later ones are replaced.

    Args:
        prototypes: per pathway (K, D).
        updates: per pathway (K,), how often each prototype has been updated since the start of training.
    """
    path = Path(root) / "prototypes.npz"
    new = PrototypeHistory(
        np.array([epoch]),
        {name: np.asarray(array)[None] for name, array in prototypes.items()},
        {name: np.asarray(array)[None] for name, array in updates.items()},
    )
    if path.is_file():
        old = _read_prototypes(path)
        keep = old.epochs < epoch
        if keep.any():
            for name, array in new.vectors.items():
                if name not in old.vectors or old.vectors[name].shape[1:] != array.shape[1:]:
                    raise MgkitError(
                        f"{path}: the {name} prototypes of epoch {epoch} differ in shape from earlier ones."
                    )
            new = PrototypeHistory(
                np.concatenate([old.epochs[keep], new.epochs]),
                {
                    name: np.concatenate([old.vectors[name][keep], array])
                    for name, array in new.vectors.items()
                },
                {
                    name: np.concatenate([old.updates[name][keep], array])
                    for name, array in new.updates.items()
                },
            )
    arrays: dict[str, Any] = {"epoch": new.epochs, **new.vectors}
    arrays.update({f"{name}_updates": array for name, array in new.updates.items()})
    with atomic(path) as temporary:
        np.savez(temporary, **arrays)


# ---------------------------------------------------------------------------------------------------------------------
# Reading and checking


class _naming:
    """Puts the file's name, and what to do, around a `MgkitError` that says what is wrong inside it."""

    def __init__(self, path: Path, remedy: str) -> None:
        self.path, self.remedy = path, remedy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MgkitError):
            raise MgkitError(f"{self.path}: {str(error).removesuffix('.')}; {self.remedy}.") from None


def _read_dict(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise MgkitError(f"{path} must hold a JSON object, not a {type(value).__name__}.")
    return value


def _read_history(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame({"epoch": pd.Series(dtype="int64")})
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own parser errors are ValueErrors
        raise MgkitError(
            f"{path} cannot be read ({error}): delete it; training goes on without it."
        ) from None
    epochs = table.get("epoch")
    if (
        epochs is None
        or not pd.api.types.is_integer_dtype(epochs)
        or not (epochs.is_monotonic_increasing and epochs.is_unique)
    ):
        raise MgkitError(f"{path}: the column epoch is missing or does not count upwards: delete the file.")
    return table


def _read_predictions(path: Path, classes: Classes) -> Predictions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    remedy = "evaluate the split again"
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise MgkitError(f"{path} cannot be read ({error}): {remedy}.") from None
    columns = set(table.column_names)
    missing = {"clip_id", "label"} - columns
    if missing:
        raise MgkitError(f"{path} lacks the column {some(sorted(missing))}: {remedy}.")
    scores: dict[str, Floats] = {}
    for name in OUTPUTS:
        if name not in columns:
            continue
        column = table[name].combine_chunks()
        size = getattr(column.type, "list_size", None)
        if size != len(classes) or column.null_count:
            raise MgkitError(
                f"{path}: {name} must be a list of {len(classes)} probabilities in every row; {remedy}."
            )
        scores[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    with _naming(path, remedy):
        return Predictions(
            table["clip_id"].to_pylist(),
            table["label"].to_numpy(),
            scores,
            {name: table[f"{name}_own"].to_numpy() for name in PATHWAYS if f"{name}_own" in columns},
            {name: table[f"{name}_other"].to_numpy() for name in PATHWAYS if f"{name}_other" in columns},
            classes,
        )


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise MgkitError(f"{path} cannot be read ({error}): delete it and make it again.") from None


def _read_prototypes(path: Path) -> PrototypeHistory:
    arrays = _read_npz(path)
    if "epoch" not in arrays:
        raise MgkitError(f"{path} lacks the array epoch: delete it and train again.")
    epochs = arrays.pop("epoch")
    updates = {
        name.removesuffix("_updates"): arrays.pop(name) for name in list(arrays) if name.endswith("_updates")
    }
    with _naming(path, "delete it and train again"):
        return PrototypeHistory(epochs, arrays, updates)


def _check_ids(clip_ids: Sequence[str]) -> list[str]:
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


def _check_names(names: Iterable[str], allowed: Sequence[str], what: str) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise MgkitError(f"{what}: {some(unknown)} is none of {', '.join(allowed)}.")


def _check_probabilities(array: Floats, name: str, ids: list[str]) -> None:
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


def _rows(index: dict[str, int], wanted: list[str], what: str) -> list[int]:
    unknown = [clip_id for clip_id in wanted if clip_id not in index]
    if unknown:
        raise MgkitError(f"the {what} have no clip {some(unknown)}.")
    return [index[clip_id] for clip_id in wanted]


def _split_folder(root: str | Path, split: str) -> Path:
    if not split or split in (".", "..") or any(mark in split for mark in "/\\"):
        raise MgkitError(f"{split!r} cannot be the name of a split: it becomes a folder.")
    return Path(root) / "splits" / split


def _relative(target: Path, root: Path) -> str:
    """`target` as seen from `root`, so that both can be moved or mounted together."""
    try:
        return Path(os.path.relpath(target.resolve(), root.resolve())).as_posix()
    except ValueError:  # two drives
        return str(target)


def _plain(value: dict[str, Any], what: str) -> dict[str, Any]:
    """The dictionary as JSON will give it back, so that what is compared is what is stored."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise MgkitError(
            f"{what} is not plain JSON ({error}): use numbers, texts, lists and dictionaries."
        ) from None


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Readable differences of two JSON values, leaving out the way to the clip folder (its fingerprint counts)."""
    if where == "data.root":
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in [*new, *(key for key in old if key not in new)]:
            found += _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return found
    if old == new:
        return []
    if len(json.dumps([old, new])) > 80:
        return [where]
    return [f"{where} ({json.dumps(old)} there, {json.dumps(new)} now)"]
