"""How a training went."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mgkit.errors import MgkitError
from mgkit.results.runs import OUTPUTS, Run
from mgkit.views.figures.seeds import seed_curves, tidy
from mgkit.views.figures.style import (
    FAINT,
    GREY,
    LEAST,
    OUTPUT_COLOURS,
    OUTPUT_NAMES,
    PaperFigure,
    in_style,
    new_figure,
    width_of,
)

OTHER_COLOURS = ("#56B4E9", "#999933", "#882255", "#8C6D31")


@in_style
def training_curves(
    run: Run | Sequence[Run] | Mapping[str, Sequence[Run]],
    *,
    band: str = "interval",
    output: str | None = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Losses by term and accuracy by output over the epochs, with the steps of the learning rate.

    A staged training has a third panel with the branches that were trained alone before. Several runs, say the seeds
    of one recipe, are drawn as their mean and a band around it: the total loss and the validation accuracy of each
    output, or of one output where there are several groups.

    Args:
        run: a run, finished or not; or several runs of one recipe; or groups of runs by name.
        band: of several runs: "interval" is the 95 % interval of the mean after Student's t, "range" goes from the
            least to the greatest run.
        output: of several runs: "rgb", "pose" or "fused" alone; by default all, or of several groups the fused one.
        venue: a key of `style.VENUES`.
        columns: 2 puts the panels side by side, 1 on top of each other.

    Returns:
        The figure; its data is the history of the run and of its stages, told apart by the column `run`; of several
        runs one row a group, quantity and epoch: `n`, `mean`, `low`, `high`.

    Raises:
        MgkitError: no epoch of a run has ended yet, an unknown band or output, or a group without runs.
    """
    if not isinstance(run, Run):
        groups = run if isinstance(run, Mapping) else {"runs": run}
        return seed_curves(groups, band, output, venue, columns)
    history = run.history()
    if history.empty:
        raise MgkitError(f"{run.root} has no history yet: wait for the first epoch to end.")
    stages = {name: table for name in run.stages() if not (table := run.stage(name).history()).empty}
    losses = _losses(history)
    panels = (["loss"] if losses else []) + ["accuracy"] + (["stages"] if stages else [])

    width = width_of(venue, columns)
    figure = new_figure(width, 1.95) if columns == 2 else new_figure(width, 1.75 * len(panels))
    shape = (1, len(panels)) if columns == 2 else (len(panels), 1)
    grid = figure.subplots(*shape, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=True):
        axes.set_xlabel("epoch")
        if panel == "loss":
            _draw_losses(axes, history, losses)
        elif panel == "accuracy":
            _draw_accuracy(axes, history)
        else:
            for table in stages.values():
                _draw_accuracy(axes, table, " alone")
            axes.set_ylabel("accuracy before joining (%)")
        if panel != "stages":
            _mark_rates(axes, history)
        tidy(axes)
    data = pd.concat(
        [
            history.assign(run=run.name),
            *(table.assign(run=f"stage {name}") for name, table in stages.items()),
        ],
        ignore_index=True,
    )
    data.insert(0, "run", data.pop("run"))
    return PaperFigure(
        figure, data, "vertical lines: the learning rate changes; dashed: training, solid: validation"
    )


def _losses(history: pd.DataFrame) -> list[str]:
    named = [str(name) for name in history if re.fullmatch(r"(train_)?loss(_\w+)?", str(name))]
    return [name for name in named if history[name].notna().any()]


def _loss_style(name: str, others: dict[str, str]) -> dict[str, Any]:
    term = re.sub(r"^(train_)?loss_?", "", name)
    if not term or term == "total":
        return {"label": "total", "color": "black", "linewidth": 1.4}
    pathway = next((p for p in ("rgb", "pose") if p in term.split("_")), None)
    rest = " ".join(word for word in term.split("_") if word != pathway)
    rest = {"ce": "CE", "pr": "prototypes"}.get(rest, rest)
    shown = " ".join(filter(None, [OUTPUT_NAMES.get(pathway or "", ""), rest])) or term
    colour = OUTPUT_COLOURS[pathway] if pathway else others.setdefault(term, OTHER_COLOURS[len(others) % 4])
    return {"label": shown, "color": colour, "linestyle": "--" if rest != "CE" and pathway else "-"}


def _draw_losses(axes: Axes, history: pd.DataFrame, losses: list[str]) -> None:
    others: dict[str, str] = {}
    for name in losses:
        axes.plot(history["epoch"], history[name], **_loss_style(name, others))
    if "val_loss" in history:
        axes.plot(
            history["epoch"], history["val_loss"], color="black", linestyle=":", label="total, validation"
        )
    axes.set_ylabel("training loss")
    axes.set_ylim(bottom=0)
    legend = axes.legend(loc="upper right", ncols=1 if len(losses) <= 6 else 2, frameon=True)
    legend.get_frame().set(facecolor="white", alpha=0.85, linewidth=0)


def _draw_accuracy(axes: Axes, history: pd.DataFrame, suffix: str = "") -> None:
    for output in OUTPUTS:
        for part, style in (("train", "--"), ("val", "-")):
            name = f"{part}_top1_{output}"
            if name not in history or history[name].isna().all():
                continue
            there = history[history[name].notna()]
            axes.plot(
                there["epoch"],
                100 * there[name],
                color=OUTPUT_COLOURS[output],
                linestyle=style,
                linewidth=1.1 if part == "val" else 0.8,
                alpha=1 if part == "val" else 0.75,
                label=OUTPUT_NAMES[output] + suffix
                if part == "val" or f"val_top1_{output}" not in history
                else None,
                marker="o" if len(there) == 1 else None,
                markersize=3,
            )
    axes.set_ylabel("accuracy (%)")
    handles, labels = axes.get_legend_handles_labels()
    kinds = {line.get_linestyle() for line in axes.get_lines()}
    if {"-", "--"} <= kinds:
        handles += [axes.plot([], [], color="#A6A6A6", linestyle=style)[0] for style in ("--", "-")]
        labels += ["training", "validation"]
    if handles:
        axes.legend(handles, labels, loc="lower right")


def _mark_rates(axes: Axes, history: pd.DataFrame) -> None:
    """A line where the learning rate steps; a rate that changes at every epoch is a schedule, not steps."""
    if "learning_rate" not in history or len(history) < 2:
        return
    rates, epochs = history["learning_rate"].to_numpy(), history["epoch"].to_numpy()
    steps = np.flatnonzero(~np.isclose(rates[1:], rates[:-1], rtol=1e-3, atol=0)) + 1
    if len(steps) > max(4, 0.25 * len(rates)):
        return
    for i in steps:
        axes.axvline((epochs[i] + epochs[i - 1]) / 2, color=FAINT, linewidth=0.7, zorder=0)
        factor = rates[i - 1] / rates[i] if rates[i] > 0 else np.inf
        told = f"lr ÷ {factor:.3g}" if factor > 1 else f"lr × {1 / factor:.3g}"
        axes.annotate(
            told, ((epochs[i] + epochs[i - 1]) / 2, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=LEAST, color=GREY,
        )  # fmt: skip
