"""Background clips: where they may lie, what they are cut from, and their way through a run to a submission."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.cli import main
from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.data.readers import NO_SKELETON, RawClip, RawDataset
from mgkit.data.readers.background import (
    DISTANCE,
    IDS,
    NAME,
    _place,
    add_background,
    sources_of,
    unlabelled,
)
from mgkit.data.readers.imigue import read_imigue
from mgkit.data.readers.smg import read_smg
from mgkit.data.video import read_frames
from mgkit.errors import MgkitError
from tests.made.points import in_source
from tests.made.trees import write_imigue, write_smg
from tests.training.training import fit, tiny_pose_only

CLASSES = Classes(("wave", "nod"), ("hand", "head"))


@pytest.mark.parametrize("seed", range(5))
def test_unlabelled_agrees_with_marking_every_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spans = [
        (int(a), int(a + b)) for a, b in zip(rng.integers(0, 400, 6), rng.integers(-5, 40, 6), strict=True)
    ]
    free = np.ones(450, bool)
    for first, last in spans:
        free[max(0, min(first, last) - DISTANCE) : max(first, last) + DISTANCE] = False
    found = np.zeros(450, bool)
    for start, end in unlabelled(spans, 450):
        assert start < end
        assert not found[start:end].any()
        found[start:end] = True
    np.testing.assert_array_equal(found, free)


def test_a_recording_of_unknown_length_ends_with_its_last_label() -> None:
    assert unlabelled([(50, 60)], None) == [(0, 40)]
    assert unlabelled([], 30) == [(0, 30)]
    assert unlabelled([], None) == []
    assert unlabelled([(5, 20)], 25) == []


def test_places_do_not_overlap_and_every_first_frame_is_as_likely() -> None:
    free = [(0, 0, 12), (0, 40, 45), (1, 100, 108)]
    count: Counter[tuple[int, int]] = Counter()
    for seed in range(1500):
        ((source, start, end),), lost = _place([5], free, np.random.default_rng(seed))
        assert end - start == 5
        assert not lost
        count[source, start] += 1
    assert sorted(count) == [*((0, s) for s in range(8)), (0, 40), *((1, s) for s in range(100, 104))]
    assert min(count.values()) > 0.6 * 1500 / 13
    placed, lost = _place([9, 5, 5, 5, 4, 4, 1], free, np.random.default_rng(0))
    assert placed == sorted(placed)
    taken = [(source, frame) for source, start, end in placed for frame in range(start, end)]
    assert len(set(taken)) == len(taken)
    assert set(taken) <= {(source, frame) for source, start, end in free for frame in range(start, end)}
    assert sum(end - start for _, start, end in placed) + sum(lost) == 33
    assert lost, "33 frames do not fit into 25"


def row(name: str, number: int, start: int, end: int, split: str = "train") -> RawClip:
    return RawClip(
        f"{name}_{number}", split, number % 2, start=start, end=end, source=f"{name}.csv", fps=25.0
    )


def drawn(
    share: float, seed: int = 0, last: int = 2000
) -> tuple[list[RawClip], Classes, list[dict[str, str]]]:
    """Of two recordings for training and one for test, with clips of 20 to 39 frames, and 100 in test."""
    clips = [row("a", i, 100 * i + 50, 100 * i + 70 + i) for i in range(20)]
    clips += [row("b", 0, last, last + 30), row("t", 0, 1000, 1100, "test"), row("t", 1, 3000, 3100, "test")]
    report: list[dict[str, str]] = []
    found, classes = add_background(clips, CLASSES, sources_of(clips), share, seed, report)
    assert found[: len(clips)] == clips
    return found[len(clips) :], classes, report


def test_background_is_one_more_class_with_the_lengths_of_the_gestures() -> None:
    more, classes, report = drawn(1.0)
    assert classes.names == ("wave", "nod", NAME)
    assert classes.groups == ("hand", "head", NAME)
    assert classes.background == 2
    assert classes.without_background() == CLASSES
    assert Counter(clip.split for clip in more) == {"train": 21, "test": 2}
    assert {clip.label for clip in more} == {2}
    train = [(clip.end or 0) - clip.start for clip in more if clip.split == "train"]
    assert set(train) <= {*range(20, 40), 30}
    assert len(set(train)) > 8
    assert {(clip.end or 0) - clip.start for clip in more if clip.split == "test"} == {100}
    for clip in more:
        assert IDS.fullmatch(clip.clip_id)
        assert clip.clip_id.startswith(Path(clip.source).stem)
    assert [entry["what"] for entry in report] == ["background", "background", "background"]
    assert "train: 21 clips of 'non_gesture' cut where nothing is labelled" in report[0]["detail"]
    assert "a, b, t: without a readable video nothing is cut after their last label" in report[2]["detail"]


def test_the_same_seed_gives_the_same_clips_and_another_one_others() -> None:
    def places(seed: int) -> list[tuple[str, int]]:
        return [(clip.clip_id, clip.start) for clip in drawn(0.5, seed)[0]]

    assert places(0) == places(0)
    assert places(0) != places(1)
    assert len(places(0)) == 10 + 1


def test_what_cannot_be_cut_is_reported() -> None:
    more, _, report = drawn(20.0, last=100)
    lost = next(entry for entry in report if entry["what"] == "background not cut")
    count = sum(clip.split == "train" for clip in more)
    assert f"train: {420 - count} of 420 clips (" in lost["detail"]
    assert "no stretch that long is 10 frames from every label" in lost["detail"]
    assert count > 10


def test_what_is_refused() -> None:
    clips = [row("a", 0, 100, 120)]
    for share in (0, -1, float("nan")):
        with pytest.raises(MgkitError, match="background is"):
            add_background(clips, CLASSES, sources_of(clips), share)
    with pytest.raises(MgkitError, match="the classes have 'non_gesture' already"):
        add_background(clips, Classes(("wave", NAME)), sources_of(clips), 0.5)
    for wrong in (
        replace(clips[0], end=None),
        replace(clips[0], source=""),
        replace(clips[0], pose=lambda: None),
    ):
        with pytest.raises(MgkitError, match="'a_0' is not cut from a recording"):
            sources_of([wrong])


def points(path: Path, start: int, end: int) -> np.ndarray:
    """(1, T, 2, 3) that say which frames they are of."""
    return np.full((1, end - start, 2, 3), np.arange(start, end)[None, :, None, None], np.float32)


def test_a_reader_of_ones_own_offers_it_in_two_lines(tmp_path: Path) -> None:
    def read(source: Path, *, background: float = 0) -> RawDataset:
        clips = [
            RawClip(
                f"x_{i}", "train", i % 2, size=(64, 64), source="x.npy", start=start, end=start + 30, fps=25.0,
                pose=partial(points, source, start=start, end=start + 30), pose_frames=lambda: 1000,
            )
            for i, start in enumerate(range(0, 1000, 100))
        ]  # fmt: skip
        report: list[dict[str, str]] = []
        classes = CLASSES
        if background:
            clips, classes = add_background(clips, classes, sources_of(clips), background, report=report)
        return RawDataset(clips, classes, replace(NO_SKELETON, joints=("a", "b")), [], report)

    data = read(tmp_path, background=0.5)
    more = data.clips[10:]
    assert len(more) == 5
    for clip in more:
        assert clip.pose is not None
        pose = pickle.loads(pickle.dumps(clip.pose))()
        assert pose.shape[1] == 30
        assert pose[0, :, 0, 0].tolist() == list(range(clip.start, clip.end or 0))


# ---------------------------------------------------------------------------------------------------------------------
# The real formats


def thinned(tree: Any, kind: str = "labels") -> Any:
    """The tree with only the first and the last row in each label file: what lies between is then unlabelled."""
    for files in tree.files.values():
        lines = files[kind].read_text().split()
        files[kind].write_text("\n".join([lines[0], lines[-1]]) + "\n")
    return tree


@pytest.fixture(scope="module")
def smg(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return thinned(write_smg(tmp_path_factory.mktemp("raw") / "smg", train=1, test=1, gestures=5, size=64))


@pytest.fixture(scope="module")
def imigue(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("raw") / "imigue"
    return thinned(write_imigue(folder, train=1, val=0, test=1, gestures=4, size=64, poses=["light_hand"]))


def check(data: RawDataset, tree: Any) -> None:
    labelled: dict[str, list[tuple[int, int]]] = {}
    for clip in data.clips:
        if clip.label != data.classes.background:
            labelled.setdefault(clip.clip_id.split("_")[0], []).append((clip.start, clip.end or 0))
    more = [clip for clip in data.clips if clip.label == data.classes.background]
    assert more
    splits = {clip.source: clip.split for clip in tree.clips}
    for clip in more:
        name = clip.clip_id.split("_")[0]
        assert clip.split == splits[name]
        assert clip.video == tree.files[name]["video"]
        assert clip.end is not None
        assert 0 <= clip.start < clip.end <= tree.frames[name]
        for start, end in labelled[name]:
            assert clip.end + DISTANCE <= start or end + DISTANCE <= clip.start


def test_smg(smg: Any) -> None:
    data = read_smg(smg.root, background=1.0)
    check(data, smg)
    assert data.classes.names[-1] == NAME
    assert (data.classes.non_gesture, data.classes.background, len(data.classes)) == (16, 17, 18)
    assert read_smg(smg.root).classes.background is None
    other = read_smg(smg.root, background=1.0, background_seed=1)
    assert [clip.start for clip in other.clips] != [clip.start for clip in data.clips]
    # Rows of class 17 are labelled even where they become no clip.
    few = read_smg(smg.root, background=1.0, classes=16)
    assert few.classes.names[-1] == NAME
    assert few.classes.background == 16
    labelled = {(c.clip_id.split("_")[0], c.start, c.end) for c in read_smg(smg.root).clips}
    for clip in few.clips:
        if clip.label == 16:
            for name, start, end in labelled:
                if clip.clip_id.startswith(name):
                    assert (clip.end or 0) + DISTANCE <= start or end + DISTANCE <= clip.start


def test_imigue(imigue: Any) -> None:
    data = read_imigue(imigue.root, background=1.0)
    check(data, imigue)
    assert (data.classes.non_gesture, data.classes.background, len(data.classes)) == (31, 32, 33)
    assert {clip.split for clip in data.clips if clip.label == 32} == {"train", "test"}
    assert "background" in {entry["what"] for entry in data.report}


@pytest.fixture(scope="module")
def folder(smg: Any, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    out = tmp_path_factory.mktemp("clips") / "smg"
    words = ["prepare", "smg", str(smg.root), str(out), "--background", "1", "--size", "64", "--workers", "1"]
    assert main(words) == 0
    return load_clips(out)


def test_a_clip_folder_has_their_frames_and_key_points(folder: Clips, smg: Any) -> None:
    k = folder.classes.background
    assert k == 17
    assert folder.classes.names[k] == NAME
    more = [i for i, label in zip(folder.ids, folder.labels, strict=True) if label == k]
    assert more
    for clip_id in more:
        row, name = folder.row(clip_id), clip_id.split("_")[0]
        span = slice(row["start"], row["end"])
        wanted = smg.poses[name][span]
        seen = wanted[..., 2] > 0
        np.testing.assert_allclose(in_source(folder, clip_id)[0][seen], wanted[seen][:, :2], atol=0.02)
        video = folder.video(clip_id)
        assert video is not None
        assert len(read_frames(video, range(row["frames"]))) == row["end"] - row["start"]
    assert any(entry["what"] == "background" for entry in folder.report)
    again = mg.prepare("smg", smg.root, folder.root, size=64, workers=1, background=1.0, progress=False)
    assert again.ids == folder.ids


@pytest.mark.slow
def test_a_run_keeps_the_class_and_is_measured_with_and_without_it(folder: Clips, tmp_path: Path) -> None:
    run = mg.baselines.extra_trees(folder, tmp_path / "run", trees=10)
    assert run.classes.background == 17
    table = mg.evaluate(run, "test")
    assert [name for name in table.index if "without" in name] == [
        f"{name}, without {NAME}" for name in table.index if "without" not in name
    ]
    found = run.predictions("test")
    labelled = int((found.labels != 17).sum())
    assert table.loc["pose", "clips"] == len(found) > labelled
    assert table.loc[f"pose, without {NAME}", "clips"] == labelled
    rest = found.without_background()
    assert table.loc[f"pose, without {NAME}", "top1"] == mg.evaluate(rest).loc["pose", "top1"]
    assert NAME in set(mg.figures.confusion(run, "test").data["true"])
    assert NAME in set(mg.per_class(run)["class"])


@pytest.mark.slow
def test_a_network_is_trained_on_it(folder: Clips, tmp_path: Path) -> None:
    run = fit(folder, tiny_pose_only(epochs=1), tmp_path / "run", val_split=None)
    mg.test(run, "test", device="cpu", workers=0)
    assert run.classes.background == 17
    assert run.predictions("test").class_count == 18
    assert f"pose, without {NAME}" in mg.evaluate(run).index
