"""Untrimmed recordings of the made people of `mgkit.demo.dataset`: several gestures in a row with rest between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import Skeleton
from mgkit.demo.estimator import observe
from mgkit.demo.gestures import Gesture
from mgkit.demo.motion import Arm, Array, Motion, move, smooth_step
from mgkit.demo.people import Subject
from mgkit.demo.scene import Camera, Frames, make_camera, render
from mgkit.errors import MgkitError
from tests.made.joints import depth, joints

WIDE = 16 / 9
_OVERLAP = 8  # frames in which one gesture's rest glides over into the next one's


@dataclass(frozen=True)
class Take:
    """One gesture of a recording: `rest` frames (8 or more) before it, then the `span` frames (3 or more) it fills."""

    gesture: Gesture
    rest: int
    span: int


@dataclass(frozen=True)
class Recording:
    """One subject before one camera.

    Attributes:
        parts: motions in a row, each with one of the gestures.
        spans: of each gesture, its first frame and one past its last.
    """

    subject: Subject
    camera: Camera
    parts: tuple[Motion, ...]
    spans: tuple[tuple[int, int], ...]
    seeds: tuple[np.random.SeedSequence, ...]  # what a sensor adds to each part

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def frames(self) -> Iterator[Frames]:
        """The pictures one by one, (H, W, 3) uint8 RGB."""
        for part, seed in zip(self.parts, self.seeds, strict=True):
            yield from render(part, self.subject, self.camera, np.random.default_rng(seed))

    def joints(self, layout: Skeleton) -> Array:
        """True joints (T, V, 2) in pixels."""
        return self.camera.project(
            np.concatenate([joints(part, self.subject, layout) for part in self.parts])
        )

    def depth(self, layout: Skeleton) -> Array:
        """(T, V) how far each joint is nearer to the camera than the torso, in pixels of its plane."""
        units = np.concatenate([depth(part, self.subject, layout) for part in self.parts])
        return units * self.camera.zoom

    def observe(
        self, layout: Skeleton, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Key-points as an estimator sees them: see `mgkit.demo.estimator.observe`."""
        hidden = np.concatenate([part.hidden for part in self.parts])
        return observe(self.joints(layout), hidden, self.camera.height / 128.0, rng, layout)


def record(
    takes: Sequence[Take], subject: Subject, size: int, rng: np.random.Generator, after: int = 12
) -> Recording:
    """Film one subject.

    Args:
        takes: what is done, in order; at least one.
        subject: by whom.
        size: height of the frames in pixels, even, at least 64; they are 16:9.
        rng: source of everything that varies.
        after: frames of rest at the end, at least 8.
    """
    if not takes or min([after, *(take.rest for take in takes)]) < _OVERLAP:
        raise MgkitError(f"a recording needs a gesture, and {_OVERLAP} frames or more of rest around each.")
    camera = make_camera(subject, size, rng, WIDE)
    motions, spans, at = [], [], 0
    for number, take in enumerate(takes):
        trailing = after if number == len(takes) - 1 else _OVERLAP
        length = take.rest + take.span + trailing
        active = active_between(length, take.rest, take.rest + take.span)
        motions.append(move(take.gesture, subject, length, rng, active))
        spans.append((at + take.rest, at + take.rest + take.span))
        at += take.rest + take.span
    seeds = np.random.SeedSequence(int(rng.integers(2**63))).spawn(len(takes))
    return Recording(subject, camera, tuple(chain(motions, _OVERLAP)), tuple(spans), tuple(seeds))


def record_clip(
    gesture: Gesture, subject: Subject, size: int, frames: int, rng: np.random.Generator
) -> Recording:
    """Film one gesture that fills the whole recording, as in a trimmed clip."""
    camera = make_camera(subject, size, rng, WIDE)
    motion = move(gesture, subject, frames, rng)
    seed = np.random.SeedSequence(int(rng.integers(2**63)))
    return Recording(subject, camera, (motion,), ((0, frames),), (seed,))


def active_between(frames: int, start: int, end: int) -> Array:
    """(T,) how far a gesture is on that fills the frames [start, end) of a recording: 0 outside, a rise, 1, a fall."""
    t, ramp = np.arange(frames, dtype=np.float64), min(8.0, (end - start) / 3)
    return smooth_step((t - start + 1) / ramp) * (1.0 - smooth_step((t - end + ramp) / ramp))


def chain(motions: Sequence[Motion], overlap: int) -> list[Motion]:
    """Join motions of one subject: each glides over from the one before it in its first `overlap` frames.

    All but the last lose their last `overlap` frames, so that what comes back are the parts of one recording. Nothing
    should be going on in the frames that overlap.
    """
    parts = [motions[0]]
    for motion in motions[1:]:
        before = parts[-1]
        parts[-1] = _merge(before, before, lambda values, _: values[: len(values) - overlap])
        parts.append(_merge(before, motion, lambda a, b: _glide(a, b, overlap)))
    return parts


def _merge(first: Any, second: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Join all arrays over time of two motions or arms; what is not an array is taken from the second."""
    if isinstance(first, tuple):
        return tuple(_merge(a, b, join) for a, b in zip(first, second, strict=True))
    if isinstance(first, np.ndarray):
        return join(first, second)
    if isinstance(first, Motion | Arm):
        pairs = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in fields(first)}
        return replace(first, **{name: _merge(a, b, join) for name, (a, b) in pairs.items()})
    return second


def _glide(before: Any, after: Any, overlap: int) -> Any:
    """`after`, whose first frames come over from the last ones of `before`."""
    share = ((np.arange(overlap) + 1) / (overlap + 1)).reshape(-1, *[1] * (after.ndim - 1))
    tail, head = before[len(before) - overlap :], after[:overlap]
    between = np.where(share < 0.5, tail, head) if after.dtype == np.bool_ else tail + (head - tail) * share
    return np.concatenate([between, after[overlap:]])
