"""Predictions of new clips and videos: what is said of them, and their file."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Classes
from mgkit.data.skeletons import PENN13
from mgkit.errors import MgkitError
from mgkit.results.run.records import percent
from mgkit.results.scores.prediction import Prediction, PredictionList, load_prediction
from mgkit.results.scores.spotting import Rule

CLASSES = Classes(("rest", "nod", "wave <b>"))


def made(windows: int = 1, name: str = "film", pathways: tuple[str, ...] = ("rgb", "pose")) -> Prediction:
    rng = np.random.default_rng(0)
    outputs = (*pathways, "fused") if len(pathways) > 1 else pathways
    scores = {output: rng.dirichlet([1, 1, 1], windows).astype(np.float32) for output in outputs}
    prototypes = rng.normal(size=(3, 4)).astype(np.float32)
    prototypes[2] = np.nan
    start = np.arange(windows) * 5
    return Prediction(
        name, CLASSES, PENN13, np.stack([start, start + 20], 1), 25.0, scores,
        {name: rng.normal(size=(windows, 4)).astype(np.float32) for name in pathways},
        dict.fromkeys(pathways, prototypes), np.full(windows, 0.5, np.float32), {"views": 1, "size": 32},
        [{"what": "odd", "clip_id": name, "detail": "x"}],
    )  # fmt: skip


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    one = made(7)
    there = load_prediction(one.save(tmp_path / "a" / "film.npz"))
    assert (there.name, there.classes, there.skeleton, there.fps) == ("film", CLASSES, PENN13, 25.0)
    assert (there.settings, there.notes) == (one.settings, one.notes)
    np.testing.assert_array_equal(there.frames, one.frames)
    for name in one.outputs:
        np.testing.assert_array_equal(there.probabilities[name], one.probabilities[name])
    for name in ("rgb", "pose"):
        np.testing.assert_array_equal(there.vectors[name], one.vectors[name])
        np.testing.assert_array_equal(there.prototypes[name], one.prototypes[name])
    with pytest.raises(MgkitError, match="was loaded from .*film.npz"):
        there.clips()


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no prediction"):
        load_prediction(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", frames=np.zeros((1, 2)))
    (tmp_path / "text.npz").write_text("not a file of arrays")
    for name in ("other", "text"):
        with pytest.raises(MgkitError, match=f"{name}.npz is not a prediction"):
            load_prediction(tmp_path / f"{name}.npz")
    with pytest.raises(MgkitError, match="does not end in .npz"):
        made().save(tmp_path / "a.csv")


def test_distances_are_cosines(tmp_path: Path) -> None:
    one = made(3)
    for row in range(3):
        for k in range(2):
            a, b = one.vectors["pose"][row].astype(float), one.prototypes["pose"][k].astype(float)
            cosine = a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)
            assert one.distances("pose")[row, k] == pytest.approx(1 - cosine, abs=1e-6)
    assert np.isnan(one.distances("pose")[:, 2]).all()
    named = one.nearest(0, "pose")
    assert len(named) == 2  # the third was never seen
    assert named[0][1] <= named[1][1]


def test_the_best_output_leads() -> None:
    one = made(4)
    assert one.best == "fused"
    for row in range(4):
        top = one.top(row)
        assert [share for _, share in top] == sorted((share for _, share in top), reverse=True)
        assert top[0][0] == CLASSES.names[one.predicted()[row]]
    table = one.frame()
    assert table["class"].tolist() == [CLASSES.names[k] for k in one.predicted()]
    assert {"rgb", "pose", "rgb_prototype", "pose_distance", "seen"} <= set(table)
    assert made(4, pathways=("pose",)).best == "pose"


def test_stretches_are_neighbours_of_one_class() -> None:
    """Against a loop; they cover the video without a gap."""
    one = made(40)
    table = one.stretches()
    assert table["windows"].sum() == 40
    assert (table["start"].to_numpy()[1:] == table["end"].to_numpy()[:-1]).all()
    at = 0
    for row in table.itertuples(index=False):
        rows = range(at, at + row.windows)
        assert {CLASSES.names[k] for k in one.predicted()[rows]} == {row[3]}
        assert row.probability == pytest.approx(one.scores()[rows, one.predicted()[rows]].mean())
        at += row.windows
    names = table["class"].tolist()
    assert all(a != b for a, b in pairwise(names))


def test_windows_become_segments() -> None:
    """Windows of one class in a row are one segment around their middles; where nobody is seen there is none."""
    one = made(12, pathways=("pose",))
    scores = np.tile(np.float32([0.9, 0.05, 0.05]), (12, 1))
    scores[3:7] = [0.05, 0.9, 0.05]
    seen = np.ones(12, np.float32)
    seen[11] = 0
    one = replace(one, probabilities={"pose": scores}, seen=seen)
    windows = one.windows()
    assert one.windows(video="day1/anna").video == "day1/anna"
    assert windows.step == pytest.approx(5 / 25)
    assert len(windows.times) == 11
    assert len(one.windows(unseen=True).times) == 12
    found = Rule(CLASSES.names, skip=("rest",), smooth=1).segments(windows)
    assert found[["video", "class"]].to_numpy().tolist() == [["film", "nod"]]
    assert found["start"][0] == pytest.approx((3 * 5 + 10 - 2.5) / 25)
    assert found["end"][0] == pytest.approx((6 * 5 + 10 + 2.5) / 25)


def test_segments_are_told_in_the_seconds_of_a_player(tmp_path: Path) -> None:
    """Half a video at 30 frames a second and half at 10, whose mean rate says neither."""
    one = replace(made(40, pathways=("pose",)), fps=15.0)
    times = np.concatenate([np.arange(110) / 30, 110 / 30 + np.arange(130) / 10])
    phone = replace(one, played=times[one.frames])
    np.testing.assert_array_equal(phone.seconds, times[one.frames])
    np.testing.assert_array_equal(phone.times, one.times)  # of windows, which are evenly spaced
    spans = pd.DataFrame({"start": np.array([0, 55, 150]) / 15, "end": np.array([10, 110, 205]) / 15})
    np.testing.assert_allclose(
        phone.as_played(spans), times[np.array([[0, 10], [55, 110], [150, 205]])], atol=1e-9
    )
    pd.testing.assert_frame_equal(one.as_played(spans), spans)
    assert phone.stretches()["end"].iloc[-1] == phone.seconds[-1, 1]
    assert phone.frame()["start"].tolist() == phone.seconds[:, 0].tolist()
    assert phone.clip_id(30) == f"film @ {times[150]:.2f}-{times[170]:.2f} s"
    phone.save(tmp_path / "phone.npz")
    np.testing.assert_array_equal(load_prediction(tmp_path / "phone.npz").seconds, phone.seconds)


def test_what_is_said() -> None:
    one = made()
    lines = one.text().splitlines()
    assert lines[0].startswith("film: ")
    assert lines[0].count("%") == 3
    assert lines[1].startswith("  pathways agree") == one.agree()
    assert "nearest prototypes, RGB" in lines[2]
    assert "somebody is seen in 50 % of its frames" in lines[-1]
    page = one._repr_html_()
    assert "wave &lt;b&gt;" in page
    assert "<b>fused</b>" in page
    long = made(30)
    assert "30 windows of 0.80 s" in repr(long)
    assert "<table" in long._repr_html_()
    several = PredictionList([made(name="a"), made(name="b")])
    assert [line.split()[0] for line in several.text().splitlines()] == ["name", "a", "b"]
    assert len(several.frame()) == 2


def test_a_small_share_is_not_none() -> None:
    assert [percent(share) for share in (0, 0.0001, 0.005, 0.0051, 0.5, 0.999)] == [
        "0 %", "< 1 %", "< 1 %", "1 %", "50 %", "100 %"
    ]  # fmt: skip
    sure = replace(made(pathways=("pose",)), probabilities={"pose": np.float32([[0.9985, 0.001, 0.0005]])})
    assert sure.text().splitlines()[0].count("< 1 %") == 2
    assert sure._repr_html_().count("&lt; 1 %") == 2


def test_without_a_rate_there_are_no_seconds() -> None:
    one = replace(made(3), fps=0.0)
    assert np.isnan(one.seconds).all()
    assert "windows of 20 frames" in one.text()
    assert one.to_dict()["windows"][1]["first_frame"] == 5
