"""What one epoch of training adds up to: the row of the history, and the line a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mgkit.models import fuse_probabilities
from mgkit.models.distributed import sum_over_processes, world_size
from mgkit.training.recipe import Recipe

# What the history counts, per pathway: TP, FN and FP, and the clips whose score the refinement lowered.
COUNTS = ("tp", "fn", "fp", "lowered_fn", "lowered_fp")


class Tally:
    """Sums over one epoch, kept on the device so that no step waits for them.

    Every process adds what it saw, so that the sums over the processes are those of one process.
    """

    def __init__(self, pathways: tuple[str, ...], first: bool = True) -> None:
        self.names = [*pathways, "fused"] if len(pathways) > 1 else list(pathways)
        self.first = first  # of the processes; it alone adds what all of them know
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    def add(self, labels: Tensor, outputs: Mapping[str, Any], step: Any, batch: int) -> None:
        """Add the clips of one part of a batch of `batch` clips."""
        self.count += len(labels)
        share = batch / world_size()
        values = {
            "loss": step.loss.detach() * share,
            **{f"loss_{k}": v * share for k, v in step.terms.items()},
        }
        for name, probability in fuse_probabilities({k: _detached(v) for k, v in outputs.items()}).items():
            if name in self.names:
                values[f"train_top1_{name}"] = (probability.argmax(1) == labels).sum()
        for name, refined in step.refinement.items():
            for kind in COUNTS:
                values[f"{kind}_{name}"] = getattr(refined, kind).sum() * int(self.first)
        for key, value in values.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value

    def state(self) -> dict[str, Any]:
        """The sums over all processes, for a checkpoint; every process must ask for them."""
        device = next(iter(self.sums.values())).device
        count = sum_over_processes(torch.tensor(self.count, device=device))
        return {
            "count": int(count),
            "sums": {key: sum_over_processes(value).cpu() for key, value in self.sums.items()},
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what `state` gave: the first process has it all, the others begin with nothing."""
        self.count = int(state["count"]) * int(self.first)
        self.sums = {key: value.to(device) * int(self.first) for key, value in state["sums"].items()}

    def row(self) -> dict[str, float]:
        """Losses and accuracies as means over the clips, and counts; every process must ask for it."""
        return _means(self.state())

    def row_here(self) -> dict[str, float]:
        """The same of what this process saw, which it may ask for alone."""
        return _means({"count": self.count, "sums": self.sums})


def _means(state: Mapping[str, Any]) -> dict[str, float]:
    counted = tuple(f"{kind}_" for kind in COUNTS)
    return {
        key: int(value) if key.startswith(counted) else round(float(value) / max(1, state["count"]), 6)
        for key, value in state["sums"].items()
    }


def _detached(output: Any) -> Any:
    return output._replace(logits=output.logits.detach())


def epoch_line(recipe: Recipe, row: Mapping[str, Any]) -> str:
    """One readable line an epoch: loss, accuracies, speed."""

    def percents(prefix: str) -> str:
        names = [n for n in ("rgb", "pose", "fused") if f"{prefix}_{n}" in row]
        return "  ".join(f"{n} {100 * row[f'{prefix}_{n}']:5.1f} %" for n in names)

    parts = [
        f"{recipe.name:5s} {row['epoch']:3d}/{recipe.epochs}",
        f"loss {row['loss']:.3f}",
        f"train {percents('train_top1')}",
    ]
    if "val_macro_f1" in row:
        parts.append(f"val {percents('val_top1')}")
    return " | ".join([*parts, f"{row['clips_per_second']:.0f} clips/s"])
