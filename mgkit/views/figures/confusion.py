"""The confusion matrix, legible from 2 to 52 classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mgkit.data.clips import Classes
from mgkit.results.compare.runs import aligned_runs, run_names
from mgkit.results.run.folder import Run
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.views.analysis.outcomes import class_order
from mgkit.views.figures.style import (
    GREY,
    LABEL,
    LEAST,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    balanced,
    diverging,
    fit_names,
    fit_text,
    in_style,
    new_figure,
    ramp,
    text_width,
    width_of,
    wrap_text,
)

POWER = 0.6  # of the colour scale: with a linear one, a class lost to ten others leaves a white row
LONG = 45.0  # points; a longer name is broken into two lines where there is room
FEW = 12  # up to here every cell carries its number and one column is wide enough


@in_style
def confusion(
    run: Run,
    split: str = "test",
    pathway: str | None = None,
    *,
    normalise: bool = True,
    order: str = "groups",
    other: Run | None = None,
    common: bool = False,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """The confusion matrix of one output: rows are true classes, columns what they were taken for.

    Args:
        run: a run.
        split: an evaluated split.
        pathway: "rgb", "pose" or "fused"; by default fused, or the only one.
        normalise: percent of the clips of the true class, or else clips.
        order: "groups" keeps the groups of the classes together, "cluster" puts classes next to each other that are
            taken for each other (average linkage), "given" keeps the label order.
        other: a run over the same classes: the figure shows the difference run - other.
        common: compare runs that were tested on different clips, on the clips that both have.
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1 up to 12 classes.

    Returns:
        The figure; its data has one row a cell: `true`, `predicted`, `clips`, `support`, `share`, and with `other`
        its `other_clips` and `other_share`.

    Raises:
        MgkitError: an unknown split, pathway, order or venue, or an `other` that cannot be compared.
    """
    predictions, theirs, left_out = run.predictions(split), None, ""
    if other is not None:
        (predictions, theirs), left_out = aligned_runs([run, other], split, common=common)
    output = predictions.best if pathway is None else pathway
    classes, count = run.classes, len(run.classes)
    matrix = confusion_matrix(predictions.labels, predictions.predicted(output), count)
    support = matrix.sum(1)
    share = matrix / np.maximum(support, 1)[:, None]
    sequence = class_order(classes, matrix, order)
    grouped = order == "groups" and classes.groups is not None and 1 < len(set(classes.groups)) < count

    width = 72 * width_of(venue, columns if columns is not None else (1 if count <= FEW else 2))
    values = share if normalise else matrix.astype(float)
    if theirs is not None:
        their_matrix = confusion_matrix(theirs.labels, theirs.predicted(output), count)
        their_share = their_matrix / np.maximum(support, 1)[:, None]
        values = values - (their_share if normalise else their_matrix)
    figure = _draw(values, support, sequence, classes, grouped, normalise, theirs is not None, width)
    names = np.array(classes.names, dtype=object)
    true, said = np.repeat(sequence, count), np.tile(sequence, count)
    data = pd.DataFrame(
        {
            "true": names[true],
            "predicted": names[said],
            "clips": matrix[true, said],
            "support": support[true],
            "share": np.where(support[true] > 0, share[true, said], np.nan),
        }
    )
    if theirs is not None:
        data["other_clips"] = their_matrix[true, said]
        data["other_share"] = np.where(support[true] > 0, their_share[true, said], np.nan)
    what = OUTPUT_NAMES[output].lower() if output != "rgb" else "RGB"
    empty = int((support == 0).sum())
    note = f"{what} predictions on {len(predictions)} clips of {split}; n is the number of clips of the class"
    note += f"; colour grows with the power {POWER} of the share" if normalise else ""
    if other is not None:
        ours, others = run_names([run, other])
        note += f"; {left_out}" if left_out else ""
        note += f"; difference {ours} - {others}: blue = more in {ours}, orange = more in {others}"
    note += f"; {empty} grey rows have no clip" if empty else ""
    return PaperFigure(figure, data, note)


def _draw(
    values: npt.NDArray[np.float64],
    support: npt.NDArray[np.int64],
    sequence: npt.NDArray[np.int64],
    classes: Classes,
    grouped: bool,
    normalise: bool,
    signed: bool,
    width: float,
) -> Figure:
    """Everything is placed in points: cells must be square, labels must fit, and the width is given."""
    count = len(sequence)
    values, support = values[np.ix_(sequence, sequence)], support[sequence]
    names = [classes.names[k] for k in sequence]
    size = SMALL if count <= 8 else LEAST
    groups = [classes.groups[k] for k in sequence] if grouped and classes.groups is not None else None
    blocks = _blocks(groups) if groups else []

    numbers = [f"{n:,}" for n in support]
    counts_width = max(text_width(text, size) for text in [*numbers, "n"]) + 6
    group_width = 0.0
    if groups:  # beside several rows of large cells a name has two lines
        needed = [
            _widest(balanced(name, size) if last > first and count <= FEW else name, size)
            for name, first, last in blocks
        ]
        group_width = 9 + min(max(needed), (0.2 if count <= FEW else 0.13) * width)
    title = LABEL + 4
    room = width - title - counts_width - 4
    folded, names_width, cell = _grid(names, size, room - group_width)
    if groups and count <= FEW and cell < 11:  # the numbers in the cells matter more than the names of groups
        group_width = 0.0
        folded, names_width, cell = _grid(names, size, room)
    row = max(cell, size + 0.4)
    shown = _fit(folded, names_width, size)
    flat = [wrap_text(name, cell - 2, size, 3) for name in names]
    upright = all(_widest(text, size) <= cell - 2 and "…" not in text for text in flat)
    across = flat if upright else _fit(folded, max(names_width, 90), size)
    numbered = cell < size + 0.2
    if numbered:  # too narrow for names: columns carry the numbers that stand before the row names
        across = [str(i + 1) if i % 2 == 0 else f"\n{i + 1}" for i in range(count)]  # in two lines, by turns
        shown = fit_names([f"{i + 1}  {name}" for i, name in enumerate(names)], names_width, size)
        upright = True
    lines_below = max(text.count("\n") + 1 for text in across)
    below = lines_below * size * 1.1 if upright else max(_widest(text, size) for text in across)

    bar = 0.0 if _all_written(count, cell) else 22.0
    height = 3 + title + below + 4 + row * count + 11 + bar
    used = title + names_width + 3 + cell * count + counts_width + group_width
    left = title + names_width + 3 + max(0.0, (width - 4 - used) / 2)
    bottom = 3 + title + below + 4
    figure = new_figure(width / 72, height / 72, constrained=False)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(0, height))
    page.axis("off")
    axes = figure.add_axes((left / width, bottom / height, cell * count / width, row * count / height))

    top = 1.0 if normalise and not signed else float(np.abs(values).max()) or 1.0
    colours = axes.pcolormesh(
        values,
        cmap=diverging() if signed else ramp(),
        norm=_signed_norm(top) if signed else PowerNorm(POWER, 0, top),
        edgecolors="#EDEDED",
        linewidth=0.25,
    )
    axes.set(xlim=(0, count), ylim=(count, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6)
    for i in range(count):
        if support[i] == 0:
            axes.axhspan(i, i + 1, color="#E6E6E6", linewidth=0)
    _write_cells(axes, values, top, normalise, signed, cell, count)
    for _, first, _ in blocks[1:]:
        axes.axhline(first, color="#555555", linewidth=0.5)
        axes.axvline(first, color="#555555", linewidth=0.5)

    head = bottom + row * count
    for i in range(count):
        y = head - (i + 0.5) * row
        tone = GREY if support[i] == 0 else "black"
        page.text(
            left - 3,
            y,
            shown[i],
            ha="right",
            va="center_baseline" if "\n" not in shown[i] else "center",
            fontsize=size,
            color=tone,
            linespacing=1.0,
        )
        page.text(
            left + cell * count + counts_width - 2,
            y,
            numbers[i],
            ha="right",
            va="center_baseline",
            fontsize=size,
            color=tone,
        )
        x = left + (i + 0.5) * cell
        page.text(
            x,
            bottom - 3,
            across[i],
            ha="center",
            va="top",
            rotation=0 if upright else 90,
            multialignment="center" if upright else "right",
            fontsize=size,
            color=tone,
            linespacing=1.0,
        )
    page.text(
        left + cell * count + counts_width - 2,
        head + 2.5,
        "n",
        ha="right",
        va="bottom",
        fontsize=size,
        style="italic",
    )
    middle = left + cell * count / 2
    page.text(middle, 3, "predicted class", ha="center", va="bottom", fontsize=LABEL)
    page.text(
        left - names_width - 6, head - row * count / 2, "true class",
        ha="right", va="center", rotation=90, fontsize=LABEL,
    )  # fmt: skip
    edge = left + cell * count + counts_width + 3
    for group, first, last in blocks if group_width else []:
        page.plot(
            [edge, edge], [head - first * row - 1.2, head - (last + 1) * row + 1.2], color=GREY, linewidth=0.8
        )
        lines = max(1, int((last + 1 - first) * row / (size * 1.15)))
        text = wrap_text(group, group_width - 7, size, min(lines, 2))
        y = head - (first + last + 1) / 2 * row
        page.text(edge + 3, y, text, ha="left", va="center", fontsize=size, linespacing=1.0)
    if bar:
        label = "% of the true class" if normalise else "clips"
        if signed:
            label = "change, points of the true class" if normalise else "change, clips"
        long = min(cell * count, 150.0, width - left - text_width(label, LEAST) - 9)
        _colour_bar(figure, colours, label, (left, head + 13, long, 5.0), (width, height))
    return figure


def _grid(names: list[str], size: float, room: float) -> tuple[list[str], float, float]:
    """Share `room` points between names and cells: names of one or two lines, their width, and the cell."""
    count = len(names)
    broken = [balanced(name, size) if text_width(name, size) > LONG else name for name in names]
    for folded in (broken, names) if count <= FEW else (names,):
        longest = max(_widest(name, size) for name in folded)
        # Names get what they need, but never more than leaves the cells legible.
        width = min(longest, (0.36 if count > FEW else 0.46) * room)
        cell = min((room - width - 3) / count, 38.0 if count > 4 else 60.0)
        if cell >= 2 * size:  # two lines have room in a row
            break
    return list(folded), min(longest, room - 3 - cell * count + 1e-6), cell  # rounding must cut no name


def _widest(text: str, size: float) -> float:
    return max(text_width(line, size) for line in text.split("\n"))


def _fit(names: list[str], limit: float, size: float) -> list[str]:
    """Names of one or two lines, each line cut to `limit` points."""
    if any("\n" in name for name in names):
        return ["\n".join(fit_text(line, limit, size) for line in name.split("\n")) for name in names]
    return fit_names(names, limit, size)


def _blocks(groups: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of the same group: (name, first row, last row)."""
    blocks: list[tuple[str, int, int]] = []
    for i, group in enumerate(groups):
        if blocks and blocks[-1][0] == group:
            blocks[-1] = (group, blocks[-1][1], i)
        else:
            blocks.append((group, i, i))
    return blocks


def _all_written(count: int, cell: float) -> bool:
    return count <= FEW and cell >= 10


def _signed_norm(top: float) -> FuncNorm:
    """The power of the colour scale on both sides of zero."""
    return FuncNorm(
        (
            lambda value: np.sign(value) * np.abs(value) ** POWER,
            lambda shown: np.sign(shown) * np.abs(shown) ** (1 / POWER),
        ),
        -top,
        top,
    )


def _write_cells(
    axes: Axes,
    values: npt.NDArray[np.float64],
    top: float,
    normalise: bool,
    signed: bool,
    cell: float,
    count: int,
) -> None:
    least = 0.005 if _all_written(count, cell) else 0.05
    for i, k in zip(*np.nonzero(values), strict=True):
        value = float(values[i, k])
        if normalise and abs(value) < least:
            continue
        text = f"{100 * abs(value):.0f}" if normalise else f"{abs(value):.0f}"
        if signed:
            text = ("+" if value > 0 else "−") + text
        size = next((s for s in (SMALL, LEAST) if text_width(text, s) <= cell - 1 and s <= cell - 3.5), None)
        if size is None:
            continue
        tone = "white" if (abs(value) / top) ** POWER > (0.75 if signed else 0.55) else "black"
        axes.text(k + 0.5, i + 0.5, text, ha="center", va="center_baseline", fontsize=size, color=tone)


def _colour_bar(
    figure: Figure,
    colours: ScalarMappable,
    label: str,
    box: tuple[float, float, float, float],
    page: tuple[float, float],
) -> None:
    x, y, w, h = box
    axes = figure.add_axes((x / page[0], y / page[1], w / page[0], h / page[1]))
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(
        labelsize=LEAST, length=1.5, pad=1, top=True, labeltop=True, bottom=False, labelbottom=False
    )
    if "change" in label:
        top = colours.get_clim()[1] or 1.0
        percent = 100 if "points" in label else 1
        marks = sorted({round(percent * top * share) for share in (-1, -0.25, 0, 0.25, 1)})
        bar.set_ticks(
            [min(top, max(-top, mark / percent)) for mark in marks],
            labels=[f"{'+' if mark > 0 else '−' if mark < 0 else ''}{abs(mark)}" for mark in marks],
        )
    elif "%" in label:
        shares = [0, 10, 25, 50, 75, 100] if w > 90 else [0, 25, 100]
        bar.set_ticks([share / 100 for share in shares], labels=[str(share) for share in shares])
    else:
        bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    figure.text((x + w + 5) / page[0], (y + h / 2) / page[1], label, ha="left", va="center", fontsize=LEAST)
