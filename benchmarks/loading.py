"""How fast training clips are loaded, against a plain pipeline and against decoding alone, and what memory it takes.

    python benchmarks/loading.py                  # clips a second, on clips made on the spot (half a minute to make)
    python benchmarks/loading.py --clips-at DIR   # on a clip folder of your own, of one frame size
    python benchmarks/loading.py --memory 4000    # resident memory over so many reads by one process

Everything runs on the same clips, the same frames of them and one core: 8 RGB frames and 32 poses of each clip for
224- and 56-pixel inputs. Variants take turns, each in the processor time and wall time of this process. The rows with
a loader process give wall time, and the processor time of that process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing import active_children
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.heatmaps import loop_joints
from benchmarks.made import make_clips
from benchmarks.timing import interleaved, line, machine
from mgkit.data import video
from mgkit.data.batches import dataset as batches
from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import RGB_MEAN, RGB_STD, batch_inputs
from mgkit.data.batches.loader import Loader
from mgkit.data.batches.samplers import EpochSampler
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips, load_clips
from mgkit.data.video import read_frames

BATCH = 10


def decord_frames(path: Path, times: np.ndarray) -> np.ndarray:
    """What a few lines with decord do."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(str(path), num_threads=1).get_batch(times.tolist()).asnumpy()


class Recorded(ClipDataset):
    """The same draws, with the frames that they read noted."""

    def reads(self, keys: list[tuple[int, int, int]]) -> list[tuple[Path, np.ndarray]]:
        noted: list[tuple[Path, np.ndarray]] = []

        def note(path: Path, times: np.ndarray) -> np.ndarray:
            noted.append((path, times))
            return np.zeros((len(times), 2, 2, 3), np.uint8)

        real, video.read_frames = video.read_frames, note  # type: ignore[assignment]
        try:
            for key in keys:
                self[key]
        finally:
            video.read_frames = real
        return noted


def plain_sample(dataset: ClipDataset, key: tuple[int, int, int], read: tuple[Path, np.ndarray]) -> tuple:
    """A sample as most published loaders make it: crop, resize, normalise, flip and draw on the processor, in NumPy."""
    _, position, _ = key
    spec, clip_id = dataset.spec, dataset.clips.ids[position]
    frames = decord_frames(*read)
    generator = np.random.default_rng(position)
    x, y, w, h = batches.random_box(frames.shape[2], frames.shape[1], spec.crop_area, generator)
    left, top, right, bottom = int(x), int(y), int(x + w), int(y + h)
    size = (spec.rgb_size, spec.rgb_size)
    cut = [cv2.resize(frame[top:bottom, left:right], size) for frame in frames]
    rgb = (np.stack(cut).astype(np.float32) - np.float32(RGB_MEAN)) / np.float32(RGB_STD)
    points = dataset.clips.pose(clip_id)
    points = points[:, batches.uniform_times(points.shape[1], spec.pose_frames, generator)]
    points[..., 0] = (points[..., 0] - x) * spec.heatmap_size / w
    points[..., 1] = (points[..., 1] - y) * spec.heatmap_size / h
    if generator.random() < 0.5:
        rgb = rgb[:, :, ::-1]
        points = points[:, :, dataset.clips.skeleton.flip_index]
        points[..., 0] = spec.heatmap_size - points[..., 0]
    maps = loop_joints(points, spec.heatmap_size, spec.sigma)
    return np.ascontiguousarray(rgb.transpose(3, 0, 1, 2)), np.ascontiguousarray(maps.transpose(1, 0, 2, 3))


class Reads(Dataset):
    """Decoding alone, in a loader process that sends back nothing but a number."""

    def __init__(self, reads: list[tuple[Path, np.ndarray]]) -> None:
        self.reads = reads

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, position: int) -> int:
        return len(read_frames(*self.reads[position]))


def speed(clips: Clips, rounds: int) -> None:
    spec = Inputs()
    dataset = Recorded(clips, spec, training=True)
    sampler = EpochSampler(dataset)
    keys = list(sampler)
    reads = dataset.reads(keys)
    lengths = clips.table["frames"]
    size = sum(path.stat().st_size for path, _ in reads) / lengths.sum() / 1e3
    print(f"{machine()}, PyTorch {torch.__version__}")
    print(
        f"{len(clips)} clips of {clips.table['width'][0]} pixels, {lengths.min()} to {lengths.max()} frames (median "
        f"{lengths.median():.0f}), {size:.1f} kB a frame; 8 + 32 frames a clip, batches of {BATCH}"
    )

    def loader(workers: int) -> Loader:
        return Loader(dataset, sampler.in_batches(BATCH), BATCH, workers=workers, device=torch.device("cpu"))

    def plain() -> None:
        for start in range(0, len(keys), BATCH):
            part = range(start, min(start + BATCH, len(keys)))
            rgb, pose = zip(*(plain_sample(dataset, keys[i], reads[i]) for i in part), strict=True)
            torch.from_numpy(np.stack(rgb)), torch.from_numpy(np.stack(pose))

    def ready() -> None:
        for batch in loader(0):
            batch_inputs(batch, spec, clips.skeleton)

    inside = {
        "plain NumPy pipeline, network inputs": plain,
        "mgkit, network inputs (loader and device side)": ready,
        "mgkit, loader alone": lambda: [None for _ in loader(0)],
        "decoding alone, decord": lambda: [decord_frames(*read) for read in reads],
        "decoding alone, mgkit (PyAV)": lambda: [read_frames(*read) for read in reads],
        "decoding alone, mgkit (decord)": lambda: [read_frames(*read, "decord") for read in reads],
    }
    times = interleaved(inside, rounds, len(keys))
    print("In one process: processor time a clip, and times the plain pipeline")
    for name, (processor, _) in times.items():
        print(line(name, processor, times["plain NumPy pipeline, network inputs"][0]))
    middle = {name: float(np.median(processor)) for name, (processor, _) in times.items()}
    ours = middle["mgkit, loader alone"]
    for floor in ("decoding alone, decord", "decoding alone, mgkit (PyAV)"):
        print(f"  the loader takes {100 * (ours / middle[floor] - 1):+.0f} % of {floor}")
    print("In one process, by the clock:")
    for name, (_, wall) in times.items():
        print(f"  {name:48s} {1e3 / np.median(wall):6.1f} clips/s")

    # Processes that persist, as in training, and are warm before the clock starts.
    persistent = loader(1)
    alone = DataLoader(
        Reads(reads), batch_size=BATCH, num_workers=1, persistent_workers=True, prefetch_factor=2
    )
    spent: dict[str, list[float]] = {}

    def through(name: str, loader: Iterable[object]) -> Callable[[], object]:
        """An epoch of a loader, and what its process spends on it."""
        others = {child.pid for child in active_children()}
        for _ in loader:
            pass
        (process,) = {child.pid for child in active_children()} - others

        def epoch() -> None:
            before = processor_time(process)
            for _ in loader:
                pass
            time.sleep(0.05)  # it has the end of the epoch to deal with
            spent.setdefault(name, []).append(1e3 * (processor_time(process) - before) / len(keys))

        return epoch

    ours, floor = "one loader process, mgkit", "one loader process, decoding alone"
    times = interleaved({ours: through(ours, persistent), floor: through(floor, alone)}, rounds, len(keys))
    print("With a loader process: wall time a clip, and processor time of the process")
    for name, (_, wall) in times.items():
        print(line(name, wall) + f"  {1e3 / np.median(wall):6.1f} clips/s")
        print(
            line("  its processor time", np.array(spent[name][1:]))
        )  # without the round that does not count
    for what, (one, other) in {
        "wall time": (times[ours][1], times[floor][1]),
        "processor time": (np.array(spent[ours]), np.array(spent[floor])),
    }.items():
        over = 100 * (np.median(one / other) - 1)
        print(f"  the loader takes {over:+.0f} % {what} of decoding alone (median of rounds)")


def processor_time(process: int | None) -> float:
    """Seconds that the threads of a process have run, as Linux counts them."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


MEMORY = """
import sys
import numpy as np
from pathlib import Path
from mgkit.data.clips import load_clips
from mgkit.data.video import read_frames
root, way, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
table = load_clips(root).table
kept, sizes, generator = [], [], np.random.default_rng(0)
for i in range(count + 1):
    if i % (count // 8) == 0:
        sizes.append(int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6)
    row = table.iloc[i % len(table)]
    times = np.sort(generator.integers(row["frames"], size=8))
    if way == "kept":
        import decord
        if len(kept) <= i % len(table):
            kept.append(decord.VideoReader(str(root / row["video"]), num_threads=1))
        kept[i % len(table)].get_batch(times.tolist()).asnumpy()
    else:
        read_frames(root / row["video"], times, way)
print("  ".join(f"{size:.0f}" for size in sizes))
"""


def memory(clips: Clips, count: int) -> None:
    print(
        f"{machine()}: resident MB of a process at every eighth of {count} reads of 8 frames, {len(clips)} clips"
    )
    for way, name in (("pyav", "mgkit, PyAV"), ("decord", "mgkit, decord"), ("kept", "decord, readers kept")):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(clips.root), way, str(count)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        print(f"  {name:24s} {done.stdout.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips-at", type=Path, help="a clip folder; made for this run by default")
    parser.add_argument("--clips", type=int, default=60, help="clips to make")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, help="measure memory over so many reads, and no speed")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clips = (
            load_clips(chosen.clips_at)
            if chosen.clips_at
            else make_clips(Path(folder) / "clips", chosen.clips)
        )
        memory(clips, chosen.memory) if chosen.memory else speed(clips, chosen.rounds)


if __name__ == "__main__":
    main()
