"""What the network of a recipe costs: parameters and operations counted, speed measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from statistics import quantiles

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.progress import Progress, spoken
from mgkit.results.run.cost import Cost, write_cost
from mgkit.results.run.folder import Run, load_run
from mgkit.training import recipes
from mgkit.training.build import build_model, embedding_widths, own_parts
from mgkit.training.code import recipe_of
from mgkit.training.inference import check_whole, predict
from mgkit.training.machine import cpu_threads, default_workers, make_fabric, suit_memory
from mgkit.training.recipe import Recipe

__all__ = ["count_operations", "measure", "say_duration", "training_operations"]


def measure(
    run: Run | Recipe | str | Path,
    clips: Clips | None = None,
    *,
    split: str | None = None,
    classes: int | None = None,
    skeleton: Skeleton | None = None,
    speed: bool = True,
    batch_size: int | None = None,
    batches: int = 10,
    device: str = "auto",
    workers: int | None = None,
    run_code: bool = False,
) -> Cost:
    """Count the parameters and operations of a network and time it; of a run they go into its folder.

    The network is one with fresh weights, since neither depends on them. Counting runs on torch's meta device and takes
    a second and no memory, whatever the size.

    Args:
        run: a run or its folder (the result is written to its cost.json, `run.cost()` reads it), or a recipe.
        clips: with a recipe: the clips, for their classes and skeleton; with `split` also what is loaded, by default
            those of the run.
        split: measure the way from the files, too (reading, decoding, network; one view a clip), on `batches` batches
            of this split, or as many as it has. Starting the loader is part of it.
        classes, skeleton: with a recipe and without clips: number of classes; the layout, where there is pose.
        speed: False counts only.
        batch_size: clips a step of the timing; the recipe's by default.
        batches: timed batches, after two that are not.
        device: "auto", "cpu", "cuda"; precision and threads are those that `mg.test` would use there.
        workers: loader processes; chosen as in `mg.test` by default.
        run_code: as of `mg.test`.

    Returns:
        The cost, for one view of one clip.

    Raises:
        MgkitError: an imported run, which has no network; a recipe without classes or skeleton; no such split.

    Example:
        >>> import mgkit as mg
        >>> from mgkit.training.cost import measure
        >>> measure(mg.recipes.rgb_only(), classes=32, speed=False).parameters
        32224608
    """
    check_whole(batch_size=batch_size, batches=batches, classes=classes)
    into: Run | None = None
    if not isinstance(run, Recipe):
        into = run if isinstance(run, Run) else load_run(run)
        if classes is not None or skeleton is not None:
            raise MgkitError("a run knows its classes and skeleton: give mg.measure the run alone.")
        if into.scores_only:
            raise MgkitError(f"{into.root} was made of scores: it has no network that could be measured.")
        recipe = recipe_of(into, run_code=run_code)
        classes, skeleton = len(into.classes), into.skeleton
        if split is not None and clips is None:
            clips = into.clips()
    else:
        recipe = run
        if clips is not None:
            if classes is not None or skeleton is not None:
                raise MgkitError(
                    "clips know their classes and skeleton: give mg.measure either clips or numbers."
                )
            classes, skeleton = len(clips.classes), clips.skeleton
        if classes is None:
            raise MgkitError("mg.measure needs clips, or classes=, to know the size of the network.")
        if split is not None and clips is None:
            raise MgkitError(f"to measure the loading of split {split!r}, mg.measure needs clips.")
    inputs = recipe.inputs.on(skeleton)
    shapes = inputs.shapes
    where = "cpu" if own_parts(recipe) else "meta"  # not everybody's network can be made without numbers
    with torch.random.fork_rng(devices=[]), torch.device(where):
        model = build_model(recipe, classes, inputs)
    cost = Cost(
        sum(parameter.numel() for parameter in model.parameters()),
        count_operations(model, shapes),
        {name: list(shape) for name, shape in shapes.items()},
    )
    if speed:
        cost = _timed(
            cost, recipe, classes, inputs, batch_size or recipe.optimisation.batch_size, batches, device,
            None if split is None or clips is None else clips.split(split), workers,
        )  # fmt: skip
    if into is not None:
        write_cost(into.root, cost)
    return cost


def count_operations(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Floating-point operations of one clip in testing; a multiplication and an addition count as two.

    Args:
        model: best on the meta device, where the counter sees every product (on a CPU it misses fused attention).
        shapes: of one clip, of each input.
    """
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    inputs = {name: torch.zeros((1, *shape), device=device) for name, shape in shapes.items()}
    # The counter looks for the gradient of whatever a module is given, and a learnt query itself has none here.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(inputs)
    finally:
        model.train(was_training)
        for parameter in trained:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops())


LONG = 1800.0  # seconds of a training on a CPU from which on it is announced


def say_duration(recipe: Recipe, clips: Clips) -> None:
    """Say how long a training will take on this CPU, and which recipe is the small one; nothing if it is short.

    Args:
        recipe: to be trained, with its stages, of mgkit's own networks; of others nothing is said.
        clips: the training clips.
    """
    stages = (*recipe.stages, recipe)
    seen = sum(stage.optimisation.epochs for stage in stages) * len(clips)
    if seen < 100 or any(own_parts(stage) for stage in stages):
        return
    seconds = training_operations(recipe, clips) / _rate()
    if seconds < LONG:
        return
    text = f"about {_about(seconds)} on this CPU"
    small = recipes.demo() if recipe.two_pathway else None
    called = "mg.recipes.demo() in Python, --recipe demo in a shell"
    if small is None and recipe.network.target.__name__ in recipes.NARROWED:
        small, called = recipes.narrow(recipe), "mg.recipes.narrow(recipe) in Python, --narrow in a shell"
    if small is not None:
        less = training_operations(small, clips) / _rate()
        if less < seconds / 3:
            text += f"; the same made small, to try it out, takes about {_about(less)}: {called}"
    Progress(recipe.name).say(f"{recipe.name}: {text}")


def training_operations(recipe: Recipe, clips: Clips) -> float:
    """Floating-point operations of a training on these clips, its stages included: forward, and twice that backward."""
    total = 0.0
    for stage in (*recipe.stages, recipe):
        inputs = stage.inputs.on(clips.skeleton)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = build_model(stage, len(clips.classes), inputs)
        total += 3.0 * count_operations(model, inputs.shapes) * len(clips) * stage.optimisation.epochs
    return total


@lru_cache(maxsize=1)
def _rate() -> float:
    """Operations per second that this CPU does in training a convolution, measured in about a tenth of a second."""
    layer, clip = nn.Conv3d(32, 32, 3, padding=1), torch.zeros(1, 32, 8, 28, 28)
    best = float("inf")
    with torch.random.fork_rng(devices=[]):
        for _ in range(4):
            began = time.perf_counter()
            layer(clip).sum().backward()
            best = min(best, time.perf_counter() - began)
    return 3 * 2 * layer.weight.numel() * clip[0, 0].numel() / best


def _about(seconds: float) -> str:
    return spoken(seconds) if seconds < 36_000 else f"{seconds / 3600:.0f} hours"


def _timed(
    cost: Cost,
    recipe: Recipe,
    classes: int,
    inputs: Inputs,
    batch_size: int,
    batches: int,
    device: str,
    clips: Clips | None,
    workers: int | None,
) -> Cost:
    fabric = make_fabric(device)
    where = fabric.device
    workers = default_workers(recipe.pathways, where) if workers is None else workers
    generator = torch.Generator().manual_seed(0)
    # How classes are grouped is nothing to a network's cost, but a head may want to know.
    model = build_model(recipe, classes, inputs, generator, np.ones(classes, np.int64))
    embedding = embedding_widths(recipe, model, inputs)
    model.to(where).eval()
    suit_memory(model)
    batch = {
        name: torch.rand((batch_size, *shape), generator=generator).to(where)
        for name, shape in cost.inputs.items()
    }
    seconds = []
    with torch.inference_mode(), cpu_threads(where, 0):
        threads = torch.get_num_threads()
        for i in range(batches + 2):
            _wait(where)
            began = time.perf_counter()
            with fabric.autocast():
                model(batch)
            _wait(where)
            if i >= 2:
                seconds.append(time.perf_counter() - began)
    fast, middle, slow = quantiles(seconds, n=4, method="inclusive") if batches > 1 else seconds * 3
    cost = replace(
        cost,
        clips_per_second=batch_size / middle,
        slow=batch_size / slow,
        fast=batch_size / fast,
        batch_size=batch_size,
        device=torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        threads=threads,
        precision=str(fabric._precision.precision),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        software=f"torch {torch.__version__}",
    )
    if clips is None:
        return cost
    chosen = clips.select(clips.ids[: batches * batch_size])
    with cpu_threads(where, workers):
        began = time.perf_counter()
        predict(
            model,
            nn.ModuleDict(),
            ClipDataset(chosen, inputs, training=False),
            embedding=embedding,
            device=where,
            autocast=fabric.autocast,
            batch_size=batch_size,
            workers=workers,
        )
        taken = time.perf_counter() - began
    return replace(cost, loaded_clips_per_second=len(chosen) / taken, workers=workers)


def _wait(device: torch.device) -> None:
    """Let what was started on a GPU end: it runs beside the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
