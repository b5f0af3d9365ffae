"""Clips whose label is likely to be wrong, by confident learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.runs import Predictions, Run
from mgkit.views.analysis.ambiguity import class_names

# As cleanlab has them: probabilities closer than this are the same, and no threshold is so low that 0 reaches it.
SAME = 1e-6
LOWEST = 2 * SAME


@dataclass(frozen=True, eq=False)
class ConfidentJoint:
    """How many clips of each given label are confidently of each class.

    Attributes:
        counts: (K, K) clips; row = given label, column = the class that they confidently are. Off the diagonal are
            the candidates for label errors. Clips that are confidently of no class are in none.
        thresholds: (K,) the self-confidence of each class: mean probability of k over the clips labelled k. NaN for a
            class without clips, of which no clip is confidently.
        guess: (N,) the class that each clip confidently is; -1 for none.
    """

    counts: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]
    guess: npt.NDArray[np.int64]


def confident_joint(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> ConfidentJoint:
    """The confident joint of given labels and classes (Northcutt, Jiang and Chuang, JAIR 2021), uncalibrated.

    A clip is confidently of class k when its probability of k is at least the mean self-confidence of k. Such a
    threshold of its own for each class lets a network be less sure of rare or difficult ones. Where several classes
    qualify it is the most probable class of all, as in the library cleanlab (the paper takes the most probable of
    those that qualify).

    Args:
        labels: (N,) given labels in [0, K).
        probabilities: (N, K), of a model that has not been trained on these clips.

    Raises:
        MgkitError: shapes that disagree, a label outside the classes, or a probability that is not finite.
    """
    given, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    if p.ndim != 2 or given.shape != (len(p),) or not len(p) or given.dtype.kind not in "iu":
        raise MgkitError(
            f"labels of shape {given.shape} and probabilities of shape {p.shape} do not go together."
        )
    count = p.shape[1]
    if given.min() < 0 or given.max() >= count:
        raise MgkitError(f"a label is outside 0 to {count - 1}.")
    if not np.isfinite(p).all():
        raise MgkitError(f"the probabilities of row {int((~np.isfinite(p).all(1)).argmax())} are not finite.")
    clips = np.bincount(given, minlength=count)
    own = p[np.arange(len(p)), given]
    with np.errstate(invalid="ignore"):
        thresholds = np.maximum(np.bincount(given, own, minlength=count) / clips, LOWEST)
    confident = p >= np.where(clips > 0, thresholds, np.inf) - SAME
    how_many = confident.sum(1)
    guess = np.where(how_many > 1, p.argmax(1), confident.argmax(1))
    guess[how_many == 0] = -1
    known = guess >= 0
    counts = np.bincount(given[known] * count + guess[known], minlength=count * count).reshape(count, count)
    return ConfidentJoint(counts, thresholds, guess.astype(np.int64))


def label_errors(run: Run | Predictions, split: str = "test", pathway: str | None = None) -> pd.DataFrame:
    """Clips of a split whose label is likely to be wrong, the likeliest first, by confident learning.

    A clip is listed when it is confidently of another class than its label (off the diagonal of `confident_joint`)
    and its label is not also the most probable class. This is what cleanlab's
    `find_label_issues(filter_by="confident_learning", return_indices_ranked_by="normalized_margin")` finds.

    The method rests on probabilities that are *out of sample*. Those of a test split are; those of the validation
    split nearly so (it chose the epoch). Those of the training split are not: a network repeats the labels it has
    learnt, wrong ones too, and few are found. To check the training clips, train on other folds and test on each.
    What is found is what the network is sure of against the label, which is either a wrong label or a mistake of the
    network: where classes are systematically confused the second is as likely, so look at each clip before changing
    anything. With few clips a class its threshold is uncertain. And test labels that were put right after looking
    at what a network says favour that network: report on the ones that were published.

    Args:
        run: a run, or predictions.
        split: the evaluated split of the run; not used with predictions.
        pathway: the output "rgb", "pose" or "fused"; by default fused, or the only one.

    Returns:
        One row a clip found: `clip_id`; `given` and `suggested` (class names); `probability_of_given`,
        `probability_of_suggested`; `margin` in [0, 0.5]: (probability_of_given - the highest of another class + 1) /
        2, rising, 0 = certainly another class. Empty, with these columns, when none is found.
    """
    predictions = run.predictions(split) if isinstance(run, Run) else run
    names, given = class_names(predictions), predictions.labels
    p = predictions.scores(pathway).astype(np.float64)
    guess = confident_joint(given, p).guess
    rows = np.arange(len(p))
    own = p[rows, given]
    rest = p.copy()
    rest[rows, given] = -np.inf
    rival = rest.max(1)
    found = np.flatnonzero((guess >= 0) & (guess != given) & (rival > own + SAME))
    table = pd.DataFrame(
        {
            "clip_id": np.array(predictions.clip_ids, dtype=object)[found],
            "given": names[given[found]],
            "suggested": names[guess[found]],
            "probability_of_given": own[found],
            "probability_of_suggested": p[found, guess[found]],
            "margin": (own[found] - rival[found] + 1) / 2,
        }
    )
    return table.sort_values(["margin", "clip_id"], ignore_index=True)
