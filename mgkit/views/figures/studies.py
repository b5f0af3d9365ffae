"""A study as a figure: the accuracy of each recipe over seeds, and the gain on the row it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.views.figures.style import GREY, SMALL, PaperFigure, fit_names, in_style, new_figure, width_of

BLUE = "#0072B2"
SURE = 0.05


@in_style
def study(table: pd.DataFrame, *, axes: Any = None, venue: str = "cvpr", columns: int = 1) -> PaperFigure:
    """Mean Top-1 of each row with its 95 % interval over seeds, every seed as a tick, and the gain at the right.

    Args:
        table: from `study.table()`.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data is the table. A gain is bold where the paired test over seeds and the bootstrap over
        subjects, both adjusted after Holm, give p < 0.05; with one seed the bootstrap alone decides.

    Raises:
        MgkitError: `table` is not the table of a study.
    """
    if table.empty or not {"top1", "top1_low", "top1_of_seeds", "gain", "p_seeds_holm"} <= set(table):
        raise MgkitError("this is not the table of a study: give the result of study.table().")
    width = width_of(venue, columns)
    figure = new_figure(width, 0.5 + min(0.18 * len(table), 9.0))  # at most a page
    axes = figure.subplots()

    # Mean, interval and single seeds of each row, the first row on top.
    at = np.arange(len(table))
    mean = 100 * table["top1"].to_numpy(float)
    low, high = (
        100 * table[name].fillna(table["top1"]).to_numpy(float) for name in ("top1_low", "top1_high")
    )
    axes.hlines(at, low, high, color=BLUE, linewidth=1.2)
    for y, values in enumerate(table["top1_of_seeds"]):
        if len(values) > 1:
            axes.plot(
                100 * np.asarray(values), np.full(len(values), y), "|", color=GREY, markersize=4, zorder=2.5
            )
    axes.plot(mean, at, "o", color=BLUE, markersize=3.5, zorder=3)
    axes.set_yticks(at, fit_names([str(name) for name in table.index], 72 * width * 0.32, SMALL))
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="Top-1 (%)")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.grid(True)
    axes.set_axisbelow(True)

    # Gains in points, in a column right of the axes.
    bases = list(dict.fromkeys(table["against"].dropna()))
    head = "gain" if len(bases) != 1 else f"vs {bases[0]}"
    room = 72 * width * 0.2
    if bases:
        label = fit_names([head], room, SMALL)[0]
        axes.text(
            1.02, -0.75, label, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL, color=GREY
        )
    for y, (_, row) in enumerate(table.iterrows()):
        if not np.isnan(row["gain"]):
            sure = all(np.isnan(row[p]) or row[p] < SURE for p in ("p_seeds_holm", "p_subjects_holm"))
            sure &= not np.isnan(row["p_subjects_holm"]) or not np.isnan(row["p_seeds_holm"])
            axes.text(
                1.02, y, f"{100 * row['gain']:+.1f}", transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL,
                color="black" if sure else GREY, fontweight="bold" if sure else "normal",
            )  # fmt: skip
    seeds = sorted({int(n) for n in table["seeds"]})
    resampled = " and ".join(sorted(set(table["resampled"].dropna()))) or "subjects"
    what = "the row above" if len(bases) > 1 else f"{bases[0]!r}" if bases else ""
    note = (
        f"{' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} seed{'s' * (seeds[-1] > 1)}; lines are 95 % t "
        "intervals over seeds, ticks single seeds"
    )
    if bases:
        note += (
            f"; at the right the gain on {what} in points, bold where the paired t-test over seeds and the bootstrap "
            f"over {resampled}, adjusted after Holm, give p < 0.05"
        )
    data = table.drop(columns="top1_of_seeds").reset_index()
    return PaperFigure(figure, data, note)
