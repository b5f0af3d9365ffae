"""Scores of segments: F1 and average precision at an intersection over union, and agreement frame by frame.

Segments are tables with one row each and the columns `video`, `start`, `end` (seconds, `end` is where it is over),
`class`, and for answers `score`. A segment matches one of the same video and class if their intersection over union
(IoU) reaches a threshold; segments that only touch have IoU 0. A repeated answer is a further answer: it can be wrong.

How answers are matched to truths differs between protocols:

- `f1`, matching="maximum": one to one, as many pairs as possible. It depends on neither scores nor the order of rows.
- `f1`, matching="confidence", and `average_precision` (MMA-52, ActivityNet): one to one; by descending score, each
  answer takes the unmatched truth that it overlaps most. There may be fewer pairs than possible.
- `smg_f1`: the script published with SMG, in which one answer may match several truths.

Two careful coders place the same boundary about 80 ms apart, and 200 ms at worst: do not read more than that into IoUs
of short gestures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.results.stats.metrics import Doubles, ResultTable

__all__ = ["average_precision", "f1", "kappa", "mean_average_precision", "smg_f1", "truth"]

F1_IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
MAP_IOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of MMA-52
NEAR = 1e-9  # 3 of 10 frames reach an IoU of 0.3, however their seconds were rounded
Matching = Literal["maximum", "confidence"]


def truth(clips: Clips) -> pd.DataFrame:
    """The segments that clips were cut from, in the seconds that `mg.predict` counts: frames over the mean frame rate.

    Args:
        clips: of untrimmed videos, such as `clips.split("val")`. Clips of a background class are no segments.

    Returns:
        `video` (the `source` of the clips), `start`, `end`, `class`, in order of time.

    Raises:
        MgkitError: a clip whose frames per second are not known.
    """
    table = clips.table
    if clips.classes.background is not None:
        table = table[table["label"] != clips.classes.background]
    unknown = table.loc[~(table["fps"] > 0), "clip_id"].tolist()
    if unknown:
        raise MgkitError(f"the frames per second of {some(unknown)} are not known: give them to the reader.")
    found = pd.DataFrame(
        {
            "video": table["source"], "start": table["start"] / table["fps"], "end": table["end"] / table["fps"],
            "class": [clips.classes.names[label] for label in table["label"]],
        }
    )  # fmt: skip
    return found.sort_values(["video", "start", "end"], ignore_index=True)


def f1(
    truth: pd.DataFrame,
    answers: pd.DataFrame,
    ious: Sequence[float] = F1_IOUS,
    *,
    matching: Matching = "maximum",
    by_class: bool = False,
) -> pd.DataFrame:
    """F1 with one-to-one matching, one row per IoU; all videos and classes are counted together.

    Args:
        truth: segments, columns `video, start, end, class`.
        answers: segments; `score` only for matching="confidence".
        ious: thresholds in (0, 1].
        matching: how answers are matched, see the module.
        by_class: one row per class and IoU instead.

    Raises:
        MgkitError: a missing column, a segment that ends before it starts, an IoU outside (0, 1].

    Returns:
        `class` (with `by_class`), `iou`, the counts `truths`, `answers` and `matched`, and `precision`, `recall` and
        `f1` = 2 matched / (truths + answers) in [0, 1]; NaN where nothing is there to divide by.
    """
    if matching not in ("maximum", "confidence"):
        raise MgkitError(f"matching is {matching!r}: use 'maximum' or 'confidence'.")
    groups = list(_groups(truth, answers, scored=matching == "confidence"))
    counted: dict[tuple[object, float], list[int]] = {}
    for group in groups:
        for iou in _thresholds(ious):
            if matching == "maximum":
                matched = maximum_matching(group.overlap >= iou - NEAR)
            else:
                matched = int(_by_confidence(group.overlap, group.order, iou).sum())
            row = counted.setdefault((group.label if by_class else None, iou), [0, 0, 0])
            for at, count in enumerate((*group.overlap.shape[::-1], matched)):
                row[at] += count
    if not by_class:  # nothing at all is still a row
        counted = {(None, iou): counted.get((None, iou), [0, 0, 0]) for iou in _thresholds(ious)}
    rows = [{"class": label, "iou": iou, **counts_to_f1(*counts)} for (label, iou), counts in counted.items()]
    columns = ["class", "iou", "truths", "answers", "matched", "precision", "recall", "f1"]
    return ResultTable(rows, columns=columns if by_class else columns[1:])


def smg_f1(truth: pd.DataFrame, answers: pd.DataFrame, iou: float = 0.3) -> dict[str, float]:
    """Precision, recall and F1 as the online-recognition script published with SMG counts them.

    Chen et al., "SMG: A Micro-Gesture Dataset Towards Spontaneous Body Gestures for Emotional Stress State Analysis"
    (IJCV 2023). A truth is found if an answer of its class has an IoU *above* the threshold. The script means to take
    that answer off the list and does not, so one answer may find several truths: precision can exceed 1, and F1 is at
    least that of `f1` at an IoU a little higher. Its lengths are last minus first frame; give these as `start` and
    `end` for its very numbers.

    Args:
        truth, answers: segments; a `score` is not used.
        iou: the script's `threshold_alpha`.

    Returns:
        `precision` = found / answers, `recall` = found / truths and their `f1`; NaN of no answers or truths.
    """
    (threshold,) = _thresholds([iou])
    found = truths = given = 0
    for group in _groups(truth, answers):
        found += int((group.overlap > threshold + NEAR).any(0).sum())
        given, truths = given + group.overlap.shape[0], truths + group.overlap.shape[1]
    row = counts_to_f1(truths, given, found)
    return {name: row[name] for name in ("precision", "recall", "f1")}


def average_precision(
    truth: pd.DataFrame, answers: pd.DataFrame, ious: Sequence[float] = MAP_IOUS
) -> pd.DataFrame:
    """Average precision in [0, 1] of each class that has truths, one row per class and one column per IoU.

    Matching by confidence within each video, precision over recall with all videos together, interpolated as in PASCAL
    VOC from 2010 on (the precision at a recall is the best at that recall or a higher one). Of equal scores the earlier
    row comes first. A class without answers has 0.

    Args:
        truth: segments.
        answers: segments with `score`; higher is surer.
        ious: thresholds in (0, 1].
    """
    groups = list(_groups(truth, answers, scored=True))
    table: dict[object, list[float]] = {}
    for label in dict.fromkeys(group.label for group in groups):
        own = [group for group in groups if group.label == label]
        truths = sum(group.overlap.shape[1] for group in own)
        if not truths:
            continue
        scores = np.concatenate([group.scores for group in own])
        rows = np.concatenate([group.rows for group in own])
        order = np.lexsort((rows, -scores))
        table[label] = []
        for iou in _thresholds(ious):
            right = np.concatenate([_by_confidence(group.overlap, group.order, iou) for group in own])
            hits = np.cumsum(right[order])
            precision = hits / np.arange(1, len(hits) + 1)
            best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
            table[label].append(float(best[right[order]].sum() / truths))
    found = pd.DataFrame.from_dict(table, orient="index", columns=list(_thresholds(ious)), dtype=np.float64)
    found.index.name, found.columns.name = "class", "iou"
    return found


def mean_average_precision(
    truth: pd.DataFrame, answers: pd.DataFrame, ious: Sequence[float] = MAP_IOUS
) -> float:
    """The mean of `average_precision` over IoUs and classes with truths: MMA-52's measure at 0.1, 0.2, ... 0.9.

    Source: the baseline of the Micro-Action Analysis Grand Challenge (ACM MM 2024), track 2. That script adds 1e-4 s to
    each union and orders equal scores at random, which shifts results in the fourth decimal. NaN without truths.
    """
    table = average_precision(truth, answers, ious)
    return float(table.to_numpy().mean()) if len(table) else float("nan")


def kappa(
    first: pd.DataFrame, second: pd.DataFrame, durations: Mapping[str, float], fps: float = 25.0
) -> pd.DataFrame:
    """Cohen's kappa frame by frame, of a model and a coder or of two coders.

    A frame has the class of the segment that covers its middle. For the row of all classes it has one class (or none,
    which is a class like the others): where segments of several classes cover it, that with the highest score, or of
    equal or no scores the one that started last. For the row of a class it is in that class or not.

    Args:
        first, second: segments; they may overlap.
        durations: seconds of each video that both have looked at, those without segments included.
        fps: frames per second.

    Raises:
        MgkitError: a segment of a video without a duration, or more than a frame past its end.

    Returns:
        One row "all classes" and one per class: `kappa` in [-1, 1] (NaN where both have the same one class in all
        frames), `agreement` (share of frames on which they agree), `frames`, and `first`, `second`, the frames to which
        each gave the class (any class).
    """
    if not fps > 0:
        raise MgkitError(f"fps is {fps}: use a number above 0.")
    tables = [_checked(table, name) for table, name in ((first, "first"), (second, "second"))]
    for table, name in zip(tables, ("first", "second"), strict=True):
        unknown = sorted(set(table["video"]) - set(durations))
        if unknown:
            raise MgkitError(f"{name} has segments of {some(unknown)}, of which durations has no seconds.")
        past = table["end"] > table["video"].map(lambda video: durations[video]) + 1 / fps
        if past.any():
            row = table[past].iloc[0]
            raise MgkitError(
                f"{name}: a segment of {row['video']} ends at {row['end']:g} s, the video at "
                f"{durations[row['video']]:g} s: correct the segment or the duration."
            )
    labels = list(dict.fromkeys([*tables[0]["class"], *tables[1]["class"]]))
    lengths = {video: max(1, round(seconds * fps)) for video, seconds in durations.items()}
    one, other = (_frames(table, labels, lengths, fps) for table in tables)
    rows = [_agreement("all classes", one.top, other.top)]
    rows += [_agreement(label, one.any[k], other.any[k]) for k, label in enumerate(labels)]
    return ResultTable(rows)


# ---------------------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """Segments of one video and class."""

    label: object
    overlap: Doubles  # (answers, truths) IoU
    scores: Doubles  # (answers,), 0 without any
    rows: npt.NDArray[np.int64]  # (answers,) rows of the table

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Answers by descending score; of equal ones the earlier row first."""
        return np.argsort(-self.scores, kind="stable")


def overlaps(answers: npt.ArrayLike, truths: npt.ArrayLike) -> Doubles:
    """(M, N) intersection over union in [0, 1] of segments (M, 2) and (N, 2), each `start, end`."""
    a, b = np.asarray(answers, np.float64).reshape(-1, 1, 2), np.asarray(truths, np.float64).reshape(1, -1, 2)
    shared = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    shared = np.maximum(shared, 0)
    return shared / ((a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared)


def maximum_matching(allowed: npt.NDArray[np.bool_]) -> int:
    """The largest number of pairs, each row and column used once, of the allowed ones (M, N)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not allowed.any():
        return 0
    return int((maximum_bipartite_matching(csr_matrix(allowed), perm_type="column") >= 0).sum())


def counts_to_f1(truths: int, answers: int, matched: int) -> dict[str, float]:
    """`truths`, `answers`, `matched`, `precision`, `recall` and `f1`; NaN where nothing is there to divide by."""
    nan = float("nan")
    return {
        "truths": truths,
        "answers": answers,
        "matched": matched,
        "precision": matched / answers if answers else nan,
        "recall": matched / truths if truths else nan,
        "f1": 2 * matched / (truths + answers) if truths + answers else nan,
    }


def _by_confidence(overlap: Doubles, order: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.bool_]:
    """(M,) whether each answer finds a truth of its own."""
    right, free = np.zeros(len(overlap), bool), np.ones(overlap.shape[1], bool)
    if not free.any():
        return right
    for answer in order:
        best = int(np.where(free, overlap[answer], -1).argmax())
        if free[best] and overlap[answer, best] >= iou - NEAR:
            right[answer], free[best] = True, False
    return right


def _groups(truth: pd.DataFrame, answers: pd.DataFrame, scored: bool = False) -> Iterator[Group]:
    """Truths and answers of each video and class, in the order of the tables."""
    true, given = _checked(truth, "truth"), _checked(answers, "answers", scored=scored)
    scores = given["score"].to_numpy(np.float64) if "score" in given else np.zeros(len(given))
    places: list[dict[Any, Any]] = [
        dict(table.groupby(["video", "class"], sort=False).indices.items()) for table in (true, given)
    ]
    spans = [table[["start", "end"]].to_numpy(np.float64) for table in (true, given)]
    none = np.zeros(0, np.int64)
    for key in dict.fromkeys([*places[0], *places[1]]):
        there, here = (place.get(key, none) for place in places)
        yield Group(key[1], overlaps(spans[1][here], spans[0][there]), scores[here], here)


def _checked(table: pd.DataFrame, name: str, scored: bool = False) -> pd.DataFrame:
    """A table of segments with rows numbered from 0; errors name the row."""
    needed = ["video", "start", "end", "class", *(["score"] if scored else [])]
    lacking = [column for column in needed if column not in table]
    if lacking:
        raise MgkitError(
            f"{name} lacks the column {some(lacking)}: segments have {', '.join(needed)} (start and end in seconds)."
        )
    table = table.reset_index(drop=True)
    for column in [column for column in ("start", "end", "score") if column in table]:
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise MgkitError(
                f"{name} row {wrong[0]}: {column} is {table[column].iloc[wrong[0]]!r}, not a number."
            )
        table[column] = values
    short = np.flatnonzero(table["end"] <= table["start"])
    if len(short):
        row = table.iloc[short[0]]
        raise MgkitError(
            f"{name} row {short[0]}: the segment of {row['video']} starts at {row['start']:g} s and ends at "
            f"{row['end']:g} s; an end is later than its start."
        )
    empty = np.flatnonzero(table[["video", "class"]].isna().any(axis=1))
    if len(empty):
        raise MgkitError(f"{name} row {empty[0]}: the video or the class is empty.")
    return table


def _thresholds(ious: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(iou) for iou in ious)
    if not values or not all(0 < iou <= 1 for iou in values):
        raise MgkitError(f"ious are {list(ious)}: use numbers above 0 and up to 1.")
    return values


class Frames(NamedTuple):
    """The classes of the frames of all videos, one video after the other."""

    top: npt.NDArray[np.int64]  # (T,) index of the class, -1 = none
    any: npt.NDArray[np.bool_]  # (K, T)


def _frames(table: pd.DataFrame, labels: list[object], lengths: Mapping[str, int], fps: float) -> Frames:
    begin = dict(zip(lengths, np.cumsum([0, *lengths.values()]).tolist(), strict=False))
    total = sum(lengths.values())
    found = Frames(np.full(total, -1, np.int64), np.zeros((len(labels), total), bool))
    number = {label: k for k, label in enumerate(labels)}
    if "score" not in table:
        table = table.assign(score=0.0)
    # The last one written stays.
    for video, start, end, label in table.sort_values(["score", "start"], kind="stable")[
        ["video", "start", "end", "class"]
    ].itertuples(index=False):
        # Frame i is covered if (i + 0.5) / fps is in [start, end).
        low, high = (int(np.ceil(seconds * fps - 0.5 - NEAR)) for seconds in (start, end))
        inside = slice(begin[video] + max(low, 0), begin[video] + min(max(high, 0), lengths[video]))
        found.top[inside], found.any[number[label], inside] = number[label], True
    return found


def _agreement(label: object, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> dict[str, object]:
    from sklearn.metrics import cohen_kappa_score

    alone = len(np.unique(np.concatenate([one, other]))) < 2
    given = [int((each if each.dtype == bool else each >= 0).sum()) for each in (one, other)]
    return {
        "class": label,
        "kappa": float("nan") if alone else float(cohen_kappa_score(one, other)),
        "agreement": float((one == other).mean()),
        "frames": len(one),
        "first": given[0],
        "second": given[1],
    }
