"""What a network is fed of a clip, and which frames of it: known without the network's library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError

# Networks by what they read: heatmaps and frames ("cnn"), key-points as they are, frames only.
SKELETON_NETWORKS = ("stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn", "hyperformer")
RGB_NETWORKS = ("tsm", "video-swin")
STREAMS = ("joint", "bone", "joint-motion", "bone-motion")


@dataclass(frozen=True)
class InputSpec:
    """What the network is fed.

    Attributes:
        pathways: "rgb", "pose" or both.
        rgb_frames, pose_frames: frames sampled from a clip; the second is a multiple of the first (method D10).
        rgb_size, heatmap_size: side of the square inputs, pixels.
        heatmap: "joint" or "limb".
        sigma: of the Gaussians, in heatmap pixels.
        time_sampling: "subset" takes the RGB frames from the pose frames of the same draw (D10), "independent" draws
            twice.
        crop_area: range of the random crop's share of the frame in training.
        flip: probability of mirroring in training.
        network: "cnn" takes heatmaps, one of SKELETON_NETWORKS the key-points themselves (the whole frame then, without
            a random crop), one of RGB_NETWORKS only frames.
        stream: what a skeleton network is fed of the key-points, one of STREAMS: where joints are, the vector from
            each joint's neighbour towards the root to it, or the change of either to the clip's next frame.
        persons: how many people a skeleton network is fed: those with the highest scores where a clip has more.
        rotation: in training each clip is turned by up to so many degrees either way, about the middle of its crop.
        scaling: in training each clip is made larger or smaller by up to this share, alike in both directions.
    """

    pathways: tuple[str, ...] = ("rgb", "pose")
    rgb_frames: int = 8
    pose_frames: int = 32
    rgb_size: int = 224
    heatmap_size: int = 56
    heatmap: str = "joint"
    sigma: float = 0.7
    time_sampling: str = "subset"
    crop_area: tuple[float, float] = (0.56, 1.0)
    flip: float = 0.5
    network: str = "cnn"
    stream: str = "joint"
    persons: int = 1
    rotation: float = 0.0
    scaling: float = 0.0

    def __post_init__(self) -> None:
        both = "rgb" in self.pathways and self.time_sampling == "subset"
        if both and self.pose_frames % self.rgb_frames:
            raise MgkitError(
                f"pose_frames ({self.pose_frames}) must be a multiple of rgb_frames ({self.rgb_frames})."
            )
        for name, value, known in (
            ("heatmap", self.heatmap, ("joint", "limb")),
            ("time_sampling", self.time_sampling, ("subset", "independent")),
            ("network", self.network, ("cnn", *SKELETON_NETWORKS, *RGB_NETWORKS)),
            ("stream", self.stream, STREAMS),
        ):
            if value not in known:
                raise MgkitError(f"{name} is {value!r}: use {' or '.join(map(repr, known))}.")

    @property
    def keypoints(self) -> bool:
        """Whether the pose input is the key-points themselves, and no heatmaps of them."""
        return self.network in SKELETON_NETWORKS

    @property
    def motion(self) -> bool:
        """Whether the network is fed changes, which need the frame after each sampled one, too."""
        return self.keypoints and self.stream.endswith("motion")

    def channels(self, skeleton: Skeleton) -> int:
        """Channels of the heatmap input for a layout; joints where the input is key-points."""
        if self.keypoints:
            return len(skeleton)
        return len(skeleton.edges) if self.heatmap == "limb" else len(skeleton)


def uniform_times(
    length: int, count: int, generator: np.random.Generator | None = None, shift: float = 0.5
) -> npt.NDArray[np.int64]:
    """`count` frame indices, one from each of `count` equal bins of a clip of `length` frames.

    With a generator each is drawn at random inside its bin (training); without one it is the frame at the fraction
    `shift` of the bin (testing; different shifts give the views of multi-clip testing). A clip shorter than `count`
    repeats frames in order.

    Published code (PYSKL, MMAction2) draws from the same bins where a clip is at least twice as long as the sample.
    It steps by one or two frames through a shorter one, wherever that drifts to, and begins one that is shorter than
    the sample again from its first frame: a jump backwards that no gesture has, which is left out here.
    """
    if length < 1 or count < 1:
        raise MgkitError(f"cannot take {count} frames from a clip of {length}.")
    inside = np.full(count, shift) if generator is None else generator.random(count)
    return np.minimum(((np.arange(count) + inside) * length / count).astype(np.int64), length - 1)


def rgb_times(
    pose_times: npt.NDArray[np.int64], count: int, generator: np.random.Generator | None = None
) -> npt.NDArray[np.int64]:
    """`count` of the pose times: one from each group of consecutive ones, at random or the middle one (D10)."""
    step = len(pose_times) // count
    inside = np.full(count, step // 2) if generator is None else generator.integers(step, size=count)
    return pose_times[np.arange(count) * step + inside]


def view_times(spec: InputSpec, length: int, shift: float = 0.5) -> dict[str, npt.NDArray[np.int64]]:
    """Per pathway the frames of a clip of `length` frames that a test view at `shift` shows it, in order."""
    pose = uniform_times(length, spec.pose_frames, shift=shift)
    subset = spec.time_sampling == "subset"
    times = {"pose": pose}
    if "rgb" in spec.pathways:
        times["rgb"] = (
            rgb_times(pose, spec.rgb_frames)
            if subset
            else uniform_times(length, spec.rgb_frames, shift=shift)
        )
    return {name: times[name] for name in spec.pathways}
