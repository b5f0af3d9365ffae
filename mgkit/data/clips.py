"""The clip folder: prepared data in one layout, whatever dataset it came from.

    clips.parquet    one row per clip, see `mgkit.data.table.COLUMNS`
    classes.json     {"names": [...], "groups": [...] or null, "non_gesture": index or null,
                     "background": index or null}
    skeleton.json    {"name", "joints", "edges", "pairs"}, see `mgkit.data.skeletons`
    poses.npy        (rows, V, 3) float32: x, y in pixels of the prepared video, score in [0, 1]; NaN = not seen.
                     A clip has persons x frames rows from its `pose_offset` on, persons first.
    videos/*.mp4     person-cropped, resized, short key-frame distance; absent when only poses are known
    poses.json       what key-points of `mgkit pose` were estimated by, and how they were smoothed: {"smoothing",
                     "estimators": [{"estimator", "version", "model", ..., "clips"}, ...]}; absent for others
    report.json      what `prepare` found odd: [{"what", "clip_id", "detail"}, ...]
    splits/*.csv     other splits of the same clips, see `mgkit.data.splits`
    prepare.json, prepare.jsonl    what was made from what, see `mgkit.data.ledger`; absent in a folder made otherwise

Coordinates are continuous: a pixel (column i, row j) covers [i, i + 1) x [j, j + 1), so that mirroring maps
x to width - x. Everything is keyed by `clip_id`; the order of rows means nothing.
"""

from __future__ import annotations

import hashlib
import html
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data import report as reports
from mgkit.data import video
from mgkit.data.faces import Heads, find_heads
from mgkit.data.ledger import damaged, wrong_size
from mgkit.data.skeletons import Skeleton
from mgkit.data.splits import (
    UNUSED,
    WRONG_LABEL,
    Notes,
    apply_labels,
    apply_review,
    plan_folds,
    read_split,
    shown_split,
    split_path,
    write_split,
)
from mgkit.data.table import COLUMNS, Classes, Places, Rows, check_table, find_ids, read_table
from mgkit.errors import MgkitError, counted, meant, some
from mgkit.files import atomic, read_json, write_json

__all__ = ["Classes", "Clips", "Folds", "load_clips", "write_clip_folder"]


ORIGIN = "poses.json"


@dataclass(frozen=True, eq=False)
class Clips:
    """A clip folder, or a selection of its rows. Make one with `load_clips`; select with `split`, `select` or `where`.

    Attributes:
        root: the clip folder.
        rows: one row per clip, held in few bytes; see `table` and `column`.
        classes: class names, groups, non-gesture class.
        skeleton: the key-point layout.
        report: entries on what was found odd when the folder was prepared.
        split_table: name of the split table the splits come from, see `mgkit.data.splits`; "" = the official ones.
        relabelled: labels may differ from those of the folder; they are in the split table.
    """

    root: Path
    rows: Rows
    classes: Classes
    skeleton: Skeleton
    report: list[dict[str, str]] = field(default_factory=list)
    split_table: str = ""
    relabelled: bool = False
    labels_are = "true"  # those of clips that nobody has coded are predicted, or mean nothing

    @property
    def table(self) -> pd.DataFrame:
        """One row per clip with the columns of `mgkit.data.table.COLUMNS`, in `clip_id` order.

        It is made when first asked for; of millions of clips ask for a `column`, which takes a tenth of the memory.
        """
        return self.rows.table

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.column("split").value_counts().items())
        kinds = f"{counted(len(self.classes), 'class', 'classes')}, {self.skeleton.name}"
        return f"Clips({str(self.path)!r}: {counted(len(self), 'clip')} ({parts}), {kinds})"

    @property
    def path(self) -> Path:
        """The folder, or the split table in it: `load_clips` of it gives these clips with these splits."""
        return split_path(self.root, self.split_table) if self.split_table else self.root

    def column(self, name: str) -> pd.Series[Any]:
        """One column of `table`, without the others: `clips.where(clips.column("frames") >= 16)`."""
        if name not in self.rows:
            near = meant(name, COLUMNS) or f": use one of {some(list(COLUMNS), 20)}."
            raise MgkitError(f"there is no column {name!r}{near}")
        return self.rows.column(name)

    @property
    def ids(self) -> list[str]:
        return list(self.column("clip_id"))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) labels in the order of `table`."""
        return self.column("label").to_numpy(dtype=np.int64)

    @property
    def splits(self) -> list[str]:
        return sorted(self.rows.narrow("split").unique())

    @property
    def shown_split(self) -> str:
        """The split to look at first: the test split where there is one, see `splits.shown_split`."""
        return shown_split(self.splits)

    @property
    def has_video(self) -> bool:
        """Every clip of this selection has a video."""
        return bool((self.rows.narrow("video") != "").all())

    @property
    def has_pose(self) -> bool:
        """Every clip of this selection has a pose."""
        return bool((self.rows.narrow("pose_offset") >= 0).all())

    @property
    def has_seen_joint(self) -> bool:
        """Some joint is seen in some frame of this selection, whose clips all have a pose."""
        return any(bool(np.isfinite(self.pose(clip_id)[..., :2]).any()) for clip_id in self.ids)

    @cached_property
    def estimators(self) -> list[str]:
        """What the key-points of the folder were estimated by, as name and version; empty where that is not known."""
        path = self.root / ORIGIN
        entries = read_json(path).get("estimators", []) if path.is_file() else []
        return sorted({f"{entry['estimator']} {entry['version']}".strip() for entry in entries})

    @cached_property
    def smoothing(self) -> str:
        """How `prepare` smoothed the key-points of the folder; "" for not at all, or where that is not known."""
        path = self.root / ORIGIN
        found = str(read_json(path).get("smoothing", "")) if path.is_file() else ""
        return "" if found == "none" else found

    def split(self, name: str) -> Clips:
        """The clips of one split; an empty or unknown one raises a `MgkitError` that lists what there is."""
        chosen = self.rows.narrow("split") == name
        if not chosen.any():
            there = some(self.splits) if len(self) else "none"
            raise MgkitError(
                f"{self.root} has no clip in split {name!r}; its splits are {there}: name one of them."
            )
        return self.where(chosen)

    def where(self, mask: pd.Series[bool] | npt.NDArray[np.bool_]) -> Clips:
        """The clips for which a mask (N,) of booleans, one per clip in the order of `table`, is true."""
        chosen = np.asarray(mask)
        if chosen.shape != (len(self),) or chosen.dtype != bool:
            raise MgkitError(f"a mask must be {len(self)} booleans, one per clip in the order of the table.")
        return replace(self, rows=self.rows.take(np.flatnonzero(chosen)))

    def select(self, clip_ids: Iterable[str]) -> Clips:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        wanted = list(clip_ids)
        if 64 * len(wanted) < len(self):  # few of many: looking each up takes less than indexing all
            rows = np.array([self._places.of(clip_id) for clip_id in wanted], dtype=np.int64)
        else:
            rows = find_ids(self.column("clip_id"), wanted)
        if (rows < 0).any():
            raise MgkitError(
                f"{self.root} has no clip {some([wanted[i] for i in np.flatnonzero(rows < 0)])}."
            )
        return replace(self, rows=self.rows.take(rows))

    def row(self, clip_id: str) -> dict[str, Any]:
        """One clip's row as a plain dictionary."""
        return self.rows.row(self._place(clip_id))

    def _place(self, clip_id: str) -> int:
        place = self._places.of(clip_id)
        if place < 0:
            raise MgkitError(f"{self.root} has no clip {clip_id!r}.")
        return place

    def pose(self, clip_id: str) -> npt.NDArray[np.float32]:
        """Key-points (M, T, V, 3): x, y in pixels of the prepared video, score in [0, 1]; NaN = not seen."""
        return self.pose_at(self._place(clip_id))

    def pose_at(self, place: int) -> npt.NDArray[np.float32]:
        """As `pose`, of the clip in a row of `table`: for loaders, which would look up what they know."""
        first, persons, frames = (int(column[place]) for column in self._pose_columns)
        if first < 0:
            raise MgkitError(f"clip {self.rows.value('clip_id', place)!r} of {self.root} has no pose.")
        rows = self._poses[first : first + persons * frames]
        return np.asarray(rows).reshape(persons, frames, len(self.skeleton), 3)

    def heads(self, clip_id: str) -> Heads:
        """Where the heads are in each frame, in pixels of the prepared video, to blur them (`mgkit.data.faces`)."""
        row = self.row(clip_id)
        pose = self.pose(clip_id) if row["pose_offset"] >= 0 else None
        return find_heads(pose, self.skeleton, int(row["frames"]), float(row["fps"]))

    def video(self, clip_id: str) -> Path | None:
        """Path of the prepared video, or None when the clip has none."""
        name = self._videos[self._place(clip_id)]  # not `row`, which makes a dictionary of all columns
        return self.root / name if name else None

    def frames(
        self, clip_id: str, indices: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[np.uint8]:
        """Frames (n, H, W, 3) uint8 RGB of the prepared video, in the order of `indices`; errors as `read_frames`."""
        path = self.video(clip_id)
        if path is None:
            raise MgkitError(f"clip {clip_id!r} of {self.root} has no video.")
        return video.read_frames(path, indices)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, splits, labels, class names and layout: results of equal ones can be compared."""
        lines = [
            f"{i}\t{s}\t{n}" for i, s, n in zip(self.ids, self.column("split"), self.labels, strict=True)
        ]
        parts = ["\n".join(lines), "\n".join(self.classes.names), "\n".join(self.skeleton.joints)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    # --- other splits ---

    def with_splits(
        self,
        splits: Sequence[str] | Mapping[str, str],
        name: str,
        report: Sequence[dict[str, str]] = (),
        *,
        labels: Sequence[int] | npt.NDArray[np.int64] | None = None,
        sources: Sequence[str] | None = None,
    ) -> Clips:
        """The same clips with other splits, to be saved with `save_splits`.

        Args:
            splits: the split of each clip by its id, or in the order of `table`.
            name: of the split table.
            report: entries to add to the report.
            labels: the label of each clip in the same order; None = as they are.
            sources: where the label of each clip is from, "" for the clip folder: the column `label_source` of `table`.
        """
        if isinstance(splits, Mapping):
            odd = sorted(set(splits) ^ set(self.ids))
            if odd:
                raise MgkitError(
                    f"splits and {self.root} have different clips ({some(odd)}): give each clip one split, "
                    f"{UNUSED!r} to leave it out."
                )
            splits = [splits[clip_id] for clip_id in self.ids]
        if len(splits) != len(self) or not all(splits):
            raise MgkitError(
                f"splits must be {counted(len(self), 'name')}, one per clip in the order of the table."
            )
        split_path(self.root, name)  # refuses a name that cannot be one
        rows, relabelled = self.rows.assign(split=list(splits)), self.relabelled
        if labels is not None:
            new = np.asarray(labels)
            if new.shape != (len(self),) or new.dtype.kind not in "iu":
                raise MgkitError(f"labels must be {len(self)} whole numbers, one per clip in the same order.")
            if len(new) and not 0 <= new.min() <= new.max() < len(self.classes):
                raise MgkitError(
                    f"labels must be in 0 to {len(self.classes) - 1}, the classes of {self.root}."
                )
            relabelled = relabelled or bool((new != self.labels).any())
            rows = rows.assign(label=new.astype(np.int64))
        if sources is not None:
            rows, relabelled = rows.assign(label_source=list(sources)), True
        return replace(
            self, rows=rows, split_table=name, relabelled=relabelled, report=[*self.report, *report]
        )

    def save_splits(self) -> Path:
        """Write the split table of `with_splits`; repeating it changes nothing, another one of its name is refused."""
        if not self.split_table:
            raise MgkitError(f"these are the official splits of {self.root}: use with_splits to change them.")
        table = pd.DataFrame({name: self.column(name) for name in ("clip_id", "split")}, copy=False)
        if self.relabelled:
            table = table.assign(label=[self.classes.names[label] for label in self.labels])
        if "label_source" in self.rows:
            table = table.assign(label_source=self.column("label_source"))
        write_split(self.path, table)
        return self.path

    def folds(
        self,
        k: int,
        *,
        group: str = "subject",
        splits: Sequence[str] | None = None,
        stratify: bool = True,
        seed: int = 0,
        name: str | None = None,
    ) -> Folds:
        """K folds: each has the splits "train" and "val", and every clip is in "val" once. No video is copied.

            for fold in clips.folds(5, group="subject"):
                mg.train(fold, recipe, f"runs/{fold.split_table}")

        Args:
            k: number of folds.
            group: all clips of one "subject", or of one "source" video, stay on one side; "clip" = each for itself.
            splits: the official splits that are pooled; by default all but test splits (`splits.is_test`). Other clips
                keep their split (or become "unused" where it is called train or val).
            stratify: spread each class over the folds as evenly as the groups allow.
            seed: of the draw.
            name: prefix of the names of the split tables, which are saved in the folder; by default from the above.

        Returns:
            The folds. Their `report` names the classes that a fold cannot train or validate.

        Raises:
            MgkitError: fewer groups than folds, a subject that is not known, an unknown split, one whose name leaves
                open whether it is a test split, or a split table of that name with other splits.
        """
        names = ["clip_id", "split", "label", *({group} & {"subject", "source"})]
        table = pd.DataFrame({name: self.column(name) for name in names}, copy=False)
        columns, report = plan_folds(
            table, self.classes.names, k,
            group=group, splits=splits, stratify=stratify, seed=seed, where=self.root,
        )  # fmt: skip
        words = [
            group,
            str(k),
            *([] if stratify else ["plain"]),
            *([f"seed{seed}"] if seed else []),
        ]
        stem = name or "-".join([*([self.split_table] if self.split_table else []), *words])
        made = tuple(self.with_splits(column, f"{stem}-fold{i}", report) for i, column in enumerate(columns))
        for fold in made:
            fold.save_splits()
        return Folds(made, report)

    def reviewed(
        self,
        notes: Notes | pd.DataFrame,
        *,
        exclude: Sequence[str] = (WRONG_LABEL,),
        relabel: bool = True,
        splits: Sequence[str] | None = None,
        name: str | None = None,
    ) -> Clips:
        """The same clips after a review: tagged ones out of every split, wrong labels corrected.

            mg.train(clips.reviewed(run.notes(), exclude=["label wrong", "occluded"]), recipe, "runs/reviewed")

        Args:
            notes: `run.notes()`, or a table with the columns of `review.csv` (`clip_id`, `tags`, `label`).
            exclude: clips with one of these tags become "unused". A clip with a proposed class is not excluded for
                "label wrong".
            relabel: clips with a proposed class get that label.
            splits: notes about clips of these splits are applied; by default of all but test splits, since a score on
                changed test clips cannot be compared with other scores.
            name: of the split table, which is saved in the folder; by default from its content.

        Returns:
            The clips. Their report says what was changed, and which notes were not applied.

        Raises:
            MgkitError: unknown clips, tags, classes or splits, several notes on a clip, or notes that change nothing.
        """
        table = notes if isinstance(notes, pd.DataFrame) else notes.frame()
        new, labels, report = apply_review(
            self.table, self.classes, table, exclude=exclude, relabel=relabel, splits=splits, where=self.root
        )
        made = self.with_splits(new, name or self._named("reviewed", new, labels), report, labels=labels)
        made.save_splits()
        return made

    def with_labels(
        self,
        labels: Notes | pd.DataFrame,
        *,
        notes: Notes | pd.DataFrame | None = None,
        split: str = "train",
        name: str | None = None,
    ) -> Clips:
        """The same clips with labels from elsewhere: the clips that have one move to the training split.

            found = mg.scores.pseudo_labels(run, "unlabelled")
            more = clips.with_labels(found.table, notes=run.notes())  # pseudo-labels, as far as a review left them
            more = clips.with_labels(run.notes())  # classes given in the error explorer

        The column `label_source` of the clip table, and of the split table, says where each label is from.

        Args:
            labels: a table with the columns `clip_id`, `label` (class names, "" = none) and, optionally, `source` (by
                default "review"), or review notes, of which those on clips of other splits are left alone.
            notes: a review of these labels: a clip with a proposed class gets that one, whose source is "review";
                one with a tag and no class is left where it is.
            split: that the clips move to.
            name: of the split table, which is saved in the folder; by default from its content.

        Raises:
            MgkitError: unknown clips or classes, a clip that is named twice, or is in `split`, a validation or a test
                split, or no label to use.
        """
        given, seen = (
            one if one is None or isinstance(one, pd.DataFrame) else one.frame() for one in (labels, notes)
        )
        assert given is not None
        new, made_labels, sources, report = apply_labels(
            self.table, self.classes, given, seen, split, self.root
        )
        stem = name or self._named("labelled", new, made_labels)
        made = self.with_splits(new, stem, report, labels=made_labels, sources=sources)
        made.save_splits()
        return made

    def _named(self, what: str, splits: Sequence[str], labels: npt.NDArray[np.int64]) -> str:
        """The name of a split table by its content."""
        content = "\n".join(f"{i}\t{s}\t{k}" for i, s, k in zip(self.ids, splits, labels, strict=True))
        name = f"{what}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
        return f"{self.split_table}-{name}" if self.split_table else name

    # --- reports ---

    def leakage(self) -> pd.DataFrame:
        """What two splits share (footage, videos, subjects, near-duplicates), one row per finding."""
        return reports.leakage(self.root, self.table, self.skeleton, self.pose)

    def damaged(self, tick: Callable[[int, int], object] = lambda done, total: None) -> dict[str, str]:
        """Read every video and the poses and compare them with what `prepare` wrote: {file: what is wrong with it}.

        `load_clips` compares sizes only, which takes no time. `tick` is called after each file with the number done
        and the total.
        """
        files = [video for video in self.column("video") if video]
        if (self.rows.narrow("pose_offset") >= 0).any():
            files.append("poses.npy")
        return damaged(self.root, files, tick)

    def summary(self) -> reports.Summary:
        """Clips per class and split, lengths, and joints that were not seen, as tables."""
        if not len(self):
            raise MgkitError(f"there are no clips in this selection of {self.root}: select some.")
        return reports.summarise(self.table, self.classes.names, self.skeleton, self.pose)

    def missing_joints(self, by: str | None = "subject") -> pd.DataFrame:
        """Share of frames in which each joint (rows) was not seen, in per cent, by subject, source, split or class."""
        if not (self.rows.narrow("pose_offset") >= 0).any():
            raise MgkitError(f"no clip of this selection of {self.root} has a pose.")
        return reports.missing_joints(self.table, self.classes.names, self.skeleton, self.pose, by)

    def report_table(self) -> pd.DataFrame:
        """The report in one table: what, how many, the first clips with their details; what was left out is on top."""
        return reports.report_table(self.report)

    @cached_property
    def _places(self) -> Places:
        return Places(self.column("clip_id"))

    @cached_property
    def _videos(self) -> Any:  # an array of pandas
        return self.rows.narrow("video").array

    @cached_property
    def _pose_columns(self) -> tuple[npt.NDArray[np.integer[Any]], ...]:
        return tuple(self.rows.narrow(name).to_numpy() for name in ("pose_offset", "persons", "frames"))

    @cached_property
    def _poses(self) -> npt.NDArray[np.float32]:
        # Opened once per object and per process; dropped when the object is sent to a worker (see __getstate__).
        return np.load(self.root / "poses.npy", mmap_mode="r")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_poses", None)
        return state


@dataclass(frozen=True, eq=False)
class Folds(Sequence[Clips]):
    """The folds of `Clips.folds`: a sequence of clips, each with the splits "train" and "val".

    Attributes:
        clips: one per fold.
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
        """Validation clips per class (rows) and fold (columns), and in all folds together."""
        names = self.clips[0].classes.names
        columns = {}
        for i, fold in enumerate(self.clips):
            labels = fold.labels[(fold.rows.narrow("split") == "val").to_numpy()]
            columns[f"fold {i}"] = np.bincount(labels, minlength=len(names))
        table = pd.DataFrame(columns, index=pd.Index(names, name="class"))
        table["all"] = table.sum(axis=1)
        return table

    def __repr__(self) -> str:
        sizes = ", ".join(str(int((fold.rows.narrow("split") == "val").sum())) for fold in self.clips)
        notes = f"; {counted(len(self.report), 'note')} in .report" if self.report else ""
        return f"Folds({len(self)}: {sizes} validation clips{notes})"

    def _repr_html_(self) -> str:
        notes = (f"<p>{html.escape(entry['what'] + ': ' + entry['detail'])}</p>" for entry in self.report)
        return str(self.summary().to_html()) + "".join(notes)


def load_clips(root: str | Path, splits: str | None = None) -> Clips:
    """Open a clip folder and check all of it that can be checked without reading videos.

    Args:
        root: the clip folder, or a split table in it (`<folder>/splits/<name>.csv`).
        splits: name of a split table of the folder; None = the official splits.

    Raises:
        MgkitError: a file of the folder is missing or broken, a column is missing, a clip id is repeated, a label
            is outside the class list, a clip has no frames, a pose lies outside `poses.npy`, or a video is missing
            or has another size than it was written with. The message names the file, the clips and the remedy.
    """
    root = Path(root)
    if root.suffix == ".csv" and root.parent.name == "splits" and splits is None:
        root, splits = root.parent.parent, root.stem
    clips = _load(root)
    if splits is None:
        return clips
    found = read_split(split_path(root, splits), clips.ids, clips.labels.tolist(), clips.classes.names)
    return clips.with_splits(found.splits, splits, labels=found.labels, sources=found.sources)


def _load(root: Path) -> Clips:
    if not root.is_dir():
        raise MgkitError(f"there is no clip folder {root}: make one with `mgkit prepare` or `mgkit demo`.")
    path = root / "clips.parquet"
    if not path.is_file() and (root / "prepare.json").is_file():
        raise MgkitError(f"{root} is not finished: run the same `mgkit prepare` again, it resumes.")
    if not path.is_file():
        raise MgkitError(f"{root} is not a clip folder (no clips.parquet): make one with `mgkit prepare`.")
    classes = Classes.from_dict(read_json(root / "classes.json"), where=str(root / "classes.json"))
    skeleton = Skeleton.from_dict(read_json(root / "skeleton.json"), where=str(root / "skeleton.json"))
    rows = read_table(path, classes)
    report = read_json(root / "report.json") if (root / "report.json").is_file() else []
    if not isinstance(report, list) or not all(
        isinstance(entry, dict) and {"what", "clip_id", "detail"} <= set(entry) for entry in report
    ):
        raise MgkitError(
            f"{root / 'report.json'} is not a report (a list of what, clip_id, detail): delete it."
        )
    _check_files(root, rows, skeleton)
    return Clips(root, rows, classes, skeleton, report)


def write_clip_folder(
    root: str | Path,
    rows: Sequence[dict[str, Any]],
    poses: Iterable[npt.NDArray[np.floating[Any]] | None],
    classes: Classes,
    skeleton: Skeleton,
    report: Sequence[dict[str, str]] = (),
    origin: dict[str, Any] | None = None,
) -> Clips:
    """Write every file of a clip folder but its videos, which must already be at `root / row["video"]`.

    Args:
        root: the clip folder, created if absent.
        rows: one dictionary per clip with the columns of the clip table except `pose_offset`, which is computed here.
        poses: for each row, in the same order, (M, T, V, 3) with T = `frames` and M = `persons`, or None. It may
            be a generator: one clip at a time is held in memory.
        classes: the class list.
        skeleton: the layout of the poses.
        report: oddities found on the way, each {"what", "clip_id", "detail"}.
        origin: the content of `poses.json`, see the top of this module; None = not known.

    Returns:
        The folder, loaded and checked.
    """
    root = Path(root)
    sizes = [int(row["persons"]) * int(row["frames"]) for row in rows]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    table = pd.DataFrame(
        [
            {**row, "pose_offset": int(first) if size else -1}
            for row, first, size in zip(rows, offsets, sizes, strict=False)
        ]
    )
    table = check_table(table, classes, where=str(root))
    if offsets[-1]:
        with atomic(root / "poses.npy") as temporary:
            store = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float32, shape=(int(offsets[-1]), len(skeleton), 3)
            )
            for row, first, size, pose in zip(rows, offsets, sizes, poses, strict=False):
                if not size:
                    continue
                expected = (row["persons"], row["frames"], len(skeleton), 3)
                if pose is None or pose.shape != expected:
                    found = None if pose is None else pose.shape
                    raise MgkitError(
                        f"the pose of clip {row['clip_id']!r} has shape {found}, expected {expected}."
                    )
                store[first : first + size] = pose.reshape(size, len(skeleton), 3)
            store.flush()
            del store
    write_json(root / "classes.json", classes.to_dict())
    write_json(root / "skeleton.json", skeleton.to_dict())
    write_json(root / "report.json", list(report))
    if origin is None:
        (root / ORIGIN).unlink(missing_ok=True)
    else:
        write_json(root / ORIGIN, origin)
    with atomic(root / "clips.parquet") as temporary:  # last: a folder without it is not a clip folder
        table.to_parquet(temporary, index=False)
    return load_clips(root)


def _check_files(root: Path, rows: Rows, skeleton: Skeleton) -> None:
    """Check that the files of a clip folder are there and are those that were written, without reading a video.

    Raises:
        MgkitError: `poses.npy` is missing, broken, of another layout or too short, or a video is missing or has another
            size than it was written with.
    """
    posed = rows.narrow("pose_offset") >= 0
    if posed.any():
        path = root / "poses.npy"
        if not path.is_file():
            poses = counted(int(posed.sum()), "clip")
            raise MgkitError(
                f"{path} is missing, and with it the pose of {poses}: run `mgkit prepare` again."
            )
        try:
            stored = np.load(path, mmap_mode="r")
            shape, kind = stored.shape, stored.dtype
        except (OSError, ValueError, EOFError, AttributeError) as error:
            raise MgkitError(f"{path} cannot be read ({error}): run `mgkit prepare` again.") from None
        if len(shape) != 3 or shape[1:] != (len(skeleton), 3):
            raise MgkitError(f"{path} has shape {shape}; skeleton.json asks for (rows, {len(skeleton)}, 3).")
        if kind != np.float32:
            raise MgkitError(f"{path} holds {kind}, not float32: run `mgkit prepare` again.")
        beyond = posed & (rows.pose_ends() > shape[0])
        if beyond.any():
            ids = some(rows.narrow("clip_id")[beyond])
            raise MgkitError(
                f"{path} has {counted(shape[0], 'row')}, too few for clip {ids}: it was cut short "
                "or belongs to another clips.parquet; run `mgkit prepare` again."
            )
    videos = rows.narrow("video")
    videos = videos[videos != ""]
    lost = [name for name in videos if not os.path.isfile(os.path.join(root, name))]
    if lost:
        raise MgkitError(f"{root} lacks {len(lost)} of its videos ({some(lost)}): run `mgkit prepare` again.")
    changed = wrong_size(root, chain(videos, ["poses.npy"] if posed.any() else []))
    if changed:
        raise MgkitError(
            f"{root} has {counted(len(changed), 'file')} damaged or replaced, {some(changed, 3)}: run the same "
            "`mgkit prepare` again, it makes these again."
        )
