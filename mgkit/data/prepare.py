"""Raw dataset to clip folder: cut, person crop, resize, re-encode, one way for every dataset.

The crop of a clip is one square around every joint seen in it, with a margin; what lies outside the source frame is
black. It is recorded, so each pixel and joint can be traced back. Key-points move with it. A clip without any seen
joint keeps the whole frame, and the report says so.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mgkit.data.clips import Clips, load_clips, write_clip_folder
from mgkit.data.readers import RawClip, RawDataset, note
from mgkit.data.readers.pyskl import read_pyskl
from mgkit.data.video import probe, read_frames, write_video
from mgkit.errors import MgkitError
from mgkit.files import read_json, write_json
from mgkit.progress import live
from mgkit.progress import out as bar_file

MARGIN = 0.25  # of the half side, added around the joints: the published setting
READERS = {"pyskl": read_pyskl}


@dataclass(frozen=True)
class Crop:
    """A square in source pixels; it may reach beyond the frame."""

    x: float
    y: float
    side: float


def prepare(
    name: str,
    source: str | Path,
    out: str | Path,
    *,
    size: int = 256,
    workers: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Clips:
    """Make a clip folder from a raw dataset.

    Args:
        name: the layout of the source: "pyskl" (annotation pickle, with `videos=` a folder of videos).
        source: the dataset: for "pyskl" the pickle.
        out: the clip folder. An unfinished one is completed; a finished one of the same source and settings is
            returned as it is.
        size: side of the prepared square videos, pixels.
        workers: processes; one per core by default.
        progress: show a bar.
        **options: what the reader takes (`skeleton=`, `classes=`, `splits=`, `videos=`).

    Returns:
        The prepared clips. What was odd stands in their `report`.

    Raises:
        MgkitError: see the reader; a video that cannot be decoded; a folder that holds something else.
    """
    if name not in READERS:
        raise MgkitError(f"there is no reader {name!r}; there are {', '.join(READERS)}.")
    if size < 16 or size % 2:
        raise MgkitError(f"size is {size}: use an even number of pixels, 16 or more.")
    out = Path(out)
    raw = READERS[name](source, **options)
    settings = {"reader": name, "size": size, "margin": MARGIN, "source": _stamp(raw)}
    manifest = out / "prepare.json"
    if manifest.is_file():
        before = read_json(manifest)
        # An unfinished folder may go on with a mended source: `_encode` makes anew what is older than its source.
        mended = not (out / "clips.parquet").is_file() and {**before, "source": ""} == {
            **settings,
            "source": "",
        }
        if before != settings and not mended:
            raise MgkitError(
                f"{out} was prepared from another source, or with other settings ({manifest.name} tells): choose "
                "another folder, or delete this one to prepare it again."
            )
        if (out / "clips.parquet").is_file():
            return load_clips(out)
    elif (out / "clips.parquet").exists():
        raise MgkitError(
            f"{out} already holds a clip folder that `prepare` did not make: choose another folder."
        )
    write_json(manifest, settings)
    return _write(raw, out, size, workers, progress)


def _write(raw: RawDataset, out: Path, size: int, workers: int | None, progress: bool) -> Clips:
    report = list(raw.report)
    crops: list[Crop] = []
    rows: list[dict[str, Any]] = []
    jobs = [(clip, out, size) for clip in raw.clips]
    for row, crop, notes in _run(jobs, workers, progress):
        report += notes
        crops.append(crop)
        rows.append(row)
    poses = (
        _move(clip.pose(), crop, size)[:, : row["frames"]] if clip.pose and row["persons"] else None
        for clip, crop, row in zip(raw.clips, crops, rows, strict=True)
    )
    return write_clip_folder(out, rows, poses, raw.classes, raw.skeleton, report)


def _run(jobs: list[Any], workers: int | None, progress: bool) -> Iterator[Any]:
    workers = workers or os.cpu_count() or 1
    bar: dict[str, Any] = {
        "total": len(jobs),
        "desc": "prepare",
        "unit": "clip",
        "disable": not live(progress),
        "file": bar_file(),
        "mininterval": 0.5,
    }
    if workers == 1 or not any(job[0].video for job in jobs):
        yield from tqdm(map(_prepare_clip, jobs), **bar)
        return
    # Spawned, not forked: the parent may hold threads of torch or a notebook, which a fork would freeze.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield from tqdm(pool.map(_prepare_clip, jobs, chunksize=4), **bar)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _prepare_clip(job: tuple[RawClip, Path, int]) -> tuple[dict[str, Any], Crop, list[dict[str, str]]]:
    """Cut, crop and encode one clip; the row of the table, its crop, and what was odd."""
    clip, out, size = job
    notes: list[dict[str, str]] = []
    pose = clip.pose() if clip.pose else None
    info = probe(clip.video) if clip.video else None
    if info is not None:
        frame_size = (info.width, info.height)
        if clip.size is not None and clip.size != frame_size:
            raise MgkitError(
                f"{clip.video} is {info.width} x {info.height} pixels, but the poses of clip {clip.clip_id!r} say "
                f"{clip.size[0]} x {clip.size[1]}: give the videos that the poses were made from."
            )
    elif clip.size is not None:
        frame_size = clip.size
    else:
        raise MgkitError(f"clip {clip.clip_id!r} has neither a video nor a frame size.")
    crop = person_crop(pose, frame_size)
    if pose is not None and not np.isfinite(pose).all(-1).any():
        notes.append(note("no person", "no joint was seen: the whole frame is kept", clip.clip_id))

    asked = None if clip.end is None else clip.end - clip.start
    lengths = {} if asked is None else {"label": asked}
    if info is not None:
        lengths["video"] = info.frames - clip.start if asked is None else min(asked, info.frames - clip.start)
    if pose is not None:
        lengths["pose"] = pose.shape[1]
    frames = min(lengths.values())
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{what} {count}" for what, count in lengths.items())
        notes.append(note("lengths differ", f"frames by {said}: the shortest is kept", clip.clip_id))
    if frames < 1:
        raise MgkitError(
            f"clip {clip.clip_id!r} of {clip.source} has no frames: it would begin at frame {clip.start}."
        )
    video = ""
    if clip.video is not None and info is not None:
        video = f"videos/{clip.clip_id}.mp4"
        _encode(clip.video, out / video, range(clip.start, clip.start + frames), crop, size, info.fps)
    row = {
        "clip_id": clip.clip_id,
        "split": clip.split,
        "label": clip.label,
        "subject": clip.subject,
        "source": clip.source,
        "start": clip.start,
        "end": clip.start + frames,
        "frames": frames,
        "fps": info.fps if info else clip.fps,
        "width": size,
        "height": size,
        "video": video,
        "persons": 0 if pose is None else pose.shape[0],
        "crop_x": crop.x,
        "crop_y": crop.y,
        "crop_width": crop.side,
        "crop_height": crop.side,
    }
    return row, crop, notes


def person_crop(pose: npt.NDArray[np.float32] | None, frame: tuple[int, int], margin: float = MARGIN) -> Crop:
    """The square around every joint seen in a clip.

    Args:
        pose: (M, T, V, 3) in source pixels, NaN = not seen; None = not known.
        frame: (width, height) of the source.
        margin: added on every side, as a share of half the side.

    The outermost 0.5 % of the points on each side, and points outside the frame, do not count: a single joint thrown
    across the picture by the pose estimator would otherwise shrink the person to a dot.
    """
    width, height = frame
    whole = Crop((width - max(frame)) / 2, (height - max(frame)) / 2, float(max(frame)))
    if pose is None:
        return whole
    points = pose[..., :2].reshape(-1, 2)
    points = points[np.isfinite(points).all(-1)]
    points = points[((points >= 0) & (points <= (width, height))).all(-1)]
    if len(points) == 0:
        return whole
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    side = float(max(*(high - low), 0.1 * max(frame))) * (1 + margin)
    middle = (low + high) / 2
    return Crop(float(middle[0] - side / 2), float(middle[1] - side / 2), side)


def _move(pose: npt.NDArray[np.float32], crop: Crop, size: int) -> npt.NDArray[np.float32]:
    """Key-points from source pixels to pixels of the prepared video."""
    moved = pose.astype(np.float32, copy=True)
    moved[..., 0] = (pose[..., 0] - crop.x) * (size / crop.side)
    moved[..., 1] = (pose[..., 1] - crop.y) * (size / crop.side)
    return moved


def _encode(source: Path, target: Path, span: range, crop: Crop, size: int, fps: float) -> None:
    """Write the cropped, resized clip; a file that is already there is whole (they are written atomically)."""
    if target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
        return
    import cv2

    cv2.setNumThreads(1)
    scale = size / crop.side
    # Output pixel centres are at i + 0.5 in our coordinates and at i in OpenCV's: hence the half pixels.
    matrix = np.array(
        [[scale, 0, -crop.x * scale + scale / 2 - 0.5], [0, scale, -crop.y * scale + scale / 2 - 0.5]]
    )
    frames = read_frames(source, list(span))
    blur = 1 / scale if scale < 1 else 0.0

    def cropped() -> Iterator[npt.NDArray[np.uint8]]:
        for frame in frames:
            if (
                blur > 1.3
            ):  # more than one source pixel an output pixel: average them first, or edges turn jagged
                frame = cv2.GaussianBlur(frame, (0, 0), 0.35 * blur)
            yield np.asarray(
                cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8
            )

    write_video(target, cropped(), fps)


def _stamp(raw: RawDataset) -> str:
    """A hash that changes when a source file, the clips taken from it, or the classes change."""
    lines = [f"{path.name}\t{path.stat().st_size}\t{path.stat().st_mtime_ns}" for path in sorted(raw.files)]
    lines += [f"{c.clip_id}\t{c.split}\t{c.label}\t{c.start}\t{c.end}" for c in raw.clips]
    lines += [*raw.classes.names, *raw.skeleton.joints]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def report_lines(clips: Clips) -> list[str]:
    """The report as a short table: what, how many clips, the first few."""
    counts = Counter(entry["what"] for entry in clips.report)
    lines = []
    for what, count in counts.most_common():
        first = next(entry for entry in clips.report if entry["what"] == what)
        where = f"{first['clip_id']}: " if first["clip_id"] else ""
        lines.append(f"{what} ({count}): {where}{first['detail']}")
    return lines
