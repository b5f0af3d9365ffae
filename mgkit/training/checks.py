"""What can be known to be wrong with a call before anything is read, made or trained."""

from __future__ import annotations

from typing import Any

import torch

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, some
from mgkit.models.batch_norm import freeze_statistics
from mgkit.training.building import build_model, input_shapes
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


def check_network(recipe: Recipe, clips: Clips, smallest: int) -> None:
    """Build a recipe's network for clips, and show it a batch, without any of the numbers: it costs no memory.

    What does not fit together is then refused before anything is written, or trained.

    Args:
        recipe: of one network; its stages are recipes of their own.
        clips: what it shall be trained on.
        smallest: the clips of the smallest part of a batch, which BatchNorm must be able to normalise.

    Raises:
        MgkitError: no such network can be made or trained; the message names the settings that it is made of.
    """
    spec, skeleton = recipe.input_spec(), clips.skeleton if "pose" in recipe.pathways else None
    if spec.keypoints:
        most = int(clips.table["persons"].max())
        if recipe.persons > max(2, most):  # published networks are of two, whatever the clips
            raise MgkitError(
                f"recipe: persons is {recipe.persons}, but no clip has more than {most}: the others would be nobody."
            )
    settings = {name: getattr(recipe, name) for name in _shaping(recipe)}
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            model = build_model(recipe, len(clips.classes), spec.channels(clips.skeleton), skeleton=skeleton)
            if recipe.batch_norm == "frozen":
                freeze_statistics(model.train())
            model(
                {
                    name: torch.empty((smallest, *shape))
                    for name, shape in input_shapes(recipe, skeleton).items()
                }
            )
    except (MgkitError, ValueError, RuntimeError) as error:
        raise MgkitError(
            f"recipe: there is no such network as that of {some([f'{k}={v!r}' for k, v in settings.items()], 9)}, for "
            f"{len(clips.classes)} classes and batches of {smallest} clips or more: {error}"
        ) from None


def _shaping(recipe: Recipe) -> list[str]:
    """The settings that a recipe's network and its input are shaped by."""
    names = ["network"]
    if "rgb" in recipe.pathways:
        names += ["rgb_frames", "rgb_size", "rgb_width", "rgb_blocks"]
    if "pose" in recipe.pathways:
        last = "persons" if recipe.input_spec().keypoints else "heatmap_size"
        names += ["pose_frames", "pose_width", "pose_blocks", last]
    if recipe.two_pathway and recipe.fusion is not None:
        names.append("fusion_heads")
    return names + (["class_groups"] if recipe.class_groups else [])


def smallest_part(clips: int, recipe: Recipe) -> int:
    """Clips of the smallest part in which an epoch's batches are taken."""
    batches = {min(clips, recipe.batch_size), clips % recipe.batch_size or recipe.batch_size}
    return min(max(1, batch // recipe.accumulation) for batch in batches)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
