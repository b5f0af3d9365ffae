"""Accuracy a class, with the interval that says how far to trust it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.text import Text

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.metrics import per_class
from mgkit.results.runs import Run
from mgkit.views.figures.style import (
    BAR_COLOURS,
    GREY,
    LEAST,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    fit_names,
    in_style,
    new_figure,
    text_width,
    width_of,
    wrap_text,
)

METRICS = ("recall", "precision", "f1")
METRIC_NAMES = {"recall": "recall (%)", "precision": "precision (%)", "f1": "F1 (%)"}
ORDERS = ("value", "support", "groups", "given")
FEW = 12


@in_style
def class_accuracy(
    run: Run,
    split: str = "test",
    *,
    metric: str = "recall",
    order: str = "value",
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Recall of every class for RGB, pose and fused side by side, with 95 % Wilson intervals and clip counts; or
    precision, or F1, which has no intervals.

    Args:
        run: a run.
        split: an evaluated split.
        metric: "recall", "precision" or "f1".
        order: classes by falling "value" of the metric (of the best output), by falling "support" (clips), by
            "groups" or as "given"; classes without clips come last.
        venue: a key of `style.VENUES`.
        columns: 1 (bars lie) or 2 (bars stand); by default 1 up to 12 classes.

    Returns:
        The figure; its data has one row a class and output, with the columns of `metrics.per_class`.
    """
    if metric not in METRICS:
        raise MgkitError(f"there is no metric {metric!r}: use one of {', '.join(METRICS)}.")
    predictions = run.predictions(split)
    names, count = run.classes.names, len(run.classes)
    tables = {
        output: per_class(predictions.labels, predictions.predicted(output), count, names)
        for output in predictions.outputs
    }
    support = tables[predictions.best]["support"].to_numpy()
    sequence = bar_order(tables[predictions.best], run.classes, metric, order)

    columns = columns if columns is not None else (1 if count <= FEW else 2)
    standing = columns == 2 and count > 4
    width = width_of(venue, columns)
    # Below some 12 points a class, three bars and their intervals run into each other: go on in another row.
    rows = max(1, -(-count // int((72 * width - 30) / 12.5))) if standing else 1
    size = SMALL if count <= 40 else LEAST
    labels = [
        f"{name} ({support[k]})"
        for k, name in zip(sequence, fit_names([names[k] for k in sequence], 105, size), strict=True)
    ]
    upright = False
    if standing:
        slot = 72 * 0.92 * width / -(-count // rows) - 3
        wrapped = [wrap_text(label, slot, size, 3) for label in labels]
        upright = not any("…" in text for text in wrapped)
        labels = wrapped if upright else labels
        below = 3.3 * size if upright else max(text_width(label, size) for label in labels)
        figure = new_figure(width, 0.35 + rows * (1.3 + below / 72))
    else:
        # Thinner bars before a figure that is higher than a page; names need an eighth of an inch.
        slot = min(max(0.055 * len(tables) + 0.06, 0.125), max(0.125, 9.0 / count))
        figure = new_figure(width, 0.42 + count * slot)
    parts = np.array_split(np.arange(count), rows)
    for axes, part in zip(figure.subplots(rows, 1, squeeze=False).ravel(), parts, strict=True):
        chosen = sequence[part]
        _draw_bars(axes, {output: table.iloc[chosen] for output, table in tables.items()}, metric, standing)
        ticks = _name_bars(axes, [labels[i] for i in part], len(parts[0]), metric, standing, upright, size)
        for k, tick in zip(chosen, ticks, strict=True):
            if support[k] == 0:
                tick.set_color(GREY)
    if len(tables) > 1:
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper center", ncols=len(tables), borderaxespad=0)
    data = pd.concat(
        [table.iloc[sequence].assign(output=output) for output, table in tables.items()], ignore_index=True
    )
    data.insert(0, "output", data.pop("output"))
    note = f"clips of {split} in brackets"
    if metric != "f1":
        note += "; lines are 95 % Wilson intervals, which take clips as independent"
    return PaperFigure(figure, data, note)


def bar_order(table: pd.DataFrame, classes: Classes, metric: str, order: str) -> npt.NDArray[np.int64]:
    """(K,) labels in the order of the bars; `table` is that of `metrics.per_class`. An unknown order raises a
    `MgkitError`."""
    if order not in ORDERS:
        raise MgkitError(f"there is no order {order!r}: use one of {', '.join(ORDERS)}.")
    support = table["support"].to_numpy()
    groups = list(classes.groups or classes.names)
    keys = {
        "value": list(-table[metric].fillna(-1)),
        "support": list(-support),
        "groups": [groups.index(group) for group in groups],
        "given": list(range(len(classes))),
    }[order]
    return np.array(
        sorted(range(len(classes)), key=lambda k: (support[k] == 0, keys[k], -support[k], k)), np.int64
    )


def _draw_bars(axes: Axes, tables: dict[str, pd.DataFrame], metric: str, standing: bool) -> None:
    thick = 0.84 / len(tables)
    for i, (output, table) in enumerate(tables.items()):
        value = 100 * table[metric].to_numpy()
        at = np.arange(len(table)) + (i - (len(tables) - 1) / 2) * thick
        there = np.isfinite(value)
        draw, lines = (axes.bar, axes.vlines) if standing else (axes.barh, axes.hlines)
        draw(
            at[there],
            value[there],
            0.9 * thick,
            color=BAR_COLOURS[output],
            label=OUTPUT_NAMES[output],
            linewidth=0,
        )
        if metric != "f1":
            low, high = (100 * table[f"{metric}_{end}"].to_numpy() for end in ("low", "high"))
            known = np.isfinite(low)
            lines(at[known], low[known], high[known], color="black", linewidth=0.6)


def _name_bars(
    axes: Axes, labels: list[str], room: int, metric: str, standing: bool, upright: bool, size: float
) -> list[Text]:
    """Axes for as many as `room` classes, so that the bars of all rows are equally wide; returns the names drawn."""
    places, edges = np.arange(len(labels)), (-0.6, room - 0.4)
    if standing:
        axes.set(xlim=edges, ylim=(0, 100), ylabel=METRIC_NAMES[metric])
        axes.set_xticks(places, labels, rotation=0 if upright else 90, fontsize=size)
        axes.tick_params(axis="x", length=0)
        axes.yaxis.grid(True)
    else:
        axes.set(ylim=edges[::-1], xlim=(0, 100), xlabel=METRIC_NAMES[metric])
        axes.set_yticks(places, labels, fontsize=size)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.grid(True)
    axes.set_axisbelow(True)
    return list(axes.get_xticklabels() if standing else axes.get_yticklabels())
