"""Which clips lie between two classes, and which classes are taken for each other."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.results.metrics import confusion_matrix
from mgkit.results.runs import Predictions, Run


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
        `true_probability`; `entropy` in [0, 1] (1 = all classes alike);
        `margin_<pathway>`: cosine distance to the nearest other prototype minus that to the own one, in [-2, 2]:
        negative = nearer to another class; NaN without prototypes. `margin` is their mean over the pathways that
        `pathway` rests on;
        `disagreement` in [0, 1]: total variation between the RGB and the pose probabilities (NaN with one pathway),
        and `disagree`: whether their predictions differ;
        `ambiguity` in [0, 1]: the mean of 1 - |true_probability - confused_probability| and, where there are
        prototypes, 1 - |other - own| / (other + own); 1 = right between two classes. It does not ask who is right:
        a clip that is confidently wrong is not ambiguous but hard, and is found by sorting by `margin`.
    """
    predictions = run.predictions(split) if isinstance(run, Run) else run
    output = predictions.best if pathway is None else pathway
    scores, said = predictions.scores(output), predictions.predicted(output)
    classes = predictions.class_count
    names = _names(predictions)
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
        "entropy": -(scores * np.log(np.clip(scores, 1e-12, 1))).sum(1) / np.log(max(classes, 2)),
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
    table["margin"] = _mean(margins, len(rows))
    if {"rgb", "pose"} <= set(predictions.outputs):
        rgb, pose = predictions.scores("rgb"), predictions.scores("pose")
        table["disagreement"] = np.abs(rgb - pose).sum(1) / 2
        table["disagree"] = rgb.argmax(1) != pose.argmax(1)
    else:
        table["disagreement"], table["disagree"] = np.nan, False
    between = 1 - np.abs(true_probability - rival_probability)
    table["ambiguity"] = _mean([between, _mean(ratios, len(rows))], len(rows))
    frame = pd.DataFrame(table)
    if class_name is not None:
        index = list(names).index(class_name) if class_name in names else -1
        if index < 0 and predictions.classes is not None:
            predictions.classes.index(class_name)  # raises, and lists the names there are
        frame["role"] = predictions.kinds(output, index)
        frame = frame[frame["role"] != "TN"]
    return frame.sort_values(["ambiguity", "clip_id"], ascending=[False, True], ignore_index=True)


def confusions(predictions: Predictions, k: int = 10, pathway: str | None = None) -> pd.DataFrame:
    """The k most frequent confusions (fewer if there are fewer), by clips, then by share.

    Returns:
        `true`, `predicted` (class names), `clips` taken so, `support` (clips of the true class), `share` =
        clips / support, and `reverse`, the clips taken the other way round.
    """
    counts = confusion_matrix(predictions.labels, predictions.predicted(pathway), predictions.class_count)
    names, support = _names(predictions), counts.sum(1)
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


def _names(predictions: Predictions) -> npt.NDArray[np.object_]:
    if predictions.classes is not None:
        return np.array(predictions.classes.names, dtype=object)
    return np.array([str(k) for k in range(predictions.class_count)], dtype=object)


def _mean(columns: list[npt.NDArray[Any]], rows: int) -> npt.NDArray[np.float64]:
    """Mean of the values that are there; NaN where there is none."""
    if not columns:
        return np.full(rows, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row without any value
        return np.nanmean(np.stack(columns).astype(np.float64), axis=0)
