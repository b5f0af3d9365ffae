"""What one epoch of training adds up to: the row of the history, and the line a person reads.

What a running training says between two epochs: in the bar, and in live.json for whoever looks on from outside.

Which epoch's weights are kept, their mean over several epochs, and when a training has stopped getting better.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from mgkit.models import CrossModalFusion, fuse_probabilities
from mgkit.models.layers import sum_over_processes, world_size
from mgkit.progress import Progress
from mgkit.results.run.status import write_live
from mgkit.training.recipe import Recipe

# What the history counts, per pathway: TP, FN and FP, and the clips whose score the refinement lowered.
COUNTS = ("tp", "fn", "fp", "lowered_fn", "lowered_fp")


class Tally:
    """Sums over one epoch, kept on the device so that no step waits for them.

    Every process adds what it saw, so that the sums over the processes are those of one process.
    """

    def __init__(self, pathways: tuple[str, ...], first: bool = True, *, labels: bool = True) -> None:
        self.names = [*pathways, "fused"] if len(pathways) > 1 else list(pathways)
        self.names = self.names if labels else []  # outputs whose accuracy is counted
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
        shown = {k: _detached(v) for k, v in outputs.items()} if self.names else {}
        for name, probability in fuse_probabilities(shown).items() if shown else ():
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


@contextmanager
def gate_sizes(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Adds up |gate| of each pathway over all that goes through the fusion modules meanwhile: its sum and the number of
    clips and modules, (2,), of this process."""
    sizes = {"rgb": torch.zeros(2, dtype=torch.float64), "pose": torch.zeros(2, dtype=torch.float64)}

    def watch(name: str) -> Callable[..., None]:
        def add(module: nn.Module, inputs: Any, gate: Tensor) -> None:
            each = gate.detach().abs().double().flatten(1).mean(1)  # (N,)
            sizes[name] += torch.tensor([float(each.sum()), len(each)])

        return add

    modules = [module for module in model.modules() if isinstance(module, CrossModalFusion)]
    hooks = [
        gate.register_forward_hook(watch(name))
        for module in modules
        for name, gate in (("rgb", module.gate_rgb), ("pose", module.gate_pose))
    ]
    try:
        yield sizes
    finally:
        for hook in hooks:
            hook.remove()


def still_rising(history: pd.DataFrame) -> str:
    """What to say of a training whose accuracy on its own clips was still rising when it ended; "" where it was not.

    Compared are the means of the last fifth of the epochs and of the fifth before. A rise counts from 1 point on, of
    what is not yet above 95 %: on a few hundred clips too few steps are the commonest reason for a poor network.

    Args:
        history: of a run, with the columns `train_top1_<pathway>`.
    """
    names = [name for name in history.columns if name.startswith("train_top1_")]
    part = len(history) // 5
    if part < 1 or not names:
        return ""
    best = max(names, key=lambda name: history[name].iloc[-part:].mean())
    before, last = (
        float(history[best].iloc[rows].mean()) for rows in (slice(-2 * part, -part), slice(-part, None))
    )
    if last - before < 0.01 or last > 0.95:
        return ""
    return (
        f"accuracy on the training clips was still rising ({100 * before:.1f} to {100 * last:.1f} % over the last "
        f"{2 * part} epochs): more epochs, or `steps`, would probably help"
    )


def epoch_line(recipe: Recipe, row: Mapping[str, Any]) -> str:
    """One readable line an epoch: loss, accuracies, speed."""

    def percents(prefix: str) -> str:
        names = [n for n in ("rgb", "pose", "fused") if f"{prefix}_{n}" in row]
        return "  ".join(f"{n} {100 * row[f'{prefix}_{n}']:5.1f} %" for n in names)

    parts = [
        f"{recipe.name:5s} {row['epoch']:3d}/{recipe.optimisation.epochs}",
        f"loss {row['loss']:.3f}",
    ]
    if recipe.cross_entropy is not None:
        parts.append(f"train {percents('train_top1')}")
    if "val_macro_f1" in row:
        parts.append(f"val {percents('val_top1')}")
    return " | ".join([*parts, f"{row['clips_per_second']:.0f} clips/s"])


EVERY = 1.0  # seconds between two words: reading the sums makes the device wait, so not at every step


class Live:
    """The voice of one epoch; `step` is called after every step and does something about once a second.

    Nothing that goes wrong with live.json (a full disk, a folder that is gone) stops a training: it is a help to
    people, and the next word may get through.

    Args:
        out: the run folder; None on a process that only follows, which says nothing.
        head: what stays the same over the epoch: "stage", "epoch" (from 1), "epochs", "learning_rate", "steps" and
            "of" (clips of the epoch).
        sums: gives the means and counts so far, under the names of history.csv.
        bar: moved along.
        step: steps of this epoch that were made before, by a run that was resumed within it.
        clips: clips of these steps.
    """

    def __init__(
        self,
        out: Path | None,
        head: Mapping[str, Any],
        sums: Callable[[], Mapping[str, float]],
        bar: Progress,
        *,
        step: int = 0,
        clips: int = 0,
    ) -> None:
        self.out, self.head, self.sums, self.bar = out, dict(head), sums, bar
        self._step, self._clips, self._before = step, clips, clips
        self._began = time.monotonic()
        self._spoke = float("-inf")

    def step(self, clips: int) -> None:
        """One more step, of so many clips."""
        self._step += 1
        self._clips += clips
        now = time.monotonic()
        text = ""
        if self.out is None:
            return
        if now - self._spoke >= EVERY or self._step == self.head["steps"]:
            self._spoke = now
            word = self.word(now)
            text = brief(word)
            try:
                write_live(self.out, word)
            except OSError:
                pass
        self.bar.advance(clips, self.head["of"], text)

    def word(self, now: float) -> dict[str, Any]:
        """What live.json holds; `seconds_left` counts the epochs of this stage, without their validation."""
        speed = (self._clips - self._before) / max(now - self._began, 1e-9)
        left = (self.head["epochs"] - self.head["epoch"] + 1) * self.head["of"] - self._clips
        return {
            **self.head,
            "step": self._step,
            "clips": self._clips,
            "clips_per_second": round(speed, 2),
            "seconds_left": round(left / speed, 1) if speed > 0 else None,
            **self.sums(),
            "updated": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }


def brief(word: Mapping[str, Any]) -> str:
    """Loss, accuracy and time left of the stage, short enough for a bar.

    >>> brief({"loss": 1.5, "train_top1_rgb": 0.25, "seconds_left": 75})
    'loss 1.500, rgb 25 %, 1:15 left'
    """
    parts = [f"loss {word['loss']:.3f}"] if "loss" in word else []
    accuracies = [(name, word.get(f"train_top1_{name}")) for name in ("rgb", "pose", "fused")]
    parts += [f"{name} {100 * value:.0f} %" for name, value in accuracies if value is not None]
    if word.get("seconds_left") is not None:
        parts.append(f"{clock(word['seconds_left'])} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as minutes or hours.

    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class Selection:
    """What is remembered from epoch to epoch.

    Attributes:
        best: value of the epoch that is kept; larger is better, a loss counts negatively.
        reached: the best value so far of what early stopping looks at, in the same sense.
        waited: epochs since it was reached.
    """

    best: float = -math.inf
    reached: float = -math.inf
    waited: int = 0

    def update(self, recipe: Recipe, row: Mapping[str, Any]) -> bool:
        """Take in the row of an epoch; whether its weights are to be kept. Of equal epochs the later one is."""
        value = measured(recipe.optimisation.keep, recipe, row)
        chosen = value is None or value >= self.best
        if chosen and value is not None:
            self.best = value
        watched = measured(recipe.optimisation.stop_on, recipe, row)
        if watched is not None:
            improved = watched > self.reached
            self.reached = max(self.reached, watched)
            self.waited = 0 if improved else self.waited + 1
        return chosen

    def over(self, recipe: Recipe) -> bool:
        """Whether the patience of the recipe has ended."""
        patience = recipe.optimisation.patience
        return patience > 0 and self.waited >= patience


def add_to_mean(
    averaged: AveragedModel, model: nn.Module, batches: Iterable[Mapping[str, Tensor]] | None
) -> None:
    """Take the weights of a network into a mean, all with the same share (Izmailov et al., UAI 2018, equation 1).

    Parameters are averaged. Buffers, counters among them, are those of the network, but for the statistics of
    BatchNorm: the mean of several networks' statistics is not what the layers of the mean network put out, whose
    variance is smaller, so they are measured anew, as the mean over batches in training mode.

    Args:
        averaged: the mean so far.
        model: the network that was trained on.
        batches: inputs to measure on, the same as in training; None leaves the statistics as the network has them.
    """
    averaged.update_parameters(model)
    if batches is None:
        return
    update_bn(batches, averaged)
    for mine, trained in zip(averaged.module.modules(), model.modules(), strict=True):
        # What a network of the user's keeps in evaluation mode has seen no batch, and was set to 0 and 1.
        if isinstance(mine, nn.modules.batchnorm._BatchNorm) and mine.num_batches_tracked == 0:
            for to, value in zip(mine.buffers(), trained.buffers(), strict=True):
                to.copy_(value)


def measured(name: str, recipe: Recipe, row: Mapping[str, Any]) -> float | None:
    """What `keep` or `stop_on` names, of a row of the history; larger is better. None: there is no such value.

    "best" is the validation Top-1 of the fused output, of a single pathway its own; so are the names of outputs that a
    single pathway does not have, since the stages of a training share its settings.
    """
    if name == "last":
        return None
    column = name
    if name == "best" or name.startswith("val_top1_"):
        column = "val_top1_fused" if name == "best" else name
        if column not in row:
            column = f"val_top1_{recipe.pathways[0]}"
    value = row.get(column)
    if value is None:
        return None
    return -float(value) if name.endswith("loss") else float(value)
