"""Start a training in a process of its own, which outlives the notebook that started it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgkit.data.clips import Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.results.run.files import plain, read_dict
from mgkit.results.run.folder import Run, load_run, refuse_other_run
from mgkit.results.run.jobs import Job, start_job
from mgkit.training.build import check_training
from mgkit.training.recipe import Recipe
from mgkit.training.start import Start, Weights, find_start, start_settings


def launch(
    clips: Clips,
    recipe: Recipe,
    out: str | Path,
    *,
    seed: int = 0,
    train_split: str = "train",
    val_split: str | None = "val",
    device: str = "auto",
    devices: int | None = None,
    precision: str = "auto",
    workers: int | None = None,
    start: Start | None = None,
    checkpoint_minutes: float = 5.0,
    log: Sequence[str] = (),
    save_memory: bool = False,
    compiled: bool = False,
) -> Job:
    """Train as `mg.train` does, in a process of its own that outlives the kernel; returns at once.

    It runs `mgkit train`; what that prints goes to train.log in the run folder. `mg.attach(out)` finds it again, and
    `mg.widgets.TrainingMonitor(out)` shows it.

    Args:
        clips: a clip folder, or a split table in it, unchanged since it was opened.
        recipe, out, seed, train_split, val_split, device, devices, precision, workers, checkpoint_minutes, log,
            save_memory, compiled: as in `mg.train`; several machines need a job script (docs/training.md).
        start: as in `mg.train`; `Weights` with lists of classes or joints cannot be passed on.

    Raises:
        MgkitError: the folder is being trained already (the message says where), holds another run, or the clips are
            not those on the disk. Later errors are in the job's `look().message`.
    """
    root = Path(out)
    check_training(clips, recipe, seed=seed, workers=workers, checkpoint_minutes=checkpoint_minutes)
    if load_clips(clips.path).fingerprint != clips.fingerprint:
        raise MgkitError(
            f"these clips are no longer those in {clips.path}, and another process can only read what is there: "
            "launch with the whole clip folder, or use mg.train."
        )
    if (root / "clips.parquet").exists() or (root.exists() and not root.is_dir()):
        raise MgkitError(f"{root} is a clip folder or a file: choose another folder for the run.")
    settings: dict[str, Any] = {"seed": seed, "train_split": train_split, "val_split": val_split}
    if given := find_start(start, recipe, clips):
        settings["start"] = start_settings(given, recipe)
    if (root / "config.json").is_file():
        _check_same(root, clips, recipe, settings)
    options = [
        "--seed", str(seed), "--train-split", train_split, "--val-split", "none" if val_split is None else val_split,
        "--device", device, "--precision", precision, "--checkpoint-minutes", str(checkpoint_minutes),
        *([] if devices is None else ["--devices", str(devices)]),
        *([] if workers is None else ["--workers", str(workers)]),
        *[word for place in ([log] if isinstance(log, str) else log) for word in ("--log", place)],
        *(["--save-memory"] if save_memory else []), *(["--compiled"] if compiled else []), *_start_words(start),
    ]  # fmt: skip
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MgkitError(f"{root} cannot be made ({error.strerror}): choose another folder.") from None
    where = os.path.relpath(clips.path.resolve(), root.resolve())
    return start_job(root, where, options, recipe.to_dict())


def _check_same(root: Path, clips: Clips, recipe: Recipe, settings: dict[str, Any]) -> None:
    """Refuse what the training would refuse, before job.json and recipe.json of the run there are overwritten."""
    there = load_run(root).config
    mine = {
        "recipe": recipe.to_dict(), "settings": settings, "data": {"fingerprint": clips.fingerprint},
    }  # fmt: skip
    theirs = {
        "recipe": there["recipe"], "settings": there.get("settings", {}),
        "data": {"fingerprint": there["data"]["fingerprint"]},
    }  # fmt: skip
    refuse_other_run(root, theirs, plain(mine, "the recipe"))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe, as `Recipe.to_dict` gives it, from a JSON file; a `MgkitError` names the file."""
    return Recipe.from_dict(read_dict(path), where=str(path))


def _start_words(start: Start | None) -> list[str]:
    words: list[str] = []
    changes: dict[str, set[str]] = {"--start-classes": set(), "--start-joints": set()}
    for name, given in (start or {}).items():
        path = given.root if isinstance(given, Run) else given.path if isinstance(given, Weights) else given
        words += ["--start", f"{name}={Path(path).resolve()}"]
        if isinstance(given, Weights):
            for option, value in (("--start-classes", given.classes), ("--start-joints", given.joints)):
                if value is not None and not isinstance(value, str):
                    raise MgkitError("a launched training takes no lists of classes or joints: use mg.train.")
                if value is not None:
                    changes[option].add(value)
    for option, values in changes.items():
        if len(values) > 1:
            raise MgkitError(
                f"a launched training takes one {option}, not {', '.join(sorted(values))}: use mg.train."
            )
        words += [word for value in values for word in (option, value)]
    return words
