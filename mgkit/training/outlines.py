"""The network and the losses of a recipe in plain values: what `mg.figures.architecture` draws."""

from __future__ import annotations

from typing import Any

import torch

from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.models.outline import outline as outline_of_model
from mgkit.results.runs import Run
from mgkit.training.building import build_model
from mgkit.training.recipe import Recipe

__all__ = ["outline"]


def outline(
    recipe: Recipe | Run, clips: Clips | None = None, *, classes: int | None = None, joints: int | None = None
) -> dict[str, Any]:
    """What a recipe trains, or a run has trained: pathways, laterals, fusion, heads, losses.

    Args:
        recipe: a recipe, or a run, which knows its recipe, classes and skeleton.
        clips: with a recipe: the clips, for their classes and skeleton.
        classes: without clips: number of classes.
        joints: without clips: key-points of the skeleton, or its limbs where the recipe's heatmaps are limbs; not
            needed by a recipe without pose.

    Returns:
        What `mgkit.models.outline.outline` returns, and "losses": the terms whose weighted sum is trained,
        [{"name": "cross-entropy" or "refinement", "pathway", "weight"}, ...]; a refinement has also
        "prototypes": [classes, width]. All plain values, which JSON holds as they are.

    Raises:
        MgkitError: if the number of classes or joints is not known, or the network is not the 3D CNN.

    Example:
        >>> import mgkit as mg
        >>> network = mg.outline(mg.recipes.paper(), classes=32, joints=22)
        >>> network["pathways"][1]["stages"][-1]["shape"]
        [512, 32, 7, 7]
    """
    skeleton: Skeleton | None = None
    if isinstance(recipe, Run):
        if clips is not None or classes is not None or joints is not None:
            raise MgkitError("A run knows its classes and joints: give mg.outline the run alone.")
        run = recipe
        recipe = Recipe.from_dict(run.recipe, where=str(run.root / "config.json"))
        classes, skeleton = len(run.classes), run.skeleton if "pose" in recipe.pathways else None
    elif clips is not None:
        if classes is not None or joints is not None:
            raise MgkitError("Clips know their classes and joints: give mg.outline either clips or numbers.")
        classes, skeleton = len(clips.classes), clips.skeleton
    if recipe.network != "cnn":
        raise MgkitError(
            f"mg.outline is of the 3D CNN, whose stages it lists, and this recipe's network is {recipe.network}: "
            "mg.measure counts what any network has and does."
        )
    spec = recipe.input_spec()
    channels = spec.channels(skeleton) if skeleton is not None else joints
    pose = "pose" in recipe.pathways
    if classes is None or (pose and channels is None):
        needed = "classes= and joints=" if pose else "classes="
        raise MgkitError(f"mg.outline needs clips, or {needed}, to know the size of the network.")
    for name, value in (("classes", classes), ("joints", channels if pose else 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise MgkitError(f"{name} is {value!r}: use a whole number, 1 or more.")
    shapes = {
        "rgb": (3, spec.rgb_frames, spec.rgb_size, spec.rgb_size),
        "pose": (channels or 1, spec.pose_frames, spec.heatmap_size, spec.heatmap_size),
    }
    with torch.device("meta"):  # no memory, and no time spent on first weights
        model = build_model(recipe, classes, channels or 1, skeleton=skeleton)
    found = outline_of_model(model, {name: shapes[name] for name in recipe.pathways})
    losses: list[dict[str, Any]] = []
    for name in recipe.pathways:
        losses.append({"name": "cross-entropy", "pathway": name, "weight": 1.0})
        if recipe.prototypes:
            term = {"name": "refinement", "pathway": name, "weight": float(recipe.alpha)}
            losses.append({**term, "prototypes": [classes, recipe.embedding_dim]})
    return {**found, "losses": losses}
