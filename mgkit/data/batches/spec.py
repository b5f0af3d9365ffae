"""What a network is fed of a clip, and which frames of it: known without the network's library."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.settings import Settings, setting

STREAMS = ("joint", "bone", "joint-motion", "bone-motion")
READS = ("frames", "heatmaps", "keypoints")

# Settings of one kind of input only: they are neither recorded nor accepted where it is not read.
_OF = {
    "rgb_frames": ("frames",), "rgb_size": ("frames",), "time_sampling": ("frames",),
    "heatmap_size": ("heatmaps",), "heatmap": ("heatmaps",), "sigma": ("heatmaps",),
    "stream": ("keypoints",), "persons": ("keypoints",), "crop_area": ("frames", "heatmaps"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inputs(Settings):
    """What the network is fed.

    Attributes:
        reads: of "frames" (the pathway "rgb") and either "heatmaps" or "keypoints" (the pathway "pose"). With
            "keypoints" the network sees the whole frame, without a random crop.
        rgb_frames, pose_frames: frames sampled from a clip; the second is a multiple of the first (method D10).
        rgb_size, heatmap_size: side of the square inputs, pixels.
        heatmap: "joint" or "limb".
        sigma: of the Gaussians, in heatmap pixels.
        time_sampling: "subset" takes the RGB frames from the pose frames of the same draw (D10), "independent" draws
            twice.
        crop_area: range of the random crop's share of the frame in training.
        flip: probability of mirroring in training.
        stream: what is fed of the key-points, one of STREAMS: where joints are, the vector from each joint's neighbour
            towards the root to it, or the change of either to the clip's next frame.
        persons: how many people's key-points are fed: those with the highest scores where a clip has more.
        rotation: in training each clip is turned by up to this angle, degrees, either way, about the middle of its
            crop.
        scaling: in training each clip is made larger or smaller by up to this share, alike in both directions.
        skeleton: the layout of the key-points; None until the inputs are bound to clips by `on`.
    """

    reads: tuple[str, ...] = setting(("frames", "heatmaps"))
    rgb_frames: int = setting(8, low=1)
    pose_frames: int = setting(32, low=1)
    rgb_size: int = setting(224, low=1)
    heatmap_size: int = setting(56, low=1)
    heatmap: str = setting("joint", one_of=("joint", "limb"))
    sigma: float = setting(0.7, above=0)
    time_sampling: str = setting("subset", one_of=("subset", "independent"))
    crop_area: tuple[float, float] = setting((0.56, 1.0))
    flip: float = setting(0.5, low=0, high=1)
    stream: str = setting("joint", one_of=STREAMS)
    persons: int = setting(1, low=1)
    rotation: float = setting(0.0, low=0, high=180)
    scaling: float = setting(0.0, low=0, high=0.99)
    skeleton: Skeleton | None = field(default=None, compare=False)
    _channels: int | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.reads, str):
            object.__setattr__(self, "reads", (self.reads,))
        super().__post_init__()
        known = set(self.reads) <= set(READS) and len(set(self.reads)) == len(self.reads)
        if not known or not self.reads or {"heatmaps", "keypoints"} <= set(self.reads):
            raise MgkitError(
                f"reads is {list(self.reads)}; use 'frames', and 'heatmaps' or 'keypoints', or one of them alone."
            )
        object.__setattr__(self, "reads", tuple(kind for kind in READS if kind in self.reads))
        for name in self.names():
            if name not in self.in_use and getattr(self, name) != self.default(name):
                raise MgkitError(
                    f"{name} is {getattr(self, name)!r}, but it is a setting of {' and '.join(_OF[name])}, and only "
                    f"{' and '.join(self.reads)} are read: leave it out, or change reads."
                )
        area = self.crop_area
        good = len(area) == 2 and all(isinstance(share, int | float) for share in area)
        if not good or not 0 < area[0] <= area[1] <= 1:
            raise MgkitError(f"crop_area is {area!r}; use two shares, above 0 and up to 1, in order.")
        if "rgb" in self.pathways and self.time_sampling == "subset" and self.pose_frames % self.rgb_frames:
            raise MgkitError(
                f"pose_frames ({self.pose_frames}) must be a multiple of rgb_frames ({self.rgb_frames})."
            )

    @property
    def in_use(self) -> list[str]:
        """The names of the settings that concern what is read."""
        unused = {name for name, kinds in _OF.items() if not set(kinds) & set(self.reads)}
        if self.reads == ("frames",) and self.time_sampling == "independent":
            unused.add("pose_frames")  # else RGB frames are some of the pose frames, seen or not
        return [name for name in self.names() if name not in unused]

    @property
    def pathways(self) -> tuple[str, ...]:
        """Names of the network's inputs and outputs: "rgb" of frames, "pose" of heatmaps or key-points."""
        posed = "heatmaps" in self.reads or "keypoints" in self.reads
        return (("rgb",) if "frames" in self.reads else ()) + (("pose",) if posed else ())

    @property
    def keypoints(self) -> bool:
        """Whether the pose input is the key-points themselves, rather than heatmaps of them."""
        return "keypoints" in self.reads

    @property
    def motion(self) -> bool:
        """Whether the network is fed changes, which need the frame after each sampled one, too."""
        return self.keypoints and self.stream.endswith("motion")

    def on(self, skeleton: Skeleton | int | None) -> Inputs:
        """The inputs of clips of this key-point layout, or with heatmaps of this number of channels."""
        if isinstance(skeleton, int):
            return replace(self, skeleton=None, _channels=skeleton)
        return replace(self, skeleton=skeleton, _channels=None)

    def only(self, pathway: str) -> Inputs:
        """The inputs of one of the two pathways."""
        reads = tuple(kind for kind in self.reads if (kind == "frames") == (pathway == "rgb"))
        other = {name for name, kinds in _OF.items() if not set(kinds) & set(reads)}
        return replace(self, reads=reads, **{name: self.default(name) for name in other})

    @property
    def channels(self) -> int:
        """Channels of the heatmaps (joints or limbs), or joints of the key-points; bound inputs know them."""
        if self._channels is not None and not self.keypoints:
            return self._channels
        if self.skeleton is None:
            raise MgkitError("the size of a pose input depends on the skeleton: pass one, or clips.")
        limbs = not self.keypoints and self.heatmap == "limb"
        return len(self.skeleton.edges) if limbs else len(self.skeleton)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one clip, without the batch, of each input.

        "rgb": (3, T, H, W); "pose": (joints or limbs, T, H, W) of heatmaps, (people, T, joints, 3) of key-points.

        >>> Inputs(reads=("frames",)).shapes
        {'rgb': (3, 8, 224, 224)}
        """
        shapes: dict[str, tuple[int, ...]] = {}
        if "rgb" in self.pathways:
            shapes["rgb"] = (3, self.rgb_frames, self.rgb_size, self.rgb_size)
        if self.keypoints:
            shapes["pose"] = (self.persons, self.pose_frames, self.channels, 3)
        elif "pose" in self.pathways:
            shapes["pose"] = (self.channels, self.pose_frames, self.heatmap_size, self.heatmap_size)
        return shapes

    def to_dict(self) -> dict[str, object]:
        """Plain values of the settings in use."""
        return {name: value for name, value in super().to_dict().items() if name in self.in_use}


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


def view_times(spec: Inputs, length: int, shift: float = 0.5) -> dict[str, npt.NDArray[np.int64]]:
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
