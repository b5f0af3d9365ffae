"""Figures of a dataset: clips per class, clip lengths, joints that the pose estimator missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mgkit.data.clips import Clips
from mgkit.data.report import SHORT
from mgkit.data.splits import UNUSED
from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Run, as_clips
from mgkit.views.figures.style import (
    GREY,
    LEAST,
    PAGE,
    SMALL,
    PaperFigure,
    axes_at,
    colour_bar,
    every,
    fit_names,
    in_style,
    log_axis,
    new_figure,
    ordinal,
    ramp,
    text_at,
    text_width,
    width_of,
)

# Tol (2021), "bright": splits, in the order in which they are drawn; kept apart from the colours of outputs and kinds.
SPLIT_COLOURS = ("#4477AA", "#CCBB44", "#AA3377", "#66CCEE", "#228833", "#BBBBBB")
_FIRST = {"train": 0, "val": 1, "test": 2}


@in_style
def class_counts(
    clips: Clips | Run | str | Path,
    *,
    order: str = "count",
    axes: Any = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Clips of every class in every split, on a log scale: the long tail, and classes that a split lacks.

    Args:
        clips: the clips, their folder, or a run that knows them.
        order: classes by falling "count", or as "given".
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1 up to 40 classes.

    Returns:
        The figure; its data has one row per class and split: `class`, `split`, `clips`.
    """
    clips = as_clips(clips)
    if order not in ("count", "given"):
        raise MgkitError(f"{order!r} is not an order of classes: use count or given.")
    splits, names = _splits(clips), clips.classes.names
    counts = np.stack(
        [np.bincount(clips.labels[_of(clips, split)], minlength=len(names)) for split in splits], axis=1
    )
    total = counts.sum(1)
    sequence = np.argsort(-total, kind="stable") if order == "count" else np.arange(len(names))
    columns = columns or (1 if len(names) <= 40 else 2)
    width = width_of(venue, columns)
    size = SMALL if len(names) <= 40 else LEAST
    # As many panels next to each other as keep the figure on a page; beyond that, thinner bars and fewer names.
    slot, least = max(0.13, 0.05 * len(splits)), min(0.13, 0.055 + 0.02 * len(splits))
    panels = 1 if len(names) <= 40 or columns == 1 else 3 if len(names) * least > 2 * (PAGE - 0.5) else 2
    per_column = -(-len(names) // panels)
    slot = min(slot, (PAGE - 0.5) / per_column)
    step = every(72 * slot, 1.1 * size)
    figure = new_figure(width, 0.5 + per_column * slot)
    parts = np.array_split(sequence, panels)
    shown = fit_names([names[k] for k in sequence], min(105, 0.45 * 72 * width / panels), size)
    labels = dict(zip(sequence.tolist(), shown, strict=True))
    for axes, part in zip(figure.subplots(1, panels, squeeze=False).ravel(), parts, strict=True):
        texts = [f"{labels[int(k)]} ({total[k]})" for k in part]
        _count_bars(axes, counts[part], texts, splits, per_column, size, step)
        log_axis(axes, 0.7, 1.5 * max(2, counts.max()), "clips")
    if len(splits) > 1:
        handles, texts = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper center", ncols=min(4, len(splits)), borderaxespad=0)
    data = pd.DataFrame(
        [
            {"class": names[k], "split": split, "clips": int(counts[k, j])}
            for k in sequence
            for j, split in enumerate(splits)
        ]
    )
    lacking = {s: [names[k] for k in range(len(names)) if not counts[k, j]] for j, s in enumerate(splits)}
    note = "clips per class on a log scale, all splits together in brackets"
    note += f"; every {ordinal(step)} class is named" if step > 1 else ""
    note += "".join(f"; {split} lacks {some(what, 3)}" for split, what in lacking.items() if what)
    return PaperFigure(figure, data, note)


def _count_bars(
    axes: Axes, counts: np.ndarray, labels: list[str], splits: list[str], room: int, size: float, step: int
) -> None:
    thick = 0.84 / len(splits)
    for j, split in enumerate(splits):
        at = np.arange(len(counts)) + (j - (len(splits) - 1) / 2) * thick
        there = counts[:, j] > 0
        colour = SPLIT_COLOURS[j % len(SPLIT_COLOURS)]
        # From below one clip, so that a single clip is a bar too.
        bars = counts[there, j] - 0.7
        axes.barh(at[there], bars, 0.9 * thick, left=0.7, color=colour, label=split, linewidth=0)
    axes.set(ylim=(room - 0.4, -0.6))
    axes.set_yticks(np.arange(0, len(labels), step), labels[::step], fontsize=size)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.grid(True)
    axes.set_axisbelow(True)


@in_style
def clip_lengths(
    clips: Clips | Run | str | Path,
    *,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 1,
) -> PaperFigure:
    """Lengths of the clips of each split: share of clips up to each length, on a log scale.

    The line is at 32 frames, the input of the pose pathway: clips to its left are stretched.

    Returns:
        The figure; its data has one row per clip: `clip_id`, `split`, `frames`.
    """
    clips = as_clips(clips)
    splits = _splits(clips)
    figure = new_figure(width_of(venue, columns), 1.7)
    axes = figure.subplots()
    short = []
    for j, split in enumerate(splits):
        frames = np.sort(clips.table.loc[_of(clips, split), "frames"].to_numpy())
        share = 100 * np.arange(1, len(frames) + 1) / len(frames)
        axes.step(
            np.concatenate([frames[:1], frames]),
            np.concatenate([[0.0], share]),
            where="post",
            color=SPLIT_COLOURS[j % len(SPLIT_COLOURS)],
            linestyle=("-", "--", "-.", ":")[j % 4],
            label=f"{split} ({len(frames)})",
        )
        short.append(f"{split} {100 * float((frames < SHORT).mean()):.0f} %")
    axes.axvline(SHORT, color=GREY, linewidth=0.6, linestyle=(0, (3, 2)))
    low, high = clips.table["frames"].min(), clips.table["frames"].max()
    log_axis(axes, 0.8 * low, 1.25 * high, "frames")
    axes.set(ylim=(0, 100), ylabel="clips up to this length (%)")
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left")
    data = clips.table[["clip_id", "split", "frames"]].copy()
    return PaperFigure(figure, data, f"shorter than {SHORT} frames: {', '.join(short)}")


@in_style
def missing_joints(
    clips: Clips | Run | str | Path,
    by: str = "subject",
    *,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Share of frames in which each joint (rows) of each subject (columns) was not seen.

    Args:
        clips: clips with poses.
        by: the columns: "subject", "source", "split" or "class".
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1 up to 40 of them.

    Returns:
        The figure; its data has one row per joint and subject: `joint`, the name of `by`, `missing` (per cent).

    Raises:
        MgkitError: no clip has a pose.
    """
    clips = as_clips(clips)
    table = clips.missing_joints(by)
    names, joints = [str(name) for name in table], list(table.index)
    width = width_of(venue, columns or (1 if len(names) <= 40 else 2))
    # Placed in points: with a colour bar, an automatic layout would depend on the number of times it is drawn.
    left = max(text_width(joint, LEAST) for joint in joints) + 6
    wide, line = 72 * width - left - 6, 8.0 if len(joints) <= 60 else 6.8
    step = every(wide / len(names), LEAST + 1)  # every second, third, ... name if they do not all fit
    ticks = list(range(0, len(names), step))
    shown = fit_names([names[i] for i in ticks], 60, LEAST)
    bottom, top = max(text_width(name, LEAST) for name in shown) + 17, 22.0
    line = min(line, (72 * PAGE - bottom - top) / len(joints))
    named = every(line, 1.05 * LEAST)
    height = bottom + line * len(joints) + top
    figure = new_figure(width, height / 72, constrained=False)
    axes = axes_at(figure, left, bottom, wide, line * len(joints))
    image = axes.imshow(
        table.to_numpy(), cmap=ramp(), vmin=0, vmax=100, aspect="auto", interpolation="nearest"
    )
    axes.set_xticks(ticks, shown, rotation=90, fontsize=LEAST)
    labels = [joint.replace("_", " ") for joint in joints[::named]]
    axes.set_yticks(np.arange(0, len(joints), named), labels, fontsize=LEAST)
    axes.tick_params(length=0)
    axes.set_xlabel(by, labelpad=1)
    for spine in axes.spines.values():
        spine.set_visible(False)
    start = left + wide - min(110.0, wide / 2)
    bar = colour_bar(figure, image, (start, height - 16, left + wide - start, 5.0), above=True)
    bar.set_ticks([0, 25, 50, 75, 100])
    text_at(figure, start - 6, height - 13.5, "not seen (%)", ha="right", va="center", fontsize=SMALL)
    data = table.reset_index().melt(id_vars="joint", var_name=by, value_name="missing")
    worst = str(table.mean(axis=1).idxmax())
    note = (
        f"share of frames in which a joint was not seen; most often {worst}, {table.mean(axis=1).max():.0f} %"
    )
    return PaperFigure(figure, data, note)


def _splits(clips: Clips) -> list[str]:
    if not len(clips):
        raise MgkitError(f"there are no clips in this selection of {clips.root}.")
    return sorted((s for s in clips.splits if s != UNUSED), key=lambda name: (_FIRST.get(name, 3), name))


def _of(clips: Clips, split: str) -> np.ndarray:
    return (clips.table["split"] == split).to_numpy()
