"""Untrimmed recordings of the drawn people: several gestures in a row with rest between, as in a filmed interview."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.keypoints import KeyPoints, Origin, read_keypoints
from mgkit.data.skeletons import IMIGUE22
from mgkit.data.video import read_frames, write_video
from mgkit.demo.dataset import DEMO_CLASSES
from mgkit.demo.estimator import observe
from mgkit.demo.gestures import Gesture, gestures_of
from mgkit.demo.motion import FPS, Arm, Array, Motion, clip_length, joints, move, smooth_step
from mgkit.demo.people import Subject, make_subject, vary
from mgkit.demo.scene import ASPECT, Camera, Frames, make_camera, render
from mgkit.errors import MgkitError
from mgkit.files import atomic
from mgkit.progress import Progress

_OVERLAP = 8  # frames in which one gesture's rest glides over into the next one's
MADE_BY = ("made", "1")  # estimator and version that are recorded
_STREAM = 2_000_003  # keeps the random numbers of interviews apart from those of clips and subjects


class Interview(NamedTuple):
    """A recording on disk, with what is true of it.

    Attributes:
        video: the file.
        points: (1, T, 22, 3) float32 key-points of `imigue22` as an estimator sees them: x and y in pixels of the
            video, score in [0, 1]; NaN = not seen.
        segments: one row per gesture in order of time: `start` and `end` in seconds, `frame` and `stop` (its first
            frame and one past its last), `label` (index into `classes`) and `class`.
        fps: frames per second.
        size: (width, height) of the video in pixels.
        classes: class names in label order.
    """

    video: Path
    points: npt.NDArray[np.float32]
    segments: pd.DataFrame
    fps: float
    size: tuple[int, int]
    classes: tuple[str, ...]


def draw_interview(
    path: str | Path,
    *,
    minutes: float = 2.0,
    classes: str | Sequence[str] = DEMO_CLASSES,
    rest: tuple[float, float] = (1.0, 5.0),
    size: int = 128,
    seed: int = 0,
    faults: float = 1.0,
    variety: float = 1.0,
    progress: bool = True,
) -> Interview:
    """Draw one person for some minutes: gestures of 1 to 2.6 seconds with idle time between, all of it known.

    The person is not one of the embedded dataset. Gestures come in random order, each class as often as any other. The
    key-points are written as well, next to the video, as `mgkit pose` writes them. A recording of the same arguments
    that is there already is not drawn again.

    Args:
        path: the video to write, `.mp4`.
        minutes: about how long it is; a gesture that has begun is ended.
        classes: as in `mgkit.demo.dataset.write_raw`; the labels count in this order.
        rest: shortest and longest time between two gestures, seconds; 0.32 or more.
        size: height of the frames in pixels, even, at least 64; they are a quarter wider.
        seed: of everything, 0 or more.
        faults: how much worse the key-points are than usual; 0 = the true joints.
        variety: how much more than usual the person differs from the average.
        progress: show a bar.

    Raises:
        MgkitError: an argument is out of range, an unknown class, or `path` holds another recording.
    """
    path, poses = Path(path), Path(path).with_suffix(".npz")
    gestures = gestures_of(classes)
    good = 0 < minutes < 1000 and _OVERLAP / FPS <= rest[0] <= rest[1] and size >= 64 and not size % 2
    if not good or seed < 0 or path.suffix.lower() != ".mp4":
        raise MgkitError(
            f"{path} cannot be a recording of {minutes:g} minutes with {rest[0]:g} to {rest[1]:g} s of rest, size "
            f"{size}, seed {seed}: give a name that ends in .mp4, minutes above 0, the shorter rest first, of "
            f"{_OVERLAP / FPS} s or more, an even size of 64 or more, and a seed of 0 or more."
        )
    planning, person, acting, seeing = np.random.default_rng([seed, _STREAM]).spawn(4)
    # Drawn as a whole before anything is filmed: the plan, then every joint.
    takes: list[Take] = []
    labels: list[int] = []
    total = 0
    waiting: list[int] = []
    while total < 60 * FPS * minutes:
        waiting = waiting or planning.permutation(len(gestures)).tolist()
        label = waiting.pop()
        idle = max(_OVERLAP, round(float(planning.uniform(*rest)) * FPS))
        takes.append(Take(gestures[label], idle, clip_length(planning)))
        labels.append(label)
        total += idle + takes[-1].span
    subject = vary(make_subject("interview", person), variety)
    made = record(takes, subject, size, acting, after=max(_OVERLAP, round(rest[0] * FPS)))
    hidden = np.concatenate([part.hidden for part in made.parts])
    xy, score = observe(made.joints(), hidden, size / 128.0, seeing, faults=faults)
    points = np.concatenate([xy, score[..., None]], axis=-1)[None]  # (1, T, 22, 3)
    points[points[..., 2] <= 0] = np.nan
    width, height = made.camera.width, made.camera.height
    start, stop = np.asarray(made.spans).T
    names = tuple(gesture.name for gesture in gestures)
    segments = pd.DataFrame(
        {
            "start": start / FPS, "end": stop / FPS, "frame": start, "stop": stop,
            "label": np.asarray(labels, np.int64), "class": [names[label] for label in labels],
        }
    )  # fmt: skip
    if not _same(path, poses, points):
        keypoints = KeyPoints(points, IMIGUE22, FPS, (width, height), Origin(*MADE_BY))
        keypoints.write(poses)  # says whose video it is, should this be killed before the end
        with Progress("drawing", progress, "frames") as bar:
            write_video(path, _counted(made, bar), FPS)
        stat = path.stat()
        origin = Origin(*MADE_BY, video=path.stem, bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)
        replace(keypoints, origin=origin).write(poses)
    return Interview(path, points, segments, FPS, (width, height), names)


def draw_interviews(
    folder: str | Path,
    *,
    train: int = 6,
    val: int = 2,
    minutes: float = 2.0,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> list[Interview]:
    """Draw a folder of interviews with a table of their gestures, `segments.csv`, as the reader `segments` takes it.

    They are `train1.mp4`, ..., `val1.mp4`, ..., each of another person. A killed call goes on where it was.

    Args:
        folder: where to.
        train, val: how many of each split, at least one.
        minutes, options: of each, as for `draw_interview`.
        seed: of everything.
        progress: show a bar.

    Raises:
        MgkitError: see `draw_interview`.
    """
    folder = Path(folder)
    if train < 1 or val < 1:
        raise MgkitError(f"train is {train} and val {val}: draw at least one interview of each.")
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"train{i + 1}" for i in range(train)), *(f"val{i + 1}" for i in range(val))]
    made, tables = [], []
    with Progress("interviews", progress, "videos") as bar:
        for number, name in enumerate(names):
            one = draw_interview(
                folder / f"{name}.mp4", minutes=minutes, seed=1000 * seed + number, progress=False, **options
            )
            table = one.segments[["start", "end", "class"]].round(2)
            table.insert(0, "video", name)
            tables.append(table.assign(subject=f"person {number + 1}", split=name.rstrip("0123456789")))
            made.append(one)
            bar.advance(1, len(names))
    with atomic(folder / "segments.csv") as temporary:
        pd.concat(tables).to_csv(temporary, index=False)
    return made


class Estimator:  # it is called like the functions beside it, and has to be sent to processes
    """An estimator for made recordings in place of one for people: it knows the recordings of a folder, recognises a
    video by its first picture, and gives the key-points that were simulated for it.

        mg.pose.estimate("interviews", "poses", mg.demo.Estimator("interviews"))

    Args:
        folder: with recordings of `draw_interview`, at any depth.

    Raises:
        MgkitError: there are none; when it is called, with a video that is none of them.
    """

    layout = IMIGUE22
    version = MADE_BY[1]

    def __init__(self, folder: str | Path) -> None:
        self.__qualname__ = MADE_BY[0]  # the name that is recorded
        self.folder = Path(folder)
        self.known = [
            path.with_suffix(".mp4")
            for path in sorted(self.folder.rglob("*.npz"))
            if path.with_suffix(".mp4").is_file()
        ]
        if not self.known:
            raise MgkitError(f"{folder} holds no made recordings: make them with mg.demo.draw_interview.")
        self.reset()

    def reset(self) -> None:
        """Begin another video."""
        self._points: npt.NDArray[np.float32] | None = None
        self._at = 0

    def __call__(self, frames: Frames, fps: float) -> npt.NDArray[np.float32]:
        if self._points is None:
            video = next((v for v in self.known if np.array_equal(read_frames(v, [0])[0], frames[0])), None)
            if video is None:
                raise MgkitError(
                    f"the video is none of the made recordings in {self.folder}: take an estimator for people."
                )
            self._points = read_keypoints(video.with_suffix(".npz")).points
        found = self._points[:, self._at : self._at + len(frames)]
        self._at += len(frames)
        return found


def _same(video: Path, poses: Path, points: npt.NDArray[np.float32]) -> bool:
    """Whether a recording with these key-points is there; another one is refused."""
    if not poses.is_file():
        if video.exists():
            raise MgkitError(f"{video} is there, and is not a made recording: give another name.")
        return False
    try:
        with np.load(poses) as stored:
            there = stored["points"]
    except (OSError, ValueError, KeyError):
        there = points[:, :0]
    if there.shape != points.shape or not np.allclose(there, points, atol=1e-3, equal_nan=True):
        raise MgkitError(f"{poses} is of another recording: give another name, or delete it with its video.")
    return video.is_file()


def _counted(made: Recording, bar: Progress) -> Iterator[Frames]:
    for frame in made.frames():
        yield frame
        bar.advance(1, len(made))


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

    def joints(self) -> Array:
        """True joints (T, 22, 2) of `IMIGUE22` in pixels."""
        return self.camera.project(np.concatenate([joints(part, self.subject) for part in self.parts]))


def record(
    takes: Sequence[Take], subject: Subject, size: int, rng: np.random.Generator, after: int = 12,
    aspect: float = ASPECT,
) -> Recording:  # fmt: skip
    """Film one subject.

    Args:
        takes: what is done, in order; at least one.
        subject: by whom.
        size: height of the frames in pixels, even, at least 64.
        rng: source of everything that varies.
        after: frames of rest at the end, at least 8.
        aspect: width of the frames over their height.
    """
    if not takes or min([after, *(take.rest for take in takes)]) < _OVERLAP:
        raise MgkitError(f"a recording needs a gesture, and {_OVERLAP} frames or more of rest around each.")
    camera = make_camera(subject, size, rng, aspect)
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
