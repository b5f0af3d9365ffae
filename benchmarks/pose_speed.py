"""`mgkit pose` against the bare loop of its estimator: PyAV decodes, MediaPipe detects, nothing else.

    python benchmarks/pose_speed.py VIDEO [--frames 600] [--height 720] [--rounds 3] [--write]

The video is played to and fro and enlarged until it has `--frames` frames of `--height` pixels. Both ways take turns in
one process: what `mgkit pose` adds is counting the frames, spans with their warm-up, blocks, checks, the choice of a
person, the report and the file. Processor time of this process and wall time, a frame; ratios are of medians.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.report import write_section
from benchmarks.timing import interleaved, machine
from mgkit.data.video import probe, read_frames, write_video
from mgkit.pose import estimate
from mgkit.pose.estimators import quiet
from mgkit.pose.weights import task_file

PAGE = Path(__file__).resolve().parents[1] / "docs" / "poses.md"


def bare(path: Path) -> int:
    """The loop of MediaPipe's own examples: frames with somebody."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.HolisticLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(task_file())))
    found = 0
    with (
        quiet(),
        vision.HolisticLandmarker.create_from_options(options) as landmarker,
        av.open(str(path)) as file,
    ):
        for frame in file.decode(video=0):
            picture = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
            result = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=picture))
            found += bool(result.pose_landmarks)
    return found


def ours(path: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    estimate(path, out, workers=1, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/poses.md")
    options = parser.parse_args()
    info = probe(options.video)
    frames = read_frames(options.video, range(info.frames))
    size = (2 * round(options.height * info.width / info.height / 2), options.height)
    order = [*range(info.frames), *reversed(range(info.frames))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        large = (cv2.resize(frames[order[i % len(order)]], size) for i in range(options.frames))
        write_video(path, large, info.fps, key_frame_distance=60)
        ways: dict[str, Callable[[], object]] = {
            "bare loop": partial(bare, path),
            "`mgkit pose`, one process": partial(ours, path, Path(folder) / "poses"),
        }
        times = interleaved(ways, options.rounds, options.frames)
    base = times["bare loop"]
    lines = [
        f"{options.frames} frames of {size[0]} x {size[1]}, {options.rounds} rounds, median, a frame:",
        "",
    ]
    lines += [
        "| | processor time | against the bare loop | wall time | against the bare loop |",
        "|---|---|---|---|---|",
    ]
    for name, spent in times.items():
        cells = [
            f"{np.median(t):.1f} ms | {np.median(t) / np.median(b):.2f}"
            for t, b in zip(spent, base, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", machine()]
    print("\n".join(lines))
    if options.write:
        write_section("pose speed", lines, PAGE)


if __name__ == "__main__":
    main()
