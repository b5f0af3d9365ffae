"""The 3D CNNs with the settings of their parts side by side, as the tests of the models write them."""

from __future__ import annotations

from typing import Any

from mgkit.models import CrossModalFusion, PathwayHead, SinglePathway, TwoPathway, builders
from mgkit.parts import Part, part

HEAD = ("embedding_dim", "embedding_pool", "dropout")


def _head(settings: dict[str, Any]) -> Part:
    return part(PathwayHead, **{name: settings.pop(name) for name in HEAD if name in settings})


def two_pathway(classes: int, joints: int, *, fusion: str | None = "channel", **settings: Any) -> TwoPathway:
    names = {"fusion_heads": "heads", "fusion_sequential": "sequential", "zero_init_gates": "zero_init_gates"}
    module = {new: settings.pop(old) for old, new in names.items() if old in settings}
    gates = None if fusion is None else part(CrossModalFusion, axis=fusion, **module)
    return builders.two_pathway(classes, joints, fusion=gates, head=_head(settings), **settings)


def pose_only(classes: int, joints: int, **settings: Any) -> SinglePathway:
    head = _head(settings)
    return builders.pose_resnet(classes, joints, head=head, **_prefixed("pose", settings))


def rgb_only(classes: int, **settings: Any) -> SinglePathway:
    head = _head(settings)
    return builders.rgb_resnet(classes, head=head, **_prefixed("rgb", settings))


def _prefixed(pathway: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {f"{pathway}_{k}" if k in ("width", "blocks") else k: v for k, v in settings.items()}
