"""The outline of a network in plain values: shapes, blocks and parameters, taken from the model itself.

Shapes come from a forward on torch's meta device, which computes none of the numbers: a full-size network takes a
second and no memory. Networks of this package are described by stages, any other one by its children.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isqrt
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mgkit.errors import MgkitError
from mgkit.models.cnns.resnet3d import Bottleneck, ResNet3d
from mgkit.models.cnns.tsm import ShiftedBottleneck, TSMResNet
from mgkit.models.cnns.video_swin import VideoSwin
from mgkit.models.fusion import CrossModalFusion
from mgkit.models.gcns.blocks import GraphNetwork
from mgkit.models.gcns.hyperformer import Hyperformer
from mgkit.models.heads import PathwayHead, PathwayOutput
from mgkit.models.losses.grouped import GroupedHead
from mgkit.models.losses.semantic import SemanticHead
from mgkit.models.pathways import SinglePathway, TwoPathway
from mgkit.models.vits.transformer import VideoTransformer

__all__ = ["Parts", "Trace", "outline", "parts_of", "traced", "traced_somehow"]

CLIPS = 2  # of the batch that is traced: BatchNorm in training refuses a single value a channel


class Trace(NamedTuple):
    """What a model made of a batch: the shape of each module's output, the outputs of the model, and how many clips."""

    shapes: dict[nn.Module, list[int]]
    outputs: Mapping[str, PathwayOutput]
    clips: int


def outline(
    model: nn.Module, inputs: Mapping[str, Sequence[int]], trace: Trace | None = None
) -> dict[str, Any]:
    """A model as plain values (lists, numbers, strings), which JSON holds as they are.

    Args:
        model: on any device, the meta device included; it is left as it was.
        inputs: shape of one clip for each pathway: (C, T, H, W), or (M, T, V, numbers per joint) of a skeleton network.
        trace: of the same model and inputs, where there is one.

    Returns:
        {"parameters": of the whole model,
         "pathways": [{"name": "rgb" or "pose", "input": shape,
                       "kind": "resnet3d", "graph", "hypergraph", "tsm", "video-swin", "tokens" or "other": what its
                               blocks do,
                       "stem": {"shape", "parameters"}; of a skeleton network the norm of its input; None of "other",
                       "stages": [{"shape", "blocks", "inflated": it looks along time, "lateral": channels that another
                                   pathway adds to its input, "parameters"; of "other" also "name"}, ...],
                       "head": {"classes", "embedding": width or None, "embedding_pool": over time and space,
                                "semantic": width of the class vectors that it predicts, or None,
                                "groups": of classes with a classifier each, or None,
                                "group_share": of these in the prediction, "parameters"}}, ...],
         "laterals": [{"from", "to": pathways, "after", "before": stages counted from 1, "channels", "shape",
                       "detached": no gradient across it, "parameters"}, ...],
         "fusions": [{"after": {"rgb": stage, "pose": stage}, "name": its class, "axis": "channel" or "time", "hidden",
                      "heads", "sequential" (these four None of a module that is not mgkit's), "parameters"}, ...]}
        Shapes are (C, T, H, W) of one clip; of a skeleton network (C, T, V) of one person, and the input as it is fed.

        A backbone that is not mgkit's is of the kind "other": its children in the order in which they are defined,
        equal neighbours as one stage, with the shapes that they return. A model that is not made of mgkit's pathways is
        one such pathway, named "fused" if it has several inputs, which are then in "inputs" by name.

    Raises:
        MgkitError: if the inputs do not fit the model or each other.

    Example:
        >>> from mgkit.models import pose_resnet
        >>> small = pose_resnet(3, 5, pose_width=4, pose_blocks=(1, 1, 1))
        >>> [stage["shape"] for stage in outline(small, {"pose": (5, 8, 16, 16)})["pathways"][0]["stages"]]
        [[16, 8, 8, 8], [32, 8, 4, 4], [64, 8, 2, 2]]
    """
    shapes, outputs, clips = traced_somehow(model, inputs) if trace is None else trace
    if not isinstance(model, SinglePathway | TwoPathway):
        pathway = _other_model(model, inputs, shapes, outputs, clips)
        return {"parameters": _parameters(model), "pathways": [pathway], "laterals": [], "fusions": []}
    parts = {name: parts_of(model.backbones[name], shapes) for name in model.pathways}
    pathways = [
        _pathway(
            name,
            parts[name],
            model.backbones[name],
            model.heads[name],
            outputs[name],
            inputs[name],
            shapes,
            clips,
        )
        for name in model.pathways
    ]
    laterals: list[dict[str, Any]] = []
    fusions: list[dict[str, Any]] = []
    if isinstance(model, TwoPathway):
        for i, module in enumerate(model.pose_to_rgb):
            laterals.append(_lateral(model, module, "pose", i, shapes))
            laterals.append(_lateral(model, model.rgb_to_pose[i], "rgb", i, shapes))
        fusions = [_fusion(module, i) for i, module in enumerate(model.fusion)]
    return {
        "parameters": _parameters(model),
        "pathways": pathways,
        "laterals": laterals,
        "fusions": fusions,
    }


def traced(
    model: nn.Module,
    inputs: Mapping[str, Sequence[int]],
    clips: int = CLIPS,
    device: torch.device | str = "meta",
) -> Trace:
    """A model run on a batch of zeros; on the meta device, on stand-ins without numbers for all that it has.

    There it costs no memory, and weights and BatchNorm statistics stay untouched.

    Args:
        model, inputs: as in outline.
        clips: of the batch.
        device: the meta device, or that of the model.
    """
    shapes: dict[nn.Module, list[int]] = {}

    transformers = [module for module in model.modules() if isinstance(module, VideoTransformer)]
    blocks = {block for one in transformers for stage in one.stages for block in stage}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, tuple) and module in blocks:  # tokens, and attention or their grid
            output = output[0]
        if isinstance(output, Tensor):
            shapes[module] = list(output.shape)

    batch = {name: torch.zeros((clips, *shape), device=device) for name, shape in inputs.items()}
    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad():
            if str(device) != "meta":
                return Trace(shapes, model(batch), clips)
            values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            empty = {name: torch.empty_like(value, device="meta") for name, value in values.items()}
            with _NormsKeepShapes():
                return Trace(shapes, torch.func.functional_call(model, empty, (batch,)), clips)
    finally:
        for hook in hooks:
            hook.remove()


class _NormsKeepShapes(TorchFunctionMode):
    """BatchNorm of meta tensors in one step: torch composes it of some thirty, which are most of a trace's time."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is not functional.batch_norm or not args[0].is_meta:
            return func(*args, **named)
        x, training = args[0], named.get("training", args[5] if len(args) > 5 else False)
        if training and x.numel() == x.shape[1]:
            raise ValueError(
                f"BatchNorm needs more than 1 value per channel in training, but a map is {list(x.shape)}"
            )
        return torch.empty_like(x)


def traced_somehow(model: nn.Module, inputs: Mapping[str, Sequence[int]]) -> Trace:
    """The trace without numbers, or with some, for a network of the user's that looks at them."""
    try:
        return traced(model, inputs)
    except MgkitError:
        raise
    except Exception:
        was_training = model.training
        try:
            device = next((value.device for value in model.parameters()), torch.device("cpu"))
            return traced(model.eval(), inputs, device=device)
        finally:
            model.train(was_training)


def _pathway(
    name: str,
    parts: Parts,
    backbone: nn.Module,
    head: nn.Module,
    output: PathwayOutput,
    given: Sequence[int],
    shapes: Mapping[nn.Module, list[int]],
    clips: int,
) -> dict[str, Any]:
    if parts.kind == "other":
        return {
            "name": name,
            "kind": parts.kind,
            "input": [int(size) for size in given],
            "stem": None,
            "stages": _children_stages(parts.stages, shapes, clips),
            "head": _head(head, output),
        }
    frames_out = output.features.shape[2] if output.features is not None else 1
    maps = {
        block: clip_shape(parts.kind, shapes[block], clips, frames_out)
        for stage in parts.stages
        for block in stage
    }
    stages = [list(stage) for stage in parts.stages]
    skeletal = parts.kind in ("graph", "hypergraph")
    if skeletal:
        stages = [list(stage) for _, stage in groupby(stages[0], key=maps.__getitem__)]
    lateral = backbone.lateral_channels if isinstance(backbone, ResNet3d) else [0] * len(stages)
    beside = parts.beside or [[]] * len(stages)
    # The norm of key-points leaves their shape; it works on all joints of a frame as one row.
    _, frames, joints, numbers = given if skeletal else (0, 0, 0, 0)
    stem = (
        [numbers, frames, joints]
        if skeletal
        else clip_shape(parts.kind, shapes[parts.stem[-1]], clips, frames_out)
    )
    return {
        "name": name,
        "kind": parts.kind,
        "input": [int(size) for size in given],
        "stem": {"shape": [int(size) for size in stem], "parameters": _parameters(*parts.stem)},
        "stages": [
            {
                "shape": maps[stage[-1]],
                "blocks": len(stage),
                "inflated": looks_along_time(stage[0]),
                "lateral": lateral[i],
                "parameters": _parameters(*stage, *beside[i]),
            }
            for i, stage in enumerate(stages)
        ],
        "head": _head(head, output),
    }


def _head(head: nn.Module, output: PathwayOutput) -> dict[str, Any]:
    return {
        "classes": output.logits.shape[1],
        "embedding": None if output.embedding is None else output.embedding.shape[1],
        "embedding_pool": list(head.embedding_pool) if isinstance(head, PathwayHead) else [],
        "semantic": head.semantic.out_features if isinstance(head, SemanticHead) else None,
        "groups": head.groups if isinstance(head, GroupedHead) else None,
        "group_share": head.share if isinstance(head, GroupedHead) else 0.0,
        "parameters": _parameters(head),
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
        "channels": shapes[module][1],
        "shape": shapes[module][1:],
        "detached": model.lateral_detach,
        "parameters": _parameters(module),
    }


def _fusion(module: nn.Module, index: int) -> dict[str, Any]:
    known = module if isinstance(module, CrossModalFusion) else None
    return {
        "after": {"rgb": index + 2, "pose": index + 1},
        "name": type(module).__name__,
        "axis": known and known.attend_rgb.axis,
        "hidden": known and known.project_rgb.out_channels,
        "heads": known and known.attend_rgb.heads,
        "sequential": known and known.sequential,
        "parameters": _parameters(module),
    }


def _other_model(
    model: nn.Module,
    inputs: Mapping[str, Sequence[int]],
    shapes: Mapping[nn.Module, list[int]],
    outputs: Mapping[str, PathwayOutput],
    clips: int,
) -> dict[str, Any]:
    """A model that is not made of mgkit's pathways, as one pathway."""
    first = next(iter(outputs.values()))
    heads = [module for module in model.modules() if isinstance(module, PathwayHead)]
    head: dict[str, Any] = {
        "classes": first.logits.shape[1],
        "embedding": None if first.embedding is None else first.embedding.shape[1],
        "embedding_pool": [], "semantic": None, "groups": None, "group_share": 0.0, "parameters": _parameters(*heads),
    }  # fmt: skip
    described: dict[str, Any] = {
        "name": next(iter(inputs)) if len(inputs) == 1 else "fused",
        "kind": "other",
        "input": list(map(int, next(iter(inputs.values())))),
        "stem": None,
        "stages": _children_stages([[child] for child in _children(model, shapes)], shapes, clips),
        "head": head,
    }
    if len(inputs) > 1:
        described["inputs"] = {name: list(map(int, shape)) for name, shape in inputs.items()}
    return described


def _children(module: nn.Module, shapes: Mapping[nn.Module, list[int]]) -> list[nn.Module]:
    """The children of a module that returned a tensor; of the others, such as lists, their children in turn."""
    found = []
    for child in module.children():
        if child in shapes:
            found.append(child)
        elif not isinstance(child, PathwayHead):
            found += _children(child, shapes)
    return found


def _children_stages(
    stages: Sequence[Sequence[nn.Module]], shapes: Mapping[nn.Module, list[int]], batch: int
) -> list[dict[str, Any]]:
    """Children as stages; neighbours of one class and shape are one stage of several blocks."""
    children = [(child, _per_clip(shapes[child], batch)) for (child,) in stages]
    return [
        {
            "name": name, "shape": shape, "blocks": len(group), "inflated": False, "lateral": 0,
            "parameters": _parameters(*(child for child, _ in group)),
        }
        for (name, shape), each in groupby(children, key=lambda one: (type(one[0]).__name__, one[1]))
        for group in [list(each)]
    ]  # fmt: skip


def _per_clip(shape: Sequence[int], batch: int) -> list[int]:
    """The shape for one clip; what a module folds into the first axis (frames, people) stays there."""
    clips = shape[0] // batch if shape and shape[0] % batch == 0 else 1
    return [*([clips] if clips > 1 else []), *shape[1:]]


def _parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


class Parts(NamedTuple):
    """A backbone in pieces, each of its parameters in one of them.

    Attributes:
        kind: "resnet3d", "graph", "hypergraph", "tsm", "video-swin", "tokens" or "other": what a block does, and the
            memory layout of its maps, see `clip_shape`.
        stem: modules before the blocks; the last one returns the stem's map.
        stages: the blocks of each stage. Those of a skeleton network come as one: its stages begin where channels or
            frames change. Of "other", one child each.
        beside: of each stage the modules that are not blocks, such as the merging of patches.
    """

    kind: str
    stem: Sequence[nn.Module]
    stages: Sequence[Sequence[nn.Module]]
    beside: Sequence[Sequence[nn.Module]] = ()


def parts_of(backbone: nn.Module, shapes: Mapping[nn.Module, list[int]]) -> Parts:
    """The pieces of a backbone; of one that is not mgkit's, its children that returned a tensor (see `shapes`)."""
    if isinstance(backbone, ResNet3d):
        stages = [list(cast(nn.Sequential, stage)) for stage in backbone.stages]
        return Parts("resnet3d", [backbone.stem], stages)
    if isinstance(backbone, GraphNetwork):
        return Parts("graph", [backbone.data_bn], [list(backbone.units)])
    if isinstance(backbone, Hyperformer):
        return Parts("hypergraph", [backbone.data_bn], [backbone.layers])
    if isinstance(backbone, TSMResNet):
        stages = [
            list(cast(nn.ModuleList, getattr(backbone, f"layer{i + 1}")))
            for i in range(len(backbone.out_channels))
        ]
        return Parts("tsm", [backbone.conv1, backbone.bn1, backbone.maxpool], stages)
    if isinstance(backbone, VideoSwin):
        stages, beside = [], list[list[nn.Module]]([[]])
        for layer in cast(nn.Sequential, backbone.features):
            if isinstance(layer, nn.Sequential):
                stages.append(list(layer))
            else:
                beside.append([layer])
        beside[-1].append(backbone.norm)
        return Parts("video-swin", [backbone.patch_embed], stages, beside)
    if isinstance(backbone, VideoTransformer):
        inside = {
            parameter
            for module in (*backbone.stem, *(block for stage in backbone.stages for block in stage))
            for parameter in module.parameters()
        }
        rest = _without(backbone, inside)
        return Parts("tokens", backbone.stem, backbone.stages, [*([] for _ in backbone.stages[1:]), rest])
    children = _children(backbone, shapes) or [backbone]
    return Parts("other", [], [[child] for child in children])


def _without(module: nn.Module, inside: set[nn.Parameter]) -> list[nn.Module]:
    """The largest modules below this one that have none of these parameters."""
    found: list[nn.Module] = []
    for child in module.children():
        own = set(child.parameters())
        if not own & inside:
            found.append(child)
        elif own - inside:
            found += _without(child, inside)
    return found


def clip_shape(kind: str, shape: Sequence[int], clips: int, frames: int = 1) -> list[int]:
    """The shape of one clip's map, from that of a block's output for a batch.

    Args:
        kind: of `Parts`.
        shape: of the output.
        clips: of the batch.
        frames: of the maps of a transformer, whose tokens come as one row; they are square.

    Returns:
        [C, T, H, W]; of a skeleton network [C, T, V] of one person.
    """
    if kind in ("graph", "hypergraph"):  # (N * M, C, T, V)
        return list(shape[1:])
    if kind == "tsm":  # (N * T, C, H, W)
        frames, channels, height, width = shape
        return [channels, frames // clips, height, width]
    if kind == "video-swin":  # (N, T, H, W, C)
        return [shape[4], *shape[1:4]]
    if (
        kind == "tokens" and len(shape) == 3
    ):  # (N, L, C), with or without a token of the class; or L in two parts
        side = isqrt(shape[0] * shape[1] // clips // frames)
        return [shape[2], frames, side, side]
    return list(shape[1:])  # (N, C, T, H, W)


def looks_along_time(block: nn.Module) -> bool:
    """True if a block connects frames, as all blocks of skeleton networks and of most transformers do."""
    if isinstance(block, Bottleneck):
        return block.conv1.conv.kernel_size[0] > 1
    if isinstance(block, ShiftedBottleneck):
        return block.shift_div is not None
    return not getattr(block, "within_frames", False)
