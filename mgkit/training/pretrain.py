"""Masked pre-training on clips whose labels are not looked at: a training like any other, whose weights are a start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgkit.data.clips import Clips
from mgkit.data.splits import UNUSED, not_test, split_by_name
from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Run
from mgkit.training.build import check_training
from mgkit.training.loop import train
from mgkit.training.recipe import Recipe
from mgkit.training.recipes import masked

__all__ = ["pooled", "pretrain"]


def pretrain(
    clips: Clips, recipe: Recipe, out: str | Path, *, splits: Sequence[str] | None = None, **options: Any
) -> Run:
    """Train the network of a recipe to predict hidden parts of clips, without labels; resumes like a training.

        first = mg.pretrain(clips, recipe.with_(epochs=200), "runs/pretrained")
        run = mg.train(clips, recipe, "runs/tuned", start={"pose": first})
        probe = mg.train(clips, recipe.with_(backbone_rate=0), "runs/probe", start={"pose": first})

    The second call fine-tunes; the third trains a linear classifier on features that stay as they are (the statistics
    of BatchNorm follow the clips, which are then shown whole).

    Args:
        clips: any clip folder; labels may be anything.
        recipe: of one pathway, of key-points or frames, whose `masked(recipe)` is trained: its inputs, augmentation and
            optimisation, with the last epoch's weights kept. Or what `mg.recipes.masked` gave, to choose how much is
            hidden.
        out: the run folder.
        splits: the clips to learn from; by default those of all splits but test and validation splits and "unused".
            Several are one in a split table of the clip folder.
        options: of `mg.train`, but for its splits; `start` to begin with the weights of another run or file.

    Returns:
        The run. `start=` of `mg.train` takes it for clips of other classes, too.

    Raises:
        MgkitError: as `mg.train`; an unknown split, or a recipe that cannot be pre-trained.
    """
    check_training(recipe)
    made = recipe if recipe.cross_entropy is None else masked(recipe)
    one, name = pooled(clips, splits)
    return train(one, made, out, train_split=name, val_split=None, **options)


def pooled(clips: Clips, splits: Sequence[str] | None) -> tuple[Clips, str]:
    """The clips with some of their splits made one, and its name.

    Raises:
        MgkitError: an unknown split, one whose name leaves open whether it is a test split, or none that is left.
    """
    there = clips.splits
    wanted = list(splits or ())
    if splits is None:
        wanted = [
            name for name in not_test(there, clips.root, "to learn from") if split_by_name(name) != "val"
        ]
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise MgkitError(
            f"{clips.root} has no split {some(unknown) or 'to learn from'}; it has {some(there)}: name some with "
            "splits=[...]."
        )
    if len(wanted) == 1:
        return clips, wanted[0]
    column = ["train" if name in wanted else UNUSED for name in clips.column("split")]
    stem = "-".join(filter(None, (clips.split_table, "all", *sorted(wanted))))
    made = clips.with_splits(column, stem)
    made.save_splits()
    return made, "train"
