"""Estimators by name; those that need mediapipe, or weights that `mgkit pose fetch` has got, skip without them."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.skeletons import COCO17, HOLISTIC75
from mgkit.data.video import probe, read_frames
from mgkit.errors import MgkitError
from mgkit.pose import estimators, weights
from mgkit.pose.estimators import SPAN, get_estimator, holistic
from tests.data.video.made import encode

OWN = str(Path(__file__).with_name("dots.py")) + ":"


@pytest.fixture(scope="module")
def task() -> Path:
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("needs mediapipe, which is not installed: pip install 'mgkit[pose]'")
    try:
        return weights.task_file()
    except MgkitError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def clap(sample_dir: Path) -> np.ndarray:
    return read_frames(sample_dir / "jhmdb_holistic75" / "clips" / "clap_000.mp4", range(0, 40, 5))


def test_a_function_in_a_file_states_its_layout_and_version() -> None:
    found = get_estimator(OWN + "estimate")
    assert (found.name, found.version, found.layout) == (OWN + "estimate", "1", COCO17)
    assert found.span == SPAN
    assert (
        get_estimator(OWN + "counter").span is None
    )  # it has `reset`: it follows something from frame to frame
    with found.start() as function:
        assert function(np.zeros((2, 4, 4, 3), np.uint8), 25.0).shape == (1, 2, 17, 3)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("openpose", {}, "there is no estimator 'openpose': use holistic, holistic-legacy, rtmw, or file.py:function"),
        ("holistic", {"quality": "best"}, "quality is 'best': use lite, full, heavy"),
        (OWN + "estimate", {"quality": "heavy"}, "quality is 'heavy', which only the estimator holistic has"),
        (OWN + "estimate", {"model": "a.task"}, "leave model out"),
        (OWN + "nothing", {}, "has no 'nothing'"),
        (OWN + "layout", {}, "is not a function"),
        ("gone.py:estimate", {}, "gone.py cannot be read"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_sentence(
    name: str, settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimators, "installed", lambda *names: "1")
    with pytest.raises(MgkitError, match=said):
        get_estimator(name, **settings)


def test_without_mediapipe_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MgkitError, match=r"holistic needs the package mediapipe: pip install 'mgkit\[pose\]'"
    ):
        get_estimator("holistic")


def test_frames_are_never_shown_as_a_video() -> None:
    """VIDEO mode has a filter without a switch, which eats small motions."""
    source = inspect.getsource(estimators)
    assert "RunningMode.IMAGE" in source
    assert "RunningMode.VIDEO" not in source
    assert "detect_for_video" not in source


def test_the_parts_of_a_frame_are_in_pixels_with_their_scores() -> None:
    from types import SimpleNamespace

    def points(count: int, visibility: float | None) -> list[SimpleNamespace]:
        return [SimpleNamespace(x=i / count, y=0.5, visibility=visibility) for i in range(count)]

    row = np.full((75, 3), np.nan, np.float32)
    estimators.fill(row, points(33, 0.7), [], points(21, None), np.array([200, 100], np.float32))
    assert np.allclose(row[3], (200 * 3 / 33, 50, 0.7))
    assert np.isnan(row[33:54]).all()
    assert np.allclose(row[54 + 2], (200 * 2 / 21, 50, 1))
    assert HOLISTIC75.joints[54] == "right_hand_hand_wrist" or HOLISTIC75.joints[54].startswith("right_hand")


@pytest.mark.slow
def test_points_agree_with_those_of_the_sample(task: Path, sample_dir: Path) -> None:
    """The sample's were made by 0.10.21 with its filter: the same person in the same place, within a few pixels."""
    from mgkit.data.readers.pyskl import read_pyskl

    frames = read_frames(sample_dir / "clips" / "hmdb_golf.mp4", range(0, 60, 6))
    with holistic(task) as estimate:
        points = estimate(frames, 25.0)
    raw = read_pyskl(sample_dir / "hmdb5_holistic75.pkl", skeleton="holistic75")
    clip = next(clip for clip in raw.clips if "golf" in clip.clip_id)
    assert clip.pose is not None
    known = clip.pose()[0, 0:60:6]
    both = np.isfinite(points[0]).all(-1) & np.isfinite(known).all(-1) & (known[..., 2] > 0.5)
    assert both[:, :33].mean() > 0.5
    apart = np.linalg.norm(points[0][both][:, :2] - known[both][:, :2], axis=-1)
    assert np.median(apart) < 5


@pytest.mark.slow
def test_gaps_between_rows_and_an_odd_width_change_nothing(task: Path, clap: np.ndarray) -> None:
    """mp.Image reads such arrays wrongly, without a word."""
    height, width = clap.shape[1:3]
    odd = np.ascontiguousarray(clap[:2, :, : width - 1])
    gappy = np.zeros((2, height, width + 29, 3), np.uint8)[:, :, : width - 1]
    gappy[:] = odd
    assert not gappy[0].flags.c_contiguous
    with holistic(task) as estimate:
        one = estimate(odd, 25.0)
        estimate.reset()
        other = estimate(gappy, 25.0)
    assert np.isfinite(one[0, :, :33]).all()
    assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.slow
def test_nothing_is_left_of_the_last_video(task: Path, clap: np.ndarray) -> None:
    """IMAGE mode looks where the last frame had somebody; after `reset` the same frames give the same."""
    with holistic(task) as estimate:
        first = estimate(clap[:3], 25.0)
        follows = estimate(clap[:3], 25.0)
        estimate.reset()
        again = estimate(clap[:3], 25.0)
    assert np.array_equal(first, again, equal_nan=True)
    assert not np.array_equal(first, follows, equal_nan=True)


@pytest.mark.slow
def test_landmarkers_are_closed(task: Path, clap: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    from mediapipe.tasks.python import vision

    closed: list[int] = []
    close = vision.HolisticLandmarker.close
    monkeypatch.setattr(
        vision.HolisticLandmarker, "close", lambda self: closed.append(id(self)) or close(self)
    )

    def use() -> None:
        with holistic(task) as estimate:
            estimate.reset()
            estimate(clap[:1], 25.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert len(set(closed)) == 2  # mediapipe calls it again when one is deleted


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pose_detector", "pose_landmarks_detector", "face_detector"])
def test_networks_under_wrong_names_are_a_sentence(
    task: Path, clap: np.ndarray, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """MediaPipe opens such a file, and fails at the first frame, when it is closed, and when it is deleted."""
    with zipfile.ZipFile(task) as file:
        parts = {part: file.read(part) for part in file.namelist()}
    parts[f"{name}.tflite"] = parts["hand_landmarks_detector.tflite"]
    with zipfile.ZipFile(tmp_path / "mixed.task", "w") as file:
        for part, content in parts.items():
            file.writestr(zipfile.ZipInfo(part), content)
    with (
        pytest.raises(MgkitError, match=r"mixed.task cannot be used by mediapipe \(.*\): make it again with"),
        holistic(tmp_path / "mixed.task") as estimate,
    ):
        estimate(clap[:1], 25.0)
    del estimate
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_turned_video_of_odd_width_to_key_points(task: Path, clap: np.ndarray, tmp_path: Path) -> None:
    """From the file on: a telephone's video gives what its upright frames give."""
    import av

    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 255, clap.shape[1], "yuv444p"
        for frame in clap:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:, :255]), "rgb24"))
            )
        container.mux(stream.encode())
    poses = mg.pose.estimate(path, tmp_path / "poses", workers=1, progress=False)
    with holistic(task) as estimate:
        expected = estimate(read_frames(path, range(probe(path).frames)), 25.0)
    assert np.array_equal(poses["odd"].points, expected, equal_nan=True)
    assert poses["odd"].origin.name.startswith("holistic 1.")
    assert len(poses["odd"].origin.model) == 64
    assert [entry["what"] for entry in poses.report] == ["hands seen"]
    with pytest.raises(MgkitError, match="holistic finds one person in a picture: take 'left' and 'right'"):
        mg.pose.estimate(path, tmp_path / "all", person="all", progress=False)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mgkit" / "pose"


def test_weights_that_are_not_used_by_mediapipe_are_a_sentence(tmp_path: Path, empty_cache: Path) -> None:
    pytest.importorskip("mediapipe", reason="needs mediapipe: pip install 'mgkit[pose]'")
    with zipfile.ZipFile(tmp_path / "other.task", "w") as file:
        file.writestr("notes.txt", "x")
    encode(tmp_path / "a.mp4", 2)
    with pytest.raises(MgkitError, match="other.task cannot be used by mediapipe"):
        mg.pose.estimate(
            tmp_path / "a.mp4", tmp_path / "poses", model=tmp_path / "other.task", workers=1, progress=False
        )
