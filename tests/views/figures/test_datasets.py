"""Figures of a dataset: the numbers they carry, and that they keep to a venue's rules like all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import HOLISTIC75, Skeleton
from mgkit.errors import MgkitError
from mgkit.views import figures
from mgkit.views.figures.style import VENUES, PaperFigure
from tests.tiny import TRIANGLE, tiny_clips, tiny_row
from tests.views.figures.test_figures import check

DRAW: dict[str, Callable[..., PaperFigure]] = {
    "class_counts": figures.class_counts,
    "clip_lengths": figures.clip_lengths,
    "missing_joints": figures.missing_joints,
}


def made(
    root: Path,
    classes: int,
    subjects: int,
    skeleton: Skeleton = TRIANGLE,
    splits: int = 3,
    poses: bool = True,
) -> Clips:
    """Clips with a long tail: 2^(9 - k) of class k, of any length, some joints missing."""
    rng = np.random.default_rng(0)
    rows, stored = [], []
    names = Classes(tuple(f"a gesture with quite a long name {k}" for k in range(classes)))
    for k in range(classes):
        for i in range(max(1, 2 ** (5 - k))):
            frames = int(rng.integers(1, 60))
            pose = rng.uniform(0, 32, (1, frames, len(skeleton), 3)).astype(np.float32)
            pose[rng.random(pose.shape[:3]) < 0.3] = np.nan
            stored.append(pose)
            split = ("train", "val", "test", "extra")[int(rng.integers(splits))]
            subject = f"subject {int(rng.integers(subjects))}"
            rows.append(tiny_row(f"{k}_{i}", k, frames=frames, end=frames, split=split, subject=subject))
    if not poses:
        rows = [{**row, "persons": 0} for row in rows]
    return write_clip_folder(root, rows, stored if poses else [None] * len(rows), names, skeleton)


@pytest.mark.slow
@pytest.mark.parametrize("venue", ["cvpr", "ceur"])
@pytest.mark.parametrize("name", DRAW)
def test_widths_are_exact_at_every_venue(tmp_path: Path, name: str, venue: str) -> None:
    check(DRAW[name](made(tmp_path, 6, 5), venue=venue, columns=1), VENUES[venue][0])


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize(("classes", "subjects", "splits"), [(2, 1, 1), (32, 72, 4), (82, 300, 3)])
def test_small_and_large_sets(tmp_path: Path, name: str, classes: int, subjects: int, splits: int) -> None:
    clips = made(tmp_path, classes, subjects, HOLISTIC75 if classes > 32 else TRIANGLE, splits)
    figure = DRAW[name](clips)
    pdf = check(figure, figure.figure.get_figwidth())
    again = [path.read_bytes() for path in DRAW[name](clips).save(tmp_path / "again")]
    table = figure.data.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    assert again == [pdf, figure.png(), table.encode()]


def test_class_counts_are_those_of_the_table(tmp_path: Path) -> None:
    clips = made(tmp_path, 6, 5)
    figure = figures.class_counts(clips)
    counts = figure.data.pivot_table(index="class", columns="split", values="clips", sort=False)
    table = clips.summary().classes
    for split in clips.splits:
        assert counts[split].astype(int).to_dict() == table[split].to_dict()
    assert list(counts.index) == list(table.sort_values("all", ascending=False, kind="stable").index)
    assert "lacks" in figure.note
    given = figures.class_counts(clips, order="given").data["class"].drop_duplicates().tolist()
    assert given == list(clips.classes.names)
    with pytest.raises(MgkitError, match="'length'"):
        figures.class_counts(clips, order="length")


def test_lengths_and_the_share_of_short_clips(tmp_path: Path) -> None:
    clips = made(tmp_path, 6, 5)
    figure = figures.clip_lengths(clips)
    assert len(figure.data) == len(clips)
    short = 100 * (clips.split("train").table["frames"] < 32).mean()
    assert f"train {short:.0f} %" in figure.note


def test_missing_joints_are_shares_of_frames(tmp_path: Path) -> None:
    clips = made(tmp_path, 4, 3)
    data = figures.missing_joints(clips).data
    assert list(data.columns) == ["joint", "subject", "missing"]
    lost, all_frames = 0, 0
    for clip_id in clips.ids:
        if clips.row(clip_id)["subject"] == "subject 1":
            lost += int(np.isnan(clips.pose(clip_id)[:, :, 2, 0]).sum())
            all_frames += clips.row(clip_id)["frames"]
    value = data[(data["joint"] == "right_foot") & (data["subject"] == "subject 1")]["missing"].item()
    assert value == pytest.approx(100 * lost / all_frames)
    with pytest.raises(MgkitError, match="has a pose"):
        figures.missing_joints(made(tmp_path / "none", 2, 1, poses=False))


def test_drawing_an_empty_selection_is_refused(tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path, counts={"train": 1}, videos=False)
    for draw in (figures.class_counts, figures.clip_lengths):
        with pytest.raises(MgkitError, match="no clips in this selection"):
            draw(clips.select([]))
