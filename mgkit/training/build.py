"""The network and the loss of a recipe.

What can be known to be wrong with a call before anything is read, made or trained.

The network and the losses of a recipe in plain values: what `mg.figures.architecture` draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mgkit.data.batches.spec import SKELETON_NETWORKS
from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.data.word_vectors import ClassVectors, class_vectors
from mgkit.errors import MgkitError, some
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
from mgkit.models.cnns.tsm import tsm_resnet
from mgkit.models.cnns.video_swin import SwinSize, video_swin
from mgkit.models.gcns.aagcn import aagcn
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.gcns.ctrgcn import ctrgcn
from mgkit.models.gcns.dgstgcn import dgstgcn
from mgkit.models.gcns.hyperformer import hyperformer
from mgkit.models.gcns.stgcn import stgcn, stgcnpp
from mgkit.models.layers import freeze_statistics
from mgkit.models.losses.extra import (
    GroupedHead,
    GroupLoss,
    SemanticHead,
    SemanticLoss,
    class_groups,
    others_weights,
)
from mgkit.models.outline import outline as outline_of_model
from mgkit.models.pathways import Backbone
from mgkit.results.run.folder import Run
from mgkit.training.recipe import Recipe

__all__ = ["build_model", "build_objective", "class_weights", "input_shapes", "outline", "weigh_groups"]

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
