"""What the refinement did to the embeddings: two runs on one map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mgkit.results.runs import Run
from mgkit.views.analysis.colours import coloured_classes, worst_class
from mgkit.views.analysis.maps import joint_maps
from mgkit.views.analysis.outcomes import common_predictions
from mgkit.views.figures.maps import draw_frame, draw_groups, picked
from mgkit.views.figures.style import (
    CLASS_COLOURS,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    in_style,
    new_figure,
    width_of,
)


@in_style
def refinement_maps(
    before: Run,
    after: Run,
    split: str = "test",
    pathway: str | None = None,
    *,
    highlight: str | None = None,
    chosen: Sequence[str] | None = None,
    labels: tuple[str, str] = ("before refinement", "after refinement"),
    seed: int = 0,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """The same clips in two runs on one UMAP: both panels have the same axes, and stars are class prototypes.

    The map is one joint fit, see `mg.analysis.joint_maps`; the spaces of the two runs are first turned onto each other.

    Args:
        before: a run without refinement.
        after: the run with it, over the same classes.
        split: the evaluated split; clips that only one run has are left out.
        pathway: "rgb" or "pose"; by default the first that both have.
        highlight: of more than 10 classes it and the five it is most confused with in `before` are coloured; by
            default the class with the most errors there.
        chosen: the classes coloured instead, at most 10.
        labels: what the panels are called.
        seed: seed of the map.
        venue: a key of `style.VENUES`.
        columns: 2 puts the panels side by side, 1 on top of each other.

    Returns:
        The figure; its data has one row a panel, clip and prototype: `panel`, `kind`, `clip_id`, `class`, `x`, `y`.

    Raises:
        MgkitError: the runs cannot be compared, have no embeddings of the split, or an unknown class.
    """
    maps = joint_maps(before, after, split, pathway, seed=seed)
    ours, theirs = common_predictions(before, after, split)
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
        draw_groups(axes, drawn, drawn.labels, names, coloured, "other classes", drawn.prototypes, bold, room)
        draw_frame(axes, drawn)
        axes.annotate(
            label, (0, 1), xycoords="axes fraction", xytext=(3, -3), textcoords="offset points", va="top",
            fontsize=SMALL, zorder=6, bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
        )  # fmt: skip
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
    return PaperFigure(figure, data, note)
