from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xlsxwriter

from mgkit.data.readers import tables as sheets
from mgkit.data.readers.tables import empty_cells, read_sheet
from mgkit.errors import MgkitError

NUMBERS = [[0.5, 2, 300], [4, 0, 6.25], [7, 8, 9]]


def xlsx(path: Path, rows: list[list[Any]], left: int = 0, top: int = 0, sheet: str = "") -> Path:
    book = xlsxwriter.Workbook(str(path), {"nan_inf_to_errors": True})
    page = book.add_worksheet()
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if isinstance(cell, str):
                page.write_string(top + i, left + j, cell)
            elif cell is not None:
                page.write(top + i, left + j, cell)
    if sheet:
        book.add_worksheet(sheet)
    book.close()
    return path


def csv(path: Path, rows: list[list[Any]], mark: str = ",", end: str = "\n", start: str = "") -> Path:
    lines = [mark.join("" if cell is None else str(cell) for cell in row) for row in rows]
    path.write_bytes((start + end.join(lines) + end).encode())
    return path


@pytest.mark.parametrize("write", [xlsx, csv])
@pytest.mark.parametrize(
    ("rows", "index", "oddity"),
    [
        (NUMBERS, False, ""),
        ([[i, *row] for i, row in enumerate(NUMBERS)], True, ""),
        ([[i, *row] for i, row in enumerate(NUMBERS, start=1)], True, ""),
        ([[i, *row] for i, row in enumerate(NUMBERS)], False, "an index column where none is expected"),
        (NUMBERS, True, "no index column"),
        ([["x0", "y0", "c0"], *NUMBERS], False, "a header"),
        ([[0, 1, 2], *NUMBERS], False, "a header of column numbers"),
        (
            [[None, 0, 1, 2], *([i, *row] for i, row in enumerate(NUMBERS))],
            True,
            "a header of column numbers",
        ),
        ([["frame", "a", "b", "c"], *([i, *row] for i, row in enumerate(NUMBERS))], True, "a header"),
    ],
)
def test_a_table_however_it_was_saved(
    tmp_path: Path, write: Any, rows: list[list[Any]], index: bool, oddity: str
) -> None:
    sheet = read_sheet(write(tmp_path / f"ü b.{write.__name__}", rows), 3, index=index)
    assert sheet.values.dtype == np.float32
    assert sheet.values.tolist() == NUMBERS
    assert len(sheet.oddities) == bool(oddity)
    assert oddity in " ".join(sheet.oddities)


@pytest.mark.parametrize("write", [xlsx, csv])
def test_empty_cells_are_not_numbers(tmp_path: Path, write: Any) -> None:
    rows = [[0.5, None, 300], [None, None, None], [7, 8, "nan"]]
    values = read_sheet(write(tmp_path / f"a.{write.__name__}", rows), 3, index=False).values
    assert np.isnan(values).tolist() == [[False, True, False], [True, True, True], [False, False, True]]
    assert empty_cells(values) == "no number in 5 cells of 3 frames (0, 1, 2 of the clip): not seen"
    assert empty_cells(np.zeros((2, 3), np.float32)) == ""


@pytest.mark.parametrize("write", [xlsx, csv])
def test_text_in_a_cell_is_named_by_row_and_column(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / f"a.{write.__name__}", [*NUMBERS, [1, "lost", 3], *NUMBERS])
    with pytest.raises(
        MgkitError, match=r"a\.\w+ row 4 column 2 is 'lost', not a number: correct the cell, or empty"
    ):
        read_sheet(path, 3, index=False)
    path = write(tmp_path / f"b.{write.__name__}", [["x", "y", "c"], *NUMBERS, [1, "lost", 3]])
    with pytest.raises(MgkitError, match="row 5 column 2 is 'lost'"):
        read_sheet(path, 3, index=False)


@pytest.mark.parametrize("write", [xlsx, csv])
def test_another_shape_is_refused(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / f"a.{write.__name__}", [[1, 2], [3, 4]])
    with pytest.raises(MgkitError, match=r"a\.\w+ has 2 rows of 2 columns; 3 numbers per frame are expected"):
        read_sheet(path, 3, index=False)
    path = write(tmp_path / f"b.{write.__name__}", [[5, 1, 0, 3], [5, 1, 0, 3]])
    with pytest.raises(
        MgkitError, match="has 4 columns, one more than expected, and its first is not a running"
    ):
        read_sheet(path, 3, index=False)
    with pytest.raises(
        MgkitError, match="column 1 is a running index, but 5 comes after 5: rows are missing, doubled"
    ):
        read_sheet(path, 3, index=True)
    path = write(tmp_path / f"c.{write.__name__}", [[0.5, 1, 0, 3], [5, 1, 0, 3]])
    with pytest.raises(MgkitError, match="column 1 is a running index, but 0.5 comes first"):
        read_sheet(path, 3, index=True)


@pytest.mark.parametrize("write", [xlsx, csv])
def test_an_index_that_leaves_out_frames_keeps_their_place(tmp_path: Path, write: Any) -> None:
    path = write(
        tmp_path / f"a.{write.__name__}", [[i, *row] for i, row in zip((0, 2, 5), NUMBERS, strict=True)]
    )
    sheet = read_sheet(path, 3, index=True)
    assert sheet.values[[0, 2, 5]].tolist() == NUMBERS
    assert np.isnan(sheet.values[[1, 3, 4]]).all()
    assert "an index that leaves out 3 frames" in sheet.oddities[0]
    path = write(
        tmp_path / f"b.{write.__name__}", [[i, *row] for i, row in zip((3, 4, 9), NUMBERS, strict=True)]
    )
    with pytest.raises(MgkitError, match="the index runs from 3 to 9 in 3 rows"):
        read_sheet(path, 3, index=True)


def test_csv_of_other_lands(tmp_path: Path) -> None:
    rows = [[str(cell).replace(".", ",") for cell in row] for row in NUMBERS]
    path = csv(tmp_path / "a.csv", rows, mark=";", end="\r\n", start="\ufeff")
    sheet = read_sheet(path, 3, index=False)
    assert sheet.values.tolist() == NUMBERS
    assert sheet.oddities == ("a byte-order mark", "Windows line ends", "semicolons between the cells")
    assert read_sheet(csv(tmp_path / "b.csv", NUMBERS, mark=" "), 3, index=False).values.tolist() == NUMBERS


def test_blank_lines_keep_the_frames_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2,9\n\n4,5,6\n\n\n")
    sheet = read_sheet(path, 3, index=False)
    assert np.isnan(sheet.values[1]).all()
    assert sheet.values[[0, 2]].tolist() == [[1, 2, 9], [4, 5, 6]]
    assert sheet.oddities == ("2 blank lines at its end",)
    for row in ("4,5,6,7", "4,5"):  # one less would shift all that follow
        path.write_text(f"1,2,9\n{row}\n")
        with pytest.raises(MgkitError, match=r"a\.csv row 2 has \d cells, not 3 as the first"):
            read_sheet(path, 3, index=False)
    path.write_text("x,y,c\n")
    with pytest.raises(MgkitError, match="has a header and no rows"):
        read_sheet(path, 3, index=False)
    path.write_text('1,2,9\n4,",5\n')
    with pytest.raises(MgkitError, match="row 2 column 2 is '\"', not a number"):
        read_sheet(path, 3, index=False)
    path.write_text("\n")
    with pytest.raises(MgkitError, match="is empty"):
        read_sheet(path, 3, index=False)


def test_empty_rows_and_columns_of_a_spreadsheet_keep_their_place(tmp_path: Path) -> None:
    sheet = read_sheet(xlsx(tmp_path / "a.xlsx", [[5, 6]], left=1, top=2), 3, index=False)
    np.testing.assert_equal(sheet.values, [[np.nan] * 3, [np.nan] * 3, [np.nan, 5, 6]])


def test_odd_cells_of_a_spreadsheet(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "a.xlsx", [["0.5", 2, 300], [4, 0, 6.25], [float("nan"), 8, 9]], sheet="notes")
    sheet = read_sheet(path, 3, index=False)
    assert sheet.values[:2].tolist() == NUMBERS[:2]
    assert np.isnan(sheet.values[2, 0])  # an error cell
    assert "2 sheets: only the first, 'Sheet1', is read" in sheet.oddities
    assert "1 numbers stored as text: read as numbers" in sheet.oddities


def test_damaged_spreadsheets_are_named(tmp_path: Path) -> None:
    whole = xlsx(tmp_path / "a.xlsx", NUMBERS).read_bytes()
    for damaged in (b"", whole[:200], b"not a spreadsheet"):
        (tmp_path / "a.xlsx").write_bytes(damaged)
        with pytest.raises(MgkitError, match=r"a\.xlsx is not a readable spreadsheet .*copy it again"):
            read_sheet(tmp_path / "a.xlsx", 3, index=False)
    xlsx(tmp_path / "e.xlsx", [])
    with pytest.raises(MgkitError, match=r"e\.xlsx has 0 rows"):
        read_sheet(tmp_path / "e.xlsx", 3, index=False)
    with pytest.raises(MgkitError, match=r"none\.xlsx cannot be read"):
        read_sheet(tmp_path / "none.xlsx", 3, index=False)


def test_a_spreadsheet_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = xlsx(tmp_path / "a.xlsx", [["x", "y", "c"], *NUMBERS]), tmp_path / "cache"
    conversions = []
    convert = sheets._read_xlsx
    monkeypatch.setattr(sheets, "_read_xlsx", lambda p: conversions.append(p) or convert(p))

    def fresh() -> sheets.Sheet:
        sheets._read.cache_clear()  # as another process would begin
        return read_sheet(path, 3, index=False, cache=cache)

    for _ in range(2):
        assert fresh().values.tolist() == NUMBERS
        assert fresh().oddities == ("a header (x, y, c): left out",)  # reported again from what was kept
    assert len(conversions) == 1
    kept = next(cache.glob("*.npy"))
    assert np.load(kept).dtype == np.float32
    assert not [p for p in cache.iterdir() if p.name.startswith(".")]

    kept.write_bytes(kept.read_bytes()[:100])  # a damaged copy is made again
    assert fresh().values.tolist() == NUMBERS
    assert len(conversions) == 2
    xlsx(path, NUMBERS[:2])
    os.utime(path, ns=(1, 1))
    assert fresh().values.tolist() == NUMBERS[:2]  # so is one of a changed source
    assert len(conversions) == 3


def test_an_interrupted_conversion_leaves_nothing_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = xlsx(tmp_path / "a.xlsx", NUMBERS), tmp_path / "cache"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            read_sheet(path, 3, index=False, cache=cache)
    assert not list(cache.glob("*.npy"))
    assert read_sheet(path, 3, index=False, cache=cache).values.tolist() == NUMBERS
