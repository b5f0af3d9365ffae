"""A training step of the pose network on a CPU, with and without the two guards against denormal numbers.

    python benchmarks/denormals.py                       # full size, a batch of 2
    python benchmarks/denormals.py --size demo --batch 8
    python benchmarks/denormals.py --write               # put the table into docs/performance.md as well

A Gaussian's tails are float32 numbers below 1.2e-38 (denormal) or become such in a product, and a CPU computes with
them many times slower. The guards: `mgkit.data.batches.pose` draws nothing below half the last bit of a peak (the
cut), and training and testing take such numbers as 0 on every thread (the flush). A step is: heatmaps, forward, loss,
backward, SGD. The four ways take turns in one process and begin with the same weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from benchmarks.heatmaps import poses
from benchmarks.report import write_section
from benchmarks.step import CLASSES, FRAME, Bench, Way
from benchmarks.timing import interleaved, machine
from mgkit.data.batches.augment import crop_affine
from mgkit.data.batches.dataset import Batch
from mgkit.training.machine import flushed_denormals
from mgkit.training.recipes import RECIPES, Recipe, branch

CPU = torch.device("cpu")
UNCUT = 1e-34  # of each of the two factors, as far down as exp is quick
WAYS = {
    "neither": (False, False),
    "cut": (True, False),
    "flush": (False, True),
    "cut and flush": (True, True),
}


@contextmanager
def guards(cut: bool, flush: bool) -> Iterator[None]:
    with ExitStack() as held:
        if not cut:
            held.enter_context(patch("mgkit.data.batches.pose._NEGLIGIBLE", UNCUT))
        if flush:
            held.enter_context(flushed_denormals(CPU))
        yield


def pose_batch(recipe: Recipe, size: int) -> Batch:
    """People of a quarter of the picture that fidget, as the loader hands them over."""
    points = poses(size, 1, FRAME)[:, :, np.arange(recipe.pose_frames) % 32]
    return Batch(
        torch.arange(size),
        torch.arange(size) % CLASSES,
        None,
        torch.from_numpy(np.ascontiguousarray(points)),
        torch.from_numpy(np.stack([crop_affine((0, 0, FRAME, FRAME), False)] * size)),
    )


def measure(size: str, batch_size: int, rounds: int) -> list[str]:
    """The lines of the report."""
    recipe = branch(RECIPES[size](), "pose")
    batch = pose_batch(recipe, batch_size)
    benches = {name: Bench(Way("mgkit"), recipe, CPU) for name in WAYS}

    maps, logits, gradients = {}, {}, {}
    for name, bench in benches.items():
        with guards(*WAYS[name]):
            inputs, labels = bench.inputs(batch)
            torch.manual_seed(0)  # of the dropout
            outputs = bench.model.train()(inputs)
            bench.objective(outputs, labels).loss.backward()
        maps[name], logits[name] = inputs["pose"], outputs["pose"].logits.detach()
        parameters = [p.grad.flatten() for p in bench.model.parameters() if p.grad is not None]
        gradients[name] = torch.cat(parameters)

    def step(name: str) -> Callable[[], None]:
        def run() -> None:
            with guards(*WAYS[name]):
                benches[name].train(batch)

        return run

    spent = {name: times[1] for name, times in interleaved({n: step(n) for n in WAYS}, rounds, 1).items()}
    lines = [
        f"{machine()}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads. Pose branch of `{size}`, batch "
        f"{batch_size}; median (quartiles) of {rounds} rounds in turns. Differences are those of the "
        "first step from that of neither guard: the largest of a heatmap's values and of the logits, and the length of "
        "the gradient's difference over that of the gradient.",
        "",
        "| guards | training step | neither / this | heatmaps | logits | gradient |",
        "|---|---|---|---|---|---|",
    ]
    plain = gradients["neither"]
    for name, times in spent.items():
        low, middle, high = np.percentile(times, [25, 50, 75])
        lines.append(
            f"| {name} | {middle:,.0f} ms ({low:,.0f} to {high:,.0f}) | {np.median(spent['neither']) / middle:.2f}x "
            f"| {_apart(maps[name], maps['neither'])} | {_apart(logits[name], logits['neither'])} "
            f"| {float((gradients[name] - plain).norm() / plain.norm()):.1e} |"
        )
    return lines


def _apart(values: Tensor, baseline: Tensor) -> str:
    return f"{float((values - baseline).abs().max()):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["paper", "demo"], default="paper", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args()
    lines = measure(options.size, options.batch, options.rounds)
    print("\n".join(lines))
    if options.write:
        write_section(f"denormals {options.size}", lines)


if __name__ == "__main__":
    main()
