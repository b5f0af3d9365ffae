"""What is in a clip folder, as tables: classes, lengths, joints that were not seen, and everything odd."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError, some

if TYPE_CHECKING:
    from mgkit.data.clips import Clips

SHORT = 32  # frames that the pose pathway takes: a shorter clip is stretched
BY = ("subject", "source", "split", "class")


@dataclass(frozen=True, eq=False)
class Summary:
    """The tables of `Clips.summary`; shows itself in a notebook.

    Attributes:
        classes: one row a class: clips in each split, `all`, and its shortest, median and longest clip (frames).
        lengths: one row a split, and `all`: `clips`, `min`, `median`, `max` frames, `below 32 (%)`.
        joints: one row a joint: share of its frames in which it was not seen, per cent, by split and `all`; empty
            without poses.
    """

    classes: pd.DataFrame
    lengths: pd.DataFrame
    joints: pd.DataFrame

    def __repr__(self) -> str:
        parts = [self.classes.to_string(), self.lengths.to_string()]
        if len(self.joints):
            parts.append(f"joints not seen, per cent of the frames\n{self.joints.round(1).to_string()}")
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        parts = [self.classes.to_html(), self.lengths.to_html()]
        if len(self.joints):
            parts.append(f"<p>Joints not seen, per cent of the frames</p>{self.joints.round(1).to_html()}")
        return "".join(parts)


def summarise(clips: Clips) -> Summary:
    """See `Clips.summary`."""
    if not len(clips):
        raise MgkitError(f"there are no clips in this selection of {clips.root}: select some.")
    if clips.table["pose_offset"].ge(0).any():
        joints = missing_joints(clips, "split")
        joints["all"] = missing_joints(clips, None)["all"]
        joints = joints[[*[s for s in clips.splits if s in joints and s != "all"], "all"]]
    else:
        joints = pd.DataFrame(index=pd.Index(clips.skeleton.joints, name="joint")).iloc[:0]
    return Summary(_classes(clips), _lengths(clips), joints)


def _classes(clips: Clips) -> pd.DataFrame:
    names = pd.Categorical.from_codes(clips.labels, categories=pd.Index(clips.classes.names))
    counts = pd.crosstab(names, clips.table["split"].to_numpy(), dropna=False)
    counts = counts[clips.splits]
    counts.index.name, counts.columns.name = "class", None
    counts["all"] = counts.sum(axis=1)
    frames = clips.table["frames"].groupby(np.asarray(names), observed=False)
    lengths = frames.agg(["min", "median", "max"]).reindex(clips.classes.names)
    return counts.join(lengths.rename(columns=lambda name: f"{name} frames"))


def _lengths(clips: Clips) -> pd.DataFrame:
    frames = {split: clips.table.loc[clips.table["split"] == split, "frames"] for split in clips.splits}
    frames["all"] = clips.table["frames"]
    rows = {
        split: {
            "clips": len(column),
            "min": int(column.min()),
            "median": float(column.median()),
            "max": int(column.max()),
            f"below {SHORT} (%)": round(100 * float((column < SHORT).mean()), 1),
        }
        for split, column in frames.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "split"
    return table


def missing_joints(clips: Clips, by: str | None = "subject") -> pd.DataFrame:
    """Share of the frames in which a joint was not seen, in per cent.

    Args:
        clips: clips with poses; those without one do not count.
        by: "subject", "source", "split", "class", or None for all clips together (the column "all").

    Returns:
        One row a joint, one column a subject (or whatever `by` says), in their order; a person counts in each frame.

    Raises:
        MgkitError: no clip has a pose, or an unknown `by`.
    """
    if by is not None and by not in BY:
        raise MgkitError(f"by is {by!r}: use one of {some(BY)}, or None.")
    posed = clips.table[clips.table["pose_offset"] >= 0]
    if posed.empty:
        raise MgkitError(f"no clip of this selection of {clips.root} has a pose.")
    names = clips.classes.names
    keys = (
        pd.Series("all", index=posed.index)
        if by is None
        else posed["label"].map(lambda label: names[label]) if by == "class" else posed[by].replace("", "not known")
    )  # fmt: skip
    missing: dict[str, np.ndarray] = {}
    frames: dict[str, int] = {}
    for clip_id, key in zip(posed["clip_id"], keys, strict=True):
        lost = np.isnan(clips.pose(clip_id)[..., 0])
        missing[key] = missing.get(key, 0) + lost.sum((0, 1))
        frames[key] = frames.get(key, 0) + lost.shape[0] * lost.shape[1]
    if by == "split":
        order = [split for split in clips.splits if split in frames]
    else:
        order = [name for name in names if name in frames] if by == "class" else sorted(frames, key=_natural)
    shares = {key: 100 * missing[key] / frames[key] for key in order}
    return pd.DataFrame(shares, index=pd.Index(clips.skeleton.joints, name="joint"))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts S2 before S10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def report_table(report: list[dict[str, str]]) -> pd.DataFrame:
    """The report of a clip folder in one table: `what`, `how many`, `clips` (the first few), `detail` (of the first).

    What was left out comes first, then warnings about the splits, then the rest by number.
    """
    rows = []
    for what in {entry["what"]: None for entry in report}:
        entries = [entry for entry in report if entry["what"] == what]
        ids = [entry["clip_id"] for entry in entries if entry["clip_id"]]
        details = list(dict.fromkeys(entry["detail"] for entry in entries))
        rows.append(
            {"what": what, "how many": len(entries), "clips": some(ids, 3), "detail": some(details, 3)}
        )
    table = pd.DataFrame(rows, columns=["what", "how many", "clips", "detail"])
    rank = [0 if w.startswith("left out") else 1 if w in SPLIT_FAULTS else 2 for w in table["what"]]
    return (
        table.assign(rank=rank)
        .sort_values(["rank", "how many", "what"], ascending=[True, False, True], ignore_index=True)
        .drop(columns="rank")
    )


SPLIT_FAULTS = ("same footage", "near-duplicate", "same video", "same subject")
