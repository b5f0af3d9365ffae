"""Methods side by side: one measure of each with its interval, published numbers marked as such.

What each part adds: Top-1 of every row of an ablation, with its spread over seeds.

Whether probabilities can be believed: accuracy against confidence, and how often each confidence is given.
"""

from __future__ import annotations

from collections.abc import Mapping

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

NAMES = {"top1": "Top-1", "macro_f1": "Macro-F1", "mean_class_accuracy": "Mean class accuracy"}
# Colour and marker by what a method looks at.
LOOKS = {"RGB": ("#D55E00", "s"), "Skeleton": ("#0072B2", "o"), "both": ("#009E73", "D"), "-": (GREY, "|")}


@in_style
def methods(
    table: pd.DataFrame, *, metric: str = "top1", sort: bool = True, venue: str = "cvpr", columns: int = 1
) -> PaperFigure:
    """Each method of a comparison with its 95 % interval, coloured by what it looks at.

    Args:
        table: what `mg.method_table` returns.
        metric: "top1", "macro_f1" or "mean_class_accuracy"; published numbers are Top-1 only.
        sort: the best first; else in the order of the table.
        venue: a key of `style.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data is the table. Published numbers have hollow markers; the runs of single seeds are grey
        ticks where their spread is known.

    Raises:
        MgkitError: this is no such table, or there is no such metric.
    """
    if metric not in NAMES:
        raise MgkitError(f"metric is {metric!r}: use {' or '.join(map(repr, NAMES))}.")
    if not {"modality", "source", "interval_over", metric} <= set(table.columns) or table.empty:
        raise MgkitError("this is not a table of methods: give what mg.method_table returns.")
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
    note = "lines are 95 % intervals over " + " and ".join(
        sorted(map(str, shown["interval_over"].dropna().unique()))
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


# Okabe & Ito (2008); line and marker tell them apart in grey.
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
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Accuracy over confidence in bins with 95 % Wilson intervals, and below how many clips each bin has.

    On the diagonal a system is as sure as it is right; below it, too sure.

    Args:
        run: a run, predictions or scores; or a dictionary of names to at most four of them, such as before and after a
            temperature.
        split: an evaluated split of runs.
        output: "rgb", "pose" or "fused" of runs or predictions; by default the best of each.
        bins: how many.
        adaptive: bins of about equal numbers of clips in place of equal width.
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1.

    Returns:
        The figure. Its data has one row a system and bin that has clips: `system`, `from`, `to`, `clips`, `confidence`,
        `accuracy`, `low`, `high`. The note gives the expected calibration error of each.

    Raises:
        MgkitError: no system or more than four, no labels, no bins.
    """
    given = run if isinstance(run, Mapping) else {"": run}
    if not 1 <= len(given) <= len(COLOURS):
        raise MgkitError(f"{len(given)} systems cannot be told apart: draw 1 to {len(COLOURS)} at once.")
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
    kind = "about equally many clips" if adaptive else "equal width"
    clips = " and ".join(str(n) for n in sorted({len(scores) for scores in systems.values()}))
    note = (
        f"Expected calibration error over {bins} bins of {kind}: {errors}. {clips} clips; lines are 95 % "
        "Wilson intervals; the dashed diagonal is perfect calibration."
    )
    return PaperFigure(figure, data, note)
