"""Small text tables as people really save them: a byte-order mark, Windows line ends, semicolons, a header.

What is repaired on reading is reported; a cell that cannot be read is a problem with file, row and value.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mgkit.data.readers import note, refuse
from mgkit.errors import MgkitError, some

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
