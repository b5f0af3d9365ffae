"""What is in a clip folder, as tables: classes, lengths, joints that were not seen, and everything odd.

What two splits share that they must not: clips, footage, source videos, people, near-duplicates.

A score on clips whose twins were trained on says nothing. Same ids, footage, videos and subjects are found in the
table. Near-duplicates (a clip exported twice, re-encoded, shifted by a frame or two, under another name) are found by
what they look like: three pictures a clip are reduced to 64 bits each by the signs of their lowest frequencies, a
"perceptual hash", and key-points to eight moments in the units of the crop. Both must agree where a clip has both,
since a person who sits still before the same wall looks much the same in every clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
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


if TYPE_CHECKING:
    from mgkit.data.clips import Clips

COLUMNS = ["what", "splits", "name", "clips", "detail"]
BITS = 6  # of 64 may differ in each of the three pictures
NEAR = 0.015  # of the side of the crop: how far the joints of near-duplicates lie apart, but for one in ten
ROUGH = 0.03
MOMENTS = 8

Table = pd.DataFrame
Found = dict[str, object]


def leakage(clips: Clips) -> pd.DataFrame:
    """Everything that stands on both sides of two splits of these clips.

    Returns:
        One row a finding, worst first: `what` ("same footage", "near-duplicate", "same video", "same subject"),
        `splits` ("train, val"), `name` (the two clips, the video, the subject), `clips` (how many of each split),
        `detail`. Empty when there is nothing.
    """
    table = clips.table
    found = [*_same_footage(table), *_near_duplicates(clips)]
    found += [
        *_shared(table[_recordings(table)], "source", "same video"),
        *_shared(table, "subject", "same subject"),
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def _pairs(table: Table) -> Iterator[tuple[str, str]]:
    order = {name: i for i, name in enumerate(("train", "val", "test"))}
    splits = sorted(table["split"].unique(), key=lambda name: (order.get(name, 3), name))
    yield from combinations(splits, 2)


def _shared(table: Table, column: str, what: str) -> Iterator[Found]:
    """Names in a column that have clips in two splits."""
    counts = table[table[column] != ""].groupby([column, "split"]).size().unstack(fill_value=0)
    if counts.empty:
        return
    for one, other in _pairs(table):
        if one not in counts or other not in counts:
            continue
        both = counts[(counts[one] > 0) & (counts[other] > 0)]
        for name, row in both.iterrows():
            yield {
                "what": what,
                "splits": f"{one}, {other}",
                "name": str(name),
                "clips": f"{row[one]}, {row[other]}",
                "detail": f"{name} has {row[one]} clips in {one} and {row[other]} in {other}",
            }


def _recordings(table: Table) -> npt.NDArray[np.bool_]:
    """Where `source` names a recording. Without a video it may be the file that holds all annotations: then all of its
    clips begin at frame 0."""
    late = table.groupby("source")["start"].transform("max") > 0
    return ((table["video"] != "") | late).to_numpy()


def _same_footage(table: Table) -> Iterator[Found]:
    """Clips of two splits that share more than half of the frames of the shorter one."""
    table = table[_recordings(table)]
    for source, group in table.groupby("source"):
        if group["split"].nunique() < 2:
            continue
        rows = list(
            group.sort_values("start")[["clip_id", "split", "start", "end"]].itertuples(
                index=False, name=None
            )
        )
        for i, (one, split, start, end) in enumerate(rows):
            for other, other_split, other_start, other_end in rows[i + 1 :]:
                if other_start >= end:
                    break
                common = min(end, other_end) - other_start
                if split != other_split and 2 * common > min(end - start, other_end - other_start):
                    yield {
                        "what": "same footage",
                        "splits": f"{split}, {other_split}",
                        "name": f"{one} ~ {other}",
                        "clips": "1, 1",
                        "detail": f"{one} and {other} share {common} frames of {source}",
                    }


def _near_duplicates(clips: Clips) -> Iterator[Found]:
    table = clips.table
    if table["split"].nunique() < 2:
        return
    looks = _looks(clips)
    moves = _moves(clips)
    splits = table["split"].to_numpy()
    sources = table["source"].where(_recordings(table), "").to_numpy()
    for one, other in _pairs(table):
        left, right = np.flatnonzero(splits == one), np.flatnonzero(splits == other)
        for i, j in _alike(looks, moves, left, right):
            if sources[i] and sources[i] == sources[j]:
                continue  # told of as the same video, or the same footage
            first, second = table["clip_id"].iloc[i], table["clip_id"].iloc[j]
            yield {
                "what": "near-duplicate",
                "splits": f"{one}, {other}",
                "name": f"{first} ~ {second}",
                "clips": "1, 1",
                "detail": f"{first} ({one}) and {second} ({other}) look the same: is one a copy of the other?",
            }


def _alike(
    looks: npt.NDArray[np.uint64], moves: npt.NDArray[np.float32],
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64],
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Pairs (of `left`, of `right`) whose pictures and joints agree, as far as both clips have them."""
    pictured, posed = np.asarray(looks.any(1)), np.asarray(np.isfinite(moves).any(1))
    steps = max(1, 4_000_000 // max(1, len(right)))
    for begin in range(0, len(left), steps):
        part = left[begin : begin + steps]
        near = np.zeros((len(part), len(right)), dtype=np.bool_)
        seen = pictured[part][:, None] & pictured[right]
        if seen.any():
            near = seen.copy()
            for k in range(looks.shape[1]):
                # Most pairs fall at the first picture; a full matrix each time is still quicker than indexing.
                near &= np.bitwise_count(looks[part, k][:, None] ^ looks[right, k]) <= BITS
        blind = ~seen & (posed[part][:, None] & posed[right])
        if blind.any():
            near |= blind & _roughly(moves, part, right)
        for a, b in np.argwhere(near):
            i, j = int(part[a]), int(right[b])
            both = np.isfinite(moves[i]) & np.isfinite(moves[j])
            if posed[i] and posed[j]:
                # Without a picture joints must be enough: a good part of them, seen in both clips.
                enough = both.sum() >= (1 if seen[a, b] else moves.shape[1] // 4)
                if not enough or np.quantile(np.abs(moves[i] - moves[j])[both], 0.9) > NEAR:
                    continue
            yield i, j


def _roughly(
    moves: npt.NDArray[np.float32], part: npt.NDArray[np.int64], right: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Pairs whose joints lie `ROUGH` apart or less (root of the mean square over the joints seen in both clips)."""
    seen = np.isfinite(moves).astype(np.float32)
    at = np.nan_to_num(moves - 0.5)
    # (x - y)^2 over what both have, by three matrix products instead of one long loop
    square = (at[part] ** 2) @ seen[right].T + seen[part] @ (at[right] ** 2).T - 2 * at[part] @ at[right].T
    return np.asarray(square <= ROUGH**2 * (seen[part] @ seen[right].T))


# --- what a clip looks like -----------------------------------------------------------------------------------------


def picture_hash(pictures: npt.NDArray[np.uint8]) -> str:
    """Hash of the brightness (n, H, W) of n pictures: 16 hexadecimal digits each, "" if one of them shows nothing.

    Each picture is shrunk to 32 x 32; a bit says whether one of its 63 lowest frequencies is above their median
    (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010). Hashes of the same scene
    differ in a few bits after re-encoding, resizing or a change of brightness, those of two scenes in about half.
    """
    import cv2

    out = []
    for picture in pictures:
        small = np.asarray(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA), dtype=np.float32)
        if small.std() < 3:  # black, white: alike whatever it is
            return ""
        waves = np.asarray(cv2.dct(small))[:8, :8].reshape(-1)[1:]
        bits = np.concatenate([[False], waves > np.median(waves)])
        out.append(np.packbits(bits).tobytes().hex())
    return "".join(out)


def _looks(clips: Clips) -> npt.NDArray[np.uint64]:
    """(N, 3) picture hashes of clips; zeros where there are no pictures. Taken from what `prepare` noted, else read."""
    from mgkit.data.ledger import read_ledger
    from mgkit.data.prepare.cut import LOOKS

    noted = read_ledger(clips.root).files
    out = np.zeros((len(clips), LOOKS), dtype=np.uint64)
    for i, (video, frames) in enumerate(zip(clips.table["video"], clips.table["frames"], strict=True)):
        if not video:
            continue
        record = noted.get(video)
        text = record.looks if record is not None else _look(clips, video, int(frames), LOOKS)
        if len(text) == 16 * LOOKS:
            out[i] = [int(text[16 * k : 16 * k + 16], 16) for k in range(LOOKS)]
    return out


def _look(clips: Clips, video: str, frames: int, count: int) -> str:
    import cv2

    from mgkit.data.video import read_frames

    at = [(2 * i + 1) * frames // (2 * count) for i in range(count)]
    pictures = read_frames(clips.root / video, at)
    return picture_hash(
        np.stack([np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), np.uint8) for p in pictures])
    )


def _moves(clips: Clips) -> npt.NDArray[np.float32]:
    """(N, MOMENTS * V * 2) joints of the first person at eight moments, in units of the crop; NaN = not seen."""
    out = np.full((len(clips), MOMENTS, len(clips.skeleton), 2), np.nan, dtype=np.float32)
    for i, row in enumerate(clips.table.to_dict("records")):
        if row["pose_offset"] < 0:
            continue
        at = [(2 * k + 1) * row["frames"] // (2 * MOMENTS) for k in range(MOMENTS)]
        out[i] = clips.pose(row["clip_id"])[0, at, :, :2] / (row["width"], row["height"])
    return out.reshape(len(clips), -1)
