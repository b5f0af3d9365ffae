"""Labels from elsewhere: clips that get one move to the training split, and the table keeps where it is from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mgkit.data.clips import Clips, load_clips
from mgkit.errors import MgkitError
from tests.tiny import tiny_clips


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    counts = {"train": 1, "val": 1, "unlabelled": 2, "test": 1}
    return tiny_clips(tmp_path / "clips", counts=counts, videos=False)


def notes(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["clip_id", "tags", "label"])


def given(clips: Clips, *names: str) -> pd.DataFrame:
    ids = clips.split("unlabelled").ids[: len(names)]
    return pd.DataFrame({"clip_id": ids, "label": names, "source": "pseudo-label of a"})


def test_clips_with_a_label_move_to_the_training_split(clips: Clips) -> None:
    labels = given(clips, "blue still", "red moving")
    more = clips.with_labels(labels)
    for clip_id, name in zip(labels["clip_id"], labels["label"], strict=True):
        row = more.row(clip_id)
        assert (row["split"], clips.classes.names[row["label"]]) == ("train", name)
        assert row["label_source"] == "pseudo-label of a"
    others = [clip_id for clip_id in clips.ids if clip_id not in set(labels["clip_id"])]
    assert all(
        more.row(i)["label_source"] == "" and more.row(i)["split"] == clips.row(i)["split"] for i in others
    )
    again = load_clips(more.path)
    assert again.table.equals(more.table)
    assert again.fingerprint == more.fingerprint
    assert more.report[-1]["detail"].startswith("2 clips moved to 'train'")
    assert more.split_table.startswith("labelled-")


def test_a_review_corrects_and_refuses_them(clips: Clips) -> None:
    labels = given(clips, "blue still", "red moving", "red still")
    first, second, third = labels["clip_id"]
    seen = notes((first, "label wrong", "red still"), (second, "label wrong", ""), (third, "", ""))
    more = clips.with_labels(labels, notes=seen)
    assert more.classes.names[more.row(first)["label"]] == "red still"
    assert more.row(first)["label_source"] == "review"
    assert more.row(third)["label_source"] == "pseudo-label of a"
    assert more.row(second)["split"] == "unlabelled"
    assert more.row(second)["label"] == clips.row(second)["label"]
    assert {"pseudo-label corrected", "pseudo-label refused"} <= {entry["what"] for entry in more.report}


def test_notes_alone_are_labels_of_a_person(clips: Clips) -> None:
    ids = clips.split("unlabelled").ids
    tested = clips.split("test").ids[0]
    seen = notes(
        (ids[0], "label wrong", "red still"), (ids[1], "occluded", ""), (tested, "label wrong", "red still")
    )
    more = clips.with_labels(seen)
    assert more.row(tested)["split"] == "test"
    assert "label not taken" in {entry["what"] for entry in more.report}
    assert more.row(ids[0])["label_source"] == "review"
    assert more.row(ids[1])["split"] == "unlabelled"
    twice = more.with_labels(pd.DataFrame({"clip_id": [ids[1]], "label": ["red still"]}))
    assert [twice.row(i)["label_source"] for i in ids[:3]] == ["review", "review", ""]


def test_labels_that_cannot_be_used_are_refused(clips: Clips) -> None:
    ids = clips.split("unlabelled").ids

    def refused(match: str, *rows: tuple[str, str]) -> None:
        with pytest.raises(MgkitError, match=match):
            clips.with_labels(pd.DataFrame(rows, columns=["clip_id", "label"]))

    refused("no clip 'nobody'", ("nobody", "red still"))
    refused("twice", (ids[0], "red still"), (ids[0], "red still"))
    refused("no class 'green'", (ids[0], "green"))
    refused("none of 1 labels", (ids[0], ""))
    for split in ("train", "val", "test"):
        refused(f"in the split '{split}'", (clips.split(split).ids[0], "red still"))
    with pytest.raises(MgkitError, match="clip_id and label"):
        clips.with_labels(pd.DataFrame({"clip": ids}))
    assert not (clips.root / "splits").exists()
