"""How well saliency predicts the effect of removing a joint: the table of docs/analysis.md.

    python benchmarks/saliency.py runs/demo --clips 40

explains test clips of a run that has a pose pathway as `mgkit.explain` does, then removes each joint (its heatmap, in
all frames) and some parts of the picture (set to the mean colour, in all frames) in turn, which needs no gradient, and
compares the loss of log-odds with the prediction: Spearman's correlation within each clip, averaged over the clips, and
the loss without the joint of the highest saliency, against a joint at random and the best one. Also the time per clip.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.results.run.folder import load_run
from mgkit.training.explain import (
    GRID,
    gradient_times_input,
    log_odds,
    over_grid,
    over_joints,
)
from mgkit.training.inference import open_network

PARTS = 24  # of the GRID x GRID of the picture, drawn at random


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=40, help="drawn at random (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    run = load_run(options.run)
    output = run.outputs[-1]
    network = open_network(run, None, "best", options.device, None, 0.0)
    network.model.eval().requires_grad_(False)
    generator = np.random.default_rng(options.seed)
    test, spec = network.clips.split(options.split), network.inputs
    chosen = test.select(
        [str(i) for i in generator.choice(test.ids, min(options.clips, len(test)), replace=False)]
    )
    dataset = ClipDataset(chosen, spec, training=False)
    squares = np.sort(generator.choice(GRID**2, PARTS, replace=False))

    losses: dict[str, list[np.ndarray]] = {"joints": [], "parts": []}
    predicted: dict[str, list[np.ndarray]] = {"joints": [], "parts": []}
    seconds = 0.0
    for row in range(len(dataset)):
        batch = collate([dataset[0, row, 0]]).to(network.device)
        inputs = batch_inputs(batch, spec, chosen.skeleton)
        with torch.no_grad():
            target = int(log_odds(network.model(inputs), output).argmax())

        def score(x: Mapping[str, Tensor], target: int = target) -> Tensor:
            return log_odds(network.model(x), output)[:, target]

        with torch.no_grad():
            whole = float(score(inputs))
            if "pose" in inputs:
                losses["joints"].append(
                    np.array(
                        [
                            whole - float(score(one))
                            for one in _without_joints(
                                inputs, spec.heatmap, chosen.skeleton.edges, len(chosen.skeleton)
                            )
                        ]
                    )
                )
            if "rgb" in inputs:
                losses["parts"].append(
                    np.array([whole - float(score(one)) for one in _without_parts(inputs, squares)])
                )
        began = time.perf_counter()
        found = gradient_times_input(score, inputs)
        seconds += time.perf_counter() - began
        if "pose" in inputs:
            joints = over_joints(found.parts["pose"], chosen.skeleton, spec.heatmap).cpu().numpy()
            predicted["joints"].append(joints[0].sum(0))
        if "rgb" in inputs:
            maps = over_grid(found.parts["rgb"]).cpu().numpy()
            predicted["parts"].append(maps[0].sum(0).ravel()[squares])

    print(f"{len(chosen)} clips of {options.split} of {run.name}, output {output}, log-odds in nats\n")
    print("| | rank correlation, joints | parts of the picture | lost with the top joint | ms per clip |")
    print("|---|---|---|---|---|")
    lost = np.array(losses["joints"])
    rho = {name: _correlation(predicted[name], losses[name]) for name in predicted}
    top = lost[np.arange(len(lost)), np.array(predicted["joints"]).argmax(1)].mean()
    each = 1000 * seconds / len(chosen)
    print(f"| gradient | {rho['joints']:.2f} | {rho['parts']:.2f} | {top:.2f} | {each:.0f} |")
    print(f"| a joint at random | 0 | 0 | {lost.mean():.2f} | |")
    print(f"| the best joint, found by trying all | 1 | 1 | {lost.max(1).mean():.2f} | |")


def _without_joints(
    inputs: Mapping[str, Tensor], heatmap: str, edges: tuple[tuple[int, int], ...], count: int
) -> list[dict[str, Tensor]]:
    """The inputs without each joint in turn; of limb heatmaps without the limbs that end in it."""
    without = []
    for joint in range(count):
        channels = [joint] if heatmap == "joint" else [i for i, ends in enumerate(edges) if joint in ends]
        pose = inputs["pose"].clone()
        pose[:, channels] = 0
        without.append({**inputs, "pose": pose})
    return without


def _without_parts(inputs: Mapping[str, Tensor], squares: np.ndarray) -> list[dict[str, Tensor]]:
    """The inputs with each of these parts of all pictures in turn set to the mean colour."""
    size = inputs["rgb"].shape[-1]
    part = torch.arange(size, device=inputs["rgb"].device) * GRID // size
    without = []
    for square in squares.tolist():
        inside = (part == square // GRID)[:, None] & (part == square % GRID)
        without.append({**inputs, "rgb": inputs["rgb"].masked_fill(inside, 0.0)})
    return without


def _correlation(predicted: list[np.ndarray], lost: list[np.ndarray]) -> float:
    """Mean over clips of Spearman's correlation; clips where all values are equal have none."""
    found = [
        spearmanr(a, b).statistic for a, b in zip(predicted, lost, strict=True) if np.ptp(a) and np.ptp(b)
    ]
    return float(np.mean(found)) if found else float("nan")


if __name__ == "__main__":
    main()
