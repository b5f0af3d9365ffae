"""The saliency of one clip as plain values for a page."""

from __future__ import annotations

from typing import Any

import numpy as np

from mgkit.results.runs import Run
from mgkit.results.saliency import Saliency
from mgkit.views.figures.saliency import scaled


def clip_saliency(run: Run, split: str, saliency: Saliency | None, clip_id: str) -> dict[str, Any]:
    """What a page draws of a clip's saliency.

    Returns:
        `{"empty": sentence}` where there is none. Else `target` (class name), and for each of "pose" and "rgb" that
        there is `frames` (sampled frames, each once, increasing), `values` (per frame one number a joint, or G x G
        parts of the picture row by row: 255 times what `scaled` gives) and `time` (per frame the sum of all its values,
        nats). `size` is G.
    """
    if saliency is None and run.scores_only:
        return {
            "empty": f"{run.name} was made of scores: it has no network whose decisions could be explained."
        }
    if saliency is None:
        return {
            "empty": f"Nothing of {run.name} is explained yet: run `mgkit explain {run.root} --split {split}`."
        }
    if clip_id not in saliency:
        command = f"mgkit explain {run.root} --split {split} --clip {clip_id}"
        return {"empty": f"Clip {clip_id} is not among the {len(saliency):,} explained: run `{command}`."}
    found = saliency.clip(clip_id)
    answer: dict[str, Any] = {"target": run.classes.names[found.target]}
    for name, values, frames in (
        ("pose", found.joints, found.pose_frames),
        ("rgb", found.maps, found.rgb_frames),
    ):
        if values is None or frames is None:
            continue
        flat = values.reshape(len(values), -1)
        answer[name] = {
            "frames": frames.tolist(),
            "values": np.rint(255 * scaled(flat)).astype(int).tolist(),
            "time": [round(float(value), 5) for value in flat.sum(1)],
        }
        if name == "rgb":
            answer[name]["size"] = int(values.shape[1])
    return answer
