"""How long one waits for the first answer: importing mgkit, its first widget, `mgkit --help`.

    python benchmarks/first_answer.py [--rounds 5]

Each is a process of its own, in turns; processor time, which other work on the machine hardly changes, and wall time.
The baselines are an empty program and importing torch alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import machine
from benchmarks.widgets import make_run

WIDGET = "import mgkit as mg; mg.widgets.ConfusionMatrix(mg.load_run({!r}))._repr_mimebundle_()"


def spent(command: list[str]) -> tuple[float, float]:
    """Seconds of processor time and of wall time of a process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", 400, 32, np.random.default_rng(0))
        python = [sys.executable, "-c"]
        ways = {
            "an empty program": [*python, ""],
            "`import torch`": [*python, "import torch"],
            "`import mgkit`": [*python, "import mgkit"],
            "`import mgkit`, then a first widget shown": [*python, WIDGET.format(str(run.root))],
            "`mgkit --help`": [sys.executable, "-m", "mgkit", "--help"],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(options.rounds + 1):  # the first is not counted: files come from the disk
            for name, command in ways.items():
                once = spent(command)
                if number:
                    times[name].append(once)
    print(f"{machine()}, {options.rounds} rounds in turns\n")
    print("| | processor time | of `import torch` | wall time |\n|---|---|---|---|")
    floor = float(np.median(np.array(times["`import torch`"])[:, 0]))
    for name, pairs in times.items():
        (low, middle, high), (_, wall, _) = np.percentile(np.array(pairs).T, [25, 50, 75], axis=1).T
        print(f"| {name} | {middle:.2f} s ({low:.2f} to {high:.2f}) | {middle / floor:.2f} | {wall:.2f} s |")


if __name__ == "__main__":
    main()
