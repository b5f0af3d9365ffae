"""Published checkpoints in and out, safely: the only module of models/ that touches a file.

Layouts: MMAction2 (SlowOnly, PoseConv3D, RGBPoseConv3D; PYSKL's 3D CNNs share it), and the cross-modal fusion
and prototype modules of PCAN (Li et al., AAAI 2025), which sit in an RGBPoseConv3D.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mgkit.errors import MgkitError, some
from mgkit.models.fusion import CrossModalFusion
from mgkit.models.single_pathway import SinglePathway
from mgkit.models.two_pathway import TwoPathway

__all__ = ["LoadReport", "from_mmaction2", "load_state", "pcan_prototypes", "to_mmaction2"]

Model = SinglePathway | TwoPathway | CrossModalFusion


@dataclass(frozen=True)
class LoadReport:
    """What a loader did with a file.

    Attributes:
        used: names in the file whose values are in the new state.
        left: names in the file that were not used, and why.
        initialised: names in the model that the file has no value for; they keep the model's.
    """

    used: tuple[str, ...]
    left: Mapping[str, str]
    initialised: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"used {len(self.used)} values of the file"]
        for reason in dict.fromkeys(self.left.values()):
            names = [name for name, why in self.left.items() if why == reason]
            lines.append(f"left {len(names)} ({reason}): {some(names, 3)}")
        if self.initialised:
            lines.append(f"newly initialised {len(self.initialised)}: {some(self.initialised, 3)}")
        return "\n".join(lines)


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a checkpoint without running any code that the file may hold.

    A checkpoint that wraps its weights under "state_dict" or "model" is unwrapped.

    Args:
        path: a file written by torch.save.

    Returns:
        {name: tensor}, on the CPU.

    Raises:
        MgkitError: if there is no such file, it is not a checkpoint, it needs code to be read, or holds no
            weights.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise MgkitError(f"There is no checkpoint {path}.") from None
    except pickle.UnpicklingError as error:
        raise MgkitError(
            f"{path} holds more than weights, and reading it could run code that it contains. If you trust its "
            "author, convert it once where it was made: "
            "torch.save(torch.load(old, weights_only=False)['state_dict'], new). Then load the new file."
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise MgkitError(
            f"{path} cannot be read as a torch checkpoint ({error}). Is the download complete?"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise MgkitError(f"{path} is not a state dict: it should map names to tensors.")
    if not content:
        raise MgkitError(f"{path} holds no weights.")
    return dict(content)


def from_mmaction2(state_dict: Mapping[str, Tensor], model: Model) -> tuple[dict[str, Tensor], LoadReport]:
    """A published state dict under our names, ready for `model.load_state_dict`.

    Args:
        state_dict: weights under MMAction2's (or PCAN's) names.
        model: the model they are for. It is not changed. Besides whole models, a CrossModalFusion alone takes
            the weights of PCAN's fusion module alone.

    Returns:
        the model's full new state (its own values where the file has none), and the report.

    Raises:
        MgkitError: if shapes differ, or nothing in the file belongs to the model.
    """
    state = model.state_dict()
    ours = {theirs: name for name in state if (theirs := _published_name(name, model)) is not None}
    misfits = [
        f"{name} {tuple(value.shape)} for {ours[name]} {tuple(state[ours[name]].shape)}"
        for name, value in state_dict.items()
        if name in ours and value.shape != state[ours[name]].shape
    ]
    if misfits:
        raise MgkitError(
            f"The weights do not fit the model; shapes differ in {some(misfits)}. Build the model with the widths, "
            "blocks, classes, joints and laterals that the weights were trained with."
        )
    used = tuple(name for name in state_dict if name in ours)
    if not used:
        raise MgkitError(
            f"Nothing in the file belongs to this model; its names are like {some(state_dict, 2)}, but the model "
            f"needs names like {some(ours, 2)}. A file of one pathway goes into rgb_only or pose_only "
            "(merge_branches joins two), a file of both into two_pathway."
        )
    filled = {ours[name] for name in used}
    report = LoadReport(
        used=used,
        left={name: _why_left(name, model) for name in state_dict if name not in ours},
        initialised=tuple(name for name in state if name not in filled),
    )
    return {**state, **{ours[name]: state_dict[name] for name in used}}, report


def to_mmaction2(model: Model) -> dict[str, Tensor]:
    """A model's state under MMAction2's names; what has no counterpart there is left out."""
    names = {name: _published_name(name, model) for name in model.state_dict()}
    return {
        theirs: value for name, value in model.state_dict().items() if (theirs := names[name]) is not None
    }


def pcan_prototypes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The prototypes in a PCAN state dict, by pathway, as (K, D) for PrototypicalRefinement.prototypes.

    Raises:
        MgkitError: if the file holds none.
    """
    found = {
        pathway: state_dict[name].T.contiguous()  # stored as (D, K)
        for pathway in ("rgb", "pose")
        if (name := f"cls_head.fr_{pathway}.spatio_cl_net.avg_f") in state_dict
    }
    if not found:
        raise MgkitError(
            "The file holds no prototypes (cls_head.fr_rgb.spatio_cl_net.avg_f or ...fr_pose...)."
        )
    return found


# Our names on the left, the published ones on the right; what is not listed is called the same.
_LAYERS = {"norm": "bn"}
_UNITS = {"shortcut": "downsample"}
_FUSION = {
    "project_rgb": "conv1",
    "project_pose": "conv2",
    "gate_rgb": "conv4",
    "gate_pose": "conv5",
    "attend_rgb": "rgb_cross_attn",
    "attend_pose": "skt_cross_attn",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "output": "fc",
}


def _published_name(name: str, model: Model) -> str | None:
    """MMAction2's (or PCAN's) name for our `name`, or None if it has none."""
    if isinstance(model, CrossModalFusion):
        return ".".join(_FUSION.get(part, part) for part in name.split("."))
    two = isinstance(model, TwoPathway)
    match name.split("."):
        case ["backbones", pathway, *rest]:
            backbone = f"backbone.{pathway}_path" if two else "backbone"
            match rest:
                case ["stem", layer, kind]:
                    return f"{backbone}.conv1.{_LAYERS.get(layer, layer)}.{kind}"
                case ["stages", stage, block, unit, layer, kind]:
                    place = f"layer{int(stage) + 1}.{block}.{_UNITS.get(unit, unit)}"
                    return f"{backbone}.{place}.{_LAYERS.get(layer, layer)}.{kind}"
        case ["heads", pathway, "classifier", kind]:
            return f"cls_head.fc_{pathway if two else 'cls'}.{kind}"
        case ["heads", pathway, "embedding", kind] if two:
            return f"cls_head.fr_{pathway}.spatio_cl_net.cl_fc.{kind}"
        case ["pose_to_rgb", meeting, kind]:
            return f"backbone.rgb_path.layer{int(meeting) + 2}_lateral.conv.{kind}"
        case ["rgb_to_pose", meeting, layer, kind]:
            return f"backbone.pose_path.layer{int(meeting) + 1}_lateral.{_LAYERS.get(layer, layer)}.{kind}"
        case ["fusion", meeting, *rest]:
            unit = ".".join(_FUSION.get(part, part) for part in rest)
            return f"backbone.featuredifference{int(meeting) + 2}.{unit}"
    return None


def _why_left(name: str, model: Model) -> str:
    if name.endswith(".avg_f"):
        return "prototypes: they belong to the objective, see pcan_prototypes"
    if ".spatio_cl_net.cl_fc." in name and "_coarse" not in name:
        return "the model has no embedding"
    if ".featuredifference" in name:
        return "the model has no fusion module there"
    if "_lateral." in name:
        return "the model has no lateral there"
    return "nothing in the model corresponds to it"
