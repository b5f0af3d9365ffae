"""Spans of videos in memory: against each frame cropped by itself, and decoded once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Classes
from mgkit.data.prepare.cut import open_source, person_crop, square
from mgkit.data.prepare.footage import clips_of, decoded, open_footage, span_of
from mgkit.data.prepare.plan import MARGIN
from mgkit.data.skeletons import PENN13
from mgkit.data.video import read_frames, write_video
from mgkit.data.video.decode import picture
from mgkit.errors import MgkitError
from tests.data.video.made import encode
from tests.made.points import person

SIZE, FRAMES = (80, 60), 30


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("footage") / "a.mp4"
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    frames = [
        np.stack([x + 3 * i, 2 * y + i, 128 + 0 * x], -1).clip(0, 255).astype(np.uint8) for i in range(FRAMES)
    ]
    write_video(path, frames, 25, key_frame_distance=12)
    return path


def points() -> np.ndarray:
    return person(FRAMES, (40, 30), 44, walk=0.1)[None]


def test_spans_are_the_frames_cropped_one_by_one(film: Path) -> None:
    """Overlapping spans of two lengths in one pass, against a loop over the frames of each."""
    from av.video.reformatter import VideoReformatter

    footage = open_footage("a", film, points(), PENN13)
    assert (footage.frames, footage.fps, footage.size) == (FRAMES, 25.0, SIZE)
    bounds = [(0, 8), (5, 13), (1, 17), (22, 30)]
    times = lambda length: np.array([1, length // 2, length - 1])  # noqa: E731
    spans = list(decoded(footage, bounds, 32, times))
    with open_source(film) as source:
        planes = [source.planes(frame) for _, frame in source.frames(np.ones(FRAMES, bool))]
        whole = [tuple(np.array(plane) for plane in one[0]) for one in planes]
        tags = planes[0][1]
    for span, (start, stop) in zip(spans, bounds, strict=True):
        assert not isinstance(span, str)
        crop = person_crop(points()[:, start:stop], SIZE, MARGIN)
        assert span.crop == crop
        numbers = start + times(stop - start)
        assert sorted(span.pictures) == sorted(numbers.tolist())
        for number in numbers.tolist():
            want = picture(square(whole[number], tags, crop, 32)[1], VideoReformatter())
            np.testing.assert_array_equal(span.pictures[number], want)
        assert span.pose is not None
        scale = 32 / crop.side
        want_x = (points()[:, start:stop, :, 0] - crop.x) * scale
        np.testing.assert_allclose(span.pose[..., 0], want_x, atol=1e-4)


def test_frames_are_decoded_when_they_are_asked_for(film: Path) -> None:
    footage = open_footage("a", film, points(), PENN13)
    span = span_of(footage, 4, 20, 32)
    (held,) = decoded(footage, [(4, 20)], 32, lambda _: np.array([3, 7]))
    assert not isinstance(held, str)
    np.testing.assert_array_equal(span.frames([3, 7, 3]), held.frames([3, 7, 3]))
    clips = clips_of({"one": span, "two": held}, Classes(("a",)), PENN13)
    assert clips.has_pose
    assert clips.has_video
    np.testing.assert_array_equal(clips.pose("one"), span.pose)
    np.testing.assert_array_equal(clips.frames("one", [3]), clips.frames("two", [3]))
    assert clips.frames("two", [0]).shape == (1, 32, 32, 3)


def test_a_network_is_fed_the_frames_of_the_span_and_no_others(film: Path) -> None:
    """A span that does not begin with its video, as a whole frame and cropped to somebody."""
    for given in (None, points()):
        span = span_of(open_footage("a", film, given, PENN13), 14, 26, 32)
        clips = clips_of({"one": span}, Classes(("a",)), PENN13)
        spec = Inputs(reads=("frames",), rgb_frames=4, pose_frames=4, rgb_size=32).on(PENN13)
        fed = ClipDataset(clips, spec, training=False)[0, 0, 0].frames
        assert fed is not None
        every = span.frames(np.arange(12))
        places = [int(np.abs(every.astype(int) - frame).sum((1, 2, 3)).argmin()) for frame in fed]
        assert places == sorted(set(places))
        np.testing.assert_array_equal(fed, every[places])


def test_times_are_those_of_a_player_where_the_rate_varies(film: Path, tmp_path: Path) -> None:
    steps = [20, 60, 33, 80] * 5
    times = np.cumsum([0, *steps])[:20]
    encode(tmp_path / "phone.mp4", 20, times=times.tolist())
    found = open_footage("phone", tmp_path / "phone.mp4", None, PENN13).times
    assert found is not None
    np.testing.assert_allclose(found, times / 1000, atol=1e-3)
    assert open_footage("film", film, None, PENN13).times is None


def test_without_key_points_the_whole_frame_is_shown(film: Path) -> None:
    footage = open_footage("a", film, None, PENN13)
    span = span_of(footage, 0, 10, 32)
    assert span.crop == person_crop(None, SIZE, MARGIN)
    assert span.seen == 0
    with pytest.raises(MgkitError, match="no pose"):
        clips_of({"a": span}, Classes(("a",)), PENN13).pose("a")
    lonely = open_footage("b", None, points(), PENN13, size=SIZE, fps=25)
    with pytest.raises(MgkitError, match="b has no video"):
        span_of(lonely, 0, 10, 32).frames([0])


def test_rows_without_anybody_are_left_out(film: Path) -> None:
    two = np.concatenate([points(), np.full_like(points(), np.nan)])
    two[1, 20:] = points()[0, 20:]
    two[1, 20:, :, 0] += 30
    footage = open_footage("a", film, two, PENN13)
    assert footage.points is not None
    assert len(footage.points) == 2
    poses = [span_of(footage, *bounds, 32).pose for bounds in ((0, 10), (15, 25))]
    assert [0 if pose is None else len(pose) for pose in poses] == [1, 2]


def test_key_points_pass_the_checks_of_prepare(film: Path) -> None:
    for given, message in (
        (points()[..., :2], "asks for .persons, frames, 13, 3."),
        (points()[0][:, None], "axes in another order"),
        (points() / (80, 60, 1), "key-points are not pixels"),
        (points()[:, :8], "poses at another rate than the video"),
    ):
        with pytest.raises(MgkitError, match=message):
            open_footage("a", film, np.asarray(given, np.float32), PENN13)
    with pytest.raises(MgkitError, match="video and pose of different sizes"):
        open_footage("a", film, points(), PENN13, size=(160, 121))
    np.testing.assert_array_equal(read_frames(film, [0]).shape, (1, 60, 80, 3))


def test_the_checks_of_a_long_recording_take_little_memory_beside_it() -> None:
    """The copy that becomes the footage, and masks."""
    points = np.tile(person(500), (1, 60, 1, 1)).reshape(1, 30_000, len(PENN13), 3)
    points[..., :2] += np.random.default_rng(0).normal(0, 2, points[..., :2].shape).astype(np.float32)
    tracemalloc.start()
    found = open_footage("hour", None, points, PENN13, fps=25, size=(160, 120))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.frames == 30_000
    np.testing.assert_array_equal(found.points, points)
    assert peak < 3.5 * points.nbytes
