"""Several systems on the same clips: each trained over seeds, tested and measured, one folder a run.

Cross-validation: one training a fold, and one score over all clips, each judged by a network that never saw it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.models.layers import rank
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats.metrics import macro_f1, top1
from mgkit.training.cost import measure
from mgkit.training.inference import test, tested_as
from mgkit.training.loop import train
from mgkit.training.machine import wait_for_all
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


@dataclass(frozen=True, eq=False)
class FoldRuns:
    """The runs of `train_folds`.

    Attributes:
        runs: one a fold, tested on its validation split.
        merged: a run folder whose split "val" holds the predictions of all clips, each by the fold that it was held
            out of; every table and figure of a run works on it.
    """

    runs: tuple[Run, ...]
    merged: Run

    @property
    def predictions(self) -> Predictions:
        """Of all clips, see `merged`."""
        return self.merged.predictions("val")

    def table(self) -> pd.DataFrame:
        """Top-1 and macro-F1 of each output, a row a fold, then "all": over all clips at once, not their mean."""
        rows = {run.name: _scores(run.predictions("val")) for run in self.runs}
        return pd.DataFrame({**rows, "all": _scores(self.predictions)}).T

    def __repr__(self) -> str:
        return f"FoldRuns({len(self.runs)} folds, {len(self.predictions)} clips, {str(self.merged.root)!r})"

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format="{:.3f}".format))


def _scores(predictions: Predictions) -> dict[str, float]:
    row: dict[str, float] = {"clips": len(predictions)}
    for name in predictions.outputs:
        said = predictions.predicted(name)
        row[f"top1_{name}"] = top1(predictions.labels, said)
        row[f"macro_f1_{name}"] = macro_f1(predictions.labels, said, predictions.class_count)
    return row


def train_folds(
    folds: Sequence[Clips],
    recipe: Recipe,
    out: str | Path,
    *,
    views: int = 1,
    flip: bool = False,
    **options: Any,
) -> FoldRuns:
    """Train a recipe on every fold and test each on the clips it was held out from.

    Call it again to go on where it was interrupted; folds that are finished and tested are not done again.

    The weights that a recipe keeps by a validation score ("best") are chosen on the very clips that the fold is then
    tested on, which flatters the score; for a number to publish use `keep="last"`, and no early stopping on one.

    Args:
        folds: what `clips.folds(...)` gives: clips with the splits "train" and "val", which together validate each
            clip once.
        recipe: the same for all folds.
        out: holds a run folder a fold (`fold0`, `fold1`, ...), and `merged`.
        views, flip: of the test, see `mg.test`.
        options: of `mg.train` (seed, device, devices, workers, ...), the same for all folds.

    Raises:
        MgkitError: no folds, a clip validated by two of them, folds of other classes, `train_split` or `val_split`
            among the options; and what `mg.train` raises.
    """
    if not len(folds) or isinstance(folds, Clips):
        raise MgkitError("train_folds needs the folds of clips.folds(...), one or more.")
    for name in ("train_split", "val_split", "start"):
        if name in options:
            raise MgkitError(f"train_folds: {name} cannot be given, each fold has its own.")
    held_out = [clip_id for fold in folds for clip_id in fold.split("val").ids]
    twice = [clip_id for clip_id, count in Counter(held_out).items() if count > 1]
    if twice:
        raise MgkitError(
            f"folds: {some(twice)} would be validated twice: give the folds of one clips.folds(...)."
        )
    shared = {
        key: options[key] for key in ("device", "devices", "nodes", "workers", "progress") if key in options
    }
    runs = []
    for i, fold in enumerate(folds):
        run = train(fold, recipe, Path(out) / f"fold{i}", **options)
        if not tested_as(run, "val", fold, views=views, flip=flip):
            test(run, "val", clips=fold, views=views, flip=flip, **shared)
        runs.append(run)
    parts = [run.predictions("val") for run in runs]
    root = Path(out) / "merged"
    if rank() == 0:
        import_scores(
            root,
            clip_ids=[clip_id for part in parts for clip_id in part.clip_ids],
            labels=np.concatenate([part.labels for part in parts]),
            probabilities={
                name: np.concatenate([part.scores(name) for part in parts]) for name in parts[0].outputs
            },
            classes=folds[0].classes,
            skeleton=folds[0].skeleton,
            name=f"{Path(out).name} ({len(parts)} folds)",
            split="val",
        )
    wait_for_all()
    return FoldRuns(tuple(runs), load_run(root))
