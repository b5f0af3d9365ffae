"""Published weights into one backbone: what is not its own (a classifier) is left, and said."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mgkit.errors import MgkitError, some
from mgkit.models.checkpoint_files import read_checkpoint
from mgkit.models.tsm import TSMResNet, mmaction2_tsm_names
from mgkit.models.video_swin import VideoSwin, video_swin_names
from mgkit.models.weight_fitting import LoadReport

__all__ = ["load_backbone"]

# The beginnings of the names that the networks have beside their backbone.
_HEADS = ("fc.", "head.", "cls_head.")


def load_backbone(
    path: str | Path, backbone: TSMResNet | VideoSwin, *, part: str | None = None
) -> LoadReport:
    """Fill an RGB backbone with the weights in a file, in place.

    TSM takes torchvision's ResNets (ImageNet), MMAction2's TSM files and the authors' own; Video Swin takes
    torchvision's swin3d_t, _s and _b, MMAction2's and the authors'.

    Args:
        path: a file on this machine; nothing is downloaded.
        backbone: what tsm_resnet or video_swin makes, of the size of the weights.
        part: see read_checkpoint.

    Returns:
        what was used and what was left: the file's classifier, for the most part.

    Raises:
        MgkitError: if the file cannot be read or its weights are of another network or size. The backbone is then
            unchanged.
    """
    file = read_checkpoint(path, part)
    rename = mmaction2_tsm_names if isinstance(backbone, TSMResNet) else video_swin_names
    own = backbone.state_dict()
    try:
        names = {theirs: ours for ours, theirs in rename({name: name for name in file.state}).items()}
    except MgkitError as error:
        raise MgkitError(f"{path}: {error}") from None
    found = {ours: file.state[theirs] for theirs, ours in names.items() if ours in own}
    known = [
        name for name in own if name.endswith(("num_batches_tracked", "relative_position_index"))
    ]  # not learned
    lacking = [name for name in own if name not in found and name not in known]
    foreign = [name for name, ours in names.items() if ours not in own and not ours.startswith(_HEADS)]
    if lacking or foreign:
        raise MgkitError(
            f"{path} is of another network than this {_name(backbone)}"
            + (f"; it lacks {some(lacking, 3)}" if lacking else "")
            + (f"; the backbone has no {some(foreign, 3)}" if foreign else "")
            + ". Build the backbone with the size and blocks that the weights were trained with."
        )
    misfits = [name for name, value in found.items() if value.shape != own[name].shape]
    if misfits:
        listed = [f"{name} {tuple(found[name].shape)} for {tuple(own[name].shape)}" for name in misfits]
        raise MgkitError(
            f"{path} does not fit this {_name(backbone)}; shapes differ in {some(listed, 3)}. Build the backbone with "
            "the size, width and window that the weights were trained with."
        )
    backbone.load_state_dict(own | found)
    left = {name: "the backbone has no classifier" for name, ours in names.items() if ours not in own}
    return LoadReport(
        used=tuple(name for name, ours in names.items() if ours in own),
        left={**left, **file.left},
        initialised=tuple(name for name in known if name not in found),
    )


def _name(backbone: nn.Module) -> str:
    return "TSM ResNet" if isinstance(backbone, TSMResNet) else "Video Swin"
