"""What `mg.predict` costs on a long video beside its network alone, and what memory it takes.

    python benchmarks/predict.py                       # a made interview of ten minutes, ST-GCN++ narrow
    python benchmarks/predict.py --size full           # the published width
    python benchmarks/predict.py --memory 60           # peak memory over an hour of key-points, beside six minutes
    python benchmarks/predict.py --pictures --minutes 1  # a narrow RGB + pose network on the frames of a drawn video

The key-points are given, so that estimating them is not in it. The network alone gets the inputs of the same windows,
made beforehand, in the same batches. Weights are those that a training would begin with: they cost the same as trained
ones. Memory is that of a process of its own; the key-points themselves grow with the video, 24 MB an hour and person of
22 joints.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import mgkit as mg
from benchmarks.timing import machine
from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.skeletons import IMIGUE22
from mgkit.demo.recording import Interview, draw_interview
from mgkit.training import recipes
from mgkit.training.inference import open_network
from mgkit.training.recipe import Recipe
from tests.training.training import untrained


def some_clips(root: Path, interview: Interview, video: bool) -> Clips:
    """Clips of the gestures of the interview, which say how long windows are; their pictures are never read."""
    rows, poses = [], []
    (root / "videos").mkdir(parents=True)
    for i, row in enumerate(interview.segments.head(16).to_dict("records")):
        start, stop = int(row["frame"]), int(row["stop"])
        name = f"videos/{i}.mp4" if video else ""
        if video:
            (root / name).touch()
        rows.append(
            {
                "clip_id": str(i), "split": "train", "label": int(row["label"]), "subject": "", "source": "made",
                "start": start, "end": stop, "frames": stop - start, "fps": 25.0, "width": 112, "height": 112,
                "video": name, "persons": 1, "crop_x": 0.0, "crop_y": 0.0, "crop_width": 112.0, "crop_height": 112.0,
            }
        )  # fmt: skip
        poses.append(interview.points[:, start:stop])
    return write_clip_folder(root, rows, poses, Classes(interview.classes), IMIGUE22)


def network_alone(run: Any, prediction: Any, batch_size: int) -> tuple[float, float]:
    """Processor and wall seconds of the bare network on the windows of a prediction; their inputs do not count."""
    clips = prediction.clips()
    network = open_network(run, clips, "best", "cpu", None, 0.0)
    network.model.eval()
    dataset = ClipDataset(clips, network.inputs, training=False)
    processor = wall = 0.0
    with torch.inference_mode():
        for first in range(0, len(dataset), batch_size):
            keys = [(0, i, 0) for i in range(first, min(first + batch_size, len(dataset)))]
            inputs = batch_inputs(collate([dataset[key] for key in keys]), dataset.spec)
            began = time.process_time(), time.perf_counter()
            network.model(inputs)
            processor += time.process_time() - began[0]
            wall += time.perf_counter() - began[1]
    return processor, wall


def recipe_of(size: str, pictures: bool) -> Recipe:
    if pictures:
        return recipes.demo()
    recipe = recipes.stgcnpp()
    return recipe if size == "full" else recipes.narrow(recipe)


def long_points(points: np.ndarray, minutes: float) -> np.ndarray:
    """Key-points of so many minutes: those of the interview over and over."""
    frames = round(60 * 25 * minutes)
    return np.tile(points, (1, -(-frames // points.shape[1]), 1, 1))[:, :frames]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--size", default="narrow", choices=["narrow", "full"])
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--memory", type=float, metavar="MINUTES")
    parser.add_argument("--peak", nargs=2, metavar=("RUN", "POINTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(*options.peak)
        return
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        interview = draw_interview(
            root / "interview.mp4", minutes=options.minutes if options.pictures else 1.0, progress=False
        )
        run = untrained(
            some_clips(root / "clips", interview, options.pictures),
            recipe_of(options.size, options.pictures),
            root / "run",
        )
        if options.memory:
            memory(root, run, interview.points, options.memory)
            return
        source: Any = interview.video
        if not options.pictures:
            np.savez(
                root / "long.npz",
                points=long_points(interview.points, options.minutes),
                fps=25.0,
                size=interview.size,
            )
            source = root / "long.npz"
        batch_size = 16
        mg.predict(run, source, whole=True, device="cpu", progress=False)  # all modules are loaded
        began = time.process_time(), time.perf_counter()
        found = mg.predict(
            run, source, out=root / "said.npz", batch_size=batch_size, device="cpu", progress=False
        )
        spent = time.process_time() - began[0], time.perf_counter() - began[1]
        alone = network_alone(run, found, batch_size)
        print(f"{options.minutes:g} minutes, {len(found)} windows of {np.diff(found.seconds[0])[0]:.2f} s")
        for name, (processor, wall) in (("predict", spent), ("the network alone", alone)):
            print(f"  {name:20s} {processor:7.1f} s of a processor, {wall:7.1f} s on the clock")
        print(f"  predict / network: {spent[0] / alone[0]:.2f} of processor time")


def memory(root: Path, run: Any, points: np.ndarray, minutes: float) -> None:
    """Peak memory of predicting a tenth of the time, and all of it, each in a process of its own."""
    for length in (minutes / 10, minutes):
        path = root / f"{length:g}.npz"
        np.savez(path, points=long_points(points, length), fps=25.0, size=(160, 128))
        words = [sys.executable, __file__, "--peak", str(run.root), str(path)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        print(f"  {length:6.1f} minutes: {said}")


def peak(run: str, points: str) -> None:
    import resource

    found = mg.predict(run, points, device="cpu", progress=False, out=Path(points).with_suffix(".said.npz"))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(found)} windows, peak {after:.0f} MB")


if __name__ == "__main__":
    main()
