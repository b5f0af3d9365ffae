"""A training step on a CPU with flat 3D convolutions run as 2D ones, and without.

    python benchmarks/convolutions.py                       # full size, a batch of 2
    python benchmarks/convolutions.py --size demo --batch 8
    python benchmarks/convolutions.py --write               # put the table into docs/performance.md as well

Nearly every kernel of the two pathways is flat: (1, h, w) or (t, 1, 1). `mgkit.models.layers.Conv3d` computes the same
sums in two dimensions; the baseline is `torch.nn.Conv3d.forward` in the same networks and memory format. A step is:
inputs from frames and key-points, forward, loss, backward, SGD. Both ways take turns in one process.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import nn

from benchmarks.report import write_section
from benchmarks.step import Bench, Way, made_batch
from benchmarks.timing import interleaved, machine
from mgkit.models.layers import Conv3d
from mgkit.training.machine import flushed_denormals
from mgkit.training.recipes import RECIPES, branch

CPU = torch.device("cpu")


def measure(size: str, batch_size: int, rounds: int) -> list[str]:
    """The lines of the report."""
    joint = RECIPES[size]()
    lines = [
        f"{machine()}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads. `{size}`, batch {batch_size}; "
        f"processor time of a step, median (quartiles) of {rounds} rounds in turns.",
        "",
        "| network | in 3D | flat kernels in 2D | 3D / 2D |",
        "|---|---|---|---|",
    ]
    for name, recipe in (
        ("RGB branch", branch(joint, "rgb")),
        ("pose branch", branch(joint, "pose")),
        ("both", joint),
    ):
        batch, bench = made_batch(recipe, batch_size), Bench(Way("mgkit"), recipe, CPU)

        def flat(bench: Bench = bench, batch: object = batch) -> None:
            with flushed_denormals(CPU):
                bench.train(batch)  # type: ignore[arg-type]

        def solid(flat: Callable[[], None] = flat) -> None:
            with patch.object(Conv3d, "forward", nn.Conv3d.forward):
                flat()

        spent = {way: times[0] for way, times in interleaved({"3d": solid, "2d": flat}, rounds, 1).items()}
        cells = []
        for times in spent.values():
            low, middle, high = np.percentile(times, [25, 50, 75])
            cells.append(f"{middle:,.0f} ms ({low:,.0f} to {high:,.0f})")
        ratio = np.median(spent["3d"]) / np.median(spent["2d"])
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio:.2f}x |")
    return lines


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
        write_section(f"convolutions {options.size}", lines)


if __name__ == "__main__":
    main()
