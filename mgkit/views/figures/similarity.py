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
    SMALL,
    PaperFigure,
    axes_at,
    colour_bar,
    fit_names,
    in_style,
    new_figure,
    ramp,
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
    missing = [classes.names[k] for k in np.flatnonzero(~seen)]
    note += f"; hatched, without a prototype: {', '.join(missing)}" if missing else ""
    if found is not None:
        pairs = found.pairs[["class_a", "class_b", "confusion", "clips"]]
        data = data.merge(pairs, "left", on=["class_a", "class_b"], validate="one_to_one")
        note += (
            f"; confusion: mean of the shares of two classes taken for each other on {split}, {len(pairs)} pairs"
            f"; {_finding(found)} (Spearman, 95 % bootstrap over classes, Mantel test)"
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
    names_width = min(max(text_width(name, size) for name in numbered), 0.4 * room)
    cell = min((room - names_width - 9) / count, 24.0 if count > 4 else 40.0)
    row = max(cell, size + 0.4)
    grid, square = row * count, cell * count
    widest = text_width(str(count), size)
    two_lines = cell < widest + 1.5
    step = 1 if 2 * cell >= widest + 1.5 else 5  # numbers below the columns: all, or every fifth
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
    least, most = axes.collections[0].get_clim()
    middle = 0.0 if least < 0 < most and min(-least, most) > 0.2 * (most - least) else (least + most) / 2
    scale.set_ticks([least, middle, most], labels=[_signed(value) for value in (least, middle, most)])
    text_at(figure, left + long + 12, under + 2.5, label, ha="left", va="center", fontsize=LEAST)
    if found is not None:
        indent = 30.0
        start = room + indent if beside else indent + 4
        box = (start, top - panel if beside else foot, width - start - 8, panel)
        _scatter(axes_at(figure, *box), found, sequence, classes, pathway, box[2:])
    return figure


def _scale(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Limits of the colours: those of the pairs, in tenths, without the 1 of a class with itself."""
    pairs = values[~np.eye(len(values), dtype=bool)]
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        return 0.0, 1.0
    low, high = np.floor(10 * float(pairs.min())) / 10, np.ceil(10 * float(pairs.max())) / 10
    return float(low), float(max(high, low + 0.1))


def _heat(axes: Axes, values: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_], cell: float) -> None:
    count = len(values)
    low, high = _scale(values)
    shown = np.ma.masked_where(np.eye(count, dtype=bool) | ~np.isfinite(values), values)
    axes.pcolormesh(
        shown, cmap=ramp(), norm=Normalize(low, high), edgecolors="#EDEDED", linewidth=0.25 if cell > 6 else 0
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
    for i, k in zip(*np.nonzero(~np.ma.getmaskarray(shown)), strict=True):
        value = float(values[i, k])
        text = _signed(value).replace("0.", ".", 1)
        if text_width(text, LEAST) > cell - 1.5:
            continue
        tone = "white" if (value - low) / (high - low) > 0.5 else "black"
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
    taken: list[tuple[float, float]] = []
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    for i in np.argsort(-y, kind="stable")[:NAMED]:
        spot = ((x[i] - x0) / (x1 - x0) * box[0], (y[i] - y0) / (y1 - y0) * box[1])
        if y[i] <= 0 or any(abs(spot[0] - u) < 24 and abs(spot[1] - v) < 8 for u, v in taken):
            continue
        taken.append(spot)
        side = -1 if spot[0] > 0.7 * box[0] else 1
        numbers = "–".join(str(n) for n in sorted((place[pairs["class_a"][i]], place[pairs["class_b"][i]])))
        axes.annotate(
            numbers, (x[i], y[i]), xytext=(4 * side, 0), textcoords="offset points", fontsize=LEAST,
            ha="left" if side > 0 else "right", va="center",
        )  # fmt: skip
    axes.annotate(
        _finding(found), (0.5, 0), xycoords="axes fraction", xytext=(0, -2 * LABEL - 11), textcoords="offset points",
        ha="center", va="top", fontsize=SMALL,
    )  # fmt: skip
