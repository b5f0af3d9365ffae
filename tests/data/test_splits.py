from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Classes, Clips, Folds, load_clips, write_clip_folder
from mgkit.data.splits import assign_folds, shown_split
from mgkit.errors import MgkitError
from mgkit.results.run.folder import create_run
from tests.tiny import TRIANGLE, tiny_clips, tiny_row


def many(root: Path, *, people: int = 12, seed: int = 0, test: bool = True) -> Clips:
    """Imbalanced clips: class k has about 2^-k of them; two videos per person; class 5 has a single clip."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(300):
        person = int(rng.integers(people))
        label = min(4, int(rng.geometric(0.5)) - 1)
        changes = {
            "subject": f"S{person}",
            "source": f"v{person}_{int(rng.integers(2))}",
            "start": i,
            "end": i + 10,
        }
        rows.append(
            tiny_row(f"c{i:03d}", label, split="val" if i % 9 == 0 else "train", persons=0, **changes)
        )
    rows.append(tiny_row("single", 5, subject="S3", source="v3_0", persons=0, start=999, end=1009))
    if test:
        rows += [tiny_row(f"t{i}", i % 5, split="test", subject="T", source="t", persons=0) for i in range(9)]
    names = Classes(("a", "b", "c", "d", "e", "rare", "never"))
    return write_clip_folder(root, rows, [None] * len(rows), names, TRIANGLE)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["subject", "source", "clip"])
@pytest.mark.parametrize("stratify", [True, False])
def test_each_clip_is_validated_once_and_no_group_is_cut(tmp_path: Path, group: str, stratify: bool) -> None:
    clips = many(tmp_path)
    folds = clips.folds(4, group=group, stratify=stratify)
    assert len(folds) == 4
    validated = [clip_id for fold in folds for clip_id in fold.split("val").ids]
    assert sorted(validated) == sorted(c for c in clips.ids if not c.startswith("t"))
    for fold in folds:
        assert fold.split("test").ids == clips.split("test").ids
        assert set(fold.splits) == {"train", "val", "test"}
        assert fold.ids == clips.ids
        if group != "clip":
            sides = [set(fold.split(name).table[group]) for name in ("train", "val")]
            assert not sides[0] & sides[1]
    summary = folds.summary()
    assert summary["all"].sum() == 301
    assert summary.loc["never", "all"] == 0


def unevenness(table: pd.DataFrame) -> float:
    """Chi-squared of class counts over the folds."""
    counts = table.drop(columns="all").to_numpy()
    mean = counts.mean(1, keepdims=True)
    return float(((counts - mean) ** 2 / np.maximum(1, mean)).sum())


def test_stratified_folds_are_more_alike_than_plain_ones_and_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    clips = many(tmp_path, people=20, test=False)
    stratified, plain = (clips.folds(4, stratify=how).summary() for how in (True, False))
    assert unevenness(stratified) < 0.8 * unevenness(plain)
    sizes = plain.drop(columns="all").sum()
    assert sizes.max() - sizes.min() <= 3
    groups = clips.table["subject"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pd.DataFrame(
            {
                fold: np.bincount(clips.labels[val], minlength=7)
                for fold, (_, val) in enumerate(
                    StratifiedGroupKFold(4).split(clips.labels, clips.labels, groups)
                )
            }
        )
    assert unevenness(stratified) <= unevenness(theirs.assign(all=0))


def test_rare_classes_are_reported_by_name(tmp_path: Path) -> None:
    folds = many(tmp_path).folds(4)
    where = next(i for i, fold in enumerate(folds) if "single" in fold.split("val").ids)
    text = "'rare' has 1 clip of 1 subject: no validation clip in 3 of 4 folds, "
    assert any(e["detail"] == f"{text}no training clip in fold {where}" for e in folds.report)
    assert {"what": "class without clips", "clip_id": "", "detail": "never: in no fold"} in folds.report
    assert folds.report == folds[0].report
    assert "2 notes" in repr(folds) or "notes in .report" in repr(folds)


def test_names_with_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    folds = many(tmp_path).folds(4)
    shown = Folds(folds.clips, [{"what": "rare class", "clip_id": "", "detail": "'<b>rare</b>' & \"more\""}])
    assert "&lt;b&gt;rare&lt;/b&gt;&#x27; &amp; &quot;more" in shown._repr_html_()


def test_folds_are_saved_and_the_same_call_gives_the_same(tmp_path: Path) -> None:
    clips = many(tmp_path)
    folds = clips.folds(3, group="source", seed=7)
    name = "source-3-seed7-fold1"
    assert folds[1].split_table == name
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "splits").iterdir()}
    again = clips.folds(3, group="source", seed=7)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "splits").iterdir()}
    for how in (load_clips(tmp_path, splits=name), load_clips(tmp_path / "splits" / f"{name}.csv"), again[1]):
        assert how.table.equals(folds[1].table)
        assert how.path == tmp_path / "splits" / f"{name}.csv"
        assert how.fingerprint == folds[1].fingerprint != clips.fingerprint
    assert f"splits/{name}.csv" in repr(folds[1])
    other = clips.folds(3, group="source", seed=8)
    assert any(not a.table.equals(b.table) for a, b in zip(folds, other, strict=True))
    with pytest.raises(MgkitError, match="holds other splits: give another name, or delete it"):
        clips.folds(3, group="source", seed=8, name="source-3-seed7")


def test_a_run_remembers_which_splits_it_was_made_with(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips", videos=False)
    fold = clips.folds(2, group="clip")[0]
    run = create_run(tmp_path / "run", recipe={}, clips=fold, pathways=["pose"], environment={})
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["root"].endswith(
        "clip-2-fold0.csv"
    )
    assert run.clips().fingerprint == fold.fingerprint
    assert run.clips().split("val").ids == fold.split("val").ids


def test_pooling_some_splits_leaves_the_others_unused(tmp_path: Path) -> None:
    clips = many(tmp_path)
    fold = clips.folds(3, splits=["train"])[0]
    assert set(fold.split("unused").ids) == set(clips.split("val").ids)
    assert set(fold.split("test").ids) == set(clips.split("test").ids)
    with_test = clips.folds(3, splits=["train", "val", "test"], name="all")[0]
    assert set(with_test.splits) == {"train", "val"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"k": 1}, "1 folds were asked for of 12 subjects: give 2 to 12"),
        ({"k": 13}, "13 folds were asked for of 12 subjects"),
        ({"k": 3, "group": "person"}, "group is 'person': use 'subject', 'source'"),
        ({"k": 3, "splits": ["dev"]}, "has no split dev; it has test, train, val"),
        ({"k": 3, "name": "../x"}, "is not a name for a split table"),
    ],
)
def test_folds_that_cannot_be(tmp_path: Path, call: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        many(tmp_path).folds(**call)


@pytest.mark.parametrize("name", ["xsub_test", "test1", "official_test", "TestSet", "x-test-2024", "Testing"])
def test_a_test_split_of_any_name_is_neither_pooled_nor_relabelled(tmp_path: Path, name: str) -> None:
    clips = many(tmp_path)
    renamed = clips.with_splits([name if s == "test" else s for s in clips.table["split"]], "renamed")
    fold = renamed.folds(3)[0]
    assert fold.split(name).ids == clips.split("test").ids
    notes = pd.DataFrame({"clip_id": ["c001", "t1"], "tags": ["label wrong"] * 2, "label": ["e", "e"]})
    made = renamed.reviewed(notes)
    assert made.row("t1")["label"] == 1
    assert made.row("c001")["label"] == 4
    assert "reviewed, not changed" in [entry["what"] for entry in made.report]


@pytest.mark.parametrize("name", ["latest", "eval", "holdout", "train_test", "hidden_set"])
def test_a_split_that_may_be_a_test_split_is_asked_about(tmp_path: Path, name: str) -> None:
    clips = many(tmp_path)
    renamed = clips.with_splits([name if s == "test" else s for s in clips.table["split"]], "renamed")
    said = (
        f"'{name}' may be a test split, which its name does not say: name the splits to .*--splits train,val"
    )
    with pytest.raises(MgkitError, match=said):
        renamed.folds(3)
    notes = pd.DataFrame({"clip_id": ["c001"], "tags": ["label wrong"], "label": ["e"]})
    with pytest.raises(MgkitError, match=said):
        renamed.reviewed(notes)
    assert set(renamed.folds(3, splits=["train", "val"])[0].splits) == {"train", "val", name}
    assert renamed.reviewed(notes, splits=["train"]).row("c001")["label"] == 4


def test_unknown_subjects_are_named(tmp_path: Path) -> None:
    rows = [tiny_row("a", 0, subject="", persons=0), tiny_row("b", 1, subject="S", persons=0)]
    clips = write_clip_folder(tmp_path, rows, [None, None], Classes(("x", "y")), TRIANGLE)
    with pytest.raises(
        MgkitError, match="the subject of clip a is not known: use another group, source or clip"
    ):
        clips.folds(2)


def test_own_split_tables(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 2}, videos=False)
    own = clips.with_splits(["train", "val"] * 4, "mine")
    assert own.save_splits() == tmp_path / "splits" / "mine.csv"
    assert load_clips(tmp_path, splits="mine").split("val").ids == clips.ids[1::2]
    path = tmp_path / "splits" / "edited.csv"
    good = pd.DataFrame({"clip_id": clips.ids, "split": "train"})
    for change, message in (
        (good.iloc[1:], "lacks clips .train_0_0.: it was made for other clips"),
        (pd.concat([good, pd.DataFrame({"clip_id": ["z"], "split": ["train"]})]), r"unknown clips \(z\)"),
        (pd.concat([good, good.iloc[:1]]), "occur twice: train_0_0"),
        (good.assign(split=""), "has no split: write unused"),
        (good.rename(columns={"split": "fold"}), "needs the columns clip_id and split"),
    ):
        change.to_csv(path, index=False)
        with pytest.raises(MgkitError, match=message):
            load_clips(tmp_path, splits="edited")
    path.write_bytes("\ufeffclip_id,split\r\n".encode() + "".join(f"{i},dev\r\n" for i in clips.ids).encode())
    assert load_clips(path).splits == ["dev"]
    with pytest.raises(MgkitError, match=r"there is no split table .*none\.csv; there is edited, mine"):
        load_clips(tmp_path, splits="none")
    with pytest.raises(MgkitError, match="use with_splits"):
        clips.save_splits()
    with pytest.raises(MgkitError, match="must be 8 names"):
        clips.with_splits(["train"], "x")
    of_ids = dict(zip(reversed(clips.ids), ["train", "val"] * 4, strict=True))
    by_id = clips.with_splits(of_ids, "by_id").table
    assert by_id["split"].tolist() == [of_ids[clip_id] for clip_id in clips.ids]
    for wrong in ({**of_ids, "other": "train"}, dict(list(of_ids.items())[1:])):
        with pytest.raises(MgkitError, match="have different clips"):
            clips.with_splits(wrong, "by_id")


def test_no_class_has_a_clip_for_each_fold(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 2}, videos=False)
    with pytest.raises(MgkitError, match="stratify=False"):
        clips.folds(3, group="clip")
    assert len(clips.folds(3, group="clip", stratify=False)) == 3


@pytest.mark.parametrize(
    "splits, shown",
    [
        (["test", "train", "val"], "test"), (["train", "xsub_test", "xsub_train"], "xsub_test"),
        (["train", "val"], "val"),
        (["train", "unused"], "train"), (["fold0", "train"], "fold0"), (["unused", "official_test", "test"], "test"),
    ],
)  # fmt: skip
def test_the_split_to_look_at_first(splits: list[str], shown: str) -> None:
    assert shown_split(splits) == shown


def test_hundreds_of_groups_are_dealt_evenly() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 30, 400))
    labels = (groups + rng.integers(0, 3, len(groups))) % 5
    folds = assign_folds(labels, groups, 4, True, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(400))
    sizes = np.stack([np.bincount(labels[folds == fold], minlength=5) for fold in range(4)])  # (4, 5)
    assert np.abs(sizes - sizes.mean(0)).max() <= 0.05 * sizes.mean()
