"""A clip folder of millions of clips: opened, filtered, split and sampled, with the time and the memory of each step.

    python benchmarks/scale.py --clips 10000000

The table is of that many clips of 40 frames without videos; their key-points are a file of the right size that holds
nothing on the disk but what is read. Each part runs in a process of its own, whose resident memory is taken after each
step: the table as pandas reads it, the baseline; what is done before training, without torch; training; and, with
--folds, folds, which take long. What a loader process has of its own (its private memory) is taken after a hundred
batches.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timing import machine
from mgkit.data.batches.samplers import epoch_order
from mgkit.data.clips import Clips, load_clips
from mgkit.data.skeletons import get_skeleton
from mgkit.files import write_json

FRAMES, CLASSES, PER_SUBJECT, CHUNK = 40, 32, 250, 500_000


def write_folder(root: Path, count: int) -> None:
    """A clip folder of `count` clips, written in chunks."""
    root.mkdir(parents=True, exist_ok=True)
    layout = get_skeleton("coco17")
    generator = np.random.default_rng(0)
    writer: pq.ParquetWriter | None = None
    for first in range(0, count, CHUNK):
        rows = np.arange(first, min(first + CHUNK, count))
        ones = np.ones(len(rows), np.int64)
        subjects = rows // PER_SUBJECT
        table = pa.table(
            {
                "clip_id": [f"clip{i:09d}" for i in rows.tolist()],
                "split": np.array(["train", "train", "train", "val", "test"])[subjects % 5].tolist(),
                "label": generator.integers(0, CLASSES, len(rows)),
                "subject": [f"S{i:06d}" for i in subjects.tolist()],
                "source": [f"day{i // 4:06d}.mp4" for i in subjects.tolist()],
                "start": FRAMES * (rows % PER_SUBJECT),
                "end": FRAMES * (rows % PER_SUBJECT) + FRAMES,
                "frames": FRAMES * ones,
                "fps": 25.0 * ones,
                "width": 256 * ones,
                "height": 256 * ones,
                "video": [""] * len(rows),
                "persons": ones,
                "pose_offset": FRAMES * rows,
                "crop_x": 0.0 * ones,
                "crop_y": 0.0 * ones,
                "crop_width": 256.0 * ones,
                "crop_height": 256.0 * ones,
            }
        )
        writer = writer or pq.ParquetWriter(root / "clips.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    np.lib.format.open_memmap(
        root / "poses.npy", mode="w+", dtype=np.float32, shape=(FRAMES * count, len(layout), 3)
    )
    names = [f"class {i}" for i in range(CLASSES)]
    write_json(
        root / "classes.json", {"names": names, "groups": None, "non_gesture": None, "background": None}
    )
    write_json(root / "skeleton.json", layout.to_dict())


def memory(process: int | str = "self", name: str = "VmRSS") -> float:
    """Gigabytes of a process."""
    rows = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(row.split()[1]) for row in rows if row.startswith(name)) / 1e9


def private(process: int) -> float:
    """Gigabytes that a process shares with no other."""
    rows = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(1024 * int(row.split()[1]) for row in rows if row.startswith("Private_")) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folds", action="store_true", help="make folds by subject too")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        if not (folder / "classes.json").is_file():
            alone(write_folder, folder, options.clips)
        print(f"{options.clips:,} clips, {machine()}\n")
        parts = {
            "as pandas reads it": baseline,
            "looking": look,
            "training": partial(train, workers=options.workers),
        }
        for name, part in {**parts, **({"folds": make_folds} if options.folds else {})}.items():
            print(
                f"\n| {name} | time of a processor | memory after it | most so far |\n|---|---|---|---|",
                flush=True,
            )
            alone(part, folder)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def alone(call: Callable[..., object], *arguments: object) -> None:
    """Do something in a process of its own, which leaves no memory behind and counts its own libraries."""
    process = multiprocessing.get_context("spawn").Process(target=call, args=arguments)
    process.start()
    process.join()


def step(name: str, call: Callable[[], Any]) -> Any:
    """Do one step and print its line."""
    began = time.process_time()
    made = call()
    took = time.process_time() - began
    print(f"| {name} | {took:.1f} s | {memory():.2f} GB | {memory(name='VmHWM'):.2f} GB |", flush=True)
    return made


def baseline(folder: Path) -> None:
    """The table as it is, nothing checked."""
    step("imports", lambda: None)
    step("`pandas.read_parquet`", lambda: pd.read_parquet(folder / "clips.parquet"))


def look(folder: Path) -> None:
    """What is done before any training: no torch is loaded."""
    step("imports", lambda: None)
    clips: Clips = step("`load_clips`", lambda: load_clips(folder))
    step("filter by a column", lambda: clips.where(clips.column("frames") >= FRAMES))
    ids = [f"clip{i:09d}" for i in np.random.default_rng(0).integers(0, len(clips), 10_000)]
    step("`select` of 10,000 clips", lambda: clips.select(dict.fromkeys(ids)))
    step("the poses of 1,000 clips by id", lambda: [clips.pose(i) for i in ids[:1000]])
    chosen: Clips = step('`split("train")`', lambda: clips.split("train"))
    order = step("order of an epoch", lambda: epoch_order(chosen.labels, 0, 1))
    del order
    step("balanced order", lambda: epoch_order(chosen.labels, 0, 1, "balanced"))
    assert "torch" not in sys.modules
    step("`table`, which takes all columns", lambda: clips.table)


def make_folds(folder: Path) -> None:
    """Folds of all clips."""
    clips = load_clips(folder)
    step("5 folds by subject", lambda: clips.folds(5))


def train(folder: Path, workers: int) -> None:
    """What a training process does with its clips."""
    multiprocessing.set_start_method(None, force=True)  # a process that was spawned would spawn its own
    import torch

    from mgkit.data.batches.dataset import ClipDataset
    from mgkit.data.batches.loader import Loader
    from mgkit.data.batches.samplers import StepSampler
    from mgkit.data.batches.spec import Inputs

    step("imports, with torch", lambda: None)
    clips: Clips = step('`load_clips`, `split("train")`', lambda: load_clips(folder).split("train"))
    spec = Inputs(reads=("keypoints",))
    dataset: ClipDataset = step("`ClipDataset`", lambda: ClipDataset(clips, spec, training=True))
    sampler: StepSampler = step("order of an epoch", lambda: StepSampler(dataset, 64))
    step("resume in the middle of one", lambda: sampler.begin(1, sampler.steps // 2))
    step("balanced order", lambda: StepSampler(dataset, 64, sampling="balanced"))
    loader = Loader(dataset, sampler, 64, workers=workers, device=torch.device("cpu"))
    batches = iter(loader)
    step(f"100 batches of 64 by {workers} loader processes", lambda: [next(batches) for _ in range(100)])
    own = [private(child.pid) for child in multiprocessing.active_children() if child.pid]
    print(f"\nA loader process has {max(own):.2f} GB of its own.")


if __name__ == "__main__":
    main()
