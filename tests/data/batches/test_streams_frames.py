"""Streams of frames against slow loops from the equations, and motions of known size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.batches.spec import Inputs
from mgkit.data.batches.streams import difference, magnify, stream_frames, taylor
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.parts import part
from mgkit.training import recipes
from mgkit.training.recipe import Recipe
from tests.tiny import tiny_clips


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 1, "val": 1, "test": 1})


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 5, 6, 3), dtype=np.uint8)


def test_a_difference_is_the_change_to_a_later_frame() -> None:
    video, times = noise(9), np.array([0, 3, 8, 8])
    for step, gain in ((1, 1.0), (3, 0.5)):
        made = difference(video, times, step=step, gain=gain)
        for i, time in enumerate(times):
            first = min(time, 8 - step)
            for y, x, c in np.ndindex(5, 6, 3):
                change = gain * (float(video[first + step, y, x, c]) - float(video[first, y, x, c]))
                assert made[i, y, x, c] == min(255, max(0, round(128 + change)))
    assert (difference(video[:1], np.array([0, 0])) == 128).all()
    assert (difference(np.repeat(video[:1], 4, axis=0), np.arange(4)) == 128).all()


@pytest.mark.parametrize("terms", [1, 3])
def test_a_taylor_frame_is_the_sum_of_its_series(terms: int) -> None:
    """Pixel by pixel, term by term, with differences by binomial coefficients."""
    video, times, length = noise(9, 1), np.array([0, 2, 8]), terms + 3
    made = taylor(video, times, terms=terms, gain=0.25)
    for i, time in enumerate(times):
        start = min(time, 9 - length)
        for y, x in np.ndindex(5, 6):
            r, g, b = video[start : start + length, y, x].astype(float).T
            grey = (0.299 * r + 0.587 * g + 0.114 * b) / 255
            for order in range(3):
                value = 0.0
                for k in range(terms):
                    n = k + order + 1
                    change = sum((-1) ** (n - j) * math.comb(n, j) * grey[j] for j in range(n + 1))
                    value += (
                        sum((grey[s] - grey[0]) ** k for s in range(length))
                        / length
                        / math.factorial(k)
                        * change
                    )
                assert abs(made[i, y, x, order] - np.clip(128 + 255 * 0.25 * value, 0, 255)) <= 0.51
    assert (taylor(video[:2], np.array([1])) == taylor(video[[0, 1, 1, 1]], np.array([0]))).all()


def edge(shift: np.ndarray, width: float = 4.0, size: int = 128) -> np.ndarray:
    """A soft vertical edge, moved to the right by `shift` pixels in each frame."""
    x = np.arange(size) + 0.5 - size / 2
    row = 128 + 80 * np.tanh((x - shift[:, None]) / width)  # (T, W)
    return np.rint(np.repeat(row[:, None, :, None], 16, axis=1).repeat(3, axis=3)).astype(np.uint8)


def position(video: np.ndarray) -> np.ndarray:
    """(T,) where the middle row of each frame passes the grey of the edge's middle, pixels."""
    row = video[:, video.shape[1] // 2, :, 0].astype(float)  # (T, W)
    last = (row < 128).sum(1) - 1  # it rises
    low, high = (np.take_along_axis(row, (last + i)[:, None], 1)[:, 0] for i in (0, 1))
    return last + (128 - low) / (high - low)


def size_at(signal: np.ndarray, fps: float, hz: float) -> float:
    """The amplitude of a signal at a frequency."""
    turn = np.exp(-2j * np.pi * hz * np.arange(len(signal)) / fps)
    return float(2 * abs((signal - signal.mean()) @ turn) / len(signal))


def test_a_motion_in_the_band_becomes_as_many_times_larger_as_asked() -> None:
    """0.3 pixels at 2 Hz; what is slower or faster than the band stays as it is."""
    fps, times = 30.0, np.arange(90)
    seconds = times / fps
    shift = 0.3 * np.sin(2 * np.pi * 2 * seconds)
    video = edge(shift)
    for factor, tolerance in ((3.0, 0.1), (5.0, 0.15)):  # the larger, the less linear
        made = magnify(video, times, fps, band=(1, 3), factor=factor, cutoff=3)
        grown = size_at(position(made), fps, 2) / size_at(position(video), fps, 2)
        assert grown == pytest.approx(factor, rel=tolerance)
    fine = magnify(video, times, fps, band=(1, 3), factor=5, cutoff=32)
    assert 1.5 < size_at(position(fine), fps, 2) / size_at(position(video), fps, 2) < 4
    for band in ((4, 8), (0.2, 0.8)):
        made = magnify(video, times, fps, band=band, factor=5)
        assert size_at(position(made), fps, 2) == pytest.approx(size_at(position(video), fps, 2), rel=0.1)
    assert (magnify(video, times, fps, factor=1) == video).all()


def test_a_flicker_is_not_magnified_and_single_frames_are_those_of_the_whole() -> None:
    light = 100 + 5 * np.sin(2 * np.pi * 2 * np.arange(60) / 30)
    video = np.rint(light[:, None, None, None] * np.ones((1, 16, 16, 3))).astype(np.uint8)
    assert (magnify(video, np.arange(60), 30.0, factor=20) == video).all()
    video, times = noise(20, 2), np.array([3, 3, 19])
    whole = magnify(video, np.arange(20), 25.0)
    assert (magnify(video, times, 25.0) == whole[times]).all()
    assert not (whole == video).all()
    assert (magnify(video[:2], np.arange(2), 1.0) == video[:2]).all()  # no frequency of the band


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda v, t: magnify(v, t, 0.0), "no frame rate"),
        (lambda v, t: magnify(v, t, 25.0, band=(3, 1)), "two frequencies above 0 in order"),
        (lambda v, t: magnify(v, t, 25.0, factor=0.5), "factor of at least 1"),
        (lambda v, t: difference(v, t, step=0), "step of at least 1"),
        (lambda v, t: taylor(v, t, terms=0), "1 term or more"),
    ],
)
def test_impossible_settings_are_refused(call: Any, why: str) -> None:
    with pytest.raises(MgkitError, match=why):
        call(noise(4), np.arange(4))


# --- as an input ----------------------------------------------------------------------------------------------------


def inverted(video: np.ndarray) -> np.ndarray:
    return 255 - video


def nothing() -> None:
    """No stream."""


def half(video: np.ndarray) -> np.ndarray:
    return video[:, ::2]


def test_a_dataset_feeds_the_stream_in_training_and_in_testing(clips: Clips) -> None:
    whole = clips.frames(clips.ids[0], np.arange(10))
    every = np.arange(10)
    for given, made in (
        ("difference", difference(whole, every)),
        (inverted, 255 - whole),
        (part(taylor), taylor(whole, every)),
    ):
        spec = Inputs(
            reads=("frames",), rgb_stream=given, rgb_frames=10, time_sampling="independent", rgb_size=32
        )
        for training in (True, False):
            found = ClipDataset(clips, spec, training=training)[0, 0, 0].frames
            assert found is not None
            assert all(any((one == other).all() for other in made) for one in found)
    times = np.array([4, 4, 0])
    assert (stream_frames(clips, clips.ids[0], times, "frames") == whole[times]).all()
    with pytest.raises(MgkitError, match="the stream half must return pictures"):
        stream_frames(clips, clips.ids[0], times, part(half))


def test_a_stream_is_a_setting_like_others(clips: Clips) -> None:
    recipe = recipes.narrow(recipes.rgb_only(rgb_stream="magnify", **{"rgb_stream.factor": 20}))
    assert recipe["rgb_stream"].target is magnify
    assert recipe["rgb_stream.factor"] == 20
    assert recipe.with_(cutoff=8)["rgb_stream.cutoff"] == 8
    assert "inputs.rgb_stream.factor = 20" in recipe.show(all=False)
    again = Recipe.from_dict(recipe.to_dict())
    assert again.inputs == recipe.inputs
    assert again.with_(rgb_stream="frames")["rgb_stream"] == "frames"
    assert recipe.inputs.on(clips.skeleton).rgb_stream == recipe.inputs.rgb_stream
    both = recipes.demo(rgb_stream="difference")
    assert both.inputs.only("pose").rgb_stream == "frames"
    assert both.stages[0]["rgb_stream"].target is difference
    both = recipes.demo(rgb_stream="magnify", **{"rgb_stream.factor": 3})
    assert [one["rgb_stream.factor"] for one in (both, both.stages[0])] == [3, 3]
    assert "rgb_stream" not in recipes.demo().to_dict()["inputs"]
    for wrong, why in (("fast", "use 'frames', 'difference'"), (nothing, "must take `video`")):
        with pytest.raises(MgkitError, match=why):
            recipes.rgb_only(rgb_stream=wrong)
    with pytest.raises(MgkitError, match="rgb_stream"):
        recipes.pose_only(rgb_stream="taylor")


# --- motion of heatmaps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["joint", "limb"])
def test_motion_of_heatmaps_is_the_change_to_the_clips_next_frame(kind: str, clips: Clips) -> None:
    """Of a clip that walks to the right: the maps of the next frame minus those of this one."""
    moving = clips.split("test").ids[1]
    one = clips.select([moving])
    settings: dict[str, Any] = {"reads": ("heatmaps",), "pose_frames": 10, "heatmap_size": 16}
    still = Inputs(**settings, heatmap=kind)
    spec = Inputs(**settings, heatmap=f"{kind}-motion")
    assert still.on(clips.skeleton).channels == spec.on(clips.skeleton).channels

    def maps(inputs: Inputs) -> np.ndarray:
        dataset = ClipDataset(one, inputs, training=False)
        return batch_inputs(collate([dataset[0, 0, 0]]), dataset.spec)["pose"][0].numpy()

    found, each = maps(spec), maps(still)
    np.testing.assert_allclose(found[:, :-1], each[:, 1:] - each[:, :-1], atol=1e-6)
    assert not found[:, -1].any()  # no frame after it
    assert abs(found).max() > 0.1
