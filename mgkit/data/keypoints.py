"""Key-points estimated from a video: one `.npz` a video, as `mgkit pose` writes it and `prepare` reads it.

points        (M, T, V, 3) float32: x, y in pixels of the video, score in [0, 1]; NaN = not seen. As estimated: not
              smoothed
fps, size     frames per second (0 = not known); width and height in pixels, upright
skeleton      the layout, as JSON text
estimator, version, model, options    what they were estimated by: its name, its version, SHA-256 of its weights,
              and what else decides the result, as JSON text
video, video_bytes, video_mtime_ns    the video below the folder that was given, its size and time
notes         what was odd, as JSON text: [{"what", "clip_id", "detail"}, ...]
"""

from __future__ import annotations

import functools
import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.skeletons import FINGERS, Skeleton, get_skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic

Points = npt.NDArray[np.float32]

SEVERAL = "several people"  # what a note on them says

# Joints that are the middle of two others, and not seen if one of these is not.
MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}


@dataclass(frozen=True)
class Origin:
    """What key-points come from.

    Attributes:
        estimator, version: its name and version.
        model: SHA-256 of its weights, or of the file of a user's function; "" = not known.
        options: what else decides the result, such as which person was taken.
        video, bytes, mtime_ns: path of the video below the folder that was given, its size and time.
    """

    estimator: str
    version: str = ""
    model: str = ""
    options: dict[str, str] = field(default_factory=dict)
    video: str = ""
    bytes: int = -1
    mtime_ns: int = -1

    @property
    def name(self) -> str:
        """The estimator and its version."""
        return f"{self.estimator} {self.version}".strip()


@dataclass(frozen=True, eq=False)
class KeyPoints:
    """The key-points of one video.

    Attributes:
        points: (M, T, V, 3) float32: x, y in pixels of the video, score in [0, 1]; NaN = not seen.
        skeleton: the layout of the V joints.
        fps: frames per second, 0 = not known.
        size: (width, height) of the video in pixels, upright.
        origin: what they were estimated by.
        notes: report entries on what was odd.
    """

    points: Points
    skeleton: Skeleton
    fps: float
    size: tuple[int, int]
    origin: Origin
    notes: list[dict[str, str]] = field(default_factory=list)

    def to(self, layout: str | Path | Skeleton) -> KeyPoints:
        """The same key-points in another layout, see `convert`."""
        target = get_skeleton(layout)
        return replace(self, points=convert(self.points, self.skeleton, target), skeleton=target)

    def write(self, path: str | Path) -> Path:
        """Write them as one file, whole or not at all."""
        origin = self.origin
        with atomic(path) as temporary:
            np.savez_compressed(
                temporary,
                points=np.asarray(self.points, np.float32), fps=np.float64(self.fps), size=np.array(self.size),
                skeleton=_text(self.skeleton.to_dict()), estimator=np.array(origin.estimator),
                version=np.array(origin.version), model=np.array(origin.model), options=_text(origin.options),
                video=np.array(origin.video), video_bytes=np.int64(origin.bytes),
                video_mtime_ns=np.int64(origin.mtime_ns), notes=_text(self.notes),
            )  # fmt: skip
        return Path(path)


def read_keypoints(path: str | Path, *, points: bool = True) -> KeyPoints:
    """Read a file of `mgkit pose`.

    Args:
        path: the `.npz`.
        points: False leaves `points` empty, (0, 0, V, 3), which is quick.

    Raises:
        MgkitError: the file is missing, damaged, or something else.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            skeleton = Skeleton.from_dict(json.loads(str(file["skeleton"])), where=str(path))
            found = (
                np.asarray(file["points"], np.float32)
                if points
                else np.zeros((0, 0, len(skeleton), 3), np.float32)
            )
            origin = Origin(
                str(file["estimator"]), str(file["version"]), str(file["model"]), json.loads(str(file["options"])),
                str(file["video"]), int(file["video_bytes"]), int(file["video_mtime_ns"]),
            )  # fmt: skip
            width, height = (int(side) for side in file["size"])
            keypoints = KeyPoints(
                found, skeleton, float(file["fps"]), (width, height), origin, json.loads(str(file["notes"]))
            )
    except FileNotFoundError:
        raise MgkitError(f"there are no key-points {path}: make them with `mgkit pose`.") from None
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise MgkitError(
            f"{path} does not hold key-points of mgkit, or is damaged ({error}): delete it and run `mgkit pose` again."
        ) from None
    if keypoints.points.ndim != 4 or keypoints.points.shape[2:] != (len(skeleton), 3):
        raise MgkitError(
            f"{path} holds points of shape {keypoints.points.shape}, expected (persons, frames, {len(skeleton)}, 3): "
            "delete it and run `mgkit pose` again."
        )
    return keypoints


@functools.lru_cache(maxsize=1)  # the clips of one video ask for it in a row
def _points(path: Path, mtime_ns: int) -> Points:
    found = read_keypoints(path).points
    found.flags.writeable = False
    return found


def points_of(path: Path, start: int = 0, end: int | None = None) -> Points:
    """(M, T, V, 3) of the frames start to end - 1 of a video, the caller's own; for `RawClip.pose`."""
    points = _points(path, path.stat().st_mtime_ns)
    if start and start >= points.shape[1]:
        raise MgkitError(
            f"{path} has {counted(points.shape[1], 'frame')}; the clip would start at frame {start}."
        )
    return points[:, start:end].copy()


def frames_of(path: Path) -> int:
    """Number of frames with key-points; for `RawClip.pose_frames`."""
    return _points(path, path.stat().st_mtime_ns).shape[1]


def convert(points: Points, source: Skeleton, target: Skeleton) -> Points:
    """Points of one layout in another, joint by joint, by name.

    `left_thumb_tip` and the like are the ends of the fingers of a hand of 21 points, a neck is the middle of the
    shoulders, a mid-hip that of the hips: not seen if one of the two is not, with the lower of their scores.

    Args:
        points: (..., V, 3).
        source, target: their layout, and the one to give.

    Returns:
        (..., V', 3) float32.

    Raises:
        MgkitError: the target has joints that do not follow from the source; they are named.
    """
    names = {joint: i for i, joint in enumerate(source.joints)}
    for side in ("left", "right"):
        for finger in FINGERS:
            if (tip := f"{side}_hand_{finger}_tip") in names:
                names.setdefault(f"{side}_{finger}_tip", names[tip])
    pairs = {
        joint: [names[end] for end in ends]
        for joint, ends in MIDDLES.items()
        if joint not in names and all(end in names for end in ends)
    }
    lacking = [joint for joint in target.joints if joint not in names and joint not in pairs]
    if lacking:
        raise MgkitError(
            f"the layout {target.name} does not follow from {source.name}, which has no {some(lacking)}: choose "
            "another layout, or a .json file with one."
        )
    out = np.empty((*points.shape[:-2], len(target), 3), np.float32)
    for i, joint in enumerate(target.joints):
        if joint in names:
            out[..., i, :] = points[..., names[joint], :]
        else:
            ends = points[..., pairs[joint], :]
            out[..., i, :2] = ends[..., :2].mean(-2)
            out[..., i, 2] = ends[..., 2].min(-1)
    out[~np.isfinite(out).all(-1)] = np.nan
    return out


def _text(value: Any) -> npt.NDArray[np.str_]:
    return np.array(json.dumps(value, ensure_ascii=False))
