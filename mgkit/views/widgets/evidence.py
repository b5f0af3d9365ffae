"""What a run says about one clip, and where the clip comes from, as plain values for a page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mgkit.data.clips import Clips
from mgkit.results.runs import Predictions
from mgkit.views.figures.style import OUTPUT_NAMES


def caption(clips: Clips, clip_id: str) -> dict[str, Any]:
    """`clip_id`, `true` (class name), `group`, `subject`, `split`, `source`, `start`, `end` (its frames there)."""
    row, classes = clips.row(clip_id), clips.classes
    label = int(row["label"])
    return {
        "clip_id": clip_id,
        "true": classes.names[label],
        "group": None if classes.groups is None else classes.groups[label],
        "subject": row["subject"],
        "split": row["split"],
        "source": row["source"],
        "start": int(row["start"]),
        "end": int(row["end"]),
    }


def verdict(
    predictions: Predictions, names: tuple[str, ...], clip_id: str, top: int = 5
) -> dict[str, Any] | None:
    """What each output says about a clip, or None where the split was tested without it.

    Returns:
        `output`: which one decides; `predicted`, `correct`: its class name and whether that is the true one;
        `outputs`: for each of rgb, pose, fused that is there `key`, `name`, `correct`, and `rows`: its `top` most
        probable classes, with the true class added where it is not among them, each `name`, `probability` in [0, 1],
        `rank` (from 1), `true`, `said`; `distances`: per pathway with prototypes `key`, `name`, `own`, `other`
        (cosine distances, None = prototype never seen).
    """
    if clip_id not in predictions.clip_ids:
        return None
    at = predictions.clip_ids.index(clip_id)
    label = int(predictions.labels[at])
    outputs: list[dict[str, Any]] = []
    for key in predictions.outputs:
        scores = predictions.scores(key)[at]
        order = np.argsort(-scores, kind="stable")  # as argmax: the lower class wins a tie
        rank = {int(k): i + 1 for i, k in enumerate(order)}
        shown = [int(k) for k in order[:top]]
        shown += [] if label in shown else [label]
        rows = [
            {
                "name": names[k], "probability": float(scores[k]), "rank": rank[k], "true": k == label,
                "said": rank[k] == 1,
            }
            for k in shown
        ]  # fmt: skip
        outputs.append({"key": key, "name": OUTPUT_NAMES[key], "correct": rank[label] == 1, "rows": rows})
    decides = next(output for output in outputs if output["key"] == predictions.best)
    distances = [
        {
            "key": key,
            "name": OUTPUT_NAMES[key],
            "own": _number(predictions.own[key][at]),
            "other": _number(predictions.other[key][at]) if key in predictions.other else None,
        }
        for key in predictions.own
    ]
    return {
        "output": OUTPUT_NAMES[predictions.best],
        "predicted": decides["rows"][0]["name"],
        "correct": decides["correct"],
        "outputs": outputs,
        "distances": distances,
    }


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
