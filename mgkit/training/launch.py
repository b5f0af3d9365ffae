"""Start a training in a process of its own, which outlives the notebook that started it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from mgkit.data.clips import Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.models.weights.known import KNOWN
from mgkit.results.run.files import plain, read_dict
from mgkit.results.run.folder import Run, load_run, refuse_other_run
from mgkit.results.run.jobs import Job, start_job
from mgkit.training import code
from mgkit.training.build import check_training
from mgkit.training.cost import say_duration
from mgkit.training.options import Options, takes_options
from mgkit.training.recipe import Recipe
from mgkit.training.start import Start, Weights, find_start, start_settings


@takes_options
def launch(
    clips: Clips, recipe: Recipe, out: str | Path, *, start: Start | None = None, **options: Any
) -> Job:
    """Train as `mg.train` does, in a process of its own that outlives the kernel; returns at once.

    It runs `mgkit train`; what that prints goes to train.log in the run folder. `mg.attach(out)` finds it again, and
    `mg.widgets.TrainingMonitor(out)` shows it. Parts of the recipe that are defined in the notebook are imported from
    `code/` of the run folder.

    Args:
        clips: a clip folder, or a split table in it, unchanged since it was opened.
        recipe, out: as in `mg.train`.
        start: as in `mg.train`; `Weights` with lists of classes or joints cannot be passed on.
        options: see Options.

    Raises:
        MgkitError: the folder is being trained already (the message names the process), holds another launched recipe,
            the clips are not those on the disk, several machines (they need a job script, docs/training.md). What only
            the training finds out is in the job's `look().message`.
    """
    root, chosen = Path(out), Options(**options)
    check_training(recipe)
    if chosen.nodes is not None or chosen.strategy != "auto":
        raise MgkitError(
            "launch starts on this machine: for several put `mgkit train` into a job script (docs/training.md)."
        )
    if load_clips(clips.path).fingerprint != clips.fingerprint:
        raise MgkitError(
            f"these clips are no longer those in {clips.path}, and another process can only read what is there: "
            "launch with the whole clip folder, or use mg.train."
        )
    if (root / "clips.parquet").exists() or (root.exists() and not root.is_dir()):
        raise MgkitError(f"{root} is a clip folder or a file: choose another folder for the run.")
    settings: dict[str, Any] = {
        "seed": chosen.seed, "train_split": chosen.train_split, "val_split": chosen.val_split,
    }  # fmt: skip
    if given := find_start(start, recipe, clips):
        settings["start"] = start_settings(given, recipe)
    files = code.collect(recipe.parts())
    if (root / "config.json").is_file():
        _check_same(root, clips, recipe, settings)
        if files and chosen.changed_code == "refuse":
            code.refuse_changes(root, files)
    on_cpu = chosen.device == "cpu" or (chosen.device == "auto" and not torch.cuda.is_available())
    if chosen.progress and on_cpu and not (root / "config.json").is_file():
        # A network that cannot be made is named by the training.
        with contextlib.suppress(MgkitError, ValueError, RuntimeError):
            say_duration(recipe, clips.split(chosen.train_split))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MgkitError(f"{root} cannot be made ({error.strerror}): choose another folder.") from None
    code.remember(files)  # so that the process may run it
    where = os.path.relpath(clips.path.resolve(), root.resolve())
    words = [*option_words(chosen), *_start_words(start)]
    return start_job(root, where, words, recipe.to_dict(), files)


def option_words(options: Options) -> list[str]:
    """The words of a command line that stand for options which are not the default."""
    words: list[str] = []
    for one in fields(options):
        value = getattr(options, one.name)
        if value == one.default or one.name == "progress":
            continue
        flag = f"--{one.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag)
        else:
            each = value if isinstance(value, tuple) else [value]
            words += [word for item in each for word in (flag, "none" if item is None else str(item))]
    return words


def _check_same(root: Path, clips: Clips, recipe: Recipe, settings: dict[str, Any]) -> None:
    """Refuse what the training would refuse, before job.json and recipe.json of the run there are overwritten."""
    there = load_run(root).config
    count = int((clips.rows.narrow("split") == settings["train_split"]).sum())
    mine = {
        "recipe": recipe.for_clips(count).to_dict(), "settings": settings, "data": {"fingerprint": clips.fingerprint},
    }  # fmt: skip
    theirs = {
        "recipe": there["recipe"], "settings": there.get("settings", {}),
        "data": {"fingerprint": there["data"]["fingerprint"]},
    }  # fmt: skip
    refuse_other_run(root, theirs, plain(mine, "the recipe"))


def read_recipe(path: Path, *, run_code: bool = False) -> Recipe:
    """A recipe as `Recipe.to_dict` gives it, from a JSON file; a `MgkitError` names the file.

    Parts of the user's own are imported from `code/` next to it, see `load_from`.
    """
    load = code.load_from(path.parent, None, run_code=run_code)
    return Recipe.from_dict(read_dict(path), str(path), load)


def _start_words(start: Start | None) -> list[str]:
    words: list[str] = []
    changes: dict[str, set[str]] = {"--start-classes": set(), "--start-joints": set()}
    for name, given in (start or {}).items():
        path = given.root if isinstance(given, Run) else given.path if isinstance(given, Weights) else given
        named = path in KNOWN and not Path(path).exists()  # published weights, fetched there
        words += ["--start", f"{name}={path if named else Path(path).resolve()}"]
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
