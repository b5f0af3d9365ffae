"""What can be known to be wrong with a call before anything is read, made or trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.training.building import build_model, build_objective
from mgkit.training.recipe import Recipe

LARGEST_SEED = 2**32 - 1


def check_training(clips: Any, recipe: Any, *, seed: Any, workers: Any, checkpoint_minutes: Any) -> None:
    """Refuse what `train` and `launch` cannot work with, by name."""
    if not isinstance(clips, Clips):
        raise MgkitError(
            f"clips are {_brief(clips)}: open them first, as in mg.train(mg.load_clips('data/demo'), ...)."
        )
    if not isinstance(recipe, Recipe):
        raise MgkitError(
            f"the recipe is {_brief(recipe)}: give one, as in mg.train(clips, mg.recipes.demo(), ...)."
        )
    if not _is_whole(seed) or not 0 <= seed <= LARGEST_SEED:
        raise MgkitError(f"seed is {seed!r}: use a whole number from 0 to {LARGEST_SEED}.")
    check_workers(workers)
    good = isinstance(checkpoint_minutes, int | float) and not isinstance(checkpoint_minutes, bool)
    if not good or not 0 <= checkpoint_minutes < float("inf"):
        raise MgkitError(f"checkpoint_minutes is {checkpoint_minutes!r}: use a number, 0 or more.")


def check_workers(workers: Any) -> None:
    """Refuse a number of loader processes that is none."""
    if workers is not None and (not _is_whole(workers) or workers < 0):
        raise MgkitError(f"workers is {workers!r}: use a whole number, 0 or more, or None to have it chosen.")


def check_networks(recipe: Recipe, clips: Clips) -> None:
    """Make the network and the loss of a recipe and of all its stages once, and throw them away.

    A setting of the joint network that cannot be is then refused now, and not once its branches have been trained.
    """
    classes = len(clips.classes)
    counts = np.bincount(clips.labels, minlength=classes)
    with torch.random.fork_rng(devices=[]):
        for part in (recipe, *recipe.stages):
            generator = torch.Generator().manual_seed(0)
            channels = part.input_spec().channels(clips.skeleton)
            build_model(part, classes, channels, generator, skeleton=clips.skeleton, class_counts=counts)
            build_objective(part, classes, generator, counts)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
