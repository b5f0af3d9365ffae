"""Clips as a review leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mgkit.data.clips import Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import create_run
from tests.tiny import CLASSES, tiny_clips


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    return tiny_clips(tmp_path / "clips", videos=False)


def notes(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["clip_id", "tags", "label"])


MIXED = notes(
    ("train_0_0", "label wrong", "blue still"),
    ("train_0_1", "label wrong", ""),
    ("train_1_0", "ambiguous; occluded", ""),
    ("train_1_1", "label wrong; occluded", "red still"),
    ("val_2_0", "bad pose", ""),
    ("test_3_0", "label wrong", ""),
)


def of(clips: Clips, clip_id: str) -> tuple[str, str]:
    row = clips.row(clip_id)
    return row["split"], CLASSES.names[row["label"]]


def test_wrong_labels_are_put_right_and_tagged_clips_left_out(clips: Clips) -> None:
    made = clips.reviewed(MIXED, exclude=["label wrong", "occluded"])
    assert of(made, "train_0_0") == ("train", "blue still")
    assert of(made, "train_0_1") == ("unused", "red still")
    assert of(made, "train_1_0") == ("unused", "red moving")
    assert of(made, "train_1_1") == ("unused", "red moving"), "occluded, whatever its class"
    assert of(made, "val_2_0") == ("val", "blue still")
    assert of(made, "test_3_0") == ("test", "blue moving"), "the test set stays what it is"
    assert len(made) == len(clips)
    what = {entry["what"]: entry["detail"] for entry in made.report}
    assert what["excluded after review"].startswith("3 clips tagged label wrong, occluded: train_0_1,")
    assert what["relabelled after review"].startswith("1 clip given")
    assert "test_3_0" in what["reviewed, not changed"]
    assert clips.row("train_0_0")["label"] == 0, "these clips are new ones"


def test_they_are_found_again_by_their_path_and_by_a_run(clips: Clips, tmp_path: Path) -> None:
    made = clips.reviewed(MIXED)
    assert made.path.name.startswith("reviewed-")
    again = load_clips(made.path)
    assert again.fingerprint == made.fingerprint != clips.fingerprint
    pd.testing.assert_frame_equal(again.table, made.table)
    run = create_run(tmp_path / "run", recipe={}, clips=made, pathways=["pose"], environment={})
    found = run.clips()
    assert found.fingerprint == made.fingerprint
    assert of(found, "train_0_0") == ("train", "blue still")
    assert clips.reviewed(MIXED).path == made.path, "the same notes give the same table"
    # Another fingerprint is noticed when the table is changed behind the run's back.
    text = made.path.read_text().replace("train_0_0,train,blue still", "train_0_0,train,red still")
    made.path.write_text(text)
    with pytest.raises(MgkitError, match="does not hold the clips"):
        run.clips()


def test_labels_only_are_another_fingerprint(clips: Clips) -> None:
    one = clips.reviewed(notes(("train_0_0", "label wrong", "blue still")), name="one")
    two = clips.reviewed(notes(("train_0_0", "label wrong", "red moving")), name="two")
    assert len({clips.fingerprint, one.fingerprint, two.fingerprint}) == 3
    assert load_clips(clips.root).fingerprint == clips.fingerprint


def test_folds_of_reviewed_clips_keep_the_labels(clips: Clips) -> None:
    made = clips.reviewed(notes(("train_0_0", "label wrong", "blue still")))
    fold = made.folds(2, group="clip")[0]
    again = load_clips(fold.path)
    assert again.row("train_0_0")["label"] == 2
    assert again.fingerprint == fold.fingerprint
    # ... and the other way round.
    reviewed = clips.folds(2, group="clip")[0].reviewed(MIXED, exclude=["bad pose"], relabel=False)
    assert reviewed.path.name.startswith("clip-2-fold0-reviewed-")
    assert load_clips(reviewed.path).row("val_2_0")["split"] == "unused"


def test_the_test_set_on_demand(clips: Clips) -> None:
    only = MIXED[MIXED["clip_id"] == "test_3_0"]
    with pytest.raises(MgkitError, match="1 of them are about test: pass splits="):
        clips.reviewed(only)
    made = clips.reviewed(only, splits=["test"])
    assert made.row("test_3_0")["split"] == "unused"
    assert "none left in test" in str(made.report)


@pytest.mark.parametrize(
    "call, message",
    [
        ({"exclude": ["sleepy"]}, "there is no tag sleepy"),
        ({"splits": ["nowhere"]}, "has no split nowhere"),
        ({"exclude": [], "relabel": False}, "none of 6 notes changes a clip of train, val"),
        ({"notes": notes(("nobody", "occluded", ""))}, "has no clip nobody, which the notes name"),
        ({"notes": notes(("train_0_0", "Label wrong", ""))}, "the notes have the tag 'Label wrong': use"),
        ({"notes": notes(("train_0_0", "occluded, bad pose", ""))}, "the tag 'occluded, bad pose'"),
        (
            {"notes": notes(("train_0_0", "", "blue still"), ("train_0_0", "", "red moving"))},
            "several notes on clip train_0_0: keep one",
        ),
        ({"notes": notes(("train_0_0", "", "green"))}, "there is no class 'green'"),
        ({"notes": pd.DataFrame({"clip_id": ["train_0_0"]})}, "lack the column tags, label"),
    ],
)
def test_what_cannot_be_applied(clips: Clips, call: dict[str, Any], message: str) -> None:
    given = {"notes": MIXED, **call}
    with pytest.raises(MgkitError, match=message):
        clips.reviewed(given.pop("notes"), **given)
    assert not (clips.root / "splits").exists()


def test_a_label_of_a_table_that_is_no_class(clips: Clips) -> None:
    made = clips.reviewed(MIXED)
    made.path.write_text(made.path.read_text().replace("train_0_0,train,blue still", "train_0_0,train,green"))
    with pytest.raises(MgkitError, match="has the label 'green', which is not a class") as caught:
        load_clips(made.path)
    assert str(made.path) in str(caught.value)
    # An empty field leaves the label of the folder.
    made.path.write_text(made.path.read_text().replace("green", ""))
    assert load_clips(made.path).row("train_0_0")["label"] == 0
