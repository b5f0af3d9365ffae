"""Training curves: losses and accuracy over the epochs of a run, of seeds of one setting, or of several settings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from mgkit.errors import MgkitError, some
from mgkit.results.compare.runs import differing_settings, seed_of
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import OUTPUTS
from mgkit.views.figures.style import (
    FAINT,
    GREY,
    LEAST,
    OUTPUT_COLOURS,
    OUTPUT_NAMES,
    SMALL,
    PaperFigure,
    fit_text,
    in_style,
    new_figure,
    text_width,
    width_of,
)

OTHER_COLOURS = ("#56B4E9", "#999933", "#882255", "#8C6D31")
# Tol (2021), "muted", the pale ones last; line and marker distinguish the settings in grey.
SETTING_COLOURS = (
    "#332288", "#CC6677", "#117733", "#AA4499", "#000000", "#44AA99", "#882255", "#999933", "#88CCEE", "#DDCC77",
)  # fmt: skip
SETTING_LINES, SETTING_MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D", "v")

One = Run | str | Path
Runs = One | Sequence[One] | Mapping[str, One | Sequence[One]]


@in_style
def training_curves(
    run: Runs,
    *,
    pathway: str | None = None,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Losses and accuracy over the epochs, of one run, of seeds of one setting, or of several settings.

    For one run: losses by term, accuracy by output and the steps of the learning rate; a staged training has a third
    panel with the branches that were trained separately before. For several seeds the same without that panel: lines
    are means, bands the 95 % t interval of the mean. For several settings: the total training loss and the validation
    accuracy (training accuracy if a setting has no validation) of one output, one colour per setting. Seeds are drawn
    while all runs of the setting have a value; a mean over fewer would jump.

    Args:
        run: a run, finished or not; several that differ only in their seed; or a dict of names to either, one entry
            per setting.
        pathway: with several settings the output whose accuracy is drawn: "rgb", "pose" or "fused"; by default the
            fused one of each, or its only one.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 2 puts the panels side by side, 1 on top of each other.

    Returns:
        The figure. For one run its data is the history of the run and of its stages, with a column `run`; for several
        one row per setting, epoch and quantity: the number `n` of runs that have it, and `mean`, `low` and `high` where
        it is drawn (shares in [0, 1]).

    Raises:
        MgkitError: no epoch has finished yet, seeds with different outputs or a repeated seed, an output that a setting
            lacks, or more settings than there are colours.
    """
    settings = _settings(run)
    if len(settings) > 1:
        return _several([over_seeds(runs, name) for name, runs in settings.items()], pathway, venue, columns)
    if pathway is not None:
        raise MgkitError("pathway is for several settings: curves of a single one show all its outputs.")
    (runs,) = settings.values()
    if len(runs) > 1:
        return _seeds(over_seeds(runs, next(iter(settings))), venue, columns)
    return _single(runs[0], venue, columns)


def _settings(run: Runs) -> dict[str, list[Run]]:
    if isinstance(run, Run | str | Path):
        one = as_run(run)
        return {one.name: [one]}
    given: Mapping[str, Any] = run if isinstance(run, Mapping) else {"": run}
    settings = {
        str(name): [as_run(one) for one in value] if isinstance(value, list | tuple) else [as_run(value)]
        for name, value in given.items()
    }
    for name, runs in (settings or {"": []}).items():
        if not runs:
            raise MgkitError(
                f"training_curves got no runs{f' for {name!r}' if name else ''}: pass runs from mg.load_run."
            )
    if "" in settings and len(settings) == 1:
        settings = {settings[""][0].name: settings[""]}
    if len(settings) > len(SETTING_COLOURS):
        raise MgkitError(
            f"{len(settings)} settings cannot be distinguished: draw at most {len(SETTING_COLOURS)} at once."
        )
    return settings


def _single(run: Run, venue: str, columns: int) -> PaperFigure:
    history = run.history()
    if history.empty:
        raise MgkitError(no_history(run))
    stages = {name: table for name in run.stages() if not (table := run.stage(name).history()).empty}
    losses = _losses(history)
    panels = (["loss"] if losses else []) + ["accuracy"] + (["stages"] if stages else [])

    figure, grid = _panels(len(panels), venue, columns)
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
        _tidy(axes)
    _make_room(figure, grid, columns)
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


def _panels(count: int, venue: str, columns: int, below: float = 0.0) -> tuple[Figure, list[Axes]]:
    """`count` panels side by side or on top of each other, with `below` more inches at the bottom."""
    width = width_of(venue, columns)
    figure = new_figure(width, below + (1.95 if columns == 2 else 1.75 * count))
    shape = (1, count) if columns == 2 else (count, 1)
    return figure, list(figure.subplots(*shape, squeeze=False).ravel())


def _seeds(seeds: Seeds, venue: str, columns: int) -> PaperFigure:
    losses = _losses(seeds.mean)
    figure, grid = _panels(2 if losses else 1, venue, columns)
    if losses:
        _draw_losses(grid[0], seeds.mean, losses, seeds)
    _draw_accuracy(grid[-1], seeds.mean, seeds=seeds)
    for axes in grid:
        axes.set_xlabel("epoch")
        if seeds.rates is not None:
            _mark_rates(axes, seeds.rates)
        _tidy(axes)
    _make_room(figure, grid, columns)
    note = f"mean over n = {seeds.count} seeds with the 95 % t interval of the mean"
    note += "; dashed: training (without its interval), solid: validation"
    note += "; vertical lines: the learning rate changes" if seeds.rates is not None else ""
    return PaperFigure(figure, seeds.table(), note + seeds.note)


def _several(settings: list[Seeds], pathway: str | None, venue: str, columns: int) -> PaperFigure:
    # The output of each setting that is drawn, and its label.
    shown = [pathway or ("fused" if "fused" in one.outputs else one.outputs[-1]) for one in settings]
    for one, output in zip(settings, shown, strict=True):
        if output not in one.outputs:
            raise MgkitError(
                f"{one.name} has no output {output!r}: use one of {', '.join(one.outputs)}, or leave pathway out."
            )
    validated = all(one.has(f"val_top1_{output}") for one, output in zip(settings, shown, strict=True))
    part = "val" if validated else "train"
    lossy = any(one.has("loss") for one in settings)
    mixed, width = len(set(shown)) > 1, 72 * width_of(venue, columns)
    labels = []
    for one, output in zip(settings, shown, strict=True):
        tail = f" ({', '.join([OUTPUT_NAMES[output]] * mixed + [f'n = {one.count}'])})"
        labels.append(fit_text(one.name, 0.8 * width - text_width(tail, SMALL), SMALL) + tail)
    across = max(
        1, min(len(labels), 4, int(width / (max(text_width(label, SMALL) for label in labels) + 26)))
    )
    rows = -(-len(labels) // across)

    # A line and a band per setting.
    figure, grid = _panels(2 if lossy else 1, venue, columns, 0.03 + 0.135 * rows)
    handles = []
    for i, (one, output) in enumerate(zip(settings, shown, strict=True)):
        look: dict[str, Any] = {
            "color": SETTING_COLOURS[i],
            "linestyle": SETTING_LINES[i % len(SETTING_LINES)],
            "marker": SETTING_MARKERS[i % len(SETTING_MARKERS)],
            "markersize": 2.6,
        }
        if lossy and one.has("loss"):
            _draw_mean(grid[0], one, "loss", 1, look)
        if one.has(f"{part}_top1_{output}"):
            _draw_mean(grid[-1], one, f"{part}_top1_{output}", 100, look)
        handles.append(Line2D([], [], **look))

    if lossy:
        grid[0].set_ylabel("training loss")
        _limit(grid[0], None)
    kind = "validation" if validated else "training"
    grid[-1].set_ylabel(f"{kind} accuracy (%)" if mixed else f"{OUTPUT_NAMES[shown[0]]} {kind} accuracy (%)")
    _limit(grid[-1], 100)
    for axes in grid:
        axes.set_xlabel("epoch")
        _tidy(axes)
    figure.legend(handles, labels, loc="outside lower center", ncols=across, handlelength=2.2)
    note = "lines: means over n seeds; bands: 95 % t interval of the mean, where n is 2 or more"
    note += "; losses compare only between settings with the same terms" if lossy else ""
    note += "".join(one.note for one in settings)
    return PaperFigure(figure, pd.concat([one.table() for one in settings], ignore_index=True), note)


def _draw_mean(axes: Axes, seeds: Seeds, name: str, scale: float, look: dict[str, Any]) -> None:
    there = seeds.mean[name].notna()
    epochs, mean = seeds.mean.loc[there, "epoch"], scale * seeds.mean.loc[there, name]
    # At most about a dozen markers per line: more would hide it.
    axes.plot(epochs, mean, **look, markevery=max(1, len(epochs) // 12))
    _draw_band(axes, seeds, name, scale, look["color"])


def _draw_band(axes: Axes, seeds: Seeds, name: str, scale: float, colour: str) -> None:
    there = seeds.low[name].notna()
    epochs = seeds.mean.loc[there, "epoch"]
    low, high = scale * seeds.low.loc[there, name], scale * seeds.high.loc[there, name]
    if len(epochs) == 1:
        axes.vlines(epochs, low, high, color=colour, linewidth=1)
    elif len(epochs):
        axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)


def _limit(axes: Axes, top: float | None) -> None:
    """Cut the axis at the possible values, which a t interval may exceed."""
    low, high = axes.get_ylim()
    axes.set_ylim(0 if top is None else max(0, low), high if top is None else min(top, high))


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
    if pathway and rest in ("CE", "prototypes"):
        return {"label": shown, "color": OUTPUT_COLOURS[pathway], "linestyle": "-" if rest == "CE" else "--"}
    return {
        "label": shown,
        "color": others.setdefault(term, OTHER_COLOURS[len(others) % 4]),
        "linestyle": "-",
    }


def _draw_losses(axes: Axes, history: pd.DataFrame, losses: list[str], seeds: Seeds | None = None) -> None:
    others: dict[str, str] = {}
    alone: dict[str, Any] = {"marker": "o", "markersize": 3} if len(history) == 1 else {}  # no line to see
    for name in losses:
        look = _loss_style(name, others)
        axes.plot(history["epoch"], history[name], **look, **alone)
        if seeds is not None:
            _draw_band(axes, seeds, name, 1, look["color"])
    if "val_loss" in history:
        axes.plot(
            history["epoch"],
            history["val_loss"],
            color="black",
            linestyle=":",
            label="total, validation",
            **alone,
        )
    axes.set_ylabel("training loss")
    axes.set_ylim(bottom=0)
    _legend_below(axes, *axes.get_legend_handles_labels())


def _draw_accuracy(axes: Axes, history: pd.DataFrame, suffix: str = "", seeds: Seeds | None = None) -> None:
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
            if seeds is not None and (part == "val" or f"val_top1_{output}" not in history):
                _draw_band(axes, seeds, name, 100, OUTPUT_COLOURS[output])
    axes.set_ylabel("accuracy (%)")
    handles, labels = axes.get_legend_handles_labels()
    kinds = {line.get_linestyle() for line in axes.get_lines()}
    if {"-", "--"} <= kinds:
        handles += [axes.plot([], [], color="#A6A6A6", linestyle=style)[0] for style in ("--", "-")]
        labels += ["training", "validation"]
    if seeds is not None:
        _limit(axes, 100)
        handles.append(Patch(facecolor="#A6A6A6", alpha=0.5, linewidth=0))
        labels.append(f"95 % interval, n = {seeds.count}")
    if handles:
        _legend_below(axes, handles, labels)


def _legend_below(axes: Axes, handles: list[Any], labels: list[str]) -> None:
    """A legend below a panel, where it hides no curve; the figure becomes higher by its lines (`_make_room`)."""
    room = 72 * axes.get_window_extent().width / axes.figure.dpi + 20
    across = max(1, min(len(labels), int(room / (max(text_width(label, SMALL) for label in labels) + 22))))
    across = math.ceil(len(labels) / math.ceil(len(labels) / across))  # lines of equal length
    below = ScaledTranslation(0, -31 / 72, axes.figure.dpi_scale_trans)  # numbers and name of the axis
    axes.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + below,
        ncols=across,
        columnspacing=1,
        borderaxespad=0,
    )


def _make_room(figure: Figure | SubFigure, panels: Sequence[Axes], columns: int) -> None:
    """Make a figure higher by the lines of the legends below its panels."""
    lines = [0]
    for axes in panels:
        if (legend := axes.get_legend()) is not None:
            lines.append(-(-len(legend.get_texts()) // legend._ncols))  # type: ignore[attr-defined]
    if isinstance(figure, SubFigure):  # it is as high as its place
        return
    height = 0.135 * (max(lines) if columns == 2 else sum(lines)) + 0.05
    figure.set_figheight(figure.get_figheight() + height)


def _mark_rates(axes: Axes, history: pd.DataFrame) -> None:
    """Mark steps of the learning rate; changes at several consecutive epochs are a schedule, not steps."""
    if "learning_rate" not in history or len(history) < 2:
        return
    rates, epochs = history["learning_rate"].to_numpy(), history["epoch"].to_numpy()
    steps = np.flatnonzero(~np.isclose(rates[1:], rates[:-1], rtol=1e-3, atol=0)) + 1
    for i in steps:
        if i - 1 in steps or i + 1 in steps:
            continue
        axes.axvline((epochs[i] + epochs[i - 1]) / 2, color=FAINT, linewidth=0.7, zorder=0)
        factor = rates[i - 1] / rates[i] if rates[i] > 0 else np.inf
        text = f"lr ÷ {factor:.3g}" if factor > 1 else f"lr × {1 / factor:.3g}"
        axes.annotate(
            text, ((epochs[i] + epochs[i - 1]) / 2, 1), xycoords=("data", "axes fraction"),
            xytext=(0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=LEAST, color=GREY,
        )  # fmt: skip


def _tidy(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    low, high = axes.dataLim.intervalx
    if low == high:  # a single epoch, which else would be 0.96 to 1.04
        axes.set_xlim(low - 0.5, high + 0.5)
    axes.yaxis.grid(True)
    axes.set_axisbelow(True)


# ---------------------------------------------------------------------------------------------------------------------
# The mean history of several seeds


@dataclass(frozen=True, eq=False)
class Seeds:
    """The mean history of S runs of one setting.

    Attributes:
        name: of the setting.
        count: S.
        outputs: of each run.
        mean, low, high: (E epochs, `epoch` and the losses and accuracies): mean over the runs and the 95 % t interval
            of the mean; NaN where a run has no value, and the interval also with a single run.
        n: the same table, with the number of runs that have a value.
        rates: `epoch` and `learning_rate` if all runs have the same, else None.
        note: what a reader must know, beginning with a semicolon, or "".
    """

    name: str
    count: int
    outputs: tuple[str, ...]
    mean: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    n: pd.DataFrame
    rates: pd.DataFrame | None
    note: str

    def has(self, name: str) -> bool:
        """Whether all runs have a value of this name at one epoch or more."""
        return name in self.mean and bool(self.mean[name].notna().any())

    def table(self) -> pd.DataFrame:
        """One row per epoch and quantity: `setting`, `epoch`, `quantity`, `n`, `mean`, `low`, `high`."""
        parts = [
            part.melt("epoch", var_name="quantity", value_name=name)
            for name, part in (("n", self.n), ("mean", self.mean), ("low", self.low), ("high", self.high))
        ]
        out = parts[0].assign(**{str(part.columns[-1]): part.iloc[:, -1] for part in parts[1:]})
        out = out[out["n"] > 0].reset_index(drop=True)
        out.insert(0, "setting", self.name)
        return out


def no_history(run: Run) -> str:
    """Why a run has no curves, as a sentence."""
    if run.status()["state"] == "finished":  # imported scores, an ensemble, a forest of trees
        return f"{run.root} was not trained in epochs, so it has no curves: pass a run of mg.train."
    return f"{run.root} has no history yet: wait for the first epoch to finish."


def over_seeds(runs: Sequence[Run], name: str) -> Seeds:
    """The mean history of runs of one setting, and its 95 % t interval.

    Args:
        runs: at least one; each has finished an epoch.
        name: of the setting.

    Raises:
        MgkitError: a run without history, a run given twice, a repeated seed, or runs with different outputs.
    """
    from scipy import stats

    roots = [run.root.resolve() for run in runs]
    twice = {str(root) for root in roots if roots.count(root) > 1}
    if twice:
        raise MgkitError(f"{some(sorted(twice))} is given more than once: give each run once.")
    histories = [run.history() for run in runs]
    for run, history in zip(runs, histories, strict=True):
        if history.empty:
            raise MgkitError(no_history(run))
        if run.outputs != runs[0].outputs:
            raise MgkitError(
                f"{runs[0].root} has the outputs {', '.join(runs[0].outputs)} and {run.root} "
                f"{', '.join(run.outputs)}, so they are not seeds of one setting: name them in a dict."
            )
    _check_seeds(runs)

    # Losses and accuracies of all runs, on the epochs that any of them has.
    wanted = r"(train_|val_)?loss(_\w+)?|(train|val)_top1_\w+"
    columns = list(dict.fromkeys(str(c) for h in histories for c in h if re.fullmatch(wanted, str(c))))
    epochs = sorted({int(e) for history in histories for e in history["epoch"]})
    values = np.stack(
        [
            history.set_index("epoch").reindex(index=epochs, columns=columns).to_numpy(np.float64)
            for history in histories
        ]
    )
    count = len(runs)
    n = np.isfinite(values).sum(0)
    mean = values.mean(0)  # NaN where one is missing
    half = np.full_like(mean, np.nan)  # of the interval
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * values.std(0, ddof=1) / np.sqrt(count)

    def frame(array: np.ndarray) -> pd.DataFrame:
        out = pd.DataFrame(array, columns=columns)
        out.insert(0, "epoch", epochs)
        return out

    partly = sorted({epochs[i] for i in np.flatnonzero(((n > 0) & (n < count)).any(1))})
    note = f"; {name}: not all runs have the epochs {_ranges(partly)}" if partly else ""
    if count > 1:
        differ = [
            key for key in differing_settings(runs, None)[0] if re.match(r"recipe\.|settings\.(?!start)", key)
        ]
        note += f"; the runs of {name} also differ in {some(differ)}" if differ else ""
    return Seeds(
        name,
        count,
        runs[0].outputs,
        frame(mean),
        frame(mean - half),
        frame(mean + half),
        frame(n),
        _rates(histories),
        note,
    )


def _check_seeds(runs: Sequence[Run]) -> None:
    known = [seed_of(run, None) for run in runs]
    for seed in known:
        same = [str(run.root) for run, other in zip(runs, known, strict=True) if other == seed]
        if seed is not None and len(same) > 1:
            raise MgkitError(
                f"{some(same)} have the same seed {seed}, which makes the interval too narrow: leave one out."
            )


def _rates(histories: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    """The learning rate over the epochs of the longest history, if all others agree with it."""
    longest = max(histories, key=len)
    if "learning_rate" not in longest:
        return None
    rates = longest[["epoch", "learning_rate"]].reset_index(drop=True)
    known = rates.set_index("epoch")["learning_rate"]
    for history in histories:
        if "learning_rate" not in history or not set(history["epoch"]) <= set(known.index):
            return None
        if not np.allclose(history["learning_rate"], known.loc[history["epoch"]], rtol=1e-6, atol=0):
            return None
    return rates


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1 to 3, 7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)
