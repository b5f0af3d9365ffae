"""Start a two-pathway model from two trained branches.

Chen et al., IJCAI 2024 MiGA challenge, section 3.2 and the RGBPose-Conv3D recipe of Duan et al., CVPR 2022:
train the branches alone, merge, train jointly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from mgkit.errors import MgkitError, some
from mgkit.models.resnet3d import ResNet3d
from mgkit.models.two_pathway import TwoPathway

__all__ = ["branch_state", "merge_branches"]


def merge_branches(
    model: TwoPathway, *, rgb: Mapping[str, Tensor], pose: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Copy two trained branches into a two-pathway model, in place.

    Every weight of a branch goes to the pathway of that name. Where the pathway's convolution takes lateral
    channels too (the first convolution and the shortcut of each stage after a meeting point, eight weights in
    the paper's network), the weights of those channels become zero. With zero gates the merged model is then
    exactly the late fusion of its branches, and learns from there what to take from the laterals and gates.
    Laterals, fusion modules, and embeddings that a branch lacks, keep their initial values.

    Args:
        model: the model to fill.
        rgb, pose: state dicts of an RGB-only and a pose-only SinglePathway.

    Returns:
        the names of the weights that were padded.

    Raises:
        MgkitError: if a branch lacks a weight of its pathway or one has another shape; the model is then
            unchanged.

    Example:
        >>> from mgkit.models import pose_only, rgb_only, two_pathway
        >>> rgb = rgb_only(3, width=4, blocks=(1, 1, 1, 1))
        >>> pose = pose_only(3, 5, width=4, blocks=(1, 1, 1))
        >>> both = two_pathway(
        ...     3, 5, rgb_width=4, pose_width=4, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1)
        ... )
        >>> len(merge_branches(both, rgb=rgb.state_dict(), pose=pose.state_dict()))  # weights padded with zeros
        8
    """
    state = model.state_dict()
    takes_lateral = _lateral_inputs(model)
    merged: dict[str, Tensor] = {}
    padded: list[str] = []
    missing: list[str] = []
    misfits: list[str] = []
    for pathway, branch in (("rgb", rgb), ("pose", pose)):
        for name, own in state.items():
            if not name.startswith((f"backbones.{pathway}.", f"heads.{pathway}.")):
                continue
            if name not in branch:
                if ".embedding." not in name:
                    missing.append(name)
                continue
            weight = branch[name]
            if name in takes_lateral and weight.ndim == 5:
                zeros = weight.new_zeros(len(weight), takes_lateral[name], *weight.shape[2:])
                weight = torch.cat((weight, zeros), dim=1)
                padded.append(name)
            if weight.shape != own.shape:
                misfits.append(f"{name} {tuple(branch[name].shape)} for {tuple(own.shape)}")
            merged[name] = weight
    if missing or misfits:
        raise MgkitError(
            "The branches do not fit the two-pathway model"
            + (f"; they lack {some(missing)}" if missing else "")
            + (f"; shapes differ in {some(misfits)}" if misfits else "")
            + ". Build all three with the same widths, blocks, classes, joints and embedding width."
        )
    model.load_state_dict({**state, **merged})
    return tuple(padded)


def branch_state(model: TwoPathway, pathway: str) -> dict[str, Tensor]:
    """The state of one pathway as a SinglePathway would have it: without the input channels of the laterals."""
    takes_lateral = _lateral_inputs(model)
    return {
        name: value[:, : value.shape[1] - takes_lateral[name]] if name in takes_lateral else value
        for name, value in model.state_dict().items()
        if name.startswith((f"backbones.{pathway}.", f"heads.{pathway}."))
    }


def _lateral_inputs(model: TwoPathway) -> dict[str, int]:
    """The convolutions that take lateral channels after their pathway's own, and how many."""
    return {
        f"backbones.{pathway}.stages.{stage}.0.{unit}.conv.weight": channels
        for pathway in model.pathways
        for stage, channels in enumerate(cast(ResNet3d, model.backbones[pathway]).lateral_channels)
        for unit in ("conv1", "shortcut")
        if channels
    }
