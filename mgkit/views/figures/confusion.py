"""The confusion matrix: its layout, colours and labels, legible from 2 to 52 classes, and on a page with any number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import FuncNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mgkit.errors import counted
from mgkit.results.compare.runs import aligned_runs, run_names, tested_differently
from mgkit.results.run.folder import Run, as_run
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.views.analysis.outcomes import class_order, class_parts
from mgkit.views.figures.style import (
    GREY,
    LABEL,
    LEAST,
    OUTPUT_NAMES,
    PAGE,
    SMALL,
    PaperFigure,
    axes_at,
    balanced,
    colour_bar,
    diverging,
    every,
    fit_names,
    fit_text,
    greys,
    in_style,
    new_figure,
    ordinal,
    ramp,
    text_at,
    text_width,
    width_of,
    wrap_text,
)

POWER = 0.6  # of the colour scale: a linear one leaves the row of a class that is lost to ten others white
LONG = 45.0  # points; a longer name is broken into two lines if there is room
FEW = 12  # up to this number of classes every cell carries its number and one column is wide enough


@in_style
def confusion(
    run: Run | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    normalise: bool = True,
    order: str = "groups",
    classes: Sequence[str] | None = None,
    most_confused: int | None = None,
    other: Run | str | Path | None = None,
    common: bool = False,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """The confusion matrix of one output: rows are true classes, columns predicted ones.

    Args:
        run: a run.
        split: an evaluated split.
        pathway: "rgb", "pose" or "fused"; by default fused, or the only one.
        normalise: percent of the clips of the true class, otherwise clips.
        order: "groups" keeps the groups of the classes together, "cluster" puts confused classes next to each other
            (average linkage), "given" keeps the label order.
        classes: names of the classes to show, in this order; the rest are one grey row and column, "others".
        most_confused: show this number of classes, those of the most frequent confusions, and the rest likewise.
        other: a run over the same classes: the figure shows the difference run - other.
        common: compare runs that were tested on different clips, on the clips that both have.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1 up to 12 classes.

    Returns:
        The figure; its data has one row per cell: `true`, `predicted`, `clips`, `support`, `share`, and with `other`
        its `other_clips` and `other_share`. Of the rest it has the sums.

    Raises:
        MgkitError: an unknown split, pathway, class, order or venue, or an `other` that cannot be compared.
    """
    run, other = as_run(run), None if other is None else as_run(other)
    # The matrix, and the difference to another run.
    predictions, theirs, left_out = run.predictions(split), None, ""
    if other is not None:
        (predictions, theirs), left_out = aligned_runs([run, other], split, common=common)
    output = predictions.best if pathway is None else pathway
    all_counts = confusion_matrix(predictions.labels, predictions.predicted(output), len(run.classes))
    parts = class_parts(
        run.classes, all_counts, class_order(run.classes, all_counts, order), classes, most_confused
    )
    matrix, count = parts.sums(all_counts), len(parts)
    support = matrix.sum(1)
    share = matrix / np.maximum(support, 1)[:, None]

    values = share if normalise else matrix.astype(float)
    if theirs is not None:
        theirs_every = confusion_matrix(theirs.labels, theirs.predicted(output), len(run.classes))
        their_matrix = parts.sums(theirs_every)
        their_share = their_matrix / np.maximum(support, 1)[:, None]
        values = values - (their_share if normalise else their_matrix)
    width = 72 * width_of(venue, columns if columns is not None else (1 if count <= FEW else 2))
    groups = parts.groups(run.classes) if order == "groups" and classes is None else None
    groups = groups if groups is not None and 1 < len(set(groups)) < count else None
    plan = _lay_out(list(parts.names), groups, support, width, parts.others)
    figure = _draw(plan, values, support, normalise, theirs is not None)

    # The numbers, cell by cell, and the caption.
    names = np.array(parts.names, dtype=object)
    true, predicted = np.repeat(np.arange(count), count), np.tile(np.arange(count), count)
    data = pd.DataFrame(
        {
            "true": names[true],
            "predicted": names[predicted],
            "clips": matrix[true, predicted],
            "support": support[true],
            "share": np.where(support[true] > 0, share[true, predicted], np.nan),
        }
    )
    if theirs is not None:
        data["other_clips"] = their_matrix[true, predicted]
        data["other_share"] = np.where(support[true] > 0, their_share[true, predicted], np.nan)
    what = OUTPUT_NAMES[output].lower() if output != "rgb" else "RGB"
    empty = int((support == 0).sum())
    tested_on = f"{counted(len(predictions), 'clip')} of {split}"
    note = f"{what} predictions on {tested_on}; n is the number of clips of the class"
    note += f"; colour grows with the power {POWER} of the share" if normalise else ""
    if other is not None:
        ours, others = run_names([run, other])
        note += f"; {left_out}" if left_out else ""
        tested = tested_differently([ours, others], [run, other], split)
        note += f"; {tested[0].lower()}{tested[1:]}" if tested else ""
        note += f"; difference {ours} - {others}: blue = more in {ours}, orange = more in {others}"
    note += f"; no clip in {counted(empty, 'grey row')}" if empty else ""
    note += f"; others: {counted(len(parts.rest), 'class', 'classes')} not shown" if len(parts.rest) else ""
    if plan.step > 1:
        note += f"; every {ordinal(plan.step)} class is named, in the order of the data"
    return PaperFigure(figure, data, note)


# ---------------------------------------------------------------------------------------------------------------------
# Layout: everything is placed in points, since cells must be square, labels must fit, and the width is given


@dataclass(frozen=True)
class _Plan:
    """Places and labels of a matrix; sizes in points.

    Attributes:
        width, height: of the page.
        left, bottom: corner of the cells.
        cell, row: width and height of a cell; rows are as high as their names at least.
        size: font size.
        rows, columns, counts: labels of the rows and columns, and the number of clips of each row.
        upright: whether column labels are horizontal.
        names_width, counts_width, group_width: of what is left and right of the cells; 0 without groups.
        blocks: groups of classes: (name, first row, last row).
        bar: whether there is a colour bar.
        step: every this many rows has its name, so that names do not overlap.
        others: row and column of the classes that are not shown by themselves; -1 if there is none.
    """

    width: float
    height: float
    left: float
    bottom: float
    cell: float
    row: float
    size: float
    rows: list[str]
    columns: list[str]
    counts: list[str]
    upright: bool
    names_width: float
    counts_width: float
    group_width: float
    blocks: list[tuple[str, int, int]]
    bar: bool
    step: int
    others: int

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def right(self) -> float:
        return self.left + self.cell * self.count

    @property
    def top(self) -> float:
        return self.bottom + self.row * self.count


def _lay_out(
    names: list[str], groups: list[str] | None, support: npt.NDArray[np.int64], width: float, others: int
) -> _Plan:
    """Divide the width among names, cells, counts and groups, and find labels that fit."""
    count = len(names)
    size = SMALL if count <= 8 else LEAST
    blocks = [block for block in _blocks(groups) if block[1] != others] if groups else []

    # Widths: names and cells share the room that titles, counts and groups leave.
    counts = [f"{n:,}" for n in support]
    counts_width = max(text_width(text, size) for text in [*counts, "n"]) + 6
    group_width = 0.0
    if groups:  # next to several rows of large cells a name has two lines
        needed = [
            _widest(balanced(name, size) if last > first and count <= FEW else name, size)
            for name, first, last in blocks
        ]
        group_width = 9 + min(max(needed), (0.2 if count <= FEW else 0.13) * width)
    title = LABEL + 4
    room = width - title - counts_width - 4
    folded, names_width, cell = _grid(names, size, room - group_width)
    if groups and count <= FEW and cell < 11:  # numbers in the cells matter more than names of groups
        group_width = 0.0
        folded, names_width, cell = _grid(names, size, room)
    row = max(cell, size + 0.4)

    # Labels: column names are upright if they fit into a cell, otherwise they stand on end.
    narrow = cell < size + 0.2
    if narrow:  # too narrow for names: columns carry the numbers of the rows
        names = [f"{i + 1}  {name}" if i != others else name for i, name in enumerate(names)]
        folded, names_width, cell = _grid(names, size, room - group_width)
        row = max(cell, size + 0.4)
    rows = _fit(folded, names_width, size)
    flat = [wrap_text(name, cell - 2, size, 3) for name in names]
    upright = all(_widest(text, size) <= cell - 2 and "…" not in text for text in flat)
    columns = flat if upright else _fit(folded, max(names_width, 90), size)
    if narrow:
        columns, upright = _numbers(count, cell, size), True
    lines_below = max(text.count("\n") + 1 for text in columns)
    below = lines_below * size * 1.1 if upright else max(_widest(text, size) for text in columns)

    # Heights: axis title, column labels, cells, head of the counts, colour bar.
    bar = not _all_written(count, cell)
    bottom, above = 3 + title + below + 4, 11 + (22.0 if bar else 0.0)
    row = min(
        row, max(cell, (72 * PAGE - bottom - above) / count)
    )  # a page, if names must be left out for it
    step = every(row, size + 0.4)
    height = bottom + row * count + above
    used = title + names_width + 3 + cell * count + counts_width + group_width
    left = title + names_width + 3 + max(0.0, (width - 4 - used) / 2)
    return _Plan(
        width, height, left, bottom, cell, row, size, rows, columns, counts, upright, names_width, counts_width,
        group_width, blocks, bar, step, others,
    )  # fmt: skip


def _numbers(count: int, cell: float, size: float) -> list[str]:
    """Numbers of narrow columns: all of them, alternating between two lines, or every fifth, tenth, ... in one."""
    wide = text_width(str(count), size) + 2
    if 2 * cell >= wide:
        return [str(i + 1) if i % 2 == 0 else f"\n{i + 1}" for i in range(count)]
    step = next((n for n in (2, 5, 10, 20, 50) if n * cell >= wide), 100)
    return [str(i + 1) if i == 0 or not (i + 1) % step else "" for i in range(count)]


def _grid(names: list[str], size: float, room: float) -> tuple[list[str], float, float]:
    """Divide `room` points between names and cells: names of one or two lines, their width, and the cell."""
    count = len(names)
    broken = [balanced(name, size) if text_width(name, size) > LONG else name for name in names]
    for folded in (broken, names) if count <= FEW else (names,):
        longest = max(_widest(name, size) for name in folded)
        # Names get what they need, as long as the cells stay legible.
        width = min(longest, (0.36 if count > FEW else 0.46) * room)
        cell = min((room - width - 3) / count, 38.0 if count > 4 else 60.0)
        if cell >= 2 * size:  # two lines fit into a row
            break
    return list(folded), min(longest, room - 3 - cell * count + 1e-6), cell  # so that rounding cuts no name


def _widest(text: str, size: float) -> float:
    return max(text_width(line, size) for line in text.split("\n"))


def _fit(names: list[str], limit: float, size: float) -> list[str]:
    """Names of one or two lines, each line cut to `limit` points; in one line if they would become the same."""
    cut = ["\n".join(fit_text(line, limit, size) for line in name.split("\n")) for name in names]
    if any("\n" in name for name in names) and len(set(cut)) == len(set(names)):
        return cut
    return fit_names([name.replace("\n", " ") for name in names], limit, size)


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


# ---------------------------------------------------------------------------------------------------------------------
# Drawing


def _draw(
    plan: _Plan,
    values: npt.NDArray[np.float64],
    support: npt.NDArray[np.int64],
    normalise: bool,
    signed: bool,
) -> Figure:
    """The matrix, its labels and its colour bar; `values` and `support` in the order of the plan."""
    figure = new_figure(plan.width / 72, plan.height / 72, constrained=False)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, plan.width), ylim=(0, plan.height))
    page.axis("off")
    axes = axes_at(figure, plan.left, plan.bottom, plan.right - plan.left, plan.top - plan.bottom)
    colours = _colour_cells(axes, plan, values, support, normalise, signed)
    tones = [GREY if n == 0 else "black" for n in support]
    _write_labels(page, plan, tones)
    _write_groups(page, plan)
    if plan.bar:
        label = "% of the true class" if normalise else "clips"
        if signed:
            label = "change, points of the true class" if normalise else "change, clips"
        long = min(plan.cell * plan.count, 150.0, plan.width - plan.left - text_width(label, LEAST) - 9)
        _colour_bar(figure, colours, label, (plan.left, plan.top + 13, long, 5.0))
    return figure


def _colour_cells(
    axes: Axes,
    plan: _Plan,
    values: npt.NDArray[np.float64],
    support: npt.NDArray[np.int64],
    normalise: bool,
    signed: bool,
) -> ScalarMappable:
    """Colours and numbers of the cells; rows without clips are grey, lines separate the groups."""
    top = 1.0 if normalise and not signed else float(np.abs(values).max()) or 1.0
    colours = axes.pcolormesh(
        values,
        cmap=diverging() if signed else ramp(),
        norm=_signed_norm(top) if signed else PowerNorm(POWER, 0, top),
        edgecolors="#EDEDED",
        linewidth=0.25 if plan.cell > 4 else 0,
    )
    axes.set(xlim=(0, plan.count), ylim=(plan.count, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6)
    for i in np.flatnonzero(support == 0).tolist():
        axes.axhspan(i, i + 1, color="#E6E6E6", linewidth=0)
    if plan.others >= 0:
        rest = np.ma.masked_all_like(values)
        rest[plan.others], rest[:, plan.others] = np.abs(values[plan.others]), np.abs(values[:, plan.others])
        if not support[plan.others]:
            rest[plan.others] = np.ma.masked
        axes.pcolormesh(
            rest, cmap=greys(), norm=PowerNorm(POWER, 0, top), edgecolors="#EDEDED", linewidth=0.25
        )
        axes.axhline(plan.others, color="#555555", linewidth=0.5)
        axes.axvline(plan.others, color="#555555", linewidth=0.5)
    _write_cells(axes, values, top, normalise, signed, plan.cell, plan.count)
    for _, first, _ in plan.blocks[1:]:
        axes.axhline(first, color="#555555", linewidth=0.5)
        axes.axvline(first, color="#555555", linewidth=0.5)
    return colours


def _write_labels(page: Axes, plan: _Plan, tones: list[str]) -> None:
    """Names of the classes, number of clips, and titles of the axes."""
    right = plan.right + plan.counts_width - 2
    for i, tone in enumerate(tones):
        tone = GREY if i == plan.others else tone
        y = plan.top - (i + 0.5) * plan.row
        look: dict[str, Any] = {"fontsize": plan.size, "color": tone}
        va = "center" if "\n" in plan.rows[i] else "center_baseline"
        if i % plan.step == 0 or i == plan.others:
            page.text(plan.left - 3, y, plan.rows[i], ha="right", va=va, linespacing=1.0, **look)
            page.text(right, y, plan.counts[i], ha="right", va="center_baseline", **look)
        page.text(
            plan.left + (i + 0.5) * plan.cell, plan.bottom - 3, plan.columns[i], ha="center", va="top", linespacing=1.0,
            rotation=0 if plan.upright else 90, multialignment="center" if plan.upright else "right", **look,
        )  # fmt: skip
    page.text(right, plan.top + 2.5, "n", ha="right", va="bottom", fontsize=plan.size, style="italic")
    middle = (plan.left + plan.right) / 2
    page.text(middle, 3, "predicted class", ha="center", va="bottom", fontsize=LABEL)
    page.text(
        plan.left - plan.names_width - 6, (plan.bottom + plan.top) / 2, "true class",
        ha="right", va="center", rotation=90, fontsize=LABEL,
    )  # fmt: skip


def _write_groups(page: Axes, plan: _Plan) -> None:
    """Names of the groups right of the counts, each next to a line over its rows."""
    edge, lowest = plan.right + plan.counts_width + 3, plan.height
    for group, first, last in plan.blocks if plan.group_width else []:
        high, low = plan.top - first * plan.row, plan.top - (last + 1) * plan.row
        page.plot([edge, edge], [high - 1.2, low + 1.2], color=GREY, linewidth=0.8)
        lines = max(1, int((high - low) / (plan.size * 1.15)))
        if (high + low) / 2 + 0.6 * plan.size > lowest:  # its name would overlap the one above
            continue
        text = wrap_text(group, plan.group_width - 7, plan.size, min(lines, 2))
        lowest = (high + low) / 2 - 0.6 * plan.size * (text.count("\n") + 1)
        page.text(
            edge + 3, (high + low) / 2, text, ha="left", va="center", fontsize=plan.size, linespacing=1.0
        )


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
    figure: Figure, colours: ScalarMappable, label: str, box: tuple[float, float, float, float]
) -> None:
    x, y, w, h = box
    bar = colour_bar(figure, colours, box, above=True)
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
    text_at(figure, x + w + 5, y + h / 2, label, ha="left", va="center", fontsize=LEAST)
