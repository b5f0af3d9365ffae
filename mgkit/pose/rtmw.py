"""RTMW, DWPose and other networks of 133 key-points, from an ONNX file of the user's.

The network looks at a box: (1, 3, H, W) RGB, normalised by ImageNet's mean and deviation, gives a row of scores for
each joint along x and one along y, both at twice the resolution, of which the highest count (Li et al., "SimCC", ECCV
2022; Jiang et al., "RTMPose", 2023). Boxes come from a detector (YOLOX with its own suppression of doubles) or, without
one, from where the person was in the last frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.keypoints import Points
from mgkit.data.skeletons import WHOLEBODY133
from mgkit.data.video import Frames
from mgkit.errors import MgkitError

MEAN, DEVIATION = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
PADDING = 1.25  # of a box, as in training
SPLIT = 2.0  # positions a pixel
SURE = 0.3  # of a joint that counts for the next box, and of a person
Box = npt.NDArray[np.float64]  # x0, y0, x1, y1


@contextmanager
def rtmw(pose: Path, detector: Path | None) -> Iterator[Rtmw]:
    """Open the networks."""
    yield Rtmw(pose, detector)


class Rtmw:
    """An estimator of `WHOLEBODY133`.

    Args:
        pose: the network of key-points.
        detector: one that finds people, (1, 3, H, W) BGR to (1, N, 5) corners and score; None: one person is followed,
            from the whole picture on.

    Raises:
        MgkitError: a file is no such network.
    """

    def __init__(self, pose: Path, detector: Path | None = None) -> None:
        self._pose, self._size = _opened(pose, 2)
        self._detector: Any = None
        if detector is not None:
            self._detector, self._looked = _opened(detector, 1)
        self._last: Box | None = None

    def reset(self) -> None:
        """Forget where the person was."""
        self._last = None

    def __call__(self, frames: Frames, fps: float) -> Points:
        found = [self._frame(frame) for frame in frames]
        points = np.full((max(map(len, found)), len(frames), len(WHOLEBODY133), 3), np.nan, np.float32)
        for t, people in enumerate(found):
            for row, person in zip(points, people, strict=False):
                row[t] = person
        return points

    def _frame(self, frame: Frames) -> list[Points]:
        height, width = frame.shape[:2]
        whole = np.array([0, 0, width, height], np.float64)
        if self._detector is not None:
            return [self.look(frame, box) for box in self.people(frame)]
        person = self.look(frame, whole if self._last is None else self._last)
        sure = person[person[:, 2] >= SURE, :2]
        self._last = np.concatenate([sure.min(0), sure.max(0)]) if len(sure) >= 3 else None
        return [person]

    def people(self, frame: Frames) -> list[Box]:
        """Boxes of people, by the detector."""
        import cv2

        assert self._detector is not None
        width, height = self._looked
        ratio = min(width / frame.shape[1], height / frame.shape[0])
        size = (int(frame.shape[1] * ratio), int(frame.shape[0] * ratio))
        picture = np.full((height, width, 3), 114, np.float32)
        picture[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)[..., ::-1]
        found = self._detector.run(None, {self._detector.get_inputs()[0].name: _batch(picture)})
        boxes = np.asarray(found[0], np.float64)[0]
        kept = boxes[:, 4] > SURE
        if len(found) > 1:  # classes, of which the first is the person
            kept &= np.asarray(found[1])[0] == 0
        return list(boxes[kept, :4] / ratio)

    def look(self, frame: Frames, box: Box) -> Points:
        """(133, 3) of the person in a box."""
        import cv2

        width, height = self._size
        middle, sides = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1) * PADDING
        # A box of the network's proportions, around the given one.
        side = max(sides[0], sides[1] * width / height)
        sides = np.array([side, side * height / width])
        scale = width / side
        shift = np.array([width, height]) / 2 - scale * middle
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        part = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR)
        along_x, along_y = self._pose.run(
            None, {self._pose.get_inputs()[0].name: _batch((part - MEAN) / DEVIATION)}
        )
        at = np.stack([along_x[0].argmax(-1), along_y[0].argmax(-1)], -1) / SPLIT
        score = np.minimum(along_x[0].max(-1), along_y[0].max(-1))
        person = np.full((len(WHOLEBODY133), 3), np.nan, np.float32)
        person[:, :2], person[:, 2] = (at - shift) / scale, score.clip(0, 1)
        person[score <= 0] = np.nan
        return person


def _batch(picture: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32)


def _opened(path: Path, outputs: int) -> tuple[Any, tuple[int, int]]:
    """A network, and the (width, height) of its input."""
    import onnxruntime

    if not path.is_file():
        raise MgkitError(f"there is no network {path}: give the path of an .onnx file with --model.")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1  # there is a process for each core
    settings.log_severity_level = 3
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime raises types of its own, without a common one
        raise MgkitError(
            f"{path} cannot be used by onnxruntime ({' '.join(str(error).split())[:200]})."
        ) from None
    shape = session.get_inputs()[0].shape
    given = [list(output.shape) for output in session.get_outputs()]
    joints = len(WHOLEBODY133)
    if outputs == 2:
        fits = len(given) == 2 and all(len(one) == 3 and one[1] == joints for one in given)
    else:
        fits = len(given[0]) == 3 and given[0][2] == 5
    fits = fits and len(shape) == 4 and shape[1] == 3 and all(isinstance(side, int) for side in shape[2:])
    if not fits:
        what = (
            f"(1, 3, H, W) to scores (1, {joints}, 2 W) and (1, {joints}, 2 H)"
            if outputs == 2
            else "(1, 3, H, W) to (1, N, 5)"
        )
        raise MgkitError(f"{path} is a network from {shape} to {given}: rtmw needs one from {what}.")
    return session, (int(shape[3]), int(shape[2]))
