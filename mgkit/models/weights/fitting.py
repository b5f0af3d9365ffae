"""Fitting the weights of a file to a model: by name, with classes and joints adapted on request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Literal

import torch
from torch import Tensor

from mgkit.errors import MgkitError, counted, some
from mgkit.models.weights.names import (
    Layout,
    classifier_names,
    file_name_to_published,
    mentions_backbone,
    published_name,
    why_left,
)

__all__ = ["LoadReport", "Mapped", "fit", "map_slices"]

# For each of the model's classes or joints the file's index, or None for a new one; all new; or the same ones.
Mapped = Sequence[int | None] | Literal["new"] | None


# What pools the tokens of a video transformer is part of its classifier: weights from before that have none.
_POOL = re.compile(r"backbones\.\w+\.pool\.")
# Weights of skeleton networks with an entry per joint, or per pair of joints: those of other joints are useless, even
# if their number is the same.
_OF_THE_JOINTS = re.compile(r"\.(data_bn\.\w+|A|PA|outer|add_coeff|conv_sa\.weight)$")
_OF_PAIRS = re.compile(r"\.(A|PA|outer)$")
_VALUES = 3  # of a joint in the input of a skeleton network: x, y, score


@dataclass(frozen=True)
class LoadReport:
    """Report on the weights of a file: used, left out, adapted, and newly initialised ones.

    Attributes:
        used: names in the file whose values are in the new state.
        left: names in the file that were not used, and why.
        initialised: names in the model that the file has no value for; they keep the model's values.
        adapted: those of `used` that were changed to fit, and how; where branches were merged, also the weights of the
            model that were padded with zeros.
    """

    used: tuple[str, ...]
    left: Mapping[str, str]
    initialised: tuple[str, ...]
    adapted: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"used {counted(len(self.used), 'value')} of the file"]
        for verb, reasons in (("adapted", self.adapted), ("left", self.left)):
            for reason in dict.fromkeys(reasons.values()):
                names = [name for name, why in reasons.items() if why == reason]
                lines.append(f"{verb} {len(names)} ({reason}): {some(names, 3)}")
        if self.initialised:
            lines.append(f"newly initialised {len(self.initialised)}: {some(self.initialised, 3)}")
        return "\n".join(lines)


def fit(
    source: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    layout: Layout,
    pathways: tuple[str, ...],
    classes: Mapped,
    joints: Mapped,
    *,
    own_code: bool = False,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Put the values of a file into a model's state, whatever their names and wrappers.

    Args:
        source: {name in the file: value}.
        own: the model's state; not changed.
        layout: how the file's names relate to the model's, see names.py.
        pathways: of the model.
        classes, joints: see load_published.
        own_code: the model is a user's: nothing is known of which weights its classes and joints have a part in, and
            those of another shape stay the model's wherever classes or joints are mapped.

    Returns:
        the new state, and the report.

    Raises:
        MgkitError: if nothing fits, a backbone would be filled only in part, or shapes or a mapping do not fit.
    """
    # Every name that a file may have for a weight of the model, ours included.
    known = {name: name for name in own} | {
        theirs: name for name in own if (theirs := published_name(name, layout)) is not None
    }
    if layout == "same":
        known |= {theirs: name for name in own for theirs in classifier_names(name)}
    for what, mapping in (("classes", classes), ("joints", joints)):
        if isinstance(mapping, str) and mapping != "new":
            raise MgkitError(f"{what}= is a list of indices or 'new', not {mapping!r}")
    if joints is not None and "pose" not in pathways:
        raise MgkitError("joints= is for a model with a pose pathway; this one has none")
    # Sort the file's weights into those that are used, and those that are left out with a reason.
    new: dict[str, Tensor] = {}
    used: dict[str, str] = {}
    left: dict[str, str] = {}
    adapted: dict[str, str] = {}
    renewed: set[str] = set()
    there = _joints_of(source)
    for name, value in source.items():
        published = file_name_to_published(name, known)
        ours = known.get(published)
        if ours is None:
            left[name] = why_left(published)
        elif ours in new:
            left[name] = "the file has that weight twice"
        elif (".classifier." in ours and classes == "new") or (
            classes is not None and (".group_classifier." in ours or ours.endswith(".class_group"))
        ):
            left[name] = "the classes are new"
        elif (
            layout == "same"
            and joints is not None
            and ours.startswith("backbones.")
            and (value.shape != own[ours].shape or _OF_THE_JOINTS.search(ours))
        ):
            found = None if joints == "new" else _joints_by_index(ours, value, own, joints, there)
            if found is None:
                left[name] = "the joints are new"
                renewed.add(ours)
            else:
                used[ours] = name
                new[ours], adapted[name] = found
        elif own_code and (classes is not None or joints is not None) and value.shape != own[ours].shape:
            left[name] = "of another shape, with other classes or joints"
        else:
            used[ours] = name
            new[ours], how = _adapt(ours, value, own[ours], classes, joints)
            if how:
                adapted[name] = how
    if not new:
        raise MgkitError(
            f"nothing in the file belongs to this model: its names are like {some(source, 2)}, but the model "
            f"needs names like {some([name for name in known if name not in own] or known, 2)}. A file of one pathway "
            'goes into rgb_resnet or pose_resnet ({"rgb": file, "pose": file} merges two), one of both into two_pathway'
        )
    # A backbone is filled completely or not at all.
    lacking = [
        name
        for name in own
        if name.startswith("backbones.")
        and name not in new
        and name not in renewed
        and not _POOL.match(name)
        and not name.endswith(("num_batches_tracked", "relative_position_index"))  # not learned
    ]
    beyond = [
        name
        for name, why in left.items()
        if why != "the joints are new"
        and mentions_backbone(file_name_to_published(name, known), pathways, layout)
    ]
    if lacking or beyond:
        absent = [p for p in pathways if not any(name.startswith(f"backbones.{p}.") for name in new)]
        raise MgkitError(
            "the file is of another architecture"
            + (f"; it lacks {some(lacking, 3)}" if lacking else "")
            + (f"; the model has no {some(beyond, 3)}" if beyond else "")
            + ". Build the model with the blocks and pathways that the weights were trained with"
            + (
                f'. It has no {absent[0]} pathway: {{"rgb": file, "pose": file}} merges two files'
                if absent
                else ""
            )
        )
    unclassified = not any(".classifier." in name for name in new)
    if classes is not None and classes != "new" and unclassified and not own_code:
        raise MgkitError("classes= maps the file's classes, but it has no classifier: give classes='new'")
    misfits = {name: value for name, value in new.items() if value.shape != own[name].shape}
    if misfits:
        listed = [f"{used[n]} {tuple(v.shape)} for {n} {tuple(own[n].shape)}" for n, v in misfits.items()]
        raise MgkitError(
            f"the weights do not fit the model, shapes differ in {some(listed, 3)}: {_remedy(misfits, layout)}"
        )
    state = {name: new[name].to(value.dtype) if name in new else value for name, value in own.items()}
    initialised = tuple(name for name in own if name not in new)
    return state, LoadReport(tuple(used.values()), left, initialised, adapted)


def _adapt(
    name: str, value: Tensor, own: Tensor, classes: Mapped, joints: Mapped
) -> tuple[Tensor, str | None]:
    """The file's value, adapted to our weight as far as requested, and a note on what was done."""
    if ".classifier." in name and classes is not None and value.ndim == own.ndim:
        return map_slices(value, own, 0, classes, "classes")
    if name == "backbones.pose.stem.conv.weight" and joints is not None and value.ndim == own.ndim:
        return map_slices(value, own, 1, joints, "joints")
    if value.ndim == 4 and own.ndim == 5:
        # So that a repeated image gives the same response as the single one (Carreira and Zisserman, 2017).
        frames = own.shape[2]
        return value[:, :, None].expand(-1, -1, frames, -1, -1) / frames, "2D kernels spread over time"
    return value, None


def _joints_of(state: Mapping[str, Tensor]) -> int | None:
    """The number of joints that a skeleton network is made for, by one of its graphs."""
    graphs = (value for name, value in state.items() if _OF_PAIRS.search(f".{name}") and value.ndim)
    return next((value.shape[-1] for value in graphs), None)


def _joints_by_index(
    name: str, value: Tensor, own: Mapping[str, Tensor], joints: Sequence[int | None], there: int | None
) -> tuple[Tensor, str] | None:
    """A skeleton network's weight with the file's entries for the joints it has, and a note; None: the model's stays.

    The input's normalisation and learnt graphs have entries for joints and for pairs of joints. A graph that is not
    learnt is that of the skeleton, and the kernel of AAGCN's attention runs over joints in their order: both stay.
    """
    here = _joints_of(own)
    fixed = name.endswith(".A") and (name.count(".") == 2 or name.removesuffix("A") + "PA" in own)
    if there is None or here is None or fixed or not _OF_THE_JOINTS.search(name):
        return None
    _, note = map_slices(
        torch.zeros(there), torch.zeros(here), 0, joints, "joints"
    )  # refuses what is no mapping
    kept = [mine for mine, theirs in enumerate(joints) if theirs is not None]
    if not kept or note is None:
        return None
    mine, theirs = torch.tensor(kept), torch.tensor([joints[i] for i in kept])
    made = own[name].detach().clone()
    if not value.ndim:  # the number of batches that the normalisation has seen
        return value, note
    if _OF_PAIRS.search(name) and value.shape[:-2] == made.shape[:-2]:
        made[..., mine[:, None], mine] = value.to(made)[..., theirs[:, None], theirs]  # (..., V, V)
    elif name.endswith(".add_coeff"):
        made[mine] = value.to(made)[theirs]
    elif ".data_bn." in name and value.ndim == 1 and not len(value) % (there * _VALUES):
        of_file, of_model = value.to(made).view(-1, there, _VALUES), made.view(-1, here, _VALUES)  # (M, V, 3)
        persons = min(len(of_file), len(of_model))
        of_model[:persons, mine] = of_file[:persons, theirs]
    else:
        return None
    return made, note


def map_slices(value: Tensor, own: Tensor, dim: int, mapping: Mapped, what: str) -> tuple[Tensor, str | None]:
    """Take the slices of `value` along `dim` in the order of `mapping`, and those of `own` where it is None."""
    wanted, there = own.shape[dim], value.shape[dim]
    chosen = [None] * wanted if isinstance(mapping, str) or mapping is None else list(mapping)
    if len(chosen) != wanted:
        raise MgkitError(
            f"{what}= has {counted(len(chosen), 'entry', 'entries')}, but the model {wanted} {what}: give one for each"
        )
    for index in chosen:
        usable = isinstance(index, Integral) and not isinstance(index, bool)
        if index is not None and not (usable and 0 <= index < there):
            raise MgkitError(
                f"{what}= has {index!r}, but the file's {what} are 0 to {there - 1}, and None is a new one"
            )
    if value.shape[:dim] + value.shape[dim + 1 :] != own.shape[:dim] + own.shape[dim + 1 :]:
        return value, None  # another dimension does not fit, which the caller reports
    result = own.detach().clone()
    kept = [new for new, old in enumerate(chosen) if old is not None]
    if kept:
        result.movedim(dim, 0)[kept] = value.to(own).movedim(dim, 0)[[chosen[new] for new in kept]]
    return result, f"{len(kept)} of {wanted} {what} from the file's {there}, {wanted - len(kept)} new"


def _remedy(names: Iterable[str], layout: Layout) -> str:
    """Advice on weights of other shapes, given our names for them."""
    remedies = {
        ".group_classifier.": "build the model with the weights' class_groups, or give classes='new'",
        ".classifier.": "for other classes give classes= (classes='new' to train a new classifier)",
        "backbones.pose.stem.conv.weight": "for other joints give joints=",
        ".embedding.": "build the model with the embedding_dim of the weights",
        "": "build the model with the widths and blocks that the weights were trained with; where a skeleton network's "
        "are of another skeleton, give joints='new' (--start-joints with its name)"
        if layout == "same"
        else "build the model with the widths, blocks, laterals and fusion width that the weights were trained with",
    }
    return "; ".join(
        dict.fromkeys(next(text for key, text in remedies.items() if key in name) for name in names)
    )
