"""The clip folder: prepared data in one layout, whatever it came from.

    clips.parquet    one row a clip, see `COLUMNS`
    classes.json     {"names": [...], "groups": [...] or null, "non_gesture": index or null}
    skeleton.json    {"name", "joints", "edges", "pairs"}, see `mgkit.data.skeletons`
    poses.npy        (rows, V, 3) float32: x, y in pixels of the prepared video, score in [0, 1]; NaN = not seen.
                     A clip's rows start at its `pose_offset` and are persons x frames of them, persons first.
    videos/*.mp4     person-cropped, resized, short key-frame distance; absent when only poses are known
    report.json      what `prepare` found odd: [{"what", "clip_id", "detail"}, ...]

Coordinates are continuous: a pixel (column i, row j) covers [i, i + 1) x [j, j + 1), so that mirroring maps
x to width - x. Everything is keyed by `clip_id`; the order of rows means nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, read_json, write_json

COLUMNS: dict[str, str] = {
    "clip_id": "str",  # unique
    "split": "str",  # train, val, test, or any other name
    "label": "int64",  # index into classes.json
    "subject": "str",  # "" = not known
    "source": "str",  # source video, or the annotation file when there is none
    "start": "int64",  # first source frame, 0-based
    "end": "int64",  # one past the last source frame
    "frames": "int64",  # of the prepared video and of the pose, end - start unless the source was shorter
    "fps": "float64",  # frames per second; 0 = not known
    "width": "int64",  # of the prepared video, pixels: the frame that the key-points live in
    "height": "int64",
    "video": "str",  # path below the clip folder, "" = no video
    "persons": "int64",  # 0 = no pose
    "pose_offset": "int64",  # first row in poses.npy, -1 = no pose
    "crop_x": "float64",  # the crop in source pixels: source x = crop_x + x * crop_width / width
    "crop_y": "float64",
    "crop_width": "float64",
    "crop_height": "float64",
}


@dataclass(frozen=True)
class Classes:
    """Class names in label order, their coarse groups, and which one (if any) is not a gesture."""

    names: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    non_gesture: int | None = None

    def __post_init__(self) -> None:
        repeated = [name for name in self.names if self.names.count(name) > 1]
        if repeated:
            raise MgkitError(
                f"class names are not unique: {some(sorted(set(repeated)))}. Give each class its own name."
            )
        if self.groups is not None and len(self.groups) != len(self.names):
            raise MgkitError(
                f"{len(self.groups)} class groups for {len(self.names)} classes: give one group a class."
            )
        if self.non_gesture is not None and not 0 <= self.non_gesture < len(self.names):
            raise MgkitError(
                f"the non-gesture class is {self.non_gesture}, outside 0 to {len(self.names) - 1}."
            )

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The label of a class name; an unknown name raises a `MgkitError` that lists the known ones."""
        if name not in self.names:
            raise MgkitError(f"there is no class {name!r}; the classes are {some(self.names, 40)}.")
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "groups": None if self.groups is None else list(self.groups),
            "non_gesture": self.non_gesture,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str = "classes") -> Classes:
        def words(value: Any) -> bool:
            return isinstance(value, list) and all(isinstance(word, str) for word in value)

        if not isinstance(value, dict) or not words(value.get("names")) or not value["names"]:
            raise MgkitError(f'{where}: "names" must be a list of class names.')
        groups, non_gesture = value.get("groups"), value.get("non_gesture")
        if groups is not None and not words(groups):
            raise MgkitError(f'{where}: "groups" must be a list of names, or null.')
        if non_gesture is not None and type(non_gesture) is not int:
            raise MgkitError(f'{where}: "non_gesture" must be a class number, or null.')
        return cls(tuple(value["names"]), None if groups is None else tuple(groups), non_gesture)


@dataclass(frozen=True, eq=False)
class Clips:
    """A clip folder, or a selection of its rows. Make one with `load_clips`; select with `split` or `select`.

    Attributes:
        root: the clip folder.
        table: one row a clip with the columns of `COLUMNS`, in `clip_id` order.
        classes: class names, groups, non-gesture class.
        skeleton: the key-point layout.
        report: what was found odd when the folder was prepared.
    """

    root: Path
    table: pd.DataFrame
    classes: Classes
    skeleton: Skeleton
    report: list[dict[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.table["split"].value_counts().items())
        kinds = f"{len(self.classes)} classes, {self.skeleton.name}"
        return f"Clips({str(self.root)!r}: {len(self)} clips ({parts}), {kinds})"

    @property
    def ids(self) -> list[str]:
        return list(self.table["clip_id"])

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) labels in the order of `table`."""
        return self.table["label"].to_numpy(dtype=np.int64)

    @property
    def splits(self) -> list[str]:
        return sorted(self.table["split"].unique())

    @property
    def has_video(self) -> bool:
        """Every clip of this selection has a video."""
        return bool((self.table["video"] != "").all())

    @property
    def has_pose(self) -> bool:
        """Every clip of this selection has a pose."""
        return bool((self.table["pose_offset"] >= 0).all())

    def split(self, name: str) -> Clips:
        """The clips of one split; an empty or unknown one raises a `MgkitError` that lists what there is."""
        chosen = self.table[self.table["split"] == name]
        if chosen.empty:
            there = some(self.splits) if len(self) else "none"
            raise MgkitError(f"{self.root} has no clip in split {name!r}; its splits are {there}.")
        return replace(self, table=chosen.reset_index(drop=True))

    def select(self, clip_ids: Iterable[str]) -> Clips:
        """The clips with these ids, in this order; unknown ids raise a `MgkitError` that names them."""
        wanted = list(clip_ids)
        unknown = [clip_id for clip_id in wanted if clip_id not in self._rows]
        if unknown:
            raise MgkitError(f"{self.root} has no clip {some(unknown)}.")
        return replace(self, table=self.table.iloc[[self._rows[i] for i in wanted]].reset_index(drop=True))

    def row(self, clip_id: str) -> dict[str, Any]:
        """One clip's row as a plain dictionary."""
        if clip_id not in self._rows:
            raise MgkitError(f"{self.root} has no clip {clip_id!r}.")
        return {str(key): value for key, value in self.table.iloc[self._rows[clip_id]].items()}

    def pose(self, clip_id: str) -> npt.NDArray[np.float32]:
        """Key-points (M, T, V, 3): x, y in pixels of the prepared video, score in [0, 1]; NaN = not seen."""
        row = self.row(clip_id)
        if row["pose_offset"] < 0:
            raise MgkitError(f"clip {clip_id!r} of {self.root} has no pose.")
        first, persons, frames = int(row["pose_offset"]), int(row["persons"]), int(row["frames"])
        rows = self._poses[first : first + persons * frames]
        return np.asarray(rows).reshape(persons, frames, len(self.skeleton), 3)

    def video(self, clip_id: str) -> Path | None:
        """Path of the prepared video, or None when the clip has none."""
        name = self.row(clip_id)["video"]
        return self.root / name if name else None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, splits, labels, class names and layout: what makes two results comparable."""
        lines = [f"{i}\t{s}\t{n}" for i, s, n in zip(self.ids, self.table["split"], self.labels, strict=True)]
        parts = ["\n".join(lines), "\n".join(self.classes.names), "\n".join(self.skeleton.joints)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def summary(self) -> pd.DataFrame:
        """Clips per class (rows) and split (columns), with the median length in frames."""
        names = pd.Categorical.from_codes(self.labels, categories=pd.Index(self.classes.names))
        counts = pd.crosstab(names, self.table["split"].to_numpy(), dropna=False)
        counts.index.name, counts.columns.name = "class", None
        counts["all"] = counts.sum(axis=1)
        counts["median frames"] = [
            float(self.table.loc[self.labels == k, "frames"].median()) for k in range(len(self.classes))
        ]
        return counts

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {clip_id: i for i, clip_id in enumerate(self.table["clip_id"])}

    @cached_property
    def _poses(self) -> npt.NDArray[np.float32]:
        # Opened once per object and per process; dropped when the object is sent to a worker (see __getstate__).
        return np.load(self.root / "poses.npy", mmap_mode="r")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_poses", None)
        return state


def load_clips(root: str | Path) -> Clips:
    """Open a clip folder and check all of it that can be checked without decoding video.

    Raises:
        MgkitError: a file of the folder is missing or broken, a column is missing, a clip id is repeated, a label
            is outside the class list, a clip has no frames, a pose lies outside `poses.npy`, or a video is missing.
            The message names the file, the clips and the remedy.
    """
    root = Path(root)
    if not root.is_dir():
        raise MgkitError(f"there is no clip folder {root}: make one with `mgkit prepare` or `mgkit demo`.")
    path = root / "clips.parquet"
    if not path.is_file():
        raise MgkitError(f"{root} is not a clip folder (no clips.parquet): make one with `mgkit prepare`.")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise MgkitError(f"{path} cannot be read ({error}): run `mgkit prepare` again.") from None
    classes = Classes.from_dict(read_json(root / "classes.json"), where=str(root / "classes.json"))
    skeleton = Skeleton.from_dict(read_json(root / "skeleton.json"), where=str(root / "skeleton.json"))
    table = check_table(table, classes, where=str(path))
    report = read_json(root / "report.json") if (root / "report.json").is_file() else []
    if not isinstance(report, list) or not all(
        isinstance(entry, dict) and {"what", "clip_id", "detail"} <= set(entry) for entry in report
    ):
        raise MgkitError(
            f"{root / 'report.json'} is not a report (a list of what, clip_id, detail): delete it."
        )
    clips = Clips(root, table, classes, skeleton, report)
    _check_files(clips)
    return clips


def check_table(table: pd.DataFrame, classes: Classes, where: str) -> pd.DataFrame:
    """Return `table` with the columns and types of `COLUMNS`, in clip_id order, or raise a `MgkitError`."""
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise MgkitError(f"{where} lacks the column {some(missing)}: run `mgkit prepare` again.")
    if table.empty:
        raise MgkitError(f"{where} has no clips.")
    for column in COLUMNS:
        if table[column].isna().any():
            raise MgkitError(
                f"{where}: column {column} has an empty cell in row {int(table[column].isna().argmax())}."
            )
    table = pd.DataFrame({column: _typed(table[column], kind, where) for column, kind in COLUMNS.items()})
    table = table.sort_values("clip_id", ignore_index=True)
    repeated = table.loc[table["clip_id"].duplicated(), "clip_id"]
    if len(repeated):
        raise MgkitError(f"{where}: clip ids stand twice: {some(repeated)}. Each clip needs its own id.")
    outside = table[(table["label"] < 0) | (table["label"] >= len(classes))]
    if len(outside):
        raise MgkitError(
            f"{where}: label {int(outside['label'].iloc[0])} of clip {outside['clip_id'].iloc[0]!r} is outside the "
            f"{len(classes)} classes of classes.json ({len(outside)} such clips): correct the label or the class list."
        )
    if (table["clip_id"] == "").any():
        raise MgkitError(f"{where}: a clip has no clip_id. Each clip needs its own.")
    unsafe = table[[Path(name).is_absolute() or ".." in Path(name).parts for name in table["video"]]]
    if len(unsafe):
        raise MgkitError(
            f"{where}: the video of clip {some(unsafe['clip_id'])} lies outside the clip folder."
        )
    odd = table[(table["persons"] < 0) | ((table["persons"] == 0) != (table["pose_offset"] < 0))]
    if len(odd):
        raise MgkitError(
            f"{where}: persons and pose_offset of clip {some(odd['clip_id'])} contradict each other."
        )
    posed = table[table["persons"] > 0].sort_values("pose_offset")
    rows = (posed["persons"] * posed["frames"]).to_numpy()
    shared = posed["pose_offset"].to_numpy()[1:] < (posed["pose_offset"].to_numpy() + rows)[:-1]
    if shared.any():
        raise MgkitError(
            f"{where}: the poses of clip {some(posed['clip_id'][1:][shared])} begin inside those of another clip: run "
            "`mgkit prepare` again."
        )
    empty = table[(table["frames"] < 1) | (table["width"] < 1) | (table["height"] < 1)]
    if len(empty):
        raise MgkitError(f"{where}: no frames, or no size, for clip {some(empty['clip_id'])}.")
    return table


def _typed(column: pd.Series[Any], kind: str, where: str) -> pd.Series[Any]:
    """A column in its type; a value that would have to be bent to fit is refused by row."""
    values = column.tolist()
    wanted: tuple[type, ...] = (str,) if kind == "str" else (int, float, np.integer, np.floating)
    for i, value in enumerate(values):
        good = isinstance(value, wanted) and not isinstance(value, bool | np.bool_)
        if good and kind != "str":
            good = bool(np.isfinite(value)) and (kind == "float64" or value == int(value))
        if not good:
            need = {"str": "text", "int64": "a whole number", "float64": "a finite number"}[kind]
            raise MgkitError(
                f"{where}: {column.name} in row {i} is {value!r}, not {need}: run `mgkit prepare` again."
            )
    return column.astype(kind)  # type: ignore[call-overload]


def _check_files(clips: Clips) -> None:
    table, root = clips.table, clips.root
    posed = table[table["pose_offset"] >= 0]
    if len(posed):
        path = root / "poses.npy"
        if not path.is_file():
            raise MgkitError(
                f"{path} is missing, though {len(posed)} clips have a pose: run `mgkit prepare` again."
            )
        try:
            stored = np.load(path, mmap_mode="r")
            shape, kind = stored.shape, stored.dtype
        except (OSError, ValueError, EOFError, AttributeError) as error:
            raise MgkitError(f"{path} cannot be read ({error}): run `mgkit prepare` again.") from None
        if len(shape) != 3 or shape[1:] != (len(clips.skeleton), 3):
            raise MgkitError(
                f"{path} has shape {shape}; skeleton.json asks for (rows, {len(clips.skeleton)}, 3)."
            )
        if kind != np.float32:
            raise MgkitError(f"{path} holds {kind}, not float32: run `mgkit prepare` again.")
        beyond = posed[posed["pose_offset"] + posed["persons"] * posed["frames"] > shape[0]]
        if len(beyond):
            raise MgkitError(
                f"{path} has {shape[0]} rows, too few for clip {some(beyond['clip_id'])}: it was cut short or belongs "
                "to another clips.parquet; run `mgkit prepare` again."
            )
    lost = [name for name in table["video"] if name and not (root / name).is_file()]
    if lost:
        raise MgkitError(f"{root} lacks {len(lost)} of its videos ({some(lost)}): run `mgkit prepare` again.")


def write_clip_folder(
    root: str | Path,
    rows: Sequence[dict[str, Any]],
    poses: Iterable[npt.NDArray[np.floating[Any]] | None],
    classes: Classes,
    skeleton: Skeleton,
    report: Sequence[dict[str, str]] = (),
) -> Clips:
    """Write every file of a clip folder but its videos, which must already lie at `root / row["video"]`.

    Args:
        root: the clip folder, made if need be.
        rows: one dictionary a clip with the keys of `COLUMNS` except `pose_offset`, which is computed here.
        poses: for each row, in the same order, (M, T, V, 3) with T = `frames` and M = `persons`, or None. It may
            be a generator: one clip at a time is held in memory.
        classes: the class list.
        skeleton: the layout of the poses.
        report: oddities found on the way, each {"what", "clip_id", "detail"}.

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
    with atomic(root / "clips.parquet") as temporary:  # last: a folder without it is not a clip folder
        table.to_parquet(temporary, index=False)
    return load_clips(root)
