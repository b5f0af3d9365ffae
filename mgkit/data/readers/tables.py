"""Text tables and sheets of numbers as people really save them: a byte-order mark, Windows line ends, semicolons, xlsx.

`read_rows`, `read_spans` and `read_pairs` read small tables of words, `read_sheet` large ones of numbers, a row per
frame. What is repaired on reading is reported; a cell that cannot be read is an error with file, row and value.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.readers import note, refuse
from mgkit.errors import MgkitError, counted, some
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
        """Number of frames; 0 where the row is not a clip."""
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
    """The character between the cells of a line: semicolon, tab, comma, or else a blank."""
    counts = {mark: line.count(mark) for mark in ";\t,"}  # `0,5;1,2` is two cells with decimal commas
    return next((mark for mark in ";\t," if counts[mark]), " ")


def is_number(cell: str) -> bool:
    """True if a cell holds a number."""
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
    """Read the rows of a small table. Blank lines, and a header where there is one, are left out and reported.

    Args:
        path: the file.
        columns: number of cells in a row; a row of another length is a problem.
        numbers: columns that hold numbers: a first row with words in all of them is a header.
        titles: words of the first column, in lower case, that mark the first row as a header, which is not reported.
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
        found.append(counted(blank, "blank line"))
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
    first = rows[0].cells if rows else ("",)
    if first[0].lower() in titles:
        rows.pop(0)
    elif numbers and len(first) == columns and not any(is_number(first[i]) or not first[i] for i in numbers):
        found.append(f"a header ({some(rows.pop(0).cells)})")
    if found:
        report.append(note("text format", f"{path.name} has {some(found, 9)}: read anyway"))
    good = []
    for row in rows:
        if len(row.cells) != columns:
            problems.append(f"{path} row {row.line} has {counted(len(row.cells), 'cell')}, not {columns}")
        else:
            good.append(row)
    return good


def whole(cell: str) -> int | None:
    """The whole number in a cell (`7`, `7.0`), or None."""
    return int(float(cell)) if is_number(cell) and float(cell).is_integer() else None


def read_spans(path: Path, *, base: int, report: Report, problems: list[str]) -> list[Span]:
    """Read the rows `class, first frame, last frame` of a label file; the last frame belongs to the clip.

    A clip that ends before it starts, or starts before the video, is reported and returned as it is: `prepare` leaves
    it out like any other clip that cannot be cut.

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
        detail = f"{path.name} row {some(early)} begins before the row above: clips are still numbered by row"
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
    """Read two columns `video, value` from a csv file (with or without a header) or a mapping.

    None gives {}. A key may carry a file suffix or backslashes, and may have lost its leading zeros in a spreadsheet.
    Rows of unknown videos and videos without a row are reported.

    Args:
        source: the file or mapping.
        keys: the videos there are.
        what: what the two columns are called in messages.
        report: what was repaired is added to it.
        suffixes: file suffixes that a key may carry.

    Raises:
        MgkitError: a broken file, an empty value, two values for one video, or none of the videos in any row.
    """
    problems: list[str] = []
    if source is None:
        return {}
    if isinstance(source, Mapping):
        where, rows = "the mapping", [Row(i, (str(k), str(v))) for i, (k, v) in enumerate(source.items())]
    else:
        where = str(source)
        titles = {"clip", "video", "id", "name", "file", "filename", "path", "video_id", "clip_id"} - set(
            keys
        )
        rows = read_rows(Path(source), 2, titles=titles, report=report, problems=problems)
    numbered = {int(key): key for key in keys if key.isdecimal()}
    pairs: dict[str, str] = {}
    unknown, padded = [], []
    for row in rows:
        key, value = row.cells
        key = key if key in keys else key.replace("\\", "/")
        ending = next((suffix for suffix in suffixes if key.lower().endswith(suffix)), "")
        if key not in keys and ending:
            key = key[: -len(ending)]
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
    if rows and not pairs:
        raise MgkitError(
            f"{where}: no row is of a {what[0]} that is there: it has {some(unknown, 3)}, and there are "
            f"{some(sorted(keys), 3)}. Write their names in its first column."
        )
    if padded:
        report.append(note("leading zeros", f"{where} lost those of {some(padded)}: put back"))
    if unknown:
        report.append(note(f"{what[1]} of an unknown {what[0]}", f"{where}: {some(unknown)}: not used"))
    absent = sorted(set(keys) - set(pairs))
    if absent:
        report.append(note(f"no {what[1]} given", f"{where} has no row for {what[0]} {some(absent)}"))
    return pairs


# --- sheets of numbers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table of numbers and what was odd about its file.

    Attributes:
        values: (T, C) float32, one row per frame; NaN = an empty cell. Not to be written to.
        oddities: in words, about the whole file.
    """

    values: npt.NDArray[np.float32]
    oddities: tuple[str, ...]


def read_sheet(path: Path, columns: int, *, index: bool, cache: Path | None = None) -> Sheet:
    """Read a .xlsx or .csv file of numbers.

    Args:
        path: the file. Of a spreadsheet the first sheet is read.
        columns: numbers in a row, not counting an index column.
        index: the first column should be a running index; it is reported if that differs.
        cache: folder where a spreadsheet is kept in a quick form, under a name made of its own, its size and its time
            of change. csv files are quick as they are.

    Returns:
        The table. A second call in the same process does not read it again.

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
    spreadsheet = path.suffix.lower() == ".xlsx"
    if cache is None or not spreadsheet:
        return _checked(*(_read_xlsx if spreadsheet else _read_csv)(path), path, columns, index)
    kept = cache / f"{path.stem}-{size}-{changed}.npy"
    if kept.is_file():
        try:
            values = np.load(kept)
            oddities = tuple(read_json(kept.with_suffix(".json")))
        except (MgkitError, OSError, ValueError, EOFError):
            pass  # damaged: made again
        else:
            if values.ndim == 2 and values.shape[1] == columns and values.dtype == np.float32:
                return Sheet(values, oddities)
    sheet = _checked(*_read_xlsx(path), path, columns, index)
    write_json(kept.with_suffix(".json"), list(sheet.oddities))
    with atomic(kept) as temporary:  # last: without it the other file means nothing
        np.save(temporary, sheet.values)
    return sheet


def _read_xlsx(path: Path) -> tuple[pd.DataFrame, bool, list[str]]:
    """Cells of the first sheet without a header of words, whether there was one, and what was odd."""
    # Not pandas.read_excel, which reads with the same library but takes twice as long.
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_path(path)
        rows = book.get_sheet_by_index(0).to_python(skip_empty_area=False)
        names = book.sheet_names
    except (python_calamine.CalamineError, OSError) as error:
        raise MgkitError(f"{path} is not a readable spreadsheet ({error}): copy it again.") from None
    found = [f"{len(names)} sheets: only the first, {names[0]!r}, is read"] if len(names) > 1 else []
    header = bool(rows) and _is_header(rows[0])
    if header:
        found.append(f"a header ({some(rows[0], 3)}): left out")
    return pd.DataFrame(rows[int(header) :]), header, found


def _read_csv(path: Path) -> tuple[pd.DataFrame, bool, list[str]]:
    """Cells without a header of words, whether there was one, and what was odd."""
    text, found = read_text(path)
    whole = text.rstrip("\n ")
    blank = text[len(whole) :].count("\n") - 1
    if blank > 0:
        found.append(f"{counted(blank, 'blank line')} at its end")
    if not whole:
        raise MgkitError(f"{path} is empty: copy it again.")
    lines = whole.split("\n")
    mark = delimiter_of(lines[0])
    if mark == ";":
        found.append("semicolons between the cells")
    cells = lines[0].split(mark) if mark != " " else lines[0].split()
    header = _is_header([cell.strip().replace(",", ".") for cell in cells])
    if header:
        found.append(f"a header ({some(cells, 3)}): left out")
    for number, line in enumerate(lines, start=1):
        count = line.count(mark) + 1 if mark != " " else len(line.split())
        if count != len(cells) and line.strip():  # a cell that is missing would shift all that follow
            raise MgkitError(
                f"{path} row {number} has {counted(count, 'cell')}, not {len(cells)} as the first: it was cut or "
                "edited; copy it again, or correct the row."
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
    return frame, header, found


def _is_header(cells: Sequence[Any]) -> bool:
    """True for a row of words; one cell of it, the index, may be a number."""
    filled = [cell for cell in cells if cell != ""]
    words = [cell for cell in filled if isinstance(cell, str) and not is_number(cell)]
    return bool(words) and len(words) >= len(filled) - 1


def _checked(
    frame: pd.DataFrame, header: bool, oddities: list[str], path: Path, columns: int, index: bool
) -> Sheet:
    """Cells as numbers, without a header of numbers and without an index column, in the expected shape."""
    values, as_text = _numbers(frame, header, path)
    if as_text:
        oddities = [*oddities, f"{as_text} numbers stored as text: read as numbers"]
    while values.shape[1] > columns and np.isnan(values[:, -1]).all():
        values = values[:, :-1]  # formatted, never filled
    wide = values.shape[1]
    if len(values) == 0 or wide not in (columns, columns + 1):
        raise MgkitError(
            f"{path} has {counted(len(values), 'row')} of {counted(wide, 'column')}; {columns} numbers per frame are "
            f"expected{', after an index' if index else ''}: it is cut short, or another kind of file."
        )
    if len(values) > 1 and np.array_equal(values[0, 1:], np.arange(wide - 1) + values[0, 1]) and wide > 2:
        oddities = [*oddities, "a header of column numbers: left out"]
        values = values[1:]
    if wide == columns:
        if index:
            oddities = [*oddities, "no index column: every column is read as a number"]
        return Sheet(values, tuple(oddities))

    # One column more than expected: it must be an index.
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
    if skipped:  # frames that were not written keep their place
        if rows[0] != 0 or rows[-1] > 10_000_000:
            raise MgkitError(
                f"{path}: the index runs from {rows[0]:.0f} to {rows[-1]:.0f} in {counted(len(rows), 'row')}, so that "
                "the frame of a row is not certain: write one row per frame."
            )
        placed = np.full((int(rows[-1]) + 1, columns), np.nan, dtype=np.float32)
        placed[rows.astype(np.int64)] = values
        values = placed
        oddities = [
            *oddities,
            f"an index that leaves out {counted(int(skipped), 'frame')}: nobody is seen in them",
        ]
    return Sheet(values, tuple(oddities))


def _numbers(frame: pd.DataFrame, header: bool, path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """(T, C), and the number of cells whose number was stored as text; any other text is refused by row and column."""
    as_text = 0
    for column, kind in enumerate(frame.dtypes):
        if kind.kind in "fiu":
            continue
        numbers = np.full(len(frame), np.nan)
        for row, cell in enumerate(frame[column]):
            if isinstance(cell, str) and is_number(cell):
                numbers[row] = float(cell)
                as_text += 1
            elif isinstance(cell, float | int):
                numbers[row] = cell
            elif cell is not None and cell != "":
                raise MgkitError(
                    f"{path} row {row + 1 + header} column {column + 1} is {str(cell)!r}, not a number: correct the "
                    "cell, or empty it where nothing was seen."
                )
        frame[column] = numbers
    return frame.to_numpy(dtype=np.float32), as_text


def empty_cells(values: npt.NDArray[np.float32]) -> str:
    """Which cells of a part of a table hold no number, in words; "" where all do."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return ""
    frames = np.flatnonzero(bad.any(1))
    return (
        f"no number in {counted(bad.sum(), 'cell')} of {counted(len(frames), 'frame')} ({some(frames)} of the clip): "
        "not seen"
    )
