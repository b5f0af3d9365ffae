"""Recordings of `mgkit.demo.recording` in the shape and the layouts of the raw trees that readers are tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import Skeleton
from mgkit.demo import recording
from mgkit.demo.estimator import observe
from mgkit.demo.gestures import Gesture
from mgkit.demo.motion import Array, move
from mgkit.demo.people import Subject
from mgkit.demo.recording import Take, active_between, chain
from mgkit.demo.scene import make_camera
from tests.made.joints import depth, joints

__all__ = ["WIDE", "Recording", "Take", "active_between", "chain", "record", "record_clip"]

WIDE = 16 / 9


class Recording(recording.Recording):
    """A recording whose joints are known in any layout."""

    def joints_of(self, layout: Skeleton) -> Array:
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
        return observe(self.joints_of(layout), hidden, self.camera.height / 128.0, rng, layout)


def record(
    takes: Sequence[Take], subject: Subject, size: int, rng: np.random.Generator, after: int = 12
) -> Recording:
    """Film one subject in 16:9, see `mgkit.demo.recording.record`."""
    return Recording(**vars(recording.record(takes, subject, size, rng, after, WIDE)))


def record_clip(
    gesture: Gesture, subject: Subject, size: int, frames: int, rng: np.random.Generator
) -> Recording:
    """Film one gesture that fills the whole recording, as in a trimmed clip."""
    camera = make_camera(subject, size, rng, WIDE)
    motion = move(gesture, subject, frames, rng)
    seed = np.random.SeedSequence(int(rng.integers(2**63)))
    return Recording(subject, camera, (motion,), ((0, frames),), (seed,))
