"""Which clips lie between two classes, and which classes are taken for each other.

The clips to look at first for each class: those that stand for it, and those that it fails on most clearly.

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

Which clip to put beside a clip: the nearest one that was got right, or the one closest to the class prototype.

Clips whose label is likely to be wrong, by confident learning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Embeddings, Predictions, Run
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.views.analysis.decisions import view_variation, views_disagree


def entropy(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N,) entropy of each row of (N, K) probabilities in [0, 1]: -sum p log p / log K.

    0 = one class has it all, 1 = all classes alike. Dividing by log K lets data sets of different K be compared. With
    one class it is 0.
    """
    p = _rows_of_one(probabilities, "entropy")
    return -(p * _log(p)).sum(1) / np.log(max(p.shape[1], 2)) + 0.0  # never -0


def pathway_disagreement(rgb: npt.ArrayLike, pose: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N,) Jensen-Shannon divergence of two sets of (N, K) probabilities, to the base 2 (Lin, 1991).

    With m = (p + q) / 2 it is the mean of KL(p || m) and KL(q || m): 0 = the same probabilities, 1 = no class that
    both hold possible. Unlike KL it is symmetric, and finite where one pathway gives a class no chance at all. It
    asks how far the two are apart and not who is right; both may be sure, alike and wrong.

    Raises:
        MgkitError: the shapes differ, or a row is not of probabilities.
    """
    p, q = _rows_of_one(rgb, "disagreement"), _rows_of_one(pose, "disagreement")
    if p.shape != q.shape:
        raise MgkitError(f"probabilities of shapes {p.shape} and {q.shape} do not go together.")
    middle = _log((p + q) / 2)
    found = (p * (_log(p) - middle) + q * (_log(q) - middle)).sum(1) / (2 * np.log(2))
    return np.clip(found, 0, 1)


def ambiguous(
    run: Run | Predictions, split: str = "test", pathway: str | None = None, *, class_name: str | None = None
) -> pd.DataFrame:
    """Clips of a split, the most ambiguous first.

    Args:
        run: a run, or predictions.
        split: the evaluated split of the run; not used with predictions.
        pathway: the output "rgb", "pose" or "fused" that decides; by default fused, or the only one.
        class_name: only the TP, FN and FP clips of this class.

    Returns:
        One row a clip:
        `clip_id`, `true`, `predicted` (class names);
        `role`: with `class_name` the clip's part for that class. Without it, for its own class: TP or FN; an FN clip
        is at the same time an FP of `predicted`;
        `confused_with`: the most probable class besides the true one, and its `confused_probability`;
        `true_probability`; `entropy` in [0, 1] (1 = all classes alike), see `entropy`;
        `margin_<pathway>`: cosine distance to the nearest other prototype minus that to the own one, in [-2, 2]:
        negative = nearer to another class; NaN without prototypes. `margin` is their mean over the pathways that
        `pathway` rests on;
        `disagreement` in [0, 1]: Jensen-Shannon divergence of the RGB and the pose probabilities, see
        `pathway_disagreement` (NaN with one pathway), and `disagree`: whether their predictions differ;
        `ambiguity` in [0, 1]: the mean of 1 - |true_probability - confused_probability| and, where there are
        prototypes, 1 - |other - own| / (other + own); 1 = right between two classes. It does not ask who is right:
        a clip that is confidently wrong is not ambiguous but hard, and is found by sorting by `margin`.
        `view_variation` and `views_disagree`, both in [0, 1]: how much the answer varies over the test views of a clip,
        see the functions of these names. NaN of predictions without a run, and of a run tested with one view.
    """
    predictions = run.predictions(split) if isinstance(run, Run) else run
    output = predictions.best if pathway is None else pathway
    scores, said = predictions.scores(output), predictions.predicted(output)
    names = class_names(predictions)
    rows = np.arange(len(predictions))
    rest = scores.copy()
    rest[rows, predictions.labels] = -1
    rival = rest.argmax(1)
    true_probability, rival_probability = scores[rows, predictions.labels], scores[rows, rival]

    table: dict[str, Any] = {
        "clip_id": predictions.clip_ids,
        "true": names[predictions.labels],
        "predicted": names[said],
        "role": np.where(said == predictions.labels, "TP", "FN"),
        "confused_with": names[rival],
        "true_probability": true_probability,
        "confused_probability": rival_probability,
        "entropy": entropy(scores),
    }
    margins, ratios = [], []
    for name in predictions.own:
        own, other = predictions.own[name], predictions.other.get(name)
        if other is None:
            continue
        table[f"margin_{name}"] = other - own
        if output in (name, "fused"):
            margins.append(other - own)
            ratios.append(1 - np.abs(other - own) / np.maximum(other + own, 1e-6))
    table["margin"] = known_mean(margins, len(rows))
    if {"rgb", "pose"} <= set(predictions.outputs):
        rgb, pose = predictions.scores("rgb"), predictions.scores("pose")
        table["disagreement"] = pathway_disagreement(rgb, pose)
        table["disagree"] = rgb.argmax(1) != pose.argmax(1)
    else:
        table["disagreement"], table["disagree"] = np.nan, False
    table["view_variation"] = table["views_disagree"] = np.nan
    if isinstance(run, Run) and run.has_view_scores(split):
        by_view = run.view_scores(split).select(predictions.clip_ids).scores(output)
        table["view_variation"], table["views_disagree"] = view_variation(by_view), views_disagree(by_view)
    between = 1 - np.abs(true_probability - rival_probability)
    table["ambiguity"] = known_mean([between, known_mean(ratios, len(rows))], len(rows))
    frame = pd.DataFrame(table)
    if class_name is not None:
        frame["role"] = predictions.kinds(output, class_index(predictions, class_name))
        frame = frame[frame["role"] != "TN"]
    return frame.sort_values(["ambiguity", "clip_id"], ascending=[False, True], ignore_index=True)


def confusions(predictions: Predictions, k: int = 10, pathway: str | None = None) -> pd.DataFrame:
    """The k most frequent confusions (fewer if there are fewer), by clips, then by share.

    Returns:
        `true`, `predicted` (class names), `clips` taken so, `support` (clips of the true class), `share` =
        clips / support, and `reverse`, the clips taken the other way round.
    """
    counts = confusion_matrix(predictions.labels, predictions.predicted(pathway), predictions.class_count)
    names, support = class_names(predictions), counts.sum(1)
    off = counts.copy()
    np.fill_diagonal(off, 0)
    true, said = np.nonzero(off)
    table = pd.DataFrame(
        {
            "true": names[true],
            "predicted": names[said],
            "clips": off[true, said],
            "support": support[true],
            "share": off[true, said] / support[true],
            "reverse": off[said, true],
        }
    )
    table = table.sort_values(["clips", "share"], ascending=False, kind="stable")
    return table.head(k).reset_index(drop=True)


def _rows_of_one(probabilities: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    """Probabilities in float64, each row scaled to sum to 1 exactly: stored ones do within 1e-3."""
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.shape[1]:
        raise MgkitError(f"{what} needs probabilities of shape (clips, classes); got {p.shape}.")
    wrong = ~(np.abs(p.sum(1) - 1) <= 1e-3) | ~(p >= -1e-6).all(1)
    if wrong.any():
        raise MgkitError(
            f"{what}: row {int(wrong.argmax())} is not of probabilities that sum to 1; of logits take the softmax."
        )
    p = np.clip(p, 0, None)
    return p / p.sum(1, keepdims=True)


def _log(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logarithm that is finite at 0, where it is only ever multiplied by 0."""
    return np.log(np.where(p > 0, p, 1))


def class_names(predictions: Predictions) -> npt.NDArray[np.object_]:
    """K names; "0", "1", ... where the predictions know none."""
    if predictions.classes is not None:
        return np.array(predictions.classes.names, dtype=object)
    return np.array([str(k) for k in range(predictions.class_count)], dtype=object)


def class_index(predictions: Predictions, class_name: str) -> int:
    """The label of a class; an unknown name raises a `MgkitError` that lists the names there are."""
    if predictions.classes is not None:
        return predictions.classes.index(class_name)
    names = class_names(predictions).tolist()
    if class_name not in names:
        raise MgkitError(
            f"there is no class {class_name!r}; the classes have no names and are {some(names)}."
        )
    return names.index(class_name)


def known_mean(columns: list[npt.NDArray[Any]], rows: int) -> npt.NDArray[np.float64]:
    """Mean of the values that are there; NaN where there is none."""
    if not columns:
        return np.full(rows, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without any value
        return np.nanmean(np.stack(columns).astype(np.float64), axis=0)


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


class Neighbour(NamedTuple):
    """A clip, and its cosine distance in [0, 2] (mean over pathways) from what it was compared with."""

    clip_id: str
    distance: float


def nearest_correct(
    predictions: Predictions, embeddings: Embeddings, clip_id: str, pathway: str | None = None
) -> Neighbour:
    """The clip of the same true class that was classified correctly and lies nearest in the embedding.

    Args:
        predictions: of the split that the clip is in, `run.predictions(split)`.
        embeddings: of the same split, `run.embeddings(split)`.
        clip_id: whose neighbour; never its own.
        pathway: the output "rgb", "pose" or "fused" that decides what is correct and whose embedding counts (for
            "fused" the mean distance over the pathways); by default fused, or the only one.

    Raises:
        MgkitError: an unknown clip, or no other clip of its class was classified correctly.
    """
    if clip_id not in predictions.clip_ids:
        raise MgkitError(f"the predictions have no clip {clip_id!r}.")
    at = predictions.clip_ids.index(clip_id)
    found = predictions.correct(pathway) & (predictions.labels == predictions.labels[at])
    found[at] = False
    if not found.any():
        raise MgkitError(f"no other clip of {_name(predictions, at)} is classified correctly.")
    output = predictions.best if pathway is None else pathway
    ids = [predictions.clip_ids[row] for row in (at, *np.flatnonzero(found).tolist())]
    distance = _distances(embeddings.select(ids), output)
    best = int(distance.argmin())
    return Neighbour(ids[1 + best], float(distance[best]))


def exemplar(predictions: Predictions, clip_id: str, pathway: str | None = None) -> Neighbour:
    """The true positive closest to the prototype of a clip's true class, that clip itself left out.

    Args:
        predictions: with distances to prototypes.
        clip_id: a clip of the class.
        pathway: as in `nearest_correct`.

    Raises:
        MgkitError: an unknown clip, no distances to prototypes, or no other true positive with a known distance.
    """
    if clip_id not in predictions.clip_ids:
        raise MgkitError(f"the predictions have no clip {clip_id!r}.")
    at = predictions.clip_ids.index(clip_id)
    output = predictions.best if pathway is None else pathway
    distance = own_distance(predictions, output)
    if distance is None:
        raise MgkitError("the run has no distances to prototypes: train it with prototypical refinement.")
    found = predictions.kinds(output, int(predictions.labels[at])) == "TP"
    found &= np.isfinite(distance)
    found[at] = False
    if not found.any():
        raise MgkitError(f"no other clip of {_name(predictions, at)} is classified correctly.")
    best = int(np.where(found, distance, np.inf).argmin())
    return Neighbour(predictions.clip_ids[best], float(distance[best]))


def own_distance(predictions: Predictions, output: str) -> npt.NDArray[np.float64] | None:
    """(N,) cosine distance in [0, 2] of each clip to the prototype of its true class.

    For "fused" it is the mean over the pathways that have that prototype. NaN where none does; None when the run has
    no prototypes at all.
    """
    own = [values for name, values in predictions.own.items() if output in (name, "fused")]
    return known_mean(own, len(predictions)) if own else None


def _name(predictions: Predictions, at: int) -> str:
    label = int(predictions.labels[at])
    return repr(predictions.classes.names[label]) if predictions.classes else f"class {label}"


def _distances(embeddings: Embeddings, output: str) -> npt.NDArray[np.float64]:
    """(N - 1,) cosine distance of the first clip to each other one."""
    names = list(embeddings.vectors) if output == "fused" else [output]
    found = []
    for name in names:
        vectors = embeddings.of(name).astype(np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        found.append(1 - unit[1:] @ unit[0])
    return np.mean(found, axis=0)


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
