"""All that is to be measured on a GPU, in one command of about ten minutes: steps, loading, graphs, NCCL, resume.

    python benchmarks/gpu.py                             # on a GPU
    python benchmarks/gpu.py --device cpu --size demo    # the same parts on a CPU, to see that they run to their end

Prints one table per part, in Markdown. A part that fails says why, the others go on, and the exit status is 1.

- Steps: `benchmarks/step.py`, against the plain implementation and the hardware; eager, compiled, and as CUDA graphs.
- Loading: clips per second of `mg.train` on clips made on the spot, videos decoded by loader processes, against the
  step alone on a batch that stays on the device.
- Several processes: a training over all GPUs (with NCCL, also on one), against one without a process group.
- Resume: `benchmarks/kill_and_resume.py`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import mgkit as mg
from benchmarks.made import make_clips
from benchmarks.step import Bench, Way, made_batch
from mgkit.data.clips import Clips
from mgkit.results.run.folder import load_run
from mgkit.training.machine import default_workers
from mgkit.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
BATCH = {"paper": 32, "demo": 8}


def script(name: str, *words: str) -> Callable[[], None]:
    """Another benchmark, in a process of its own; what it prints is printed."""

    def call() -> None:
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / name), *words], check=True)

    return call


def alone(recipe: Recipe, batch: int, device: torch.device) -> float:
    """Clips per second of training steps on one batch that stays on the device."""
    way = Way("mgkit", bfloat16=device.type == "cuda")
    bench, made = Bench(way, recipe, device), made_batch(recipe, batch).to(device)
    took = []
    for _ in range(12 if device.type == "cuda" else 4):
        began = time.perf_counter()
        bench.train(made)
        took.append(time.perf_counter() - began)
    return batch / float(np.median(took[2:]))


def trained(clips: Clips, recipe: Recipe, out: Path, device: str, **options: int) -> float:
    """Clips per second of the last epoch of a training: the first one starts loaders and chooses kernels."""
    run = mg.train(clips, recipe, out, device=device, val_split=None, progress=False, **options)
    return float(run.history()["clips_per_second"].iloc[-1])


def in_processes(clips: Clips, size: str, folder: Path, device: str, count: int) -> float:
    """Clips per second of a training by `count` processes, each started as `torchrun` starts them."""
    out = folder / f"processes{count}"
    train = ["-m", "mgkit", "train", str(clips.root), str(out), "--val-split", "none", "--device", device]
    changes = [f"batch_size={BATCH[size]}", "epochs=2"]
    for name in ("rgb", "pose"):  # branches of one step: it is the joint training that counts
        changes += [f"{name}.epochs=1"]
    words = [word for change in changes for word in ("--set", change)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, *launcher, *train, "--recipe", size, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return float(load_run(out).history()["clips_per_second"].iloc[-1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--size", default="paper", choices=list(BATCH))
    parser.add_argument("--clips", type=int, help="clips to train on (default: 32 batches; on a CPU 4)")
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: --device cpu --size demo runs the same parts on the CPU.")
    device, gpu = torch.device(options.device), options.device == "cuda"
    batch = BATCH[options.size]
    recipe: Recipe = getattr(mg.recipes, options.size)(batch_size=batch).with_(stages=(), epochs=2)

    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        clips = make_clips(Path(folder) / "clips", options.clips or batch * (32 if gpu else 4))
        workers = default_workers(recipe.pathways, device)

        def loading() -> None:
            step = alone(recipe, batch, device)
            whole = trained(clips, recipe, Path(folder) / "loaded", options.device, workers=workers)
            print("| | clips/s | of the step alone |\n|---|---|---|")
            print(f"| the step alone, batch {batch} | {step:.4g} | |")
            print(f"| `mg.train`, {workers} loader processes | {whole:.4g} | {100 * whole / step:.0f} % |")

        def processes() -> None:
            count = torch.cuda.device_count() if gpu else 2
            rates = [in_processes(clips, options.size, Path(folder), options.device, n) for n in (1, count)]
            print("| processes | clips/s | against one |\n|---|---|---|")
            for number, rate in zip(("1", f"{count}, {'NCCL' if gpu else 'Gloo'}"), rates, strict=True):
                print(f"| {number} | {rate:.4g} | {rate / rates[0]:.2f}x |")

        shape = ["--size", options.size, "--device", options.device]
        parts: dict[str, Callable[[], None]] = {
            "Steps": script(
                "step.py", *shape, *(["--rounds", "5"] if gpu else ["--batch", "8", "--rounds", "1"])
            ),
            "Loading": loading,
            "Several processes": processes,
            "Resume": script("kill_and_resume.py", "--kills", str(options.kills), "--device", options.device),
        }
        failed = []
        for name, part in parts.items():
            print(f"\n## {name}\n", flush=True)
            began = time.perf_counter()
            try:
                part()
            except Exception as error:
                failed.append(name)
                print(f"failed: {type(error).__name__}: {error}")
            print(f"\n({time.perf_counter() - began:.0f} s)", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
