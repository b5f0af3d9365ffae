"""Several systems on the same clips: each trained over seeds, tested and measured, one folder a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.runs import Run, load_run
from mgkit.training.cost import measure
from mgkit.training.inference import test, tested_as
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe

__all__ = ["train_systems"]


def train_systems(
    clips: Clips,
    systems: Mapping[str, Recipe],
    out: str | Path,
    *,
    seeds: Iterable[int] = (0,),
    splits: Sequence[str] = ("val", "test"),
    views: int = 1,
    flip: bool = False,
    device: str = "auto",
    speed: bool = True,
    **options: Any,
) -> dict[str, list[Run]]:
    """Train each system with each seed, test it on each split, and measure what it costs.

    Runs are made in `out`/NAME-SEED. Finished ones are loaded, interrupted ones go on, so that the same call can be
    made again, with more systems or seeds too; a test is repeated only where the run was trained or tested otherwise
    since.

    Args:
        clips: the clip folder.
        systems: recipes by the name that tables shall call them.
        out: folder of the runs.
        seeds: of the trainings.
        splits: where each is tested; weights of an ensemble are searched on "val".
        views, flip, device: of the tests, see `mg.test`; the device also of the trainings.
        speed: time each network once (see `mg.measure`); without it only parameters and operations are counted.
        options: of `mg.train`, for example `val_split=None`, `workers=4`, `progress=False`.

    Returns:
        {name: its runs, in the order of the seeds}.

    Raises:
        MgkitError: no systems or seeds, two names that make one folder, and whatever `mg.train` and `mg.test` refuse.
    """
    chosen = list(seeds)
    if not systems or not chosen:
        raise MgkitError("there is nothing to train: give systems, {name: recipe}, and one seed or more.")
    folders = {
        name: re.sub(r"[^a-z0-9]+", "-", name.lower().replace("+", "p")).strip("-") for name in systems
    }
    for name, folder in folders.items():
        same = [other for other, its in folders.items() if its == folder and other != name]
        if same or not folder:
            raise MgkitError(
                f"the system {name!r} has no folder name of its own{f' beside {same[0]!r}' if same else ''}: give it "
                "another name."
            )
    progress = bool(options.get("progress", True))
    runs: dict[str, list[Run]] = {}
    for name, recipe in systems.items():
        runs[name] = []
        for seed in chosen:
            run = train(
                clips, recipe, Path(out) / f"{folders[name]}-{seed}", seed=seed, device=device, **options
            )
            for split in splits:
                if not tested_as(run, split, clips, views=views, flip=flip):
                    test(
                        run, split, clips=clips, views=views, flip=flip, device=device,
                        workers=options.get("workers"), progress=progress,
                    )  # fmt: skip
            if not run.has_cost() or (speed and run.cost().clips_per_second is None):
                measure(run, device=device, speed=speed)
            runs[name].append(load_run(run.root))
    return runs
