"""What the overview of a network says in words and numbers; `architecture` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

NAMES = {"rgb": "RGB pathway", "pose": "Pose pathway"}
NETWORKS = {
    "stgcn": "ST-GCN", "stgcnpp": "ST-GCN++", "aagcn": "AAGCN", "ctrgcn": "CTR-GCN", "dgstgcn": "DG-STGCN",
    "hyperformer": "Hyperformer", "tsm": "TSM", "video-swin": "Video Swin",
}  # fmt: skip
STREAMS = {"joint": "Joints", "bone": "Bones", "joint-motion": "Joint motion", "bone-motion": "Bone motion"}
# What a filled and an empty block of a kind of network are.
BLOCKS = {
    "resnet3d": ("block with a 3×1×1 convolution (time)", "block without one"),
    "graph": ("block: graph convolution, then along time", ""),
    "hypergraph": ("block: hypergraph attention, then along time", ""),
    "tsm": ("block with a shift along time", "block without one"),
    "video-swin": ("block: attention within windows of space and time", ""),
}
MAPS, SKELETONS = ("channels", "frames", "height", "width"), ("channels", "frames", "joints")


def skeletal(lane: Mapping[str, Any]) -> bool:
    """Whether a pathway is fed key-points themselves."""
    return lane.get("kind") in ("graph", "hypergraph")


def input_shape(lane: Mapping[str, Any]) -> list[int]:
    """What a pathway is fed, as the maps after it: of key-points (M, T, V, C) it is (C, T, V) of one person."""
    if not skeletal(lane):
        return list(lane["input"])
    _, frames, joints, numbers = lane["input"]
    return [numbers, frames, joints]


def shape_text(shape: Sequence[int]) -> str:
    """(C, T, H, W) as C×T×H×W, or C×T×H² where the map is square; (C, T, V) of key-points as C×T×V."""
    if len(shape) == 3:
        return "×".join(map(str, shape))
    channels, frames, height, width = shape
    space = f"{height}²" if height == width else f"{height}×{width}"
    return f"{channels}×{frames}×{space}"


def input_words(lane: Mapping[str, Any]) -> tuple[str, str]:
    """The name and the size of what a pathway is fed."""
    size = shape_text(input_shape(lane))
    if skeletal(lane):
        persons = lane["input"][0]
        return STREAMS[lane.get("stream") or "joint"], size + (f" × {persons} people" if persons > 1 else "")
    if lane["name"] == "rgb":
        return "RGB", size
    return "Limb maps" if lane.get("heatmap") == "limb" else "Heatmaps", size


def title_of(lane: Mapping[str, Any]) -> str:
    """Name of a pathway and of its network, and how large it is."""
    network = NETWORKS.get(lane.get("network", ""))
    size = sum(part["parameters"] for part in (lane["stem"], *lane["stages"], lane["head"]))
    return f"{NAMES[lane['name']]}{f' ({network})' if network else ''}, {millions(size)}"


def millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def legend_items(outline: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(symbol, text) of what occurs in this network."""
    items = []
    for kind in dict.fromkeys(lane.get("kind", "resnet3d") for lane in outline["pathways"]):
        stages = [
            stage
            for lane in outline["pathways"]
            if lane.get("kind", "resnet3d") == kind
            for stage in lane["stages"]
        ]
        if any(stage["inflated"] for stage in stages):
            items.append(("filled", BLOCKS[kind][0]))
        if any(not stage["inflated"] for stage in stages):
            items.append(("empty", BLOCKS[kind][1]))
    if outline["fusions"]:
        items.append(("gate", "gated by fusion, residual"))
    if outline["laterals"]:
        items.append(("concat", "lateral, concatenated"))
    if any(item["detached"] for item in outline["laterals"]):
        items.append(("stop", "no gradient"))
    if outline.get("losses"):
        items.append(("dashed", "training only"))
    return items


def table_of(outline: Mapping[str, Any]) -> pd.DataFrame:
    """One row a part. Columns that do not concern a part are empty."""
    rows: list[dict[str, Any]] = []
    keypoints = any(skeletal(lane) for lane in outline["pathways"])
    names: tuple[str, ...] = MAPS
    for lane in outline["pathways"]:
        names = SKELETONS if skeletal(lane) else MAPS
        base = {"pathway": lane["name"]}
        persons = {"persons": lane["input"][0]} if skeletal(lane) else {}
        rows.append({**base, "part": "input", **dict(zip(names, input_shape(lane), strict=True)), **persons})
        stem = lane["stem"]
        rows.append(
            {**base, "part": "stem", **dict(zip(names, stem["shape"], strict=True)), "parameters": stem["parameters"]}
        )  # fmt: skip
        for i, stage in enumerate(lane["stages"]):
            shape = dict(zip(names, stage["shape"], strict=True))
            rest = {key: stage[key] for key in ("blocks", "inflated", "lateral", "parameters")}
            rows.append({**base, "part": f"stage {i + 1}", **shape, **rest})
        head = lane["head"]
        rest = {key: head.get(key) for key in ("classes", "embedding", "semantic", "groups", "parameters")}
        rows.append({**base, "part": "head", **rest})
    for item in outline["laterals"]:
        shape = dict(zip(names, item["shape"], strict=True))
        part = f"lateral from {item['from']} stage {item['after']} to {item['to']} stage {item['before']}"
        rows.append({"pathway": item["to"], "part": part, **shape, "parameters": item["parameters"]})
    for item in outline["fusions"]:
        part = f"fusion after rgb stage {item['after']['rgb']} and pose stage {item['after']['pose']}"
        rows.append(
            {"pathway": "both", "part": part, "channels": item["hidden"], "parameters": item["parameters"]}
        )
    sizes = [*SKELETONS, "persons"] if keypoints else list(MAPS)
    head_columns = ["classes", "embedding"]
    head_columns += [key for key in ("semantic", "groups") if any(row.get(key) is not None for row in rows)]
    whole = [*sizes, "blocks", "lateral", *head_columns, "parameters"]
    order = ["pathway", "part", *sizes, "blocks", "inflated", "lateral", *head_columns, "parameters"]
    table = pd.DataFrame(rows).reindex(columns=order)
    return table.astype(dict.fromkeys(whole, "Int64")).astype({"inflated": "boolean"})


def note_of(outline: Mapping[str, Any]) -> str:
    """What the caption must say."""
    keypoints = any(skeletal(lane) for lane in outline["pathways"])
    axes = "channels x frames x joints of a person" if keypoints else "channels x frames x height x width"
    parts = [f"shapes are {axes}, after each part"]
    if outline["laterals"]:
        parts.append("laterals carry the features as they are before the gates, +n are the channels they add")
    for item in outline["fusions"][:1]:
        axis = "channels" if item["axis"] == "channel" else "frames"
        then = ", pose to RGB that is already updated" if item["sequential"] else ""
        parts.append(f"fusion is cross-attention along {axis} with {item['heads']} heads{then}")
    if len(outline["pathways"]) == 2:
        parts.append("the prediction is the mean of both softmax outputs")
    for lane in outline["pathways"]:
        if groups := lane["head"].get("groups"):
            share = 100 * lane["head"]["group_share"]
            parts.append(
                f"the classifiers of the {groups} groups of classes have {share:.0f} % of the prediction"
            )
    parts.append("beside each name are its parameters with its head")
    parts.append(f"{millions(outline['parameters'])} parameters in all")
    return "; ".join(parts)
