"""Kill a training at random moments, resume it each time, and compare how it ends with one that nothing disturbed.

    python benchmarks/kill_and_resume.py [--kills 30] [--seed 0] [--device cpu] [--folder DIR]

Draws a small dataset, trains the staged recipe once in peace, then again in processes that get a SIGKILL at a random
moment after they have begun to work, be it in a step, in writing a checkpoint or between two stages, until so many
kills are done; the last process may end. Prints where each kill fell, and compares weights, optimizer, kept epochs,
prototypes and history (but times) bit for bit. On a CPU they must be equal; the exit status says whether they are. On a
GPU sums may be taken in another order, so there the largest difference of a weight is printed instead.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mgkit.data.clips import Clips  # noqa: E402
from mgkit.results.run.folder import load_run  # noqa: E402
from mgkit.training.recipe import Recipe  # noqa: E402
from tests.tiny import tiny_clips  # noqa: E402
from tests.training.training import assert_same_run, states, tiny  # noqa: E402


def start(clips: Clips, recipe: Recipe, out: Path, workers: int, device: str) -> subprocess.Popen[bytes]:
    options = json.dumps({"checkpoint_minutes": 0, "workers": workers, "device": device})
    words = [str(clips.root), str(out), json.dumps(recipe.to_dict()), options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.training", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def working(out: Path, process: subprocess.Popen[bytes], before: float) -> bool:
    """Wait until a started process has said that it runs; whether it did before it ended."""
    while process.poll() is None:
        status = out / "status.json"
        if status.is_file() and status.stat().st_mtime > before:
            return True
        time.sleep(0.01)
    return False


def where(out: Path) -> str:
    """What the run folder says about the place of a kill."""
    places = []
    for folder in (out, *sorted((out / "stages").glob("*"))):
        if (folder / "config.json").is_file():
            status = load_run(folder).status()
            held = sorted(path.name for path in folder.rglob(".*-*"))
            inside = "+step" if (folder / "checkpoints" / "step.pt").is_file() else ""
            half = f" half-written {held[0].split('-')[0][1:]}" if held else ""
            places.append(f"{folder.name} {status['epoch']}/{status['epochs']}{inside}{half}")
    return ", ".join(places)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    clips = tiny_clips(folder / "clips", counts={"train": 12, "val": 2})
    epochs = max(3, options.kills // 2)
    recipe = tiny(
        epochs=epochs, dropout=0.5, prototype_memory=9, accumulation=2, sampling="balanced", batch_size=5
    )
    generator = np.random.default_rng(options.seed)
    whole = start(clips, recipe, folder / "whole", 0, options.device)
    if whole.wait():
        raise SystemExit("the undisturbed training failed")
    kills, out = 0, folder / "killed"
    while kills < options.kills:
        before = time.time()
        process = start(clips, recipe, out, kills % 2, options.device)
        if not working(out, process, before):
            if process.returncode:
                raise SystemExit(f"a resumed training failed with status {process.returncode}")
            print(f"it ended after {kills} kills")
            break
        time.sleep(generator.exponential(1.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # loader processes too
            process.wait()
            kills += 1
            print(f"kill {kills:2d}: {where(out)}", flush=True)
    if start(clips, recipe, out, 0, options.device).wait():
        raise SystemExit("the last resumed training failed")
    if options.device == "cuda":
        pairs = zip(states(load_run(folder / "whole")), states(load_run(out)), strict=True)
        apart = max(
            float((a[name].double() - b[name].double()).abs().max())
            for a, b in pairs
            for name in a
            if a[name].numel()
        )
        print(f"after {kills} kills: the largest difference of a weight or a prototype is {apart:.1e}")
        return 0
    try:
        assert_same_run(load_run(folder / "whole"), load_run(out))
    except AssertionError as error:
        print(f"after {kills} kills the runs differ: {error}")
        return 1
    print(
        f"after {kills} kills: weights, optimizer, kept epochs, prototypes and history are equal bit for bit"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
