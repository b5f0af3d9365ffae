"""Recipes of the other systems in the paper's comparison, each trained and tested by the same two calls.

Settings are those that the systems were published with, as far as one machine and clips of a second or two allow; what
differs is said with each. Every recipe takes changes: `ctrgcn(stream="bone", epochs=30)`. None was published with
prototypical refinement: `prototypes=True` adds it to any of them.

Recipes: `paper()` is the staged training of the paper, `rgb_only()` and `pose_only()` its branches, `fusion()` the
same staged training with whatever you change; `demo()` and `pose_small()` are the same code made narrow enough for two
CPU cores. The other systems of the paper's comparison are in `other_recipes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError
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

# --- skeleton networks ----------------------------------------------------------------------------------------------


def _skeleton(network: str, changes: dict[str, Any], **settings: Any) -> Recipe:
    """PYSKL's training of its graph networks (Duan et al., 2022): 100 frames, SGD, cosine, 80 passes over the clips.

    PYSKL's learning rate is for 8 GPUs of 16 clips each; it mirrors no clip and clips no gradient. Unlike there, places
    keep the frame's proportions (they are divided by half its longer side), one person is fed, and of a clip shorter
    than 100 frames some are shown more than once, in order, where PYSKL begins the clip again.
    """
    usual: dict[str, Any] = {
        "network": network,
        "pathways": ("pose",),
        "flip": 0.0,
        "prototypes": False,
        "pose_frames": 100,
        "pose_width": 64,
        "pose_blocks": (4, 3, 3),
        "dropout": 0.0,
        "epochs": 80,
        "batch_size": 16,
        "learning_rate": 0.1,
        "learning_rate_batch": 128,
        "schedule": "cosine",
        "nesterov": True,
        "weight_decay": 5e-4,
        "gradient_clip": None,
    }
    return Recipe(**{**usual, **settings, **changes})


def stgcn(**changes: Any) -> Recipe:
    """ST-GCN (Yan et al., AAAI 2018), trained as PYSKL does."""
    return _skeleton("stgcn", changes)


def stgcnpp(**changes: Any) -> Recipe:
    """ST-GCN++ (Duan et al., PYSKL, 2022)."""
    return _skeleton("stgcnpp", changes)


def stgcnpp_strong(**changes: Any) -> Recipe:
    """ST-GCN++ with strong augmentation: clips turned by up to 17 degrees (0.3 rad) and resized by up to 20 %.

    Both are about the middle of the frame, in pixels and alike in both directions: a turn of coordinates that were
    divided by width and height apart would shear the body, and a joint that was not seen would move from its mark.
    """
    return _skeleton("stgcnpp", changes, rotation=17.0, scaling=0.2)


def aagcn(**changes: Any) -> Recipe:
    """AAGCN (Shi et al., IEEE TIP 2020), trained as PYSKL does."""
    return _skeleton("aagcn", changes)


def ctrgcn(**changes: Any) -> Recipe:
    """CTR-GCN (Chen et al., ICCV 2021), trained as PYSKL does."""
    return _skeleton("ctrgcn", changes)


def dgstgcn(**changes: Any) -> Recipe:
    """DG-STGCN (Duan et al., 2022), with the settings of its own: 150 epochs, on 4 GPUs of 16 clips.

    Its published networks are of three-dimensional joints, turned at random by up to 0.2 rad about each axis.
    """
    return _skeleton("dgstgcn", changes, epochs=150, learning_rate_batch=64)


def hyperformer(**changes: Any) -> Recipe:
    """Hypergraph transformer (Zhou et al., 2022): 64 frames, steps late in a long training, a warm-up.

    The authors take a random half or more of each clip, turn it by up to 0.3 rad about each axis and subtract the
    spine from the other joints of each frame; here the whole clip is sampled, neither turned (`rotation=17` would) nor
    moved.
    """
    return _skeleton(
        "hyperformer",
        changes,
        pose_frames=64,
        pose_width=216,
        epochs=140,
        batch_size=64,
        learning_rate=0.025,
        learning_rate_batch=64,
        schedule="step",
        milestones=(110, 120),
        warmup_epochs=5,
        weight_decay=4e-4,
    )


def ehct(**changes: Any) -> Recipe:
    """Our reading of EHCT (Huang et al., MiGA 2023): a hypergraph transformer with a classifier for each of three
    groups of classes alike in frequency, whose answers are part of the prediction; see `mgkit.models.losses.extra`."""
    return hyperformer(**{"class_groups": 3, **changes})


# --- RGB networks ---------------------------------------------------------------------------------------------------


def tsm(**changes: Any) -> Recipe:
    """TSM (Lin et al., ICCV 2019): ResNet-50, 8 segments; the head learns five times as fast as the rest.

    MMAction2's settings for Kinetics, from ImageNet's weights (give them with `start=`): 0.01 for 64 clips.
    """
    usual: dict[str, Any] = {
        "network": "tsm",
        "pathways": ("rgb",),
        "prototypes": False,
        "epochs": 50,
        "batch_size": 16,
        "learning_rate": 0.05,
        "learning_rate_batch": 64,
        "backbone_rate": 0.2,
        "milestones": (20, 40),
        "gradient_clip": 20.0,
    }
    return Recipe(**{**usual, **changes})


def _video_swin(width: int, blocks: tuple[int, ...], depth: float, changes: dict[str, Any]) -> Recipe:
    """Video Swin (Liu et al., CVPR 2022): AdamW, the backbone at a tenth of the head's rate, 32 frames.

    As published, but for frames that are spread over the whole clip instead of every second one, a warm-up of 3
    epochs instead of 2.5, and biases without weight decay.
    """
    usual: dict[str, Any] = {
        "network": "video-swin",
        "pathways": ("rgb",),
        "prototypes": False,
        "rgb_frames": 32,
        "rgb_width": width,
        "rgb_blocks": blocks,
        "stochastic_depth": depth,
        "epochs": 30,
        "batch_size": 8,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "learning_rate_batch": 64,
        "backbone_rate": 0.1,
        "schedule": "cosine",
        "warmup_epochs": 3,
        "weight_decay": 0.05,
        "gradient_clip": None,
    }
    return Recipe(**{**usual, **changes})


def video_swin_tiny(**changes: Any) -> Recipe:
    """Video Swin-T, fine-tuned; give Kinetics weights with `start=`."""
    return _video_swin(96, (2, 2, 6, 2), 0.1, changes)


def video_swin_small(**changes: Any) -> Recipe:
    """Video Swin-S, fine-tuned."""
    return _video_swin(96, (2, 2, 18, 2), 0.2, changes)


def video_swin_base(**changes: Any) -> Recipe:
    """Video Swin-B, fine-tuned: the RGB member of the paper's ensemble."""
    return _video_swin(128, (2, 2, 18, 2), 0.3, changes)


# --- PoseConv3D with a semantic loss --------------------------------------------------------------------------------


def poseconv3d_semantic(vectors: str | Path = "", **changes: Any) -> Recipe:
    """PoseConv3D that also learns to tell the vectors of the class names (Li et al., MiGA 2023, the winner).

    Train it with `heatmap="joint"` and with `heatmap="limb"`; the authors fuse the two at 0.4 to 0.6 (`mg.ensemble`).
    Settings are those of the authors' code: 48 frames, the last stage halves time, Gaussians of 0.6 pixels, 100 epochs
    of SGD from 0.4/6 for 2 GPUs of 16 clips, cosine. They test with 10 views and their mirror images
    (`views=10, flip=True`).

    Args:
        vectors: where the vectors come from: a file in GloVe's text format, or "sentence:" and a model of
            sentence-transformers, see `mgkit.data.word_vectors.class_vectors`. Their width is `semantic_dim`, 300.
        changes: of the recipe.
    """
    usual: dict[str, Any] = {
        "pathways": ("pose",),
        "prototypes": False,
        "semantic": str(vectors),
        "pose_frames": 48,
        "halve_time": True,
        "sigma": 0.6,
        "epochs": 100,
        "batch_size": 32,
        "learning_rate": 0.4 / 6,
        "learning_rate_batch": 32,
        "schedule": "cosine",
        "weight_decay": 3e-4,
        "gradient_clip": None,
    }
    changes = {**usual, **changes}
    if not changes["semantic"]:
        raise MgkitError(
            "poseconv3d_semantic needs vectors of the class names: give a file of word vectors in GloVe's text format "
            '(--set semantic=glove.6B.300d.txt), or "sentence:all-MiniLM-L6-v2" with semantic_dim=384.'
        )
    return Recipe(**changes)


# --- narrow ---------------------------------------------------------------------------------------------------------


def narrow(recipe: Recipe, **changes: Any) -> Recipe:
    """The same system made narrow enough for two CPU cores and a small set of clips, in minutes.

    Same code, fewer channels, blocks, frames and epochs: to try things out and for the notebooks, not for results.

    >>> from mgkit.training.recipes import ctrgcn
    >>> narrow(ctrgcn(stream="bone")).stream
    'bone'
    """
    if recipe.two_pathway:
        raise MgkitError(
            "narrow() is for networks of one pathway; mg.recipes.demo() is the narrow two-pathway one."
        )
    common: dict[str, Any] = {
        "embedding_dim": 64, "alpha": 0.05, "epochs": 12, "batch_size": 16, "learning_rate_batch": 16,
        "schedule": "cosine", "warmup_epochs": 1, "dropout": min(recipe.dropout, 0.2),
    }  # fmt: skip
    # Networks of pictures and heatmaps want more steps than those of key-points.
    small_steps = {"batch_size": 8, "learning_rate_batch": 8}
    by_network: dict[str, Any] = {
        "pose_frames": 32,
        "pose_width": 16,
        "pose_blocks": (1, 1, 1),
        "learning_rate": 0.1,
    }
    if recipe.network == "hyperformer":
        by_network = {"pose_frames": 32, "pose_width": 48, "pose_blocks": (1, 1, 1), "learning_rate": 0.02}
    elif recipe.network == "tsm":
        by_network = {
            "rgb_size": 80, "rgb_width": 16, "rgb_blocks": (1, 1, 1, 1), "learning_rate": 0.05, "backbone_rate": 1.0,
            **small_steps, "epochs": 16,
        }  # fmt: skip
    elif recipe.network == "video-swin":
        by_network = {
            "rgb_frames": 8, "rgb_size": 64, "rgb_width": 24, "rgb_blocks": (1, 1), "learning_rate": 2e-3,
            "backbone_rate": 1.0, **small_steps, "epochs": 16,
        }  # fmt: skip
    elif recipe.network == "cnn":
        by_network = {
            "rgb_width": 8, "pose_width": 8, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1),
            "zero_init_blocks": False, "rgb_size": 80, "heatmap_size": 20, "learning_rate": 0.05,
            "crop_area": (0.8, 1.0), "pose_frames": 32, **small_steps,
        }  # fmt: skip
    return replace(recipe, **{**common, **by_network, **changes})


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
