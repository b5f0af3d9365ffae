"""The network and the loss of a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mgkit.data.clips import Clips
from mgkit.data.inputs import SKELETON_NETWORKS
from mgkit.data.skeletons import Skeleton
from mgkit.data.word_vectors import ClassVectors, class_vectors
from mgkit.errors import MgkitError
from mgkit.models import (
    Objective,
    PathwayHead,
    SinglePathway,
    TwoPathway,
    open_residual_blocks,
    pose_pathway,
    rgb_pathway,
    two_pathway,
)
from mgkit.models.aagcn import aagcn
from mgkit.models.ctrgcn import ctrgcn
from mgkit.models.dgstgcn import dgstgcn
from mgkit.models.graphs import SkeletonGraph
from mgkit.models.hyperformer import hyperformer
from mgkit.models.long_tail import GroupedHead, GroupLoss, class_groups, others_weights
from mgkit.models.semantic import SemanticHead, SemanticLoss
from mgkit.models.single_pathway import Backbone
from mgkit.models.stgcn import stgcn, stgcnpp
from mgkit.models.tsm import tsm_resnet
from mgkit.models.video_swin import SwinSize, video_swin
from mgkit.training.recipe import Recipe

__all__ = ["build_model", "build_objective", "class_weights", "input_shapes", "weigh_groups"]

GRAPH_NETWORKS = {"stgcn": stgcn, "stgcnpp": stgcnpp, "aagcn": aagcn, "ctrgcn": ctrgcn, "dgstgcn": dgstgcn}


def input_shapes(
    recipe: Recipe, skeleton: Skeleton | None = None, *, channels: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Shape of one clip, without the batch, of each input that the network of a recipe takes.

    Args:
        recipe: what is trained.
        skeleton: the key-point layout; not needed by a recipe without pose.
        channels: of heatmaps, where there is no skeleton to count them.

    Returns:
        "rgb": (3, T, H, W); "pose": (joints or limbs, T, H, W), the heatmaps, or of a skeleton network (people, T,
        joints, 3).

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
        if skeleton is not None:
            channels = spec.channels(skeleton)
        if channels is None or (spec.keypoints and skeleton is None):
            raise MgkitError("the size of a pose input depends on the skeleton: pass one, or clips.")
        if spec.keypoints:
            shapes["pose"] = (spec.persons, spec.pose_frames, channels, 3)
        else:
            shapes["pose"] = (channels, spec.pose_frames, spec.heatmap_size, spec.heatmap_size)
    return shapes


def build_model(
    recipe: Recipe,
    num_classes: int,
    input_channels: int,
    generator: torch.Generator | None = None,
    *,
    skeleton: Skeleton | None = None,
    class_counts: npt.NDArray[np.int64] | None = None,
) -> SinglePathway | TwoPathway:
    """The network of a recipe.

    Args:
        recipe: of the training.
        num_classes: K.
        input_channels: the heatmap channels (joints, or limbs) of a CNN with a pose pathway.
        generator: source of the first weights; torch's own when omitted.
        skeleton: the layout whose graph a skeleton network is built on.
        class_counts: (K,) training clips, which classes are grouped by (`recipe.class_groups`); without them the groups
            are those of the weights that will be loaded.
    """
    heads: dict[str, Any] = {
        "embedding_dim": recipe.embedding_dim,
        "embedding_pool": recipe.embedding_pool,
        "dropout": recipe.dropout,
        "generator": generator,
    }
    model: SinglePathway | TwoPathway
    if not recipe.two_pathway:
        name: Any = recipe.pathways[0]
        backbone = build_backbone(recipe, input_channels, skeleton, generator)
        model = SinglePathway(
            name, backbone, num_classes,
            head=build_head(recipe, backbone.out_channels[-1], num_classes, class_counts, **heads),
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


def build_backbone(
    recipe: Recipe, input_channels: int, skeleton: Skeleton | None, generator: torch.Generator | None
) -> Backbone:
    """The network of a recipe of one pathway up to its features; arguments as of `build_model`."""
    if recipe.network in SKELETON_NETWORKS:
        if skeleton is None:
            raise MgkitError(f"{recipe.network} is built on a skeleton's graph: give clips, or a skeleton.")
        graph = SkeletonGraph(len(skeleton), skeleton.root, skeleton.inward)
        size: dict[str, Any] = {"width": recipe.pose_width, "persons": recipe.persons, "generator": generator}
        if (
            recipe.network == "hyperformer"
        ):  # heads of 24 channels, as published; time halves where stages begin
            strides = [
                1 if stage == 0 or i else 2 for stage, n in enumerate(recipe.pose_blocks) for i in range(n)
            ]
            return hyperformer(graph, heads=max(1, recipe.pose_width // 24), strides=strides, **size)
        return GRAPH_NETWORKS[recipe.network](graph, blocks=recipe.pose_blocks, **size)
    if recipe.network == "tsm":
        return tsm_resnet(width=recipe.rgb_width, blocks=recipe.rgb_blocks, generator=generator)
    if recipe.network == "video-swin":
        heads = max(1, recipe.rgb_width // 32)  # of 32 channels each, as published
        swin = SwinSize(
            recipe.rgb_width, recipe.rgb_blocks, tuple(heads << i for i in range(len(recipe.rgb_blocks)))
        )
        return video_swin(swin, stochastic_depth=recipe.stochastic_depth, generator=generator)
    if recipe.pathways == ("rgb",):
        return rgb_pathway(width=recipe.rgb_width, blocks=recipe.rgb_blocks, generator=generator)
    return pose_pathway(
        input_channels, width=recipe.pose_width, blocks=recipe.pose_blocks, halve_time=recipe.halve_time,
        generator=generator,
    )  # fmt: skip


def build_head(
    recipe: Recipe,
    channels: int,
    num_classes: int,
    class_counts: npt.NDArray[np.int64] | None,
    **settings: Any,
) -> PathwayHead:
    """The head of a recipe of one pathway, on `channels` channels; `settings` are those of every PathwayHead."""
    if recipe.semantic:
        return SemanticHead(channels, num_classes, semantic_dim=recipe.semantic_dim, **settings)
    if recipe.class_groups:
        groups = None if class_counts is None else class_groups(class_counts, recipe.class_groups)
        return GroupedHead(
            channels,
            num_classes,
            recipe.class_groups,
            class_group=groups,
            weight=recipe.group_share,
            **settings,
        )
    return PathwayHead(channels, num_classes, **settings)


def semantic_vectors(recipe: Recipe, clips: Clips) -> ClassVectors | None:
    """Vectors (K, `recipe.semantic_dim`) of the class names of clips; None for a recipe without a semantic loss.

    Raises:
        MgkitError: the vectors cannot be had (see `class_vectors`), or have another width than the recipe says.
    """
    if not recipe.semantic:
        return None
    found = class_vectors(clips.classes.names, recipe.semantic)
    width = found.vectors.shape[1]
    if width != recipe.semantic_dim:
        raise MgkitError(
            f"{recipe.semantic} has vectors of {width} numbers, and the recipe says {recipe.semantic_dim}: "
            f"set semantic_dim={width}."
        )
    return found


def _auxiliary_losses(
    recipe: Recipe, num_classes: int, vectors: npt.NDArray[np.float32] | None
) -> dict[str, tuple[nn.Module, float]]:
    """The losses of what the head of a recipe has beside logits."""
    if recipe.semantic:
        if vectors is None:
            vectors = np.zeros((num_classes, recipe.semantic_dim), np.float32)
        return {"semantic": (SemanticLoss(vectors), recipe.semantic_weight)}
    if recipe.class_groups:
        return {"groups": (GroupLoss(), recipe.group_weight)}  # until `weigh_groups` knows the model's groups
    return {}


def build_objective(
    recipe: Recipe,
    num_classes: int,
    generator: torch.Generator | None = None,
    class_counts: npt.NDArray[np.int64] | None = None,
    *,
    vectors: npt.NDArray[np.float32] | None = None,
) -> Objective:
    """The loss of a recipe, with its prototypes.

    Args:
        recipe, num_classes, generator: as for `build_model`.
        class_counts: (K,) training clips of each class.
        vectors: (K, `recipe.semantic_dim`) of the class names, where the recipe has a semantic loss; without them they
            are those of the weights that will be loaded.
    """
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
        auxiliary=_auxiliary_losses(recipe, num_classes, vectors),
        momentum=recipe.prototype_momentum,
        memory=recipe.prototype_memory,
        temperature=recipe.temperature,
        margin=recipe.margin,
        shift=recipe.shift,  # type: ignore[arg-type]
        detach_probability=recipe.detach_probability,
        generator=generator,
    )


def weigh_groups(
    model: SinglePathway | TwoPathway, objective: Objective, counts: npt.NDArray[np.int64]
) -> None:
    """Let the losses of groups of classes weigh the groups that the model has, in place.

    Weights of other clips, which a training can start from, bring the groups along that they were learnt on.
    """
    for head in model.heads.values():
        if isinstance(head, GroupedHead):
            objective.auxiliary["groups"] = GroupLoss(others_weights(counts, head.class_group))


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
