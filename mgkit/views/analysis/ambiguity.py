"""Which clips lie between two classes, and which classes are taken for each other."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, some
from mgkit.results.metrics import confusion_matrix
from mgkit.results.runs import Predictions, Run
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
