"""Finding clips in a table by their ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import load_clips
from mgkit.data.table import Places, ascending, check_table, find_ids
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
