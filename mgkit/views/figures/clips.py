"""Clips on paper: a film strip of one clip, a contact sheet of a dataset, and a sheet of chosen clips with outcomes,
each with the skeleton as the network gets it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mgkit.data.clips import Clips
from mgkit.data.faces import UNKNOWN_FPS, Heads, blur_heads
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.notebook import blurs_faces
from mgkit.results.run.folder import Run, as_clips
from mgkit.results.run.saliency import Saliency
from mgkit.views.figures.saliency import (
    draw_joints,
    draw_map,
    draw_scale,
    draw_time,
    saliency_table,
    shown_frames,
)
from mgkit.views.figures.style import (
    KIND_NAMES,
    KINDS,
    LEAST,
    SMALL,
    PaperFigure,
    axes_at,
    fit_text,
    in_style,
    new_figure,
    text_at,
    width_of,
)

# Left, right and middle joints. On a photograph a line needs a dark rim to be visible on light and dark areas.
SIDES = {"left": "#56B4E9", "right": "#E69F00", "middle": "#F7F7F7"}
PAGE = 72 * 9.0  # points: no sheet is higher than the text of a page
BLANK = "#3A3A3A"  # behind a skeleton without video
OUTCOMES = {"right": KINDS["TP"], "wrong": KINDS["FP"], **KINDS}
OUTCOME_NAMES = {"right": "right", "wrong": "wrong", **KIND_NAMES}
DASHES = {"FN": (0, (2.2, 1.2)), "wrong": (0, (5, 1.5)), "FP": (0, (5, 1.5))}  # readable without colour
CHUNK = 64  # frames of a video that are in memory at a time
ACROSS = {1: 4, 2: 8}  # clips of a sheet side by side, by columns


@in_style
def film_strip(
    clips: Clips | Run | str | Path,
    clip_id: str,
    frames: int = 8,
    *,
    skeleton: bool = True,
    saliency: Saliency | None = None,
    blur_faces: bool | None = None,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """Frames of one clip, evenly spaced from the first to the last, with its skeleton.

    With saliency, the frames are sampled ones, a veil marks the parts of the picture that speak for the explained
    class, discs mark such joints, and bars below show all sampled frames over time (upwards = for the class). Lighter
    (and for joints larger) is more; both scales end where 1 % of the positive values of this clip exceed them.

    Args:
        clips: the clips.
        clip_id: the clip to draw.
        frames: the number of frames; fewer if the clip is shorter.
        skeleton: draw the key-points: left joints blue, right ones orange, others white; joints that were not seen,
            and limbs that end in one, are not drawn.
        saliency: from `run.saliency(split)`.
        blur_faces: blur heads, see docs/faces.md; by default as `mg.set_up_notebook` was told, else not.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2; in one column the strip breaks into rows of four.

    Returns:
        The figure; its data has one row per frame: `frame` (0-based, of the prepared clip), `seconds` (from its start;
        NaN if the rate is not known) and `joints` (the number seen, of all persons). With saliency also, in nats
        of log-odds, `saliency_rgb` and `saliency_pose` (sums of the sampled frame), `saliency_<joint>`, and `map`, the
        G x G parts of the picture row by row.

    Raises:
        MgkitError: an unknown clip, one that was not explained, or neither a video nor a pose to draw.
    """
    clips = as_clips(clips)
    if frames < 1:
        raise MgkitError(f"frames is {frames}: a film strip needs at least one.")
    row = clips.row(clip_id)
    total = int(row["frames"])
    found = None if saliency is None else saliency.clip(clip_id)
    if found is None:
        indices = np.unique(np.linspace(0, total - 1, min(frames, total)).round().astype(int))
    else:
        indices = shown_frames(found, frames)
        if indices[-1] >= total or int(found.target) >= len(clips.classes):
            raise MgkitError(
                f"the saliency of {clip_id!r} belongs to another clip with that id: explain it again."
            )
    heads = clips.heads(clip_id) if blurs_faces(blur_faces) else None
    pictures, pose = _contents(clips, clip_id, indices, skeleton, heads)

    # Rows of pictures, and the bars over time below them.
    width = 72 * width_of(venue, columns)
    across = min(len(indices), frames, 4 if columns == 1 else 10)
    down = -(-len(indices) // across)
    gap, text = 2.5, LEAST + 3
    # The pictures of a short strip are as large as those of a full one.
    wide = (width - gap * (across - 1)) / max(across, 3)
    tall = wide * row["height"] / row["width"]
    foot = 0.0 if found is None else 46.0
    height = down * (tall + text + gap) + foot
    figure = new_figure(width / 72, height / 72, constrained=False)
    for i, index in enumerate(indices):
        x, y = (i % across) * (wide + gap), height - (i // across + 1) * (tall + text + gap) + gap + text
        axes = axes_at(figure, x, y, wide, tall)
        _picture(axes, None if pictures is None else pictures[i], row["width"], row["height"])
        if found is not None:
            draw_map(axes, found, int(index), row["width"], row["height"])
        if pose is not None:
            draw_skeleton(axes, pose[:, i], clips.skeleton, line=_line(wide) * (1 if found is None else 0.6))
            if found is not None:
                draw_joints(
                    axes, found, int(index), pose[:, i], clips.skeleton, size=float(np.clip(wide / 8, 5, 12))
                )
        axes.set(xlim=(0, row["width"]), ylim=(row["height"], 0))
        label = f"frame {index}" if not row["fps"] else f"{index / row['fps']:.2f} s"
        text_at(figure, x + wide / 2, y - 2, label, ha="center", va="top", fontsize=LEAST)
    if found is not None:
        long = min(90.0, 0.24 * width)
        side = 36.0  # of the legend
        draw_time(axes_at(figure, 0, 10, width - long - side - 14, 24), found, total, indices)
        explained = clips.classes.names[found.target]
        label = f"speaks for\n{fit_text(explained, long, LEAST)}"
        draw_scale(figure, (width - long - 2, 14, long, 6), label)

    # The numbers behind it.
    seen = np.zeros(len(indices), int) if pose is None else np.isfinite(pose[..., 0]).sum((0, 2))
    seconds = indices / row["fps"] if row["fps"] else np.full(len(indices), np.nan)
    data = pd.DataFrame({"clip_id": clip_id, "frame": indices, "seconds": seconds, "joints": seen})
    name = clips.classes.names[int(row["label"])]
    note = f"{clip_id}: {name}, {len(indices)} of {counted(total, 'frame')}"
    if found is not None:
        data = pd.concat([data, saliency_table(found, indices, clips.skeleton)], axis=1)
        note += f"; lighter and larger = more evidence for {explained}; bars: all sampled frames"
    if heads is not None and pictures is not None:
        note += _blurred_note(int(heads.lost[indices].sum()))
    return PaperFigure(figure, data, note)


def frames_row(
    figure: Figure,
    clips: Clips,
    clip_id: str,
    count: int,
    corner: tuple[float, float],
    size: tuple[float, float],
    gap: float,
    skeleton: bool,
    heads: Heads | None = None,
) -> None:
    """Evenly spaced frames of a clip side by side, each with its time below it.

    Args:
        figure: where to draw.
        clips: the clips.
        clip_id: one of them.
        count: number of frames, at most those of the clip.
        corner: lower left one, points.
        size: (width, height) of a frame with its label, points.
        gap: between two, points.
        skeleton: draw the key-points.
        heads: those to blur.
    """
    row = clips.row(clip_id)
    indices = np.unique(np.linspace(0, int(row["frames"]) - 1, count).round().astype(int))
    pictures, pose = _contents(clips, clip_id, indices, skeleton, heads)
    foot = LEAST + 5
    for i, index in enumerate(indices):
        x = corner[0] + i * (size[0] + gap)
        axes = axes_at(figure, x, corner[1] + foot, size[0], size[1] - foot)
        _picture(axes, None if pictures is None else pictures[i], row["width"], row["height"])
        if pose is not None:
            draw_skeleton(axes, pose[:, i], clips.skeleton, line=_line(size[0]))
        axes.set(xlim=(0, row["width"]), ylim=(row["height"], 0))
        label = f"frame {index}" if not row["fps"] else f"{(row['start'] + index) / row['fps']:.2f} s"
        text_at(figure, x + size[0] / 2, corner[1] + foot - 2, label, ha="center", va="top", fontsize=LEAST)


@in_style
def contact_sheet(
    clips: Clips | Run | str | Path,
    n: int = 5,
    *,
    classes: Sequence[str] | None = None,
    skeleton: bool = True,
    seed: int = 0,
    blur_faces: bool | None = None,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """The middle frame of several clips of each class, for an impression of a dataset and of its odd clips.

    Args:
        clips: clips, or a split of them.
        n: clips per class, drawn at random; fewer for classes that have fewer.
        classes: class names; by default all that have clips, or the 16 with the most.
        skeleton: draw the key-points, as in `film_strip`.
        seed: seed of the draw.
        blur_faces: blur heads, see docs/faces.md; by default as `mg.set_up_notebook` was told, else not.
        axes: draw into this subfigure, or in the place of these axes, of a figure of your own (`style.in_style`).
        venue: a key of `style.VENUES`.
        columns: 1 or 2 columns of classes.

    Returns:
        The figure; its data has one row per picture: `class`, `clip_id`, `frame`.
    """
    clips = as_clips(clips)
    if n < 1:
        raise MgkitError(f"n is {n}: show at least one clip per class.")
    # The classes, and clips of each.
    counts = np.bincount(clips.labels, minlength=len(clips.classes))
    left_out = 0
    if classes is None:
        there = [int(k) for k in np.flatnonzero(counts)]
        labels = sorted(sorted(there, key=lambda k: (-counts[k], k))[:16])
        left_out = len(there) - len(labels)
    else:
        labels = [clips.classes.index(name) for name in classes]
        empty = [clips.classes.names[k] for k in labels if not counts[k]]
        if empty:
            raise MgkitError(f"there is no clip of {some(empty)} in this selection of {clips.root}.")
    if not labels:
        raise MgkitError(f"there are no clips in this selection of {clips.root}.")
    blur, unseen = blurs_faces(blur_faces), 0
    rng = np.random.default_rng(seed)
    ids = np.array(clips.ids, dtype=object)
    picked = {
        k: sorted(str(i) for i in rng.choice(ids[clips.labels == k], min(n, int(counts[k])), replace=False))
        for k in labels
    }
    rows = [clips.row(clip_id) for chosen in picked.values() for clip_id in chosen]
    # One shape for all places, so that the sheet is regular; each picture keeps its own proportions inside.
    ratio = float(np.median([row["height"] / row["width"] for row in rows]))

    width = 72 * width_of(venue, columns)
    blocks = min(columns, len(labels))
    space, gap, text = 10.0, 2.0, SMALL + 3.5
    block = (width - space * (columns - 1)) / columns
    wide = (block - gap * (n - 1)) / max(n, 3)
    lines = -(-len(labels) // blocks)
    tall = min(wide * ratio, 1.6 * wide, PAGE / lines - text - 4)
    wide = min(wide, tall / min(ratio, 1.6))
    height = lines * (tall + text + 4)
    figure = new_figure(width / 72, height / 72, constrained=False)
    table = []
    for i, k in enumerate(labels):
        left, top = (i // lines) * (block + space), height - (i % lines) * (tall + text + 4)
        name = fit_text(clips.classes.names[k], block - 30, SMALL)
        text_at(figure, left, top - 1, name, va="top", ha="left", fontsize=SMALL)
        for j, clip_id in enumerate(picked[k]):
            row = clips.row(clip_id)
            index = int(row["frames"]) // 2
            box = (left + j * (wide + gap), top - text - tall, wide, tall)
            unseen += place_frame(figure, clips, clip_id, index, skeleton, box, blur)
            table.append({"class": clips.classes.names[k], "clip_id": clip_id, "frame": index})
    note = f"middle frame of up to {counted(n, 'clip')} per class, drawn with seed {seed}"
    note += f"; without {counted(left_out, 'rarer class', 'rarer classes')}" if left_out else ""
    note += _blurred_note(unseen) if blur else ""
    return PaperFigure(figure, pd.DataFrame(table), note)


def draw_skeleton(axes: Axes, pose: npt.NDArray[np.float32], skeleton: Skeleton, line: float = 0.9) -> None:
    """Draw (M, V, 3) key-points of one frame into axes whose units are pixels; NaN joints are left out."""
    for person in pose:
        seen = np.isfinite(person[:, :2]).all(1)
        limbs = [
            (edge, side)
            for edge, side in zip(skeleton.edges, skeleton.edge_sides, strict=True)
            if seen[list(edge)].all()
        ]
        segments = [person[list(edge), :2] for edge, _ in limbs]
        tones = [SIDES[side] for _, side in limbs]
        axes.add_collection(
            LineCollection(segments, colors="#1A1A1A", linewidths=1.8 * line, capstyle="round", zorder=3)
        )
        axes.add_collection(
            LineCollection(segments, colors=tones, linewidths=line, capstyle="round", zorder=4)
        )
        dots = [SIDES[side] for side, there in zip(skeleton.sides, seen, strict=True) if there]
        axes.scatter(
            person[seen, 0], person[seen, 1], s=(2.0 * line) ** 2, c=dots,
            edgecolors="#1A1A1A", linewidths=0.35 * line, zorder=5,
        )  # fmt: skip


def _line(width: float) -> float:
    """Line width in points in a picture `width` points wide: thin enough to leave the fingers visible in small ones."""
    return float(np.clip(width / 110, 0.4, 1.0))


def _contents(
    clips: Clips, clip_id: str, indices: npt.NDArray[np.int64], skeleton: bool, heads: Heads | None
) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.float32] | None]:
    """Frames (n, H, W, 3), these heads blurred, and key-points (M, n, V, 3), as far as the clip has them."""
    path = clips.video(clip_id)
    pose = None
    if skeleton and clips.row(clip_id)["pose_offset"] >= 0:
        pose = clips.pose(clip_id)[:, indices]
    if path is None and pose is None:
        raise MgkitError(f"clip {clip_id!r} of {clips.root} has neither a video nor a pose to draw.")
    if path is None:
        return None, pose
    pictures = clips.frames(clip_id, indices)
    if heads is not None:
        pictures = np.stack(
            [blur_heads(one, heads, int(i)) for one, i in zip(pictures, indices, strict=True)]
        )
    return pictures, pose


def _blurred_note(unseen: int) -> str:
    """What a caption adds where faces are blurred."""
    return "; faces are blurred" + (
        f", {counted(unseen, 'picture')} as a whole: no head is seen there" if unseen else ""
    )


def _picture(axes: Axes, picture: npt.NDArray[np.uint8] | None, width: int, height: int) -> None:
    axes.set_facecolor(BLANK)
    if picture is not None:
        # Pixel i covers [i, i + 1): the extent is what makes key-points and picture agree.
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="lanczos", aspect="auto")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def place_frame(
    figure: Figure,
    clips: Clips,
    clip_id: str,
    index: int,
    skeleton: bool,
    box: tuple[float, float, float, float],
    blur: bool,
) -> bool:
    """One frame of one clip, as large as fits into a box (x, y, width, height in points) without stretching.

    Returns:
        Whether it was blurred as a whole, because no head is seen in it.
    """
    row = clips.row(clip_id)
    heads = clips.heads(clip_id) if blur else None
    pictures, pose = _contents(clips, clip_id, np.array([index]), skeleton, heads)
    x, y, wide, tall = box
    scale = min(wide / row["width"], tall / row["height"])
    w, h = scale * row["width"], scale * row["height"]
    axes = axes_at(figure, x + (wide - w) / 2, y + (tall - h) / 2, w, h)
    _picture(axes, None if pictures is None else pictures[0], row["width"], row["height"])
    if pose is not None:
        draw_skeleton(axes, pose[:, 0], clips.skeleton, line=_line(w))
    return bool(heads is not None and pictures is not None and heads.lost[index])


@in_style
def clip_sheet(
    clips: Clips,
    clip_ids: Sequence[str],
    words: Sequence[str],
    outcomes: Sequence[str],
    *,
    skeleton: bool = True,
    note: str = "",
    blur_faces: bool | None = None,
    axes: Any = None,
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """The middle frame of chosen clips in their order, with a border for the outcome of each.

    Args:
        clips: the clips.
        clip_ids: those to draw.
        words: the text under each.
        outcomes: "right", "wrong", "TP", "FN" or "FP" for each: the colour and dashes of its border.
        skeleton: draw the key-points, as in `film_strip`.
        note: a description of the clips for the caption.
        blur_faces: blur heads, see docs/faces.md; by default as `mg.set_up_notebook` was told, else not.
        venue: a key of `mg.figures.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data has one row per picture: `clip_id`, `frame`, `words`, `outcome`. A clip with neither
        video nor pose is an empty box.

    Raises:
        MgkitError: no clips, an unknown clip or outcome, more clips than fit on a page, or lists of different lengths.
    """
    if not clip_ids or not len(clip_ids) == len(words) == len(outcomes):
        raise MgkitError(
            f"a sheet needs clips, and words and an outcome for each; got {counted(len(clip_ids), 'clip')}, "
            f"{counted(len(words), 'word')} and {counted(len(outcomes), 'outcome')}."
        )
    strange = sorted(set(outcomes) - set(OUTCOMES))
    if strange:
        raise MgkitError(f"{strange[0]!r} is not an outcome: use one of {', '.join(OUTCOMES)}.")
    width, across = 72 * width_of(venue, columns), ACROSS[columns]
    gap, text, legend = 4.0, 2 * (LEAST + 1.5), 11.0
    wide = (width - gap * (across - 1)) / across
    lines = -(-len(clip_ids) // across)
    height = lines * (wide + text + gap) + legend
    if height > PAGE:
        most = int((PAGE - legend) // (wide + text + gap)) * across
        raise MgkitError(f"{len(clip_ids)} clips do not fit on a page: draw at most {most}.")
    figure = new_figure(width / 72, height / 72, constrained=False)
    blur, unseen = blurs_faces(blur_faces), 0
    rows = []
    for i, (clip_id, label, outcome) in enumerate(zip(clip_ids, words, outcomes, strict=True)):
        x, y = (i % across) * (wide + gap), height - (i // across) * (wide + text + gap) - wide
        row = clips.row(clip_id)
        frame = int(row["frames"]) // 2
        figure.add_artist(
            Rectangle((x / width, y / height), wide / width, wide / height, facecolor=BLANK, zorder=-2)
        )
        if row["video"] or row["pose_offset"] >= 0:
            unseen += place_frame(figure, clips, clip_id, frame, skeleton, (x, y, wide, wide), blur)
        figure.add_artist(_border(x + 0.75, y + 0.75, wide - 1.5, wide - 1.5, outcome, (width, height)))
        for k, part in enumerate(label.split(" → ", 1)):
            shown = fit_text(f"→ {part}" if k else part, wide, LEAST)
            text_at(figure, x, y - 2 - k * (LEAST + 1), shown, ha="left", va="top", fontsize=LEAST)
        rows.append({"clip_id": clip_id, "frame": frame, "words": label, "outcome": outcome})
    x = 0.0
    for outcome in (name for name in OUTCOMES if name in set(outcomes)):
        figure.add_artist(_border(x + 1, 2, 8, 6, outcome, (width, height)))
        text_at(figure, x + 12, 5, OUTCOME_NAMES[outcome], va="center", fontsize=LEAST)
        x += 24 + 3.2 * len(OUTCOME_NAMES[outcome])
    note = note or f"middle frame of {counted(len(rows), 'clip')}"
    return PaperFigure(figure, pd.DataFrame(rows), note + (_blurred_note(unseen) if blur else ""))


def save_clips(
    clips: Clips | Run | str | Path,
    clip_ids: Sequence[str],
    folder: str | Path,
    *,
    blur_faces: bool | None = None,
) -> list[Path]:
    """Save clips as videos, for a talk or the supplement of a paper: `<folder>/<clip_id>.mp4`, as they were prepared.

    Args:
        clips: the clips.
        clip_ids: those to save.
        folder: where to; made if it does not exist. Files of the same names are replaced.
        blur_faces: blur heads, see docs/faces.md; by default as `mg.set_up_notebook` was told, else not. A clip in
            which no head is ever seen is blurred as a whole.

    Returns:
        The files.

    Raises:
        MgkitError: an unknown clip, one without a video, or a folder that cannot be written.
    """
    from mgkit.data import video

    clips = as_clips(clips)
    lacking = [clip_id for clip_id in clip_ids if clips.video(clip_id) is None]
    if lacking:
        raise MgkitError(f"{some(lacking)} of {clips.root} have no video: leave them out.")
    written = []
    for clip_id in clip_ids:
        row = clips.row(clip_id)
        heads = clips.heads(clip_id) if blurs_faces(blur_faces) else None

        def frames(
            clip_id: str = clip_id, heads: Heads | None = heads, total: int = int(row["frames"])
        ) -> Any:
            for first in range(0, total, CHUNK):
                numbers = np.arange(first, min(first + CHUNK, total))
                for number, frame in zip(numbers.tolist(), clips.frames(clip_id, numbers), strict=True):
                    yield frame if heads is None else blur_heads(frame, heads, number)

        written.append(Path(folder) / f"{clip_id}.mp4")
        written[-1].parent.mkdir(parents=True, exist_ok=True)
        video.write_video(written[-1], frames(), float(row["fps"]) or UNKNOWN_FPS)
    return written


def _border(
    x: float, y: float, wide: float, tall: float, outcome: str, page: tuple[float, float]
) -> Rectangle:
    return Rectangle(
        (x / page[0], y / page[1]), wide / page[0], tall / page[1], fill=False, edgecolor=OUTCOMES[outcome],
        linewidth=1.5, linestyle=DASHES.get(outcome, "-"), zorder=10,
    )  # fmt: skip
