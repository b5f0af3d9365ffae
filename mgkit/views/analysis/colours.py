"""What the points of a map are coloured by: one number or one group a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mgkit.errors import MgkitError
from mgkit.results.metrics import confusion_matrix
from mgkit.results.runs import Floats, Ints, Predictions, Run

COLOURS = ("class", "kind", "subject", "confidence", "distance")
MOST = 10  # groups that can be told apart by colour
UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Groups:
    """Names of groups, and (N,) which of them a clip is in."""

    names: tuple[str, ...]
    of: Ints


def worst_class(predictions: Predictions, output: str) -> int:
    """The class with the most errors: clips missed and clips taken for it."""
    counts = _counts(predictions, output)
    return int((counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)).argmax())


def rivals(predictions: Predictions, output: str, index: int, many: int) -> list[int]:
    """The classes that clips of `index` are taken for, or that are taken for it, most often; at most `many`."""
    counts = _counts(predictions, output)
    both = counts[index] + counts[:, index]
    both[index] = 0
    return [int(k) for k in np.argsort(-both, kind="stable")[:many] if both[k] > 0]


def coloured_classes(predictions: Predictions, output: str, index: int) -> list[int]:
    """The classes to colour when nobody chose any: all up to 10, of more `index` and the five it is confused with."""
    if predictions.class_count <= MOST:
        return list(range(predictions.class_count))
    return [index, *rivals(predictions, output, index, 5)]


def subjects_of(run: Run, clip_ids: list[str]) -> Groups:
    """Who is seen in each clip, from the clip folder of the run; most clips first, "unknown" last.

    Raises:
        MgkitError: the run's clip folder is not there, or no longer holds these clips.
    """
    table = run.clips().select(clip_ids).table
    found = np.array([str(name) if name else UNKNOWN for name in table["subject"]], dtype=object)
    names, of, counts = np.unique(found.astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort((names, -counts, names == UNKNOWN))
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    return Groups(tuple(str(name) for name in names[order]), place[of])


def confidence_of(predictions: Predictions, output: str) -> Floats:
    """(N,) probability of the predicted class, in [0, 1]."""
    confidence: Floats = predictions.scores(output).max(1)
    return confidence


def distance_of(predictions: Predictions, pathway: str) -> Floats:
    """(N,) cosine distance in [0, 2] to the prototype of the clip's own class; NaN where there is none.

    Raises:
        MgkitError: the predictions have no distances of this pathway.
    """
    if pathway not in predictions.own:
        raise MgkitError(
            f"the predictions have no distances to {pathway} prototypes: only a run trained with "
            "prototypical refinement has any. Colour by class, kind, subject or confidence."
        )
    return predictions.own[pathway]


def _counts(predictions: Predictions, output: str) -> Ints:
    return confusion_matrix(predictions.labels, predictions.predicted(output), predictions.class_count)
