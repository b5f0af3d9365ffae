"""The clip table: the columns of `clips.parquet`, the classes its labels are of, and the checks of both."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mgkit.errors import MgkitError, counted, meant, some

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


_OTHER = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
_OTHER |= {other: side for side, other in _OTHER.items()}
# A word of its own, at the end of one or between capitals: "left_ear", "touchLeftEar", not "bright" or "leftover".
_SIDE = re.compile(
    r"(?<![A-Za-z])(?:left|right|Left|Right|LEFT|RIGHT)(?![a-z])|(?<=[a-z])(?:Left|Right)(?![a-z])"
)


def other_side(name: str) -> str:
    """A name with left and right exchanged; the same where it has neither."""
    return _SIDE.sub(lambda found: _OTHER[found[0]], name)


def _breaks(letter: str) -> bool:
    """True for a line break, a tab and other control characters, which tear tables and figures."""
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp")


@dataclass(frozen=True)
class Classes:
    """Class names in label order, their coarse groups, and which one (if any) is not a gesture.

    `non_gesture` is a class that a dataset labels, such as iMiGUE's illustrative gestures. `background` is that of
    stretches in which nothing is labelled, which only `prepare ... --background` makes.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    non_gesture: int | None = None
    background: int | None = None

    def __post_init__(self) -> None:
        odd = [name for name in self.names if not name.strip() or any(map(_breaks, name))]
        if odd:
            raise MgkitError(
                f"class names are empty, or hold a line break or the like: {some(map(repr, odd))}. Rename the classes."
            )
        spelt = Counter(" ".join(name.split()) for name in self.names)
        repeated = [name for name in self.names if spelt[" ".join(name.split())] > 1]
        if repeated:
            raise MgkitError(
                f"class names are not unique: {some(sorted(set(repeated)))}. Give each class its own name."
            )
        if self.groups is not None and len(self.groups) != len(self.names):
            raise MgkitError(
                f"{counted(len(self.groups), 'class group')} for {len(self.names)} classes: give one group per class."
            )
        for what, number in (("non-gesture", self.non_gesture), ("background", self.background)):
            if number is not None and not 0 <= number < len(self.names):
                raise MgkitError(f"the {what} class is {number}, outside 0 to {len(self.names) - 1}.")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sided(self) -> list[tuple[str, str]]:
        """Pairs of classes whose names differ in left and right only: a mirror makes one of the other.

        >>> Classes(("wave", "touch left ear", "touch right ear")).sided
        [('touch left ear', 'touch right ear')]
        """
        place = {name: i for i, name in enumerate(self.names)}
        return [
            (name, other) for name in self.names if place[name] < place.get(other := other_side(name), -1)
        ]

    @property
    def one_sided(self) -> list[str]:
        """Classes that name a side, without a class that names the other one."""
        paired = {name for pair in self.sided for name in pair}
        return [name for name in self.names if other_side(name) != name and name not in paired]

    def index(self, name: str) -> int:
        """The label of a class name; an unknown name raises a `MgkitError` that lists the known ones."""
        if name not in self.names:
            hint = meant(str(name), self.names)
            raise MgkitError(
                f"there is no class {name!r}{hint or f'; the classes are {some(self.names, 40)}.'}"
            )
        return self.names.index(name)

    def to_dict(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "groups": None if self.groups is None else list(self.groups),
            "non_gesture": self.non_gesture,
            "background": self.background,
        }

    def without_background(self) -> Classes:
        """The classes of the dataset itself; the same where there is no background class."""
        k = self.background
        if k is None:
            return self
        kept = [i for i in range(len(self)) if i != k]
        gesture = self.non_gesture
        return Classes(
            tuple(self.names[i] for i in kept),
            None if self.groups is None else tuple(self.groups[i] for i in kept),
            None if gesture is None or gesture == k else kept.index(gesture),
        )

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str = "classes") -> Classes:
        """The inverse of `to_dict`; `where` names the file in an error message."""

        def words(value: Any) -> bool:
            return isinstance(value, list) and all(isinstance(word, str) for word in value)

        if not isinstance(value, dict) or not words(value.get("names")) or not value["names"]:
            raise MgkitError(f'{where}: "names" must be a list of class names.')
        groups = value.get("groups")
        if groups is not None and not words(groups):
            raise MgkitError(f'{where}: "groups" must be a list of names, or null.')
        numbers = {name: value.get(name) for name in ("non_gesture", "background")}
        for name, number in numbers.items():
            if number is not None and type(number) is not int:
                raise MgkitError(f'{where}: "{name}" must be a class number, or null.')
        try:
            return cls(tuple(value["names"]), None if groups is None else tuple(groups), **numbers)
        except MgkitError as error:
            raise MgkitError(f"{where}: {error}") from None


class Places:
    """Where each clip is in a table: nothing is held where the ids are in order, 8 bytes a clip where they are not.

    A dictionary from ids to rows would take a gigabyte for ten million clips, in every process.
    """

    def __init__(self, ids: pd.Series[str]) -> None:
        self._ids = ids.array
        self._order = None if ascending(ids) else np.argsort(ids.to_numpy(dtype=object), kind="stable")

    def of(self, clip_id: str) -> int:
        """The row of a clip, -1 for one that is not there."""
        low, high = 0, len(self._ids)
        while low < high:
            middle = (low + high) // 2
            if self._ids[self._row(middle)] < clip_id:
                low = middle + 1
            else:
                high = middle
        there = low < len(self._ids) and self._ids[self._row(low)] == clip_id
        return self._row(low) if there else -1

    def _row(self, place: int) -> int:
        return place if self._order is None else int(self._order[place])


class Rows:
    """The rows of a clip table in few bytes, until somebody asks for the table.

    Columns are narrow (see `narrow`), and a selection of half of them or more is their numbers beside the columns that
    it shares. `table` puts the whole in the types of `COLUMNS` and keeps it in their place, so that it is made once
    and what is written to it stays.

    Args:
        columns: a table with the columns of `COLUMNS`.
        places: the selected rows of it, by number; None = all.
        whole: the columns are in the types of `COLUMNS`; otherwise they may be narrow.
    """

    def __init__(
        self,
        columns: pd.DataFrame,
        places: npt.NDArray[np.integer[Any]] | None = None,
        *,
        whole: bool = True,
    ) -> None:
        self._columns, self._places, self._whole = columns, places, whole

    def __len__(self) -> int:
        return len(self._columns if self._places is None else self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @property
    def table(self) -> pd.DataFrame:
        """All columns, in the types of `COLUMNS`."""
        if not self._whole:
            columns = {name: self.column(str(name)) for name in self._columns}
            self._columns, self._places, self._whole = pd.DataFrame(columns, copy=False), None, True
        return self._columns

    def column(self, name: str) -> pd.Series[Any]:
        """One column in its type of `COLUMNS`."""
        column = self.narrow(name)
        return column if self._whole else column.astype(COLUMNS.get(name, "str"))  # type: ignore[call-overload]

    def narrow(self, name: str) -> pd.Series[Any]:
        """One column as it is held: to compare with a value, not to compute with, which would overflow."""
        column = self._columns[name]
        return column if self._places is None else pd.Series(column.array.take(self._places), name=name)

    def value(self, name: str, place: int) -> Any:
        """One value of a column, as it is held."""
        return self._columns[name].array[place if self._places is None else self._places[place]]

    def row(self, place: int) -> dict[str, Any]:
        """One row, its values in the types of `COLUMNS`."""
        place = place if self._places is None else int(self._places[place])
        kinds = {name: np.dtype(kind).type for name, kind in COLUMNS.items() if kind != "str"}
        held = self._columns.iloc[place].items()
        return {str(name): kinds[name](value) if name in kinds else value for name, value in held}

    def pose_ends(self) -> npt.NDArray[np.int64]:
        """(N,) one past the last row of each clip in `poses.npy`."""
        ends = self.narrow("persons").to_numpy().astype(np.int64)
        ends *= self.narrow("frames").to_numpy()
        ends += self.narrow("pose_offset").to_numpy()
        return ends

    def take(self, places: npt.NDArray[np.integer[Any]]) -> Rows:
        """Some of the rows, by number."""
        if self._places is not None:
            places = self._places[places]
        if self._whole or 2 * len(places) < len(self._columns):
            return Rows(self._columns.take(places).reset_index(drop=True), whole=self._whole)
        return Rows(self._columns, places.astype(np.min_scalar_type(-len(self._columns))), whole=False)

    def assign(self, **columns: Sequence[Any] | npt.NDArray[Any]) -> Rows:
        """The same rows with other columns."""
        if self._whole:
            return Rows(self._columns.assign(**columns))
        small = {name: narrow(pd.Series(new)) for name, new in columns.items()}
        return Rows(self._selected().assign(**small), whole=False)

    def _selected(self) -> pd.DataFrame:
        rows = self._columns
        return rows if self._places is None else rows.take(self._places).reset_index(drop=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is sent to another process: no row that is not selected."""
        return partial(Rows, whole=self._whole), (self._selected(),)


MANY = 1_000_000  # rows by which a column of texts is judged


def narrow(column: pd.Series[Any]) -> pd.Series[Any]:
    """The same values in the smallest type that holds them; `astype` gives exactly the column back.

    Integers become int8 to int32, floating-point numbers float16 or float32 where no digit is lost, and texts of which
    each occurs twice or more on average a categorical.
    """
    if column.dtype.kind == "i" and len(column):
        low, high = int(column.min()), int(column.max())
        kinds = [k for k in ("int8", "int16", "int32") if np.iinfo(k).min <= low and high <= np.iinfo(k).max]
        return column.astype(kinds[0]) if kinds else column  # type: ignore[call-overload]
    if column.dtype.kind == "f":
        for kind in ("float16", "float32"):
            with np.errstate(over="ignore"):
                smaller = column.astype(kind)
            if (smaller == column).all():
                return smaller
    elif column.dtype.kind not in "iu" and 2 * column.iloc[:MANY].nunique() <= min(len(column), MANY):
        return column.astype("category")
    return column


def find_ids(ids: pd.Series[str], wanted: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) the row of each wanted id, -1 for one that is not there."""
    found = pc.index_in(pa.array(wanted, pa.large_string()), value_set=pa.array(ids, pa.large_string()))
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def ascending(ids: pd.Series[str]) -> bool:
    """Each id comes after the one above it, so that none occurs twice."""
    words = pa.array(ids, pa.large_string())
    return bool(pc.all(pc.less(words[:-1], words[1:])).as_py() is not False)


def read_table(path: Path, classes: Classes) -> Rows:
    """Read `clips.parquet` and check it as `check_table` does.

    It is read, checked and made small column by column: the whole table would take three times the memory.
    """
    from pyarrow import parquet

    try:
        stored = parquet.ParquetFile(path)
        names, count = stored.schema_arrow.names, stored.metadata.num_rows
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    _refuse_lack(names, count, str(path))
    small = {}
    for name, kind in COLUMNS.items():
        try:
            column = stored.read([name]).to_pandas(ignore_metadata=True)[name]
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from None
        small[name] = narrow(_typed(column, kind, str(path)))
        del column
        pa.default_memory_pool().release_unused()
    return Rows(_check_rows(pd.DataFrame(small, copy=False), classes, str(path)), whole=False)


def _unreadable(path: Path, error: Exception) -> MgkitError:
    return MgkitError(f"{path} cannot be read ({error}): run `mgkit prepare` again.")


def check_table(table: pd.DataFrame, classes: Classes, where: str) -> pd.DataFrame:
    """Check a table and return it with the columns and types of `COLUMNS`, in `clip_id` order.

    Args:
        table: one that is about to be written.
        classes: the class list.
        where: the file, for the messages.

    Raises:
        MgkitError: a missing column, an empty cell, a value of another type, a repeated or empty id, a label outside
            the classes, a video outside the folder, or poses that overlap. The message names the clip or the row.
    """
    _refuse_lack([str(name) for name in table], len(table), where)
    typed = {name: _typed(table[name], kind, where) for name, kind in COLUMNS.items()}
    return _check_rows(pd.DataFrame(typed, copy=False), classes, where)


def _refuse_lack(columns: Sequence[str], rows: int, where: str) -> None:
    """Refuse a table without a column of `COLUMNS`, or without rows."""
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise MgkitError(f"{where} lacks the column {some(missing)}: run `mgkit prepare` again.")
    if not rows:
        raise MgkitError(f"{where} has no clips.")


def _check_rows(table: pd.DataFrame, classes: Classes, where: str) -> pd.DataFrame:
    """Check columns against each other, whether they are narrow or not, and return the table in `clip_id` order."""
    if not ascending(table["clip_id"]):
        table = table.sort_values("clip_id", ignore_index=True)
        repeated = table.loc[table["clip_id"].duplicated(), "clip_id"]
        if len(repeated):
            raise MgkitError(f"{where}: clip ids occur twice: {some(repeated)}. Each clip needs its own id.")
    outside = table[(table["label"] < 0) | (table["label"] >= len(classes))]
    if len(outside):
        raise MgkitError(
            f"{where}: label {int(outside['label'].iloc[0])} of clip {outside['clip_id'].iloc[0]!r} is outside the "
            f"{len(classes)} classes of classes.json ({counted(len(outside), 'such clip')}): correct the label or the "
            "class list."
        )
    if (table["clip_id"] == "").any():
        raise MgkitError(f"{where}: a clip has no clip_id. Each clip needs its own.")
    # Few paths look odd at all; only those are looked at closely.
    odd_path = table["video"].str.contains(r"\.\.|^[/\\]|:", regex=True).to_numpy(dtype=bool)
    unsafe = table[odd_path]
    unsafe = unsafe[[os.path.isabs(name) or ".." in Path(name).parts for name in unsafe["video"]]]
    if len(unsafe):
        raise MgkitError(
            f"{where}: the video of clip {some(unsafe['clip_id'])} lies outside the clip folder."
        )
    odd = table[(table["persons"] < 0) | ((table["persons"] == 0) != (table["pose_offset"] < 0))]
    if len(odd):
        raise MgkitError(
            f"{where}: persons and pose_offset of clip {some(odd['clip_id'])} contradict each other."
        )
    posed = (table["persons"] > 0).to_numpy()
    begins, ends = table["pose_offset"].to_numpy(), Rows(table).pose_ends()
    if not posed.all():
        begins, ends = begins[posed], ends[posed]
    order = None
    if (begins[1:] < begins[:-1]).any():
        order = np.argsort(begins)
        begins, ends = begins[order], ends[order]
    overlap = 1 + np.flatnonzero(begins[1:] < ends[:-1])
    if len(overlap):
        shared = np.flatnonzero(posed)[overlap if order is None else order[overlap]]
        raise MgkitError(
            f"{where}: the poses of clip {some(table['clip_id'].iloc[shared])} begin inside those of another clip: run "
            "`mgkit prepare` again."
        )
    empty = table[(table["frames"] < 1) | (table["width"] < 1) | (table["height"] < 1)]
    if len(empty):
        raise MgkitError(f"{where}: no frames, or no size, for clip {some(empty['clip_id'])}.")
    return table


def _typed(column: pd.Series[Any], kind: str, where: str) -> pd.Series[Any]:
    """A column in its type; an empty cell and a value that does not fit are refused by row."""
    if column.isna().any():
        raise MgkitError(
            f"{where}: column {column.name} has an empty cell in row {int(column.isna().argmax())}."
        )
    if kind == "str" and isinstance(column.dtype, pd.StringDtype):  # has nothing but text, or is empty
        fits = np.ones(len(column), dtype=bool)
    elif kind == "str":
        fits = column.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    elif isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        values = column.to_numpy()
        fits = np.isfinite(values)
        if kind == "int64" and values.dtype.kind == "f":
            fits &= values == np.floor(values)
    else:  # bool, or objects: nothing is bent to fit
        fits = np.zeros(len(column), dtype=bool)
        for i, value in enumerate(column):
            number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
            fits[i] = number and (kind == "float64" or value == int(value))
    if not fits.all():
        row = int(fits.argmin())
        need = {"str": "text", "int64": "a whole number", "float64": "a finite number"}[kind]
        raise MgkitError(
            f"{where}: {column.name} in row {row} is {column.iloc[row]!r}, not {need}: run `mgkit prepare` again."
        )
    return column.astype(kind)  # type: ignore[call-overload]
