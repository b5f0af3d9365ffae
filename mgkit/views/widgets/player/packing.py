"""Clips as bytes for the page: frames as JPEG, key-points as they are, packed once and cached.

The page draws frame and key-points of the same number on one canvas, so they cannot drift apart; a video element
sometimes seeks to the wrong frame, and does not play at all if the browser lacks the codec.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.batches.streams import stream_frames
from mgkit.data.clips import Clips
from mgkit.data.faces import Heads, blur_heads
from mgkit.errors import MgkitError
from mgkit.parts import Part

CHUNK = 64  # frames decoded at a time: a long clip is never in memory uncompressed


@dataclass(frozen=True)
class Packed:
    """Bytes, and plain JSON values that describe them; offsets count from the first byte."""

    meta: dict[str, Any]
    data: bytes


def pack_clip(
    clips: Clips,
    clip_id: str,
    *,
    quality: int = 90,
    longest: int = 640,
    limit: int = 1500,
    blur_faces: bool = False,
    stream: Part | str = "frames",
) -> Packed:
    """Frames and key-points of one clip.

    Args:
        clips: the clips.
        clip_id: one of them.
        quality: of the JPEGs, 1 to 100.
        longest: frames whose longer side has more pixels are shrunk; key-points stay in clip pixels.
        limit: a longer clip is packed up to this frame, and `problems` says so.
        blur_faces: blur heads, before anything is packed; `problems` says where none is seen.
        stream: what an RGB network is fed in place of the frames, see `mgkit.data.batches.streams`.

    Returns:
        `data` is the key-points, then the JPEGs one after the other. `meta` holds `clip_id`, `frames` (packed),
        `total`, `fps` (None = unknown), `width`, `height` (clip pixels), `pose` ([offset, M, T, V] of float32 x, y,
        score; NaN = not seen) or None, `jpegs` (T + 1 offsets) or None, and `problems`: sentences for the reader.

    Raises:
        MgkitError: an unknown clip, or a quality outside 1 to 100. A missing or broken video does not raise: it is
            one of the problems, and the key-points are shown without it.
    """
    if not 1 <= quality <= 100:
        raise MgkitError(f"quality is {quality}: use 1 (worst) to 100 (best).")
    row = clips.row(clip_id)
    total = int(row["frames"])
    count = min(total, limit)
    problems: list[str] = []
    if count < total:
        problems.append(
            f"Only the first {count} of {total} frames are shown: raise max_frames to see them all."
        )
    parts: list[bytes] = []
    pose = None
    if row["pose_offset"] >= 0:
        points = np.ascontiguousarray(clips.pose(clip_id)[:, :count], dtype="<f4")  # (M, T, V, 3)
        pose = [0, *points.shape[:3]]
        parts.append(points.tobytes())
    jpegs = None
    path = clips.video(clip_id)
    if path is not None:
        try:
            heads = clips.heads(clip_id) if blur_faces else None
            encoded = _encode(clips, clip_id, count, quality, longest, heads, stream)
        except MgkitError as error:
            problems.append(_sentence(error))
        else:
            sizes = [sum(map(len, parts)), *map(len, encoded)]
            jpegs = np.cumsum(sizes).tolist()
            parts += encoded
            problems += [heads.note] if heads is not None and heads.note else []
    if path is None and pose is None:
        problems.append(f"Clip {clip_id} has neither a video nor a pose to show.")
    meta = {
        "clip_id": clip_id,
        "frames": count,
        "total": total,
        "fps": float(row["fps"]) or None,
        "width": int(row["width"]),
        "height": int(row["height"]),
        "pose": pose,
        "jpegs": jpegs,
        "problems": problems,
    }
    return Packed(meta, b"".join(parts))


def pack_heatmaps(maps: npt.NDArray[np.uint8]) -> Packed:
    """Heatmaps (3, T, S, S) as one PNG: the three as red, green and blue, the T pictures below each other."""
    import cv2

    groups, count, height, width = maps.shape
    sheet = maps.transpose(1, 2, 3, 0).reshape(count * height, width, groups)
    good, png = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    assert good
    return Packed({"count": count, "width": width, "height": height}, png.tobytes())


class PackCache:
    """The most recently used `Packed`, up to a limit in bytes; a larger one is not kept."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[Hashable, Packed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Packed]) -> Packed:
        """The one kept under `key`, or else the result of `make`."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        self._kept[key] = made
        self.size += len(made.data)
        while self.size > self.limit:
            _, dropped = self._kept.popitem(last=False)
            self.size -= len(dropped.data)
        return made


def _encode(
    clips: Clips,
    clip_id: str,
    count: int,
    quality: int,
    longest: int,
    heads: Heads | None,
    stream: Part | str,
) -> list[bytes]:
    """The first `count` frames of a clip, or of a stream of it, as JPEGs, these heads blurred."""
    import cv2

    encoded, settings = [], [cv2.IMWRITE_JPEG_QUALITY, quality]
    size = CHUNK if stream == "frames" else count  # a stream is made of all frames in any case
    for first in range(0, count, size):
        numbers = np.arange(first, min(first + size, count))
        pictures = stream_frames(clips, clip_id, numbers, stream)
        for number, frame in zip(numbers.tolist(), pictures, strict=True):
            if heads is not None:
                frame = blur_heads(frame, heads, number)
            scale = longest / max(frame.shape[:2])
            if scale < 1:
                shape = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
                frame = cv2.resize(frame, shape, interpolation=cv2.INTER_AREA)
            good, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), settings)
            assert good
            encoded.append(jpeg.tobytes())
    return encoded


def _sentence(error: MgkitError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] if text[:6].islower() else text
