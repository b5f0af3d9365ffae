"""Which settings of a part help, and why? One change per row, from the same branches.

    python benchmarks/settings_study.py refinement data/ablation runs/refinement --seeds 2
    python benchmarks/settings_study.py fusion data/ablation runs/fusion --seeds 3
    python benchmarks/settings_study.py gates data/ablation runs/gates --seeds 5
    python benchmarks/settings_study.py prototypes data/ablation runs/prototypes --seeds 5

`refinement` trains the merged branches as the ablation's `+ prototypes` does and changes one thing: the weight alpha,
the temperature tau, the batch size, which clips are lowered, a memory for the FN and FP centres. `fusion` does the same
for `+ fusion (channel)`: the learning rate and the number of epochs, each next to `laterals` with the same. `gates`
trains 20 epochs with the module of the authors' later code: its gates free, bounded, and bounded with a tenth of the
rate. `prototypes` gives the prototypes their chance: from the first epoch of both branches on, a weight that is warmed
up, a memory, and the rectification chosen on validation. Prints the table and, for the refinement, how many clips had
their score lowered.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import mgkit as mg


def refinement_rows() -> dict[str, Any]:
    """Settings of the prototypical refinement."""
    every = mg.recipes.ablation()
    base = every["+ prototypes"]

    def joint(**changes: Any) -> mg.Recipe:
        return base.with_(**{f"joint.{name}": value for name, value in changes.items()})

    return {
        "laterals": every["laterals"],
        f"alpha {base['alpha']:g}": base,
        "alpha 0.2": joint(alpha=0.2),
        "alpha 1": joint(alpha=1.0),
        "alpha 0.2, tau 0.5": joint(alpha=0.2, temperature=0.5),
        "alpha 0.2, batch 16": joint(alpha=0.2, batch_size=16),
        "alpha 0.2, all shifted": joint(alpha=0.2, shift="all"),
        "alpha 0.2, memory 64": joint(alpha=0.2, prototype_memory=64),
    }


def fusion_rows() -> dict[str, Any]:
    """Learning rate and length of the joint training, with and without the fusion module."""
    every = mg.recipes.ablation()
    rows: dict[str, Any] = {}
    for name, recipe in (("laterals", every["laterals"]), ("fusion", every["+ fusion (channel)"])):
        rows[name] = recipe
        rows[f"{name}, rate / 4"] = recipe.with_(**{"joint.learning_rate": recipe["learning_rate"] / 4})
        rows[f"{name}, 12 epochs"] = recipe.with_(**{"joint.epochs": 12})
    return rows


def gates_rows() -> dict[str, Any]:
    """What keeps the gates of the fusion module from growing, after 20 epochs of joint training."""
    base = mg.recipes.demo(**{"rgb.epochs": 16, "pose.epochs": 12, "joint.epochs": 20})
    held = base.with_(prototypes=False, laterals=True)
    plain = held.with_(fusion=None)
    bounded = held.with_(**{"fusion.rate": 1.0})
    return {
        "RGB": plain.stages[0],
        "pose": plain.stages[1],
        "late fusion": ("RGB", "pose"),
        "laterals": plain,
        "held back": held,
        "free": bounded.with_(**{"fusion.bounded": False}),
        "bounded": bounded,
    }


def prototypes_rows() -> dict[str, Any]:
    """Prototypes in the joint training alone, and from the first epoch of the branches on."""
    base = mg.recipes.demo(**{"rgb.epochs": 16, "pose.epochs": 12, "joint.epochs": 10, "fusion": None})
    refined = base.with_(alpha=0.2, alpha_warmup=3, prototype_memory=128)
    plain = base.with_(prototypes=False)
    return {
        "RGB": plain.stages[0],
        "RGB, prototypes": refined.stages[0],
        "pose": plain.stages[1],
        "pose, prototypes": refined.stages[1],
        "laterals": plain,
        "prototypes, joint": plain.with_(**{"joint.refinement": refined.refinement}),
        "prototypes": refined,
        "prototypes, rectified": ("prototypes",),
    }


ROWS = {
    "refinement": refinement_rows,
    "fusion": fusion_rows,
    "gates": gates_rows,
    "prototypes": prototypes_rows,
}


def lowered(study: Any) -> pd.DataFrame:
    """Share of the training clips whose score the FN and the FP term lowered in the last epoch, mean over seeds."""
    found: dict[str, dict[str, float]] = {}
    for name in study.names:
        histories = [run.history() for run in study.runs(name)]
        last = pd.DataFrame([history.iloc[-1] for history in histories]).mean()
        found[name] = {
            f"{kind} {pathway}": last[f"lowered_{kind}_{pathway}"]
            / (last[f"tp_{pathway}"] + last[f"fn_{pathway}"])
            for kind in ("fn", "fp")
            for pathway in ("rgb", "pose")
            if f"lowered_{kind}_{pathway}" in last
        }
    return pd.DataFrame({name: shares for name, shares in found.items() if shares}).T


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
    study = mg.study(mg.load_clips(options.clips), ROWS[options.part](), options.out, seeds=options.seeds)
    print(study.text())
    if options.part in ("refinement", "prototypes"):
        print(lowered(study).round(3).to_string())


if __name__ == "__main__":
    main()
