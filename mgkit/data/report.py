"""Tables of what a clip folder holds: classes, lengths, joints not seen, everything odd, and what two splits share.

A score on clips whose twins were trained on means nothing. Shared footage, videos and subjects are found in the clip
table. Near-duplicates (a clip exported twice, re-encoded, shifted by a frame or two, under another name) are found by
their looks: three pictures per clip are reduced to 64 bits each by the signs of their lowest frequencies, a
"perceptual hash", and key-points to sixteen moments in units of the crop. Both must agree where a clip has both, since
a person who sits still before the same wall looks much the same in every clip.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.ledger import read_ledger
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted, some

SHORT = 32  # frames that the pose pathway takes: a shorter clip is stretched
BY = ("subject", "source", "split", "class")
SPLIT_FAULTS = ("same footage", "near-duplicate", "same video", "same subject", "several estimators")

PoseOf = Callable[[str], npt.NDArray[np.float32]]  # key-points (M, T, V, 3) of a clip id


# --- what is there --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Summary:
    """The tables of `Clips.summary`; shows itself in a notebook.

    Attributes:
        classes: one row per class: clips in each split, `all`, and its shortest, median and longest clip (frames).
        lengths: one row per split, and `all`: `clips`, `min`, `median`, `max` frames, `below 32 (%)`.
        joints: one row per joint: share of its frames in which it was not seen, per cent, by split and `all`; empty
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


def summarise(table: pd.DataFrame, names: tuple[str, ...], skeleton: Skeleton, pose: PoseOf) -> Summary:
    """The tables of `Clips.summary`, from a clip table that is not empty, class names, layout and poses."""
    splits = sorted(table["split"].unique())
    # Classes: a column per split, then lengths.
    classes = pd.Categorical.from_codes(table["label"].to_numpy(), categories=pd.Index(names))
    counts = pd.crosstab(classes, table["split"].to_numpy(), dropna=False)[splits]
    counts.index.name, counts.columns.name = "class", None
    counts["all"] = counts.sum(axis=1)
    frames = table["frames"].groupby(np.asarray(classes), observed=False).agg(["min", "median", "max"])
    counts = counts.join(frames.reindex(names).rename(columns=lambda name: f"{name} frames"))
    # Lengths: a row per split.
    parts = {split: table.loc[table["split"] == split, "frames"] for split in splits}
    lengths = pd.DataFrame.from_dict(
        {
            split: {
                "clips": len(column),
                "min": int(column.min()),
                "median": float(column.median()),
                "max": int(column.max()),
                f"below {SHORT} (%)": round(100 * float((column < SHORT).mean()), 1),
            }
            for split, column in {**parts, "all": table["frames"]}.items()
        },
        orient="index",
    )
    lengths.index.name = "split"
    # Joints: a column per split.
    if table["pose_offset"].ge(0).any():
        joints = missing_joints(table, names, skeleton, pose, "split")
        joints["all"] = missing_joints(table, names, skeleton, pose, None)["all"]
        joints = joints[[*[s for s in splits if s in joints and s != "all"], "all"]]
    else:
        joints = pd.DataFrame({"all": []}, pd.Index([], dtype=object, name="joint"), dtype=float)
    return Summary(counts, lengths, joints)


def missing_joints(
    table: pd.DataFrame, names: tuple[str, ...], skeleton: Skeleton, pose: PoseOf, by: str | None = "subject"
) -> pd.DataFrame:
    """Share of the frames in which each joint was not seen, in per cent; a person counts in each frame.

    Args:
        table: the clip table, some of whose clips have a pose; those without one do not count.
        names: class names in label order.
        skeleton: the layout.
        pose: key-points by clip id.
        by: "subject", "source", "split", "class", or None for all clips together (the column "all").

    Returns:
        One row per joint, one column per subject (or whatever `by` is), in their order.
    """
    if by is not None and by not in BY:
        raise MgkitError(f"by is {by!r}: use one of {some(BY)}, or None.")
    posed = table[table["pose_offset"] >= 0]
    if by is None:
        keys = ["all"] * len(posed)
    elif by == "class":
        keys = [names[label] for label in posed["label"]]
    else:
        keys = posed[by].replace("", "not known").tolist()
    missing: dict[str, np.ndarray] = {}
    frames: dict[str, int] = {}
    for clip_id, key in zip(posed["clip_id"], keys, strict=True):
        lost = np.isnan(pose(clip_id)[..., 0])  # (M, T, V)
        missing[key] = missing.get(key, 0) + lost.sum((0, 1))
        frames[key] = frames.get(key, 0) + lost.shape[0] * lost.shape[1]
    order = [name for name in names if name in frames] if by == "class" else sorted(frames, key=natural)
    shares = {key: 100 * missing[key] / frames[key] for key in order}
    return pd.DataFrame(shares, index=pd.Index(skeleton.joints, name="joint"))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which `2` comes before `10`."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


class ReportTable(pd.DataFrame):
    """A report as a table that is shown in full, folded to the width of the page or the terminal."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame  # what is made of it is a table like any other

    def __repr__(self) -> str:
        width = max(80, shutil.get_terminal_size().columns)
        return (
            "\n".join(
                textwrap.fill(
                    line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
                )
                for line in _lines(self)
            )
            or "nothing was odd"
        )

    def _repr_html_(self) -> str:
        if self.empty:
            return "<p>nothing was odd</p>"
        with pd.option_context("display.max_colwidth", None):
            text = pd.DataFrame(self).to_html(index=False, border=0, justify="left")
        cell = "text-align: left; vertical-align: top; white-space: normal; overflow-wrap: anywhere"
        return text.replace("<td>", f'<td style="{cell}">')


def report_table(report: list[dict[str, str]]) -> ReportTable:
    """The report of a clip folder or of key-points in one table: `what`, `how many`, `detail` (of the first few).

    What was left out comes first, then warnings about the splits, then the rest by number.
    """
    rows = []
    for what in dict.fromkeys(entry["what"] for entry in report):
        entries = [entry for entry in report if entry["what"] == what]
        rank = 0 if what.startswith("left out") else 1 if what in SPLIT_FAULTS else 2
        rows.append((rank, -len(entries), what, _details(entries)))
    return ReportTable(
        [(what, -count, detail) for _, count, what, detail in sorted(rows)],
        columns=["what", "how many", "detail"],
    )


def _details(entries: list[dict[str, str]]) -> str:
    """What is said of the first few clips: "a, b and 2 more: this" if it is the same of all, else each with its own,
    "a in 9 of 40 frames; b in 16 of 40 frames; and 2 more"."""
    details = {entry["detail"] for entry in entries}
    if len(details) == 1:
        ids = [entry["clip_id"] for entry in entries if entry["clip_id"]]
        return _said(some(ids, 3), *details)
    pairs = list(dict.fromkeys((entry["clip_id"], entry["detail"].rstrip(".")) for entry in entries))
    more = [f"and {len(pairs) - 3} more"] if len(pairs) > 3 else []
    return "; ".join([*(_said(*pair) for pair in pairs[:3]), *more])


def _said(clips: str, detail: str) -> str:
    if not clips:
        return detail
    return f"{clips} {detail}" if detail.startswith("in ") else f"{clips}: {detail}"


def report_lines(report: list[dict[str, str]]) -> Iterator[str]:
    """A report as lines of text: what (how many): details of the first few."""
    return _lines(report_table(report))


def _lines(table: pd.DataFrame) -> Iterator[str]:
    for row in table.to_dict("records"):
        yield f"{row['what']} ({row['how many']}): {row['detail']}"


# --- what two splits share ------------------------------------------------------------------------------------------

FINDING = ["what", "splits", "name", "clips", "detail"]
LOOKS = 3  # pictures of a clip that are kept to recognise it by
BITS = 6  # of 64 may differ in each of them
MOMENTS = 16
NEAR = (
    0.015  # of the side of the crop: how far the joints of near-duplicates lie apart, except for one in ten
)
MOVED = 0.03  # a single joint that is farther apart, except for one moment in seven, has moved otherwise
ROUGH = 0.03  # root of the mean square of the same, in a first sieve

Finding = tuple[str, str, str, str, str]


def leakage(root: Path, table: pd.DataFrame, skeleton: Skeleton, pose: PoseOf) -> pd.DataFrame:
    """Everything that two splits of these clips share.

    Returns:
        One row per finding, worst first: `what` ("same footage", "near-duplicate", "same video", "same subject"),
        `splits` ("train, val"), `name` (the two clips, the video, the subject), `clips` (how many of each split),
        `detail`. Empty when there is nothing.
    """
    # Without a video, `source` may be the file that holds all annotations: then all of its clips begin at frame 0.
    late = table.groupby("source")["start"].transform("max") > 0
    recorded = ((table["video"] != "") | late).to_numpy()
    found = [*_same_footage(table[recorded])]
    found += _near_duplicates(root, table, recorded, skeleton, pose)
    found += _shared(table[recorded], "source", "same video")
    found += _shared(table, "subject", "same subject")
    return pd.DataFrame(found, columns=FINDING)


def _pairs(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    order = {name: i for i, name in enumerate(("train", "val", "test"))}
    yield from combinations(sorted(table["split"].unique(), key=lambda name: (order.get(name, 3), name)), 2)


def _shared(table: pd.DataFrame, column: str, what: str) -> Iterator[Finding]:
    """Names in a column that have clips in two splits."""
    counts = table[table[column] != ""].groupby([column, "split"]).size().unstack(fill_value=0)
    for one, other in _pairs(table):
        if one not in counts or other not in counts:
            continue
        for name, a, b in counts[[one, other]].itertuples(name=None):
            if a and b:
                detail = f"{name} has {counted(a, 'clip')} in {one} and {b} in {other}"
                yield what, f"{one}, {other}", str(name), f"{a}, {b}", detail


def _same_footage(table: pd.DataFrame) -> Iterator[Finding]:
    """Clips of two splits that share more than half of the frames of the shorter one."""
    for source, group in table.groupby("source"):
        if group["split"].nunique() < 2:
            continue
        columns = group.sort_values("start")[["clip_id", "split", "start", "end"]]
        rows = list(columns.itertuples(index=False, name=None))
        for i, (one, split, start, end) in enumerate(rows):
            for other, other_split, other_start, other_end in rows[i + 1 :]:
                if other_start >= end:
                    break
                common = min(end, other_end) - other_start
                if split != other_split and 2 * common > min(end - start, other_end - other_start):
                    detail = f"{one} and {other} share {counted(common, 'frame')} of {source}"
                    yield "same footage", f"{split}, {other_split}", f"{one} ~ {other}", "1, 1", detail


def _near_duplicates(
    root: Path, table: pd.DataFrame, recorded: npt.NDArray[np.bool_], skeleton: Skeleton, pose: PoseOf
) -> Iterator[Finding]:
    """Clips of two splits whose pictures and joints agree, as far as both clips have them."""
    if table["split"].nunique() < 2:
        return
    looks, moves = _looks(root, table), _moves(table, skeleton, pose)  # (N, LOOKS), (N, D)
    pictured, posed = np.asarray(looks.any(1)), np.asarray(np.isfinite(moves).any(1))
    at, seen = np.nan_to_num(moves - 0.5), np.isfinite(moves).astype(np.float32)
    ids, splits = table["clip_id"].to_numpy(), table["split"].to_numpy()
    sources = table["source"].where(recorded, "").to_numpy()
    for one, other in _pairs(table):
        right = np.flatnonzero(splits == other)
        for part in np.array_split(np.flatnonzero(splits == one), max(1, (splits == one).sum() // 256)):
            # A first sieve for all pairs of a part: by pictures where both clips have them, else by joints.
            both = pictured[part][:, None] & pictured[right]
            near = both & (np.bitwise_count(looks[part][:, None] ^ looks[right]) <= BITS).all(-1)
            blind = ~both & posed[part][:, None] & posed[right]
            if blind.any():  # (x - y)^2 over the joints seen in both clips, by matrix products
                square = at[part] ** 2 @ seen[right].T + seen[part] @ (at[right] ** 2).T
                square -= 2 * at[part] @ at[right].T
                near |= blind & (square <= ROUGH**2 * (seen[part] @ seen[right].T))
            # Then joints exactly; without a picture, a quarter of them must be seen in both clips.
            for a, b in np.argwhere(near):
                i, j = int(part[a]), int(right[b])
                if sources[i] and sources[i] == sources[j]:
                    continue  # reported as the same video or footage
                least = 1 if both[a, b] else moves.shape[1] // 4
                if posed[i] and posed[j] and not _alike(moves[i], moves[j], least):
                    continue
                detail = f"{ids[i]} ({one}) and {ids[j]} ({other}) look the same: is one a copy of the other?"
                yield "near-duplicate", f"{one}, {other}", f"{ids[i]} ~ {ids[j]}", "1, 1", detail


def _alike(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32], least: int) -> bool:
    """Whether the joints of two clips agree: nearly all points, and each joint in nearly all of its moments.

    A micro-gesture may be one wrist that moves: it must not vanish among the joints that are still.

    Args:
        one, other: rows of `_moves`.
        least: coordinates that must be seen in both clips.
    """
    apart = np.abs(one - other).reshape(MOMENTS, -1, 2)
    seen = np.isfinite(apart)
    if seen.sum() < least or np.quantile(apart[seen], 0.9) > NEAR:
        return False
    # The less the others differ, the less a single joint may.
    limit = min(max(6 * float(np.median(apart[seen])), NEAR), MOVED)
    by_joint = np.sort(apart.max(-1), axis=0)  # (MOMENTS, V), those not seen last
    count = seen.all(-1).sum(0)
    nearly_all = np.ceil(0.85 * (count - 1)).astype(int).clip(0)
    farthest = by_joint[nearly_all, np.arange(len(count))]
    return not bool(((count > MOMENTS // 4) & (farthest > limit)).any())


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
        if small.std() < 3:  # black or white: alike whatever it is
            return ""
        waves = np.asarray(cv2.dct(small))[:8, :8].reshape(-1)[1:]
        bits = np.concatenate([[False], waves > np.median(waves)])
        out.append(np.packbits(bits).tobytes().hex())
    return "".join(out)


def _looks(root: Path, table: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """(N, LOOKS) picture hashes, 0 where there are no pictures; from the ledger of `prepare`, else from the videos."""
    import cv2

    from mgkit.data.video import read_frames

    noted = read_ledger(root).files
    out = np.zeros((len(table), LOOKS), dtype=np.uint64)
    for i, (video, frames) in enumerate(zip(table["video"], table["frames"], strict=True)):
        if not video:
            continue
        if video in noted:
            text = noted[video].looks
        else:
            pictures = read_frames(root / video, [(2 * k + 1) * frames // (2 * LOOKS) for k in range(LOOKS)])
            grey = [np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), np.uint8) for p in pictures]
            text = picture_hash(np.stack(grey))
        if len(text) == 16 * LOOKS:
            out[i] = [int(text[16 * k : 16 * k + 16], 16) for k in range(LOOKS)]
    return out


def _moves(table: pd.DataFrame, skeleton: Skeleton, pose: PoseOf) -> npt.NDArray[np.float32]:
    """(N, MOMENTS * V * 2) joints of the first person at MOMENTS moments, in units of the crop; NaN = not seen."""
    out = np.full((len(table), MOMENTS, len(skeleton), 2), np.nan, dtype=np.float32)
    for i, row in enumerate(table.to_dict("records")):
        if row["pose_offset"] >= 0:
            at = [(2 * k + 1) * row["frames"] // (2 * MOMENTS) for k in range(MOMENTS)]
            out[i] = pose(row["clip_id"])[0, at, :, :2] / (row["width"], row["height"])
    return out.reshape(len(table), -1)
