"""Which settings of a part help, and why? One change a row, from the same branches.

    python benchmarks/settings_study.py refinement data/ablation runs/refinement --seeds 2
    python benchmarks/settings_study.py fusion data/ablation runs/fusion --seeds 3

`refinement` trains the merged branches on as the ablation's `+ prototypes` does and changes one thing: the weight
alpha, the temperature tau, the batch size, which clips are lowered, a memory for the FN and FP centres. `fusion` does
the same for `+ fusion (channel)`: the learning rate and the number of epochs, each beside `laterals` with the same.
Prints the table and, for the refinement, how many clips had their score lowered.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import mgkit as mg
from mgkit.training.ablation import ablation_markdown
from mgkit.training.recipe import Recipe


def refinement_rows() -> dict[str, Recipe]:
    """Settings of the prototypical refinement."""
    every = mg.ablation_recipes()
    base = every["+ prototypes"]
    return {
        "RGB": every["RGB"],
        "pose": every["pose"],
        "laterals": every["laterals"],
        f"alpha {base['alpha']:g}": base,
        "alpha 0.2": base.with_(alpha=0.2),
        "alpha 1": base.with_(alpha=1.0),
        "alpha 0.2, tau 0.5": base.with_(alpha=0.2, temperature=0.5),
        "alpha 0.2, batch 16": base.with_(alpha=0.2, batch_size=16),
        "alpha 0.2, all shifted": base.with_(alpha=0.2, shift="all"),
        "alpha 0.2, memory 64": base.with_(alpha=0.2, prototype_memory=64),
    }


def fusion_rows() -> dict[str, Recipe]:
    """Learning rate and length of the joint training, with and without the fusion module."""
    every = mg.ablation_recipes()
    laterals, fusion = every["laterals"], every["+ fusion (channel)"]
    slow = laterals["learning_rate"] / 4
    return {
        "RGB": every["RGB"],
        "pose": every["pose"],
        "laterals": laterals,
        "fusion": fusion,
        "laterals, rate / 4": laterals.with_(learning_rate=slow),
        "fusion, rate / 4": fusion.with_(learning_rate=slow),
        "laterals, 12 epochs": laterals.with_(epochs=12),
        "fusion, 12 epochs": fusion.with_(epochs=12),
    }


ROWS = {"refinement": refinement_rows, "fusion": fusion_rows}


def lowered(out: Path, seeds: range) -> pd.DataFrame:
    """Share of the training clips whose score the FN and the FP term lowered in the last epoch, mean over seeds."""
    found: dict[str, dict[str, float]] = {}
    for folder in sorted((out / "seed0").iterdir()):
        histories = [mg.load_run(out / f"seed{seed}" / folder.name).history() for seed in seeds]
        if not all("lowered_fn_rgb" in history for history in histories):
            continue
        last = pd.DataFrame([history.iloc[-1] for history in histories]).mean()
        clips = last["tp_rgb"] + last["fn_rgb"]
        found[folder.name] = {
            f"{kind} {pathway}": last[f"lowered_{kind}_{pathway}"] / clips
            for kind in ("fn", "fp")
            for pathway in ("rgb", "pose")
        }
    return pd.DataFrame(found).T


def main() -> None:
    """Train what is not trained yet, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=ROWS)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    table = mg.run_ablation(
        mg.load_clips(options.clips), options.out, seeds=range(options.seeds), rows=ROWS[options.part]()
    )
    print(ablation_markdown(table))
    if options.part == "refinement":
        print(lowered(options.out, range(options.seeds)).round(3).to_string())


if __name__ == "__main__":
    main()
