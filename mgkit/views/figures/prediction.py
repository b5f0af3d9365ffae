"""What a run says of one new clip, on paper: its frames, the most probable classes and the nearest prototypes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError, counted
from mgkit.notebook import blurs_faces
from mgkit.results.run.records import OUTPUTS, PATHWAYS, percent
from mgkit.results.scores.prediction import Prediction
from mgkit.views.figures.clips import frames_row
from mgkit.views.figures.style import (
    BAR_COLOURS,
    LEAST,
    OUTPUT_COLOURS,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    axes_at,
    fit_names,
    in_style,
    new_figure,
    text_at,
    width_of,
)

MARKS = {"rgb": "o", "pose": "D"}


@in_style
def prediction(
    prediction: Prediction,
    row: int = 0,
    *,
    classes: int = 6,
    frames: int = 6,
    skeleton: bool = True,
    blur_faces: bool | None = None,
    axes: object = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Frames of a clip with its skeleton, its most probable classes, and how far it is from their prototypes.

    Args:
        prediction: of `mg.predict`; one that was loaded from a file has no frames to draw.
        row: the window of a long video, 0 is the first.
        classes: how many classes are drawn, the most probable of the best output first.
        frames: how many pictures, evenly spaced; 0 = none.
        skeleton: draw the key-points.
        blur_faces: blur heads, see docs/faces.md; by default as `mg.set_up_notebook` was told, else not.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data has one row per class, the most probable first: `class`, the probability of each output
        (`rgb`, `pose`, `fused`), and the cosine distance to its prototype (`rgb_distance`, ...), NaN where it has none.
    """
    if not 0 <= row < len(prediction):
        raise MgkitError(
            f"row is {row}: the prediction of {prediction.name} has {counted(len(prediction), 'window')}, from 0."
        )
    if classes < 1 or frames < 0:
        raise MgkitError(
            f"classes is {classes} and frames {frames}: draw at least one class, and 0 or more frames."
        )
    outputs = [name for name in OUTPUTS if name in prediction.probabilities]
    order = np.argsort(-prediction.scores()[row], kind="stable")
    data = pd.DataFrame({"class": [prediction.classes.names[k] for k in order]})
    for name in outputs:
        data[name] = prediction.probabilities[name][row][order]
    measured = [name for name in PATHWAYS if name in prediction.prototypes]
    for name in measured:
        data[f"{name}_distance"] = prediction.distances(name)[row][order]

    # Pictures on top; below them bars beside their classes, and distances on the same lines.
    width = 72 * width_of(venue, columns)
    shown = data.head(classes)
    drawn = frames if prediction.footage is not None else 0
    clips = prediction.clips([row]) if drawn else None
    line = 6.0 + 3.2 * len(outputs)  # points of a class
    body, foot, head = line * len(shown), 24.0, 12.0
    clip_id = prediction.clip_id(row)
    across = min(drawn, int(clips.row(clip_id)["frames"])) if clips is not None else 0
    gap = 2.5
    wide = min((width - gap * (across - 1)) / max(across, 1), 110.0)
    size = (0.0, 0.0)
    if clips is not None:
        picture = clips.row(clip_id)
        size = (wide, wide * picture["height"] / picture["width"] + LEAST + 5)
    figure = new_figure(width / 72, (size[1] + head + body + foot) / 72, constrained=False)
    blurred = clips is not None and blurs_faces(blur_faces)
    if clips is not None:
        heads = clips.heads(clip_id) if blurred else None
        frames_row(figure, clips, clip_id, across, (0, head + body + foot), size, gap, skeleton, heads)
    room = min(0.34 * width, 130.0)  # of the names
    half = (width - room) * (0.6 if measured else 1.0)
    bars = axes_at(figure, room, foot, half - (14 if measured else 8), body)
    places = np.arange(len(shown))
    tall = 0.8 / len(outputs)
    for i, name in enumerate(outputs):
        at = places + (i - (len(outputs) - 1) / 2) * tall
        bars.barh(at, shown[name], tall * 0.92, color=BAR_COLOURS[name], linewidth=0)
        if name == prediction.best:
            longest = shown[outputs].max(axis=1)
            for place, value, end in zip(at, shown[name], longest, strict=True):
                inside = end > 0.82
                bars.text(
                    value - 0.01 if inside else end + 0.01, place, percent(value), va="center",
                    ha="right" if inside else "left", fontsize=LEAST, color="#111111",
                )  # fmt: skip
    names = fit_names(list(shown["class"]), room - 8, SMALL)
    bars.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), xticks=[0, 0.25, 0.5, 0.75, 1.0])
    bars.set_xticklabels(["0", "25", "50", "75", "100"])
    bars.set_yticks(places, names)
    bars.tick_params(axis="y", length=0)
    text_at(figure, room + (half - 14) / 2, 3, "probability (%)", ha="center", va="bottom", fontsize=SMALL)
    x = room
    for name in outputs:
        text_at(
            figure, x, foot + body + 3, f"■ {OUTPUT_NAMES[name]}", color=OUTPUT_COLOURS[name], fontsize=LEAST
        )
        x += 12 + 4.2 * len(OUTPUT_NAMES[name])
    if measured:
        left = room + half + 4
        dots = axes_at(figure, left, foot, width - left - 6, body)
        most = float(np.nanmax([*(shown[f"{name}_distance"].max() for name in measured), 0.1]))
        for name in measured:
            dots.plot(
                shown[f"{name}_distance"], places, MARKS[name], ms=3.5, color=OUTPUT_COLOURS[name], mew=0, clip_on=False
            )  # fmt: skip
        dots.set(xlim=(0, 1.05 * most), ylim=(len(shown) - 0.5, -0.5), yticks=[])
        dots.spines["left"].set_visible(False)
        dots.hlines(places, 0, 1.05 * most, colors="#E2E2E2", linewidths=0.5, zorder=0)
        text_at(
            figure,
            left + (width - left - 6) / 2,
            3,
            "distance to prototype",
            ha="center",
            va="bottom",
            fontsize=SMALL,
        )
    note = f"{clip_id}: probabilities of the {len(shown)} most probable of {counted(len(data), 'class', 'classes')}"
    if measured:
        note += "; cosine distances to their prototypes, the lower the nearer"
    if frames and not drawn:
        note += "; loaded from a file, so without its frames"
    if blurred:
        note += "; faces are blurred"
    return PaperFigure(figure, data, note)
