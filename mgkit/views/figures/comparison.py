"""What another run fixed and broke, class by class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from mgkit.results.runs import Run
from mgkit.views.analysis.changes import changes
from mgkit.views.analysis.outcomes import run_names
from mgkit.views.figures.style import (
    GREY,
    LEAST,
    SMALL,
    PaperFigure,
    fit_names,
    in_style,
    new_figure,
    text_width,
    width_of,
)

FIXED, BROKEN = "#0072B2", "#D55E00"  # Okabe & Ito; as in the widget, and told apart in grey by their side


@in_style
def run_comparison(
    one: Run,
    other: Run,
    split: str = "test",
    *,
    output: str | None = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Clips that `other` fixed (right of zero) and broke (left) of `one`, the baseline, a bar a class, by net gain.

    Args:
        one, other: runs over the same classes; only clips that both have count.
        split: an evaluated split of both.
        output: "rgb", "pose" or "fused" of both; by default the best of each.
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1.

    Returns:
        The figure. Its data has one row a class in label order: `class`, `clips`, `both_right`, `fixed`, `broken`,
        `both_wrong`; classes without a change are in the data and not in the drawing. The note says what McNemar's
        test and the interval of the gain say.
    """
    found, names = changes(one, other, split, output), run_names(one, other)
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
        note += f" {same} class{'es' if same > 1 else ''} without a change left out."
    width = width_of(venue, columns or 1)
    if not len(order):
        figure = new_figure(width, 0.6)
        figure.text(0.5, 0.5, "nothing was fixed or broken", ha="center", va="center", color=GREY)
        return PaperFigure(figure, data, note)
    size = SMALL if len(order) <= 40 else LEAST
    figure = new_figure(width, 0.62 + len(order) * (size + 3.2) / 72)
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
            if value:
                axes.annotate(
                    str(value), (side * value, k), xytext=(2 * side, 0), textcoords="offset points",
                    ha=align, va="center", fontsize=LEAST,
                )  # fmt: skip
    axes.set(yticks=y, ylim=(len(order) - 0.5, -0.5), xlim=(-1.18 * max(broken.max(), 0.25 * reach), 1.18 * reach
             if fixed.max() == reach else 1.18 * max(fixed.max(), 0.25 * reach)))  # fmt: skip
    axes.set_yticklabels(fit_names([classes[k] for k in order], 0.4 * 72 * width, size), fontsize=size)
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
