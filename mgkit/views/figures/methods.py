"""A comparison of methods: one metric of each with its interval, published numbers marked as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError
from mgkit.views.figures.style import (
    GREY,
    SMALL,
    PaperFigure,
    fit_names,
    in_style,
    new_figure,
    width_of,
)

NAMES = {"top1": "Top-1", "macro_f1": "Macro-F1", "mean_class_accuracy": "Mean class accuracy"}
# Colour and marker by modality.
LOOKS = {"RGB": ("#D55E00", "s"), "Skeleton": ("#0072B2", "o"), "both": ("#009E73", "D"), "-": (GREY, "|")}


@in_style
def methods(
    table: pd.DataFrame,
    *,
    metric: str = "top1",
    sort: bool = True,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 1,
) -> PaperFigure:
    """Each method of a comparison with its 95 % interval, coloured by modality.

    Args:
        table: from `mg.method_table`.
        metric: "top1", "macro_f1" or "mean_class_accuracy"; published numbers are Top-1 only.
        sort: the best first; otherwise in the order of the table.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data is the table. Published numbers have hollow markers; grey ticks are one standard deviation
        over seeds.

    Raises:
        MgkitError: `table` is not a table of methods, or an unknown metric.
    """
    if metric not in NAMES:
        raise MgkitError(f"metric is {metric!r}: use {' or '.join(map(repr, NAMES))}.")
    if table.empty or not {"modality", "source", "interval_over", metric} <= set(table):
        raise MgkitError("this is not a table of methods: pass the result of mg.method_table.")
    shown = table[table[metric].notna()]
    if sort:
        shown = shown.sort_values(metric, ascending=False, kind="stable")
    width = width_of(venue, columns)
    figure = new_figure(width, 0.62 + 0.15 * len(shown))
    axes = figure.subplots()
    kinds = [_kind(str(modality)) for modality in shown["modality"]]
    for y, ((_, row), kind) in enumerate(zip(shown.iterrows(), kinds, strict=True)):
        colour, marker = LOOKS[kind]
        middle, low, high = (100 * float(row[name]) for name in (metric, f"{metric}_low", f"{metric}_high"))
        if np.isfinite([low, high]).all():
            axes.hlines(y, low, high, color=colour, linewidth=1.1)
        spread = 100 * float(row[f"{metric}_spread"]) if f"{metric}_spread" in row else np.nan
        if np.isfinite(spread):
            axes.plot([middle - spread, middle + spread], [y, y], "|", color=GREY, markersize=5)
        hollow = row["source"] == "published"
        axes.plot(
            middle, y, marker, color=colour, markerfacecolor="white" if hollow else colour, markersize=3.5
        )
    axes.set_yticks(np.arange(len(shown)), fit_names([str(n) for n in shown.index], 72 * width * 0.36, SMALL))
    axes.set(ylim=(len(shown) - 0.5, -0.5), xlabel=f"{NAMES[metric]} (%)")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.grid(True)
    axes.set_axisbelow(True)
    handles = [
        axes.plot([], [], marker, color=colour, markersize=3.5, linestyle="none", label=kind)[0]
        for kind, (colour, marker) in LOOKS.items()
        if kind in kinds and kind != "-"
    ]
    if len(handles) > 1:
        figure.legend(
            handles=handles, loc="outside upper center", ncols=len(handles), fontsize=SMALL, frameon=False
        )
    over = " and ".join(sorted(map(str, shown["interval_over"].dropna().unique())))
    there = shown[f"{metric}_low"].notna().any()
    note = (
        f"lines are 95 % intervals over {over}" if there else f"no intervals: {over} are too few to resample"
    )
    if f"{metric}_spread" in shown and shown[f"{metric}_spread"].notna().any():
        note += "; grey ticks one standard deviation over seeds"
    if (shown["source"] == "published").any():
        note += "; hollow: published, on iMiGUE's test clips"
    return PaperFigure(figure, table.reset_index(), note)


def _kind(modality: str) -> str:
    if "RGB" in modality:
        return "both" if "Skeleton" in modality else "RGB"
    return "Skeleton" if "Skeleton" in modality else "-"
