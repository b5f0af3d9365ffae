"""Other splits of the same clips: a small table beside them, so that no video is copied.

A split table is `splits/<name>.csv` in the clip folder with the columns `clip_id` and `split`, and, where clips were
given other labels, `label`: the name of the class. `load_clips` takes its path, or its name, and gives the same clips
with these splits and labels; everything else (training, runs, figures) sees ordinary clips. A clip of split "unused"
stands in none.

Clips as a review leaves them: tagged ones out of every split, wrong labels put right.

What a review says is a table of a row a clip; `mgkit.results.run.review` keeps it beside a run. Here it becomes a split
table of the clip folder, so that a run made from it finds its clips again and no video is touched.
"""

from __future__ import annotations

import hashlib
import html
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.errors import MgkitError, some
from mgkit.files import atomic

if TYPE_CHECKING:
    from mgkit.data.clips import Clips

GROUPS = ("subject", "source")
UNUSED = "unused"


def split_path(root: Path, name: str) -> Path:
    """Where the split table of this name lies; a name that is no plain file name raises a `MgkitError`."""
    if not name or Path(name).name != name or name.startswith(".") or name.endswith(".csv"):
        raise MgkitError(
            f"{name!r} is no name for a split table: use a plain word, without .csv and folders."
        )
    return root / "splits" / f"{name}.csv"


class SplitTable(NamedTuple):
    """The split of each clip, and its label; None where the table leaves labels alone."""

    splits: list[str]
    labels: list[int] | None


def read_split(path: Path, ids: Sequence[str], labels: Sequence[int], names: Sequence[str]) -> SplitTable:
    """The splits of these clips, and their labels where the table has any.

    Args:
        path: of the table.
        ids: the clips of the folder.
        labels: their labels there, for the rows of the table that leave the class open.
        names: class names in label order.

    Raises:
        MgkitError: no such file or not a split table, a clip that stands twice or not at all, an unknown clip or class.
    """
    there = sorted(found.stem for found in path.parent.glob("*.csv"))
    if not path.is_file():
        raise MgkitError(f"there is no split table {path}; there is {some(there) or 'none'}.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise MgkitError(f"{path} cannot be read ({error}): make it again.") from None
    if not {"clip_id", "split"} <= set(table):
        raise MgkitError(f"{path} is not a split table: it needs the columns clip_id and split.")
    repeated = table.loc[table["clip_id"].duplicated(), "clip_id"]
    if len(repeated):
        raise MgkitError(f"{path}: clips stand twice: {some(repeated)}.")
    if (table["split"] == "").any():
        row = int((table["split"] == "").argmax())
        raise MgkitError(
            f"{path}: clip {table['clip_id'][row]!r} has no split: write {UNUSED} if that is meant."
        )
    split = dict(zip(table["clip_id"], table["split"], strict=True))
    known = set(ids)
    strange, absent = [i for i in split if i not in known], [i for i in ids if i not in split]
    if strange or absent:
        what = f"names unknown clips ({some(strange)})" if strange else f"lacks clips ({some(absent)})"
        raise MgkitError(f"{path} {what}: it was made for other clips, delete it and make it again.")
    splits = [split[clip_id] for clip_id in ids]
    if "label" not in table:
        return SplitTable(splits, None)
    given = dict(zip(table["clip_id"], table["label"], strict=True))
    index = {name: label for label, name in enumerate(names)}
    for clip_id, name in given.items():
        if name and name not in index:
            raise MgkitError(
                f"{path}: clip {clip_id!r} has the label {name!r}, which is no class ({some(names)}): correct it, or "
                "leave it empty to keep the label of the clip folder."
            )
    new = [
        index[given[clip_id]] if given[clip_id] else label for clip_id, label in zip(ids, labels, strict=True)
    ]
    return SplitTable(splits, new)


def write_split(path: Path, clips: Clips) -> None:
    """Write the splits of clips as a table, with their labels where these are not those of the folder; a table that is
    there already is left alone if it says the same.

    Raises:
        MgkitError: another table has that name.
    """
    table = clips.table[["clip_id", "split"]]
    if clips.relabelled:
        names = np.array(clips.classes.names, dtype=object)
        table = table.assign(label=names[clips.labels])
    text = table.to_csv(index=False, lineterminator="\n")
    if path.is_file():
        if path.read_bytes() == text.encode():
            return
        raise MgkitError(f"{path} holds other splits: give another name, or delete it.")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@dataclass(frozen=True, eq=False)
class Folds(Sequence["Clips"]):
    """The folds of `Clips.folds`: a sequence of clips, each with the splits "train" and "val".

    Attributes:
        clips: one a fold.
        report: what a reader of the scores must know, each {"what", "clip_id", "detail"}: classes that some fold has
            no clips of.
    """

    clips: tuple[Clips, ...]
    report: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: Any) -> Any:
        return self.clips[i]

    def __iter__(self) -> Iterator[Clips]:
        return iter(self.clips)

    def summary(self) -> pd.DataFrame:
        """Validation clips per class (rows) and fold (columns), with the number of groups at the bottom."""
        names = self.clips[0].classes.names
        columns = {}
        for i, fold in enumerate(self.clips):
            labels = fold.labels[(fold.table["split"] == "val").to_numpy()]
            columns[f"fold {i}"] = np.bincount(labels, minlength=len(names))
        table = pd.DataFrame(columns, index=pd.Index(names, name="class"))
        table["all"] = table.sum(axis=1)
        return table

    def __repr__(self) -> str:
        sizes = ", ".join(str(int((fold.table["split"] == "val").sum())) for fold in self.clips)
        notes = f"; {len(self.report)} notes in .report" if self.report else ""
        return f"Folds({len(self)}: {sizes} validation clips{notes})"

    def _repr_html_(self) -> str:
        words = (f"{entry['what']}: {entry['detail']}" for entry in self.report)
        notes = "".join(f"<p>{html.escape(text)}</p>" for text in words)
        return str(self.summary().to_html()) + notes


def make_folds(
    clips: Clips,
    k: int,
    *,
    group: str | None = "subject",
    splits: Sequence[str] | None = None,
    stratify: bool = True,
    seed: int = 0,
    name: str | None = None,
) -> Folds:
    """See `Clips.folds`."""
    if group is not None and group not in GROUPS:
        raise MgkitError(
            f"group is {group!r}: use 'subject', 'source' (the video), or None for clip by clip."
        )
    if not len(clips):
        raise MgkitError(f"there are no clips in this selection of {clips.root}: select some.")
    pooled = (
        [split for split in clips.splits if split not in ("test", UNUSED)] if splits is None else list(splits)
    )
    unknown = [split for split in pooled if split not in clips.splits]
    if unknown or not pooled:
        asked = some(unknown) or "to make folds of"
        raise MgkitError(f"{clips.root} has no split {asked}; it has {some(clips.splits)}.")
    rows = np.flatnonzero(clips.table["split"].isin(pooled))
    labels = clips.labels[rows]
    groups = clips.table["clip_id" if group is None else group].to_numpy()[rows]
    if (groups == "").any():
        unnamed = clips.table["clip_id"].to_numpy()[rows][groups == ""]
        raise MgkitError(f"the {group} of clip {some(unnamed)} is not known: use another group, or None.")
    count = len(set(groups))
    if count < 2:
        raise MgkitError(
            f"all clips have one {group or 'clip'}, {groups[0]!r}, which no fold may cut: use another group."
        )
    if not 2 <= k <= count:
        raise MgkitError(f"{k} folds were asked for of {count} {group or 'clip'}s: give 2 to {count}.")
    fold_of = _assign(labels, groups, k, stratify, seed)
    begin = f"{clips.split_table}-" if clips.split_table else ""  # other splits or labels: other folds
    stem = (
        name or f"{begin}{group or 'clip'}-{k}{'' if stratify else '-plain'}{f'-seed{seed}' if seed else ''}"
    )
    report = _rare(clips, labels, groups, fold_of, k, group or "clip")
    made = []
    for fold in range(k):
        column = clips.table["split"].to_numpy().astype(object)
        column[np.isin(column.astype(str), ["train", "val"])] = UNUSED  # official ones that are not pooled
        column[rows] = np.where(fold_of == fold, "val", "train")
        made.append(clips.with_splits(column.tolist(), f"{stem}-fold{fold}", report))
    for fold_clips in made:
        write_split(fold_clips.path, fold_clips)
    return Folds(tuple(made), report)


def _assign(labels: Any, groups: Any, k: int, stratify: bool, seed: int) -> npt.NDArray[np.int64]:
    """(N,) the fold in which each clip is validated.

    Groups are dealt out, the largest first, then moved and exchanged as long as that makes the folds more alike:
    in the number of clips and, if stratified, in that of each class. The best of several random beginnings is kept.
    (scikit-learn's StratifiedGroupKFold stops after dealing, and gives the same folds for nearly every seed.)
    """
    names, group_of = np.unique(groups, return_inverse=True)
    if len(names) == len(labels):  # clip by clip: every class can be dealt out evenly
        from sklearn.model_selection import KFold, StratifiedKFold

        if stratify and np.bincount(labels).max() < k:
            raise MgkitError(
                f"no class has {k} clips to spread over {k} folds: ask for fewer folds, or for stratify=False."
            )
        kind: Any = StratifiedKFold if stratify else KFold
        fold_of = np.zeros(len(labels), dtype=np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rare classes: told of in the report, with their names
            for fold, (_, val) in enumerate(kind(k, shuffle=True, random_state=seed).split(labels, labels)):
                fold_of[val] = fold
        return fold_of
    # What is to be alike: a column a class, and one for all; each weighs as much as chi-squared has it.
    counts = np.zeros((len(names), labels.max() + 2))
    np.add.at(counts, (group_of, labels), float(stratify))
    counts[:, -1] = np.bincount(group_of)
    target = counts.sum(0) / k
    weights = 1 / np.maximum(target, 1)
    best, least = np.zeros(len(names), dtype=np.int64), np.inf
    for attempt in range(8):
        rng = np.random.default_rng([seed, attempt])
        fold_of_group, cost = _deal(counts, target, weights, k, rng)
        if cost < least - 1e-9:
            best, least = fold_of_group, cost
    return best[group_of]


def _deal(
    counts: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    k: int,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], float]:
    """One deal of groups (G, columns) to k folds; the fold of each group, and how far the folds are from `target`."""
    folds = np.zeros((k, counts.shape[1]))
    fold_of = np.full(len(counts), -1)
    order = np.argsort(-counts[:, -1] * rng.uniform(0.7, 1.3, len(counts)))

    def costs(content: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return ((content - target) ** 2 * weights).sum(-1)

    for i, group in enumerate(order):
        rise = costs(folds + counts[group]) - costs(folds)
        if i < k:  # no fold stays empty
            rise[folds[:, -1] > 0] = np.inf
        fold_of[group] = int(rise.argmin())
        folds[fold_of[group]] += counts[group]
    for _ in range(20):
        moved = False
        for group in rng.permutation(len(counts)):
            here, mine = fold_of[group], counts[group]
            now = costs(folds)
            # To another fold, which leaves this one without it ...
            change = costs(folds + mine) - now + costs(folds[here] - mine) - now[here]
            change[here] = 0.0 if (fold_of == here).sum() > 1 else -np.inf
            there = int(change.argmin())
            if np.isfinite(change[there]) and change[there] < -1e-9:
                folds[here] -= mine
                folds[there] += mine
                fold_of[group], moved = there, True
                continue
            # ... or in exchange for any group of another fold.
            others = np.flatnonzero(fold_of != here)
            swapped = counts[others] - mine
            change = costs(folds[here] + swapped) - now[here]
            change += costs(folds[fold_of[others]] - swapped) - now[fold_of[others]]
            if len(others) and change.min() < -1e-9:
                other = int(others[change.argmin()])
                there = fold_of[other]
                folds[here] += counts[other] - mine
                folds[there] += mine - counts[other]
                fold_of[group], fold_of[other], moved = there, here, True
        if not moved:
            break
    return fold_of, float(costs(folds).sum())


def _rare(clips: Clips, labels: Any, groups: Any, fold_of: Any, k: int, group: str) -> list[dict[str, str]]:
    """Notes on the classes that some fold does not train or does not validate."""
    notes = []
    for label in np.unique(labels):
        mine = labels == label
        folds = set(fold_of[mine])
        if len(folds) == k:
            continue
        what = clips.classes.names[int(label)]
        text = f"{what!r} has {int(mine.sum())} clips of {len(set(groups[mine]))} {group}s: "
        text += f"no validation clip in {k - len(folds)} of {k} folds"
        if len(folds) == 1:
            text += f", no training clip in fold {next(iter(folds))}"
        notes.append({"what": "rare class", "clip_id": "", "detail": text})
    empty = sorted(set(range(len(clips.classes))) - set(labels.tolist()))
    if empty:
        names = some([clips.classes.names[label] for label in empty])
        notes.append({"what": "class without clips", "clip_id": "", "detail": f"{names}: in no fold"})
    return notes


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
