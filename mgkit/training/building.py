"""The network and the loss of a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError
from mgkit.models import Objective, SinglePathway, TwoPathway, open_residual_blocks, two_pathway
from mgkit.models import pose_only as pose_model
from mgkit.models import rgb_only as rgb_model
from mgkit.training.recipes import Recipe

__all__ = ["build_model", "build_objective", "input_shapes"]


def input_shapes(recipe: Recipe, skeleton: Skeleton | None = None) -> dict[str, tuple[int, ...]]:
    """Shape of one clip, without the batch, of each input that the network of a recipe takes.

    Args:
        recipe: what is trained.
        skeleton: the key-point layout; not needed by a recipe without pose.

    Returns:
        "rgb": (3, T, H, W); "pose": (joints or limbs, T, H, W), the heatmaps.

    Raises:
        MgkitError: a recipe with pose and no skeleton.

    >>> from mgkit.training.recipes import rgb_only
    >>> input_shapes(rgb_only())
    {'rgb': (3, 8, 224, 224)}
    """
    spec, shapes = recipe.input_spec(), dict[str, tuple[int, ...]]()
    if "rgb" in recipe.pathways:
        shapes["rgb"] = (3, spec.rgb_frames, spec.rgb_size, spec.rgb_size)
    if "pose" in recipe.pathways:
        if skeleton is None:
            raise MgkitError("the size of a pose input depends on the skeleton: pass one, or clips.")
        shapes["pose"] = (spec.channels(skeleton), spec.pose_frames, spec.heatmap_size, spec.heatmap_size)
    return shapes


def build_model(
    recipe: Recipe, num_classes: int, input_channels: int, generator: torch.Generator | None = None
) -> SinglePathway | TwoPathway:
    """The network of a recipe; `input_channels` are the heatmap channels (joints, or limbs)."""
    heads: dict[str, Any] = {
        "embedding_dim": recipe.embedding_dim,
        "embedding_pool": recipe.embedding_pool,
        "dropout": recipe.dropout,
        "generator": generator,
    }
    model: SinglePathway | TwoPathway
    if recipe.pathways == ("rgb",):
        model = rgb_model(num_classes, width=recipe.rgb_width, blocks=recipe.rgb_blocks, **heads)
    elif recipe.pathways == ("pose",):
        model = pose_model(
            num_classes, input_channels, width=recipe.pose_width, blocks=recipe.pose_blocks,
            halve_time=recipe.halve_time, **heads,
        )  # fmt: skip
    else:
        model = two_pathway(
            num_classes,
            input_channels,
            rgb_width=recipe.rgb_width,
            pose_width=recipe.pose_width,
            rgb_blocks=recipe.rgb_blocks,
            pose_blocks=recipe.pose_blocks,
            halve_time=recipe.halve_time,
            laterals=recipe.laterals,
            lateral_detach=recipe.lateral_detach,
            lateral_dropout=recipe.lateral_dropout,
            fusion=recipe.fusion,  # type: ignore[arg-type]
            fusion_sequential=recipe.fusion_sequential,
            fusion_heads=recipe.fusion_heads,
            zero_init_gates=recipe.zero_init_gates,
            **heads,
        )
    if not recipe.zero_init_blocks:
        open_residual_blocks(model)
    return model


def build_objective(
    recipe: Recipe,
    num_classes: int,
    generator: torch.Generator | None = None,
    class_counts: npt.NDArray[np.int64] | None = None,
) -> Objective:
    """The loss of a recipe, with its prototypes; `class_counts` are the training clips of each class."""
    weights = None if class_counts is None else class_weights(recipe, class_counts)
    terms = {
        f"{term}_{name}": getattr(recipe, f"{term}_{name}_weight")
        for name in recipe.pathways
        for term in (("ce", "pr") if recipe.prototypes else ("ce",))
    }
    return Objective(
        recipe.pathways,
        num_classes,
        recipe.embedding_dim,
        alpha=recipe.alpha,
        prototypes=recipe.prototypes,
        label_smoothing=recipe.label_smoothing,
        class_weights=None if weights is None else weights.tolist(),
        term_weights=terms,
        momentum=recipe.prototype_momentum,
        memory=recipe.prototype_memory,
        temperature=recipe.temperature,
        margin=recipe.margin,
        shift=recipe.shift,  # type: ignore[arg-type]
        detach_probability=recipe.detach_probability,
        generator=generator,
    )


def class_weights(recipe: Recipe, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
    """(K,) weights of the cross-entropy from the (K,) numbers of training clips; None without weighting.

    Scaled so that the classes that have clips weigh 1 on average; a class without any weighs 1.
    """
    if recipe.class_weights == "none":
        return None
    there = counts > 0
    n = np.where(there, counts, 1).astype(np.float64)
    if recipe.class_weights == "sqrt":
        weights = 1 / np.sqrt(n)
    else:
        beta = recipe.class_weight_beta
        weights = (1 - beta) / (1 - beta**n)  # Cui et al., "Class-Balanced Loss", CVPR 2019, equation 4
    return np.where(there, weights / weights[there].mean(), 1.0)
