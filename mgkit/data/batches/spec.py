"""What a network is fed of a clip, and which frames of it: known without the network's library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import Skeleton
from mgkit.data.table import Classes
from mgkit.errors import MgkitError, counted, some
from mgkit.parts import Part, load_target, part
from mgkit.settings import Settings, setting

# Of an RGB network: a clip's frames, or what `streams.py` makes of them.
RGB_STREAMS = ("frames", "difference", "taylor", "magnify")
HEATMAPS = ("joint", "limb", "joint-motion", "limb-motion")
STREAMS = ("joint", "bone", "joint-motion", "bone-motion")
READS = ("frames", "heatmaps", "keypoints")
CENTRES = ("picture", "body", "moving body")

# Settings of one kind of input only: they are neither recorded nor accepted where it is not read.
_OF = {
    "rgb_frames": ("frames",), "rgb_size": ("frames",), "time_sampling": ("frames",), "rgb_stream": ("frames",),
    "heatmap_size": ("heatmaps",), "heatmap": ("heatmaps",), "sigma": ("heatmaps",),
    "stream": ("keypoints",), "persons": ("keypoints",), "crop_area": ("frames", "heatmaps"),
    "joints": ("heatmaps", "keypoints"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inputs(Settings):
    """What the network is fed.

    Attributes:
        reads: of "frames" (the pathway "rgb") and either "heatmaps" or "keypoints" (the pathway "pose"). With
            "keypoints" the network sees the whole frame, without a random crop.
        rgb_frames, pose_frames: frames sampled from a clip; the second is a multiple of the first (method D10).
        rgb_size, heatmap_size: side of the square inputs, pixels.
        rgb_stream: "frames", or what is fed in their place: "difference", "taylor" or "magnify", see
            `mgkit.data.batches.streams`, the part of one of these with other settings, or of a function of your own.
        heatmap: "joint" or "limb"; "joint-motion" or "limb-motion" is the change of these maps to the clip's next
            frame, in [-1, 1], nothing where a joint is not seen in both.
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
        translation: in training each clip is moved by up to this share of its crop, in either direction.
        time_crop: range of the part of a clip that is shown in training, as a share of its frames.
        centre: "picture" shows the whole picture. "body" shows the square around the person seen best, `body_span`
            shoulder widths wide, in testing and before any crop in training, so that neither the place nor the size of
            a person in the picture matters. "moving body" holds the middle of the shoulders still as well, frame by
            frame, for people who walk or lean; only where no frames are read, since those are not moved along.
        body_span: see there; about 5 shows arms that are stretched out, 8 somebody who stands.
        joints: names of the joints that are drawn or fed, "upper" for all but those below the hips, `*` for any letters
            (`left_*`); () = all.
        mirror_pairs: pairs of classes that trade places in a mirror, so that a mirrored clip of one has the label of
            the other; "named" stands for all pairs whose names differ in left and right only, () for none.
        skeleton: the layout of those key-points; None until the inputs are bound to clips by `on`.
    """

    reads: tuple[str, ...] = setting(("frames", "heatmaps"))
    rgb_frames: int = setting(8, low=1)
    pose_frames: int = setting(32, low=1)
    rgb_size: int = setting(224, low=1)
    heatmap_size: int = setting(56, low=1)
    rgb_stream: Any = setting("frames", kind=object)  # noqa: RUF009 (a field, as the others)
    heatmap: str = setting("joint", one_of=HEATMAPS)
    sigma: float = setting(0.7, above=0)
    time_sampling: str = setting("subset", one_of=("subset", "independent"))
    crop_area: tuple[float, float] = setting((0.56, 1.0))
    flip: float = setting(0.5, low=0, high=1)
    stream: str = setting("joint", one_of=STREAMS)
    persons: int = setting(1, low=1)
    rotation: float = setting(0.0, low=0, high=180)
    scaling: float = setting(0.0, low=0, high=0.99)
    translation: float = setting(0.0, low=0, high=1)
    time_crop: tuple[float, float] = setting((1.0, 1.0))
    centre: str = setting("picture", one_of=CENTRES)
    body_span: float = setting(6.0, above=0)
    joints: tuple[str, ...] = setting(())
    mirror_pairs: tuple[Any, ...] = setting(())
    skeleton: Skeleton | None = field(default=None, compare=False)
    _channels: int | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("reads", "joints", "mirror_pairs"):  # one of them alone
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, (value,))
        super().__post_init__()
        object.__setattr__(self, "rgb_stream", _stream(self.rgb_stream))
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
        for name in ("crop_area", "time_crop"):
            area = getattr(self, name)
            good = len(area) == 2 and all(isinstance(share, int | float) for share in area)
            if not good or not 0 < area[0] <= area[1] <= 1:
                raise MgkitError(f"{name} is {area!r}; use two shares, above 0 and up to 1, in order.")
        if self.centre == "moving body" and "frames" in self.reads:
            raise MgkitError(
                "centre is 'moving body', but frames are not moved along with the key-points: use 'body', or read no "
                "frames."
            )
        object.__setattr__(self, "mirror_pairs", _pairs(self.mirror_pairs))
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
        return (self.stream if self.keypoints else self.heatmap).endswith("motion")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The stream of the frames, where it is one."""
        return (self.rgb_stream,) if isinstance(self.rgb_stream, Part) else ()

    @property
    def limbs(self) -> bool:
        """Whether the heatmaps are those of limbs."""
        return self.heatmap.startswith("limb")

    def on(self, skeleton: Skeleton | int | None) -> Inputs:
        """The inputs of clips of this key-point layout, or with heatmaps of this number of channels."""
        if isinstance(skeleton, int):
            return replace(self, skeleton=None, _channels=skeleton)
        part = None if skeleton is None else skeleton.part(self.joints if "pose" in self.pathways else ())
        return replace(self, skeleton=part, _channels=None)

    def mirrored(self, classes: Classes) -> npt.NDArray[np.int64]:
        """(K,) the class that a mirrored clip of each class shows: itself, or the other one of its pair.

        Raises:
            MgkitError: `mirror_pairs` names a class that there is not, or one in two pairs.
        """
        index = np.arange(len(classes))
        for pair in self.mirror_pairs:
            pairs = classes.sided if pair == "named" else [pair]
            for a, b in ((classes.index(one), classes.index(other)) for one, other in pairs):
                if a == b or index[a] != a or index[b] != b:
                    raise MgkitError(
                        f"mirror_pairs: {classes.names[a]!r} or {classes.names[b]!r} is in two pairs, or its own other "
                        "side: name each class once."
                    )
                index[a], index[b] = b, a
        return index

    def mirror_warning(self, classes: Classes) -> str:
        """What to say of mirrored clips of classes that are a matter of sides; "" where none are, or it is settled."""
        given = {name for pair in self.mirror_pairs if pair != "named" for name in pair}
        pairs, alone = (
            [] if self.mirror_pairs else classes.sided,
            [n for n in classes.one_sided if n not in given],
        )
        if not pairs and not alone:
            return ""
        named = some([" / ".join(pair) for pair in pairs], 3) if pairs else some(alone, 3)
        remedy = (
            "mirror_pairs='named' gives a mirrored clip the label of the other side"
            if pairs
            else "no class is the other side of these"
        )
        return (
            f"in a mirror, classes trade places that differ in left and right ({named}), but a mirrored clip keeps its "
            f"label: {remedy}; flip=0 mirrors none"
        )

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
        limbs = not self.keypoints and self.limbs
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
        """Plain values of the settings in use; no stream where there is none."""
        unused = set() if self.parts else {"rgb_stream"}
        return {
            name: value
            for name, value in super().to_dict().items()
            if name in self.in_use and name not in unused
        }


def _stream(given: Any) -> Part | str:
    """The stream of an RGB network as a part, or "frames"; a `MgkitError` for what is none."""
    if isinstance(given, str) and given in RGB_STREAMS:
        return given if given == "frames" else part(f"mgkit.data.batches.streams:{given}")
    if isinstance(given, str) and ":" not in given:
        raise MgkitError(
            f"rgb_stream is {given!r}; use {', '.join(map(repr, RGB_STREAMS))}, or a part of your own."
        )
    if isinstance(given, Mapping):
        given = Part.from_dict(given, "rgb_stream", load_target)
    made = given if isinstance(given, Part) else part(given)
    if not made.takes("video"):
        raise MgkitError(
            f"the stream {made.name} must take `video`: (video, times, fps, *, ...) of which it may leave out the "
            "second and the third."
        )
    return made


def _pairs(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The pairs of classes as tuples; a `MgkitError` for what is none."""
    if len(given) == 2 and all(isinstance(one, str) for one in given) and "named" not in given:
        given = (given,)  # one pair
    pairs = tuple(one if isinstance(one, str) else tuple(one) for one in given)
    for one in pairs:
        if one != "named" and (
            len(one) != 2 or isinstance(one, str) or not all(isinstance(name, str) for name in one)
        ):
            raise MgkitError(f"mirror_pairs has {one!r}; use pairs of class names, or 'named'.")
    return pairs


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
        raise MgkitError(f"cannot take {counted(count, 'frame')} from a clip of {length}.")
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
