"""Pictures that an RGB network is fed instead of a clip's frames: differences, Taylor frames, magnified motion.

A stream is a function of a clip's frames; `mg.recipes.Inputs(rgb_stream=...)` takes a word of `RGB_STREAMS` or a part:

    mg.recipes.tsm(rgb_stream="difference")
    mg.recipes.tsm(rgb_stream=mg.part(magnify, band=(0.5, 3), factor=10))

It is called with what it has parameters for: `video` (T, H, W, 3), uint8 RGB, all frames of the clip as prepared;
`times` (n,), the frames that are wanted, in order, with repeats; `fps`, 0 where it is not known. It returns
(n, H, W, 3) uint8, or without `times` all T of them. Crops, turns and mirrors come after it. Nothing in it may be
random: training, test, prediction, saliency and player show the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError

if TYPE_CHECKING:
    from mgkit.data.clips import Clips
    from mgkit.parts import Part

__all__ = ["difference", "magnify", "stream_frames", "taylor"]

Pictures = npt.NDArray[np.uint8]
Times = npt.NDArray[np.int64]

GREY = 128.0  # nothing moves


def stream_frames(clips: Clips, clip_id: str, times: Times, stream: Part | str) -> Pictures:
    """The pictures (n, H, W, 3) uint8 of a clip at some frames, as an RGB network with this stream is fed them.

    Raises:
        MgkitError: the stream makes something else of the frames.
    """
    if isinstance(stream, str):  # "frames"
        return clips.frames(clip_id, times)
    row = clips.row(clip_id)
    video = clips.frames(clip_id, np.arange(int(row["frames"])))
    made = stream.build(video=video, times=np.asarray(times), fps=float(row["fps"]))
    count = len(times) if stream.takes("times") else len(video)
    wanted = (count, *video.shape[1:])
    if not isinstance(made, np.ndarray) or made.shape != wanted or made.dtype != np.uint8:
        got = f"{made.shape} {made.dtype}" if isinstance(made, np.ndarray) else repr(made)[:80]
        raise MgkitError(f"the stream {stream.name} must return pictures {wanted} uint8, but returned {got}.")
    return made if stream.takes("times") else made[times]


def difference(video: Pictures, times: Times, *, step: int = 1, gain: float = 1.0) -> Pictures:
    """The change of each frame to a later one, on grey: `128 + gain (frame[t + step] - frame[t])`, clipped.

    Near its end, where a clip has no later frame, it is the last change that there is.

    Args:
        video: (T, H, W, 3) uint8.
        times: (n,) the frames wanted.
        step: frames between the two, at least 1.
        gain: 1 shows changes of up to half the range of values; more saturates earlier.

    Returns:
        (n, H, W, 3) uint8.
    """
    if step < 1 or gain <= 0:
        raise MgkitError(
            f"difference: step is {step}, gain {gain}; use a step of at least 1, a gain above 0."
        )
    first = np.clip(times, 0, max(0, len(video) - 1 - step))
    later = np.minimum(first + step, len(video) - 1)
    return _on_grey(gain * (video[later].astype(np.float32) - video[first]))


def taylor(video: Pictures, times: Times, *, terms: int = 1, gain: float = 1.0) -> Pictures:
    """Taylor frames (Wang et al., "Taylor Videos for Action Recognition", ICML 2024), on grey.

    Of the grey values g[0..L-1] in [0, 1] of the L = `terms` + 3 frames from a frame on, with d^k the k-th forward
    difference at g[0] and S_k the mean over the block of (g[s] - g[0])^k / k!, the three channels are displacement,
    velocity and acceleration: the sums over k < `terms` of S_k d^(k+1), S_k d^(k+2) and S_k d^(k+3). The authors' code
    has the sum over the block in place of the mean, L times as much. Near the end of a clip, where L frames are not
    left, it is the last full block; a shorter clip stands still after its end.

    Args:
        video: (T, H, W, 3) uint8.
        times: (n,) the frames wanted, first ones of their blocks.
        terms: of the series; 1 has no powers in it: first, second and third difference.
        gain: factor before values of -1 to 1 are put on 0 to 255.

    Returns:
        (n, H, W, 3) uint8: displacement, velocity, acceleration.
    """
    if terms < 1 or gain <= 0:
        raise MgkitError(f"taylor: terms is {terms}, gain {gain}; use 1 term or more, a gain above 0.")
    length = terms + 3
    made = np.empty((len(times), *video.shape[1:]), np.uint8)
    for i, time in enumerate(np.clip(times, 0, max(0, len(video) - length)).tolist()):
        block = video[np.minimum(np.arange(time, time + length), len(video) - 1)]
        grey = _luminance(block) / 255  # (L, H, W)
        differences, change = [], grey
        for _ in range(length - 1):
            change = np.diff(change, axis=0)
            differences.append(change[0])  # d^1, d^2, ...
        away = grey - grey[0]
        weights = [(away**k).mean(0) / math.factorial(k) for k in range(terms)]
        channels = [
            sum(weight * differences[k + order] for k, weight in enumerate(weights)) for order in range(3)
        ]
        made[i] = _on_grey(255 * gain * np.stack(channels, axis=-1))
    return made


def magnify(
    video: Pictures,
    times: Times,
    fps: float,
    *,
    band: Sequence[float] = (0.5, 3.0),
    factor: float = 10.0,
    cutoff: float = 16.0,
) -> Pictures:
    """Small motions made larger: linear Eulerian video magnification (Wu et al., SIGGRAPH 2012).

    The brightness of each pixel is filtered in time, what passes is taken apart by a Laplacian pyramid, and each level
    is added back times alpha: a motion in the band is then 1 + alpha = `factor` times as large, as long as it is
    small against the wavelength of what moves. Where it is not, alpha is lower (their equation 14): levels of a
    wavelength below `cutoff` have the alpha at which a motion of `cutoff` / (8 `factor`) pixels, the largest that is
    magnified in full, meets their bound. The mean over the picture, a flicker of the light, is not magnified.

    The filter is ideal, on the clip mirrored at its ends (a cosine transform), so that the last frame does not act on
    the first. Its resolution is fps / (2 T) Hz; in a clip too short to have a frequency of the band nothing changes.

    Args:
        video: (T, H, W, 3) uint8.
        times: (n,) the frames wanted.
        fps: frames per second.
        band: lowest and highest frequency, Hz. What gestures do on purpose is below about 3 Hz, tremor at 4 to 12.
        factor: how many times as large motions become; 1 changes nothing.
        cutoff: shortest wavelength, pixels, that is magnified in full.

    Returns:
        (n, H, W, 3) uint8.

    Raises:
        MgkitError: a frame rate that is not known, a band that is none, or a factor below 1.
    """
    import cv2

    if not fps > 0:
        raise MgkitError(
            "magnify: the clip has no frame rate, and a band in Hz needs one: prepare the clips again with fps."
        )
    if len(band) != 2 or not 0 < band[0] < band[1] or not factor >= 1 or not cutoff > 0:
        raise MgkitError(
            f"magnify: band is {tuple(band)}, factor {factor}, cutoff {cutoff}; use two frequencies above 0 in order, "
            "a factor of at least 1, a cutoff above 0."
        )
    count, height, width = video.shape[:3]
    # Filter and pyramid are both linear, so only the frames wanted go through the pyramid.
    passed = _band_pass(count, fps, band)[times] @ _luminance(video).reshape(count, -1)  # (n, H W)
    made = np.empty((len(times), *video.shape[1:]), np.uint8)
    for i, (time, change) in enumerate(zip(times.tolist(), passed.reshape(-1, height, width), strict=True)):
        levels: list[Any] = [np.ascontiguousarray(change - change.mean(), np.float32)]
        while min(levels[-1].shape) > 2:
            levels.append(cv2.pyrDown(levels[-1]))
        added: Any = (factor - 1) * levels[-1]
        for depth in range(len(levels) - 2, -1, -1):
            here = levels[depth]
            size = here.shape[::-1]
            detail = here - cv2.pyrUp(levels[depth + 1], dstsize=size)
            wavelength = 3.0 * 2**depth  # of a level: 2 to 4 pixels of its own
            alpha = min(factor, factor * wavelength / cutoff) - 1
            added = cv2.pyrUp(added, dstsize=size) + max(0.0, alpha) * detail
        made[i] = np.clip(np.rint(video[time] + added[..., None]), 0, 255)
    return made


def _band_pass(count: int, fps: float, band: Sequence[float]) -> npt.NDArray[np.float32]:
    """(T, T) matrix of an ideal band-pass on a clip of T frames that is mirrored at its ends."""
    order = np.arange(count)
    cosines = np.sqrt(2 / count) * np.cos(np.pi * np.outer(order, order + 0.5) / count)  # a row per frequency
    frequency = order * fps / (2 * count)
    passing = cosines[(frequency > 0) & (frequency >= band[0]) & (frequency <= band[1])]
    return (passing.T @ passing).astype(np.float32)


def _luminance(video: Pictures) -> npt.NDArray[np.float32]:
    """(..., H, W) in [0, 255], by the weights of ITU-R BT.601."""
    return video.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _on_grey(change: npt.NDArray[np.floating[Any]]) -> Pictures:
    return np.clip(np.rint(GREY + change), 0, 255).astype(np.uint8)
