"""Clips as a review leaves them: tagged ones out of every split, wrong labels put right.

What a review says is a table of a row a clip; `mgkit.results.review` keeps it beside a run. Here it becomes a split
table of the clip folder, so that a run made from it finds its clips again and no video is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.splits import UNUSED
from mgkit.errors import MgkitError, some

if TYPE_CHECKING:
    from mgkit.data.clips import Clips

WRONG_LABEL = "label wrong"
TAGS = (WRONG_LABEL, "ambiguous", "occluded", "bad pose")
BETWEEN = "; "  # tags in one field


class Notes(Protocol):
    """Review notes that give themselves as a table."""

    def frame(self) -> pd.DataFrame: ...


def split_tags(field: str) -> list[str]:
    """The tags in a field of a table."""
    return [tag for tag in (part.strip() for part in field.split(BETWEEN.strip())) if tag]


def make_reviewed(
    clips: Clips,
    notes: Notes | pd.DataFrame,
    *,
    exclude: Sequence[str],
    relabel: bool,
    splits: Sequence[str] | None,
    name: str | None,
) -> Clips:
    """See `Clips.reviewed`."""
    table = notes if isinstance(notes, pd.DataFrame) else notes.frame()
    lacking = [column for column in ("clip_id", "tags", "label") if column not in table]
    if lacking:
        raise MgkitError(f"the notes lack the column {some(lacking)}: give run.notes(), or a table like it.")
    unwanted = [exclude] if isinstance(exclude, str) else list(exclude)
    strange = [tag for tag in unwanted if tag not in TAGS]
    if strange:
        raise MgkitError(f"there is no tag {some(strange)}: exclude some of {', '.join(TAGS)}.")
    touched = [split for split in clips.splits if split != "test"] if splits is None else list(splits)
    unknown = [split for split in touched if split not in clips.splits]
    if unknown:
        raise MgkitError(f"{clips.root} has no split {some(unknown)}; its splits are {some(clips.splits)}.")
    row = {clip_id: i for i, clip_id in enumerate(clips.ids)}
    lost = [str(clip_id) for clip_id in table["clip_id"] if clip_id not in row]
    if lost:
        raise MgkitError(
            f"{clips.root} has no clip {some(lost)}, of which there are notes: open the clips that were reviewed."
        )

    twice = table.loc[table["clip_id"].duplicated(), "clip_id"]
    if len(twice):
        raise MgkitError(f"there are several notes on clip {some(dict.fromkeys(twice))}: leave one of each.")
    fields = table["tags"].fillna("")
    odd = sorted({tag for field in fields for tag in split_tags(field) if tag not in TAGS})
    if odd:
        raise MgkitError(f"the notes have the tag {some(map(repr, odd))}: use some of {', '.join(TAGS)}.")

    new_splits, labels = clips.table["split"].tolist(), clips.labels.copy()
    out: list[str] = []
    other: list[str] = []
    left: list[str] = []
    for clip_id, field, right in zip(table["clip_id"], fields, table["label"].fillna(""), strict=True):
        i, tags = row[clip_id], split_tags(field)
        label = clips.classes.index(right) if right and relabel else None
        for_what = [tag for tag in tags if tag in unwanted and not (tag == WRONG_LABEL and label is not None)]
        if not for_what and (label is None or label == labels[i]):
            continue
        if new_splits[i] not in touched:
            left.append(clip_id)
        elif for_what:
            new_splits[i] = UNUSED
            out.append(clip_id)
        else:
            assert label is not None
            labels[i] = label
            other.append(clip_id)
    if not out and not other:
        hint = f"{len(left)} of them are about {some(clips.select(left).splits)}: pass splits= to apply these"
        raise MgkitError(
            f"none of {len(table)} notes changes a clip of {some(touched)}; "
            + (hint if left else "tag clips, or exclude other tags")
            + "."
        )
    report = [
        _entry("excluded after review", out, f"tagged {some(unwanted)}"),
        _entry("relabelled after review", other, "given the class that was proposed"),
        _entry("reviewed, not changed", left, f"of another split than {some(touched)}"),
        *_without(clips, labels, new_splits),
    ]
    said = "\n".join(f"{i}\t{s}\t{k}" for i, s, k in zip(clips.ids, new_splits, labels, strict=True))
    begin = f"{clips.split_table}-" if clips.split_table else ""
    made = clips.with_splits(
        new_splits,
        name or f"{begin}reviewed-{hashlib.sha256(said.encode()).hexdigest()[:8]}",
        [entry for entry in report if entry["detail"]],
        labels=labels.tolist(),
    )
    made.save_splits()
    return made


def _entry(what: str, clip_ids: list[str], why: str) -> dict[str, str]:
    number = f"{len(clip_ids)} clip{'' if len(clip_ids) == 1 else 's'}"
    return {"what": what, "clip_id": "", "detail": f"{number} {why}: {some(clip_ids)}" if clip_ids else ""}


def _without(clips: Clips, labels: npt.NDArray[np.int64], splits: list[str]) -> list[dict[str, str]]:
    """Entries on the classes that a split had clips of and has none any more."""
    found, column, new = [], clips.table["split"].to_numpy(), np.array(splits)
    for split in clips.splits:
        gone = set(clips.labels[column == split].tolist()) - set(labels[new == split].tolist())
        if split != UNUSED and gone:
            names = some(clips.classes.names[label] for label in sorted(gone))
            found.append(
                {"what": "class without clips", "clip_id": "", "detail": f"{names}: none left in {split}"}
            )
    return found
