"""The clips to look at first for each class: those that stand for it, and those that it fails on most clearly.

All three tables have one row a clip and the columns `class` (the one looked at), `clip_id`, `true`, `predicted` (class
names), `probability` (of the predicted class), `probability_of_true` and `distance`, the cosine distance in [0, 2] to
the prototype of the true class (for the fused output the mean over pathways; NaN without a prototype). Classes come
in label order and clips in the order each function gives; clips that are equal in it come by their id. A class with no
such clip has no row, and where there is none at all the table is empty and has its columns.

Arguments they share:
    run: a run, or predictions.
    split: the evaluated split of the run; not used with predictions.
    pathway: the output "rgb", "pose" or "fused" that decides; by default fused, or the only one.
    class_name: only this class; by default every class.
    n: at most so many clips a class.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.runs import Predictions, Run
from mgkit.views.analysis.ambiguity import class_index, class_names
from mgkit.views.analysis.neighbours import own_distance


def exemplars(
    run: Run | Predictions,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
    n: int = 5,
) -> pd.DataFrame:
    """Per class, the true positives closest to its prototype, the closest first: what the network takes it to be.

    A class whose prototype was never seen has none. Columns and arguments: see the module.

    Raises:
        MgkitError: the run has no prototypes.
    """
    predictions, output = _given(run, split, pathway)
    distance = _needed_distance(predictions, output)
    return _table(predictions, output, "TP", distance, class_name, n, unranked=False)


def hardest_fn(
    run: Run | Predictions,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
    n: int = 5,
    by: str = "confidence",
) -> pd.DataFrame:
    """Per class, the clips of it that were missed most clearly.

    Columns and the other arguments: see the module.

    Args:
        by: "confidence": those whose wrong answer has the highest probability first; "distance": those farthest
            from the prototype of their own class first, and clips without a known distance last. The first finds what
            the classifier is sure of, the second what does not look like its class; label errors are often both.

    Raises:
        MgkitError: another `by`, or by distance in a run without prototypes.
    """
    predictions, output = _given(run, split, pathway)
    if by == "confidence":
        order = -predictions.scores(output).max(1).astype(np.float64)
    elif by == "distance":
        order = -_needed_distance(predictions, output)
    else:
        raise MgkitError(f"clips cannot be ranked by {by!r}: use 'confidence' or 'distance'.")
    return _table(predictions, output, "FN", order, class_name, n)


def hardest_fp(
    run: Run | Predictions,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
    n: int = 5,
) -> pd.DataFrame:
    """Per class, the clips of other classes that were taken for it with the highest probability, the highest first.

    `distance` is to the prototype of their true class, not of the one that they were taken for. Columns and
    arguments: see the module.
    """
    predictions, output = _given(run, split, pathway)
    order = -predictions.scores(output).max(1).astype(np.float64)
    return _table(predictions, output, "FP", order, class_name, n)


def _given(run: Run | Predictions, split: str, pathway: str | None) -> tuple[Predictions, str]:
    predictions = run.predictions(split) if isinstance(run, Run) else run
    return predictions, predictions.best if pathway is None else pathway


def _needed_distance(predictions: Predictions, output: str) -> npt.NDArray[np.float64]:
    distance = own_distance(predictions, output)
    if distance is None:
        raise MgkitError("the run has no distances to prototypes: train it with prototypical refinement.")
    return distance


def _table(
    predictions: Predictions,
    output: str,
    kind: str,
    order: npt.NDArray[np.float64],
    class_name: str | None,
    n: int,
    *,
    unranked: bool = True,
) -> pd.DataFrame:
    """The first n clips of a kind in rising order; those whose place is NaN last, or left out."""
    if n < 0:
        raise MgkitError(f"{n} clips cannot be shown: n is at least 0.")
    scores, said, names = predictions.scores(output), predictions.predicted(output), class_names(predictions)
    ids = np.array(predictions.clip_ids, dtype=object)
    wanted = range(predictions.class_count) if class_name is None else [class_index(predictions, class_name)]
    distance = own_distance(predictions, output)
    groups = []
    for k in wanted:
        rows = np.flatnonzero(predictions.kinds(output, k) == kind)
        if not unranked:
            rows = rows[np.isfinite(order[rows])]
        groups.append(rows[np.lexsort((ids[rows].astype(str), order[rows]))][:n])
    at = np.concatenate(groups)
    return pd.DataFrame(
        {
            "class": names[np.repeat(list(wanted), [len(group) for group in groups])],
            "clip_id": ids[at],
            "true": names[predictions.labels[at]],
            "predicted": names[said[at]],
            "probability": scores[at, said[at]],
            "probability_of_true": scores[at, predictions.labels[at]],
            "distance": np.full(len(at), np.nan) if distance is None else distance[at],
        }
    )
