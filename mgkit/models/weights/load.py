"""Published weights, read into our models and written from them.

    report = load_published("rgbposeconv3d.pth", model, classes="new")
    report = load_published({"rgb": "slowonly.pth", "pose": "posec3d.pth"}, model)  # merges two branches
    write_published("mine.pth", model)

Files are read as data by `files`; `names` knows the names of weights in them, `fitting` puts values in their place.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.models.cnns.resnet3d import ResNet3d
from mgkit.models.cnns.tsm import TSMResNet
from mgkit.models.cnns.video_swin import VideoSwin
from mgkit.models.fusion import CrossModalFusion
from mgkit.models.gcns.blocks import GraphNetwork
from mgkit.models.gcns.hyperformer import Hyperformer
from mgkit.models.losses.objective import Objective
from mgkit.models.losses.refinement import PrototypicalRefinement
from mgkit.models.pathways import SinglePathway, TwoPathway, branch_state, merge_branches
from mgkit.models.vits.transformer import VideoTransformer
from mgkit.models.weights.files import Checkpoint, read_checkpoint
from mgkit.models.weights.fitting import LoadReport, Mapped, fit, map_slices
from mgkit.models.weights.folders import check_settings
from mgkit.models.weights.names import (
    PROTOTYPES,
    UPDATES,
    Layout,
    file_name_to_published,
    first_persons,
    published_name,
    transformer_names,
    tsm_names,
    video_swin_names,
)

__all__ = ["LoadReport", "from_mmaction2", "load_published", "match_names", "to_mmaction2", "write_published"]

Model = nn.Module  # a network of pathways, or a CrossModalFusion alone


def load_published(
    source: str | Path | Mapping[str, str | Path],
    model: nn.Module,
    *,
    objective: Objective | None = None,
    classes: Mapped | Mapping[str, Mapped] = None,
    joints: Mapped = None,
    part: str | None = None,
) -> LoadReport:
    """Fill a model with the weights in a file, in place, or with those of two single branches at once.

    Recognised are the names of MMAction2, PYSKL, PCAN, torchvision's 2D ResNets (for the RGB pathway; kernels are
    spread over time) and our own; for skeleton networks, TSM and Video Swin those of PYSKL, MMAction2, torchvision and
    Hyperformer; for the other transformers of video those of `transformers` and torchvision. Weights that the file has
    no value for keep the model's.

    Args:
        source: a file, or {"rgb": file, "pose": file} to merge two single-pathway files into a two-pathway model as
            merge_branches does: with zero gates it is then exactly their late fusion.
        model: the model to fill.
        objective: takes the file's prototypes, if it has any. Where the file has no number of updates (PCAN's), each
            class counts as updated once.
        classes: for each of the model's classes its index in the file, or None for a new one, whose classifier row and
            prototype stay the model's; "new" if all are new. By default the classes are taken to be the same, and
            their number must be. For two files, {"rgb": ..., "pose": ...} has one for each.
        joints: the same for the pose input's joints (or limbs): a new one keeps the model's kernel. match_names makes
            either list from names. In a skeleton network a new joint keeps the model's normalisation and learnt edges;
            with "new" all of that stays the model's, as does in any case what knows joints by their order.
        part: the weights to take from a file that has several, see read_checkpoint.

    Returns:
        the weights that were used, adapted, left out and newly initialised. For two files, names begin with "rgb: " or
        "pose: ".

    Raises:
        MgkitError: if a file cannot be read or is of another architecture, shapes differ, or a mapping does not fit.
            Model and objective are then not changed.
    """
    if isinstance(source, Mapping):
        return _load_branches(source, model, objective, classes, joints, part)
    if isinstance(classes, Mapping):
        raise MgkitError("classes= by pathway is for two files; for one file give one list, or 'new'")
    file = read_checkpoint(source, part)
    with _about(source):
        if isinstance(backbone := _only_backbone(model), VideoTransformer):
            check_settings(Path(source).parent, backbone)
        state, report = from_mmaction2(file.state, model, classes=classes, joints=joints)
        banks, report = _prototypes(file, source, pathways_of(model), objective, classes, report)
    model.load_state_dict(state)
    _fill(objective, banks)
    return _with_rest_of(file, report)


def _load_branches(
    source: Mapping[str, str | Path],
    model: nn.Module,
    objective: Objective | None,
    classes: Mapped | Mapping[str, Mapped],
    joints: Mapped,
    part: str | None,
) -> LoadReport:
    if not isinstance(model, TwoPathway) or set(source) != set(pathways_of(model)):
        raise MgkitError(
            f"a mapping of files merges an 'rgb' and a 'pose' file into a two-pathway model; got {some(source)} for "
            f"{type(model).__name__}: for one pathway give its file alone"
        )
    if isinstance(classes, Mapping) and not set(classes) <= set(source):
        raise MgkitError(f"classes= by pathway is for 'rgb' and 'pose'; got {some(map(repr, classes))}")
    states: dict[str, dict[str, Tensor]] = {}
    reports: dict[str, LoadReport] = {}
    banks: dict[str, tuple[Tensor, Tensor]] = {}
    for pathway, path in source.items():
        mapped = classes.get(pathway) if isinstance(classes, Mapping) else classes
        file = read_checkpoint(path, part)
        with _about(path):
            states[pathway], report = fit(
                file.state,
                branch_state(model, pathway),
                "one",
                (pathway,),
                mapped,
                joints if pathway == "pose" else None,
            )
            found, report = _prototypes(file, path, (pathway,), objective, mapped, report)
        banks |= found
        reports[pathway] = _with_rest_of(file, report)
    padded = merge_branches(model, rgb=states["rgb"], pose=states["pose"])
    _fill(objective, banks)
    joined = [
        name for name in model.state_dict() if name.startswith(("pose_to_rgb", "rgb_to_pose", "fusion"))
    ]
    each = [(f"{pathway}: ", report) for pathway, report in reports.items()]
    return LoadReport(
        used=tuple(p + name for p, report in each for name in report.used),
        left={p + name: why for p, report in each for name, why in report.left.items()},
        initialised=(*(p + name for p, report in each for name in report.initialised), *joined),
        adapted={p + name: how for p, report in each for name, how in report.adapted.items()}
        | dict.fromkeys(padded, "zero weights for the lateral's channels"),
    )


def write_published(
    path: str | Path,
    model: nn.Module,
    *,
    objective: Objective | None = None,
    meta: Mapping[str, str | int | float] | None = None,
) -> None:
    """Write a model under MMAction2's names, {"state_dict": ..., "meta": ...}, so that MMAction2 can load it.

    Embeddings and, with `objective`, prototypes are written under PCAN's names, which MMAction2 ignores.

    Raises:
        MgkitError: if the file cannot be written.
    """
    state = to_mmaction2(model)
    for pathway, module in objective.refinement.items() if objective is not None else ():
        bank = cast(PrototypicalRefinement, module)
        state[PROTOTYPES.format(pathway=pathway)] = bank.prototypes.T
        state[UPDATES.format(pathway=pathway)] = bank.updates
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content = io.BytesIO()
    torch.save({"state_dict": plain, "meta": {"made_by": "mgkit", **(meta or {})}}, content)
    with atomic(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def match_names(new: Sequence[str], old: Sequence[str]) -> list[int | None]:
    """For each new joint (or class) the index of the old one of that name, or None.

    Case, spaces, "-" and "_" are ignored.

    Raises:
        MgkitError: if a name occurs twice.

    >>> match_names(["nose", "Left Wrist", "neck"], ["nose", "left_eye", "left_wrist"])
    [0, 2, None]
    """

    def plain(names: Sequence[str]) -> list[str]:
        found = ["".join(c for c in name.casefold() if c not in " -_") for name in names]
        twice = [name for name, key in zip(names, found, strict=True) if found.count(key) > 1]
        if twice:
            raise MgkitError(f"the names {some(twice)} occur more than once: give each another name")
        return found

    at = {name: index for index, name in enumerate(plain(old))}
    return [at.get(name) for name in plain(new)]


def from_mmaction2(
    state_dict: Mapping[str, Tensor], model: Model, *, classes: Mapped = None, joints: Mapped = None
) -> tuple[dict[str, Tensor], LoadReport]:
    """A published state dict under our names, ready for `model.load_state_dict`.

    Args:
        state_dict: weights under MMAction2's (or PCAN's, or our own) names.
        model: the model they are for, which is not changed; or a CrossModalFusion, for the weights of PCAN's fusion
            module alone.
        classes, joints: see load_published.

    Returns:
        the model's full new state (its own values where the file has none), and the report.

    Raises:
        MgkitError: if shapes differ, the weights are of another architecture, or a mapping does not fit.
    """
    if isinstance(model, CrossModalFusion):
        return fit(state_dict, model.state_dict(), _layout(model), (), classes, joints)
    suited, changed = _suited(state_dict, model, joints is not None)
    state, report = fit(
        suited, model.state_dict(), _layout(model), pathways_of(model), classes, joints,
        own_code=not isinstance(model, SinglePathway | TwoPathway),
    )  # fmt: skip
    return state, replace(report, adapted={**report.adapted, **changed})


def to_mmaction2(model: Model) -> dict[str, Tensor]:
    """A model's state under MMAction2's names, embeddings under PCAN's."""
    names = {name: published_name(name, _layout(model)) for name in model.state_dict()}
    return {
        theirs: value for name, value in model.state_dict().items() if (theirs := names[name]) is not None
    }


def _suited(
    state: Mapping[str, Tensor], model: nn.Module, other_joints: bool
) -> tuple[Mapping[str, Tensor], dict[str, str]]:
    """A file's weights with the names and sizes of this model's network, and notes on what was cut."""
    backbone = _only_backbone(model)
    if isinstance(backbone, VideoTransformer):
        return transformer_names(state, backbone.name), {}
    if isinstance(backbone, TSMResNet):
        return tsm_names(state), {}
    if isinstance(backbone, VideoSwin):
        return video_swin_names(state), {}
    if isinstance(backbone, GraphNetwork | Hyperformer) and not other_joints:
        return first_persons(state, backbone)
    return state, {}


def _only_backbone(model: nn.Module) -> nn.Module | None:
    """The network of a model of one pathway."""
    return next(iter(model.backbones.values())) if isinstance(model, SinglePathway) else None


def pathways_of(model: nn.Module) -> tuple[str, ...]:
    """Names of the outputs of a network, "rgb" and "pose" or one of them."""
    return cast(tuple[str, ...], model.pathways)


def _layout(model: Model) -> Layout:
    if isinstance(model, CrossModalFusion):
        return "fusion"
    if isinstance(model, TwoPathway):
        return "two"
    single = isinstance(model, SinglePathway) and isinstance(next(iter(model.backbones.values())), ResNet3d)
    return "one" if single else "same"


# Prototypes


def _prototypes(
    file: Checkpoint,
    source: str | Path,
    pathways: tuple[str, ...],
    objective: Objective | None,
    classes: Mapped,
    report: LoadReport,
) -> tuple[dict[str, tuple[Tensor, Tensor]], LoadReport]:
    """The new prototypes (K, D) and update counts (K,) of each pathway, and the report with them in it."""
    if objective is None or not objective.refinement:
        return {}, report
    absent = [pathway for pathway in pathways if pathway not in objective.refinement]
    if absent:
        raise MgkitError(f"the objective has no {absent[0]} pathway: build it with pathways=model.pathways")
    ours = read_checkpoint(source, "objective").state if "objective" in file.parts else {}
    banks: dict[str, tuple[Tensor, Tensor]] = {}
    used, left, initialised = list(report.used), dict(report.left), list(report.initialised)
    adapted = dict(report.adapted)
    for pathway in pathways:
        # Find the prototypes of this pathway: in one of our files, or under PCAN's names.
        bank = cast(PrototypicalRefinement, objective.refinement[pathway])
        name, counts = PROTOTYPES.format(pathway=pathway), UPDATES.format(pathway=pathway)
        plain = {file_name_to_published(key, (name, counts)): key for key in file.state}
        if f"refinement.{pathway}.prototypes" in ours:
            name, counts = f"refinement.{pathway}.prototypes", f"refinement.{pathway}.updates"
            found, updates, note = ours[name], ours[counts], None
            names = [f"objective.{name}", f"objective.{counts}"]
        elif name in plain:
            names = [plain[key] for key in (name, counts) if key in plain]
            found, note = file.state[names[0]].T, None
            if len(names) == 2:
                updates = file.state[names[1]]
            else:
                updates = torch.ones(len(found), dtype=torch.int64)
                note = "each prototype counts as updated once"
        else:
            initialised.append(f"prototypes of {pathway}")
            continue
        # They were left out as weights of the model.
        for key in names:
            left.pop(key, None)
        if classes == "new":
            left |= dict.fromkeys(names, "the classes are new")
            initialised.append(f"prototypes of {pathway}")
            continue
        used += names
        if classes is not None:
            found, how = map_slices(found, bank.prototypes, 0, classes, "classes")
            updates, _ = map_slices(updates, bank.updates, 0, classes, "classes")
            note = "; ".join(filter(None, (how, note)))
        if note:
            adapted[names[0]] = note
        if found.shape != bank.prototypes.shape or updates.shape != bank.updates.shape:
            raise MgkitError(
                f"{names[0]} holds prototypes (classes, width) {tuple(found.shape)}, the objective's are "
                f"{tuple(bank.prototypes.shape)}: give classes= for other classes, and build model and objective with "
                "the embedding_dim of the weights"
            )
        banks[pathway] = found, updates
    return banks, LoadReport(tuple(used), left, tuple(initialised), adapted)


def _fill(objective: Objective | None, banks: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    for pathway, (prototypes, updates) in banks.items():
        assert objective is not None
        bank = cast(PrototypicalRefinement, objective.refinement[pathway])
        bank.prototypes.copy_(prototypes)
        bank.updates.copy_(updates)


def _with_rest_of(file: Checkpoint, report: LoadReport) -> LoadReport:
    """The report, completed by the entries of the file outside the part that was read."""
    taken = {name.split(".")[0] for name in report.used}
    rest = {name: why for name, why in file.left.items() if name not in taken}
    return LoadReport(report.used, {**report.left, **rest}, report.initialised, report.adapted)


@contextmanager
def _about(path: str | Path) -> Iterator[None]:
    """Begin the message of a MgkitError with the file it is about."""
    try:
        yield
    except MgkitError as error:
        raise MgkitError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
