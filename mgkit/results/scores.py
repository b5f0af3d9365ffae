"""Scores made by another toolbox, in the shape of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.results.beginning import begin_run
from mgkit.results.records import PATHWAYS, Predictions
from mgkit.results.runs import FORMAT, Run, write_predictions

__all__ = ["import_scores"]


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
    run = begin_run(root, config, {}, state="finished", epochs=0)
    write_predictions(root, split, predictions)
    return run
