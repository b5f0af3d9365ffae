"""Time per training step by how long OpenMP's threads spin while they wait for each other, on free and on busy cores.

    python benchmarks/waiting.py
    python benchmarks/waiting.py --busy 4

Training steps of the demo recipe (inputs, forward, loss, backward, SGD) on two threads, in a process for each setting
of OpenMP: the default, which is 300,000 turns of a loop before a waiting thread sleeps (the baseline), a thirtieth and
a three-hundredth of that, and asleep at once; and on one thread, which waits for none. They take turns, one at a time;
`--busy` starts processes that keep a core busy meanwhile.
Only GNU's OpenMP reads GOMP_SPINCOUNT.
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

SETTINGS = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
COUNT = "while True: pass"


def answer(threads: int, batch: int) -> None:
    """In a process of its own: for each number read from stdin, train that number of steps and print their
    milliseconds, (wall, processor)."""
    import torch

    from benchmarks.step import Bench, Way, made_batch
    from mgkit.training.recipes import RECIPES

    recipe = RECIPES["demo"]()
    bench, made = Bench(Way("mgkit"), recipe, torch.device("cpu")), made_batch(recipe, batch)
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    bench.train(made)
    print("ready", flush=True)
    for line in sys.stdin:
        spent = []
        for _ in range(int(line)):
            wall, processor = time.perf_counter(), time.process_time()
            bench.train(made)
            spent.append([1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)])
        print(json.dumps(spent), flush=True)


def start(setting: dict[str, str], threads: int, batch: int) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))} | setting
    command = [sys.executable, __file__, "--answer", f"--threads={threads}", f"--batch={batch}"]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def steps(process: subprocess.Popen[str], count: int) -> list[list[float]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--busy", type=int, default=0, help="processes that keep a core busy meanwhile")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--steps", type=int, default=3, help="of each setting per round (default: %(default)s)"
    )
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.threads, options.batch)
        return
    processes = {name: start(setting, options.threads, options.batch) for name, setting in SETTINGS.items()}
    counting = [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(options.busy)]
    spent: dict[str, list[list[float]]] = {name: [] for name in processes}
    try:
        for _ in range(options.rounds):
            for name, process in processes.items():
                spent[name] += steps(process, options.steps)
    finally:
        for process in (*processes.values(), *counting):
            process.kill()
            process.wait()
    print(f"{machine()}; {options.threads} threads, {options.busy} busy processes, batch {options.batch}\n")
    print("| setting | step, median (quartiles) | processor time | default / this |\n|---|---|---|---|")
    baseline = np.median(spent["default"], axis=0)[0]
    for name, times in spent.items():
        (low, wall, high), processor = (
            np.percentile(times, [25, 50, 75], axis=0)[:, 0],
            np.median(times, axis=0)[1],
        )
        print(
            f"| {name} | {wall:,.0f} ms ({low:,.0f} to {high:,.0f}) | {processor:,.0f} ms | {baseline / wall:.2f}x |"
        )


if __name__ == "__main__":
    main()
