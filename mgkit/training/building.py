"""The network and the loss of a recipe."""

from __future__ import annotations

from typing import Any

import torch

from mgkit.models import Objective, SinglePathway, TwoPathway, open_residual_blocks, two_pathway
from mgkit.models import pose_only as pose_model
from mgkit.models import rgb_only as rgb_model
from mgkit.training.recipes import Recipe

__all__ = ["build_model", "build_objective"]


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


def build_objective(recipe: Recipe, num_classes: int, generator: torch.Generator | None = None) -> Objective:
    """The loss of a recipe, with its prototypes."""
    return Objective(
        recipe.pathways,
        num_classes,
        recipe.embedding_dim,
        alpha=recipe.alpha,
        prototypes=recipe.prototypes,
        label_smoothing=recipe.label_smoothing,
        momentum=recipe.prototype_momentum,
        memory=recipe.prototype_memory,
        temperature=recipe.temperature,
        margin=recipe.margin,
        shift=recipe.shift,  # type: ignore[arg-type]
        detach_probability=recipe.detach_probability,
        generator=generator,
    )
