"""The reliability diagram: accuracy against confidence, and the number of clips at each confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from mgkit.errors import MgkitError
from mgkit.results.scores import calibration
from mgkit.results.scores.calibration import Scored, scores_of
from mgkit.views.figures.style import (
    FAINT,
    GREY,
    SMALL,
    PaperFigure,
    fit_names,
    in_style,
    new_figure,
    text_width,
    width_of,
)

# Okabe & Ito (2008); line and marker distinguish them in grey.
COLOURS, MARKERS, LINES = (
    ("#0072B2", "#D55E00", "#009E73", "#3B3B3B"),
    ("o", "s", "^", "D"),
    ("-", "--", "-.", ":"),
)


@in_style
def reliability(
    run: Scored | Mapping[str, Scored],
    split: str = "test",
    output: str | None = None,
    *,
    bins: int = 10,
    adaptive: bool = False,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Accuracy against confidence in bins with 95 % Wilson intervals, and the number of clips per bin below.

    On the diagonal a system is calibrated; below it, overconfident.

    Args:
        run: a run, predictions or scores; or a dictionary of names to at most four of them, such as before and after a
            temperature.
        split: an evaluated split of runs.
        output: "rgb", "pose" or "fused" of runs or predictions; by default the best of each.
        bins: the number of bins.
        adaptive: bins with about equal numbers of clips in place of equal width.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1.

    Returns:
        The figure. Its data has one row per system and bin with clips: `system`, `from`, `to`, `clips`, `confidence`,
        `accuracy`, `low`, `high`. The note gives the expected calibration error of each.

    Raises:
        MgkitError: no system or more than four, no labels, no bins.
    """
    given = run if isinstance(run, Mapping) else {"": run}
    if not 1 <= len(given) <= len(COLOURS):
        raise MgkitError(f"{len(given)} systems cannot be distinguished: draw 1 to {len(COLOURS)} at once.")
    systems = {name: scores_of(one, split, output) for name, one in given.items()}
    found = {
        name: calibration.reliability(scores, bins=bins, adaptive=adaptive)
        for name, scores in systems.items()
    }
    tables = {name: one.bins for name, one in found.items()}
    width = width_of(venue, columns or 1)
    several = len(systems) > 1
    side = min(width, 3.3)
    figure = new_figure(width, 0.95 * side + 0.35 + 0.16 * len(systems) * several)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.7, ls=(0, (4, 3)), zorder=1)

    # A line per system, and its bars below.
    reach = 0.1 / max(1, len(systems))
    for i, (name, table) in enumerate(tables.items()):
        x, y = table["confidence"].to_numpy(), table["accuracy"].to_numpy()
        low, high = table["low"].to_numpy(), table["high"].to_numpy()
        axes.vlines(x, low, high, color=COLOURS[i], lw=0.8, alpha=0.75, zorder=2)
        axes.plot(
            x,
            y,
            color=COLOURS[i],
            marker=MARKERS[i],
            ls=LINES[i],
            ms=3.5,
            lw=1.0,
            label=name,
            zorder=3,
            clip_on=False,
        )
        share = table["clips"].to_numpy() / len(systems[name])
        left, right = table["from"].to_numpy(), table["to"].to_numpy()
        if several:
            middle = (left + right) / 2 + (i - (len(systems) - 1) / 2) * reach * np.minimum(
                1, (right - left) / 0.1
            )
            below.bar(middle, share, 0.85 * reach * np.minimum(1, (right - left) / 0.1), color=COLOURS[i])
        else:
            below.bar(left, share, right - left, align="edge", color=COLOURS[i], edgecolor="white", lw=0.4)

    # Axes in per cent, and the legend.
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    below.set(xlabel="confidence", ylabel="clips")
    for one in (axes, below):
        one.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        one.grid(True, color=FAINT, lw=0.4)
        one.set_axisbelow(True)
    below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    below.set_ylim(0, None)
    if several:
        limit = 72 * width - 60
        shown = fit_names(list(systems), limit, SMALL)
        handles = axes.get_legend_handles_labels()[0]
        across = len(shown) if sum(text_width(name, SMALL) + 30 for name in shown) < limit else 1
        figure.legend(handles, shown, loc="outside upper center", ncols=across)
    data = pd.concat([table.assign(system=name) for name, table in tables.items()], ignore_index=True)
    data = data[["system", *(column for column in data if column != "system")]]
    errors = ", ".join(f"{f'{name} ' if name else ''}{one.error:.3f}" for name, one in found.items())
    kind = "about equal numbers of clips" if adaptive else "equal width"
    clips = " and ".join(str(n) for n in sorted({len(scores) for scores in systems.values()}))
    note = (
        f"Expected calibration error over {bins} bins of {kind}: {errors}. {clips} clips; lines are 95 % "
        "Wilson intervals; the dashed diagonal is perfect calibration."
    )
    return PaperFigure(figure, data, note)
