"""Scores: probabilities of clips by any system, keyed by clip id, and runs made from those of another toolbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.results.run.files import FORMAT
from mgkit.results.run.folder import Run, begin_run, recorded, write_predictions
from mgkit.results.run.records import (
    PATHWAYS,
    ByClip,
    Floats,
    Ints,
    Predictions,
    check_ids,
    check_labels,
    check_probabilities,
)

__all__ = ["import_scores"]


@dataclass(frozen=True, eq=False)
class Scores(ByClip):
    """Probabilities of N clips over K classes, checked when they are made.

    Args:
        clip_ids: N unique ids.
        probabilities: (N, K) float32; each row is in [0, 1] and sums to 1 within 1e-3.
        labels: (N,) true classes in [0, K), or None if unknown (the test clips of a challenge).
        classes: the class list in the order of the K columns (or their names), or None if unknown.
        split: the split of the clips, or None if unknown.
        name: the name of the system in tables.

    Raises:
        MgkitError: shapes that disagree, a repeated id, a label outside the classes, values that are not probabilities.
    """

    clip_ids: list[str]
    probabilities: Floats
    labels: Ints | None = None
    classes: Classes | None = None
    split: str | None = None
    name: str = ""

    WHAT = "scores"
    PER_CLIP = ("probabilities", "labels")

    def __post_init__(self) -> None:
        ids = check_ids(self.clip_ids)
        array = np.asarray(self.probabilities)
        if array.ndim != 2 or len(array) != len(ids) or not array.shape[1] or array.dtype.kind not in "fiu":
            raise MgkitError(
                f"probabilities have shape {array.shape}, type {array.dtype}; ({counted(len(ids), 'clip')}, classes) "
                "numbers are expected."
            )
        array = array.astype(np.float32)
        check_probabilities(array, self.name or "given", ids)
        classes = self.classes
        if classes is not None and not isinstance(classes, Classes):
            classes = Classes(tuple(str(name) for name in classes))
        if classes is not None and len(classes) != array.shape[1]:
            raise MgkitError(
                f"probabilities are over {counted(array.shape[1], 'class', 'classes')}; the class list has "
                f"{len(classes)}."
            )
        labels = None if self.labels is None else check_labels(self.labels, ids, array.shape[1])
        self._set(clip_ids=ids, probabilities=array, labels=labels, classes=classes)

    @classmethod
    def of(
        cls, predictions: Predictions, output: str | None = None, *, split: str | None = None, name: str = ""
    ) -> Scores:
        """The scores of one output ("rgb", "pose", "fused"; by default the best) of predictions."""
        return cls(
            predictions.clip_ids,
            predictions.scores(output),
            predictions.labels,
            predictions.classes,
            split,
            name,
        )

    def __repr__(self) -> str:
        parts = [
            counted(len(self), "clip"),
            counted(self.class_count, "class", "classes"),
            self.split,
            self.name,
        ]
        known = "" if self.labels is not None else ", labels not known"
        return f"Scores({', '.join(part for part in parts if part)}{known})"

    @property
    def class_count(self) -> int:
        """K."""
        return int(self.probabilities.shape[1])

    def truth(self) -> Ints:
        """(N,) labels; raises a `MgkitError` if they are unknown."""
        if self.labels is None:
            raise MgkitError(
                f"the true classes of {self.name or 'these scores'} are not known: pass labels= to mg.scores.read."
            )
        return self.labels

    def predicted(self) -> Ints:
        """(N,) most probable class; the lower index wins a tie."""
        return self.probabilities.argmax(1).astype(np.int64)

    def predictions(self) -> Predictions:
        """As predictions, under the output "fused"; needs labels."""
        return Predictions(self.clip_ids, self.truth(), {"fused": self.probabilities}, classes=self.classes)


@dataclass(frozen=True, eq=False)
class Raw:
    """The contents of a file that may not hold probabilities. Fields as in `Scores`; `values` is (N, K)."""

    values: npt.NDArray[Any]
    clip_ids: list[str] | None = None
    labels: Ints | None = None
    classes: Classes | None = None
    split: str | None = None
    name: str | None = None


def import_scores(
    root: str | Path,
    *,
    clip_ids: Sequence[str],
    probabilities: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    name: str,
    labels: npt.ArrayLike | None = None,
    classes: Classes | Sequence[str] | None = None,
    clips: Clips | str | Path | None = None,
    skeleton: Skeleton | None = None,
    split: str = "test",
    train_counts: Sequence[int] | None = None,
) -> Run:
    """Make a run of the scores of another toolbox, so that every table, figure and widget works on them.

    Args:
        root: the run folder to make; importing the same scores again into it is allowed.
        clip_ids: N unique ids, those of the clip folder if you want to look at clips.
        probabilities: (N, K), or a dictionary of them under "rgb", "pose", "fused". If both pathways are given
            without "fused", it is their mean. Apply a softmax to logits first.
        name: the name of the run in tables.
        labels: (N,) true classes in [0, K); by default those of `clips`.
        classes: the class list, or its names, in the order of the K columns; by default that of `clips`.
        clips: the clips, or their folder, which the run then knows as a trained one does: pictures, players, subjects.
        skeleton: the key-point layout, if you want to draw film strips; by default that of `clips`.
        split: the split of the clips.
        train_counts: (K,) training clips per class, for the always-majority score; by default those of `clips`.

    Raises:
        MgkitError: neither labels and classes nor clips, ids that the clips lack, labels or classes that differ from
            those of the clips, or what is wrong with the scores.
    """
    root = Path(root)
    if isinstance(probabilities, Mapping):
        given = {str(key): np.asarray(value, np.float32) for key, value in probabilities.items()}
        if {"rgb", "pose"} <= set(given) and "fused" not in given:
            given["fused"] = np.asarray((given["rgb"] + given["pose"]) / 2, np.float32)
    else:
        given = {"fused": np.asarray(probabilities, np.float32)}

    if classes is not None and not isinstance(classes, Classes):
        classes = Classes(tuple(classes))
    # What is known of the clips: from their folder, from the caller, or both.
    ids, data = list(clip_ids), None
    if clips is not None:
        opened = clips if isinstance(clips, Clips) else load_clips(clips)
        labels, classes = _checked_with(opened, ids, labels, classes)
        data = recorded(opened, root)
        if skeleton is not None:
            data["skeleton"] = skeleton.to_dict()
    if labels is None or classes is None:
        raise MgkitError(
            "scores need labels and classes to become a run: pass both, or clips, which have them."
        )
    predictions = Predictions(ids, np.asarray(labels), given, classes=classes)
    if data is None:
        data = {
            "root": None,
            "fingerprint": None,
            "classes": classes.to_dict(),
            "skeleton": None if skeleton is None else skeleton.to_dict(),
            "splits": {split: np.bincount(predictions.labels, minlength=len(classes)).tolist()},
        }
    if train_counts is not None:
        if len(train_counts) != len(classes):
            raise MgkitError(f"there are {len(train_counts)} train counts for {len(classes)} classes.")
        data["splits"]["train"] = [int(count) for count in train_counts]
    config = {
        "format": FORMAT,
        "name": name,
        "recipe": {"imported": True},
        "data": data,
        "pathways": [pathway for pathway in PATHWAYS if pathway in given],
    }
    run = begin_run(root, config, {}, state="finished", epochs=0)
    write_predictions(root, split, predictions)
    return run


def _checked_with(
    clips: Clips, ids: list[str], labels: npt.ArrayLike | None, classes: Classes | None
) -> tuple[npt.ArrayLike, Classes]:
    """Labels and classes of these clips; a `MgkitError` where those given are others."""
    known = dict(zip(clips.ids, clips.labels.tolist(), strict=True))
    missing = [clip_id for clip_id in ids if clip_id not in known]
    if missing:
        raise MgkitError(
            f"{clips.root} lacks {len(missing):,} of {counted(len(ids), 'clip')} ({some(missing, 3)}): give the "
            "clips, and their ids, that the scores are of."
        )
    if classes is not None and classes.names != clips.classes.names:
        raise MgkitError(
            f"the classes are not those of {clips.root}, or in another order: leave classes out, and bring the columns "
            "of the scores into the order of clips.classes.names."
        )
    theirs = np.array([known[clip_id] for clip_id in ids], np.int64)
    if labels is not None and len(np.asarray(labels)) == len(theirs):
        wrong = np.flatnonzero(np.asarray(labels) != theirs)
        if len(wrong):
            names = clips.classes.names
            raise MgkitError(
                f"labels and {clips.root} disagree on {counted(len(wrong), 'clip')}, first on {ids[wrong[0]]}, which "
                f"is {names[theirs[wrong[0]]]!r} there: leave labels out, or pass the clips that they are of."
            )
    return theirs if labels is None else labels, clips.classes
