"""How the threads of a convolution wait for each other, on cores that are free and on cores that are not.

    python benchmarks/waiting.py
    python benchmarks/waiting.py --threads 1 2 --rounds 3

A step of the demo recipe (inputs, forward, loss, backward, SGD) in a process of its own, once with OpenMP as it comes,
which spins for some milliseconds before a waiting thread sleeps (the baseline), and once with OMP_WAIT_POLICY=PASSIVE,
under which it sleeps at once. The two take turns; "beside" is how many processes do nothing but count meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import machine

DEFAULT, PASSIVE = "as it comes", "PASSIVE"
COUNT = "while True: pass"


def print_steps(threads: int, batch: int, steps: int) -> None:
    """In a process of its own: wall and processor milliseconds of each step, after two that do not count."""
    import torch  # before mgkit, which names a policy where none is named

    from benchmarks.step import Bench, Way, made_batch
    from mgkit.training.recipes import RECIPES

    torch.set_num_threads(threads)
    recipe = RECIPES["demo"]()
    bench, made = Bench(Way("mgkit"), recipe, torch.device("cpu")), made_batch(recipe, batch)
    spent = []
    for number in range(steps + 2):
        wall, processor = time.perf_counter(), time.process_time()
        bench.train(made)
        if number > 1:
            spent.append([1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)])
    print(json.dumps(spent))


def measured(way: str, threads: int, beside: int, batch: int, steps: int) -> list[list[float]]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    }
    if way == PASSIVE:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    counting = [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(beside)]
    given = {"--steps-of": threads, "--batch": batch, "--steps": steps}
    command = [sys.executable, __file__, *(f"{name}={value}" for name, value in given.items())]
    try:
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    finally:
        for process in counting:
            process.kill()
            process.wait()
    return json.loads(found.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--beside",
        type=int,
        nargs="+",
        default=[0, os.cpu_count() or 1],
        help="processes that count beside it",
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each way (default: %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=6, help="steps that count in each (default: %(default)s)"
    )
    parser.add_argument("--steps-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps_of:
        print_steps(options.steps_of, options.batch, options.steps)
        return
    print(
        f"{machine()}; demo recipe, batch {options.batch}; medians of {options.rounds * options.steps} steps\n"
    )
    print("| threads | beside | policy | training step | processor time | baseline / this |")
    print("|---|---|---|---|---|---|")
    for threads in options.threads:
        for beside in options.beside:
            found: dict[str, list[list[float]]] = {DEFAULT: [], PASSIVE: []}
            for _ in range(options.rounds):
                for way, steps in found.items():
                    steps += measured(way, threads, beside, options.batch, options.steps)
            medians = {way: np.median(steps, axis=0) for way, steps in found.items()}
            for way, (wall, processor) in medians.items():
                ratio = medians[DEFAULT][0] / wall
                print(
                    f"| {threads} | {beside} | {way} | {wall:,.0f} ms | {processor:,.0f} ms | {ratio:.2f}x |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
