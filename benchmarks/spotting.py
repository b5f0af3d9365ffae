"""What a background class is worth in spotting, on made interviews whose segments are known.

    python benchmarks/spotting.py runs/spotting                  # three seeds, with and without; resumes
    python benchmarks/spotting.py runs/spotting --shares 0 0.5 1 --seeds 0 1 2 3 4

Interviews of people who are in one split only are drawn, cut into clips by their table of segments, and a narrow
ST-GCN++ on key-points is trained on the same gestures with and without background clips. Each run is then asked about
the windows of whole interviews: those of `val` choose the thresholds, those of `test` are scored. Nothing else is
chosen. Every seed draws other interviews and is another training.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd

import mgkit as mg
from benchmarks.timing import machine
from mgkit.files import read_json, write_json

TEST = 3  # interviews


def windows_of(run: Any, folder: Path, names: list[str], out: Path) -> list[Any]:
    """What a run says of the windows of whole interviews, from their key-points."""
    found = [
        mg.predict(run, folder / f"{name}.npz", out=out / f"{name}.npz", device="cpu", progress=False)
        for name in names
    ]
    return [one.windows() for one in found]


def scores(truth: pd.DataFrame, answers: pd.DataFrame, durations: dict[str, float]) -> dict[str, float]:
    """Every measure of docs/spotting.md."""
    table = mg.spotting.f1(truth, answers)
    found = {f"F1 at IoU {iou:g}": float(f1) for iou, f1 in zip(table["iou"], table["f1"], strict=True)}
    at = table.iloc[2]
    found |= {"precision at 0.3": float(at["precision"]), "recall at 0.3": float(at["recall"])}
    found["F1 as SMG's script, above 0.3"] = mg.spotting.smg_f1(truth, answers)["f1"]
    found["mAP, IoU 0.1 to 0.9"] = mg.spotting.mean_average_precision(truth, answers)
    agreement = mg.spotting.kappa(truth, answers, durations, fps=25)
    found["kappa, frame by frame"] = float(agreement["kappa"].iloc[0])
    found["answers per true segment"] = len(answers) / len(truth)
    return found


def once(root: Path, seed: int, share: float, options: argparse.Namespace) -> dict[str, float]:
    """The scores of one training; `root` is the folder of its seed."""
    made = mg.demo.draw_interviews(
        root / "interviews", train=options.train, val=2, minutes=options.minutes, seed=seed + 1, size=64,
        progress=False,
    )  # fmt: skip
    tests = [
        mg.demo.draw_interview(
            root / "test" / f"test{i + 1}.mp4", minutes=options.minutes, seed=1000 * (seed + 1) + 500 + i,
            size=64, progress=False,
        )
        for i in range(TEST)
    ]  # fmt: skip
    clips = mg.prepare(
        "segments", root / "interviews", root / f"clips-{share:g}", poses=root / "interviews", background=share,
        size=64, workers=1, progress=False,
    )  # fmt: skip
    recipe = mg.recipes.small_skeleton(steps=options.steps)
    run = mg.train(clips, recipe, root / f"run-{share:g}", seed=seed, workers=0, device="cpu", progress=False)
    here, there = {one.video.stem: one for one in made}, {one.video.stem: one for one in tests}

    def truth_of(names: list[str]) -> pd.DataFrame:
        parts = [(here | there)[name].segments.assign(video=name) for name in names]
        return pd.concat(parts)[["video", "start", "end", "class"]]

    val = [name for name in here if name.startswith("val")]
    said = root / f"said-{share:g}"
    rule = mg.spotting.Rule.of(clips.classes)
    chosen = mg.spotting.choose(windows_of(run, root / "interviews", val, said), truth_of(val), rule, "val")
    found = windows_of(run, root / "test", list(there), said)
    answers = pd.concat([chosen.rule.segments(one) for one in found])
    durations = {name: one.points.shape[1] / one.fps for name, one in there.items()}
    result = scores(truth_of(list(there)), answers, durations)
    mg.test(run, "val", workers=0, device="cpu", progress=False)
    predictions = run.predictions("val").without_background()
    result["Top-1 of labelled validation clips"] = float(
        (predictions.predicted() == predictions.labels).mean()
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--train", type=int, default=6, help="interviews to train on")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    results: dict[float, list[dict[str, float]]] = {share: [] for share in options.shares}
    for seed in options.seeds:
        for share in options.shares:
            root = options.out / f"seed{seed}"
            file = root / f"result-{share:g}.json"
            if not file.is_file():
                write_json(file, once(root, seed, share, options))
            results[share].append(read_json(file))
            print(f"seed {seed}, background {share:g}: {results[share][-1]}", flush=True)
    print(f"\n{len(options.seeds)} seeds: mean (lowest to highest)\n")
    names = ["without" if share == 0 else f"`--background {share:g}`" for share in options.shares]
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for measure in results[options.shares[0]][0]:
        values = [np.array([one[measure] for one in results[share]]) for share in options.shares]
        cells = [f"{v.mean():.2f} ({v.min():.2f} to {v.max():.2f})" for v in values]
        print(f"| {measure} | {' | '.join(cells)} |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
