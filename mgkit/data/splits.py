"""Other splits of the same clips: split tables, folds, and what a review changes. No video is copied.

A split table is `splits/<name>.csv` in the clip folder with the columns `clip_id` and `split`, and, where clips were
given other labels, `label`: the name of the class, and `label_source`: where it is from, empty where it is the clip
folder's. `load_clips` takes its path or its name and gives the same clips with these splits and labels; everything else
(training, runs, figures) sees ordinary clips. A clip in the split "unused" belongs to none.

Notes of a review are a table with one row per clip; `mgkit.results.run.review` keeps it in a run folder. Here they
become a split table of the clip folder, so that a run made from it finds its clips again.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.table import Classes
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic

GROUPS = ("subject", "source", "clip")
UNUSED = "unused"

# How splits are called: as a word of a name ("xsub_train", "ValidationData", "test1").
_CALLED = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validate", "validation", "valset"),
    "test": ("test", "tests", "testing", "testset"),
}
# What may be a test split or not.
_UNSURE = ("test", "eval", "hold", "held", "hidden", "unseen", "private")

Report = list[dict[str, str]]
Labels = npt.NDArray[np.int64]


# --- split tables ---------------------------------------------------------------------------------------------------


def split_path(root: Path, name: str) -> Path:
    """Path of the split table of this name; a name that is not a plain file name raises a `MgkitError`."""
    if not name or Path(name).name != name or name.startswith(".") or name.endswith(".csv"):
        raise MgkitError(
            f"{name!r} is not a name for a split table: use a plain word, without .csv and folders."
        )
    return root / "splits" / f"{name}.csv"


class SplitTable(NamedTuple):
    """The split of each clip, its label, and where that is from; None where the table says nothing of them."""

    splits: list[str]
    labels: list[int] | None
    sources: list[str] | None = None


def read_split(path: Path, ids: Sequence[str], labels: Sequence[int], names: Sequence[str]) -> SplitTable:
    """Read the splits of these clips, and their labels where the table has any.

    Args:
        path: the table.
        ids: the clips of the folder.
        labels: their labels there, for rows whose `label` is empty.
        names: class names in label order.

    Raises:
        MgkitError: no such file or not a split table, a clip that is repeated or missing, an unknown clip or class.
    """
    if not path.is_file():
        known = some(sorted(found.stem for found in path.parent.glob("*.csv"))) or "none"
        raise MgkitError(f"there is no split table {path}; there is {known}.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise MgkitError(f"{path} cannot be read ({error}): make it again.") from None
    if not {"clip_id", "split"} <= set(table):
        raise MgkitError(f"{path} is not a split table: it needs the columns clip_id and split.")
    repeated = table.loc[table["clip_id"].duplicated(), "clip_id"]
    if len(repeated):
        raise MgkitError(f"{path}: clips occur twice: {some(repeated)}.")
    table = table.set_index("clip_id")
    if (table["split"] == "").any():
        empty = table.index[table["split"] == ""][0]
        raise MgkitError(f"{path}: clip {empty!r} has no split: write {UNUSED} to leave it out.")
    unknown, missing = table.index.difference(list(ids)), pd.Index(ids).difference(table.index)
    if len(unknown) or len(missing):
        what = f"names unknown clips ({some(unknown)})" if len(unknown) else f"lacks clips ({some(missing)})"
        raise MgkitError(f"{path} {what}: it was made for other clips, delete it and make it again.")
    table = table.loc[list(ids)]
    if "label" not in table:
        return SplitTable(table["split"].tolist(), None)
    index = {name: label for label, name in enumerate(names)}
    wrong = table.loc[~table["label"].isin(["", *names]), "label"]
    if len(wrong):
        raise MgkitError(
            f"{path}: clip {wrong.index[0]!r} has the label {wrong.iloc[0]!r}, which is not a class ({some(names)}): "
            "correct it, or leave it empty to keep the label of the clip folder."
        )
    new = [index[name] if name else old for name, old in zip(table["label"], labels, strict=True)]
    return SplitTable(
        table["split"].tolist(), new, table["label_source"].tolist() if "label_source" in table else None
    )


def write_split(path: Path, table: pd.DataFrame) -> None:
    """Write a split table; one with the same content is left alone.

    Raises:
        MgkitError: another table has that name.
    """
    text = table.to_csv(index=False, lineterminator="\n")
    if path.is_file():
        if path.read_bytes() == text.encode():
            return
        raise MgkitError(f"{path} holds other splits: give another name, or delete it.")
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _entry(what: str, detail: str) -> dict[str, str]:
    return {"what": what, "clip_id": "", "detail": detail}


def apply_labels(
    table: pd.DataFrame,
    classes: Classes,
    given: pd.DataFrame,
    notes: pd.DataFrame | None,
    split: str,
    where: Path,
) -> tuple[list[str], Labels, list[str], Report]:
    """Splits, labels and sources of labels once clips were given labels, and what was done: see `Clips.with_labels`."""
    sources = table["label_source"].tolist() if "label_source" in table else [""] * len(table)
    splits, labels = table["split"].tolist(), table["label"].to_numpy(dtype=np.int64).copy()
    row = {clip_id: i for i, clip_id in enumerate(table["clip_id"])}
    if not {"clip_id", "label"} <= set(given) or (
        notes is not None and not {"clip_id", "tags", "label"} <= set(notes)
    ):
        raise MgkitError(
            "labels are a table with the columns clip_id and label (class names); notes have tags, too."
        )
    reviewed = {} if notes is None else notes.fillna("").set_index("clip_id")[["tags", "label"]].T.to_dict()
    seen: set[str] = set()
    took, dropped, corrected, left = [], [], [], []
    for one in given.fillna("").to_dict("records"):
        clip_id, label, source = one["clip_id"], one["label"], one.get("source") or "review"
        if not label:  # a note without a class
            continue
        if clip_id not in row:
            raise MgkitError(f"{where} has no clip {clip_id!r}, which the labels name.")
        i = row[clip_id]
        if clip_id in seen:
            raise MgkitError(f"the labels have clip {clip_id!r} twice: keep one of them.")
        seen.add(clip_id)
        if splits[i] == split or split_by_name(splits[i]) == "val" or is_test(splits[i]) is not False:
            if "tags" in given:  # notes, which are about clips of all splits
                left.append(clip_id)
                continue
            raise MgkitError(
                f"clip {clip_id!r} is in the split {splits[i]!r}: labels from elsewhere are for clips in none of "
                f"{split!r}, validation and test splits; to correct labels use clips.reviewed."
            )
        note = reviewed.get(clip_id, {"tags": "", "label": ""})
        if note["tags"] and not note["label"]:  # seen, and not to be used
            dropped.append(clip_id)
            continue
        if note["label"]:
            corrected += [clip_id] if note["label"] != label else []
            label, source = note["label"], "review"
        splits[i], labels[i], sources[i] = split, classes.index(label), source
        took.append(clip_id)
    if not took:
        raise MgkitError(f"none of {len(given)} labels is left to use: label more clips, or take tags away.")
    report = [
        _entry(what, f"{counted(len(ids), 'clip')} {why}: {some(ids)}")
        for what, ids, why in (
            ("labelled from elsewhere", took, f"moved to {split!r}"),
            ("pseudo-label corrected", corrected, "given the reviewed class"),
            ("pseudo-label refused", dropped, "tagged in the review"),
            ("label not taken", left, f"of {split!r}, a validation or a test split"),
        )
        if ids
    ]
    return splits, labels, sources, report


# --- what a split is by its name ------------------------------------------------------------------------------------


def split_by_name(name: str) -> str | None:
    """`train`, `val` or `test` where a name contains exactly one of them in any of its usual spellings.

    >>> split_by_name("imigue_skeleton_validate"), split_by_name("xsub_test"), split_by_name("train_test")
    ('val', 'test', None)
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    found = set(re.split(r"[^a-z]+", words.lower()))
    splits = [split for split, spellings in _CALLED.items() if found & set(spellings)]
    return splits[0] if len(splits) == 1 else None


def is_test(name: str) -> bool | None:
    """Whether a split is a test split, by its name; None where the name leaves it open.

    Nothing is chosen on such a split, and its clips stay as they are, unless one says so.

    >>> [is_test(name) for name in ("test1", "official_test", "val", "fold0", "latest", "eval", "train_test")]
    [True, True, False, False, None, None, None]
    """
    split = split_by_name(name)
    if split is not None:
        return split == "test"
    return None if any(word in name.lower() for word in _UNSURE) else False


def shown_split(splits: Sequence[str]) -> str:
    """The split to look at first: a test split, else a validation split, else the last by name; "unused" never.

    >>> shown_split(["train", "val", "test"]), shown_split(["train", "xsub_test"]), shown_split(["train"])
    ('test', 'xsub_test', 'train')
    """
    kinds = ("test", "val", None, "train")
    used = sorted(split for split in splits if split != UNUSED)
    return min(
        used, key=lambda name: (kinds.index(split_by_name(name)), name not in kinds, -used.index(name))
    )


def not_test(splits: Sequence[str], where: Path, purpose: str) -> list[str]:
    """The splits that are neither test splits nor "unused".

    Args:
        splits: names.
        where: the clip folder, for the message.
        purpose: what is about to be done with their clips, for the message.

    Raises:
        MgkitError: a name that leaves it open.
    """
    unsure = [name for name in splits if name != UNUSED and is_test(name) is None]
    sure = [name for name in splits if name != UNUSED and is_test(name) is False]
    if unsure:
        raise MgkitError(
            f"{where}: {some(map(repr, unsure))} may be a test split, which its name does not say: name the splits "
            f"{purpose}, splits={sure or unsure} (--splits {','.join(sure or unsure)})."
        )
    return sure


# --- folds ----------------------------------------------------------------------------------------------------------


def plan_folds(
    table: pd.DataFrame,
    names: Sequence[str],
    k: int,
    *,
    group: str,
    splits: Sequence[str] | None,
    stratify: bool,
    seed: int,
    where: Path,
) -> tuple[list[list[str]], Report]:
    """The split of each clip in each of k folds, and notes on rare classes: see `Clips.folds`.

    Args:
        table: the clip table.
        names: class names in label order.
        where: the clip folder, for the messages.
    """
    if group not in GROUPS:
        raise MgkitError(
            f"group is {group!r}: use 'subject', 'source' (the video), or 'clip' (each for itself)."
        )
    if table.empty:
        raise MgkitError(f"there are no clips in this selection of {where}: select some.")
    there = sorted(table["split"].unique())
    pooled = not_test(there, where, "to pool") if splits is None else list(splits)
    unknown = [split for split in pooled if split not in there]
    if unknown or not pooled:
        asked = some(unknown) or "to make folds of"
        raise MgkitError(f"{where} has no split {asked}; it has {some(there)}.")
    rows = np.flatnonzero(table["split"].isin(pooled))
    labels = table["label"].to_numpy(dtype=np.int64)[rows]
    groups = table["clip_id" if group == "clip" else group].to_numpy()[rows]
    if (groups == "").any():
        unnamed = table["clip_id"].to_numpy()[rows][groups == ""]
        raise MgkitError(
            f"the {group} of clip {some(unnamed)} is not known: use another group, "
            f"{' or '.join(other for other in GROUPS if other != group)}."
        )
    count = len(set(groups))
    if count < 2:
        raise MgkitError(
            f"all clips have one {group}, {groups[0]!r}, which no fold may cut: use another group, "
            f"{' or '.join(other for other in GROUPS if other != group)}."
        )
    if not 2 <= k <= count:
        raise MgkitError(f"{k} folds were asked for of {counted(count, group)}: give 2 to {count}.")

    fold_of = assign_folds(labels, groups, k, stratify, seed)
    columns = []
    for fold in range(k):
        column = table["split"].to_numpy().astype(object)
        column[table["split"].isin(["train", "val"])] = UNUSED  # official ones that are not pooled
        column[rows] = np.where(fold_of == fold, "val", "train")
        columns.append(column.tolist())
    return columns, _rare_classes(names, labels, groups, fold_of, k, group)


FEW_GROUPS = 256  # up to here every exchange of two groups is tried


def assign_folds(labels: Labels, groups: Any, k: int, stratify: bool, seed: int) -> Labels:
    """(N,) the fold in which each clip is validated.

    Groups are dealt out, the largest first, then moved and exchanged as long as that makes the folds more alike:
    in the number of clips and, if stratified, in that of each class. The best of several random starts is kept; where
    there are so many groups that any deal is nearly even, one start and two rounds of exchanges with some of them do.
    (scikit-learn's StratifiedGroupKFold stops after dealing, and gives the same folds for nearly every seed.)
    """
    names, group_of = np.unique(groups, return_inverse=True)
    if len(names) == len(labels):  # clip by clip: every class can be dealt out evenly
        from sklearn.model_selection import KFold, StratifiedKFold

        if stratify and np.bincount(labels).max() < k:
            raise MgkitError(
                f"no class has {k} clips to spread over {k} folds: ask for fewer, or for stratify=False (--plain)."
            )
        kind: Any = StratifiedKFold if stratify else KFold
        fold_of = np.zeros(len(labels), dtype=np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rare classes: our report names them
            for fold, (_, val) in enumerate(kind(k, shuffle=True, random_state=seed).split(labels, labels)):
                fold_of[val] = fold
        return fold_of
    # What should be alike: one column per class, and one for all clips, weighted as in chi-squared.
    counts = np.zeros((len(names), labels.max() + 2))  # (G, K + 1)
    np.add.at(counts, (group_of, labels), float(stratify))
    counts[:, -1] = np.bincount(group_of)
    best, least = np.zeros(len(names), dtype=np.int64), np.inf
    for attempt in range(8 if len(names) <= FEW_GROUPS else 1):
        fold_of_group, cost = _deal(counts, k, np.random.default_rng([seed, attempt]))
        if cost < least - 1e-9:
            best, least = fold_of_group, cost
    return best[group_of]


def _deal(counts: npt.NDArray[np.float64], k: int, rng: np.random.Generator) -> tuple[Labels, float]:
    """One deal of groups (G, columns) to k folds: the fold of each group, and how uneven the folds are."""
    target = counts.sum(0) / k
    weights = 1 / np.maximum(target, 1)
    folds = np.zeros((k, counts.shape[1]))
    fold_of = np.full(len(counts), -1)

    def costs(content: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return ((content - target) ** 2 * weights).sum(-1)

    # Deal, large groups first, each to the fold that it fits best.
    for i, group in enumerate(np.argsort(-counts[:, -1] * rng.uniform(0.7, 1.3, len(counts)))):
        rise = costs(folds + counts[group]) - costs(folds)
        if i < k:  # no fold stays empty
            rise[folds[:, -1] > 0] = np.inf
        fold_of[group] = int(rise.argmin())
        folds[fold_of[group]] += counts[group]
    many = len(counts) > FEW_GROUPS
    for _ in range(2 if many else 20):
        moved = False
        for group in rng.permutation(len(counts)):
            here, mine = fold_of[group], counts[group]
            now = costs(folds)
            # Move the group to another fold ...
            change = costs(folds + mine) - now + costs(folds[here] - mine) - now[here]
            change[here] = 0.0 if (fold_of == here).sum() > 1 else -np.inf
            there = int(change.argmin())
            if np.isfinite(change[there]) and change[there] < -1e-9:
                folds[here] -= mine
                folds[there] += mine
                fold_of[group], moved = there, True
                continue
            # ... or exchange it for any group of another fold (of many, for one of a random few).
            others = rng.choice(len(counts), FEW_GROUPS, replace=False) if many else np.arange(len(counts))
            others = others[fold_of[others] != here]
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


def _rare_classes(
    names: Sequence[str], labels: Labels, groups: Any, fold_of: Labels, k: int, group: str
) -> Report:
    """Notes on the classes that some fold does not train or does not validate."""
    notes = []
    for label in np.unique(labels):
        mine = labels == label
        folds = set(fold_of[mine])
        if len(folds) == k:
            continue
        text = f"{names[label]!r} has {counted(mine.sum(), 'clip')} of {counted(len(set(groups[mine])), group)}: "
        text += f"no validation clip in {k - len(folds)} of {k} folds"
        if len(folds) == 1:
            text += f", no training clip in fold {next(iter(folds))}"
        notes.append(_entry("rare class", text))
    empty = [name for label, name in enumerate(names) if label not in labels]
    if empty:
        notes.append(_entry("class without clips", f"{some(empty)}: in no fold"))
    return notes


# --- reviews --------------------------------------------------------------------------------------------------------

WRONG_LABEL = "label wrong"
TAGS = (WRONG_LABEL, "ambiguous", "occluded", "bad pose")
BETWEEN = "; "  # tags in one field


class Notes(Protocol):
    """Review notes that can be had as a table."""

    def frame(self) -> pd.DataFrame: ...


def split_tags(field: str) -> list[str]:
    """The tags in a field of a table."""
    return [tag for tag in (part.strip() for part in field.split(BETWEEN.strip())) if tag]


def apply_review(
    table: pd.DataFrame,
    classes: Classes,
    notes: pd.DataFrame,
    *,
    exclude: Sequence[str],
    relabel: bool,
    splits: Sequence[str] | None,
    where: Path,
) -> tuple[list[str], Labels, Report]:
    """The split and label of each clip after a review, and notes on what was changed: see `Clips.reviewed`.

    Args:
        table: the clip table.
        classes: the class list.
        notes: a table with the columns `clip_id`, `tags`, `label`.
        where: the clip folder, for the messages.
    """
    # Refuse notes that do not fit these clips.
    lacking = [column for column in ("clip_id", "tags", "label") if column not in notes]
    if lacking:
        raise MgkitError(f"the notes lack the column {some(lacking)}: give run.notes(), or a table like it.")
    unwanted = [exclude] if isinstance(exclude, str) else list(exclude)
    unknown = [tag for tag in unwanted if tag not in TAGS]
    if unknown:
        raise MgkitError(f"there is no tag {some(unknown)}: exclude some of {', '.join(TAGS)}.")
    there = sorted(table["split"].unique())
    touched = not_test(there, where, "to apply notes to") if splits is None else list(splits)
    unknown = [split for split in touched if split not in there]
    if unknown:
        raise MgkitError(f"{where} has no split {some(unknown)}; its splits are {some(there)}.")
    row = {clip_id: i for i, clip_id in enumerate(table["clip_id"])}
    lost = [str(clip_id) for clip_id in notes["clip_id"] if clip_id not in row]
    if lost:
        numbers = {int(clip_id): clip_id for clip_id in row if clip_id.isdecimal()}
        padded = [numbers[int(i)] for i in lost if i.isdecimal() and int(i) in numbers]
        hint = (
            f" Ids like {padded[0]} seem to have lost their leading zeros in a spreadsheet." if padded else ""
        )
        raise MgkitError(
            f"{where} has no clip {some(lost)}, which the notes name: open the clips that were reviewed, or take these "
            f"notes away.{hint}"
        )
    repeated = notes.loc[notes["clip_id"].duplicated(), "clip_id"]
    if len(repeated):
        raise MgkitError(
            f"there are several notes on clip {some(dict.fromkeys(repeated))}: keep one of each."
        )
    fields = notes["tags"].fillna("")
    odd = sorted({tag for field in fields for tag in split_tags(field) if tag not in TAGS})
    if odd:
        raise MgkitError(f"the notes have the tag {some(map(repr, odd))}: use some of {', '.join(TAGS)}.")

    # Apply them one by one.
    old_splits, old_labels = table["split"].tolist(), table["label"].to_numpy(dtype=np.int64)
    new_splits, labels = list(old_splits), old_labels.copy()
    excluded: list[str] = []
    relabelled: list[str] = []
    left: list[str] = []
    for clip_id, field, proposed in zip(notes["clip_id"], fields, notes["label"].fillna(""), strict=True):
        i = row[clip_id]
        label = classes.index(proposed) if proposed and relabel else labels[i]
        corrected = bool(proposed and relabel)
        reasons = [t for t in split_tags(field) if t in unwanted and not (t == WRONG_LABEL and corrected)]
        if not reasons and label == labels[i]:
            continue
        if new_splits[i] not in touched:
            left.append(clip_id)
        elif reasons:
            new_splits[i] = UNUSED
            excluded.append(clip_id)
        else:
            labels[i] = label
            relabelled.append(clip_id)
    if not excluded and not relabelled:
        about = some(sorted({old_splits[row[clip_id]] for clip_id in left}))
        hint = f"{len(left)} of them are about {about}: pass splits= to apply these"
        raise MgkitError(
            f"none of {counted(len(notes), 'note')} changes a clip of {some(touched)}; "
            f"{hint if left else 'tag clips, or exclude other tags'}."
        )

    # Report what was done, and the classes that a split has lost.
    report = [
        _entry(what, f"{counted(len(ids), 'clip')} {why}: {some(ids)}")
        for what, ids, why in (
            ("excluded after review", excluded, f"tagged {some(unwanted)}"),
            ("relabelled after review", relabelled, "given the proposed class"),
            ("reviewed, not changed", left, f"of another split than {some(touched)}"),
        )
        if ids
    ]
    for split in there:
        gone = set(old_labels[np.array(old_splits) == split]) - set(labels[np.array(new_splits) == split])
        if split != UNUSED and gone:
            names = some(classes.names[label] for label in sorted(gone))
            report.append(_entry("class without clips", f"{names}: none left in {split}"))
    return new_splits, labels, report
