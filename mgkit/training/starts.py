"""Where the first weights of a training come from: finished runs, or checkpoint files of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.models import Objective, SinglePathway, TwoPathway, merge_branches
from mgkit.results.runs import Run, load_run
from mgkit.training.inference import load_checkpoint, restore
from mgkit.training.recipes import Recipe

__all__ = ["Start", "apply_start", "find_start", "start_hashes"]

Start = Mapping[str, Run | str | Path]


def find_start(start: Start | None, recipe: Recipe, clips: Clips) -> dict[str, Path]:
    """The checkpoint that each pathway starts from.

    Args:
        start: for "rgb" and "pose" a finished run of that pathway alone, or for "all" one of the recipe's pathways.
        recipe: what shall be trained from there.
        clips: what it shall be trained on; the runs must have the same classes and joints.

    Returns:
        {"rgb" or "pose" or "all": path of the run's best checkpoint}.

    Raises:
        MgkitError: an unknown key, a run that is unfinished, of other pathways, classes or joints, or a two-pathway
            recipe without stages that is given one branch only.
    """
    found: dict[str, Path] = {}
    start = start or {}
    known = ("all", *recipe.pathways)
    for key, given in start.items():
        if key not in known or ("all" in start and len(start) > 1):
            raise MgkitError(
                f"start has {some(map(repr, start))}: give 'all' alone, or {' and '.join(map(repr, recipe.pathways))}."
            )
        run = given if isinstance(given, Run) else load_run(given)
        wanted = recipe.pathways if key == "all" else (key,)
        if run.pathways != wanted:
            raise MgkitError(
                f"start: {run.root} is a run of {' and '.join(run.pathways)}; for {key!r} give one of "
                f"{' and '.join(wanted)}."
            )
        if run.status()["state"] != "finished":
            raise MgkitError(f"start: {run.root} is not finished; train it to its end first.")
        if run.classes.names != clips.classes.names or run.skeleton.joints != clips.skeleton.joints:
            raise MgkitError(
                f"start: {run.root} was trained on other classes or joints than {clips.root} has: give a run on "
                "the same."
            )
        found[key] = run.checkpoint("best")
    missing = [name for name in recipe.pathways if name not in found]
    if found and "all" not in found and missing and not recipe.stages:
        raise MgkitError(
            f"start lacks {missing[0]!r}, and the recipe has no stage that would train it: give a run for it too."
        )
    return found


def start_hashes(start: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of each checkpoint started from: runs that began elsewhere are never taken for one another."""
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in start.items()}


def apply_start(model: SinglePathway | TwoPathway, objective: Objective, paths: Mapping[str, Path]) -> None:
    """Load what `find_start` found, and the finished stages, into a new model and its objective, in place.

    Two branches are merged: each pathway's weights are copied, the weights of lateral channels become zero. The
    embeddings are copied too, so the branches' prototypes, where they have any, hold and come along.
    """
    states = {key: load_checkpoint(path) for key, path in paths.items()}
    if isinstance(model, TwoPathway) and "all" not in states:
        merge_branches(model, rgb=states["rgb"]["model"], pose=states["pose"]["model"])
    else:
        for key, state in states.items():
            restore(state, paths[key], model=model)
    for state in states.values():
        own = objective.state_dict()
        learnt: dict[str, Any] = {name: value for name, value in state["objective"].items() if name in own}
        objective.load_state_dict({**own, **learnt})
