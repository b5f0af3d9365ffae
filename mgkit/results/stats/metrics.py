"""Numbers on predictions: pure functions of arrays, and one table a run.

One class may hold a third of the clips, so Top-1 is never reported alone: macro F1 and mean class accuracy weigh all
classes alike, and the always-majority row says what a constant answer would score.

Two rules hold throughout. A class without a clip in the evaluated split has no recall, hence no part in macro F1 and
mean class accuracy (clips wrongly taken for it still cost the class they belong to). A class that is never predicted
has precision 0 and F1 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Predictions, Run


def top1(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Fraction in [0, 1] of clips whose predicted class (N,) is the true one (N,)."""
    true, said = _pair(labels, predicted)
    return float((true == said).mean())


def topk(labels: npt.ArrayLike, probabilities: npt.ArrayLike, k: int = 5) -> float:
    """Fraction of clips (N,) whose true class is among the k most probable of (N, K); lower indices win ties."""
    true, scores = np.asarray(labels), np.asarray(probabilities)
    if not len(true) or scores.ndim != 2 or len(true) != len(scores) or not 1 <= k <= scores.shape[1]:
        raise MgkitError(f"top-{k} of {len(true)} labels and scores of shape {scores.shape} is not defined.")
    own = scores[np.arange(len(true)), true][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < true[:, None]))
    return float((before.sum(1) < k).mean())


def wilson(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion: (low, high) in [0, 1], (nan, nan) of no trials.

    Trials are taken as independent. Clips of one person are not, so the true interval is rather wider.

    >>> low, high = wilson(10, 20)
    >>> f"{low:.3f} {high:.3f}"
    '0.299 0.701'
    """
    if not 0 <= correct <= total:
        raise MgkitError(f"{correct} of {total} is not a proportion.")
    if total == 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> npt.NDArray[np.int64]:
    """(K, K) counts of clips: row = true class, column = predicted class."""
    true, said = _pair(labels, predicted)
    if true.min() < 0 or said.min() < 0 or max(true.max(), said.max()) >= classes:
        raise MgkitError(f"a label or a prediction is outside 0 to {classes - 1}.")
    return np.bincount(true * classes + said, minlength=classes * classes).reshape(classes, classes)


def per_class(
    labels: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: int,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row a class in label order, absent classes included.

    Args:
        labels: (N,) true classes.
        predicted: (N,) predicted classes.
        classes: K.
        names: K class names; indices by default.

    Returns:
        Columns `class`, `support` (clips of the class), `predicted` (clips taken for it), `correct`, `recall` with its
        95 % Wilson interval `recall_low`, `recall_high` (NaN without support), `precision` (0 when the class is never
        predicted; NaN when it is not there either) with its interval `precision_low`, `precision_high` (NaN when
        never predicted), and `f1` (0 when the class is never predicted; NaN without support).
    """
    counts = confusion_matrix(labels, predicted, classes)
    support, said, correct = counts.sum(1), counts.sum(0), np.diag(counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = correct / support
        precision = np.where((said == 0) & (support > 0), 0.0, correct / said)
        f1 = np.where(support == 0, np.nan, 2 * correct / (support + said))
    bounds = {
        name: np.array([wilson(int(hit), int(n)) for hit, n in zip(correct, total, strict=True)])
        for name, total in (("recall", support), ("precision", said))
    }
    return pd.DataFrame(
        {
            "class": list(names) if names is not None else np.arange(classes),
            "support": support,
            "predicted": said,
            "correct": correct,
            "recall": recall,
            "recall_low": bounds["recall"][:, 0],
            "recall_high": bounds["recall"][:, 1],
            "precision": precision,
            "precision_low": bounds["precision"][:, 0],
            "precision_high": bounds["precision"][:, 1],
            "f1": f1,
        }
    )


def macro_f1(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> float:
    """Mean F1 in [0, 1] over the classes that have clips."""
    return float(per_class(labels, predicted, classes)["f1"].mean())


def mean_class_accuracy(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> float:
    """Mean recall in [0, 1] over the classes that have clips (also called balanced or Mean-1 accuracy)."""
    return float(per_class(labels, predicted, classes)["recall"].mean())


def group_scores(
    probabilities: npt.ArrayLike, groups: Sequence[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Scores of coarse groups of classes: the sums of their classes' probabilities.

    Args:
        probabilities: (N, K).
        groups: K names, the group of each class.

    Returns:
        The G names in the order in which they first appear, and (N, G) scores.

    >>> names, scores = group_scores([[0.3, 0.25, 0.45]], ["hand", "hand", "head"])
    >>> names, scores.round(2).tolist()
    (('hand', 'head'), [[0.55, 0.45]])
    """
    scores, names = np.asarray(probabilities, np.float64), tuple(dict.fromkeys(groups))
    if scores.ndim != 2 or scores.shape[1] != len(groups):
        raise MgkitError(
            f"scores of shape {scores.shape} and groups of {len(groups)} classes do not go together."
        )
    member = np.array([[group == name for name in names] for group in groups], np.float64)  # (K, G)
    return names, scores @ member


def f1_mean(labels: npt.ArrayLike, probabilities: npt.ArrayLike, groups: Sequence[str]) -> float:
    """F1_mean of MA-52 (Guo et al., "Benchmarking Micro-action Recognition", 2024), in [0, 1]: the mean of four.

    Macro- and micro-F1 of the actions, and macro- and micro-F1 of the bodies, the coarse groups of actions. An action
    is the most probable class, a body the group with the largest sum of probabilities (which need not be that of the
    action). Of one answer a clip the micro-F1 is the accuracy. Macro means are over the classes, or groups, that have
    clips.

    Args:
        labels: (N,) true actions.
        probabilities: (N, K) of the actions.
        groups: K names, the body of each action (`classes.groups`).
    """
    scores = np.asarray(probabilities, np.float64)
    names, bodies = group_scores(scores, groups)
    true = np.asarray(labels, np.int64)
    body_of = np.array([names.index(group) for group in groups])
    if true.size and not 0 <= true.min() <= true.max() < len(groups):
        raise MgkitError(f"a label is outside 0 to {len(groups) - 1}.")
    pairs = ((true, scores.argmax(1), len(groups)), (body_of[true], bodies.argmax(1), len(names)))
    return float(np.mean([value for a, b, count in pairs for value in (macro_f1(a, b, count), top1(a, b))]))


def majority_baseline(train_labels: npt.ArrayLike, test_labels: npt.ArrayLike) -> float:
    """Top-1 of always answering the most frequent *training* class; the lower index wins a tie."""
    train, test = np.asarray(train_labels), np.asarray(test_labels)
    if not train.size or not test.size:
        raise MgkitError("the majority baseline needs training and test clips.")
    return float((test == np.bincount(train).argmax()).mean())


def evaluate(
    run: Run | Predictions, split: str = "test", *, train_labels: npt.ArrayLike | None = None
) -> pd.DataFrame:
    """The table to report: one row an output (rgb, pose, fused) and one for always answering the majority class.

    Args:
        run: a run, or predictions.
        split: the evaluated split of the run; not used with predictions.
        train_labels: (N,) labels that the majority class is taken from. By default those of the split that the
            run was trained on; where neither is known there is no majority row.

    Returns:
        Index `output`; columns `clips`, `top1`, `top1_low`, `top1_high` (95 % Wilson), `top5` (with more than five
        classes; for the majority row the five most frequent classes), `macro_f1`, `mean_class_accuracy`, all in
        [0, 1]. Means are over the classes that have clips in this split.
    """
    predictions = run.predictions(split) if isinstance(run, Run) else run
    labels, classes = predictions.labels, predictions.class_count
    scores = {name: predictions.scores(name) for name in predictions.outputs}
    counts = None
    if isinstance(run, Run):
        counts = run.class_counts(run.config.get("settings", {}).get("train_split") or "train")
    if train_labels is not None:
        counts = np.bincount(np.asarray(train_labels, np.int64), minlength=classes)
        if len(counts) != classes:
            raise MgkitError(
                f"train_labels has class {len(counts) - 1}; the predictions have {classes} classes."
            )
    if counts is not None and counts.sum():
        constant = (counts / counts.sum()).astype(np.float32)
        scores["majority"] = np.broadcast_to(constant, (len(labels), classes))
    rows = {}
    for name, array in scores.items():
        said = array.argmax(1)
        low, high = wilson(int((said == labels).sum()), len(labels))
        row = {"clips": len(labels), "top1": top1(labels, said), "top1_low": low, "top1_high": high}
        if classes > 5:
            row["top5"] = topk(labels, array, 5)
        table = per_class(labels, said, classes)
        row["macro_f1"], row["mean_class_accuracy"] = float(table["f1"].mean()), float(table["recall"].mean())
        rows[name] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "output"
    return table.astype({"clips": int})


def _pair(
    labels: npt.ArrayLike, predicted: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    true, said = np.asarray(labels), np.asarray(predicted)
    if true.ndim != 1 or true.shape != said.shape or not len(true):
        raise MgkitError(
            f"labels of shape {true.shape} and predictions of shape {said.shape} do not go together."
        )
    return true.astype(np.int64), said.astype(np.int64)
