"""Untrimmed recordings of the drawn people: continuous, known frame by frame, and the same each time."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.keypoints import read_keypoints
from mgkit.data.readers.segments import read_segments
from mgkit.data.skeletons import IMIGUE22
from mgkit.data.video import probe, read_frames
from mgkit.demo.dataset import DEMO_CLASSES
from mgkit.demo.gestures import CLASS_SETS, GESTURES
from mgkit.demo.motion import move
from mgkit.demo.people import make_subject
from mgkit.demo.recording import (
    Estimator,
    Interview,
    Take,
    active_between,
    chain,
    draw_interview,
    draw_interviews,
    record,
)
from mgkit.errors import MgkitError

BRIEF = {"minutes": 0.2, "size": 64, "rest": (0.4, 1.0), "progress": False}


@pytest.fixture(scope="module")
def interview(tmp_path_factory: pytest.TempPathFactory) -> Interview:
    return draw_interview(tmp_path_factory.mktemp("made") / "interview.mp4", **BRIEF)


def test_an_interview_is_known(interview: Interview) -> None:
    info = probe(interview.video)
    assert (info.width, info.height) == interview.size == (80, 64)
    assert interview.points.shape == (1, info.frames, 22, 3)
    assert info.frames / info.fps > 12
    assert interview.classes == DEMO_CLASSES
    rows = interview.segments
    assert len(rows) > 2
    gaps = rows["frame"].to_numpy()[1:] - rows["stop"].to_numpy()[:-1]
    assert gaps.min() >= 10
    assert gaps.max() <= 25
    assert np.allclose(rows["start"] * info.fps, rows["frame"])
    assert [DEMO_CLASSES[label] for label in rows["label"]] == rows["class"].tolist()
    # Hands move while a gesture is on, and hardly between.
    wrists = np.nanmean(interview.points[0, :, [4, 7], :2], axis=0)
    busy = np.zeros(info.frames, dtype=bool)
    for start, stop in zip(rows["frame"], rows["stop"], strict=True):
        busy[start:stop] = True
    step = np.linalg.norm(np.diff(wrists, axis=0), axis=1)
    assert np.nanmean(step[busy[1:]]) > 1.5 * np.nanmean(step[~busy[1:]])
    # Something is drawn.
    assert read_frames(interview.video, [0]).std() > 10


def test_key_points_lie_beside_the_video(interview: Interview) -> None:
    there = read_keypoints(interview.video.with_suffix(".npz"))
    assert np.array_equal(there.points, interview.points, equal_nan=True)
    assert (there.fps, there.size, there.skeleton) == (25, (80, 64), IMIGUE22)
    stat = interview.video.stat()
    assert (there.origin.video, there.origin.bytes) == ("interview", stat.st_size)


@pytest.mark.slow
def test_a_folder_of_interviews_is_a_dataset(tmp_path: Path) -> None:
    made = draw_interviews(tmp_path / "raw", train=1, val=1, **BRIEF | {"minutes": 0.05})
    assert [one.video.stem for one in made] == ["train1", "val1"]
    assert not np.array_equal(made[0].points[:, :50], made[1].points[:, :50])
    data = read_segments(tmp_path / "raw")
    assert {clip.clip_id.split("_")[0]: (clip.subject, clip.split) for clip in data.clips} == {
        "train1": ("person 1", "train"), "val1": ("person 2", "val"),
    }  # fmt: skip
    (first, *_), row = data.clips, made[0].segments.iloc[0]
    assert (first.start, first.end, data.classes.names[first.label]) == (
        row["frame"],
        row["stop"],
        row["class"],
    )

    # The stand-in for an estimator tells them apart, in one process or several.
    estimator = pickle.loads(pickle.dumps(Estimator(tmp_path / "raw")))
    poses = mg.pose.estimate(tmp_path / "raw", tmp_path / "poses", estimator, workers=1, progress=False)
    assert sorted(poses.names) == ["train1", "val1"]
    for one, name in zip(made, ("train1", "val1"), strict=True):
        assert np.array_equal(poses[name].points, one.points, equal_nan=True)
        assert (
            poses[name].origin.name == read_keypoints(one.video.with_suffix(".npz")).origin.name == "made 1"
        )
    with pytest.raises(MgkitError, match="none of the made recordings"):
        Estimator(tmp_path / "raw")(np.zeros((1, 64, 80, 3), np.uint8), 25.0)
    with pytest.raises(MgkitError, match="holds no made recordings"):
        Estimator(tmp_path / "poses")
    with pytest.raises(MgkitError, match="at least one"):
        draw_interviews(tmp_path / "raw", train=0)


def test_the_same_call_draws_nothing_anew(interview: Interview) -> None:
    written = interview.video.stat().st_mtime_ns
    again = draw_interview(interview.video, **BRIEF)
    assert interview.video.stat().st_mtime_ns == written
    assert again.segments.equals(interview.segments)
    with pytest.raises(MgkitError, match="of another recording"):
        draw_interview(interview.video, **{**BRIEF, "seed": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rest": (2.0, 1.0)}, "s of rest"),
        ({"minutes": 0.0}, "0 minutes"),
        ({"classes": ["waltz"]}, "waltz"),
    ],
)
def test_what_cannot_be_recorded(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=message):
        draw_interview(tmp_path / "a.mp4", **{**BRIEF, **changes})
    (tmp_path / "mine.mp4").touch()
    with pytest.raises(MgkitError, match="not a made recording"):
        draw_interview(tmp_path / "mine.mp4", **BRIEF)


def test_a_recording_is_continuous() -> None:
    subject = make_subject("S", np.random.default_rng(0))
    takes = [Take(GESTURES[n], 12, 20) for n in ("touch chin", "move torso", "arms akimbo")]
    recording = record(takes, subject, 64, np.random.default_rng(1))
    assert recording.spans == ((12, 32), (44, 64), (76, 96))
    assert len(recording) == 96 + 12
    assert sum(1 for _ in recording.frames()) == len(recording)
    step = np.abs(np.diff(recording.joints(), axis=0)).max(axis=(1, 2))
    busy = np.zeros(len(step), dtype=bool)
    for start, end in recording.spans:
        busy[start - 1 : end] = True
    assert step[~busy].max() < 1.5  # pixels a frame, the seams between gestures included
    assert step[busy].max() > 4


def test_frames_are_drawn_the_same_each_time() -> None:
    subject = make_subject("S", np.random.default_rng(0))
    recording = record([Take(GESTURES["play with things"], 8, 6)], subject, 64, np.random.default_rng(1))
    assert all((a == b).all() for a, b in zip(recording.frames(), recording.frames(), strict=True))


def test_active_between() -> None:
    for start, end in ((5, 40), (5, 11), (5, 8)):
        active = active_between(50, start, end)
        assert (active[:start] == 0).all()
        assert (active[end:] == 0).all()
        assert (active[start:end] > 0).all()
        assert active.max() > 0.9


def test_chain_joins_without_loss() -> None:
    subject = make_subject("S", np.random.default_rng(0))
    motions = [
        move(GESTURES["rub hands"], subject, 20 + i, np.random.default_rng(i), np.zeros(20 + i))
        for i in range(3)
    ]
    parts = chain(motions, 6)
    assert [len(part) for part in parts] == [14, 15, 22]
    assert np.array_equal(parts[1].neck[6:], motions[1].neck[6:15])
    seam = np.concatenate([part.arms[0].tips for part in parts])
    assert np.abs(np.diff(seam, axis=0)).max() < 2.5
    assert [part.look for part in parts] == [motion.look for motion in motions]


def test_a_recording_needs_rest() -> None:
    with pytest.raises(MgkitError, match="8 frames or more of rest"):
        record([Take(CLASS_SETS["smg17"][0], 3, 20)], make_subject("S", np.random.default_rng(0)), 64,
               np.random.default_rng(0))  # fmt: skip
