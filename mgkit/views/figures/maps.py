"""Maps of the embedding: clips and prototypes of a run, and two runs, before and after refinement, on the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, is_color_like
from matplotlib.lines import Line2D

from mgkit.errors import MgkitError, counted, meant, some
from mgkit.results.compare.runs import aligned_runs
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Floats, Ints
from mgkit.views.analysis.embedding import (
    COLOURS,
    MOST,
    EmbeddingMap,
    coloured_classes,
    confidence_of,
    distance_of,
    embedding_map,
    joint_maps,
    subjects_of,
    worst_class,
)
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
    fit_names,
    fit_text,
    in_style,
    new_figure,
    width_of,
)

# Viridis without its ends, which are invisible on dark and light backgrounds; the same stops as in the widget.
RAMP = ListedColormap(
    LinearSegmentedColormap.from_list(
        "mgkit", ["#463480", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#d2e21b"]
    )(np.linspace(0, 1, 256))
)


@in_style
def prototype_map(
    run: Run | str | Path,
    split: str = "test",
    pathway: str | None = None,
    highlight: str | None = None,
    *,
    colour: str | None = None,
    chosen: Sequence[str] | None = None,
    colours: Mapping[str, str] | None = None,
    epoch: int | None = None,
    paths: bool = False,
    seed: int = 0,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """UMAP of clips and prototypes (stars): a panel of classes and one of TP, FN and FP, or a single colouring.

    Args:
        run: a run with embeddings of the split.
        split: an evaluated split.
        pathway: "rgb" or "pose", by default the first of the run; TP, FN and FP are of the same pathway.
        highlight: the class of "kind"; by default the one with the most errors.
        colour: None draws two panels, "class" and "kind" (TP, FN and FP). One of "class", "kind", "subject",
            "confidence" (of the predicted class) and "distance" (cosine, to the prototype of the clip's own class)
            draws only that.
        chosen: the classes (or subjects) coloured, at most 10, others grey. By default all up to 10; of more, the
            highlighted class and the five it is most confused with, or the six subjects with the most clips.
        colours: {class (or subject): matplotlib colour}; these are the coloured ones unless `chosen` names others.
        epoch: the epoch whose prototypes are drawn; by default the last.
        paths: draw how the prototypes moved over the epochs, each in the colour of its class (grey next to subjects),
            from a ring after the first epoch to the star; of more than 10 classes only the coloured ones, and next to
            TP, FN and FP only that of the class. The data has all.
        seed: seed of the map.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 2 puts the two panels side by side, 1 on top of each other.

    Returns:
        The figure; its data has one row per clip and prototype: `kind`, `clip_id`, `class`, `x`, `y`, `role`, and
        `value` with the subject, confidence or distance; with `paths` also earlier prototypes, and their `epoch`.

    Raises:
        MgkitError: an unknown class, subject, split, pathway, colour or epoch, more than 10 chosen, no embeddings, or
            subjects or distances that the run does not have.
    """
    run = as_run(run)
    if colour is not None and colour not in COLOURS:
        raise MgkitError(f"{colour!r} is not a colouring: use one of {', '.join(COLOURS)}, or None.")
    # The map, and the role of each clip for the highlighted class.
    drawn = embedding_map(run, split, pathway, seed=seed)
    predictions = run.predictions(split)
    stars = drawn.stars(epoch)
    index = worst_class(predictions, drawn.pathway) if highlight is None else run.classes.index(highlight)
    roles = predictions.kinds(drawn.pathway, index)
    data = drawn.frame(run.classes, epoch, paths)
    rest = len(data) - len(roles)
    data["role"] = [*roles, *[""] * rest]
    own = dict(colours or {})
    wrong = [name for name, value in own.items() if not is_color_like(value)]
    if wrong:
        raise MgkitError(f"colours: {own[wrong[0]]!r} of {wrong[0]!r} is not a colour that matplotlib knows.")
    chosen = list(own) if chosen is None and own else chosen
    coloured = (
        coloured_classes(predictions, drawn.pathway, index)
        if chosen is None or colour == "subject"
        else picked(chosen, run.classes.names, "class", own)
    )
    palette = _palette([run.classes.names[k] for k in coloured], own)
    of_class = dict(zip(coloured, palette, strict=True))

    # Of many classes only the coloured ones have paths: all of them would hide the clips.
    moved = np.flatnonzero(drawn.seen).tolist()
    few_paths = len(moved) > MOST or colour == "kind"
    if few_paths:
        moved = [k for k in moved if k in ({index} if colour == "kind" else {index, *coloured})]

    # One panel, or two next to or below each other.
    width = width_of(venue, columns)
    wide = columns == 2 and colour is None
    room = width * 72 / (2 if wide else 1)
    if colour is None:
        figure = new_figure(width, 0.5 * width + 0.15 if wide else 2.1 * width)
        both = figure.subplots(*((1, 2) if wide else (2, 1)), sharex=True, sharey=True)
        panels = dict(zip(("class", "kind"), both, strict=True))
    else:
        figure = new_figure(width, min(1.02 * width + 0.2, 5.2))
        panels = {colour: figure.subplots()}
    names: Sequence[str] = run.classes.names
    bold: dict[int, str] = {}  # the coloured stars
    for what, axes in panels.items():
        if what == "kind":
            _draw_roles(axes, drawn, names[index], stars[index], roles, room)
            bold = {index: "white"}
        elif what == "class":
            bold = of_class
            draw_groups(
                axes, drawn, drawn.labels, names, coloured, palette, "other classes", stars, bold, room
            )
        elif what == "subject":
            found = subjects_of(run, drawn.clip_ids)
            few = found.names if len(found.names) <= MOST else found.names[:6]
            subjects = picked(few if chosen is None else chosen, found.names, "subject", own)
            tones = _palette([found.names[k] for k in subjects], own)
            draw_groups(
                axes, drawn, found.of, found.names, subjects, tones, "other subjects", stars, {}, room
            )
            data["value"] = [*(found.names[k] for k in found.of), *[""] * rest]
        else:
            of = confidence_of if what == "confidence" else distance_of
            values = of(predictions, drawn.pathway)
            _draw_values(axes, drawn, values, what, stars)
            data["value"] = [*values, *[np.nan] * rest]
        if paths and what == "kind":  # where only its own star shows an end
            _draw_paths(axes, drawn, {index: "black"}, [k for k in moved if k == index])
        elif paths:  # next to subjects, colours of classes would have two meanings
            _draw_paths(axes, drawn, {} if what == "subject" else of_class, moved)
        draw_frame(axes, drawn)

    # The caption names coloured classes without a star.
    never = [names[k] for k in range(len(names)) if np.isnan(stars[k, 0])] if len(drawn.epochs) else []
    shown = [name for name in never if run.classes.index(name) in coloured]
    note = f"{drawn.method} of the {OUTPUT_NAMES[drawn.pathway]} embeddings of {split}; stars are class prototypes"
    note += f" after epoch {epoch}; " if epoch is not None else "; "
    note += drawn.note
    if paths:
        which = f" of {len(moved)} of {int(drawn.seen.sum())} classes" if few_paths else ""
        note += f"; lines show how prototypes{which} moved, from a ring after the first epoch to the star"
    note += f"; no prototype yet: {', '.join(shown)}" if shown else ""
    return PaperFigure(figure, data, note)


def _palette(names: Sequence[str], own: Mapping[str, str]) -> list[str]:
    """A colour for each name: its own, or the next of `CLASS_COLOURS`."""
    rest = iter([colour for colour in CLASS_COLOURS if colour not in own.values()])
    return [own[name] if name in own else next(rest, GREY) for name in names]


def picked(
    wanted: Sequence[str], names: Sequence[str], what: str, own: Mapping[str, str] | None = None
) -> list[int]:
    """Indices of the chosen classes or subjects; unknown ones, or too many, raise a `MgkitError`."""
    unknown = [name for name in wanted if name not in names]
    if unknown:
        hint = meant(str(unknown[0]), names) or f"; there are {some(names)}."
        raise MgkitError(f"there is no {what} {unknown[0]!r}{hint}")
    if len([name for name in wanted if name not in (own or {})]) > MOST:
        plural = "classes" if what == "class" else "subjects"
        raise MgkitError(f"{len(wanted)} {plural} cannot be distinguished by colour: choose at most {MOST}.")
    return [list(names).index(name) for name in wanted]


def _dot(count: int) -> float:
    """Marker area in points² by the number of points: single ones stay visible, thousands do not merge."""
    return float(np.clip(4200 / max(count, 1), 2.2, 13))


def _scatter(
    axes: Axes, points: npt.NDArray[np.float32], size: float, colour: str, marker: str, order: float
) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], s=size, c=colour, marker=marker, linewidths=0, alpha=0.85, zorder=order,
        rasterized=True,
    )  # fmt: skip


def _star(axes: Axes, point: npt.NDArray[np.float32], colour: str, size: float, order: float) -> None:
    for edge, width in (("white", 1.8), ("black", 0.5)):  # a white rim around a black line
        axes.scatter(
            point[0], point[1], s=size, marker="*", c=colour, edgecolors=edge, linewidths=width, zorder=order
        )


def _handle(label: str, colour: str, marker: str = "o", size: float = 4) -> Line2D:
    """A marker in a legend."""
    return Line2D([], [], linestyle="", marker=marker, markersize=size, color=colour, label=label)


def _star_handle(label: str) -> Line2D:
    handle = _handle(label, "white", "*", 7)
    handle.set(markeredgecolor="black", markeredgewidth=0.5)
    return handle


def _legend_below(axes: Axes, handles: list[Line2D]) -> None:
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=2, handletextpad=0.1,
        columnspacing=0.8, borderaxespad=0,
    )  # fmt: skip


def _title(axes: Axes, text: str, **look: Any) -> None:
    """A title above a panel: inside it would hide marks."""
    axes.set_title(text, loc="left", fontsize=SMALL, pad=2, **look)


def draw_groups(
    axes: Axes,
    drawn: EmbeddingMap,
    of: Ints,
    names: Sequence[str],
    coloured: list[int],
    palette: Sequence[str],
    others: str,
    stars: Floats,
    bold: dict[int, str],
    room: float,
) -> None:
    size = _dot(len(drawn.points))
    rest = ~np.isin(of, coloured)
    _scatter(axes, drawn.points[rest], 0.7 * size, FAINT, "o", 1)
    handles = []
    labels = fit_names([names[k] for k in coloured], 0.36 * room, SMALL)
    for k, colour, label in zip(coloured, palette, labels, strict=True):
        _scatter(axes, drawn.points[of == k], size, colour, "o", 2)
        handles.append(_handle(label, colour))
    _draw_stars(axes, stars, bold)
    if rest.any():
        handles.append(_handle(others, FAINT, size=3))
    if np.isfinite(stars).any():
        handles.append(_star_handle("prototype"))
    _legend_below(axes, handles)


def _draw_stars(axes: Axes, stars: Floats, bold: dict[int, str]) -> None:
    for k in np.flatnonzero(np.isfinite(stars[:, 0])).tolist():
        if k in bold:
            _star(axes, stars[k], bold[k], 55, 4)
        else:
            _star(axes, stars[k], "#F2F2F2", 18, 3)


def _draw_values(axes: Axes, drawn: EmbeddingMap, values: Floats, what: str, stars: Floats) -> None:
    size, known = _dot(len(drawn.points)), np.isfinite(values)
    _scatter(axes, drawn.points[~known], 0.7 * size, FAINT, "o", 1)
    high = 1.0 if what == "confidence" else max(0.1, np.ceil(10 * float(np.nanmax(values, initial=0))) / 10)
    points = drawn.points[known]
    dots = axes.scatter(
        points[:, 0], points[:, 1], s=size, c=values[known], cmap=RAMP, vmin=0, vmax=high, linewidths=0, zorder=2,
        rasterized=True,
    )  # fmt: skip
    _draw_stars(axes, stars, {})
    label = "confidence" if what == "confidence" else "cosine distance to own prototype"
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(dots, ax=axes, location="bottom", shrink=0.7, aspect=28, pad=0.02, label=label)
    bar.outline.set_linewidth(0.5)
    handles = []
    if (~known).any():
        grey = f"no prototype ({counted((~known).sum(), 'clip')})"
        handles.append(_handle(grey, FAINT, size=3))
    if np.isfinite(stars).any():
        handles.append(_star_handle("prototype"))
    if handles:
        axes.legend(
            handles=handles, loc="lower right", handletextpad=0.1, frameon=True, framealpha=0.75, edgecolor="none"
        )  # fmt: skip


def _draw_paths(axes: Axes, drawn: EmbeddingMap, colours: dict[int, str], moved: Sequence[int]) -> None:
    """How these prototypes moved: a line with a dot per epoch, on a white rim, from a ring to the star."""
    for k in moved:
        track = drawn.paths[:, k]
        x, y = track[np.isfinite(track[:, 0])].T
        colour, thick = colours.get(k, GREY), 1.0 if k in colours else 0.5
        axes.plot(x, y, color="white", linewidth=thick + 1, zorder=2.6, solid_joinstyle="round")
        axes.plot(
            x, y, color=colour, linewidth=thick, marker="o", markersize=1.2 + thick, markeredgewidth=0, zorder=2.7,
            solid_joinstyle="round",
        )  # fmt: skip
        if len(x) > 1:
            axes.plot(
                x[0], y[0], marker="o", markersize=2.5 + 2 * thick, markerfacecolor="white", markeredgecolor=colour,
                markeredgewidth=0.5 + 0.4 * thick, zorder=2.8,
            )  # fmt: skip


def _draw_roles(
    axes: Axes, drawn: EmbeddingMap, name: str, star: Floats, roles: npt.NDArray[np.str_], room: float
) -> None:
    size = _dot(len(drawn.points))
    _scatter(axes, drawn.points[roles == "TN"], 0.7 * size, FAINT, "o", 1)
    handles = []
    meaning = {"TP": "recognised", "FN": "missed", "FP": "others taken for it"}
    for order, (kind, marker) in enumerate(KIND_MARKERS.items()):
        chosen = roles == kind
        points = drawn.points[chosen]
        axes.scatter(
            points[:, 0], points[:, 1], s=1.8 * size + 4, c=KINDS[kind], marker=marker, edgecolors="white",
            linewidths=0.25, zorder=3 + 0.1 * order, rasterized=len(points) > 300,
        )  # fmt: skip
        label = f"{kind}: {meaning[kind]} ({int(chosen.sum())})"
        handles.append(_handle(label, KINDS[kind], marker))
    if np.isfinite(star[0]):
        _star(axes, star, "white", 70, 5)
    handles.append(_handle("other clips", FAINT, size=3))
    if np.isfinite(star[0]):
        handles.append(_star_handle("its prototype"))
    _legend_below(axes, handles)
    _title(axes, fit_text(name, 0.8 * room, SMALL), style="italic")


def draw_frame(axes: Axes, drawn: EmbeddingMap) -> None:
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)
    axes.set_xlabel(
        f"{drawn.method} ({drawn.note})" if drawn.method == "UMAP" else drawn.method,
        fontsize=LEAST,
        color=GREY,
    )
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.5, color="#999999")


@in_style
def refinement_maps(
    before: Run | str | Path,
    after: Run | str | Path,
    split: str = "test",
    pathway: str | None = None,
    *,
    highlight: str | None = None,
    chosen: Sequence[str] | None = None,
    labels: tuple[str, str] = ("before refinement", "after refinement"),
    common: bool = False,
    seed: int = 0,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """The same clips of two runs on one UMAP: both panels have the same axes, and stars are class prototypes.

    The map is one joint fit (`mg.analysis.joint_maps`) after rotating one embedding space onto the other.

    Args:
        before: a run without refinement.
        after: the run with it, over the same classes.
        split: the evaluated split.
        pathway: "rgb" or "pose"; by default the first that both have.
        highlight: with more than 10 classes, this one and the five it is most confused with in `before` are coloured;
            by default the class with the most errors there.
        chosen: the classes coloured instead, at most 10.
        labels: titles of the panels.
        common: compare runs that were tested on different clips, on the clips that both have.
        seed: seed of the map.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 2 puts the panels side by side, 1 on top of each other.

    Returns:
        The figure; its data has one row per panel, clip and prototype: `panel`, `kind`, `clip_id`, `class`, `x`, `y`.

    Raises:
        MgkitError: the runs cannot be compared, have no embeddings of the split, or an unknown class.
    """
    before, after = as_run(before), as_run(after)
    maps = joint_maps(before, after, split, pathway, common=common, seed=seed)
    (ours, theirs), left_out = aligned_runs([before, after], split, common=common)
    names = before.classes.names
    if chosen is None:
        shown = maps[0].pathway
        index = worst_class(ours, shown) if highlight is None else before.classes.index(highlight)
        coloured = coloured_classes(ours, shown, index)
    else:
        coloured = picked(chosen, names, "class")
    width = width_of(venue, columns)
    wide = columns == 2
    figure = new_figure(width, 0.5 * width + 0.15 if wide else 2.1 * width)
    panels = figure.subplots(*((1, 2) if wide else (2, 1)), sharex=True, sharey=True)
    bold = {k: CLASS_COLOURS[i] for i, k in enumerate(coloured)}
    tables = []
    for axes, drawn, label in zip(panels, maps, labels, strict=True):
        room = width * 72 / (2 if wide else 1)
        palette = list(bold.values())
        stars = drawn.prototypes
        draw_groups(axes, drawn, drawn.labels, names, coloured, palette, "other classes", stars, bold, room)
        draw_frame(axes, drawn)
        _title(axes, label)
        tables.append(drawn.frame(before.classes).assign(panel=label))
    data = pd.concat(tables, ignore_index=True)
    data = data[["panel", *(name for name in data.columns if name != "panel")]]
    accuracy = [100 * float(np.mean(one.correct(maps[0].pathway))) for one in (ours, theirs)]
    drawn = maps[0]
    note = (
        f"One {drawn.method} of the {OUTPUT_NAMES[drawn.pathway]} embeddings of the same {len(ours)} clips of {split} "
        f"in {before.name} (Top-1 {accuracy[0]:.1f} %) and {after.name} ({accuracy[1]:.1f} %), after an orthogonal "
        f"rotation of one space onto the other; stars are class prototypes; {drawn.note}"
    )
    note += f"; {left_out}" if left_out else ""
    return PaperFigure(figure, data, note)
