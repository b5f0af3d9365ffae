"""Small text tables as people really save them: a byte-order mark, Windows line ends, semicolons, a header.

What is repaired on reading is reported; a cell that cannot be read is a problem with file, row and value.

Large tables of numbers, one row a frame: spreadsheets (each converted once) and csv files.

Cells are taken as they are, NaN where a cell is empty; what a number means (0 = not seen) is for the reader to say.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.readers import note, refuse
from mgkit.errors import MgkitError, some
from mgkit.files import atomic, read_json, write_json

Report = list[dict[str, str]]


@dataclass(frozen=True)
class Row:
    """A row of a table: its line in the file, counted from 1, and its cells."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """A row `class, first frame, last frame` of a label file.

    Attributes:
        index: of the row among the rows that hold something, from 0: clips are numbered by it.
        line: in the file, from 1.
        raw: the class as the file has it.
        start, end: frames from 0, half-open.
    """

    index: int
    line: int
    raw: int
    start: int
    end: int

    @property
    def frames(self) -> int:
        """How many; 0 where the row is no clip."""
        return max(0, self.end - self.start) if self.start >= 0 else 0


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text of a file, and what was unusual about how it is stored (never a reason to refuse it).

    Raises:
        MgkitError: the file cannot be read, or is neither UTF-8 nor marked as UTF-16.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MgkitError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions."
        ) from None
    found = []
    encoding = "utf-8"
    if content.startswith(codecs.BOM_UTF8):
        encoding, found = "utf-8-sig", ["a byte-order mark"]
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, found = "utf-16", ["UTF-16"]
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise MgkitError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from None
    if "\r" in text:
        found.append("Windows line ends")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, found


def delimiter_of(line: str) -> str:
    """What stands between the cells of a line: comma, semicolon, tab, or else blanks."""
    counts = {mark: line.count(mark) for mark in ";\t,"}  # `0,5;1,2` is two cells with decimal commas
    return next((mark for mark in ";\t," if counts[mark]), " ")


def is_number(cell: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python takes 1_0 for 10


def read_rows(
    path: Path,
    columns: int,
    *,
    numbers: Collection[int] = (),
    titles: Collection[str] = (),
    report: Report,
    problems: list[str],
) -> list[Row]:
    """The rows of a small table. Blank lines, and a header where there is one, are left out and reported.

    Args:
        path: the file.
        columns: how many cells a row has; a row of another length is a problem.
        numbers: columns that hold numbers: a first row with words in all of them is a header.
        titles: words of the first column, in lower case, that make the first row a header as it should be.
        report: what was repaired is added to it.
        problems: what cannot be read is added to it.
    """
    text, found = read_text(path)
    lines = text.removesuffix("\n").split("\n")
    filled = [(i + 1, line) for i, line in enumerate(lines) if line.strip(" \t,;")]
    if not filled:
        return []
    mark = delimiter_of(filled[0][1])
    if mark == ";":
        found.append("semicolons between the cells")
    blank = len(lines) - len(filled)
    if blank:
        found.append(f"{blank} blank line{'s' if blank > 1 else ''}")
    rows = []
    for line, content in filled:
        if mark == " ":
            cells = content.strip().rsplit(None, columns - 1)
        else:
            try:
                cells = [cell.strip() for cell in next(csv.reader([content], delimiter=mark))]
            except csv.Error as error:
                problems.append(f"{path} row {line} cannot be read ({error})")
                continue
            while len(cells) > columns and not cells[-1]:
                cells.pop()
        rows.append(Row(line, tuple(cells)))
    if not rows:
        return []
    first = rows[0].cells
    if first[0].lower() in titles:  # a title is as good as none there
        rows.pop(0)
    elif numbers and len(first) == columns and not any(is_number(first[i]) or not first[i] for i in numbers):
        found.append(f"a header ({some(rows.pop(0).cells)})")
    if found:
        report.append(note("text format", f"{path.name} has {some(found, 9)}: read all the same"))
    good = []
    for row in rows:
        if len(row.cells) != columns:
            problems.append(f"{path} row {row.line} has {len(row.cells)} cells, not {columns}")
        else:
            good.append(row)
    return good


def whole(cell: str) -> int | None:
    """The whole number in a cell (`7`, `7.0`), or None."""
    return int(float(cell)) if is_number(cell) and float(cell).is_integer() else None


def read_spans(path: Path, *, base: int, report: Report, problems: list[str]) -> list[Span]:
    """The rows `class, first frame, last frame` of a label file; the last frame belongs to the clip.

    A clip that ends before it starts, or starts before the video, is reported and returned as it is: `prepare` leaves
    it out like any other that cannot be cut.

    Args:
        path: the label file.
        base: the number that the file gives the first frame of the video, 0 or 1.
        report, problems: see `read_rows`.
    """
    spans = []
    rows = read_rows(path, 3, numbers=(0, 1, 2), report=report, problems=problems)
    for index, row in enumerate(rows):
        raw, first, last = (whole(cell) for cell in row.cells)
        if raw is None or first is None or last is None:
            problems.append(f"{path} row {row.line} is {','.join(row.cells)!r}, not three whole numbers")
            continue
        if last < first:
            detail = f"{path.name} row {row.line}: the clip ends at frame {last}, begins at {first}"
            report.append(note("end before start", f"{detail}: correct the row"))
        elif first < base:
            detail = f"{path.name} row {row.line}: frame {first}, though the first is {base}: correct the row"
            report.append(note("start before the video", detail))
        spans.append(Span(index, row.line, raw, first - base, last - base + 1))
    if not rows:
        report.append(note("empty label file", f"{path.name} has no rows: no clips"))
    early = [span.line for last, span in pairwise(spans) if span.start < last.start]
    if early:
        detail = f"{path.name} row {some(early)} begins before the row above: clips are numbered by row all the same"
        report.append(note("rows out of order", detail))
    seen: dict[tuple[int, int, int], int] = {}
    for span in spans:
        again = seen.setdefault((span.raw, span.start, span.end), span.line)
        if again != span.line:
            detail = f"{path.name} row {span.line} repeats row {again}: both are kept"
            report.append(note("repeated row", detail))
    return spans


def read_pairs(
    source: str | Path | Mapping[str, str] | None,
    keys: Collection[str],
    what: tuple[str, str],
    *,
    report: Report,
    suffixes: Sequence[str] = (".mp4",),
) -> dict[str, str]:
    """Two columns `video, value`, from a csv file (with or without a header) or a mapping, for the `keys` that exist.

    None gives none. A key may carry a file suffix, and may have lost its leading zeros in a spreadsheet. Rows of
    unknown videos and videos without a row are reported.

    Raises:
        MgkitError: a broken file, an empty value, or two values for one video.
    """
    problems: list[str] = []
    if source is None:
        return {}
    if isinstance(source, Mapping):
        where, rows = "the mapping", [Row(i, (str(k), str(v))) for i, (k, v) in enumerate(source.items())]
    else:
        where = str(source)
        titles = {what[0], "id", "name", "file", "filename", "video_id", "clip_id"}
        rows = read_rows(Path(source), 2, titles=titles, report=report, problems=problems)
    numbered = {int(key): key for key in keys if key.isdecimal()}
    pairs: dict[str, str] = {}
    unknown, padded = [], []
    for row in rows:
        key, value = row.cells
        for suffix in suffixes:
            key = key.removesuffix(suffix)
        if key not in keys and key.isdecimal() and int(key) in numbered:
            padded.append(key)
            key = numbered[int(key)]
        if not value:
            problems.append(f"{where} row {row.line}: {key} has no {what[1]}")
        elif key not in keys:
            unknown.append(key)
        elif pairs.setdefault(key, value) != value:
            problems.append(f"{where} row {row.line}: {key} is {what[1]} {value}, and {pairs[key]} before")
    refuse(problems)
    if padded:
        report.append(note("leading zeros", f"{where} lost those of {some(padded)}: put back"))
    if unknown:
        report.append(note(f"{what[1]} of an unknown {what[0]}", f"{where}: {some(unknown)}: not used"))
    absent = sorted(set(keys) - set(pairs))
    if absent:
        report.append(note(f"no {what[1]} given", f"{where} has no row for {what[0]} {some(absent)}"))
    return pairs


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table of numbers and what was odd about its file.

    Attributes:
        values: (T, C) float32, one row a frame; NaN = an empty cell. Not to be written to.
        oddities: in words, of the whole file.
    """

    values: npt.NDArray[np.float32]
    oddities: tuple[str, ...]


def read_sheet(path: Path, columns: int, *, index: bool, cache: Path | None = None) -> Sheet:
    """Read a .xlsx or .csv file of numbers.

    Args:
        path: the file. Of a spreadsheet the first sheet is read.
        columns: how many numbers a row has, an index column not counted.
        index: whether the first column should be a running index; that it is there or not is reported if it differs.
        cache: where a spreadsheet is kept in a quick form, under a name made of its own, its size and its time of
            change. csv files are quick as they are.

    Returns:
        The table. Asked for again in the same process it is not read again.

    Raises:
        MgkitError: the file cannot be read, has another number of columns, or a cell with text; row and column are
            named, counted from 1.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise MgkitError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions."
        ) from None
    return _read(path, columns, index, cache, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2)  # the clips of one video are asked for in a row
def _read(path: Path, columns: int, index: bool, cache: Path | None, size: int, changed: int) -> Sheet:
    if path.suffix.lower() != ".xlsx":
        return _finish(*_read_csv(path), path, columns, index)
    if cache is None:
        return _finish(*_read_xlsx(path), path, columns, index)
    kept = cache / f"{path.stem}-{size}-{changed}.npy"
    if kept.is_file():
        try:
            values = np.load(kept)
            oddities = tuple(read_json(kept.with_suffix(".json")))
        except (MgkitError, OSError, ValueError, EOFError):
            pass  # damaged: made anew
        else:
            if values.ndim == 2 and values.shape[1] == columns and values.dtype == np.float32:
                return Sheet(values, oddities)
    sheet = _finish(*_read_xlsx(path), path, columns, index)
    write_json(kept.with_suffix(".json"), list(sheet.oddities))
    with atomic(kept) as temporary:  # last: without it the other file means nothing
        np.save(temporary, sheet.values)
    return sheet


def _finish(
    values: npt.NDArray[np.float32], oddities: list[str], path: Path, columns: int, index: bool
) -> Sheet:
    """Take away a header of numbers and an index column, and check the shape."""
    while values.shape[1] > columns and np.isnan(values[:, -1]).all():
        values = values[:, :-1]  # formatted, never filled
    wide = values.shape[1]
    if len(values) == 0 or wide not in (columns, columns + 1):
        raise MgkitError(
            f"{path} has {len(values)} rows of {wide} columns; {columns} numbers a frame are expected"
            f"{', after an index' if index else ''}: it is cut short, or another kind of file."
        )
    if len(values) > 1 and np.array_equal(values[0, 1:], np.arange(wide - 1) + values[0, 1]) and wide > 2:
        oddities = [*oddities, "a header of column numbers: left out"]
        values = values[1:]
    if wide == columns:
        if index:
            oddities = [*oddities, "no index column: every column is read as a number"]
        return Sheet(values, tuple(oddities))
    rows = values[:, 0]
    wrong = ~np.isfinite(rows) | (rows != np.round(rows))
    wrong[1:] |= np.diff(rows) <= 0
    if wrong.any() and not index:
        raise MgkitError(
            f"{path} has {wide} columns, one more than expected, and its first is not a running index: it is another "
            "kind of file."
        )
    if wrong.any():
        at = int(wrong.argmax())
        place = f"after {rows[at - 1]:g}" if at else "first"
        raise MgkitError(
            f"{path}: column 1 is a running index, but {rows[at]:g} comes {place}: rows are missing, doubled or out of "
            "order; copy the file again, or correct them."
        )
    if not index:
        oddities = [*oddities, "an index column where none is expected: left out"]
    values = values[:, 1:]
    skipped = rows[-1] - rows[0] + 1 - len(rows)
    if skipped:  # frames that were not written: they keep their place
        if rows[0] != 0 or rows[-1] > 10_000_000:
            raise MgkitError(
                f"{path}: the index runs from {rows[0]:.0f} to {rows[-1]:.0f} in {len(rows)} rows, so that the frame "
                "of a row is not certain: write one row a frame."
            )
        placed = np.full((int(rows[-1]) + 1, columns), np.nan, dtype=np.float32)
        placed[rows.astype(np.int64)] = values
        values = placed
        oddities = [*oddities, f"an index that leaves out {skipped:.0f} frames: nobody is seen in them"]
    return Sheet(values, tuple(oddities))


def _read_xlsx(path: Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    import python_calamine

    oddities: list[str] = []
    try:
        book = python_calamine.CalamineWorkbook.from_path(path)
        sheet = book.get_sheet_by_index(0)
        names = book.sheet_names
        # Empty columns on the left are left out of each row, empty rows above are not.
        left = sheet.start[1] if sheet.start else 0
        values, as_text, header = _numbers(sheet.iter_rows(), left, path)
    except (python_calamine.CalamineError, OSError) as error:
        raise MgkitError(f"{path} is not a readable spreadsheet ({error}): copy it again.") from None
    if len(names) > 1:
        oddities.append(f"{len(names)} sheets: only the first, {names[0]!r}, is read")
    if header:
        oddities.append("a header: left out")
    if as_text:
        oddities.append(f"{as_text} numbers stored as text: read as numbers")
    return values, oddities


def _numbers(rows: Iterator[list[Any]], left: int, path: Path) -> tuple[npt.NDArray[np.float32], int, bool]:
    """(T, C) of spreadsheet rows, how many numbers were text, and whether a first row of words was left out."""
    done: list[npt.NDArray[np.float32]] = []
    as_text, header = 0, False
    for number, row in enumerate(rows, start=1):
        try:
            line = np.array(row, dtype=np.float32)
            if any(isinstance(cell, str) for cell in row):
                raise ValueError
        except (TypeError, ValueError):
            line = np.full(len(row), np.nan, dtype=np.float32)
            wrong = []
            for i, cell in enumerate(row):
                if isinstance(cell, str) and is_number(cell):
                    line[i] = float(cell)
                    as_text += 1
                elif isinstance(cell, float | int):
                    line[i] = cell
                elif cell != "":
                    wrong.append((i, cell))
            if number == 1 and wrong and len(wrong) >= sum(cell != "" for cell in row) - 1:
                header, as_text = True, 0
                continue
            if wrong:
                column, cell = wrong[0]
                raise MgkitError(
                    f"{path} row {number} column {left + column + 1} is {str(cell)!r}, not a number: correct the cell, "
                    "or empty it where nothing was seen."
                ) from None
        done.append(np.concatenate([np.full(left, np.nan, np.float32), line]))
    if not done:
        return np.zeros((0, 0), dtype=np.float32), as_text, header
    return np.stack(done), as_text, header


def _read_csv(path: Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    import pandas as pd

    text, oddities = read_text(path)
    whole = text.rstrip("\n ")
    blank = text[len(whole) :].count("\n") - 1
    if blank > 0:
        oddities.append(f"{blank} blank line{'s' if blank > 1 else ''} at its end")
    if not whole:
        raise MgkitError(f"{path} is empty: copy it again.")
    first = whole.split("\n", 1)[0]
    mark = delimiter_of(first)
    if mark == ";":
        oddities.append("semicolons between the cells")
    cells = first.split(mark) if mark != " " else first.split()
    words = [cell for cell in cells if cell.strip() and not is_number(cell.replace(",", "."))]
    header = len(words) >= sum(bool(cell.strip()) for cell in cells) - 1 and bool(words)
    if header:
        oddities.append(f"a header ({some(cells, 3)}): left out")
    lines = whole.split("\n")
    for number, line in enumerate(lines, start=1):
        count = line.count(mark) + 1 if mark != " " else len(line.split())
        if count != len(cells) and line.strip():  # a cell that is missing would shift all that follow
            raise MgkitError(
                f"{path} row {number} has {count} cells, not {len(cells)} as the first: it was cut or edited; copy it "
                "again, or correct the row."
            )
    try:
        frame = pd.read_csv(
            io.StringIO(whole), header=None, skiprows=int(header), skip_blank_lines=False, low_memory=False,
            sep=r"\s+" if mark == " " else mark, decimal="," if mark == ";" and "," in whole else ".",
            quoting=csv.QUOTE_NONE,
        )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise MgkitError(f"{path} has a header and no rows: copy it again.") from None
    except pd.errors.ParserError as error:
        raise MgkitError(f"{path} is not a readable table ({str(error).strip()}): copy it again.") from None
    for column, kind in enumerate(frame.dtypes):
        if kind.kind not in "fiu":
            numbers = pd.to_numeric(frame[column], errors="coerce")
            wrong = numbers.isna() & frame[column].notna()
            if wrong.any():
                row = int(wrong.to_numpy().argmax())
                raise MgkitError(
                    f"{path} row {row + 1 + header} column {column + 1} is {str(frame.at[row, column])!r}, not a "
                    "number: correct the cell, or empty it where nothing was seen."
                )
            frame[column] = numbers
    return frame.to_numpy(dtype=np.float32), oddities


def empty_cells(values: npt.NDArray[np.float32]) -> str:
    """In words, which cells of a part of a table hold no number; "" where all do."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return ""
    frames = np.flatnonzero(bad.any(1))
    return f"{bad.sum()} cells in {len(frames)} frames ({some(frames)} of the clip) hold no number: not seen"
