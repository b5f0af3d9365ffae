"""A training step and a test step of the two-pathway network, against the plain implementation and the hardware.

    python benchmarks/step.py                       # full size, batches of 1 and 2 on a CPU, 10 and more on a GPU
    python benchmarks/step.py --size demo --batch 8
    python benchmarks/step.py --write               # put the tables into docs/performance.md as well

Baselines, in the same process and taking turns:

(a) plain: float32, eager, contiguous tensors, frames cropped and normalised and heatmaps drawn clip by clip in
    NumPy on the processor, torch's default SGD;
(b) the hardware: the operations of the network over the speed of a large matrix product measured here, and the bytes
    that its layers read and write once forward and twice backward over the speed of a large copy measured here.

A step is: inputs from uint8 frames and key-points, forward, the loss with prototypical refinement, backward, SGD.
Decoding is measured by `benchmarks/loading.py`. On a GPU ours is bfloat16 and channels_last_3d with fused SGD, eager
and compiled; on a CPU float32 and channels_last_3d. Peak memory is that of a process of its own (on a GPU: allocated).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.heatmaps import loop_joints
from benchmarks.report import write_section
from benchmarks.step_floors import Floors, copy_speed, matrix_speed, memory_table, network_floors
from benchmarks.timing import interleaved, machine
from mgkit.data.batches.augment import crop_affine, random_box
from mgkit.data.batches.dataset import Batch
from mgkit.data.batches.device import RGB_MEAN, RGB_STD, batch_inputs
from mgkit.data.skeletons import get_skeleton
from mgkit.models import Objective, recompute_blocks
from mgkit.training.build import build_model, build_objective, embedding_widths
from mgkit.training.machine import make_optimizer
from mgkit.training.recipe import Recipe
from mgkit.training.recipes import RECIPES

CLASSES, LAYOUT, FRAME = 32, get_skeleton("coco17"), 256
PAPER_CLIPS, PAPER_EPOCHS = 12_893, 30  # iMiGUE's training clips; epochs of each of the three stages


@dataclass(frozen=True)
class Way:
    """One way to do a step."""

    name: str
    plain: bool = False  # inputs and layout of the plain implementation
    bfloat16: bool = False
    compiled: bool | str = False  # True, or a mode of torch.compile
    recomputed: bool = False


def ways(device: torch.device) -> list[Way]:
    if device.type == "cpu":
        return [Way("plain", plain=True), Way("mgkit"), Way("mgkit, blocks recomputed", recomputed=True)]
    return [
        Way("plain", plain=True),
        Way("mgkit, eager", bfloat16=True),
        Way("mgkit, compiled", bfloat16=True, compiled=True),
        Way("mgkit, compiled, CUDA graphs", bfloat16=True, compiled="reduce-overhead"),
        Way("mgkit, blocks recomputed", bfloat16=True, recomputed=True),
    ]


def made_batch(recipe: Recipe, size: int) -> Batch:
    """Decoded clips as the loader hands them over, of noise."""
    generator, spec = np.random.default_rng(0), recipe.inputs
    frames = generator.integers(0, 255, (size, spec.rgb_frames, FRAME, FRAME, 3), dtype=np.uint8)
    points = generator.uniform(0.1, 0.9, (size, 1, spec.pose_frames, len(LAYOUT), 3)).astype(np.float32)
    points[..., :2] *= FRAME
    boxes = [random_box(FRAME, FRAME, spec.crop_area, generator) for _ in range(size)]
    return Batch(
        torch.arange(size),
        torch.from_numpy(generator.integers(0, CLASSES, size)),
        torch.from_numpy(frames),
        torch.from_numpy(points),
        torch.from_numpy(np.stack([crop_affine(box, bool(i % 2)) for i, box in enumerate(boxes)])),
    )


def plain_inputs(batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """The inputs as most published loaders make them: clip by clip, on the processor, in NumPy."""
    assert batch.frames is not None
    assert batch.keypoints is not None
    spec, rgb, pose = recipe.inputs, [], []
    for frames, points, affine in zip(
        batch.frames.numpy(), batch.keypoints.numpy(), batch.affines.numpy(), strict=True
    ):
        size = spec.rgb_size
        matrix = affine * size
        cut = [cv2.warpAffine(frame, matrix, (size, size)) for frame in frames]
        normal = (np.stack(cut).astype(np.float32) - np.float32(RGB_MEAN)) / np.float32(RGB_STD)
        rgb.append(np.ascontiguousarray(normal.transpose(3, 0, 1, 2)))
        moved = points.copy()
        moved[..., :2] = (
            points[..., :2] @ affine[:, :2].T * spec.heatmap_size + affine[:, 2] * spec.heatmap_size
        )
        maps = loop_joints(moved, spec.heatmap_size, spec.sigma)
        pose.append(np.ascontiguousarray(maps.transpose(1, 0, 2, 3)))
    return {"rgb": torch.from_numpy(np.stack(rgb)), "pose": torch.from_numpy(np.stack(pose))}


@dataclass
class Bench:
    """A network, its loss and its optimiser, ready for steps in one way."""

    way: Way
    recipe: Recipe
    device: torch.device

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.spec = self.recipe.inputs.on(LAYOUT)
        self.model: nn.Module = build_model(self.recipe, CLASSES, self.spec, generator)
        widths = embedding_widths(self.recipe, self.model, self.spec)
        self.objective: Objective = build_objective(self.recipe, CLASSES, widths, generator).to(self.device)
        self.model.to(self.device)
        if self.way.recomputed:
            recompute_blocks(self.model)
        if self.way.plain:
            self.optimizer = torch.optim.SGD(
                self.model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4
            )
        else:
            self.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            self.optimizer = make_optimizer(self.model, self.recipe.optimisation, self.device)
        if self.way.compiled:
            self.model.compile(mode=None if self.way.compiled is True else self.way.compiled)

    def inputs(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        if self.way.plain:
            made = plain_inputs(batch, self.recipe)
            return {name: value.to(self.device) for name, value in made.items()}, batch.labels.to(self.device)
        there = batch.to(self.device)
        return batch_inputs(there, self.spec, LAYOUT), there.labels

    def autocast(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.way.bfloat16 else nullcontext()

    def train(self, batch: Batch) -> None:
        self.model.train()
        inputs, labels = self.inputs(batch)
        with self.autocast():
            outputs = self.model(inputs)
        loss = self.objective(outputs, labels).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.finish()

    def test(self, batch: Batch) -> None:
        self.model.eval()
        inputs, _ = self.inputs(batch)
        with torch.inference_mode(), self.autocast():
            self.model(inputs)
        self.finish()

    def finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def peak_memory(recipe: str, way: Way, batch: int, device: torch.device) -> float:
    """Bytes that a training step takes on top of the imported libraries, in a process of its own."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--size",
        recipe,
        "--batch",
        str(batch),
        "--device",
        device.type,
    ]
    found = subprocess.run(
        [*command, "--peak-of", way.name], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return float(json.loads(found[-1]))


def print_peak(recipe: Recipe, way: Way, batch: int, device: torch.device) -> None:
    before = _memory("VmRSS")
    bench = Bench(way, recipe, device)
    for _ in range(2):  # the momentum is there from the second step on
        bench.train(made_batch(recipe, batch))
    print(
        json.dumps(torch.cuda.max_memory_allocated() if device.type == "cuda" else _memory("VmHWM") - before)
    )


def _memory(name: str) -> int:
    """Bytes of memory of this process: resident now (VmRSS), or at most so far (VmHWM)."""
    rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(row.split()[1]) for row in rows if row.startswith(name))


def measure(size: str, sizes: list[int], rounds: int, device: torch.device) -> list[str]:
    """The lines of the report."""
    recipe = RECIPES[size]()
    flops, bandwidth = matrix_speed(device), copy_speed(device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else machine()
    lines = [
        f"{where}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads. A large "
        f"matrix product runs at {flops / 1e12:.3g} TFLOP/s and a large copy at {bandwidth / 1e9:.3g} GB/s here. "
        f"Recipe `{size}`; median of {rounds} rounds in turns.",
        "",
        "| batch | way | training step | clips/s | against plain | test step | clips/s | against plain | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    best = 0.0
    for batch_size in sizes:
        batch = made_batch(recipe, batch_size)
        benches = {way.name: Bench(way, recipe, device) for way in ways(device)}
        floors = network_floors(recipe, CLASSES, len(LAYOUT), batch_size, 2 if device.type == "cuda" else 4)
        trained = interleaved({name: _call(b.train, batch) for name, b in benches.items()}, rounds, 1)
        tested = interleaved({name: _call(b.test, batch) for name, b in benches.items()}, rounds, 1)
        plain_train, plain_test = (float(np.median(t["plain"][1])) for t in (trained, tested))
        for name, bench in benches.items():
            train, test = (float(np.median(t[name][1])) for t in (trained, tested))
            best = max(best, batch_size / train * 1e3)
            lines.append(
                f"| {batch_size} | {name} | {train:,.0f} ms | {batch_size / train * 1e3:.3g} "
                f"| {plain_train / train:.2f}x | {test:,.0f} ms | {batch_size / test * 1e3:.3g} "
                f"| {plain_test / test:.2f}x "
                f"| {peak_memory(size, bench.way, batch_size, device) / 1e9:.2f} GB |"
            )
        lines += [
            _floor(batch_size, "arithmetic", floors, flops),
            _floor(batch_size, "memory", floors, bandwidth),
        ]
    stage = PAPER_CLIPS * PAPER_EPOCHS / best
    lines += [
        "",
        f"At the best rate, one joint stage of {PAPER_EPOCHS} epochs of {PAPER_CLIPS:,} clips takes {_hours(stage)}.",
    ]
    return lines


def _call(step: Callable[[Batch], None], batch: Batch) -> Callable[[], None]:
    return lambda: step(batch)


def _floor(batch: int, kind: str, floors: Floors, speed: float) -> str:
    train, test = floors.seconds(kind, speed)
    return (
        f"| {batch} | floor: {kind} | {1e3 * train:,.0f} ms | {batch / train:.3g} | | {1e3 * test:,.0f} ms "
        f"| {batch / test:.3g} | | |"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", choices=["paper", "demo"], default="paper", help="recipe (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, nargs="+", help="batch sizes (default: 1 2; on a GPU 10 32 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    sizes = options.batch or ([1, 2] if device.type == "cpu" else [10, 32, 64])
    if options.peak_of:
        way = next(way for way in ways(device) if way.name == options.peak_of)
        print_peak(RECIPES[options.size](), way, sizes[0], device)
        return
    lines = measure(options.size, sizes, options.rounds, device)
    memory = memory_table(RECIPES[options.size](), CLASSES, len(LAYOUT))
    print("\n".join([*lines, "", *memory]))
    if options.write:
        write_section(f"step {options.size} {device.type}", lines)
        if options.size == "paper":
            write_section("memory paper", memory)


if __name__ == "__main__":
    main()
