"""Accuracy, F1 and confusion of predictions, and the table `evaluate` of a run.

One class may hold a third of the clips, so Top-1 is never reported alone: macro F1 and mean class accuracy weigh all
classes alike, and the always-majority row is the score of a constant answer.

Two rules hold throughout. A class without a clip in the evaluated split has no recall, hence no part in macro F1 and
mean class accuracy (clips wrongly taken for it still cost the class they belong to). A class that is never predicted
has precision 0 and F1 0.
"""

from __future__ import annotations

import html
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, counted, some
from mgkit.results.run.folder import Run, as_predictions, as_run, cautions
from mgkit.results.run.records import Predictions

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
WILSON = "Wilson, clips"  # the name of that interval in tables


class ResultTable(pd.DataFrame):
    """A DataFrame that prints all of its columns, folded to the width of the terminal; without rows it says so."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame  # what is made of it is a table like any other

    def __repr__(self) -> str:
        if not len(self):
            return f"nothing found (a table of {', '.join(map(str, self.columns))})"
        return str(
            self.to_string(
                line_width=max(80, shutil.get_terminal_size().columns),
                float_format=lambda value: f"{value:.3f}",
                na_rep="-",
                max_colwidth=40,
                max_rows=60,
                min_rows=20,
            )
        )

    def _repr_html_(self) -> str | None:
        if not len(self):
            return f"<p>{html.escape(repr(self))}</p>"
        return pd.DataFrame(self)._repr_html_()  # type: ignore[operator]


def top1(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Fraction in [0, 1] of clips whose predicted class (N,) is the true one (N,)."""
    true, answers = _pair(labels, predicted)
    return float((true == answers).mean())


def topk(labels: npt.ArrayLike, probabilities: npt.ArrayLike, k: int = 5) -> float:
    """Fraction of clips (N,) whose true class is among the k most probable of (N, K); lower indices win ties."""
    true, scores = np.asarray(labels), np.asarray(probabilities)
    if not len(true) or scores.ndim != 2 or len(true) != len(scores) or not 1 <= k <= scores.shape[1]:
        raise MgkitError(
            f"top-{k} of {counted(len(true), 'label')} and scores of shape {scores.shape} is not defined."
        )
    own = scores[np.arange(len(true)), true][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < true[:, None]))
    return float((before.sum(1) < k).mean())


def wilson(correct: Any, total: Any) -> tuple[Any, Any]:
    """95 % Wilson score interval of a proportion: (low, high) in [0, 1], NaN of no trials; of numbers or of arrays.

    Trials are taken as independent. Clips of one person are not, so the true interval is wider.

    >>> low, high = wilson(10, 20)
    >>> f"{low:.3f} {high:.3f}"
    '0.299 0.701'
    """
    from statsmodels.stats.proportion import proportion_confint

    hits, trials = np.asarray(correct), np.asarray(total)
    if (hits < 0).any() or (hits > trials).any():
        raise MgkitError(f"{correct} of {total} is not a proportion.")
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = proportion_confint(hits.astype(float), trials.astype(float), method="wilson")
    return (low, high) if trials.ndim else (float(low), float(high))


def confusion_matrix(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Ints:
    """(K, K) counts of clips: row = true class, column = predicted class."""
    true, answers = _pair(labels, predicted)
    if min(true.min(), answers.min()) < 0 or max(true.max(), answers.max()) >= classes:
        raise MgkitError(f"a label or a prediction is outside 0 to {classes - 1}.")
    return np.bincount(true * classes + answers, minlength=classes * classes).reshape(classes, classes)


def class_recall(support: npt.ArrayLike, correct: npt.ArrayLike) -> Doubles:
    """Recall of each class of (weighted) counts of clips, both (..., K); NaN without support."""
    there = np.asarray(support, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there > 0, np.asarray(correct) / there, np.nan)


def class_f1(support: npt.ArrayLike, predicted: npt.ArrayLike, correct: npt.ArrayLike) -> Doubles:
    """F1 of each class of (weighted) counts of clips, all (..., K); 0 if never predicted, NaN without support."""
    there = np.asarray(support, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there > 0, 2 * np.asarray(correct) / (there + np.asarray(predicted)), np.nan)


def class_mean(values: npt.ArrayLike) -> Doubles:
    """The mean of (..., K) over the classes that have clips: (...)."""
    return np.nanmean(np.asarray(values), axis=-1)


def per_class(
    labels: npt.ArrayLike | Run | Predictions | Path,
    predicted: npt.ArrayLike | None = None,
    classes: int | None = None,
    names: Sequence[str] | None = None,
    *,
    split: str = "test",
    output: str | None = None,
) -> pd.DataFrame:
    """One row per class in label order, absent classes included.

    Args:
        labels: (N,) true classes; or a run, its folder or predictions, which have all of the next three.
        predicted: (N,) predicted classes.
        classes: K.
        names: K class names; indices by default.
        split, output: of a run, the evaluated split and "rgb", "pose" or "fused" (by default the best).

    Returns:
        Columns `class`, `support` (clips of the class), `predicted` (clips taken for it), `correct`, `recall` with its
        95 % Wilson interval `recall_low`, `recall_high` (NaN without support), `precision` (0 when the class is never
        predicted; NaN when it is not there either) with its interval `precision_low`, `precision_high` (NaN when
        never predicted), and `f1` (0 when the class is never predicted; NaN without support).
    """
    if predicted is None and classes is None:
        given: Any = labels
        found = as_predictions(given, split)
        labels, predicted, classes = found.labels, found.predicted(output), found.class_count
        names = found.classes.names if found.classes is not None else names
    if predicted is None or classes is None:
        raise MgkitError("labels need predicted and classes next to them: pass all three, or a run.")
    counts = confusion_matrix(np.asarray(labels), predicted, classes)
    named = list(names) if names is not None else list(range(classes))
    return class_table(named, counts.sum(1), counts.sum(0), np.diag(counts))


def class_table(names: Sequence[Any], support: Ints, taken: Ints, correct: Ints) -> pd.DataFrame:
    """The table of `per_class` from counts (K,): clips of each class, clips taken for it, and rightly so."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where((taken == 0) & (support > 0), 0.0, correct / taken)
    recall_low, recall_high = wilson(correct, support)
    precision_low, precision_high = wilson(correct, taken)
    return ResultTable(
        {
            "class": list(names),
            "support": support,
            "predicted": taken,
            "correct": correct,
            "recall": class_recall(support, correct),
            "recall_low": recall_low,
            "recall_high": recall_high,
            "precision": precision,
            "precision_low": precision_low,
            "precision_high": precision_high,
            "f1": class_f1(support, taken, correct),
        }
    )


def macro_f1(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> float:
    """Mean F1 in [0, 1] over the classes that have clips."""
    counts = confusion_matrix(labels, predicted, classes)
    return float(class_mean(class_f1(counts.sum(1), counts.sum(0), np.diag(counts))))


def mean_class_accuracy(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> float:
    """Mean recall in [0, 1] over the classes that have clips (also called balanced or Mean-1 accuracy)."""
    counts = confusion_matrix(labels, predicted, classes)
    return float(class_mean(class_recall(counts.sum(1), np.diag(counts))))


def group_scores(probabilities: npt.ArrayLike, groups: Sequence[str]) -> tuple[tuple[str, ...], Doubles]:
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
    action). With one answer per clip the micro-F1 is the accuracy. Macro means are over the classes, or groups, that
    have clips.

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


def accuracies(labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> dict[str, Any]:
    """What every table shows of predictions (N,): `clips`, `top1` with its 95 % Wilson interval `top1_low`,
    `top1_high`, `macro_f1` and `mean_class_accuracy`."""
    true, answers = _pair(labels, predicted)
    low, high = wilson(int((true == answers).sum()), len(true))
    return {
        "clips": len(true),
        "top1": top1(true, answers),
        "top1_low": low,
        "top1_high": high,
        "macro_f1": macro_f1(true, answers, classes),
        "mean_class_accuracy": mean_class_accuracy(true, answers, classes),
    }


def evaluate(
    run: Run | Predictions | str | Path,
    split: str = "test",
    *,
    train_labels: npt.ArrayLike | None = None,
    baseline: Run | str | Path | None = None,
) -> pd.DataFrame:
    """The table to report: one row per output (rgb, pose, fused), one for always answering the majority class, and one
    for a baseline.

    With a background class (`prepare ... --background`) every row is there twice: over all classes, and "..., without
    non_gesture", over the labelled clips as if that class did not exist, which compares with a dataset's usual numbers.

    Args:
        run: a run, its folder, or predictions.
        split: the evaluated split of the run; not used with predictions.
        train_labels: (N,) labels that the majority class is taken from. By default those of the split that the
            run was trained on; without either there is no majority row.
        baseline: a run of `mg.baselines`, the floor, on the same clips and split; its row has its name.

    Raises:
        MgkitError: the run or the baseline has no predictions of the split, or the baseline has other classes or lacks
            some of the clips.

    Returns:
        Index `output`; columns `clips`, `top1` with its 95 % Wilson interval `top1_low`, `top1_high` (which takes clips
        as independent; for one over people see `mg.method_table`), `top5` (with more than five classes; for the
        majority row the five most frequent classes), `macro_f1`, `mean_class_accuracy`, all in [0, 1]. Means are over
        the classes that have clips in this split.
    """
    run = run if isinstance(run, Predictions) else as_run(run)
    predictions = as_predictions(run, split)
    labels, classes = predictions.labels, predictions.class_count
    scores = {name: predictions.scores(name) for name in predictions.outputs}

    # The always-majority row: the shares of the training classes stand for the probabilities of each clip.
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
    if baseline is not None:
        floor = as_run(baseline)
        scores[str(floor.recipe.get("baseline", floor.name))] = _on_clips_of(floor, split, predictions)

    rows = {name: _accuracies(labels, array) for name, array in scores.items()}
    background = None if predictions.classes is None else predictions.classes.background
    if predictions.classes is not None and background is not None and (labels != background).any():
        kept = np.flatnonzero(labels != background)
        true = labels[kept] - (labels[kept] > background)
        for name, array in scores.items():
            title = f"{name}, without {predictions.classes.names[background]}"
            # Dividing by the sum of the rest, as `without_background` does, changes no order.
            rows[title] = _accuracies(true, np.delete(array[kept], background, axis=1))
    columns = ["clips", "top1", "top1_low", "top1_high", "top5", "macro_f1", "mean_class_accuracy"]
    found = pd.DataFrame.from_dict(rows, orient="index")
    table = ResultTable(found[[name for name in columns if name in found]].astype({"clips": int}))
    table.index.name = "output"
    table.attrs |= {"top1_interval": WILSON, "caution": cautions([run]) if isinstance(run, Run) else ""}
    return table


def _accuracies(labels: Ints, scores: npt.NDArray[Any]) -> dict[str, Any]:
    """`accuracies` of scores (N, K), and `top5` of more than five classes."""
    row = accuracies(labels, scores.argmax(1), scores.shape[1])
    return row | ({"top5": topk(labels, scores, 5)} if scores.shape[1] > 5 else {})


def _on_clips_of(baseline: Run, split: str, predictions: Predictions) -> npt.NDArray[np.float32]:
    """(N, K) scores of a baseline, in the order of the clips of other predictions."""
    found = baseline.predictions(split)
    names = None if predictions.classes is None else predictions.classes.names
    if found.class_count != predictions.class_count or (
        names is not None and names != baseline.classes.names
    ):
        raise MgkitError(f"the baseline {baseline.root} has other classes: train it on the clips of the run.")
    lacking = [clip_id for clip_id in predictions.clip_ids if clip_id not in found]
    if lacking:
        raise MgkitError(
            f"the baseline {baseline.root} lacks {len(lacking)} of {counted(len(predictions), 'clip')} "
            f"({some(lacking, 3)}): train it on the clips and the split table of the run."
        )
    return found.select(predictions.clip_ids).scores()


def _pair(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Ints, Ints]:
    true, answers = np.asarray(labels), np.asarray(predicted)
    if true.ndim != 1 or true.shape != answers.shape or not len(true):
        raise MgkitError(
            f"labels of shape {true.shape} and predictions of shape {answers.shape} do not go together."
        )
    return true.astype(np.int64), answers.astype(np.int64)
