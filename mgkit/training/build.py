"""From a recipe to its network and loss, and what can be known to be wrong with them before anything is trained.

`outline` gives both in plain values: what `mg.figures.architecture` draws.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton
from mgkit.errors import MgkitError, counted, some
from mgkit.files import read_json
from mgkit.models import Objective, PathwayOutput
from mgkit.models.layers import freeze_statistics
from mgkit.models.losses.objective import Loss
from mgkit.models.outline import outline as outline_of_model
from mgkit.models.outline import traced
from mgkit.parts import Part
from mgkit.results.run.folder import Run, load_run
from mgkit.settings import plain
from mgkit.training.recipe import CrossEntropy, Recipe

__all__ = [
    "build_model", "build_objective", "check_network", "check_training", "class_weights", "embedding_widths", "outline",
]  # fmt: skip


def build_model(
    recipe: Recipe,
    classes: int,
    inputs: Inputs,
    generator: torch.Generator | None = None,
    class_counts: npt.NDArray[np.int64] | None = None,
) -> nn.Module:
    """The network of a recipe; its `pathways` are those of the inputs.

    Args:
        recipe: of the training.
        classes: K.
        inputs: `recipe.inputs.on(skeleton)`.
        generator: source of the first weights; torch's own when omitted.
        class_counts: (K,) training clips, for a head that wants to know; without them it is one into which weights will
            be loaded.
    """
    model = recipe.network.build(
        classes=classes, inputs=inputs, generator=generator, class_counts=class_counts
    )
    if not isinstance(model, nn.Module):
        raise MgkitError(f"the network {recipe.network.name} must be an nn.Module, but is {model!r}.")
    if not hasattr(model, "pathways"):
        model.pathways = recipe.pathways  # type: ignore[assignment]
    return model


def build_objective(
    recipe: Recipe,
    classes: int,
    embedding: Mapping[str, int],
    generator: torch.Generator | None = None,
    *,
    inputs: Inputs | None = None,
    class_counts: npt.NDArray[np.int64] | None = None,
    class_names: Sequence[str] = (),
) -> Objective:
    """The loss of a recipe, with its prototypes.

    Args:
        recipe, classes, generator, inputs: as for `build_model`.
        embedding: width of each pathway's embedding, see `embedding_widths`; of none where there is no embedding.
        class_counts: (K,) training clips of each class.
        class_names: in the order of the labels.

    Raises:
        MgkitError: prototypes without an embedding, or a loss that cannot be made.
    """
    entropy, refined = recipe.cross_entropy, recipe.refinement
    weights = None if class_counts is None or entropy is None else class_weights(entropy, class_counts)
    terms = {}
    if entropy is not None:
        terms = {f"ce_{name}": getattr(entropy, f"ce_{name}_weight") for name in recipe.pathways}
    settings: dict[str, Any] = {"prototypes": False}
    if refined is not None:
        if lacking := [name for name in recipe.pathways if name not in embedding]:
            raise MgkitError(
                f"prototypes need an embedding, but the network {recipe.network.name} gives none for {some(lacking)}: "
                "let it return PathwayOutput(logits, embedding), or train with prototypes=False."
            )
        terms |= {f"pr_{name}": getattr(refined, f"pr_{name}_weight") for name in recipe.pathways}
        settings = {
            "prototypes": True,
            "alpha": refined.alpha,
            "momentum": refined.prototype_momentum,
            "memory": refined.prototype_memory,
            "temperature": refined.temperature,
            "margin": refined.margin,
            "shift": refined.shift,
            "detach_probability": refined.detach_probability,
        }
    supplied = {
        "classes": classes, "inputs": inputs, "class_names": list(class_names), "class_counts": class_counts,
        "generator": generator,
    }  # fmt: skip
    return Objective(
        recipe.pathways,
        classes,
        dict(embedding),
        cross_entropy=entropy is not None,
        label_smoothing=0.0 if entropy is None else entropy.label_smoothing,
        class_weights=None if weights is None else weights.tolist(),
        term_weights=terms,
        losses={one.name: (_loss(one, supplied), one.weight) for one in recipe.losses},
        generator=generator,
        **settings,
    )


def _loss(one: Part, supplied: Mapping[str, Any]) -> Loss:
    """What is called with (outputs, labels): the function itself, or what a class or builder makes."""
    if one.takes("outputs") and one.takes("labels") and not isinstance(one.target, type):
        return lambda outputs, labels: one.build(outputs=outputs, labels=labels)
    made = one.build(**supplied)
    if not callable(made):
        raise MgkitError(
            f"the loss {one.name} must be a function (outputs, labels), or a class or function that makes one; it made "
            f"{made!r}."
        )
    return made


def loss_reports(recipe: Recipe, clips: Clips) -> tuple[dict[str, str], dict[str, str]]:
    """What losses have to say, by their names: texts for people, and what they read from elsewhere as a hash.

    A loss module says it by having `report` or `fingerprint`, as that of class vectors has.

    Returns:
        ({name: report}, {name: fingerprint}), each of the losses that have one.
    """
    counts = np.bincount(clips.labels, minlength=len(clips.classes))
    supplied = {
        "classes": len(clips.classes), "inputs": recipe.inputs.on(clips.skeleton), "class_names": clips.classes.names,
        "class_counts": counts, "generator": torch.Generator().manual_seed(0),
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        made = {one.name: _loss(one, supplied) for one in recipe.losses}
    reports, prints = (
        {name: str(getattr(loss, key)) for name, loss in made.items() if hasattr(loss, key)}
        for key in ("report", "fingerprint")
    )
    return reports, prints


def class_weights(settings: CrossEntropy, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
    """(K,) weights of the cross-entropy from the (K,) numbers of training clips; None without weighting.

    Scaled so that the classes that have clips weigh 1 on average; a class without any weighs 1.
    """
    if settings.class_weights == "none":
        return None
    there = counts > 0
    n = np.where(there, counts, 1).astype(np.float64)
    if settings.class_weights == "sqrt":
        weights = 1 / np.sqrt(n)
    else:
        beta = settings.class_weight_beta
        weights = (1 - beta) / (1 - beta**n)  # Cui et al., "Class-Balanced Loss", CVPR 2019, equation 4
    return np.where(there, weights / weights[there].mean(), 1.0)


# --- running it once ------------------------------------------------------------------------------------------------


def own_parts(recipe: Recipe) -> list[Part]:
    """The parts of a recipe, its stages aside, that are the user's code."""
    tops = (recipe.network, *recipe.losses, *recipe.augment, *recipe.inputs.parts)
    return [one for top in tops for one in top.nested() if one.own]


def embedding_widths(recipe: Recipe, model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """Width of the embedding of each pathway that has one; the model is left as it was."""
    own = any(one.own for one in recipe.network.nested())
    there = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = traced(model.eval(), inputs.shapes, device=there if own else "meta").outputs
    finally:
        model.train(was_training)
    return {name: one.embedding.shape[1] for name, one in outputs.items() if one.embedding is not None}


def check_network(recipe: Recipe, clips: Clips, smallest: int) -> tuple[list[str], dict[str, Any]]:
    """Build a recipe's network and loss for clips and run them once, so that what does not fit is refused now.

    mgkit's own networks are shown a batch without any of the numbers, which costs no memory; with a part of the user's
    two real clips go through the augmentations, the network, the loss, and back.

    Args:
        recipe: of one network; its stages are recipes of their own.
        clips: the training clips.
        smallest: the clips of the smallest part of a batch, which BatchNorm must be able to normalise.

    Returns:
        names of parameters that get no gradient, as far as that was looked at; the outline, see `outline`.

    Raises:
        MgkitError: no such network can be made or trained; the message names the part, or the settings.
    """
    if recipe.inputs.keypoints:
        most = int(clips.rows.narrow("persons").max())
        if recipe.inputs.persons > max(2, most):  # published networks are of two, whatever the clips
            raise MgkitError(f"persons is {recipe.inputs.persons}, but no clip shows more than {most}.")
    with torch.random.fork_rng(devices=[]):
        if own_parts(recipe):
            return _run_for_real(recipe, clips), outline(recipe, clips)
        return [], _run_on_meta(recipe, clips, smallest)


def _run_on_meta(recipe: Recipe, clips: Clips, smallest: int) -> dict[str, Any]:
    """A batch without numbers forward; the outline."""
    classes, inputs = len(clips.classes), recipe.inputs.on(clips.skeleton)
    try:
        with torch.device("meta"), torch.no_grad():
            model = build_model(recipe, classes, inputs).train()
            if recipe.optimisation.batch_norm == "frozen":
                freeze_statistics(model)
            trace = traced(model, inputs.shapes, smallest)
    except (MgkitError, ValueError, RuntimeError) as error:
        kept = {name: value for name, value in recipe.network.settings.items() if not isinstance(value, Part)}
        kept |= {
            name: getattr(inputs, name)
            for name in inputs.in_use
            if name.endswith(("frames", "size", "persons"))
        }
        for one in recipe.network.settings.values():
            if isinstance(one, Part):
                kept |= dict(one.given)
        settings = [f"{name}={plain(value)}" for name, value in kept.items()]
        raise MgkitError(
            f"recipe: cannot build the network {recipe.network.name} ({some(settings, 20)}) for {classes} classes and "
            f"batches of at least {counted(smallest, 'clip')}: {error}"
        ) from None
    _check_outputs(recipe, trace.outputs, smallest, classes)
    # What losses are of is small: they are tried with real zeros.
    real = {name: _zeros(output) for name, output in trace.outputs.items()}
    widths = {name: one.embedding.shape[1] for name, one in real.items() if one.embedding is not None}
    counts = np.bincount(clips.labels, minlength=classes)
    objective = build_objective(
        recipe, classes, widths, inputs=inputs, class_counts=counts, class_names=clips.classes.names
    ).eval()
    with torch.no_grad():
        objective(real, torch.zeros(smallest, dtype=torch.int64))
    return _outlined(recipe, classes, inputs, outline_of_model(model, inputs.shapes, trace))


def _zeros(output: PathwayOutput) -> PathwayOutput:
    def zeros(value: Tensor) -> Tensor:
        return torch.zeros(value.shape, dtype=value.dtype)

    embedding = None if output.embedding is None else zeros(output.embedding)
    others = {name: zeros(value) for name, value in output.auxiliary.items()}
    return PathwayOutput(zeros(output.logits), embedding, output.features, others)


def _run_for_real(recipe: Recipe, clips: Clips) -> list[str]:
    """Two clips forward and backward; names of the parameters without a gradient."""
    classes, inputs = len(clips.classes), recipe.inputs.on(clips.skeleton)
    counts = np.bincount(clips.labels, minlength=classes)
    network, generator = recipe.network, torch.Generator().manual_seed(0)
    dataset = ClipDataset(clips, inputs, training=True, augment=recipe.augment)
    rows = range(min(2, len(dataset)))
    with naming("an augmentation or a stream", (*recipe.augment, *recipe.inputs.parts)):
        batch = collate([dataset[0, row, 0] for row in rows] * (1 if len(rows) == 2 else 2))
    given = batch_inputs(batch, inputs)
    with naming(f"the network {network.name}", [network]):
        model = build_model(recipe, classes, inputs, generator, counts).train()
        outputs = model({name: value.clone() for name, value in given.items()})
    _check_outputs(recipe, outputs, len(batch.labels), classes)
    widths = {name: one.embedding.shape[1] for name, one in outputs.items() if one.embedding is not None}
    with naming("a loss", recipe.losses):
        objective = build_objective(
            recipe,
            classes,
            widths,
            generator,
            inputs=inputs,
            class_counts=counts,
            class_names=clips.classes.names,
        )
        step = objective(outputs, batch.labels)
    for term, value in step.terms.items():
        if not bool(value.isfinite()):
            raise MgkitError(f"the loss {term} is {value.item()} on a batch of two clips: it must be finite.")
    with naming(f"the gradient of {network.name}", [network]):
        step.loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    without = [name for name, parameter in trained.items() if parameter.grad is None]
    if trained and len(without) == len(trained):
        raise MgkitError(
            f"no parameter of the network {network.name} gets a gradient from the loss: its outputs are detached from "
            "its weights."
        )
    wrong = [name for name, p in trained.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
    if wrong:
        raise MgkitError(
            f"the gradient of the network {network.name} is not finite on a batch of two clips, in {some(wrong)}."
        )
    return without


class naming:
    """Puts the name of a part in front of whatever its code raises."""

    def __init__(self, what: str, parts: Sequence[Part]) -> None:
        names = some(one.name for one in parts)
        self.what = what if len(parts) == 1 and names in what else f"{what} ({names})"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MgkitError):
            raise MgkitError(
                f"{self.what} fails on a batch of two clips: {type(error).__name__}: {error}"
            ) from error


def _check_outputs(recipe: Recipe, outputs: Any, clips: int, classes: int) -> None:
    """Refuse what is not {pathway: PathwayOutput} of the right shapes, types and values."""
    name = recipe.network.name
    wanted = ", ".join(f"{pathway!r}: PathwayOutput" for pathway in recipe.pathways)
    if not isinstance(outputs, Mapping) or set(outputs) != set(recipe.pathways):
        got = (
            f"the keys {some(map(repr, outputs))}"
            if isinstance(outputs, Mapping)
            else f"a {type(outputs).__name__}"
        )
        raise MgkitError(f"the network {name} must return {{{wanted}}}, but returned {got}.")
    for pathway, output in outputs.items():
        if not isinstance(output, PathwayOutput):
            raise MgkitError(
                f"the network {name} must return {{{wanted}}}, but {pathway!r} is a {type(output).__name__}."
            )
        _check_tensor(f"the {pathway} logits of the network {name}", output.logits, (clips, classes))
        if output.embedding is not None:
            width = output.embedding.shape[-1] if isinstance(output.embedding, Tensor) else "D"
            _check_tensor(f"the {pathway} embedding of the network {name}", output.embedding, (clips, width))


def _check_tensor(what: str, value: Any, shape: tuple[Any, ...]) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or not value.is_floating_point():
        got = (
            f"{tuple(value.shape)} {value.dtype}"
            if isinstance(value, Tensor)
            else f"a {type(value).__name__}"
        )
        raise MgkitError(
            f"{what} must be numbers of the shape ({', '.join(map(str, shape))}), but are {got}."
        )
    if not value.is_meta and not bool(value.isfinite().all()):
        raise MgkitError(f"{what} are not finite on a batch of two clips.")


def check_training(recipe: Recipe) -> None:
    """Refuse a recipe that trains nothing."""
    if recipe.cross_entropy is None and not recipe.losses:
        raise MgkitError("labels=False trains the further losses alone: give losses=[...].")


def check_workers(workers: int | None) -> None:
    """Refuse a negative number of loader processes."""
    if workers is not None and workers < 0:
        raise MgkitError(f"workers is {workers!r}: use a whole number, 0 or more, or None to have it chosen.")


def smallest_part(clips: int, recipe: Recipe) -> int:
    """Clips of the smallest part in which an epoch's batches are taken."""
    size, parts = recipe.optimisation.batch_size, recipe.optimisation.accumulation
    batches = {min(clips, size), clips % size or size}
    return min(max(1, batch // parts) for batch in batches)


# --- outline --------------------------------------------------------------------------------------------------------


def outline(
    recipe: Recipe | Run | str | Path,
    clips: Clips | None = None,
    *,
    classes: int | None = None,
    joints: int | None = None,
    skeleton: Skeleton | None = None,
) -> dict[str, Any]:
    """What a recipe trains, or a run has trained: pathways, laterals, fusion, heads, losses.

    Args:
        recipe: a recipe, or a run or its folder, which knows its recipe, classes and skeleton.
        clips: with a recipe: the clips, for their classes and skeleton.
        classes: without clips: number of classes.
        joints: without clips or a skeleton: key-points, or limbs where the recipe's heatmaps are limbs; not needed by a
            recipe without pose.
        skeleton: without clips: the layout instead of a number of joints; a skeleton network is built on its graph.

    Returns:
        The dictionary of `mgkit.models.outline.outline`. Each pathway also has "network" (the name of its builder),
        "title" (of a single pathway: how the builder's docstring begins, such as "CTR-GCN"), "stream" and "heatmap"
        ("joint", "limb", or None without heatmaps). "losses" are the terms whose weighted sum is trained: [{"name":
        "cross-entropy", "refinement", or that of a further loss, "pathway": or None, "weight"}, ...]; a refinement also
        has "prototypes": [classes, width]. All plain values, which JSON keeps as they are.

    Raises:
        MgkitError: if the number of classes or joints, or the skeleton of a skeleton network, is not known; an imported
            run, which has no network.

    Example:
        >>> import mgkit as mg
        >>> network = mg.recipes.outline(mg.recipes.paper(), classes=32, joints=22)
        >>> network["pathways"][1]["stages"][-1]["shape"]
        [512, 32, 7, 7]
    """
    if isinstance(recipe, str | Path):
        recipe = load_run(recipe)
    if isinstance(recipe, Run):
        if not all(value is None for value in (clips, classes, joints, skeleton)):
            raise MgkitError("A run knows its classes and joints: give mg.recipes.outline the run alone.")
        run = recipe
        if run.scores_only:
            raise MgkitError(f"{run.root} was made of scores: it has no network that could be outlined.")
        if (run.root / "outline.json").is_file():  # made when it was trained; its code is not needed
            return dict(read_json(run.root / "outline.json"))
        recipe = Recipe.from_dict(run.recipe, where=str(run.root / "config.json"))
        classes, skeleton = len(run.classes), run.skeleton
    elif clips is not None:
        if not all(value is None for value in (classes, joints, skeleton)):
            raise MgkitError(
                "Clips know their classes and joints: give mg.recipes.outline either clips or numbers."
            )
        classes, skeleton = len(clips.classes), clips.skeleton
    if skeleton is not None and joints is not None:
        raise MgkitError("A skeleton knows its joints: give mg.recipes.outline either a skeleton or joints.")
    pose = "pose" in recipe.pathways
    if pose and recipe.inputs.keypoints and skeleton is None:
        raise MgkitError(
            f"{recipe.network.name} is built on a skeleton's graph: give mg.recipes.outline clips, or skeleton=."
        )
    if classes is None or (pose and skeleton is None and joints is None):
        needed = "classes= and joints=" if pose else "classes="
        raise MgkitError(f"mg.recipes.outline needs clips, or {needed}, to know the size of the network.")
    for name, value in (("classes", classes), ("joints", 1 if joints is None else joints)):
        if value < 1:
            raise MgkitError(f"{name} is {value!r}: use a whole number, 1 or more.")
    inputs = recipe.inputs.on(joints if skeleton is None else skeleton)
    with torch.random.fork_rng(devices=[]):
        if own_parts(recipe):
            model = build_model(recipe, classes, inputs, torch.Generator().manual_seed(0))
        else:
            with torch.device("meta"):  # no memory, and no time spent on first weights
                model = build_model(recipe, classes, inputs)
        return _outlined(recipe, classes, inputs, outline_of_model(model, inputs.shapes))


def _outlined(recipe: Recipe, classes: int, inputs: Inputs, found: dict[str, Any]) -> dict[str, Any]:
    """The outline of a model with what the recipe adds to it."""
    for pathway in found["pathways"]:
        posed = pathway["name"] == "pose"
        pathway |= {
            "network": recipe.network.name,
            "title": _title(recipe.network) if len(found["pathways"]) == 1 else None,
            "stream": inputs.stream if inputs.keypoints else None,
            "heatmap": inputs.heatmap if posed and not inputs.keypoints else None,
        }
    return {**found, "losses": _losses(recipe, classes, found["pathways"])}


def _losses(recipe: Recipe, classes: int, pathways: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    losses: list[dict[str, Any]] = []
    refined = recipe.refinement
    widths = {one["name"]: one["head"]["embedding"] for one in pathways}
    for name in recipe.pathways:
        if recipe.cross_entropy is not None:
            weight = float(getattr(recipe.cross_entropy, f"ce_{name}_weight"))
            losses.append({"name": "cross-entropy", "pathway": name, "weight": weight})
        if refined is not None:
            weight = float(refined.alpha * getattr(refined, f"pr_{name}_weight"))
            term = {"name": "refinement", "pathway": name, "weight": weight}
            losses.append(
                {**term, "prototypes": [classes, widths.get(name, pathways[0]["head"]["embedding"])]}
            )
    only = recipe.pathways[0] if len(recipe.pathways) == 1 else None
    return losses + [{"name": term.name, "pathway": only, "weight": term.weight} for term in recipe.losses]


def _title(network: Part) -> str:
    """The title at the start of a builder's docstring, such as "CTR-GCN" or "Video Swin"; otherwise its name."""
    first = (network.target.__doc__ or "").strip().split("\n")[0]
    title = re.split(r"[:;,.(]", first)[0].strip()
    return title if 0 < len(title) <= 24 else network.name
