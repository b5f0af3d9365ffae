"""How fast `mgkit prepare` cuts a dataset of untrimmed videos, against the obvious serial way.

    python benchmarks/prepare.py [--videos 4] [--minutes 1.5] [--clips 14] [--runs 3] [--workers N]
    python benchmarks/prepare.py --poses-only             # the same key-points without videos
    python benchmarks/prepare.py --memory --poses-only --clips 250 --frames 8 --minutes 3      # no times

The input is made on the spot, in the shape of iMiGUE: untrimmed videos of 1280 x 720, several clips each (median
about 40 frames), and one xlsx of 411 columns (137 points x 3) a video. Both ways make the same thing of it: for each
clip a 256 x 256 video around the person, H.264 of the same settings, and its key-points.

The obvious way, one clip after another in one process: pandas with openpyxl for the xlsx, OpenCV seeking to the first
frame of each clip, cropping, resizing, and PyAV writing the same H.264. Times are wall-clock seconds; the ratio
is of medians over the runs, which alternate. A second call finds everything made; the obvious way makes it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import machine
from mgkit.data.clips import Classes
from mgkit.data.prepare.cut import person_crop
from mgkit.data.prepare.folder import prepare
from mgkit.data.readers import RawClip, RawDataset
from mgkit.data.skeletons import IMIGUE22
from mgkit.parallel import cores

POINTS, FPS, WIDTH, HEIGHT, SIZE = 137, 25, 1280, 720, 256
# Where the 22 joints lie among the 137 points: body, then the tips of the left and of the right hand.
JOINTS = [*range(8), 15, 16, 17, 18, *range(99, 116, 4), *range(120, 137, 4)]


# --- the input ------------------------------------------------------------------------------------------------------


def make_input(folder: Path, videos: int, frames: int, clips: int, length: int, filmed: bool) -> None:
    """Videos (where `filmed`), poses and `labels.csv` (video, start, end) as one would download them."""
    lines = []
    for number in range(videos):
        rng = np.random.default_rng([number, 7])
        points = _points(frames, rng)
        if filmed:
            _write_source(folder / f"{number:04d}.mp4", points, rng)
        _write_xlsx(folder / f"{number:04d}.xlsx", points)
        lengths = np.clip(rng.lognormal(np.log(length), 0.7, clips).astype(int), 6, 400)
        free = frames - int(lengths.sum())
        starts = np.sort(rng.integers(0, free, clips)) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
        lines += [f"{number:04d},{a},{a + n}" for a, n in zip(starts, lengths, strict=True)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def _points(frames: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(T, 137, 3): a seated person who sways, whose hands wander."""
    t = np.arange(frames) / FPS
    place = rng.normal((640, 330), (90, 110), (POINTS, 2)).clip((420, 120), (860, 640))
    sway = np.stack([12 * np.sin(0.7 * t), 6 * np.sin(1.1 * t)], 1)
    points = np.ones((frames, POINTS, 3))
    points[..., :2] = place + sway[:, None] + rng.normal(0, 0.7, (frames, POINTS, 2))
    for first in (95, 116):
        points[:, first : first + 21, :2] += (60 * np.stack([np.sin(2 * t + first), np.cos(3 * t)], 1))[
            :, None
        ]
    points[..., 2] = rng.uniform(0.4, 1.0, (frames, POINTS))
    points[rng.random((frames, POINTS)) < 0.03] = 0
    return points.round(3)


def _write_source(path: Path, points: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
    """H.264 as video sites give it: B-frames, a key-frame every ten seconds, a textured wall with camera noise."""
    import av
    import cv2

    wall = cv2.GaussianBlur(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), (0, 0), 3)
    noise = [rng.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.int16) for _ in range(5)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23", "g": "250"}
        for i, pose in enumerate(points):
            picture = wall.copy()
            for x, y in pose[:25, :2].astype(int):
                cv2.circle(picture, (int(x), int(y)), 45, (150, 120, 110), -1)
            for x, y in pose[95:, :2].astype(int):
                cv2.circle(picture, (int(x), int(y)), 12, (200, 170, 150), -1)
            picture = np.clip(picture + noise[i % 5], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _write_xlsx(path: Path, points: npt.NDArray[np.float64]) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for i, row in enumerate(points.reshape(len(points), -1).tolist()):
            sheet.write_row(i, 0, row)


def _labels(folder: Path) -> list[tuple[str, int, int]]:
    rows = [line.split(",") for line in (folder / "labels.csv").read_text().split()]
    return [(name, int(start), int(end)) for name, start, end in rows]


def _pose(table: npt.NDArray[np.float64], start: int, end: int) -> npt.NDArray[np.float32]:
    pose = table.reshape(len(table), POINTS, 3)[None, start:end, JOINTS].astype(np.float32)
    pose[pose[..., 2] <= 0] = np.nan
    return pose


# --- mgkit ----------------------------------------------------------------------------------------------------------


def read(source: Path) -> RawDataset:
    """A reader as the project has them: the xlsx is read where it is needed, once a video."""
    clips = [
        RawClip(
            clip_id=f"{name}_{i}", split="train", label=0, size=(WIDTH, HEIGHT), video=_video(source, name), fps=FPS,
            source=name, start=start, end=end, pose=partial(lazy_pose, str(source / f"{name}.xlsx"), start, end),
        )
        for i, (name, start, end) in enumerate(_labels(source))
    ]  # fmt: skip
    return RawDataset(clips, Classes(("gesture",)), IMIGUE22, [source / "labels.csv"])


def _video(source: Path, name: str) -> Path | None:
    path = source / f"{name}.mp4"
    return path if path.is_file() else None


_last: dict[str, npt.NDArray[np.float64]] = {}


def lazy_pose(path: str, start: int, end: int) -> npt.NDArray[np.float32]:
    import python_calamine

    if path not in _last:
        _last.clear()
        sheet = python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0)
        _last[path] = np.array(sheet.to_python(), dtype=np.float64)
    return _pose(_last[path], start, end)


# --- the obvious way ------------------------------------------------------------------------------------------------


def obvious(source: Path, out: Path) -> None:
    import cv2
    import pandas as pd

    from mgkit.data.video import write_video

    last, table = "", np.empty(0)
    for i, (name, start, end) in enumerate(_labels(source)):
        if name != last:
            table = pd.read_excel(source / f"{name}.xlsx", header=None, engine="openpyxl").to_numpy(
                np.float64
            )
            last = name
        pose = _pose(table, start, end)
        np.save(out / f"{name}_{i}.npy", pose)
        path = _video(source, name)
        if path is None:
            continue
        crop = person_crop(pose, (WIDTH, HEIGHT))
        video = cv2.VideoCapture(str(path))
        video.set(cv2.CAP_PROP_POS_FRAMES, start)
        frames = []
        for _ in range(end - start):
            good, picture = video.read()
            assert good
            frames.append(_cropped(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), crop))
        video.release()
        write_video(out / f"{name}_{i}.mp4", frames, FPS)


def _cropped(picture: Any, crop: Any) -> Any:
    import cv2

    pad = max(0, -crop.x, -crop.y, crop.x + crop.side - WIDTH, crop.y + crop.side - HEIGHT)
    padded = cv2.copyMakeBorder(picture, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    part = padded[crop.y + pad : crop.y + pad + crop.side, crop.x + pad : crop.x + pad + crop.side]
    return cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


# --- the comparison -------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=1.5, help="length of each video")
    parser.add_argument("--clips", type=int, default=14, help="clips a video")
    parser.add_argument("--frames", type=int, default=40, help="median length of a clip")
    parser.add_argument("--poses-only", action="store_true", help="without videos")
    parser.add_argument("--memory", action="store_true", help="measure memory, and no time")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    frames = int(60 * FPS * options.minutes)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        source.mkdir()
        began = time.perf_counter()
        make_input(
            source, options.videos, frames, options.clips, options.frames, filmed=not options.poses_only
        )
        labels = _labels(source)
        print(
            f"{machine()}; {options.videos} videos of {frames} frames "
            f"{WIDTH} x {HEIGHT}, {len(labels)} clips of {sum(b - a for _, a, b in labels)} frames; made in "
            f"{time.perf_counter() - began:.0f} s",
            file=sys.stderr,
        )
        if options.memory:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
                before, caller, worker = fresh.submit(
                    peaks, source, Path(place) / "mgkit", options.workers
                ).result()
            print(f"libraries loaded      {before:6.0f} MB")
            print(f"`prepare`, at most    {caller:6.0f} MB, and its largest worker {worker:.0f} MB")
            return
        seconds: dict[str, list[float]] = {"obvious": [], "mgkit": [], "again": []}
        work: dict[str, list[float]] = {"obvious": [], "mgkit": [], "again": []}

        def timed(name: str, call: Any) -> Any:
            began, before = time.perf_counter(), _processor()
            value = call()
            seconds[name].append(time.perf_counter() - began)
            work[name].append(_processor() - before)
            return value

        for number in range(options.runs):
            out = Path(place) / f"obvious{number}"
            out.mkdir()
            timed("obvious", partial(obvious, source, out))
            target = Path(place) / f"mgkit{number}"
            clips = timed(
                "mgkit",
                partial(prepare, read, source, target, size=SIZE, workers=options.workers, progress=False),
            )
            assert len(clips) == len(labels)
            print({name: round(seconds[name][-1], 2) for name in ("obvious", "mgkit")}, file=sys.stderr)
        for _ in range(options.runs):
            timed("again", partial(prepare, read, source, Path(place) / "mgkit0", size=SIZE, progress=False))
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    busy = {name: statistics.median(times) for name, times in work.items()}
    titles = {"obvious": "obvious way", "mgkit": f"mgkit, {options.workers} workers", "again": "second call"}
    for name, title in titles.items():
        print(
            f"{title:18} {middle[name]:7.2f} s  {len(labels) / middle[name]:8.2f} clips/s  {busy[name]:7.2f} s of "
            f"processor time; obvious / this {middle['obvious'] / middle[name]:8.2f} and "
            f"{busy['obvious'] / busy[name]:.2f}"
        )


def peaks(source: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Megabytes of this process before and at most while it prepares, and at most of one of its workers."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prepare(read, source, out, size=SIZE, workers=workers, progress=False)
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    caller, worker = (resource.getrusage(kind).ru_maxrss for kind in kinds)
    return before / 1e3, caller / 1e3, worker / 1e3


def _processor() -> float:
    """Seconds of processor time of this process and of those it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
