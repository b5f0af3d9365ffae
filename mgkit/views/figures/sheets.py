"""Chosen clips on paper, in their order: a frame of each, with a border that tells what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.patches import Rectangle

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.views.figures.strips import BLANK, PAGE, place_frame
from mgkit.views.figures.style import (
    KIND_NAMES,
    KINDS,
    LEAST,
    PaperFigure,
    fit_text,
    in_style,
    new_figure,
    width_of,
)

OUTCOMES = {"right": KINDS["TP"], "wrong": KINDS["FP"], **KINDS}
OUTCOME_NAMES = {"right": "right", "wrong": "wrong", **KIND_NAMES}
DASHES = {
    "FN": (0, (2.2, 1.2)),
    "wrong": (0, (5, 1.5)),
    "FP": (0, (5, 1.5)),
}  # what colour alone tells not everybody
ACROSS = {1: 4, 2: 8}


@in_style
def clip_sheet(
    clips: Clips,
    clip_ids: Sequence[str],
    words: Sequence[str],
    outcomes: Sequence[str],
    *,
    skeleton: bool = True,
    note: str = "",
    venue: str = "cvpr",
    columns: int = 2,
) -> PaperFigure:
    """The middle frame of these clips, in this order.

    Args:
        clips: the clips that they are of.
        clip_ids: which.
        words: what to write under each.
        outcomes: of each "right", "wrong", "TP", "FN" or "FP": the colour and dashes of its border.
        skeleton: draw the key-points, as in `film_strip`.
        note: what the clips are, for the caption.
        venue: a key of `mg.figures.VENUES`.
        columns: 1 or 2.

    Returns:
        The figure; its data has one row a picture: `clip_id`, `frame`, `words`, `outcome`. A clip with neither video
        nor pose is an empty box.

    Raises:
        MgkitError: no clips, an unknown clip or outcome, more clips than a page holds, or lists that are not as long.
    """
    if not clip_ids or not len(clip_ids) == len(words) == len(outcomes):
        raise MgkitError(
            f"a sheet needs clips, and words and an outcome for each; there are {len(clip_ids)} clips, {len(words)} "
            f"words and {len(outcomes)} outcomes."
        )
    strange = sorted(set(outcomes) - set(OUTCOMES))
    if strange:
        raise MgkitError(f"there is no outcome {strange[0]!r}: use one of {', '.join(OUTCOMES)}.")
    width, across = 72 * width_of(venue, columns), ACROSS[columns]
    gap, text, legend = 4.0, 2 * (LEAST + 1.5), 11.0
    wide = (width - gap * (across - 1)) / across
    lines = -(-len(clip_ids) // across)
    height = lines * (wide + text + gap) + legend
    if height > PAGE:
        most = int((PAGE - legend) // (wide + text + gap)) * across
        raise MgkitError(f"{len(clip_ids)} clips do not fit a page: draw {most} at most.")
    figure = new_figure(width / 72, height / 72, constrained=False)
    rows = []
    for i, (clip_id, label, outcome) in enumerate(zip(clip_ids, words, outcomes, strict=True)):
        x, y = (i % across) * (wide + gap), height - (i // across) * (wide + text + gap) - wide
        row = clips.row(clip_id)
        frame = int(row["frames"]) // 2
        figure.add_artist(
            Rectangle((x / width, y / height), wide / width, wide / height, facecolor=BLANK, zorder=-2)
        )
        if row["video"] or row["pose_offset"] >= 0:
            place_frame(figure, clips, clip_id, frame, skeleton, (x, y, wide, wide), (width, height))
        figure.add_artist(_border(x + 0.75, y + 0.75, wide - 1.5, wide - 1.5, outcome, (width, height)))
        for k, part in enumerate(label.split(" → ", 1)):
            shown = fit_text(f"→ {part}" if k else part, wide, LEAST)
            place = (x / width, (y - 2 - k * (LEAST + 1)) / height)
            figure.text(*place, shown, ha="left", va="top", fontsize=LEAST)
        rows.append({"clip_id": clip_id, "frame": frame, "words": label, "outcome": outcome})
    x = 0.0
    for outcome in (name for name in OUTCOMES if name in set(outcomes)):
        figure.add_artist(_border(x + 1, 2, 8, 6, outcome, (width, height)))
        figure.text((x + 12) / width, 5 / height, OUTCOME_NAMES[outcome], va="center", fontsize=LEAST)
        x += 24 + 3.2 * len(OUTCOME_NAMES[outcome])
    return PaperFigure(figure, pd.DataFrame(rows), note or f"middle frame of {len(rows)} clips")


def _border(
    x: float, y: float, wide: float, tall: float, outcome: str, page: tuple[float, float]
) -> Rectangle:
    return Rectangle(
        (x / page[0], y / page[1]), wide / page[0], tall / page[1], fill=False, edgecolor=OUTCOMES[outcome],
        linewidth=1.5, linestyle=DASHES.get(outcome, "-"), zorder=10,
    )  # fmt: skip
