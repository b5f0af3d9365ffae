"""Recipes: `paper()` is the staged training of the paper, `rgb_only()` and `pose_only()` its branches, `fusion()` the
same staged training with whatever you change; `demo()` and `pose_small()` are the same code made narrow enough for two
CPU cores. The other systems of the paper's comparison are in `other_recipes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from mgkit.errors import MgkitError
from mgkit.training.other_recipes import (
    aagcn,
    ctrgcn,
    dgstgcn,
    ehct,
    hyperformer,
    narrow,
    poseconv3d_semantic,
    stgcn,
    stgcnpp,
    stgcnpp_strong,
    tsm,
    video_swin_base,
    video_swin_small,
    video_swin_tiny,
)
from mgkit.training.recipe import METRICS, Recipe

__all__ = [
    "METRICS",
    "RECIPES",
    "Recipe",
    "aagcn",
    "branch",
    "ctrgcn",
    "demo",
    "dgstgcn",
    "differences",
    "ehct",
    "fusion",
    "hyperformer",
    "narrow",
    "paper",
    "parse_changes",
    "pose_only",
    "pose_small",
    "poseconv3d_semantic",
    "rgb_only",
    "stgcn",
    "stgcnpp",
    "stgcnpp_strong",
    "tsm",
    "video_swin_base",
    "video_swin_small",
    "video_swin_tiny",
]


def branch(recipe: Recipe, pathway: str, **changes: Any) -> Recipe:
    """The single-pathway recipe with the same settings as a two-pathway one."""
    return replace(recipe, pathways=(pathway,), stages=(), **changes)


def _staged(joint: Recipe) -> Recipe:
    return replace(joint, stages=(branch(joint, "rgb"), branch(joint, "pose")))


def paper() -> Recipe:
    """The paper's training: RGB branch, pose branch, merge, joint training; 30 epochs each (section 3.2)."""
    return _staged(Recipe())


def fusion(**changes: Any) -> Recipe:
    """The paper's staged training with changes, which hold for all its stages.

    >>> fusion(epochs=12).stages[0].epochs
    12
    """
    return _staged(replace(Recipe(), **changes))


def rgb_only(**changes: Any) -> Recipe:
    """The paper's RGB branch alone, with changes."""
    return replace(Recipe(pathways=("rgb",)), **changes)


def pose_only(**changes: Any) -> Recipe:
    """The paper's pose branch alone, with changes."""
    return replace(Recipe(pathways=("pose",)), **changes)


def pose_small(**changes: Any) -> Recipe:
    """The pose branch alone, small enough to train on one CPU core in half an hour on a thousand clips."""
    return replace(
        Recipe(
            pathways=("pose",),
            pose_width=16,
            pose_blocks=(1, 1, 1),
            pose_frames=16,
            heatmap_size=28,
            embedding_dim=128,
            dropout=0.3,
            epochs=60,
            batch_size=16,
            learning_rate=0.03,
            learning_rate_batch=16,
            schedule="cosine",
            warmup_epochs=2,
        ),
        **changes,
    )


def demo(**changes: Any) -> Recipe:
    """The staged training made narrow: same code, two CPU cores, a few minutes on the embedded dataset.

    Changes hold for all stages.
    """
    joint = Recipe(
        rgb_width=8,
        pose_width=8,
        rgb_blocks=(1, 1, 1, 1),
        pose_blocks=(1, 1, 1),
        zero_init_blocks=False,
        rgb_size=80,
        heatmap_size=20,
        crop_area=(0.8, 1.0),
        embedding_dim=64,
        dropout=0.2,
        alpha=0.05,
        epochs=10,
        batch_size=8,
        learning_rate=0.02,
        learning_rate_batch=8,
        schedule="cosine",
    )
    # The branches start from nothing and need larger steps and more epochs than what is merged from them.
    alone: dict[str, Any] = {"learning_rate": 0.05, "warmup_epochs": 1}
    stages = (
        branch(joint, "rgb", **{**alone, "epochs": 20, **changes}),
        branch(joint, "pose", **{**alone, "epochs": 12, **changes}),
    )
    return replace(joint, **changes, stages=stages)


RECIPES = {
    "paper": paper,
    "fusion": fusion,
    "rgb-only": rgb_only,
    "pose-only": pose_only,
    "pose-small": pose_small,
    "demo": demo,
    "stgcn": stgcn,
    "stgcnpp": stgcnpp,
    "stgcnpp-strong": stgcnpp_strong,
    "aagcn": aagcn,
    "ctrgcn": ctrgcn,
    "dgstgcn": dgstgcn,
    "hyperformer": hyperformer,
    "ehct": ehct,
    "tsm": tsm,
    "video-swin-tiny": video_swin_tiny,
    "video-swin-small": video_swin_small,
    "video-swin-base": video_swin_base,
    "poseconv3d-semantic": poseconv3d_semantic,
}


def differences(one: Recipe, other: Recipe) -> list[str]:
    """The settings in which two recipes differ, as `name: this -> that`."""
    names = [f.name for f in fields(Recipe) if f.name != "stages"]
    pairs = [(name, getattr(other, name), getattr(one, name)) for name in names]
    return [f"{name}: {_plain(theirs)} -> {_plain(ours)}" for name, theirs, ours in pairs if ours != theirs]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def parse_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """`["epochs=12", "fusion=none"]` as keyword arguments of a recipe, each value read as its field's type."""
    import json

    known = {f.name for f in fields(Recipe)} - {"stages", "pathways"}
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in known:
            raise MgkitError(
                f"{pair!r} is not a setting: write name=value with one of {', '.join(sorted(known))}."
            )
        try:
            value = json.loads(text.replace("none", "null") if text.lower() == "none" else text)
        except json.JSONDecodeError:
            value = {"None": None, "True": True, "False": False}.get(text, text)
        changes[name] = tuple(value) if isinstance(value, list) else value
    return changes
