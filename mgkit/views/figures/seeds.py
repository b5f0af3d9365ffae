"""How several trainings went together: the mean over the seeds of a group and a band around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mgkit.errors import MgkitError
from mgkit.results.runs import OUTPUTS, Run
from mgkit.views.figures.style import OUTPUT_COLOURS, OUTPUT_NAMES, PaperFigure, new_figure, width_of

GROUP_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#3B3B3B", "#E69F00")
GROUP_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
BANDS = ("interval", "range")


def seed_curves(
    groups: Mapping[str, Sequence[Run]], band: str, output: str | None, venue: str, columns: int
) -> PaperFigure:
    """Loss and accuracy of groups of runs; see `training_curves`."""
    if band not in BANDS:
        raise MgkitError(f"there is no band {band!r}: use one of {', '.join(BANDS)}.")
    if not groups or not all(groups.values()):
        raise MgkitError("training curves need at least one run in every group.")
    if len(groups) > len(GROUP_COLOURS):
        raise MgkitError(
            f"{len(groups)} groups cannot be told apart in one figure: draw {len(GROUP_COLOURS)} at most."
        )
    histories = {name: [_history(run) for run in runs] for name, runs in groups.items()}
    several = len(groups) > 1
    shown = _outputs(histories, output, several)
    losses = any("loss" in table for tables in histories.values() for table in tables)
    panels = (["loss"] if losses else []) + ["accuracy"]
    width = width_of(venue, columns)
    shape = (1, len(panels)) if columns == 2 else (len(panels), 1)
    figure = new_figure(width, 1.95 if columns == 2 else 1.75 * len(panels))
    grid = dict(zip(panels, figure.subplots(*shape, squeeze=False).ravel(), strict=True))

    rows = []
    for i, (name, tables) in enumerate(histories.items()):
        colour, line = GROUP_COLOURS[i], GROUP_LINES[i]
        label = f"{name} (n = {len(tables)})"
        if losses:
            summary = summarise(tables, "loss", band)
            _draw(grid["loss"], summary, "black" if not several else colour, line, label)
            rows.append(summary.assign(group=name, quantity="loss"))
        for each in shown:
            quantity = f"val_top1_{each}"
            summary = summarise(tables, quantity, band)
            tone, style = (
                (colour, line) if several else (OUTPUT_COLOURS[each], GROUP_LINES[shown.index(each)])
            )
            _draw(grid["accuracy"], summary, tone, style, label if several else OUTPUT_NAMES[each], 100)
            rows.append(summary.assign(group=name, quantity=quantity))
    for panel, axes in grid.items():
        what = f"{OUTPUT_NAMES[shown[0]]} accuracy (%)" if several else "validation accuracy (%)"
        axes.set(xlabel="epoch", ylabel="training loss" if panel == "loss" else what)
        if panel == "loss":
            axes.set_ylim(bottom=0)
        if several or panel == "accuracy":
            axes.legend(loc="upper right" if panel == "loss" else "lower right")
        tidy(axes)
    data = pd.concat(rows, ignore_index=True)[["group", "quantity", "epoch", "n", "mean", "low", "high"]]
    counts = ", ".join(f"{name} n = {len(tables)}" for name, tables in histories.items())
    told = "95 % t-interval of the mean" if band == "interval" else "least to greatest of the runs"
    return PaperFigure(
        figure, data, f"lines: mean over runs ({counts}); bands: {told}; accuracy on validation"
    )


def summarise(tables: Sequence[pd.DataFrame], quantity: str, band: str) -> pd.DataFrame:
    """Mean and band of a column of histories at every epoch.

    Args:
        tables: histories with a column `epoch`; those without the quantity do not count.
        quantity: a column.
        band: "interval" is the two-sided 95 % interval of the mean after Student's t with n - 1 degrees of freedom,
            NaN where n is 1; "range" is from the least to the greatest value.

    Returns:
        `epoch`, `n` (runs that have the value), `mean`, `low`, `high`.
    """
    parts = [table[["epoch", quantity]].dropna() for table in tables if quantity in table]
    if not parts:
        return pd.DataFrame(columns=["epoch", "n", "mean", "low", "high"], dtype=float)
    by = pd.concat(parts).groupby("epoch")[quantity]
    out = by.agg(n="count", mean="mean", low="min", high="max").reset_index()
    if band == "interval":
        from scipy.stats import t

        spread = by.std(ddof=1).to_numpy() / np.sqrt(out["n"])
        half = spread * t.ppf(0.975, np.maximum(out["n"] - 1, 1))
        out["low"], out["high"] = out["mean"] - half, out["mean"] + half
    return out


def tidy(axes: Axes) -> None:
    """Whole epochs below, light lines across."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.grid(True)
    axes.set_axisbelow(True)


def _history(run: Run) -> pd.DataFrame:
    table = run.history()
    if table.empty:
        raise MgkitError(f"{run.root} has no history yet: wait for the first epoch to end, or leave it out.")
    return table


def _outputs(histories: Mapping[str, Sequence[pd.DataFrame]], output: str | None, several: bool) -> list[str]:
    """Outputs with a validation accuracy in every run; with several groups the one asked for, or the best."""
    tables = [table for group in histories.values() for table in group]
    there = [
        o for o in OUTPUTS if all(f"val_top1_{o}" in t and t[f"val_top1_{o}"].notna().any() for t in tables)
    ]
    if output is not None:
        if output not in there:
            raise MgkitError(
                f"not every run has a validation accuracy of {output!r}: there are {', '.join(there)}."
            )
        return [output]
    if not there:
        raise MgkitError(
            "the runs have no validation accuracy of the same output: draw them in groups of their own."
        )
    return ["fused" if "fused" in there else there[0]] if several else there


def _draw(axes: Axes, summary: pd.DataFrame, colour: str, line: object, label: str, scale: float = 1) -> None:
    x = summary["epoch"].to_numpy(float)
    axes.fill_between(
        x, scale * summary["low"].to_numpy(float), scale * summary["high"].to_numpy(float),
        color=colour, alpha=0.2, linewidth=0,
    )  # fmt: skip
    marker = "o" if len(x) == 1 else ""
    axes.plot(
        x, scale * summary["mean"], color=colour, linestyle=line, label=label, marker=marker, markersize=3
    )  # type: ignore[arg-type]
