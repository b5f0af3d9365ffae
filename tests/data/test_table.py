"""The clip table: finding clips by their ids, and holding it in few bytes."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import load_clips
from mgkit.data.table import COLUMNS, Places, Rows, ascending, check_table, find_ids, narrow
from mgkit.errors import MgkitError
from tests.tiny import tiny_clips

IDS = ["", "a", "a1", "a10", "a2", "Z", "é", "日本", "b"]


@pytest.mark.parametrize("ids", [sorted(IDS), IDS, ["b"], []], ids=["in order", "in none", "one", "none"])
@pytest.mark.parametrize("kind", ["str", "object"])
def test_ids_are_found_where_a_dictionary_has_them(ids: list[str], kind: str) -> None:
    column = pd.Series(ids, dtype=kind)
    known = {clip_id: i for i, clip_id in enumerate(ids)}
    asked = [*reversed(IDS), "a0", "zz", "~", "日"]
    expected = [known.get(clip_id, -1) for clip_id in asked]
    places = Places(column)
    assert [places.of(clip_id) for clip_id in asked] == expected
    np.testing.assert_array_equal(find_ids(column, asked), expected)
    assert find_ids(column, []).shape == (0,)


def test_ids_that_repeat_are_not_ascending() -> None:
    assert ascending(pd.Series(["a", "b", "c"], dtype="str"))
    assert not ascending(pd.Series(["a", "b", "b"], dtype="str"))
    assert not ascending(pd.Series(["b", "a"], dtype="str"))


def test_few_of_many_are_selected_as_many_are(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 17}, videos=False)
    some = [clips.ids[40]]
    assert clips.select(some).ids == some
    assert clips.select(reversed(clips.ids)).ids == clips.ids[::-1]
    with pytest.raises(MgkitError, match="no clip x"):
        clips.select(["x"])


def test_checking_a_table_holds_no_number_twice(tmp_path: Path) -> None:
    """Of ten million clips a copy would be a gigabyte; and what was read can be written to."""
    clips = tiny_clips(tmp_path, counts={"train": 2}, videos=False)
    checked = check_table(clips.table, clips.classes, "here")
    for column in ("label", "pose_offset", "crop_x"):
        assert np.shares_memory(checked[column].to_numpy(), clips.table[column].to_numpy())
    table = load_clips(tmp_path).table
    table.loc[0, "frames"] = 7
    assert table["frames"].tolist()[:2] == [7, 10]
    assert clips.table["frames"].tolist()[:2] == [10, 10]


@pytest.mark.parametrize(
    ("values", "kind", "held"),
    [
        ([-128, 127], "int64", "int8"),
        ([0, 128], "int64", "int16"),
        ([-32769, 0], "int64", "int32"),
        ([-1, 2**31], "int64", "int64"),
        ([-0.0, 25.0, 2048.0], "float64", "float16"),
        ([0.0, 65537.0], "float64", "float32"),
        ([29.97, 1e300], "float64", "float64"),
        (["a", "", "a", ""], "str", "category"),
        (["a", "b", "日本"], "str", "str"),
    ],
)
def test_a_narrow_column_gives_back_every_bit(values: list[object], kind: str, held: str) -> None:
    column = pd.Series(values, dtype=kind, name="x")
    small = narrow(column)
    assert small.dtype == held
    pd.testing.assert_series_equal(small.astype(kind), column)
    if kind == "float64":
        assert small.astype(kind).to_numpy().tobytes() == column.to_numpy().tobytes()


def rows_of(count: int) -> tuple[Rows, pd.DataFrame]:
    """Narrow rows, and the same as a table."""
    table = pd.DataFrame(
        {
            "clip_id": pd.Series([f"c{i}" for i in range(count)], dtype="str"),
            "split": pd.Series(["train", "val"] * (count // 2), dtype="str"),
            "persons": np.full(count, 120),
            "frames": np.full(count, 30_000),
            "pose_offset": 3_600_000 * np.arange(count),
            "crop_x": np.arange(count) / 4,
        }
    )
    return Rows(pd.DataFrame({name: narrow(column) for name, column in table.items()}), whole=False), table


def test_rows_of_rows_are_those_of_the_table() -> None:
    rows, table = rows_of(1000)
    assert rows.narrow("persons").dtype == "int8"
    for first in (
        np.arange(999, 200, -1),
        np.arange(10),
        np.arange(0),
    ):  # numbers beside the columns, and copies
        for second in (slice(None), slice(5, None), slice(0, 3)):
            numbers = np.arange(len(first))[second]
            some, expected = rows.take(first).take(numbers), table.iloc[first].iloc[numbers]
            expected = expected.reset_index(drop=True)
            assert len(some) == len(expected)
            for name in table:
                pd.testing.assert_series_equal(some.column(name), expected[name])
            assert [some.value("clip_id", i) for i in range(len(some))] == expected["clip_id"].tolist()
            ends = expected["pose_offset"] + expected["persons"] * expected["frames"]
            np.testing.assert_array_equal(some.pose_ends(), ends)
            pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(some)).table, expected)
            changed = some.assign(split=["unused"] * len(some))
            pd.testing.assert_frame_equal(
                changed.table, expected.assign(split="unused").astype({"split": "str"})
            )
            pd.testing.assert_frame_equal(some.table, expected)
    pd.testing.assert_frame_equal(rows.table, table)


def test_a_selection_is_sent_without_the_others() -> None:
    rows, _ = rows_of(1000)
    assert len(pickle.dumps(rows.take(np.arange(600)))) < 0.7 * len(pickle.dumps(rows))


def test_what_is_written_to_the_table_stays(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 4, "val": 2}, videos=False)
    train = clips.split("train")
    clips.table["fps"] = 12.5
    clips.table.loc[0, "split"] = "test"
    assert clips.column("fps").unique().tolist() == [12.5]
    assert clips.splits == ["test", "train", "val"]
    assert len(clips.split("train")) == len(train) - 1
    assert (train.table["fps"] != 12.5).all()


def test_a_folder_is_opened_in_few_bytes_and_shown_in_the_types_of_the_columns(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 40, "val": 8}, videos=False)
    assert clips.rows.narrow("label").dtype == "int8"
    long = clips.where(clips.column("frames") > clips.column("frames").min())
    assert [clips.row(i)["frames"] for i in long.ids] == long.column("frames").tolist()
    assert {str(name): str(kind) for name, kind in clips.table.dtypes.items()} == COLUMNS
    with pytest.raises(MgkitError, match=f"must be {len(clips)} booleans"):
        clips.where(np.ones(3, dtype=bool))
    with pytest.raises(MgkitError, match="did you mean 'subject'"):
        clips.column("subjects")


def test_a_row_has_the_types_of_the_columns_however_it_is_held() -> None:
    """Products of narrow numbers would overflow."""
    small, table = rows_of(300)
    for rows in (small, small.take(np.arange(10, 300)), small.take(np.arange(10, 20)), Rows(table)):
        place = 5 if len(rows) == 300 else 0
        row, expected = rows.row(place), dict(rows.table.iloc[place].items())
        assert row == expected
        assert {name: type(value) for name, value in row.items()} == {n: type(v) for n, v in expected.items()}
