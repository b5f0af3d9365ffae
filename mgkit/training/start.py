"""The first weights of a training: from finished runs, or from files of published weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mgkit.data.clips import Clips
from mgkit.data.skeletons import Skeleton, get_skeleton
from mgkit.errors import MgkitError, some
from mgkit.files import sha256_of
from mgkit.models import Objective, load_published, match_names
from mgkit.models.weights.fitting import LoadReport
from mgkit.models.weights.folders import is_folder_of_weights, weights_in
from mgkit.models.weights.known import KNOWN, find_known
from mgkit.results.run.folder import Run, load_run
from mgkit.training.build import build_model, build_objective, embedding_widths
from mgkit.training.recipe import Recipe
from mgkit.training.recipes import branch

__all__ = ["Start", "Weights", "apply_start", "check_start", "find_start", "start_settings"]


@dataclass(frozen=True)
class Weights:
    """A file of weights, and how its classes and joints become those of the clips.

    Attributes:
        path: a file that `mgkit.models.load_published` reads: of MMAction2, PYSKL, PCAN, torchvision, `transformers` or
            ours; or a folder of `transformers` (`save_pretrained`).
        classes: None: the same classes; "new": none of them; or for each class of the clips its index in the file,
            None for a new one.
        joints: None: the same joints; the layout that the file was trained on, or its name ("coco17"), whose joints are
            found by name; "new"; or a list as for classes.
        finished: the weights are those of a finished run: they stand for a stage instead of being its first ones.
        about: source and licence, as start.txt names them.
        sha256: of the file, "" where it was not computed yet.
    """

    path: str | Path
    classes: str | Sequence[int | None] | None = None
    joints: str | Skeleton | Sequence[int | None] | None = None
    finished: bool = False
    about: str = ""
    sha256: str = ""


Start = Mapping[str, Run | Weights | str | Path]


def find_start(start: Start | None, recipe: Recipe, clips: Clips) -> dict[str, Weights]:
    """The weights that the model, or each pathway, starts from.

    Args:
        start: under "rgb" and "pose" what that pathway starts from, or under "all" what the whole model does: a
            finished run, its folder, a file or folder of weights, `Weights`, or the name of published ones (`KNOWN`),
            which are fetched where they are not on this machine. A run of `pretrain` is what the pathway begins with,
            whatever its classes.
        recipe: what shall be trained from there.
        clips: what it shall be trained on. A run of other classes or joints is where the training, or that of the
            stage, begins: what belongs to a class or joint of the same name is its, the rest is new (`match_names`).

    Raises:
        MgkitError: an unknown key, a run that is unfinished or of other pathways, a missing file, or a two-pathway
            recipe without stages that is given one branch only.
    """
    found: dict[str, Weights] = {}
    if start is not None and not isinstance(start, Mapping):
        raise MgkitError(
            f"start is {start!r}: say what starts from it, as in start={{'all': ...}} or {{'rgb': ..., 'pose': ...}}."
        )
    start = start or {}
    for key, given in start.items():
        if key not in ("all", *recipe.pathways) or ("all" in start and len(start) > 1):
            raise MgkitError(
                f"start has {some(map(repr, start))}: give 'all' alone, or {' and '.join(map(repr, recipe.pathways))}."
            )
        if isinstance(given, str | Path) and is_folder_of_weights(given):
            given = Weights(given)
        if isinstance(given, Weights):
            found[key] = given
            if is_folder_of_weights(given.path):
                found[key] = replace(given, path=weights_in(given.path))
        elif isinstance(given, str | Path) and Path(given).is_file():
            found[key] = Weights(given)
        elif isinstance(given, str) and given in KNOWN and not Path(given).exists():
            known = KNOWN[given]
            if key not in ("all", known.pathway) or (key == "all" and recipe.pathways != (known.pathway,)):
                raise MgkitError(
                    f"start: the weights {given!r} are of the pathway {known.pathway}: write {{{known.pathway!r}: "
                    f"{given!r}}}."
                )
            path = find_known(given)
            digest = sha256_of(path)
            found[key] = Weights(path, classes="new", about=known.about(path, digest), sha256=digest)
        else:
            found[key] = _of_run(given, recipe.pathways if key == "all" else (key,), recipe, clips)
        if not Path(found[key].path).is_file():
            raise MgkitError(f"start: there is no file of weights {found[key].path}.")
    missing = [name for name in recipe.pathways if name not in found]
    if found and "all" not in found and missing and not recipe.stages:
        raise MgkitError(
            f"start lacks {missing[0]!r}, and the recipe has no stage that would train it: give weights for it too."
        )
    return found


def _of_run(given: Run | str | Path, wanted: Sequence[str], recipe: Recipe, clips: Clips) -> Weights:
    run = given if isinstance(given, Run) else load_run(given)
    if list(run.pathways) != list(wanted):
        raise MgkitError(
            f"start: {run.root} is a run of {' and '.join(run.pathways)}; give one of {' and '.join(wanted)}."
        )
    if run.status()["state"] != "finished":
        raise MgkitError(f"start: {run.root} is not finished; train it to its end first.")
    theirs, ours = run.classes.names, clips.classes.names
    unlabelled = run.recipe.get("cross_entropy", {}) is None  # pre-trained: it has no class, and no head
    classes: Any = None if theirs == ours else tuple(match_names(ours, theirs))
    joints: Any = None
    about: list[str] = []
    if "pose" in wanted:
        read = run.recipe["inputs"]
        skeleton = run.skeleton.part(read.get("joints", ()))
        own = recipe.inputs.on(clips.skeleton).skeleton or clips.skeleton
        limbs = str(read.get("heatmap", recipe.inputs.heatmap)).startswith("limb")
        if limbs != recipe.inputs.limbs:
            joints = "new"
            about.append("joints: new, since one of the two reads heatmaps of limbs")
        elif skeleton.joints != own.joints or skeleton.edges != own.edges:
            joints = skeleton
            about.append(_matched("joints", own.joints, skeleton.joints))
    if unlabelled:
        classes = "new"
    elif classes is not None:
        about.append(_matched("classes", ours, theirs))
        classes = classes if any(index is not None for index in classes) else "new"
    if not about and not unlabelled:
        return Weights(run.checkpoint("best"), finished=True)
    return Weights(run.checkpoint("best"), classes, joints, about="\n".join([f"from {run.root}", *about]))


def _matched(what: str, ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Which of the classes or joints are taken from another run, by name."""
    found = match_names(ours, theirs)
    same = [name for name, index in zip(ours, found, strict=True) if index is not None]
    new = [name for name, index in zip(ours, found, strict=True) if index is None]
    return (
        f"{what}: {len(same)} of {len(ours)} are those of the same name ({some(same, 9) if same else 'none'}), "
        f"{len(new)} are new ({some(new, 9) if new else 'none'})"
    )


def check_start(start: Mapping[str, Weights], recipe: Recipe, clips: Clips) -> None:
    """Load each of the weights once into a network of its own, and throw that away.

    What does not fit is then refused before a run folder is made, and not after the stage before it was trained.
    """
    for key, weights in start.items():
        part = recipe
        if key != "all" and recipe.two_pathway:
            stages = {} if weights.finished else {stage.name: stage for stage in recipe.stages}
            part = stages.get(key) or branch(recipe, key)
        generator = torch.Generator().manual_seed(0)
        classes, inputs = len(clips.classes), part.inputs.on(clips.skeleton)
        with torch.random.fork_rng(devices=[]):
            model = build_model(part, classes, inputs, generator)
            widths = embedding_widths(part, model, inputs)
            objective = build_objective(part.with_(losses=()), classes, widths, generator)
        apply_start(model, objective, {"all": weights}, part, clips)


def start_settings(start: Mapping[str, Weights], recipe: Recipe) -> dict[str, Any]:
    """What of the start decides the result, as plain values: runs that began elsewhere are never taken for another."""
    return {
        key: {
            "sha256": weights.sha256 or sha256_of(weights.path),
            "classes": _mapped(weights.classes),
            "joints": _mapped(weights.joints),
        }
        # The same file can stand for a stage or be what that stage begins with: those are two trainings.
        | ({"begins": "stage"} if recipe.stages and key != "all" and not weights.finished else {})
        for key, weights in start.items()
    }


def apply_start(
    model: nn.Module,
    objective: Objective,
    start: Mapping[str, Weights],
    recipe: Recipe,
    clips: Clips,
) -> LoadReport:
    """Load what `find_start` found, and the finished stages, into a new model and its objective, in place.

    Two branches are merged: each pathway's weights are copied, the weights of lateral channels become zero. The
    embeddings are copied too, so the branches' prototypes, where they have any, hold and come along.
    """
    joints = next((_joints(w, recipe, clips) for key, w in start.items() if key != "rgb"), None)
    if "all" in start or not recipe.two_pathway:
        (weights,) = start.values()
        return load_published(
            weights.path, model, objective=objective, classes=_mapped(weights.classes), joints=joints
        )
    return load_published(
        {key: weights.path for key, weights in start.items()},
        model,
        objective=objective,
        classes={key: _mapped(weights.classes) for key, weights in start.items()},
        joints=joints,
    )


def _joints(weights: Weights, recipe: Recipe, clips: Clips) -> Any:
    if weights.joints == "new" or not isinstance(weights.joints, str | Skeleton):
        return _mapped(weights.joints)
    theirs = get_skeleton(weights.joints)
    own = recipe.inputs.on(clips.skeleton).skeleton or clips.skeleton
    if recipe.inputs.keypoints:
        same = theirs.joints == own.joints and theirs.edges == own.edges
        return None if same else match_names(own.joints, theirs.joints)
    return match_names(_channels(own, recipe.inputs.limbs), _channels(theirs, recipe.inputs.limbs))


def _channels(skeleton: Skeleton, limbs: bool) -> list[str]:
    """Names of the channels of a heatmap: joints, or limbs by their two ends."""
    if not limbs:
        return list(skeleton.joints)
    return [" to ".join(sorted((skeleton.joints[a], skeleton.joints[b]))) for a, b in skeleton.edges]


def _mapped(value: str | Skeleton | Sequence[int | None] | None) -> Any:
    if isinstance(value, Skeleton):
        return list(value.joints)
    return value if value is None or isinstance(value, str) else list(value)
