"""Estimators of key-points: one protocol for those that come with mgkit and for any function.

An estimator is a function `estimate(frames, fps) -> points`: frames (T, H, W, 3) uint8 RGB, contiguous, in the order of
the video and as many at a time as `BLOCK` holds; points (M, T, V, 3) in pixels, score in [0, 1], NaN = not seen; None
where nobody is. One that carries something from one call to the next has an attribute `reset`, called before another
video, which it then sees in one go; one without may be given a long video in spans, by several processes. It may state
its `layout` (a name or a `Skeleton`) and its `version` as attributes, too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.keypoints import Points
from mgkit.data.ledger import digest
from mgkit.data.skeletons import HOLISTIC75, WHOLEBODY133, Skeleton, get_skeleton
from mgkit.data.video import Frames
from mgkit.errors import MgkitError
from mgkit.files import sha256_of
from mgkit.parts import load_target
from mgkit.pose import weights

Estimate = Callable[[Frames, float], Points | None]

NAMES = ("holistic", "holistic-legacy", "rtmw")
SPAN = 900  # frames of a video that are estimated in one go: half a minute, so that little is lost by a kill
WARM = 30  # frames before a span after which an estimator is where it would be if it had seen all before
BLOCK = 32 << 20  # bytes of the frames of one call


@dataclass(frozen=True)
class Estimator:
    """How key-points are estimated; made by `get_estimator`.

    Attributes:
        name, version: recorded with the key-points.
        model: SHA-256 of the weights, or of the file of a function; "" = not known.
        layout: of the points.
        start: begins it, in whatever process; the function holds until the context ends.
        span: frames of a video that are estimated in one go, so that the spans of a long one are shared by several
            processes; None = the whole video.
        warm: frames before a span that are shown to it too, since it follows what it has seen.
        several: it may find several people in a picture.
        at_once: it takes no time to begin, so that short videos need not share one start of it.
    """

    name: str
    version: str
    model: str
    layout: Skeleton
    start: Callable[[], AbstractContextManager[Estimate]]
    span: int | None = None
    warm: int = 0
    several: bool = True
    at_once: bool = False


def get_estimator(
    estimator: str | Estimate,
    *,
    quality: str = "full",
    model: str | Path | None = None,
    layout: str | Path | Skeleton | None = None,
) -> Estimator:
    """Find an estimator, with what it needs.

    Args:
        estimator: one of `NAMES`, "file.py:name" of a function, or a function.
        quality: of "holistic": "lite", "full" or "heavy".
        model: weights to use instead of those of `mgkit pose fetch`: a `.task` file for "holistic"; for "rtmw" an
            `.onnx` file, or two, "pose.onnx,detector.onnx", of which the second finds people.
        layout: of a function that does not state its own.

    Raises:
        MgkitError: no such estimator, or a package or file that it needs is missing, in one sentence.
    """
    if estimator == "holistic":
        return _holistic(quality, model)
    if quality != "full":
        raise MgkitError(f"quality is {quality!r}, which only the estimator holistic has: leave it out.")
    if estimator == "holistic-legacy":
        if model is not None:
            raise MgkitError("holistic-legacy has its own weights: leave model out.")
        return _legacy()
    if estimator == "rtmw":
        return _rtmw(model)
    if callable(estimator) or ":" in estimator:
        if model is not None:
            raise MgkitError("a function of yours has its own weights: leave model out.")
        return _own(estimator, layout)
    raise MgkitError(f"there is no estimator {estimator!r}: use {', '.join(NAMES)}, or file.py:function.")


# --- MediaPipe ------------------------------------------------------------------------------------------------------


def _holistic(quality: str, model: str | Path | None) -> Estimator:
    version = installed("mediapipe", "holistic", "pose")
    path = weights.task_file(quality, model)
    return Estimator(
        "holistic" if quality == "full" else f"holistic-{quality}", version, sha256_of(path), HOLISTIC75,
        partial(holistic, path), span=SPAN, warm=WARM, several=False,
    )  # fmt: skip


@contextmanager
def holistic(task: Path) -> Iterator[Holistic]:
    """Begin MediaPipe's Holistic."""
    estimate = Holistic(task)
    try:
        yield estimate
    finally:
        estimate.close()


class Holistic:
    """MediaPipe's Holistic in IMAGE mode.

    VIDEO mode has a filter without a switch, which leaves about half of a motion of 3 pixels at 3 Hz (docs/poses.md).
    IMAGE mode leaves more, but it too goes on from the last frame, so that each video begins with a landmarker of its
    own.

    Args:
        task: the weights.
    """

    def __init__(self, task: Path) -> None:
        self._task = task
        self._landmarker: Any = None
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        from mediapipe.tasks.python import BaseOptions, vision

        self.close()
        options = vision.HolisticLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._task)), running_mode=vision.RunningMode.IMAGE
        )
        self._landmarker = self._asked(vision.HolisticLandmarker.create_from_options, options)

    def close(self) -> None:
        """Give back what MediaPipe holds; one that is not closed keeps its threads and memory."""
        landmarker, self._landmarker = self._landmarker, None
        if landmarker is not None:
            with quiet():
                try:
                    landmarker.close()
                except RuntimeError:
                    # One that has failed says so again, and would once more when it is deleted.
                    landmarker._handle = None

    def __call__(self, frames: Frames, fps: float) -> Points:
        import mediapipe as mp

        points = np.full((1, len(frames), len(HOLISTIC75), 3), np.nan, np.float32)
        sides = np.array(frames.shape[2:0:-1], np.float32)
        for i, frame in enumerate(frames):
            # Of an array with gaps between its rows mp.Image reads something else, without a word.
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            found = self._asked(self._landmarker.detect, image)
            fill(
                points[0, i],
                found.pose_landmarks,
                found.left_hand_landmarks,
                found.right_hand_landmarks,
                sides,
            )
        return points

    def _asked(self, function: Callable[[Any], Any], given: Any) -> Any:
        """What MediaPipe gives; networks that do not fit show when they are opened, or at the first person."""
        with quiet():
            try:
                return function(given)
            except (RuntimeError, ValueError, OSError) as error:
                # After the name of each calculator in the way comes what is wrong.
                reason = " ".join(str(error).split()).rpartition("RET_CHECK failure ")[2][:200]
        raise MgkitError(
            f"{self._task} cannot be used by mediapipe ({reason}): make it again with `mgkit pose fetch`, or give "
            "another one with --model."
        )


def fill(row: Points, body: Any, left: Any, right: Any, sides: npt.NDArray[np.float32]) -> None:
    """Write what was found in one frame into `row` (75, 3), pixels; a part that was not found stays as it is.

    A joint of the body has its visibility as its score, a point of a hand that was found 1.
    """
    for first, found in ((0, body), (33, left), (54, right)):
        if found:
            part = np.array([(point.x, point.y, point.visibility or 0) for point in found], np.float32)
            row[first : first + len(part), :2] = part[:, :2] * sides
            row[first : first + len(part), 2] = 1 if first else part[:, 2].clip(0, 1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ writes to stderr off the screen."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # no stderr, as in a service
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _legacy() -> Estimator:
    from mgkit.pose.legacy import NETWORK, VERSION, environment, legacy

    python, package = environment()
    model = sha256_of(package / NETWORK)
    start = partial(legacy, python)
    return Estimator(
        "holistic-legacy", VERSION, model, HOLISTIC75, start, span=2 * SPAN, warm=WARM, several=False
    )


# --- ONNX -----------------------------------------------------------------------------------------------------------


def _rtmw(model: str | Path | None) -> Estimator:
    from mgkit.pose.rtmw import rtmw

    version = installed("onnxruntime", "rtmw", "rtmw")
    files = [Path(part.strip()) for part in str(model or "").split(",") if part.strip()]
    if len(files) not in (1, 2):
        raise MgkitError(
            "rtmw needs an .onnx file of a network of 133 key-points, and may have a second one that finds people: "
            "--model rtmw.onnx or --model rtmw.onnx,yolox.onnx."
        )
    for file in files:
        if not file.is_file():
            raise MgkitError(f"there is no network {file}: correct --model.")
    hashes = [sha256_of(file) for file in files]
    start = partial(rtmw, files[0], files[1] if len(files) == 2 else None)
    with start():  # or a refusal, now
        pass
    model_hash = hashes[0] if len(hashes) == 1 else digest(*hashes)
    return Estimator(
        "rtmw", version, model_hash, WHOLEBODY133, start, span=SPAN, warm=WARM, several=len(files) == 2
    )


# --- a function -----------------------------------------------------------------------------------------------------


def _own(target: str | Estimate, layout: str | Path | Skeleton | None) -> Estimator:
    if isinstance(target, str):
        function, name, file = load_target(target), target, Path(target.rpartition(":")[0])
        if not callable(function):
            raise MgkitError(f"{target} is not a function: give one that takes frames and fps.")
    else:
        function, file = target, Path(getattr(getattr(target, "__code__", None), "co_filename", ""))
        name = str(getattr(target, "__qualname__", type(target).__qualname__))
    stated = getattr(function, "layout", layout)
    if stated is None:
        raise MgkitError(
            f"the layout of {name} is not known: give it (--layout coco17, or a .json file), or let the function have "
            "an attribute `layout`."
        )
    model = sha256_of(file) if file.suffix == ".py" and file.is_file() else ""
    version = str(getattr(function, "version", ""))
    return Estimator(
        name, version, model, get_skeleton(stated), partial(_start, target),
        span=None if hasattr(function, "reset") else SPAN, at_once=True,
    )  # fmt: skip


@contextmanager
def _start(target: str | Estimate) -> Iterator[Estimate]:
    yield load_target(target) if isinstance(target, str) else target


def not_sent(estimator: Estimator) -> str:
    """Why an estimator cannot be sent to other processes; "" if it can."""
    try:
        pickle.dumps(estimator)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return str(error)
    target = (getattr(estimator.start, "args", ()) or (estimator.start,))[0]
    module = getattr(target, "__module__", "")
    if module == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
        return f"{estimator.name} is in no file"  # of a notebook: pickle names it, and nobody finds it there
    return ""


# --- what they need -------------------------------------------------------------------------------------------------


def installed(package: str, estimator: str, extra: str) -> str:
    """The version of a package; without it a `MgkitError` that names the extra to install."""
    if importlib.util.find_spec(package) is None:
        raise MgkitError(
            f"the estimator {estimator} needs the package {package}: pip install 'mgkit[{extra}]' (from a checkout "
            f"'.[{extra}]')."
        )
    return importlib.metadata.version(package)
