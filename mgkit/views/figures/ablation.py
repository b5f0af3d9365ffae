"""What each part adds: Top-1 of every row of an ablation, with its spread over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.views.figures.style import GREY, SMALL, PaperFigure, fit_names, in_style, new_figure, width_of

BLUE = "#0072B2"


@in_style
def ablation(table: pd.DataFrame, *, venue: str = "cvpr", columns: int = 1) -> PaperFigure:
    """Mean Top-1 of each row with its 95 % interval over seeds, and at the right the gain on the row above.

    Args:
        table: what `mg.ablation_table` returns.
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data is the table. Gains whose Holm-adjusted p is below 0.05 are drawn in black, others in grey.
    """
    wanted = {"top1", "top1_low", "top1_high"}
    if not wanted <= set(table.columns) or table.empty:
        raise MgkitError("this is not the table of an ablation: give what mg.ablation_table returns.")
    width = width_of(venue, columns)
    figure = new_figure(width, 0.45 + 0.17 * len(table))
    axes = figure.subplots()
    at = np.arange(len(table))
    mean = 100 * table["top1"].to_numpy()
    low, high = (100 * table[name].fillna(table["top1"]).to_numpy() for name in ("top1_low", "top1_high"))
    axes.hlines(at, low, high, color=BLUE, linewidth=1.2)
    axes.plot(mean, at, "o", color=BLUE, markersize=3.5)
    axes.set_yticks(at, fit_names([str(name) for name in table.index], 72 * width * 0.32, SMALL))
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="Top-1 (%), mean and 95 % interval over seeds")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.grid(True)
    axes.set_axisbelow(True)
    for y, (_, row) in enumerate(table.iterrows()):
        gain = row.get("above_gain", np.nan)
        if not np.isnan(gain):
            sure = row.get("above_p_holm", np.nan) < 0.05
            axes.text(
                1.02, y, f"{100 * gain:+.1f}", transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL,
                color="black" if sure else GREY, fontweight="bold" if sure else "normal",
            )  # fmt: skip
    data = table.reset_index()
    seeds = int(table["seeds"].max()) if "seeds" in table else 0
    note = (
        f"{seeds} seeds; at the right the gain on the row above in points, bold where the paired t-test over seeds, "
        "adjusted after Holm, gives p < 0.05"
    )
    return PaperFigure(figure, data, note)
