"""Clips to look at: ambiguous ones, the best and worst of each class, a partner for an error, likely label errors.

Arguments that the functions share:
    run: a run, its folder, or its predictions.
    split: the evaluated split of the run; not used with predictions.
    pathway: the output "rgb", "pose" or "fused" that decides; by default fused, or the only one.
    class_name: only this class; by default every class.

`exemplars`, `hardest_fn` and `hardest_fp` return at most `n` rows per class with the columns `class`, `clip_id`,
`true`, `predicted` (class names), `probability` (of the predicted class), `probability_of_true` and `distance`, the
cosine distance in [0, 2] to the prototype of the true class (for the fused output the mean over pathways; NaN without a
prototype). Classes are in label order; equally ranked clips are sorted by id. Without any such clip the table is empty,
and prints that nothing was found.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Run, as_predictions, as_run
from mgkit.results.run.records import Embeddings, Predictions
from mgkit.results.stats.metrics import ResultTable, confusion_matrix
from mgkit.views.analysis.decisions import entropy, pathway_disagreement, view_variation, views_disagree

# As in cleanlab: probabilities closer than this are equal, and no threshold is so low that 0 reaches it.
SAME = 1e-6
LOWEST = 2 * SAME
Doubles = npt.NDArray[np.float64]


def ambiguous(
    run: Run | Predictions | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
) -> pd.DataFrame:
    """Clips of a split, the most ambiguous first; with `class_name` only its TP, FN and FP clips.

    Returns:
        One row per clip:
        `clip_id`, `true`, `predicted` (class names);
        `role`: with `class_name` the role of the clip for that class. Without it, for its own class: TP or FN; an FN
        clip is also an FP of `predicted`;
        `confused_with`: the most probable class other than the true one, and its `confused_probability`;
        `true_probability`; `entropy` in [0, 1] (1 = all classes equally likely), see `entropy`;
        `margin_<pathway>`: cosine distance to the nearest other prototype minus that to the clip's own, in [-2, 2]:
        negative = nearer to another class; NaN without prototypes. `margin` is their mean over the pathways that
        `pathway` rests on;
        `disagreement` in [0, 1]: Jensen-Shannon divergence of the RGB and the pose probabilities, see
        `pathway_disagreement` (NaN with one pathway), and `disagree`: whether their predictions differ;
        `view_variation` and `views_disagree`, both in [0, 1]: how much the prediction varies over the test views of a
        clip, see the functions of these names. NaN for predictions without a run, and for a run tested with one view;
        `ambiguity` in [0, 1]: the mean of 1 - |true_probability - confused_probability| and, where there are
        prototypes, 1 - |other - own| / (other + own); 1 = exactly between two classes. It does not ask who is right:
        a clip that is confidently wrong is not ambiguous but hard, and is found by sorting by `margin`.
    """
    predictions, output = _opened(run, split, pathway)
    scores, predicted = predictions.scores(output), predictions.predicted(output)
    names, rows = class_names(predictions), np.arange(len(predictions))
    rest = scores.copy()
    rest[rows, predictions.labels] = -1
    rival = rest.argmax(1)
    true_probability, rival_probability = scores[rows, predictions.labels], scores[rows, rival]

    table: dict[str, Any] = {
        "clip_id": predictions.clip_ids,
        "true": names[predictions.labels],
        "predicted": names[predicted],
        "role": np.where(predicted == predictions.labels, "TP", "FN"),
        "confused_with": names[rival],
        "true_probability": true_probability,
        "confused_probability": rival_probability,
        "entropy": entropy(scores),
    }
    # Prototypes: how much nearer the clip is to its own than to the nearest other one.
    margins, ratios = [], []
    for name in predictions.own:
        own, other = predictions.own[name], predictions.other.get(name)
        if other is None:
            continue
        table[f"margin_{name}"] = other - own
        if output in (name, "fused"):
            margins.append(other - own)
            ratios.append(1 - np.abs(other - own) / np.maximum(other + own, 1e-6))
    table["margin"] = _known_mean(margins, len(rows))

    # Pathways and views: whether they agree.
    table["disagreement"], table["disagree"] = np.nan, False
    if {"rgb", "pose"} <= set(predictions.outputs):
        rgb, pose = predictions.scores("rgb"), predictions.scores("pose")
        table["disagreement"] = pathway_disagreement(rgb, pose)
        table["disagree"] = rgb.argmax(1) != pose.argmax(1)
    table["view_variation"] = table["views_disagree"] = np.nan
    its = None if isinstance(run, Predictions) else as_run(run)
    if its is not None and its.has_view_scores(split):
        by_view = its.view_scores(split).select(predictions.clip_ids).scores(output)
        table["view_variation"], table["views_disagree"] = view_variation(by_view), views_disagree(by_view)

    between = 1 - np.abs(true_probability - rival_probability)
    table["ambiguity"] = _known_mean([between, _known_mean(ratios, len(rows))], len(rows))
    frame = pd.DataFrame(table)
    if class_name is not None:
        frame["role"] = predictions.kinds(output, class_index(predictions, class_name))
        frame = frame[frame["role"] != "TN"]
    return ResultTable(
        frame.sort_values(["ambiguity", "clip_id"], ascending=[False, True], ignore_index=True)
    )


def confusions(
    run: Run | Predictions | str | Path, k: int = 10, pathway: str | None = None, *, split: str = "test"
) -> pd.DataFrame:
    """The k most frequent confusions (fewer if there are fewer), by clips, then by share.

    Arguments: see the module.

    Returns:
        `true`, `predicted` (class names), `clips` confused this way, `support` (clips of the true class), `share` =
        clips / support, and `reverse`, the clips confused the other way round.
    """
    predictions, output = _opened(run, split, pathway)
    counts = confusion_matrix(predictions.labels, predictions.predicted(output), predictions.class_count)
    names, support = class_names(predictions), counts.sum(1)
    off = counts.copy()
    np.fill_diagonal(off, 0)
    true, predicted = np.nonzero(off)
    table = pd.DataFrame(
        {
            "true": names[true],
            "predicted": names[predicted],
            "clips": off[true, predicted],
            "support": support[true],
            "share": off[true, predicted] / support[true],
            "reverse": off[predicted, true],
        }
    )
    table = table.sort_values(["clips", "share"], ascending=False, kind="stable")
    return ResultTable(table.head(k).reset_index(drop=True))


# ---------------------------------------------------------------------------------------------------------------------
# The best and the worst of each class


def exemplars(
    run: Run | Predictions | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
    n: int = 5,
) -> pd.DataFrame:
    """The true positives of each class closest to its prototype, the closest first: what the network takes it to be.

    A class without a prototype has none. Columns and arguments: see the module.

    Raises:
        MgkitError: the run has no prototypes.
    """
    predictions, output = _opened(run, split, pathway)
    distance = _needed_distance(predictions, output)
    return _ranked(predictions, output, "TP", distance, class_name, n, unranked=False)


def hardest_fn(
    run: Run | Predictions | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
    n: int = 5,
    by: str = "confidence",
) -> pd.DataFrame:
    """The most clearly missed clips of each class.

    Columns and the other arguments: see the module.

    Args:
        by: "confidence": highest probability of the wrong prediction first; "distance": farthest from the prototype
            of their own class first, and clips without a known distance last. The first finds what the classifier is
            certain of, the second what does not look like its class; label errors are often both.

    Raises:
        MgkitError: another `by`, or by distance in a run without prototypes.
    """
    predictions, output = _opened(run, split, pathway)
    if by not in ("confidence", "distance"):
        raise MgkitError(f"clips cannot be ranked by {by!r}: use 'confidence' or 'distance'.")
    rank = predictions.scores(output).max(1) if by == "confidence" else _needed_distance(predictions, output)
    return _ranked(predictions, output, "FN", -rank.astype(np.float64), class_name, n)


def hardest_fp(
    run: Run | Predictions | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    class_name: str | None = None,
    n: int = 5,
) -> pd.DataFrame:
    """The clips of other classes taken for each class with the highest probability, the highest first.

    `distance` is to the prototype of their true class, not of the one that they were taken for. Columns and
    arguments: see the module.
    """
    predictions, output = _opened(run, split, pathway)
    rank = predictions.scores(output).max(1).astype(np.float64)
    return _ranked(predictions, output, "FP", -rank, class_name, n)


def _ranked(
    predictions: Predictions,
    output: str,
    kind: str,
    order: Doubles,
    class_name: str | None,
    n: int,
    *,
    unranked: bool = True,
) -> pd.DataFrame:
    """The first n clips of a kind in rising order; those ranked NaN come last, or are left out."""
    if n < 0:
        raise MgkitError(f"n is {n}: the number of clips must be at least 0.")
    scores, predicted = predictions.scores(output), predictions.predicted(output)
    names, ids = class_names(predictions), np.array(predictions.clip_ids, dtype=object)
    wanted = range(predictions.class_count) if class_name is None else [class_index(predictions, class_name)]
    distance = _own_distance(predictions, output)
    groups = []
    for k in wanted:
        rows = np.flatnonzero(predictions.kinds(output, k) == kind)
        if not unranked:
            rows = rows[np.isfinite(order[rows])]
        groups.append(rows[np.lexsort((ids[rows].astype(str), order[rows]))][:n])
    at = np.concatenate(groups)
    return ResultTable(
        {
            "class": names[np.repeat(list(wanted), [len(group) for group in groups])],
            "clip_id": ids[at],
            "true": names[predictions.labels[at]],
            "predicted": names[predicted[at]],
            "probability": scores[at, predicted[at]],
            "probability_of_true": scores[at, predictions.labels[at]],
            "distance": np.full(len(at), np.nan) if distance is None else distance[at],
        }
    )


# ---------------------------------------------------------------------------------------------------------------------
# A clip to compare another one with


class Neighbour(NamedTuple):
    """A clip, and its cosine distance in [0, 2] (mean over pathways) from what it was compared with."""

    clip_id: str
    distance: float


def nearest_correct(
    run: Run | Predictions | str | Path,
    clip_id: str,
    pathway: str | None = None,
    *,
    split: str = "test",
    embeddings: Embeddings | None = None,
) -> Neighbour:
    """The correctly classified clip of the same true class that is nearest in the embedding.

    Args:
        run: a run, its folder, or its predictions together with `embeddings`.
        clip_id: the clip whose neighbour is wanted; it is never its own.
        pathway: the output "rgb", "pose" or "fused" that decides what is correct and whose embedding counts (for
            "fused" the mean distance over the pathways); by default fused, or the only one.
        split: the evaluated split of the run that the clip is in; not used with predictions.
        embeddings: those of the clips; by default the run's.

    Raises:
        MgkitError: an unknown clip, no other clip of its class was classified correctly, or no embeddings.
    """
    predictions, output = _opened(run, split, pathway)
    if embeddings is None:
        if isinstance(run, Predictions):
            raise MgkitError(
                "predictions have no embeddings: pass the run, or embeddings=run.embeddings(split)."
            )
        embeddings = as_run(run).embeddings(split)
    at, others = _correct_others(predictions, clip_id, output)
    chosen = embeddings.select([clip_id, *(predictions.clip_ids[row] for row in others)])
    found = []
    for name in list(chosen.vectors) if output == "fused" else [output]:
        vectors = chosen.of(name).astype(np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found.append(1 - unit[1:] @ unit[0])
    return _closest(predictions, at, others, np.mean(found, axis=0))


def exemplar(
    run: Run | Predictions | str | Path, clip_id: str, pathway: str | None = None, *, split: str = "test"
) -> Neighbour:
    """The true positive closest to the prototype of a clip's true class, excluding that clip.

    Args:
        run: a run, its folder, or its predictions, with distances to prototypes.
        clip_id: a clip of the class.
        pathway: as in `nearest_correct`.
        split: the evaluated split of the run; not used with predictions.

    Raises:
        MgkitError: an unknown clip, no distances to prototypes, or no other true positive with a known distance.
    """
    predictions, output = _opened(run, split, pathway)
    at, others = _correct_others(predictions, clip_id, output)
    distance = _needed_distance(predictions, output)[others]
    known = np.isfinite(distance)
    return _closest(predictions, at, others[known], distance[known])


def _correct_others(predictions: Predictions, clip_id: str, output: str) -> tuple[int, npt.NDArray[np.int64]]:
    """The row of a clip, and those of the other clips of its class that were classified correctly."""
    if clip_id not in predictions.clip_ids:
        raise MgkitError(f"the predictions have no clip {clip_id!r}.")
    at = predictions.clip_ids.index(clip_id)
    found = predictions.correct(output) & (predictions.labels == predictions.labels[at])
    found[at] = False
    return at, np.flatnonzero(found)


def _closest(
    predictions: Predictions, at: int, others: npt.NDArray[np.int64], distance: Doubles
) -> Neighbour:
    if not len(others):
        name = class_names(predictions)[predictions.labels[at]]
        raise MgkitError(f"no other clip of {name!r} is classified correctly.")
    best = int(distance.argmin())
    return Neighbour(predictions.clip_ids[others[best]], float(distance[best]))


# ---------------------------------------------------------------------------------------------------------------------
# Likely label errors, by confident learning


@dataclass(frozen=True, eq=False)
class ConfidentJoint:
    """Number of clips of each given label that are confidently of each class.

    Attributes:
        counts: (K, K) clips; row = given label, column = the class that they confidently are. Off the diagonal are
            the candidates for label errors. Clips that are confidently of no class are not counted.
        thresholds: (K,) the self-confidence of each class: mean probability of k over the clips labelled k. NaN for a
            class without clips; no clip is confidently of it.
        guess: (N,) the class that each clip confidently is; -1 for none.
    """

    counts: npt.NDArray[np.int64]
    thresholds: Doubles
    guess: npt.NDArray[np.int64]


def confident_joint(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> ConfidentJoint:
    """The confident joint of given labels and classes (Northcutt, Jiang and Chuang, JAIR 2021), uncalibrated.

    A clip is confidently of class k when its probability of k is at least the mean self-confidence of k. A separate
    threshold for each class allows a network to be less certain of rare or difficult ones. Where several classes
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
    qualified = confident.sum(1)
    guess = np.where(qualified > 1, p.argmax(1), confident.argmax(1))
    guess[qualified == 0] = -1
    known = guess >= 0
    counts = np.bincount(given[known] * count + guess[known], minlength=count * count).reshape(count, count)
    return ConfidentJoint(counts, thresholds, guess.astype(np.int64))


def label_errors(
    run: Run | Predictions | str | Path, split: str = "test", pathway: str | None = None
) -> pd.DataFrame:
    """Clips of a split whose label is likely to be wrong, the most likely first, by confident learning.

    A clip is listed if it is confidently of another class than its label (off the diagonal of `confident_joint`)
    and its label is not also the most probable class. This is what cleanlab's
    `find_label_issues(filter_by="confident_learning", return_indices_ranked_by="normalized_margin")` finds.

    The method needs *out-of-sample* probabilities. Those of a test split are; those of the validation split nearly so
    (it chose the epoch). Those of the training split are not: a network repeats the labels it has learnt, wrong ones
    too, and few are found. To check the training clips, train on other folds and test on each. A listed clip has
    either a wrong label or was misclassified; for classes that are systematically confused the second is as likely, so
    look at each clip before changing anything. With few clips per class the thresholds are uncertain. Test labels that
    were corrected after looking at a network's predictions favour that network: report on the published ones.

    Returns:
        One row per clip found: `clip_id`; `given` and `suggested` (class names); `probability_of_given`,
        `probability_of_suggested`; `margin` in [0, 0.5]: (probability_of_given - the highest of another class + 1) /
        2, rising, 0 = certainly another class. Empty, with these columns, when none is found.
    """
    predictions, output = _opened(run, split, pathway)
    names, given = class_names(predictions), predictions.labels
    p = predictions.scores(output).astype(np.float64)
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
    return ResultTable(table.sort_values(["margin", "clip_id"], ignore_index=True))


# ---------------------------------------------------------------------------------------------------------------------
# What the sections share


def _opened(run: Run | Predictions | str | Path, split: str, pathway: str | None) -> tuple[Predictions, str]:
    predictions = as_predictions(run, split)
    return predictions, predictions.best if pathway is None else pathway


def class_names(predictions: Predictions) -> npt.NDArray[np.object_]:
    """K names; "0", "1", ... if the predictions have none."""
    known = predictions.classes
    names = [str(k) for k in range(predictions.class_count)] if known is None else known.names
    return np.array(names, dtype=object)


def class_index(predictions: Predictions, class_name: str) -> int:
    """The label of a class; an unknown name raises a `MgkitError` that lists the known ones."""
    if predictions.classes is not None:
        return predictions.classes.index(class_name)
    names = class_names(predictions).tolist()
    if class_name not in names:
        raise MgkitError(f"there is no class {class_name!r}: the classes have no names, only {some(names)}.")
    return names.index(class_name)


def _own_distance(predictions: Predictions, output: str) -> Doubles | None:
    """(N,) cosine distance in [0, 2] of each clip to the prototype of its true class.

    For "fused" it is the mean over the pathways that have that prototype. NaN where none does; None when the run has
    no prototypes at all.
    """
    own = [values for name, values in predictions.own.items() if output in (name, "fused")]
    return _known_mean(own, len(predictions)) if own else None


def _needed_distance(predictions: Predictions, output: str) -> Doubles:
    distance = _own_distance(predictions, output)
    if distance is None:
        raise MgkitError("the run has no distances to prototypes: train it with prototypical refinement.")
    return distance


def _known_mean(columns: list[npt.NDArray[Any]], rows: int) -> Doubles:
    """Row-wise mean of the finite values; NaN where there is none."""
    if not columns:
        return np.full(rows, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without any value
        return np.nanmean(np.stack(columns).astype(np.float64), axis=0)
