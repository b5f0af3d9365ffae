"""Spoilt raw trees through `prepare`: each ends clearly. A hundred of them: `python -m tests.data.corruptions`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.corruptions import LAYOUTS, Whole, outcome, prepare_whole, write_trees


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Whole]:
    scratch = tmp_path_factory.mktemp("whole")
    return prepare_whole(write_trees(scratch), scratch)


@pytest.mark.slow
def test_the_whole_trees_are_prepared_as_they_were_written(whole: dict[str, Whole]) -> None:
    assert set(whole) == set(LAYOUTS)
    for made in whole.values():
        truth = {clip.clip_id: clip for clip in made.tree.clips}
        assert set(made.content) == set(truth)
        for clip_id, (_, split, *_rest) in made.content.items():
            assert split == truth[clip_id].split


@pytest.mark.slow
def test_whatever_breaks_ends_clearly(whole: dict[str, Whole], tmp_path: Path) -> None:
    outcomes = [outcome(seed, whole, tmp_path) for seed in range(200, 216)]
    assert [one for one in outcomes if not one.clear] == []
    assert {"refused", "reported"} <= {one.result for one in outcomes}
    assert list(tmp_path.iterdir()) == []
