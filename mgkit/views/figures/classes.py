"""Bars per class: the accuracy of each class with its interval, and the clips that another run fixed or broke."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, counted
from mgkit.results.compare.runs import run_names
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Predictions
from mgkit.results.stats.metrics import class_table, confusion_matrix, per_class
from mgkit.views.analysis.outcomes import Changes, Parts, changes, class_parts, same_run
from mgkit.views.figures.style import (
    BAR_COLOURS,
    FAINT,
    GREY,
    LEAST,
    OUTPUT_NAMES,
    PAGE,
    SMALL,
    PaperFigure,
    every,
    fit_names,
    in_style,
    new_figure,
    ordinal,
    text_width,
    width_of,
    wrap_text,
)

METRICS = ("recall", "precision", "f1")
METRIC_NAMES = {"recall": "recall (%)", "precision": "precision (%)", "f1": "F1 (%)"}
ORDERS = ("value", "support", "groups", "given")
FEW = 12  # classes that fit into one column
FIXED, BROKEN = "#0072B2", "#D55E00"  # Okabe & Ito; as in the widget, and distinguished in grey by their side


@in_style
def class_accuracy(
    run: Run | str | Path,
    split: str = "test",
    *,
    metric: str = "recall",
    order: str = "value",
    classes: Sequence[str] | None = None,
    most_confused: int | None = None,
    axes: Any = None,
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
        classes: names of the classes to show, in this order; the rest are pooled as one grey class, "others".
        most_confused: show this number of classes, those of the most frequent confusions, and the rest likewise.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 (horizontal bars) or 2 (vertical bars); by default 1 up to 12 classes.

    Returns:
        The figure; its data has one row per class and output, with the columns of `metrics.per_class`.
    """
    run = as_run(run)
    if metric not in METRICS:
        raise MgkitError(f"{metric!r} is not a metric: use one of {', '.join(METRICS)}.")
    predictions = run.predictions(split)
    tables, parts = class_tables(run, predictions, metric, order, classes, most_confused)
    names, count = parts.names, len(parts)
    support = tables[predictions.best]["support"].to_numpy()

    # Vertical bars over two columns, horizontal ones in one; names as they fit.
    columns = columns if columns is not None else (1 if count <= FEW else 2)
    standing = columns == 2 and count > 4
    width = width_of(venue, columns)
    # Below about 12 points per class, three bars and their intervals run into each other: use another row.
    rows = max(1, -(-count // int((72 * width - 30) / 12.5))) if standing else 1
    size = SMALL if count <= 40 else LEAST
    shown = fit_names(names, 105 if rows < 4 else 70, size)
    labels = [f"{name} ({n})" for name, n in zip(shown, support, strict=True)]
    upright = False
    if standing:
        slot = 72 * 0.92 * width / -(-count // rows) - 3
        wrapped = [wrap_text(label, slot, size, 3) for label in labels]
        upright = not any("…" in text for text in wrapped)
        labels = wrapped if upright else labels
        below = 3.3 * size if upright else max(text_width(label, size) for label in labels)
        # As many rows as a page has room for; below that, thinner bars and fewer names.
        rows = min(rows, int((PAGE - 0.35) / (0.85 + below / 72)))
        tall = min(1.3, (PAGE - 0.35) / rows - below / 72)
        step = every(72 * 0.92 * width / -(-count // rows), 1.05 * size) if not upright else 1
        figure = new_figure(width, 0.35 + rows * (tall + below / 72))
    else:
        # Rather thinner bars than a figure higher than a page; names need an eighth of an inch.
        slot = min(max(0.055 * len(tables) + 0.06, 0.125), (PAGE - 0.42) / count)
        step = every(72 * slot, 1.05 * size)
        figure = new_figure(width, 0.42 + count * slot)

    # One panel per row of classes.
    panels = np.array_split(np.arange(count), rows)
    for axes, part in zip(figure.subplots(rows, 1, squeeze=False).ravel(), panels, strict=True):
        grey = int(np.flatnonzero(part == parts.others)[0]) if parts.others in part else None
        _draw_bars(
            axes, {output: table.iloc[part] for output, table in tables.items()}, metric, standing, grey
        )
        texts = [labels[i] for i in part]
        ticks = _name_bars(axes, texts, step, len(panels[0]), metric, standing, upright, size)
        for k, tick in zip(part[::step], ticks, strict=True):
            if support[k] == 0 or k == parts.others:
                tick.set_color(GREY)
    if len(tables) > 1:
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper center", ncols=len(tables), borderaxespad=0)
    data = pd.concat([table.assign(output=output) for output, table in tables.items()], ignore_index=True)
    data.insert(0, "output", data.pop("output"))
    note = f"clips of {split} in brackets"
    if metric != "f1":
        note += "; lines are 95 % Wilson intervals, which assume independent clips"
    note += f"; others: {counted(len(parts.rest), 'class', 'classes')} not shown" if len(parts.rest) else ""
    note += f"; every {ordinal(step)} class is named, in the order of the data" if step > 1 else ""
    return PaperFigure(figure, data, note)


def class_tables(
    run: Run,
    predictions: Predictions,
    metric: str,
    order: str,
    classes: Sequence[str] | None = None,
    most_confused: int | None = None,
) -> tuple[dict[str, pd.DataFrame], Parts]:
    """For each output the numbers of each class that is shown, in the order of the bars, and of the rest together.

    A clip of the rest is right if its own class was predicted, not just any class of the rest.
    """
    count, best = len(run.classes), predictions.best
    counts = {
        output: confusion_matrix(predictions.labels, predictions.predicted(output), count)
        for output in predictions.outputs
    }
    table = per_class(predictions.labels, predictions.predicted(best), count)
    parts = class_parts(
        run.classes, counts[best], bar_order(table, run.classes, metric, order), classes, most_confused
    )
    sums = {name: [parts.sums(one) for one in (m.sum(1), m.sum(0), np.diag(m))] for name, m in counts.items()}
    return {name: class_table(parts.names, *three) for name, three in sums.items()}, parts


def bar_order(table: pd.DataFrame, classes: Classes, metric: str, order: str) -> npt.NDArray[np.int64]:
    """(K,) labels in the order of the bars; `table` is from `metrics.per_class`. An unknown order raises a
    `MgkitError`."""
    if order not in ORDERS:
        raise MgkitError(f"{order!r} is not an order of classes: use one of {', '.join(ORDERS)}.")
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


def _draw_bars(
    axes: Axes, tables: dict[str, pd.DataFrame], metric: str, standing: bool, grey: int | None
) -> None:
    thick = 0.84 / len(tables)
    for i, (output, table) in enumerate(tables.items()):
        value = 100 * table[metric].to_numpy()
        at = np.arange(len(table)) + (i - (len(tables) - 1) / 2) * thick
        there = np.isfinite(value)
        draw, lines = (axes.bar, axes.vlines) if standing else (axes.barh, axes.hlines)
        look: dict[str, Any] = {"linewidth": 0, "color": BAR_COLOURS[output]}
        bars = draw(at[there], value[there], 0.9 * thick, label=OUTPUT_NAMES[output], **look)
        for k, bar in zip(np.flatnonzero(there), bars, strict=True):
            if k == grey:
                bar.set_facecolor(FAINT)
        if metric != "f1":
            low, high = (100 * table[f"{metric}_{end}"].to_numpy() for end in ("low", "high"))
            known = np.isfinite(low)
            lines(at[known], low[known], high[known], color="black", linewidth=0.6)


def _name_bars(
    axes: Axes,
    labels: list[str],
    step: int,
    room: int,
    metric: str,
    standing: bool,
    upright: bool,
    size: float,
) -> list[Text]:
    """Axes for `room` classes, so that the bars of all rows are equally wide; returns the names drawn, every `step`."""
    places, edges, labels = np.arange(0, len(labels), step), (-0.6, room - 0.4), labels[::step]
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


def compared_names(one: Run, other: Run, found: Changes) -> tuple[str, str]:
    """Names of the two sides of a comparison: the runs, and their outputs where those were chosen one by one."""
    first, second = (one.name, one.name) if same_run(one, other) else run_names([one, other])
    if not found.paired:
        return first, second
    return f"{first} {OUTPUT_NAMES[found.outputs[0]]}", f"{second} {OUTPUT_NAMES[found.outputs[1]]}"


@in_style
def run_comparison(
    one: Run | str | Path,
    other: Run | str | Path,
    split: str = "test",
    *,
    output: str | tuple[str, str] | None = None,
    common: bool = False,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Clips of `one`, the baseline, that `other` fixed (right of zero) and broke (left), per class, by net gain.

    Args:
        one, other: runs over the same classes, tested on the same clips; or one run twice, to compare its outputs.
        split: an evaluated split of both.
        output: "rgb", "pose" or "fused" of both, or one of each, ("rgb", "pose"); by default the best of each.
        common: compare runs that were tested on different clips, on the clips that both have.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1.

    Returns:
        The figure. Its data has one row per class in label order: `class`, `clips`, `both_right`, `fixed`, `broken`,
        `both_wrong`; classes without a change are in the data and not in the drawing. The note gives McNemar's test and
        the interval of the gain.
    """
    one, other = as_run(one), as_run(other)
    found = changes(one, other, split, output, common=common)
    names = compared_names(one, other, found)
    order, classes = found.order(), one.classes.names
    data = pd.DataFrame(
        {
            "class": classes,
            "clips": found.counts.sum(1),
            **dict(zip(("both_right", "fixed", "broken", "both_wrong"), found.counts.T, strict=True)),
        }
    )
    note = found.words(names)
    same = len(classes) - len(order)
    if same and len(order):
        note += f" {counted(same, 'class', 'classes')} without a change left out."
    width = width_of(venue, columns or 1)
    if not len(order):
        figure = new_figure(width, 0.6)
        figure.text(0.5, 0.5, "nothing was fixed or broken", ha="center", va="center", color=GREY)
        return PaperFigure(figure, data, note)

    # Bars to both sides of zero, each with its number.
    size = SMALL if len(order) <= 40 else LEAST
    slot = min(size + 3.2, 72 * (PAGE - 0.62) / len(order))  # points
    step = every(slot, size)
    note += f" Every {ordinal(step)} class is named." if step > 1 else ""
    figure = new_figure(width, 0.62 + len(order) * slot / 72)
    axes = figure.add_subplot()
    fixed, broken = found.counts[order, 1], found.counts[order, 2]
    y = np.arange(len(order))
    axes.barh(y, fixed, 0.72, color=FIXED, label=f"fixed ({found.test.fixed})")
    axes.barh(
        y,
        -broken,
        0.72,
        color=BROKEN,
        label=f"broken ({found.test.broken})",
        hatch="////",
        edgecolor="white",
        lw=0,
    )
    axes.axvline(0, color="black", lw=0.6)
    reach = max(fixed.max(), broken.max())
    for k, (up, down) in enumerate(zip(fixed, broken, strict=True)):
        for value, side, align in ((up, 1, "left"), (down, -1, "right")):
            if value and step == 1:
                axes.annotate(
                    str(value), (side * value, k), xytext=(2 * side, 0), textcoords="offset points",
                    ha=align, va="center", fontsize=LEAST,
                )  # fmt: skip
    sides = [1.18 * max(side.max(), 0.25 * reach) for side in (broken, fixed)]
    axes.set(yticks=y[::step], ylim=(len(order) - 0.5, -0.5), xlim=(-sides[0], sides[1]))
    axes.set_yticklabels(
        fit_names([classes[k] for k in order], 0.4 * 72 * width, size)[::step], fontsize=size
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("clips")
    axes.xaxis.grid(True)
    axes.set_axisbelow(True)
    handles = axes.get_legend_handles_labels()
    wide = sum(text_width(label, SMALL) for label in handles[1]) + 60 < 72 * width
    figure.legend(*(part[::-1] for part in handles), loc="outside upper center", ncols=2 if wide else 1)
    return PaperFigure(figure, data, note)
