"""Saliency on paper: maps and joints on the frames of a clip, bars over time, and the importance of joints by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.saliency import ClipSaliency
from mgkit.views.analysis.decisions import joint_importance as importance_of
from mgkit.views.figures.style import (
    GREY,
    LEAST,
    OUTPUT_COLOURS,
    PAGE,
    SMALL,
    PaperFigure,
    axes_at,
    colour_bar,
    every,
    fit_names,
    in_style,
    new_figure,
    ramp,
    text_at,
    text_width,
    width_of,
)

# Black over violet and orange to pale yellow, as in the player: monotonically lighter, in grey too.
GLOW = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
VEIL = 0.62  # opacity of the map where it is strongest


def glow() -> ListedColormap:
    """The colours of saliency, 0 to 1: straight lines between those of `GLOW`."""
    stops = np.array(GLOW) / 255
    at = np.linspace(0, len(stops) - 1, 256)
    return ListedColormap(
        np.stack([np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)], 1), name="mgkit_glow"
    )


def scaled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Evidence for the class in [0, 1]; evidence against it is 0.

    1 is the value that 1 % of the positive ones exceed, since a single outlier would leave all others dark.
    """
    speaks = np.maximum(values, 0)
    if not speaks.any():
        return speaks
    return np.minimum(speaks / np.quantile(speaks[speaks > 0], 0.99), 1).astype(np.float32)


def nearest(frames: npt.NDArray[np.int64], index: int) -> int:
    """Position of the sampled frame nearest to a frame, the first of those that are equally near."""
    return int(np.abs(frames - index).argmin())


def shown_frames(saliency: ClipSaliency, count: int) -> npt.NDArray[np.int64]:
    """At most `count` of the sampled frames, evenly spread: of the RGB pathway, or else of the pose pathway."""
    sampled = saliency.pose_frames if saliency.rgb_frames is None else saliency.rgb_frames
    assert sampled is not None
    return sampled[np.unique(np.linspace(0, len(sampled) - 1, min(count, len(sampled))).round().astype(int))]


def saliency_table(
    saliency: ClipSaliency, indices: npt.NDArray[np.int64], skeleton: Skeleton
) -> pd.DataFrame:
    """The values drawn on these frames, in nats: one row per frame, columns as in `film_strip`."""
    rows = []
    for index in indices:
        row: dict[str, object] = {}
        if saliency.maps is not None and saliency.rgb_frames is not None:
            part = saliency.maps[nearest(saliency.rgb_frames, int(index))]
            row |= {
                "saliency_rgb": float(part.sum()),
                "map": " ".join(f"{value:.4g}" for value in part.ravel()),
            }
        if saliency.joints is not None and saliency.pose_frames is not None:
            values = saliency.joints[nearest(saliency.pose_frames, int(index))]
            row["saliency_pose"] = float(values.sum())
            row |= {f"saliency_{joint}": float(v) for joint, v in zip(skeleton.joints, values, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)


def draw_map(axes: Axes, saliency: ClipSaliency, index: int, width: int, height: int) -> None:
    """Draw the RGB map of the sampled frame nearest to `index` over a picture whose axes are in clip pixels."""
    if saliency.maps is None or saliency.rgb_frames is None:
        return
    values = scaled(saliency.maps)[nearest(saliency.rgb_frames, index)]
    colours = glow()(values)
    colours[..., 3] = VEIL * values
    axes.imshow(
        colours, extent=(0, width, height, 0), interpolation="bicubic", aspect="auto", zorder=2, resample=True
    )


def draw_joints(
    axes: Axes,
    saliency: ClipSaliency,
    index: int,
    pose: npt.NDArray[np.float32],
    skeleton: Skeleton,
    size: float,
) -> None:
    """Discs on the joints (M, V, 3) of one frame: area and lightness by their evidence for the class.

    `size` is the diameter of the largest, points. A joint of several persons has one value, shown on each.
    """
    if saliency.joints is None or saliency.pose_frames is None:
        return
    values = scaled(saliency.joints)[nearest(saliency.pose_frames, index)]
    order = np.argsort(values, kind="stable")  # the strongest on top
    for person in pose:
        seen = order[np.isfinite(person[order, :2]).all(1) & (values[order] > 0.02)]
        axes.scatter(
            person[seen, 0], person[seen, 1], s=values[seen] * size**2, c=glow()(values[seen]),
            edgecolors="#1A1A1A", linewidths=0.4, zorder=6,
        )  # fmt: skip


def draw_time(axes: Axes, saliency: ClipSaliency, total: int, shown: npt.NDArray[np.int64]) -> None:
    """Bars over the frames of a clip: the evidence of each sampled frame; those `shown` are marked."""
    for name, values, frames in (
        ("pose", saliency.joints, saliency.pose_frames),
        ("rgb", saliency.maps, saliency.rgb_frames),
    ):
        if values is None or frames is None:
            continue
        sums = values.reshape(len(values), -1).sum(1)
        wide = max(0.8, 0.55 * total / len(sums)) if name == "rgb" else 0.8
        axes.bar(
            frames + 0.5, sums, width=wide, color=OUTPUT_COLOURS[name], alpha=0.55 if name == "rgb" else 1,
            label={"rgb": "RGB", "pose": "pose"}[name], linewidth=0, zorder=1 if name == "rgb" else 2,
        )  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.5, zorder=3)
    axes.plot(
        shown + 0.5, np.zeros(len(shown)), "^", color="black", markersize=3, clip_on=False, zorder=4,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    axes.set(xlim=(0, total), yticks=[])
    axes.set_xticks([0, total], ["0", counted(total, "frame")], fontsize=LEAST)
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[1].set_horizontalalignment("right")
    axes.tick_params(length=0, pad=2)
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=LEAST, frameon=False, handlelength=0.8,
        handleheight=0.8, borderaxespad=0.4, labelspacing=0.3,
    )  # fmt: skip
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def draw_scale(figure: Figure, box: tuple[float, float, float, float], label: str) -> None:
    """The colours of saliency as a bar in a box in points, from none to the most of the clip."""
    bar = colour_bar(figure, ScalarMappable(Normalize(0, 1), glow()), box, length=0)
    bar.set_ticks([0, 1], labels=["none", "most"])
    bar.ax.get_xticklabels()[0].set_horizontalalignment("left")
    bar.ax.get_xticklabels()[1].set_horizontalalignment("right")
    bar.ax.set_title(label, fontsize=LEAST, pad=2)


@in_style
def joint_importance(
    run: Run | str | Path,
    split: str = "test",
    *,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int | None = None,
) -> PaperFigure:
    """Share of each joint in the decisions for each class, see `mg.analysis.joint_importance`.

    Args:
        run: a run with explained clips of the split.
        split: that split.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; by default 1 up to 18 joints.

    Returns:
        The figure; its data has one row per class and joint: `class`, `joint`, `share` in [0, 1], NaN for a class
        without explained clips, and the number of `clips` explained.

    Raises:
        MgkitError: nothing has been explained, or the run has no pose pathway.
    """
    run = as_run(run)
    shares = importance_of(run, split)
    counts = np.bincount(run.saliency(split).target, minlength=len(shares))
    values = shares.to_numpy()
    if np.isnan(values).all():
        raise MgkitError(f"no clip of split {split!r} of {run.root} has a joint that speaks for its class.")
    height_of, count = 9.5, len(shares)
    width = 72 * width_of(venue, columns if columns is not None else (1 if values.shape[1] <= 18 else 2))
    names = fit_names(list(shares.index), 0.34 * width, LEAST)
    joints = [str(name).replace("_", " ") for name in shares.columns]
    left = 1.07 * max(text_width(name, LEAST) for name in names) + 9  # text on a screen is slightly wider
    below = max(text_width(name, LEAST) for name in joints) + 6
    height_of = min(height_of, (72 * PAGE - below - 16) / count)
    named = every(height_of, 1.05 * LEAST)
    height = count * height_of + below + 16
    figure = new_figure(width / 72, height / 72, constrained=False)
    axes = axes_at(figure, left, below, width - left - 34, count * height_of)
    top = float(np.nanmax(values))
    drawn = axes.pcolormesh(values, cmap=ramp(), vmin=0, vmax=top, edgecolors="#EDEDED", linewidth=0.25)
    for k in np.flatnonzero(np.isnan(values).all(1)).tolist():
        axes.axhspan(k, k + 1, color="#E6E6E6", linewidth=0)
        if named == 1:
            axes.text(
                values.shape[1] / 2, k + 0.5, "no clip", ha="center", va="center", fontsize=LEAST, color=GREY
            )
    axes.set(ylim=(count, 0))
    axes.set_yticks(np.arange(0, count, named) + 0.5, names[::named], fontsize=LEAST)
    axes.set_xticks(np.arange(len(joints)) + 0.5, joints, fontsize=LEAST, rotation=90)
    axes.tick_params(length=0, pad=2)
    bar = colour_bar(
        figure, drawn, (width - 27, below, 6, min(count * height_of, 90)), vertical=True, length=0
    )
    bar.set_ticks([0, top], labels=["0", f"{100 * top:.0f} %"])
    text_at(figure, left, height - 3, "share of the evidence for the class", fontsize=SMALL, va="top")
    data = pd.DataFrame(
        {
            "class": np.repeat(shares.index.to_numpy(), values.shape[1]),
            "joint": np.tile(shares.columns.to_numpy(), count),
            "share": values.ravel(),
            "clips": np.repeat(counts, values.shape[1]),
        }
    )
    target = run.saliency(split).settings.get("target")
    note = f"{counted(counts.sum(), 'clip')} of {split}" + (
        f", explained for their {target} class" if target else ""
    )
    return PaperFigure(figure, data, note)
