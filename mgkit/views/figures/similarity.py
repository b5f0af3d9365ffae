"""Which prototypes lie close, and whether their classes are taken for each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mgkit.results.metrics import confusion_matrix
from mgkit.results.runs import Run
from mgkit.views.analysis.outcomes import class_order
from mgkit.views.analysis.prototypes import SimilarityConfusion, similarity_and_confusion
from mgkit.views.analysis.prototypes import prototype_similarity as similarity_of
from mgkit.views.figures.style import (
    GREY,
    LABEL,
    LEAST,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    fit_names,
    in_style,
    new_figure,
    ramp,
    text_width,
    width_of,
)

FEW = 12  # up to here the cells carry numbers
BESIDE = 20  # up to here matrix and scatter have room side by side


@in_style
def prototype_similarity(
    run: Run,
    pathway: str | None = None,
    *,
    split: str = "test",
    order: str = "groups",
    scatter: bool = True,
    generator: np.random.Generator | None = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Cosine similarity of the prototypes of a pathway, and beside it similarity against confusion, a point a pair.

    Args:
        run: a run with prototypes.
        pathway: "rgb" or "pose"; by default the first that has prototypes.
        split: an evaluated split, for the confusion and for the order.
        order: "groups", "cluster" or "given", the same as in `confusion` of this pathway.
        scatter: draw the pairs too, with Spearman's rho, its interval and p (`analysis.similarity_and_confusion`).
        generator: of the interval and p; by default one with seed 0, so that a rerun gives the same figure.
        venue: a key of `style.VENUES`.
        columns: 2 puts the scatter beside a matrix of up to 20 classes, 1 puts it below.

    Returns:
        The figure; its data has one row a pair of classes: `class_a`, `class_b`, `similarity` in [-1, 1] (NaN where
        one was never seen), `confusion` in [0, 1] and `clips` (NaN where the split has no clip of one).

    Raises:
        MgkitError: no prototypes, or an unknown split, pathway, order or venue.
    """
    if pathway is None:
        pathway = next(iter(run.prototypes().vectors))
    similarity, seen = similarity_of(run, pathway)
    predictions, classes = run.predictions(split), run.classes
    counts = confusion_matrix(predictions.labels, predictions.predicted(pathway), len(classes))
    generator = np.random.default_rng(0) if generator is None else generator
    related = similarity_and_confusion(similarity, counts, classes.names, generator)
    sequence = class_order(classes, counts, order)

    width = 72 * width_of(venue, columns)
    beside = scatter and columns == 2 and len(classes) <= BESIDE
    figure = _layout(
        similarity[np.ix_(sequence, sequence)], seen[sequence], [classes.names[k] for k in sequence],
        related if scatter else None, width, beside,
    )  # fmt: skip
    a, b = np.triu_indices(len(classes), 1)
    names = np.array(classes.names, dtype=object)
    data = pd.DataFrame({"class_a": names[a], "class_b": names[b], "similarity": similarity[a, b]})
    data = data.merge(related.pairs.drop(columns="similarity"), on=["class_a", "class_b"], how="left")
    note = f"cosine similarity of the {OUTPUT_NAMES[pathway]} prototypes"
    if scatter:
        note += (
            f"; confusion: mean of the two shares taken for the other, on {len(predictions)} clips of {split}; "
            f"Spearman's rho {_rho(related)}, interval by bootstrap over classes, p by a Mantel test"
        )
    if related.never_seen:
        note += f"; † never seen in training, no prototype: {', '.join(related.never_seen)}"
    if scatter and related.absent:
        note += f"; without a clip in {split}: {', '.join(related.absent)}"
    return PaperFigure(figure, data, note)


def _rho(related: SimilarityConfusion) -> str:
    if not np.isfinite(related.rho):
        return "not defined"
    told = f"= {related.rho:.2f}"
    if np.isfinite(related.low):
        told += f" [{related.low:.2f}, {related.high:.2f}]"
    return f"{told}, p {'< 0.001' if related.p < 0.001 else f'= {related.p:.3f}'}".replace("-", "−")


def _layout(
    values: npt.NDArray[np.float32],
    seen: npt.NDArray[np.bool_],
    names: list[str],
    related: SimilarityConfusion | None,
    width: float,
    beside: bool,
) -> Figure:
    """Everything is placed in points, so that cells are square and names fit at any number of classes."""
    count = len(names)
    size = SMALL if count <= FEW else LEAST
    panel = 0.56 * width if beside else width
    labels = [f"{i + 1}  {name}{'' if seen[i] else ' †'}" for i, name in enumerate(names)]
    needed = max(text_width(label, size) for label in labels)
    room = panel - 10
    names_width = min(needed, 0.42 * room)
    cell = min((room - names_width) / count, 34.0)
    names_width = min(needed, room - cell * count)
    row = max(cell, size + 0.6)
    plot, bar, below = row * count, 30.0, size + 6
    scatter_height = 0.0 if related is None or beside else min(150.0, 0.62 * width) + 48
    height = 5 + plot + below + bar + scatter_height
    if beside:
        height = max(height, 150.0)
    left, top = names_width + 5, height - 5
    figure = new_figure(width / 72, height / 72, constrained=False)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(0, height))
    page.axis("off")
    axes = figure.add_axes((left / width, (top - plot) / height, cell * count / width, plot / height))
    off = values[~np.eye(count, dtype=bool)]
    least = float(np.floor(10 * np.nanmin(off)) / 10) if np.isfinite(off).any() else 0.0
    low = min(least, 0.9)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=ramp(), vmin=low, vmax=1, edgecolors="#EDEDED", linewidth=0.25
    )
    axes.set(xlim=(0, count), ylim=(count, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6)
    for i in np.flatnonzero(~seen):
        for corner, w, h in (((0, i), count, 1), ((i, 0), 1, count)):
            axes.add_patch(Rectangle(corner, w, h, facecolor="#E6E6E6", edgecolor="none"))
    if count <= FEW and cell >= 15:
        _write(axes, values, low)
    step = max(1, int(np.ceil((text_width(str(count), size) + 2) / cell)))
    for i, text in enumerate(fit_names(labels, names_width, size)):
        tone = "black" if seen[i] else GREY
        y = top - (i + 0.5) * row
        page.text(left - 3, y, text, ha="right", va="center_baseline", fontsize=size, color=tone)
        if i % step == 0:
            x = left + (i + 0.5) * cell
            page.text(x, top - plot - 3, str(i + 1), ha="center", va="top", fontsize=size, color=tone)

    bar_y = top - plot - below - 10
    label = "cosine similarity"
    long = min(110.0, panel - text_width(label, LEAST) - 18)
    start = min(left, panel - long - text_width(label, LEAST) - 10)
    bar_axes = figure.add_axes((start / width, bar_y / height, long / width, 5 / height))
    colours = figure.colorbar(mesh, cax=bar_axes, orientation="horizontal")
    colours.outline.set_linewidth(0.4)
    marks = np.linspace(low, 1, 3)
    colours.set_ticks(
        list(marks), labels=[f"{m:.2f}".rstrip("0").rstrip(".").replace("-", "−") for m in marks]
    )
    colours.ax.tick_params(labelsize=LEAST, length=1.5, pad=1)
    page.text(start + long + 6, bar_y + 2.5, label, ha="left", va="center", fontsize=LEAST)
    if related is not None:
        x = panel + 38 if beside else 36.0
        w = width - x - 8
        y, h = (height - plot - 5, plot) if beside else (32.0, scatter_height - 48)
        if beside and h < 90:
            y, h = 34.0, height - 50
        _scatter(figure.add_axes((x / width, y / height, w / width, (h - 12) / height)), related)
    return figure


def _write(axes: Axes, values: npt.NDArray[np.float32], low: float) -> None:
    for i, k in zip(*np.nonzero(np.isfinite(values)), strict=True):
        value = float(values[i, k])
        text = f"{round(value, 2) + 0.0:.2f}".replace("-", "−").replace("0.", ".", 1)
        tone = "white" if (value - low) / (1 - low) > 0.48 else "black"
        axes.text(k + 0.5, i + 0.5, text, ha="center", va="center_baseline", fontsize=LEAST, color=tone)


def _scatter(axes: Axes, related: SimilarityConfusion) -> None:
    pairs = related.pairs
    axes.scatter(
        pairs["similarity"],
        100 * pairs["confusion"],
        s=9,
        color="#332288",
        alpha=0.6,
        linewidths=0,
        rasterized=True,
    )
    axes.set_xlabel("similarity of the prototypes", fontsize=LABEL)
    axes.set_ylabel("confusion (%)", fontsize=LABEL)
    axes.set_ylim(bottom=-1)
    axes.text(
        1, 1.02, f"ρ {_rho(related)}", transform=axes.transAxes, ha="right", va="bottom", fontsize=SMALL
    )
