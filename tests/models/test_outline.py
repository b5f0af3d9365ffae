"""The outline of a model against what the model really puts out, and against the sizes the method page states."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from mgkit.errors import MgkitError
from mgkit.models import PathwayHead, PathwayOutput
from mgkit.models.cnns.tsm import tsm_resnet
from mgkit.models.cnns.video_swin import SwinSize, swin_features
from mgkit.models.gcns.aagcn import aagcn_features as aagcn
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.gcns.ctrgcn import ctrgcn_features as ctrgcn
from mgkit.models.gcns.dgstgcn import dgstgcn_features as dgstgcn
from mgkit.models.gcns.hyperformer import hyperformer_features as hyperformer
from mgkit.models.gcns.stgcn import stgcn_features as stgcn
from mgkit.models.losses.grouped import GroupedHead
from mgkit.models.losses.semantic import SemanticHead
from mgkit.models.outline import outline
from mgkit.models.pathways import SinglePathway
from mgkit.parts import part
from tests.models.nets import pose_only, rgb_only, two_pathway

NARROW: dict[str, Any] = {
    "rgb_width": 4, "pose_width": 4, "rgb_blocks": (1, 2, 1, 1), "pose_blocks": (2, 1, 1), "fusion_heads": 2,
    "embedding_dim": 6,
}  # fmt: skip
INPUTS = {"rgb": (3, 2, 64, 64), "pose": (5, 8, 16, 16)}


@pytest.mark.parametrize("halve_time", [False, True])
def test_shapes_are_those_of_a_real_forward(halve_time: bool) -> None:
    model = two_pathway(3, 5, halve_time=halve_time, **NARROW).eval()
    found = outline(model, INPUTS)
    real: dict[int, list[int]] = {}

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        real[id(module)] = list(output.shape[1:])

    watched = [*model.pose_to_rgb, *model.rgb_to_pose]
    for backbone in model.backbones.values():
        watched += [backbone.stem, *backbone.stages]
    for module in watched:
        module.register_forward_hook(note)
    outputs = model({name: torch.rand(1, *shape) for name, shape in INPUTS.items()})
    for lane in found["pathways"]:
        backbone = model.backbones[lane["name"]]
        assert lane["input"] == list(INPUTS[lane["name"]])
        assert lane["stem"]["shape"] == real[id(backbone.stem)]
        assert [stage["shape"] for stage in lane["stages"]] == [real[id(s)] for s in backbone.stages]
        assert lane["stages"][-1]["shape"] == list(outputs[lane["name"]].features.shape[1:])
        assert lane["head"]["classes"] == outputs[lane["name"]].logits.shape[1]
        assert lane["head"]["embedding"] == outputs[lane["name"]].embedding.shape[1]
    shapes = {(item["from"], item["after"]): item["shape"] for item in found["laterals"]}
    for i in range(2):
        assert shapes["pose", i + 1] == real[id(model.pose_to_rgb[i])]
        assert shapes["rgb", i + 2] == real[id(model.rgb_to_pose[i])]


def test_full_size_is_what_the_method_page_says() -> None:
    with torch.device("meta"):
        model = two_pathway(32, 22)
    found = outline(model, {"rgb": (3, 8, 224, 224), "pose": (22, 32, 56, 56)})
    rgb, pose = found["pathways"]
    assert rgb["stem"]["shape"] == [64, 8, 56, 56]
    assert pose["stem"]["shape"] == [32, 32, 56, 56]
    assert [s["shape"][0] for s in rgb["stages"]] == [256, 512, 1024, 2048]
    assert [s["shape"][0] for s in pose["stages"]] == [128, 256, 512]
    assert rgb["stages"][-1]["shape"] == [2048, 8, 7, 7]
    assert pose["stages"][-1]["shape"] == [512, 32, 7, 7]
    assert [s["blocks"] for s in rgb["stages"]] == [3, 4, 6, 3]
    assert [s["blocks"] for s in pose["stages"]] == [4, 6, 3]
    assert [s["inflated"] for s in rgb["stages"]] == [False, False, True, True]
    assert [s["inflated"] for s in pose["stages"]] == [False, True, True]
    assert [s["lateral"] for s in rgb["stages"]] == [0, 0, 128, 256]
    assert [(x["from"], x["to"], x["after"], x["before"], x["channels"]) for x in found["laterals"]] == [
        ("pose", "rgb", 1, 3, 128), ("rgb", "pose", 2, 2, 32), ("pose", "rgb", 2, 4, 256), ("rgb", "pose", 3, 3, 64),
    ]  # fmt: skip
    assert [x["hidden"] for x in found["fusions"]] == [128, 256]
    # As in the table "Cost" of docs/method.md: 38.7 M, of which the fusion modules have 395 k and 1.58 M.
    assert round(found["parameters"] / 1e6, 1) == 38.7
    assert [round(x["parameters"] / 1e3) for x in found["fusions"]] == [395, 1577]


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["channel", "time", None])
@pytest.mark.parametrize("laterals", [True, False])
@pytest.mark.parametrize("detach", [True, False])
def test_parts_add_up_to_the_whole(fusion: Any, laterals: bool, detach: bool) -> None:
    model = two_pathway(3, 5, fusion=fusion, laterals=laterals, lateral_detach=detach, **NARROW)
    found = outline(model, INPUTS)
    parts = [part for lane in found["pathways"] for part in (lane["stem"], *lane["stages"], lane["head"])]
    total = sum(part["parameters"] for part in [*parts, *found["laterals"], *found["fusions"]])
    assert total == found["parameters"] == sum(p.numel() for p in model.parameters())
    assert [item["axis"] for item in found["fusions"]] == ([] if fusion is None else [fusion] * 2)
    assert [item["detached"] for item in found["laterals"]] == ([detach] * 4 if laterals else [])


@pytest.mark.parametrize("name", ["rgb", "pose"])
def test_single_pathways(name: str) -> None:
    model = rgb_only(3, width=4, blocks=(1, 1)) if name == "rgb" else pose_only(3, 5, width=4, blocks=(1, 1))
    found = outline(model, INPUTS)
    assert [lane["name"] for lane in found["pathways"]] == [name]
    assert not found["laterals"]
    assert not found["fusions"]


CHAIN = SkeletonGraph(5, 0, ((1, 0), (2, 1), (3, 2), (4, 3)))
CLIP, FRAMES = (2, 9, 5, 3), (3, 4, 64, 64)
OTHERS: dict[str, tuple[Any, tuple[int, ...], list[int]]] = {
    "stgcn": (lambda: stgcn(CHAIN, width=8, blocks=(2, 1, 1), persons=2), CLIP, [2, 1, 1]),
    "aagcn": (lambda: aagcn(CHAIN, width=8, blocks=(1, 2), persons=2), CLIP, [1, 2]),
    "ctrgcn": (lambda: ctrgcn(CHAIN, width=8, blocks=(1, 1), persons=2), CLIP, [1, 1]),
    "dgstgcn": (lambda: dgstgcn(CHAIN, width=8, blocks=(2, 2), persons=2), CLIP, [2, 2]),
    "hyperformer": (
        lambda: hyperformer(CHAIN, heads=1, width=24, blocks=(1, 2), persons=2), CLIP, [1, 2]
    ),
    "tsm": (lambda: tsm_resnet(width=4, blocks=(1, 2)), FRAMES, [1, 2]),
    "swin": (lambda: swin_features(SwinSize(8, (1, 2), (1, 2))), FRAMES, [1, 2]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_networks(name: str) -> None:
    """Their shapes are those of a real forward, their parts all there is of them."""
    build, shape, blocks = OTHERS[name]
    backbone = build()
    pathway = "pose" if shape == CLIP else "rgb"
    model = SinglePathway(pathway, backbone, 3, head=part(PathwayHead, embedding_dim=6))
    found = outline(model, {pathway: shape})
    (lane,) = found["pathways"]
    features = list(model.eval()({pathway: torch.rand(1, *shape)})[pathway].features.shape[1:])
    skeletal = pathway == "pose"
    assert lane["stages"][-1]["shape"] == (features[:3] if skeletal else features)
    assert [stage["blocks"] for stage in lane["stages"]] == blocks
    assert [stage["shape"][0] for stage in lane["stages"]] == list(
        backbone.out_channels if name != "hyperformer" else (24, 24)
    )
    if skeletal:
        assert lane["stem"]["shape"] == [3, 9, 5]
        assert [stage["shape"][1] for stage in lane["stages"]] == [9, 5, 3][: len(blocks)]
    total = sum(part["parameters"] for part in (lane["stem"], *lane["stages"], lane["head"]))
    assert total == found["parameters"] == sum(p.numel() for p in model.parameters())
    assert json.loads(json.dumps(found)) == found


def test_heads_with_more_than_logits() -> None:
    heads = (
        part(SemanticHead, semantic_dim=7),
        part(GroupedHead, groups=2, class_group=[0, 0, 1, 1], share=0.25),
    )
    found = [
        outline(
            SinglePathway("pose", stgcn(CHAIN, width=8, blocks=(1, 1)), 4, head=head), {"pose": (1, 9, 5, 3)}
        )
        for head in heads
    ]
    semantic, grouped = (one["pathways"][0]["head"] for one in found)
    assert (semantic["semantic"], semantic["groups"]) == (7, None)
    assert (grouped["semantic"], grouped["groups"], grouped["group_share"]) == (None, 2, 0.25)


def test_a_network_of_somebody_else_is_outlined_by_its_children() -> None:
    class Other(nn.Module):
        out_channels = (4,)

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv3d(3, 4, 3, padding=1)
            self.rest = nn.ModuleList([nn.Conv3d(4, 4, 3, stride=2, padding=1), nn.ReLU(), nn.ReLU()])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            for module in self.rest:
                x = module(x)
            return x

    backbone = Other()
    (lane,) = outline(SinglePathway("rgb", backbone, 3), {"rgb": FRAMES})["pathways"]
    _, t, h, w = FRAMES
    half = [4, (t + 1) // 2, (h + 1) // 2, (w + 1) // 2]
    assert (lane["kind"], lane["stem"], lane["head"]["classes"]) == ("other", None, 3)
    assert [(stage["name"], stage["blocks"], stage["shape"]) for stage in lane["stages"]] == [
        ("Conv3d", 1, [4, t, h, w]), ("Conv3d", 1, half), ("ReLU", 2, half),
    ]  # fmt: skip
    total = sum(parameter.numel() for parameter in backbone.parameters())
    assert sum(stage["parameters"] for stage in lane["stages"]) == total


def test_a_whole_model_of_somebody_else_is_one_pathway() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames, self.body = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, x: dict[str, torch.Tensor]) -> dict[str, PathwayOutput]:
            frames, body = (x[name].flatten(2).mean(2) for name in ("rgb", "pose"))
            return {name: PathwayOutput(self.frames(frames) + self.body(body)) for name in ("rgb", "pose")}

    (lane,) = outline(Both(), INPUTS)["pathways"]
    assert (lane["name"], lane["inputs"]) == ("fused", {name: list(INPUTS[name]) for name in ("rgb", "pose")})
    assert [(stage["name"], stage["shape"]) for stage in lane["stages"]] == [("Linear", [2])]
    assert lane["stages"][0]["blocks"] == 2
    assert (lane["head"]["classes"], lane["head"]["embedding"]) == (2, None)


def test_a_fusion_of_somebody_else_is_named() -> None:
    class Add(nn.Module):
        def forward(self, rgb: torch.Tensor, pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return rgb, pose

    model = two_pathway(3, 5, **NARROW)
    for i in range(len(model.fusion)):
        model.fusion[i] = Add()
    found = outline(model, INPUTS)["fusions"]
    assert [(item["name"], item["axis"], item["parameters"]) for item in found] == [("Add", None, 0)] * len(
        found
    )


def test_it_is_plain_and_leaves_the_model_as_it_was() -> None:
    model = two_pathway(3, 5, **NARROW)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = outline(model, INPUTS)
    assert json.loads(json.dumps(found)) == found
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_inputs_that_do_not_fit_are_refused_and_leave_no_hooks() -> None:
    model = two_pathway(3, 5, **NARROW)
    with pytest.raises(MgkitError, match="pose frames"):
        outline(model, {**INPUTS, "pose": (5, 7, 16, 16)})
    assert not any(module._forward_hooks for module in model.modules())
