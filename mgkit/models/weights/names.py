"""Names of our weights in published checkpoints: MMAction2, PYSKL, PCAN and plain ResNets.

MMAction2 and PYSKL share one layout for SlowOnly, PoseConv3D ("one" pathway) and RGBPoseConv3D ("two"). The
cross-modal fusion and prototype modules of PCAN (Li et al., AAAI 2025) are part of an RGBPoseConv3D; its fusion module
alone is the layout "fusion". Skeleton networks, TSM and the transformers have the published names inside, and only what
is around them has other names: the layout "same".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar

from torch import Tensor

from mgkit.errors import MgkitError
from mgkit.models.gcns.blocks import GraphNetwork
from mgkit.models.gcns.hyperformer import Hyperformer

__all__ = [
    "PROTOTYPES",
    "Layout",
    "classifier_names",
    "file_name_to_published",
    "first_persons",
    "mentions_backbone",
    "published_name",
    "transformer_names",
    "tsm_names",
    "video_swin_names",
    "why_left",
]

T = TypeVar("T")

Layout = Literal["one", "two", "fusion", "same"]

# (D, K). The number of updates is ours: PCAN's files have none.
PROTOTYPES = "cls_head.fr_{pathway}.spatio_cl_net.avg_f"
UPDATES = "cls_head.fr_{pathway}.spatio_cl_net.updates"

# Our names on the left, the published ones on the right; names that are not listed are the same.
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


def published_name(name: str, layout: Layout) -> str | None:
    """The published name of our weight `name`, or None if it has none."""
    if layout == "fusion":
        return ".".join(_FUSION.get(part, part) for part in name.split("."))
    two = layout == "two"
    match name.split("."):
        case ["backbones", _, *rest] if layout == "same":
            return ".".join(["backbone", *rest])
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
        case ["heads", pathway, "embedding", kind]:
            return f"cls_head.fr_{pathway}.spatio_cl_net.cl_fc.{kind}"
        case ["heads", _, "semantic", kind]:
            return f"cls_head.emb_fc.{kind}"
        case ["pose_to_rgb", meeting, kind]:
            return f"backbone.rgb_path.layer{int(meeting) + 2}_lateral.conv.{kind}"
        case ["rgb_to_pose", meeting, layer, kind]:
            return f"backbone.pose_path.layer{int(meeting) + 1}_lateral.{_LAYERS.get(layer, layer)}.{kind}"
        case ["fusion", meeting, *rest]:
            unit = ".".join(_FUSION.get(part, part) for part in rest)
            return f"backbone.featuredifference{int(meeting) + 2}.{unit}"
    return None


# A ResNet as torchvision and image classifiers name it -> with convolution and norm as one unit.
_PLAIN_RESNET = (
    (re.compile(r"^((?:backbone\.)?(?:layer\d+\.\d+\.)?)conv(\d)\.weight$"), r"\1conv\2.conv.weight"),
    (re.compile(r"^((?:backbone\.)?(?:layer\d+\.\d+\.)?)bn(\d)\."), r"\1conv\2.bn."),
    (re.compile(r"\.downsample\.0\."), ".downsample.conv."),
    (re.compile(r"\.downsample\.1\."), ".downsample.bn."),
)


def file_name_to_published(name: str, known: Collection[str]) -> str:
    """The one of the `known` names that a file means by `name`; without it, `name` without wrappers.

    Files of a wrapped model begin every name with "module.", those of masked pre-training with "network."; files of a
    backbone alone leave out "backbone.".
    """
    while name not in known and name.startswith(("module.", "network.")):
        name = name.partition(".")[2]
    renamed = name
    for pattern, replacement in _PLAIN_RESNET:
        renamed = pattern.sub(replacement, renamed)
    for candidate in (name, f"backbone.{name}", renamed, f"backbone.{renamed}"):
        if candidate in known:
            return candidate
    return name


# Beginnings of names in skeleton networks, TSM and the transformers.
_INNER = re.compile(
    r"(backbone\.)?(data_bn|gcn|net|A$|l\d+|conv1|bn1|layer\d+|patch_embed|features|norm|embeddings|encoder|"
    r"(spatial|temporal)_(embeddings|layers)|conv_proj|pos_encoding|blocks)(\.|$)"
)


def classifier_names(name: str) -> tuple[str, ...]:
    """Names of a classifier in files of networks that keep their published names: MMAction2's, others'."""
    match name.split("."):
        case ["heads", _, "classifier", kind]:
            return f"fc.{kind}", f"head.{kind}", f"classifier.{kind}", f"head.1.{kind}"
    return ()


def mentions_backbone(name: str, pathways: Collection[str], layout: Layout) -> bool:
    """True if a file's name is that of a stem or residual block of one of these pathways."""
    if layout == "same":
        return bool(_INNER.match(name))
    own = re.match(r"backbones\.(\w+)\.", name)
    if own:
        return own[1] in pathways
    return bool(re.match(r"(backbone\.)?((rgb|pose)_path\.)?(conv1|layer\d+)\.", name))


def why_left(name: str) -> str:
    """The reason why a weight under this published name, which the model has no place for, was not used."""
    if re.fullmatch(r"cls_head\.fr_(rgb|pose)\.spatio_cl_net\.(avg_f|updates)", name):
        return "prototypes: give objective= to load them"
    if re.match(r"cls_head\.fr_(rgb|pose)\.spatio_cl_net\.cl_fc\.", name) or ".embedding." in name:
        return "the model has no embedding"
    if ".featuredifference" in name or name.startswith("fusion."):
        return "the model has no fusion module there"
    if "_lateral." in name or name.startswith(("pose_to_rgb.", "rgb_to_pose.")):
        return "the model has no lateral there"
    if name.startswith(("cls_head.", "head.", "fc.")):
        return "a head that the model does not have"
    return "nothing in the model corresponds to it"


# Networks that have the names of torchvision or transformers inside: TSM, Video Swin, the other transformers of video

_WRAPPERS = re.compile(r"^(module\.)*(backbone\.|base_model\.)?")
_TSM = (
    # The shift wraps a block's first convolution as ".net"; MMAction2 has convolution and norm in one unit.
    (re.compile(r"^(layer\d+\.\d+\.conv1)(?:\.conv)?\.net\.weight$"), r"\1.weight"),
    (re.compile(r"^((?:layer\d+\.\d+\.)?conv\d)\.conv\.weight$"), r"\1.weight"),
    (re.compile(r"^((?:layer\d+\.\d+\.)?)conv(\d)\.bn\."), r"\1bn\2."),
    (re.compile(r"^(layer\d+\.\d+\.downsample)\.conv\."), r"\1.0."),
    (re.compile(r"^(layer\d+\.\d+\.downsample)\.bn\."), r"\1.1."),
    (re.compile(r"^(cls_head\.fc_cls|new_fc)\."), "fc."),
)
_SWIN = (
    # torchvision has stages and the layers between them in one list, and numbers in its perceptrons.
    (re.compile(r"^layers\.(\d+)\.blocks\."), lambda m: f"features.{2 * int(m[1])}."),
    (re.compile(r"^layers\.(\d+)\.downsample\."), lambda m: f"features.{2 * int(m[1]) + 1}."),
    (re.compile(r"\.mlp\.fc([12])\."), lambda m: f".mlp.{3 * (int(m[1]) - 1)}."),
)


_QV = {"q": "query", "v": "value"}
_TRANSFORMERS: dict[str, Any] = {
    "VideoMAE": (
        (re.compile(r"^videomae\."), ""),
        (re.compile(r"^fc_norm\."), "pool."),
        # Files of transformers before version 5.
        (
            re.compile(r"\.attention\.attention\.([qv])_bias$"),
            lambda m: f".attention.attention.{_QV[m[1]]}.bias",
        ),
    ),
    "V-JEPA 2": ((re.compile(r"^vjepa2\."), ""), (re.compile(r"^pooler\."), "pool.")),
    "VideoPrism": (
        (re.compile(r"^vision_model\."), ""),
        (re.compile(r"^head_layernorm\."), "pool.norm."),
        (re.compile(r"^head\."), "pool.attention."),
    ),
}


def tsm_names(state: Mapping[str, T]) -> dict[str, T]:
    """A published file's weights under the names of TSMResNet, which are torchvision's.

    Names of MMAction2, of the authors' files and of torchvision's ResNets are recognised. The classifier becomes
    "fc.weight" and "fc.bias" (torchvision's name); other names stay.

    Raises:
        MgkitError: if two names become one, because the file holds two networks.

    >>> tsm_names({"backbone.layer1.0.conv1.conv.net.weight": "a", "cls_head.fc_cls.bias": "b"})
    {'layer1.0.conv1.weight': 'a', 'fc.bias': 'b'}
    """
    return _renamed(state, _TSM)


def video_swin_names(state: Mapping[str, T]) -> dict[str, T]:
    """A published file's weights under the names of VideoSwin, which are torchvision's.

    Names of torchvision, of the authors' files and of MMAction2 are recognised. Names outside the backbone (the
    classifier: "head." or "cls_head.") stay.

    Raises:
        MgkitError: if two names become one, because the file holds two networks.

    >>> video_swin_names({"backbone.layers.1.blocks.0.mlp.fc2.bias": "a", "layers.1.downsample.norm.bias": "b"})
    {'features.2.0.mlp.3.bias': 'a', 'features.3.norm.bias': 'b'}
    """
    return _renamed(state, _SWIN)


def transformer_names(state: Mapping[str, T], network: str) -> dict[str, T]:
    """A published file's weights under the names of VideoMAE, V-JEPA 2, VideoPrism or MViT v2.

    Names of `transformers` and torchvision are recognised, of networks with and without a classifier.

    Args:
        state: the weights.
        network: the `name` of the `VideoTransformer`.

    Raises:
        MgkitError: if two names become one, because the file holds two networks.

    >>> transformer_names({"videomae.encoder.layer.0.attention.attention.q_bias": "a", "fc_norm.bias": "b"}, "VideoMAE")
    {'encoder.layer.0.attention.attention.query.bias': 'a', 'pool.bias': 'b'}
    """
    return _renamed(state, _TRANSFORMERS.get(network, ()))


def _renamed(state: Mapping[str, T], patterns: Iterable[tuple[re.Pattern[str], Any]]) -> dict[str, T]:
    renamed: dict[str, T] = {}
    for name, value in state.items():
        new = _WRAPPERS.sub("", name)
        for pattern, replacement in patterns:
            new = pattern.sub(replacement, new)
        if new in renamed:
            raise MgkitError(
                f"the file has the weight {new} twice, once as {name}: give the file of one network"
            )
        renamed[new] = value
    return renamed


# Skeleton networks of another number of persons

_NORM = re.compile(r"(?:.*\.)?data_bn\.(?:weight|bias|running_mean|running_var)")


def first_persons(
    state: Mapping[str, Tensor], network: GraphNetwork | Hyperformer
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's weights with the input's normalisation cut to the number of persons that the network takes.

    AAGCN, CTR-GCN and the hypergraph transformer normalise each person's values on their own ("MVC"), and the published
    ones are for two persons. Every clip has a first person, whose values serve a network of one person. Nothing else
    depends on the number of persons.

    Args:
        state: weights under any names that end as the network's do.
        network: the network that they are for. Weights are cut only where it normalises persons on their own and takes
            fewer than the file has; others, even of wrong shapes, are passed on unchanged.

    Returns:
        the weights, and {name: note} for those that were cut.
    """
    each = network.num_joints * network.in_channels
    wanted = each * network.persons
    cut = {
        name: value[:wanted]
        for name, value in state.items()
        if network.data_norm == "MVC"
        and _NORM.fullmatch(name)
        and value.ndim == 1
        and len(value) > wanted
        and len(value) % each == 0
    }
    notes = {
        name: f"of the file's {len(state[name]) // each} persons the first {network.persons}" for name in cut
    }
    return {**state, **cut}, notes
