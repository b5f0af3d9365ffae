"""The embedding map with the prototypes in it, and what one class gains and loses there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mgkit.errors import MgkitError
from mgkit.results.metrics import confusion_matrix
from mgkit.results.runs import Predictions, Run
from mgkit.views.analysis.maps import EmbeddingMap, embedding_map
from mgkit.views.figures.style import (
    CLASS_COLOURS,
    FAINT,
    GREY,
    KIND_MARKERS,
    KINDS,
    LEAST,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    fit_text,
    in_style,
    new_figure,
    width_of,
)


@in_style
def prototype_map(
    run: Run,
    split: str = "test",
    pathway: str | None = None,
    highlight: str | None = None,
    *,
    chosen: Sequence[str] | None = None,
    seed: int = 0,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Two views of one UMAP: classes and their prototypes (stars), and the TP, FN and FP clips of one class.

    Args:
        run: a run with embeddings of the split.
        split: an evaluated split.
        pathway: "rgb" or "pose", by default the first of the run; TP, FN and FP are of the same pathway.
        highlight: the class of the second panel; by default the one with the most errors.
        chosen: the classes coloured in the first panel, at most 10, others grey. By default all up to 10 classes;
            of more, the highlighted class and the five it is most confused with.
        seed: seed of the map.
        venue: a key of `style.VENUES`.
        columns: 2 puts the panels side by side, 1 on top of each other.

    Returns:
        The figure; its data has one row a clip and prototype: `kind`, `clip_id`, `class`, `x`, `y`, `role`.

    Raises:
        MgkitError: an unknown class, split or pathway, more than 10 chosen classes, or no embeddings.
    """
    drawn = embedding_map(run, split, pathway, seed=seed)
    predictions = run.predictions(split)
    index = _worst(predictions, drawn.pathway) if highlight is None else run.classes.index(highlight)
    if chosen is None:
        coloured = list(range(len(run.classes)))
        if len(coloured) > len(CLASS_COLOURS):
            coloured = [index, *_rivals(predictions, drawn.pathway, index, 5)]
    else:
        coloured = [run.classes.index(name) for name in chosen]
        if len(coloured) > len(CLASS_COLOURS):
            raise MgkitError(f"{len(coloured)} classes cannot be told apart by colour: choose at most 10.")
    roles = predictions.kinds(drawn.pathway, index)

    width = width_of(venue, columns)
    wide = columns == 2
    figure = new_figure(width, 0.5 * width + 0.15 if wide else 2.1 * width)
    left, right = figure.subplots(*((1, 2) if wide else (2, 1)))
    _draw_classes(left, drawn, run, coloured, width * 72 / (2 if wide else 1))
    _draw_roles(right, drawn, run.classes.names[index], index, roles, width * 72 / (2 if wide else 1))
    for axes in (left, right):
        _frame(axes, drawn)
    data = drawn.frame(run.classes)
    data["role"] = [*roles, *[""] * int(drawn.seen.sum())]
    never = [run.classes.names[k] for k in coloured if not drawn.seen[k]]
    note = f"{drawn.method} of the {OUTPUT_NAMES[drawn.pathway]} embeddings of {split}; stars are class prototypes; "
    note += drawn.note
    note += f"; no prototype yet: {', '.join(never)}" if never else ""
    return PaperFigure(figure, data, note)


def _worst(predictions: Predictions, pathway: str) -> int:
    counts = confusion_matrix(predictions.labels, predictions.predicted(pathway), predictions.class_count)
    errors = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
    return int(errors.argmax())


def _rivals(predictions: Predictions, pathway: str, index: int, many: int) -> list[int]:
    """The classes that clips of `index` are taken for, or that are taken for it, most often."""
    counts = confusion_matrix(predictions.labels, predictions.predicted(pathway), predictions.class_count)
    both = counts[index] + counts[:, index]
    both[index] = 0
    return [int(k) for k in np.argsort(-both, kind="stable")[:many] if both[k] > 0]


def _dot(count: int) -> float:
    """Marker area in points² for this many points: single ones stay visible, thousands do not merge."""
    return float(np.clip(4200 / max(count, 1), 2.2, 13))


def _scatter(
    axes: Axes, points: npt.NDArray[np.float32], size: float, colour: str, marker: str, order: float
) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], s=size, c=colour, marker=marker, linewidths=0, alpha=0.85, zorder=order,
        rasterized=True,
    )  # fmt: skip


def _star(axes: Axes, point: npt.NDArray[np.float32], colour: str, size: float, order: float) -> None:
    axes.scatter(
        point[0], point[1], s=size, marker="*", c=colour, edgecolors="white", linewidths=1.8, zorder=order
    )
    axes.scatter(
        point[0], point[1], s=size, marker="*", c=colour, edgecolors="black", linewidths=0.5, zorder=order
    )


def _star_handle(label: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="*", markersize=7, markerfacecolor="white", markeredgecolor="black",
        markeredgewidth=0.5, label=label,
    )  # fmt: skip


def _draw_classes(axes: Axes, drawn: EmbeddingMap, run: Run, coloured: list[int], room: float) -> None:
    size = _dot(len(drawn.points))
    rest = ~np.isin(drawn.labels, coloured)
    _scatter(axes, drawn.points[rest], 0.7 * size, FAINT, "o", 1)
    handles = []
    for i, k in enumerate(coloured):
        colour = CLASS_COLOURS[i]
        _scatter(axes, drawn.points[drawn.labels == k], size, colour, "o", 2)
        if drawn.seen[k]:
            _star(axes, drawn.prototypes[k], colour, 55, 4)
        label = fit_text(run.classes.names[k], 0.36 * room, SMALL)
        handles.append(Line2D([], [], linestyle="", marker="o", markersize=4, color=colour, label=label))
    for k in range(len(drawn.seen)):
        if drawn.seen[k] and k not in coloured:
            _star(axes, drawn.prototypes[k], "#F2F2F2", 18, 3)
    if rest.any():
        handles.append(
            Line2D([], [], linestyle="", marker="o", markersize=3, color=FAINT, label="other classes")
        )
    if drawn.seen.any():
        handles.append(_star_handle("prototype"))
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2, handletextpad=0.1,
        columnspacing=0.8, borderaxespad=0,
    )  # fmt: skip


def _draw_roles(
    axes: Axes, drawn: EmbeddingMap, name: str, index: int, roles: npt.NDArray[np.str_], room: float
) -> None:
    size = _dot(len(drawn.points))
    _scatter(axes, drawn.points[roles == "TN"], 0.7 * size, FAINT, "o", 1)
    handles = []
    says = {"TP": "recognised", "FN": "missed", "FP": "others taken for it"}
    for order, (kind, marker) in enumerate(KIND_MARKERS.items()):
        chosen = roles == kind
        points = drawn.points[chosen]
        axes.scatter(
            points[:, 0], points[:, 1], s=1.8 * size + 4, c=KINDS[kind], marker=marker, edgecolors="white",
            linewidths=0.25, zorder=3 + 0.1 * order, rasterized=len(points) > 300,
        )  # fmt: skip
        label = f"{kind}: {says[kind]} ({int(chosen.sum())})"
        handles.append(
            Line2D([], [], linestyle="", marker=marker, markersize=4, color=KINDS[kind], label=label)
        )
    if drawn.seen[index]:
        _star(axes, drawn.prototypes[index], "white", 70, 5)
    handles.append(Line2D([], [], linestyle="", marker="o", markersize=3, color=FAINT, label="other clips"))
    if drawn.seen[index]:
        handles.append(_star_handle("its prototype"))
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2, handletextpad=0.1,
        columnspacing=0.8, borderaxespad=0,
    )  # fmt: skip
    axes.annotate(
        fit_text(name, 0.8 * room, SMALL), (0, 1), xycoords="axes fraction", xytext=(3, -3), textcoords="offset points",
        va="top", fontsize=SMALL, style="italic", zorder=6,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
    )  # fmt: skip


def _frame(axes: Axes, drawn: EmbeddingMap) -> None:
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)
    axes.set_xlabel(
        f"{drawn.method} ({drawn.note})" if drawn.method == "UMAP" else drawn.method,
        fontsize=LEAST,
        color=GREY,
    )
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.5, color="#999999")
