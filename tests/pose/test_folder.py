from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.cli import EXIT_USER_ERROR, main
from mgkit.data.video import probe, read_frames
from mgkit.errors import MgkitError
from mgkit.pose import folder as module
from mgkit.pose.estimators import Estimator, get_estimator
from tests.data.video.made import encode, encode_sizes, sound_only, turned
from tests.pose.dots import estimate as dots

DOTS = f"{Path(__file__).with_name('dots.py')}:estimate"
OWN = str(Path(__file__).with_name("dots.py")) + ":"


def small(out: Path, **changes: Any) -> dict[str, Any]:
    return {"out": out, "workers": 1, "progress": False, **changes}


def phones(folder: Path) -> dict[str, Path]:
    """Three videos as telephones make them: turned by a flag, of variable rate, of an odd width."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = encode(folder / "flat.mp4", 20, size=(64, 96))
    turn = turned(flat, folder / "turned.mp4")
    times = np.cumsum([0, *[20, 60, 33, 80] * 5])[:20].tolist()
    variable = encode(folder / "variable.mp4", 20, times=times)
    odd = encode(folder / "odd.mp4", 20, pix_fmt="yuv444p", size=(65, 107))
    flat.unlink()
    return {"turned": turn, "variable": variable, "odd": odd}


def test_points_are_those_of_the_upright_frames_whatever_the_video(tmp_path: Path) -> None:
    videos = phones(tmp_path / "videos")
    poses = mg.pose.estimate(tmp_path / "videos", estimator=DOTS, **small(tmp_path / "poses"))
    assert sorted(poses.names) == sorted(videos)
    for name, path in videos.items():
        found, info = poses[name], probe(path)
        assert found.size == (info.width, info.height)
        assert found.points.shape == (1, info.frames, 17, 3)
        expected = dots(read_frames(path, range(info.frames)), info.fps)
        assert np.array_equal(found.points, expected.astype(np.float32), equal_nan=True)
        assert np.isfinite(found.points).all()
        assert found.fps == info.fps
        assert (found.origin.estimator, found.origin.version) == (DOTS, "1")
        assert len(found.origin.model) == 64
        assert found.origin.video == path.name[:-4]
    assert poses["odd"].size == (107, 65)
    assert np.array_equal(poses.clips("odd").pose("odd"), poses["odd"].points)
    with pytest.raises(MgkitError, match="no video 'even'"):
        poses.clips("even")
    assert poses["turned"].size == (64, 96)
    assert poses["turned"].points[0, 0, 0, 0] > 50  # the red corner is at the right of the turned picture
    said = {(entry["what"], entry["clip_id"]) for entry in poses.report}
    assert said == {("variable frame rate", "variable"), ("rotated video", "turned")}


@pytest.mark.slow
def test_spans_and_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long video in spans, with frames of warm-up, of several blocks: the same points as in one go."""
    (tmp_path / "videos").mkdir()
    encode(tmp_path / "videos" / "a.mp4", 30)
    encode(tmp_path / "videos" / "b.mkv", 12)
    whole = mg.pose.estimate(tmp_path / "videos", estimator=DOTS, **small(tmp_path / "whole"))
    spanned = get_estimator(DOTS)
    spanned = Estimator(spanned.name, "1", spanned.model, spanned.layout, spanned.start, span=7, warm=3)
    monkeypatch.setattr(module, "get_estimator", lambda *given, **settings: spanned)
    monkeypatch.setattr(module, "BLOCK", 4 * 64 * 96 * 3)
    for workers in (1, 2):
        parts = mg.pose.estimate(
            tmp_path / "videos", estimator=DOTS, **small(tmp_path / f"of {workers}", workers=workers)
        )
        for name in whole.names:
            assert np.array_equal(parts[name].points, whole[name].points, equal_nan=True)
        assert not (tmp_path / f"of {workers}" / ".parts").exists()


def test_the_state_of_an_estimator_does_not_outlive_a_video(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in "ab":
        encode(tmp_path / "videos" / f"{name}.mp4", 10)
    poses = mg.pose.estimate(tmp_path / "videos", estimator=OWN + "counter", **small(tmp_path / "poses"))
    for name in poses.names:
        assert poses[name].points[0, :, 0, 0].tolist() == list(range(10))


def test_a_second_call_makes_only_what_is_new_changed_or_damaged(tmp_path: Path) -> None:
    phones(tmp_path / "videos")
    call = {"estimator": DOTS, **small(tmp_path / "poses")}
    assert mg.pose.estimate(tmp_path / "videos", **call).made == 3
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "poses").glob("*.npz")}
    again = mg.pose.estimate(tmp_path / "videos", **call)
    assert (again.made, len(again)) == (0, 3)
    assert {entry["what"] for entry in again.report} == {"variable frame rate", "rotated video"}
    encode(tmp_path / "videos" / "odd.mp4", 12)  # another video under the same name
    (tmp_path / "poses" / "turned.npz").write_bytes(b"cut off")
    third = mg.pose.estimate(tmp_path / "videos", **call)
    assert third.made == 2
    assert third["odd"].points.shape[1] == 12
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "poses").glob("*.npz")}
    assert [name for name in first if first[name] == now[name]] == ["variable.npz"]


def test_key_points_of_two_ways_do_not_share_a_folder(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", 8)
    mg.pose.estimate(tmp_path / "a.mp4", estimator=DOTS, **small(tmp_path / "poses"))
    for change, said in (
        ({"estimator": OWN + "two"}, "another estimator, .*dots.py:estimate 1 and not .*dots.py:two"),
        ({"person": "left"}, "another person, largest and not left"),
    ):
        with pytest.raises(MgkitError, match=said):
            mg.pose.estimate(tmp_path / "a.mp4", **{"estimator": DOTS, **small(tmp_path / "poses"), **change})


def test_halves_are_looked_at_alone(tmp_path: Path) -> None:
    """The red corner is at the left: nobody is found in the right half, and the left one is in whole pixels."""
    encode(tmp_path / "a.mp4", 6, pix_fmt="yuv444p", size=(65, 107))
    whole, left, right = (
        mg.pose.estimate(tmp_path / "a.mp4", estimator=DOTS, **small(tmp_path / whom, person=whom))
        for whom in ("largest", "left", "right")
    )
    assert np.array_equal(left["a"].points, whole["a"].points)
    assert np.isnan(right["a"].points).all()
    assert [entry["what"] for entry in right.report] == ["nobody at all"]
    turned_round = tmp_path / "b.mp4"
    turned(encode(tmp_path / "c.mp4", 6), turned_round, (-1, 0, 0, -1))
    (tmp_path / "c.mp4").unlink()
    right = mg.pose.estimate(turned_round, estimator=DOTS, **small(tmp_path / "of b", person="right"))
    whole = mg.pose.estimate(turned_round, estimator=DOTS, **small(tmp_path / "b whole"))
    assert np.array_equal(right["b"].points, whole["b"].points)


def test_one_of_two_people_is_followed_or_all_are_kept(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", 8)
    one = mg.pose.estimate(tmp_path / "a.mp4", estimator=OWN + "two", **small(tmp_path / "one"))
    assert np.all(one["a"].points[0, :, 0, 0] == 10)
    assert [(e["what"], e["detail"]) for e in one.report] == [
        (
            "several people",
            "up to 2 in a frame, in 8 of 8 frames: one is followed; another by person left, right or all",
        )
    ]
    every = mg.pose.estimate(
        tmp_path / "a.mp4", estimator=OWN + "two", **small(tmp_path / "all", person="all")
    )
    assert sorted(every["a"].points[:, :, 0, 0].tolist()) == [[10.0] * 8, [60.0] * 8]


def test_what_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    encode(videos / "good.mp4", 8)
    sound_only(videos / "sound.mp4")
    (videos / "empty.mp4").touch()
    (videos / "notes.txt").write_text("x")
    encode_sizes(videos / "changes.mp4", {0: (64, 96), 10: (96, 128), 20: (64, 96)}, bf="0", g="5")
    poses = mg.pose.estimate(videos, estimator=DOTS, **small(tmp_path / "poses"))
    assert poses.names == ["good"]
    left_out = {e["clip_id"]: e["detail"] for e in poses.report if e["what"].startswith("left out")}
    assert set(left_out) == {"sound", "empty", "changes"}
    assert "changes its size" in left_out["changes"]
    assert sorted(path.name for path in (tmp_path / "poses").glob("*.npz")) == ["good.npz"]
    with pytest.raises(MgkitError, match=r"^[^ ]*empty.mp4 is an empty file"):
        mg.pose.estimate(videos / "empty.mp4", estimator=DOTS, **small(tmp_path / "none"))
    (tmp_path / "bad").mkdir()
    shutil.copy(videos / "empty.mp4", tmp_path / "bad")
    with pytest.raises(MgkitError, match=r"no video of .*bad can be used: .* is an empty file"):
        mg.pose.estimate(tmp_path / "bad", estimator=DOTS, **small(tmp_path / "none"))
    with pytest.raises(MgkitError, match="holds no videos"):
        mg.pose.estimate(tmp_path / "poses", estimator=DOTS, **small(tmp_path / "none"))
    shutil.copy(videos / "good.mp4", videos / "good.mov")
    with pytest.raises(MgkitError, match="would have one file of key-points"):
        mg.pose.estimate(videos, estimator=DOTS, **small(tmp_path / "none"))


def test_nobody_in_a_video_is_said_and_written(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", 5)
    poses = mg.pose.estimate(tmp_path / "a.mp4", estimator=OWN + "nobody", **small(tmp_path / "poses"))
    assert np.isnan(poses["a"].points).all()
    assert poses["a"].points.shape == (1, 5, 17, 3)
    assert [e["detail"] for e in poses.report] == ["in none of 5 frames: is there a person, and upright?"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"estimator": OWN + "wrong"}, r"gave points of shape \(1, 4, 16, 3\) for 4 frames"),
        ({"person": "tallest"}, "person is 'tallest': use largest, left, right, all"),
        ({"workers": 0}, "workers is 0"),
        ({"layout": "imigue22"}, "imigue22 does not follow from coco17, which has no left_thumb_tip"),
        ({"out": "inside"}, "is inside the dataset"),
        ({"estimator": lambda frames, fps: None}, "the layout of .* is not known"),
        (
            {"estimator": lambda frames, fps: None, "layout": "coco17", "workers": 2},
            "cannot be sent to other processes",
        ),
    ],
    ids=["shape", "person", "workers", "layout", "place", "no layout", "pickle"],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    (tmp_path / "videos").mkdir()
    for name in "ab":
        encode(tmp_path / "videos" / f"{name}.mp4", 4)
    if "out" in change:
        change = {"out": tmp_path / "videos" / "poses"}
    with pytest.raises(MgkitError, match=said):
        mg.pose.estimate(tmp_path / "videos", **{"estimator": DOTS, **small(tmp_path / "poses"), **change})
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("kind", ["lambda", "of __main__"])
def test_a_function_of_a_notebook_works_in_this_process(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimate(frames: Any, fps: float) -> Any:
        return np.ones((1, len(frames), 3, 3))

    if kind == "of __main__":  # pickle writes down its name, with which another process can do nothing
        main_module = ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main_module)
        estimate.__module__, estimate.__qualname__ = "__main__", "estimate"
        main_module.estimate = estimate  # type: ignore[attr-defined]
    (tmp_path / "videos").mkdir()
    for name in "ab":
        encode(tmp_path / "videos" / f"{name}.mp4", 4)
    call = {"estimator": estimate, "layout": Path(__file__).with_name("triangle.json")}
    poses = mg.pose.estimate(tmp_path / "videos", **small(tmp_path / "poses", workers=None, **call))
    assert poses["a"].skeleton.joints == ("top", "left_foot", "right_foot")
    assert poses.made == 2
    with pytest.raises(MgkitError, match="cannot be sent to other processes"):
        mg.pose.estimate(tmp_path / "videos", **small(tmp_path / "of two", workers=2, **call))


SLOW = """
import sys, time
sys.path.insert(0, {root!r})
from tests.pose.dots import estimate as quick
def estimate(frames, fps):
    time.sleep(1)
    return quick(frames, fps)
estimate.layout = "coco17"
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_an_interrupted_call_resumes_and_loses_nothing(tmp_path: Path, how: int) -> None:
    root = str(Path(__file__).parents[2])
    (tmp_path / "slow.py").write_text(SLOW.format(root=root))
    (tmp_path / "videos").mkdir()
    for i in range(6):
        encode(tmp_path / "videos" / f"{i}.mp4", 9)
    words = ["pose", str(tmp_path / "videos"), str(tmp_path / "poses"), "--workers", "2"]
    words += ["--estimator", f"{tmp_path / 'slow.py'}:estimate"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mgkit", *words], cwd=root, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "poses").glob("[0-9].npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "poses").glob("[0-9].npz")}
    assert 0 < len(kept) < 6
    if how == signal.SIGINT:
        assert process.returncode == 130, said
        assert "the same command resumes" in said
        assert "Traceback" not in said
    assert main(words) == 0
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "poses").glob("*.npz")}
    assert len(now) == 6
    assert {name: now[name] for name in kept} == kept
    assert not [path for path in (tmp_path / "poses").rglob(".*") if path.name != ".lock"]


def test_finished_spans_of_a_long_video_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "a.mp4", 30)
    spanned = get_estimator(DOTS)
    seen: list[int] = []

    def start() -> Any:
        from contextlib import nullcontext

        def estimate(frames: Any, fps: float) -> Any:
            seen.append(len(frames))
            if len(seen) == 3 and not (tmp_path / "again").exists():
                raise KeyboardInterrupt
            return dots(frames, fps)

        return nullcontext(estimate)

    spanned = Estimator(spanned.name, "1", spanned.model, spanned.layout, start, span=10)
    monkeypatch.setattr(module, "get_estimator", lambda *given, **settings: spanned)
    with pytest.raises(KeyboardInterrupt):
        mg.pose.estimate(tmp_path / "a.mp4", estimator=DOTS, **small(tmp_path / "poses"))
    (tmp_path / "again").touch()
    poses = mg.pose.estimate(tmp_path / "a.mp4", estimator=DOTS, **small(tmp_path / "poses"))
    assert seen == [10, 10, 10, 10]
    assert poses["a"].points.shape[1] == 30
    assert np.array_equal(
        poses["a"].points[0, :, :, :2],
        dots(read_frames(tmp_path / "a.mp4", range(30)), 25)[0, :, :, :2].astype(np.float32),
    )


def test_from_a_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phones(tmp_path / "videos")
    words = ["pose", str(tmp_path / "videos"), str(tmp_path / "poses"), "--estimator", DOTS, "--workers", "1"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "3 videos, 3 made now" in said.out
    assert "rotated video (1): turned" in said.out
    assert "mg.widgets.ClipPlayer(mg.pose.as_clips(" in said.err
    assert main(["pose", str(tmp_path / "videos")]) == EXIT_USER_ERROR
    assert "name the folder for the key-points" in capsys.readouterr().err
    assert main([*words[:-4], "--estimator", "holistic2"]) == EXIT_USER_ERROR
    assert "there is no estimator 'holistic2': use holistic, holistic-legacy, rtmw" in capsys.readouterr().err


def test_the_player_opens_on_a_video_that_is_finished(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", 6)
    mg.pose.estimate(tmp_path / "a.mp4", estimator=DOTS, **small(tmp_path / "poses"))
    clips = mg.pose.as_clips(tmp_path / "a.mp4", tmp_path / "poses" / "a.npz")
    assert clips.pose("a").shape == (1, 6, 17, 3)
    assert np.array_equal(clips.frames("a", [4]), read_frames(tmp_path / "a.mp4", [4]))
    assert clips.labels_are == ""  # nobody has coded it
    player = mg.widgets.ClipPlayer(clips)
    assert player.content["clips"][0]["jpegs"] if "clips" in player.content else player.content
    player.close()


def test_a_short_video_shares_a_job_and_a_long_one_has_its_own() -> None:
    lengths = [400, 400, 400, 1000, 20, 20]
    spans = [(None, 0, length) for length in lengths]
    one = replace(get_estimator(DOTS), at_once=False)
    jobs = module._jobs(one, "largest", spans)  # type: ignore[arg-type]
    assert [[stop for _, _, stop in job.spans] for job in jobs] == [[400, 400], [400], [1000], [20, 20]]
    jobs = module._jobs(get_estimator(DOTS), "largest", spans)  # type: ignore[arg-type]
    assert len(jobs) == 6
