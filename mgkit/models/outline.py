"""What a network consists of, in plain values: the shapes, blocks and parameters of the model itself.

Shapes come from a forward on torch's meta device, which computes none of the numbers: a full-size network takes a
second and no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mgkit.models.fusion import CrossModalFusion
from mgkit.models.heads import PathwayHead
from mgkit.models.resnet3d import Bottleneck, ResNet3d
from mgkit.models.single_pathway import SinglePathway
from mgkit.models.two_pathway import TwoPathway

__all__ = ["outline"]


def outline(model: SinglePathway | TwoPathway, inputs: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """A model as plain values (lists, numbers, strings), which JSON holds as they are.

    Args:
        model: on any device, the meta device included; it is left as it was.
        inputs: shape (C, T, H, W) of one clip for each pathway.

    Returns:
        {"parameters": of the whole model,
         "pathways": [{"name": "rgb" or "pose", "input": shape,
                       "stem": {"shape", "parameters"},
                       "stages": [{"shape", "blocks", "inflated": it looks along time, "lateral": channels that another
                                   pathway adds to its input, "parameters"}, ...],
                       "head": {"classes", "embedding": width or None, "embedding_pool": over time and space,
                                "parameters"}}, ...],
         "laterals": [{"from", "to": pathways, "after", "before": stages counted from 1, "channels", "shape",
                       "detached": no gradient across it, "parameters"}, ...],
         "fusions": [{"after": {"rgb": stage, "pose": stage}, "axis": "channel" or "time", "hidden", "heads",
                      "sequential", "parameters"}, ...]}
        Shapes are (C, T, H, W) of one clip.

    Raises:
        MgkitError: if the inputs do not fit the model or each other.

    Example:
        >>> from mgkit.models import pose_only
        >>> small = pose_only(3, 5, width=4, blocks=(1, 1, 1))
        >>> [stage["shape"] for stage in outline(small, {"pose": (5, 8, 16, 16)})["pathways"][0]["stages"]]
        [[16, 8, 8, 8], [32, 8, 4, 4], [64, 8, 2, 2]]
    """
    shapes = _shapes(model, inputs)
    pathways = []
    for name in model.pathways:
        backbone, head = cast(ResNet3d, model.backbones[name]), cast(PathwayHead, model.heads[name])
        pathways.append(
            {
                "name": name,
                "input": [int(size) for size in inputs[name]],
                "stem": {"shape": shapes[backbone.stem], "parameters": _parameters(backbone.stem)},
                "stages": [
                    _stage(cast(nn.Sequential, stage), lateral, shapes)
                    for stage, lateral in zip(backbone.stages, backbone.lateral_channels, strict=True)
                ],
                "head": {
                    "classes": head.classifier.out_features,
                    "embedding": None if head.embedding is None else head.embedding.out_features,
                    "embedding_pool": list(head.embedding_pool),
                    "parameters": _parameters(head),
                },
            }
        )
    laterals: list[dict[str, Any]] = []
    fusions: list[dict[str, Any]] = []
    if isinstance(model, TwoPathway):
        for i, module in enumerate(model.pose_to_rgb):
            laterals.append(_lateral(model, module, "pose", i, shapes))
            laterals.append(_lateral(model, model.rgb_to_pose[i], "rgb", i, shapes))
        fusions = [_fusion(cast(CrossModalFusion, module), i) for i, module in enumerate(model.fusion)]
    return {
        "parameters": _parameters(model),
        "pathways": pathways,
        "laterals": laterals,
        "fusions": fusions,
    }


def _shapes(
    model: SinglePathway | TwoPathway, inputs: Mapping[str, Sequence[int]]
) -> dict[nn.Module, list[int]]:
    """Output shape (C, T, H, W) of one clip for each module that puts out a feature map."""
    shapes: dict[nn.Module, list[int]] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 5:
            shapes[module] = list(output.shape[1:])

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        # The model's own weights, and its BatchNorm statistics, stay untouched: it runs on stand-ins without numbers.
        # Two clips, since BatchNorm in training refuses a single value a channel.
        values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        empty = {name: torch.empty_like(value, device="meta") for name, value in values.items()}
        clips = {name: torch.empty((2, *shape), device="meta") for name, shape in inputs.items()}
        with torch.no_grad():
            torch.func.functional_call(model, empty, (clips,))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _stage(stage: nn.Sequential, lateral: int, shapes: Mapping[nn.Module, list[int]]) -> dict[str, Any]:
    return {
        "shape": shapes[stage],
        "blocks": len(stage),
        "inflated": cast(Bottleneck, stage[0]).conv1.conv.kernel_size[0] > 1,
        "lateral": lateral,
        "parameters": _parameters(stage),
    }


def _lateral(
    model: TwoPathway, module: nn.Module, source: str, index: int, shapes: Mapping[nn.Module, list[int]]
) -> dict[str, Any]:
    # Meeting point i lies after RGB stage i + 2 and pose stage i + 1, counted from 1.
    after = {"rgb": index + 2, "pose": index + 1}
    target = "rgb" if source == "pose" else "pose"
    return {
        "from": source,
        "to": target,
        "after": after[source],
        "before": after[target] + 1,
        "channels": shapes[module][0],
        "shape": shapes[module],
        "detached": model.lateral_detach,
        "parameters": _parameters(module),
    }


def _fusion(module: CrossModalFusion, index: int) -> dict[str, Any]:
    return {
        "after": {"rgb": index + 2, "pose": index + 1},
        "axis": module.attend_rgb.axis,
        "hidden": module.project_rgb.out_channels,
        "heads": module.attend_rgb.heads,
        "sequential": module.sequential,
        "parameters": _parameters(module),
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
