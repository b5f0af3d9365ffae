"""The network and the losses of a recipe in plain values: what `mg.figures.architecture` draws."""

from __future__ import annotations

from typing import Any

import torch

from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.models.outline import outline as outline_of_model
from mgkit.results.runs import Run
from mgkit.training.building import build_model, input_shapes
from mgkit.training.recipe import Recipe

__all__ = ["outline"]


def outline(
    recipe: Recipe | Run,
    clips: Clips | None = None,
    *,
    classes: int | None = None,
    joints: int | None = None,
    skeleton: Skeleton | None = None,
) -> dict[str, Any]:
    """What a recipe trains, or a run has trained: pathways, laterals, fusion, heads, losses.

    Args:
        recipe: a recipe, or a run, which knows its recipe, classes and skeleton.
        clips: with a recipe: the clips, for their classes and skeleton.
        classes: without clips: number of classes.
        joints: without clips or a skeleton: key-points, or limbs where the recipe's heatmaps are limbs; not needed by a
            recipe without pose.
        skeleton: without clips: the layout instead of a number of joints; a skeleton network is built on its graph.

    Returns:
        What `mgkit.models.outline.outline` returns, of each pathway also "network" and "stream" of the recipe and
        "heatmap" ("joint", "limb", or None where it is fed no heatmaps), and "losses": the terms whose weighted sum is
        trained, [{"name": "cross-entropy", "refinement", "semantic" or "groups", "pathway", "weight"}, ...]; a
        refinement has also "prototypes": [classes, width]. All plain values, which JSON holds as they are.

    Raises:
        MgkitError: if the number of classes or joints, or the skeleton of a skeleton network, is not known; an imported
            run, which has no network.

    Example:
        >>> import mgkit as mg
        >>> network = mg.outline(mg.recipes.paper(), classes=32, joints=22)
        >>> network["pathways"][1]["stages"][-1]["shape"]
        [512, 32, 7, 7]
    """
    if isinstance(recipe, Run):
        if not all(value is None for value in (clips, classes, joints, skeleton)):
            raise MgkitError("A run knows its classes and joints: give mg.outline the run alone.")
        run = recipe
        if run.scores_only:
            raise MgkitError(f"{run.root} was made of scores: it has no network that could be outlined.")
        recipe = Recipe.from_dict(run.recipe, where=str(run.root / "config.json"))
        classes, skeleton = len(run.classes), run.skeleton if "pose" in recipe.pathways else None
    elif clips is not None:
        if not all(value is None for value in (classes, joints, skeleton)):
            raise MgkitError("Clips know their classes and joints: give mg.outline either clips or numbers.")
        classes, skeleton = len(clips.classes), clips.skeleton
    if skeleton is not None and joints is not None:
        raise MgkitError("A skeleton knows its joints: give mg.outline either a skeleton or joints.")
    spec = recipe.input_spec()
    channels = spec.channels(skeleton) if skeleton is not None else joints
    pose = "pose" in recipe.pathways
    if pose and spec.keypoints and skeleton is None:
        raise MgkitError(
            f"{recipe.network} is built on a skeleton's graph: give mg.outline clips, or skeleton=."
        )
    if classes is None or (pose and channels is None):
        needed = "classes= and joints=" if pose else "classes="
        raise MgkitError(f"mg.outline needs clips, or {needed}, to know the size of the network.")
    for name, value in (("classes", classes), ("joints", channels if pose else 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise MgkitError(f"{name} is {value!r}: use a whole number, 1 or more.")
    with torch.device("meta"):  # no memory, and no time spent on first weights
        model = build_model(recipe, classes, channels or 1, skeleton=skeleton)
    found = outline_of_model(model, input_shapes(recipe, skeleton, channels=channels))
    for pathway in found["pathways"]:
        posed = pathway["name"] == "pose"
        pathway |= {
            "network": recipe.network,
            "stream": recipe.stream if spec.keypoints else None,
            "heatmap": recipe.heatmap if posed and not spec.keypoints else None,
        }
    return {**found, "losses": _losses(recipe, classes)}


def _losses(recipe: Recipe, classes: int) -> list[dict[str, Any]]:
    losses: list[dict[str, Any]] = []
    for name in recipe.pathways:
        weight = float(getattr(recipe, f"ce_{name}_weight"))
        losses.append({"name": "cross-entropy", "pathway": name, "weight": weight})
        if recipe.prototypes:
            weight = float(recipe.alpha * getattr(recipe, f"pr_{name}_weight"))
            term = {"name": "refinement", "pathway": name, "weight": weight}
            losses.append({**term, "prototypes": [classes, recipe.embedding_dim]})
        if recipe.semantic:
            losses.append({"name": "semantic", "pathway": name, "weight": float(recipe.semantic_weight)})
        if recipe.class_groups:
            losses.append({"name": "groups", "pathway": name, "weight": float(recipe.group_weight)})
    return losses
