"""Similarity of the class prototypes as a matrix, and its relation to confusion as a scatter plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mgkit.data.clips import Classes
from mgkit.errors import counted
from mgkit.results.run.folder import Run, as_run
from mgkit.views.analysis.outcomes import class_order
from mgkit.views.analysis.prototypes import (
    SimilarityConfusion,
    run_similarity_and_confusion,
)
from mgkit.views.analysis.prototypes import (
    prototype_similarity as similarity_matrix,
)
from mgkit.views.figures.style import (
    GREY,
    LABEL,
    LEAST,
    OUTPUT_COLOURS,
    OUTPUT_NAMES,
    PAGE,
    SMALL,
    PaperFigure,
    axes_at,
    colour_bar,
    diverging,
    every,
    fit_names,
    in_style,
    new_figure,
    text_at,
    text_width,
    width_of,
)

NAMED = 4  # pairs labelled with their numbers in the scatter plot: the most confused ones
DRAWS = 2000  # permutations and bootstrap samples behind p and the interval
SCATTER = 150.0  # points; its height at most


@in_style
def prototype_similarity(
    run: Run | str | Path,
    pathway: str | None = None,
    *,
    split: str = "test",
    order: str = "groups",
    scatter: bool = True,
    seed: int = 0,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Cosine similarity of the final prototypes, and the confusion of two classes against it.

    Args:
        run: a run with prototypes.
        pathway: "rgb" or "pose"; by default the first that has prototypes.
        split: an evaluated split, for the confusion; not used without `scatter`.
        order: of the classes, as in `confusion`: "groups" keeps their groups together, "cluster" puts similar classes
            next to each other (average linkage, those without a prototype last), "given" keeps the label order.
        scatter: draw the second panel, one point per pair of classes.
        seed: of the permutations and bootstrap behind p and the interval.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 2 puts the panels side by side, 1 on top of each other.

    Returns:
        The figure; its data has one row per pair of classes: `class_a`, `class_b`, `similarity` in [-1, 1], NaN if one
        has no prototype, and with `scatter` the `confusion` in [0, 1] and `clips` taken for the other, NaN if the pair
        is excluded (`mg.analysis.similarity_and_confusion`).

    Raises:
        MgkitError: no prototypes, a split that was not evaluated, or an unknown pathway, order or venue.
    """
    run = as_run(run)
    if pathway is None:
        pathway = next(iter(run.prototypes().vectors))
    similarity, seen = similarity_matrix(run, pathway)
    classes = run.classes
    sequence = _sequence(classes, similarity, seen, order)
    found = None
    if scatter:
        found = run_similarity_and_confusion(run, np.random.default_rng(seed), split, pathway, draws=DRAWS)
    width = 72 * width_of(venue, columns)
    figure = _draw(
        similarity, seen, sequence, classes, order == "groups", found, pathway, width, columns == 2
    )

    a, b = np.triu_indices(len(classes), 1)
    names = np.array(classes.names, dtype=object)
    data = pd.DataFrame({"class_a": names[a], "class_b": names[b], "similarity": similarity[a, b]})
    note = f"cosine similarity of the {OUTPUT_NAMES[pathway]} prototypes; classes are numbered in the order shown"
    note += ", and named where there is room" if len(classes) * LEAST > 72 * PAGE - 80 else ""
    missing = [classes.names[k] for k in np.flatnonzero(~seen)]
    note += f"; hatched, without a prototype: {', '.join(missing)}" if missing else ""
    if found is not None:
        pairs = found.pairs[["class_a", "class_b", "confusion", "clips"]]
        data = data.merge(pairs, "left", on=["class_a", "class_b"], validate="one_to_one")
        note += (
            f"; confusion: mean of the shares of two classes taken for each other on {split}, "
            f"{counted(len(pairs), 'pair')}; {_finding(found)} (Spearman, 95 % bootstrap over classes, Mantel test)"
        )
        note += f"; no clips in {split}: {', '.join(found.absent)}" if found.absent else ""
    return PaperFigure(figure, data, note)


def _sequence(
    classes: Classes, similarity: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_], order: str
) -> npt.NDArray[np.int64]:
    if order != "cluster":
        return class_order(classes, np.zeros_like(similarity), order)
    known = np.flatnonzero(seen)
    if len(known) > 2:
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        distance = 1 - similarity[np.ix_(known, known)].astype(np.float64)
        np.fill_diagonal(distance, 0)
        tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
        known = known[leaves_list(tree)]
    return np.concatenate([known, np.flatnonzero(~seen)]).astype(np.int64)


def _finding(found: SimilarityConfusion) -> str:
    if np.isnan(found.rho):
        return f"ρ is not defined over {len(found.pairs)} pair{'s' * (len(found.pairs) != 1)}"
    interval = "" if np.isnan(found.low) else f" [{_signed(found.low)}, {_signed(found.high)}]"
    return f"ρ = {_signed(found.rho)}{interval}, {f'p = {found.p:.3f}' if found.p >= 0.001 else 'p < 0.001'}"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # + 0.0: no minus before a zero


def _draw(
    similarity: npt.NDArray[np.float32],
    seen: npt.NDArray[np.bool_],
    sequence: npt.NDArray[np.int64],
    classes: Classes,
    grouped: bool,
    found: SimilarityConfusion | None,
    pathway: str,
    width: float,
    wide: bool,
) -> Figure:
    """Placed in points like the confusion matrix: cells must be square, labels must fit, and the width is given."""
    # Sizes: names and numbers, cells, and the second panel next to or below the matrix.
    count = len(sequence)
    size = SMALL if count <= 8 else LEAST
    beside = found is not None and wide
    room = 0.62 * width if beside else width
    numbered = [f"{i + 1}  {classes.names[k]}" for i, k in enumerate(sequence)]
    # With some slack: text on a screen is slightly wider.
    names_width = min(1.03 * max(text_width(name, size) for name in numbered) + 2, 0.4 * room)
    cell = min((room - names_width - 9) / count, 24.0 if count > 4 else 40.0)
    # Rows as high as their names, unless the figure would be higher than a page.
    spare = 72 * PAGE - 80 - (0 if found is None or beside else SCATTER + 2 * LABEL + SMALL + 26)
    row = min(max(cell, size + 0.4), max(cell, spare / count))
    named = every(row, size + 0.4)
    grid, square = row * count, cell * count
    widest = text_width(str(count), size)
    two_lines = cell < widest + 1.5
    # Numbers below the columns: all, or every fifth, tenth, ...
    step = 1 if 2 * cell >= widest + 1.5 else next((n for n in (5, 10, 20) if n * cell >= widest + 2), 50)
    below, bar = (2.2 if two_lines and step == 1 else 1.1) * size + 6, 20.0
    panel = 0.0 if found is None else min(max(grid, 0.62 * SCATTER), SCATTER)
    foot = 2 * LABEL + SMALL + 22  # below the scatter: ticks, title, finding
    tall = 12 + grid + below + bar
    height = tall if not found else max(tall, panel + foot + 6) if beside else tall + panel + foot + 4

    # The matrix, with lines between groups.
    figure = new_figure(width / 72, height / 72, constrained=False)
    left = names_width + 6 + (0 if beside else max(0.0, (room - names_width - 9 - square) / 2))
    top = height - 4
    axes = axes_at(figure, left, top - grid, square, grid)
    _heat(axes, similarity[np.ix_(sequence, sequence)], seen[sequence], cell)
    if grouped and classes.groups is not None:
        groups = [classes.groups[k] for k in sequence]
        for i in range(1, count):
            if groups[i] != groups[i - 1]:
                axes.axhline(i, color="#555555", linewidth=0.5)
                axes.axvline(i, color="#555555", linewidth=0.5)

    # Names with numbers at the rows, numbers below the columns, all or every fifth.
    shown = fit_names(numbered, names_width, size)
    for i, k in enumerate(sequence):
        look: dict[str, Any] = {"fontsize": size, "color": "black" if seen[k] else GREY}
        if i % named == 0:
            text_at(
                figure, left - 3, top - (i + 0.5) * row, shown[i], ha="right", va="center_baseline",
                style="normal" if seen[k] else "italic", **look,
            )  # fmt: skip
        if step == 1 or not i or not (i + 1) % step:
            low = (
                1.05 * size if two_lines and step == 1 and i % 2 == 1 else 0
            )  # alternating between two lines
            text_at(
                figure,
                left + (i + 0.5) * cell,
                top - grid - 2.5 - low,
                str(i + 1),
                ha="center",
                va="top",
                **look,
            )

    # The colour bar, and the scatter plot.
    label, under = "cosine similarity", top - grid - below - 8
    long = min(max(square, 60.0), 110.0, width - left - text_width(label, LEAST) - 18)
    scale = colour_bar(figure, axes.collections[0], (left, under, long, 5.0))
    ends = axes.collections[0].get_clim()
    scale.set_ticks([ends[0], 0, ends[1]], labels=[_signed(value) for value in (ends[0], 0, ends[1])])
    text_at(figure, left + long + 12, under + 2.5, label, ha="left", va="center", fontsize=LEAST)
    if found is not None:
        indent = 30.0
        start = room + indent if beside else indent + 4
        box = (start, top - panel if beside else foot, width - start - 8, panel)
        _scatter(axes_at(figure, *box), found, sequence, classes, pathway, box[2:])
    return figure


def _scale(values: npt.NDArray[np.float32]) -> float:
    """The similarity at the ends of the colours: the largest of the pairs, of either sign, in tenths."""
    pairs = values[~np.eye(len(values), dtype=bool)]
    pairs = pairs[np.isfinite(pairs)]
    return max(0.1, float(np.ceil(10 * np.abs(pairs).max()) / 10)) if len(pairs) else 1.0


def _heat(axes: Axes, values: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_], cell: float) -> None:
    count = len(values)
    end = _scale(values)
    shown = np.ma.masked_where(np.eye(count, dtype=bool) | ~np.isfinite(values), values)
    axes.pcolormesh(
        shown,
        cmap=diverging(),
        norm=Normalize(-end, end),
        edgecolors="#EDEDED",
        linewidth=0.25 if cell > 6 else 0,
    )
    axes.set(xlim=(0, count), ylim=(count, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6)
    for i in range(count):
        axes.add_patch(Rectangle((i, i), 1, 1, facecolor="white", linewidth=0))
        if not seen[i]:
            for x, y, w, h in ((0, i, count, 1), (i, 0, 1, count)):
                axes.add_patch(
                    Rectangle(
                        (x, y), w, h, facecolor="#F0F0F0", edgecolor="#9A9A9A", hatch="/////", linewidth=0
                    )
                )
    axes.plot(
        [0, count], [0, count], color="#9A9A9A", linewidth=0.6
    )  # white alone would be a similarity in print
    cells = list(zip(*np.nonzero(~np.ma.getmaskarray(shown)), strict=True))
    texts = [_signed(float(values[i, k])).replace("0.", ".", 1) for i, k in cells]
    if any(
        text_width(text, LEAST) > cell - 1.5 for text in texts
    ):  # all or none: a cell without one would be 0
        return
    for (i, k), text in zip(cells, texts, strict=True):
        tone = "white" if abs(float(values[i, k])) > 0.6 * end else "black"
        axes.text(k + 0.5, i + 0.5, text, ha="center", va="center_baseline", fontsize=LEAST, color=tone)


def _scatter(
    axes: Axes,
    found: SimilarityConfusion,
    sequence: npt.NDArray[np.int64],
    classes: Classes,
    pathway: str,
    box: tuple[float, float],
) -> None:
    pairs = found.pairs
    x, y = pairs["similarity"].to_numpy(), 100 * pairs["confusion"].to_numpy()
    axes.scatter(
        x, y, s=float(np.clip(1600 / max(len(pairs), 1), 5, 16)), color=OUTPUT_COLOURS[pathway], alpha=0.65,
        linewidths=0, rasterized=len(pairs) > 400,
    )  # fmt: skip
    axes.set_xlabel("similarity of the prototypes")
    axes.set_ylabel("taken for each other (%)")
    axes.margins(0.08)
    most = max(float(y.max()) if len(y) else 0.0, 1.0)
    axes.set_ylim(-0.04 * most, 1.08 * most)
    axes.yaxis.grid(True)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=5)
    place = {classes.names[k]: i + 1 for i, k in enumerate(sequence)}
    taken: list[tuple[float, float, float, float]] = []  # labels: left, right, low, high, in points
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    marks = np.stack([(x - x0) / (x1 - x0) * box[0], (y - y0) / (y1 - y0) * box[1]], 1)
    for i in np.argsort(-y, kind="stable")[:NAMED]:
        numbers = "–".join(str(n) for n in sorted((place[pairs["class_a"][i]], place[pairs["class_b"][i]])))
        wide = text_width(numbers, LEAST)
        # Right or left of its mark, or above it, where neither a mark nor another label is; otherwise none.
        for side, up in ((1, 0.0), (-1, 0.0), (0, 7.0), (0, -7.0)):
            middle = (marks[i, 0] + side * (4 + wide / 2), marks[i, 1] + up)
            area = (middle[0] - wide / 2, middle[0] + wide / 2, middle[1] - 3.2, middle[1] + 3.2)
            inside = (marks[:, 0] > area[0] - 2) & (marks[:, 0] < area[1] + 2)
            inside &= (marks[:, 1] > area[2] - 1.5) & (marks[:, 1] < area[3] + 1.5)
            clear = not np.delete(inside, i).any() and area[0] >= 0 and area[1] <= box[0] and area[2] >= 0
            if (
                y[i] > 0
                and clear
                and not any(
                    area[0] < r and l < area[1] and area[2] < h and w < area[3] for l, r, w, h in taken
                )
            ):
                taken.append(area)
                axes.annotate(
                    numbers, (x[i], y[i]), xytext=(middle[0] - marks[i, 0], up), textcoords="offset points",
                    fontsize=LEAST, ha="center", va="center",
                )  # fmt: skip
                break
    axes.annotate(
        _finding(found), (0.5, 0), xycoords="axes fraction", xytext=(0, -2 * LABEL - 11), textcoords="offset points",
        ha="center", va="top", fontsize=SMALL,
    )  # fmt: skip
