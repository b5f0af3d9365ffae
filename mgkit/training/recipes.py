"""Recipes that are ready: the paper's, and the other systems of its comparison.

`paper()` is the staged training of the paper and `fusion()` the same under the name for changing it; `rgb_only()` and
`pose_only()` are its branches, `demo()` and `pose_small()` the same code made narrow enough for two CPU cores. The
other systems have the settings that they were published with, as far as one machine and clips of a second or two allow;
each docstring says what differs. None of them was published with prototypical refinement: `prototypes=True` adds it.

Every recipe takes changes: `ctrgcn(stream="bone", epochs=30)`. Networks are imported when a recipe is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgkit.data.batches.spec import Inputs
from mgkit.data.splits import UNUSED
from mgkit.data.word_vectors import ClassVectors, class_vectors
from mgkit.errors import MgkitError
from mgkit.parts import Part, part
from mgkit.training.recipe import Recipe, differences, parse_changes

if TYPE_CHECKING:
    from mgkit.data.clips import Clips
    from mgkit.data.skeletons import Skeleton
    from mgkit.results.run.folder import Run

__all__ = [
    "RECIPES", "Inputs", "aagcn", "ablation", "branch", "ctrgcn", "demo", "dgstgcn", "differences", "ehct", "fitting",
    "fusion", "hyperformer", "masked", "mvit_v2_small", "narrow", "paper", "parse_changes", "pose_only", "pose_small",
    "poseconv3d_semantic", "rgb_only", "small", "small_skeleton", "stgcn", "stgcnpp", "stgcnpp_strong", "tsm",
    "video_swin_base", "video_swin_small", "video_swin_tiny", "videomae_base", "videomae_large", "videomae_small",
    "videoprism_base", "vjepa2_large",
]  # fmt: skip


def _network(name: str, file: str = "builders", **settings: Any) -> Part:
    return part(f"mgkit.models.{file}:{name}", **settings)


# --- the paper ------------------------------------------------------------------------------------------------------


def branch(recipe: Recipe, pathway: str, **changes: Any) -> Recipe:
    """The training of one pathway with the same settings as a two-pathway recipe.

    Raises:
        MgkitError: the recipe's network is not `two_pathway`, whose pathways are networks of their own.
    """
    if recipe.network.target.__name__ != "two_pathway":
        raise MgkitError(
            f"{recipe.network.name} has no branches: there are those of the network two_pathway."
        )
    alone = _network(f"{pathway}_resnet")
    shared = {name: value for name, value in recipe.network.settings.items() if name in alone.settings}
    made = Recipe(
        alone.with_(**shared),
        inputs=recipe.inputs.only(pathway),
        cross_entropy=recipe.cross_entropy,
        refinement=recipe.refinement,
        losses=recipe.losses,
        augment=recipe.augment if pathway == "pose" else (),
        optimisation=recipe.optimisation,
        given=recipe.given,
    )
    return made.with_(**changes)


def fitting(recipe: Recipe, clips: Clips) -> Recipe:
    """The recipe or, for clips that have only videos or only poses, its branch that reads those.

    Raises:
        MgkitError: neither the recipe nor one of its branches reads what all clips have.
    """
    used = clips.where(clips.rows.narrow("split") != UNUSED)
    have = {"rgb": used.has_video, "pose": used.has_pose}
    for one in (recipe, *recipe.stages):
        if all(have[pathway] for pathway in one.pathways):
            return one
    lacking = " and ".join(
        {"rgb": "a video", "pose": "a pose"}[name] for name in recipe.pathways if not have[name]
    )
    raise MgkitError(
        f"not every clip of {clips.root} has {lacking}, which the recipe reads: choose a recipe that reads what there "
        f"is, or make a split table (`clips.with_splits`) in which the clips without are {UNUSED!r}."
    )


def paper(**changes: Any) -> Recipe:
    """The paper's training: RGB branch, pose branch, merge, joint training; 30 epochs each (section 3.2).

    Changes hold for every stage that has the setting.
    """
    joint = Recipe(_network("two_pathway"), prototypes=True)
    return joint.with_(stages=(branch(joint, "rgb"), branch(joint, "pose"))).with_(**changes)


# The fusion module of the authors' later code, with gates in (0, 2) that learn at a tenth of the rate of the rest:
# unbounded ones grow until one pathway drowns the other (docs/ablation.md).
HELD_BACK: dict[str, Any] = {
    "fusion.axis": "time", "fusion.sequential": True, "fusion.bounded": True, "fusion.rate": 0.1
}  # fmt: skip


def fusion(**changes: Any) -> Recipe:
    """The paper's staged training with a fusion module whose gates are held back, and changes.

    `paper()` has the module as the paper describes it; docs/ablation.md compares the two.

    >>> fusion(epochs=12).stages[0]["epochs"]
    12
    """
    return paper(**HELD_BACK).with_(**changes)


def rgb_only(**changes: Any) -> Recipe:
    """The paper's RGB branch alone: SlowOnly."""
    return Recipe(_network("rgb_resnet"), reads=("frames",), prototypes=True).with_(**changes)


def pose_only(**changes: Any) -> Recipe:
    """The paper's pose branch alone: PoseConv3D."""
    return Recipe(_network("pose_resnet"), reads=("heatmaps",), prototypes=True).with_(**changes)


def pose_small(**changes: Any) -> Recipe:
    """The pose branch alone, small enough to train on one CPU core in half an hour on a thousand clips."""
    small = Recipe(
        _network("pose_resnet"),
        reads=("heatmaps",),
        prototypes=True,
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
    )
    return small.with_(**changes)


# What clips of a few hundred need, whatever is fed: the person in the same place and size, as training would otherwise
# learn the recorder's camera; other places, sizes, turns and parts of the clip in each epoch; the upper body.
_SMALL_INPUTS: dict[str, Any] = {
    "centre": "body", "joints": ("upper",), "body_span": 6.0, "rotation": 15.0, "scaling": 0.2, "translation": 0.1,
    "time_crop": (0.6, 1.0), "crop_area": (0.7, 1.0), "pose_frames": 32, "mirror_pairs": ("named",),
}  # fmt: skip


def small(**changes: Any) -> Recipe:
    """Both pathways for 200 to 2,000 clips of a lab: RGB branch, pose branch, then both with a held-back fusion.

    Narrow networks with as many steps as they need, whatever the number of clips (docs/small_sets.md has what each
    setting was found to bring). `small_skeleton()` is its pose network on key-points, `branch(small(), "pose")`, in a
    shell `small.pose`, that on heatmaps. Without published weights (`start={"rgb": "imagenet"}` and full width) RGB
    learns little from so few clips: see whether `test --choose-on val` gives it any weight.
    """
    joint = Recipe(
        _network("two_pathway"),
        prototypes=False,
        **_SMALL_INPUTS,
        rgb_width=16,
        pose_width=16,
        rgb_blocks=(1, 1, 1, 1),
        pose_blocks=(1, 1, 1),
        zero_init_blocks=False,
        rgb_size=80,
        heatmap_size=20,
        embedding_dim=64,
        dropout=0.3,
        label_smoothing=0.1,
        epochs=10,
        steps=400,
        batch_size=16,
        learning_rate=0.003,
        learning_rate_batch=16,
        schedule="cosine",
    )
    joint = joint.with_(**HELD_BACK)
    alone: dict[str, Any] = {"learning_rate": 0.03, "warmup_epochs": 2, "steps": 1500}
    stages = (branch(joint, "rgb", **alone), branch(joint, "pose", **alone))
    return joint.with_(stages=stages).with_(**changes)


def small_skeleton(**changes: Any) -> Recipe:
    """ST-GCN++ for 200 to 2,000 clips of a lab: narrow, on the upper body, which is held still and in one size.

    See `small`, and docs/small_sets.md for how its settings were chosen.
    """
    inputs = {name: value for name, value in _SMALL_INPUTS.items() if name != "crop_area"}
    recipe = Recipe(
        _network("stgcnpp", "gcns.stgcn"),
        reads=("keypoints",),
        **(inputs | {"centre": "moving body"}),
        width=16,
        blocks=(1, 1, 1),
        embedding_dim=64,
        dropout=0.2,
        label_smoothing=0.1,
        epochs=10,
        steps=2000,
        batch_size=16,
        learning_rate=0.002,
        learning_rate_batch=16,
        schedule="cosine",
        warmup_epochs=2,
        optimizer="adamw",
        weight_decay=0.01,
    )
    return recipe.with_(**changes)


def demo(**changes: Any) -> Recipe:
    """The staged training of `fusion` made narrow: same code, two CPU cores, a few minutes on the embedded dataset."""
    joint = Recipe(
        _network("two_pathway"),
        prototypes=True,
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
    ).with_(**HELD_BACK)
    # The branches start from nothing and need larger steps and more epochs than what is merged from them.
    alone: dict[str, Any] = {"learning_rate": 0.05, "warmup_epochs": 1}
    stages = (branch(joint, "rgb", epochs=20, **alone), branch(joint, "pose", epochs=12, **alone))
    return joint.with_(stages=stages).with_(**changes)


def ablation(
    base: Recipe | None = None, *, validation: bool = True, **changes: Any
) -> dict[str, Recipe | tuple[str, ...]]:
    """The rows of a study (`mg.study`) that switches on one part of the method after the other.

    All two-pathway rows start from the same two branches, trained without prototypes. "joint training" is the control:
    it trains the merged branches for as long as the rows below it, with nothing that connects them. "+ rectification"
    trains nothing: it tests the networks with prototypes again, with what validation chooses (`choose_on` of
    `mg.study`).

    Args:
        base: a staged two-pathway recipe; by default `demo()` with 16, 12 and 5 epochs for RGB, pose and joint
            training. Its `alpha`, `temperature`, ... hold for the rows with prototypes, its fusion module for the
            rows with fusion.
        validation: whether there are validation clips to choose on; without them "+ rectification" is left out.
        changes: of settings of `base`.

    Raises:
        MgkitError: `base` has no stages, or no fusion module or prototypes to switch on.
    """
    if base is None:
        base = demo(**{"rgb.epochs": 16, "pose.epochs": 12, "joint.epochs": 5})
    base = base.with_(**changes)
    if not base.stages or base.refinement is None or not base.has("fusion.axis"):
        raise MgkitError(
            "an ablation takes a staged recipe with fusion and prototypes: recipes.demo(), paper() or fusion(...)."
        )
    fused = base.with_(prototypes=False, laterals=True)
    free = fused.with_(**{"fusion.sequential": False, "fusion.bounded": False, "fusion.rate": 1.0})
    plain = fused.with_(fusion=None)
    refined: dict[str, Any] = {"joint.refinement": base.refinement}
    return {
        "RGB": plain.stages[0],
        "pose": plain.stages[1],
        "late fusion": ("RGB", "pose"),
        "joint training": plain.with_(laterals=False),
        "laterals": plain,
        "+ fusion (channel)": free.with_(**{"fusion.axis": "channel"}),
        "+ fusion (time)": free.with_(**{"fusion.axis": "time"}),
        "+ fusion (held back)": fused.with_(**HELD_BACK),
        "+ prototypes": plain.with_(**refined),
        **({"+ rectification": ("+ prototypes",)} if validation else {}),
        "+ both": fused.with_(**refined),
    }


# --- skeleton networks ----------------------------------------------------------------------------------------------


def _skeleton(name: str, changes: dict[str, Any], file: str = "", **settings: Any) -> Recipe:
    """PYSKL's training of its graph networks (Duan et al., 2022): 100 frames, SGD, cosine, 80 passes over the clips.

    PYSKL's learning rate is for 8 GPUs of 16 clips each; it mirrors no clip and clips no gradient. Unlike there, places
    keep the frame's proportions (they are divided by half its longer side), one person is fed, and of a clip shorter
    than 100 frames some are shown more than once, in order, where PYSKL begins the clip again.
    """
    usual: dict[str, Any] = {
        "flip": 0.0,
        "pose_frames": 100,
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
    recipe = Recipe(_network(name, f"gcns.{file or name}"), reads=("keypoints",), **{**usual, **settings})
    return recipe.with_(**changes)


def stgcn(**changes: Any) -> Recipe:
    """ST-GCN (Yan et al., AAAI 2018), trained as PYSKL does."""
    return _skeleton("stgcn", changes)


def stgcnpp(**changes: Any) -> Recipe:
    """ST-GCN++ (Duan et al., PYSKL, 2022)."""
    return _skeleton("stgcnpp", changes, "stgcn")


def stgcnpp_strong(**changes: Any) -> Recipe:
    """ST-GCN++ with strong augmentation: clips turned by up to 17 degrees (0.3 rad) and resized by up to 20 %.

    Both are about the middle of the frame, in pixels and alike in both directions: a turn of coordinates that were
    divided by width and height apart would shear the body, and a joint that was not seen would move from its mark.
    """
    return _skeleton("stgcnpp", changes, "stgcn", rotation=17.0, scaling=0.2)


def aagcn(**changes: Any) -> Recipe:
    """AAGCN (Shi et al., IEEE TIP 2020), trained as PYSKL does."""
    return _skeleton("aagcn", changes)


def ctrgcn(**changes: Any) -> Recipe:
    """CTR-GCN (Chen et al., ICCV 2021), trained as PYSKL does."""
    return _skeleton("ctrgcn", changes)


def dgstgcn(**changes: Any) -> Recipe:
    """DG-STGCN (Duan et al., 2022), with its own settings: 150 epochs, on 4 GPUs of 16 clips.

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
    groups of classes of similar frequency, whose scores are part of the prediction; see `models/losses/grouped.py`."""
    head = part("mgkit.models.losses.grouped:GroupedHead", groups=3, dropout=0.0)
    loss = part("mgkit.models.losses.grouped:GroupLoss", name="groups")
    return hyperformer(head=head, losses=[loss]).with_(**changes)


# --- RGB networks ---------------------------------------------------------------------------------------------------


def tsm(**changes: Any) -> Recipe:
    """TSM (Lin et al., ICCV 2019): ResNet-50, 8 segments; the head learns five times as fast as the rest.

    MMAction2's settings for Kinetics, from ImageNet's weights (give them with `start=`): 0.01 for 64 clips.
    """
    recipe = Recipe(
        _network("tsm", "cnns.tsm"),
        reads=("frames",),
        epochs=50,
        batch_size=16,
        learning_rate=0.05,
        learning_rate_batch=64,
        backbone_rate=0.2,
        milestones=(20, 40),
        gradient_clip=20.0,
    )
    return recipe.with_(**changes)


def _video_swin(width: int, blocks: tuple[int, ...], depth: float, changes: dict[str, Any]) -> Recipe:
    """Video Swin (Liu et al., CVPR 2022): AdamW, the backbone at a tenth of the head's rate, 32 frames.

    As published, but for frames that are spread over the whole clip instead of every second one, a warm-up of 3
    epochs instead of 2.5, and biases without weight decay.
    """
    recipe = Recipe(
        _network("video_swin", "cnns.video_swin", width=width, blocks=blocks, stochastic_depth=depth),
        reads=("frames",),
        rgb_frames=32,
        epochs=30,
        batch_size=8,
        optimizer="adamw",
        learning_rate=1e-3,
        learning_rate_batch=64,
        backbone_rate=0.1,
        schedule="cosine",
        warmup_epochs=3,
        weight_decay=0.05,
        gradient_clip=None,
    )
    return recipe.with_(**changes)


def video_swin_tiny(**changes: Any) -> Recipe:
    """Video Swin-T, fine-tuned; give Kinetics weights with `start=`."""
    return _video_swin(96, (2, 2, 6, 2), 0.1, changes)


def video_swin_small(**changes: Any) -> Recipe:
    """Video Swin-S, fine-tuned."""
    return _video_swin(96, (2, 2, 18, 2), 0.2, changes)


def video_swin_base(**changes: Any) -> Recipe:
    """Video Swin-B, fine-tuned: the RGB member of the paper's ensemble."""
    return _video_swin(128, (2, 2, 18, 2), 0.3, changes)


def _transformer(name: str, changes: dict[str, Any], file: str = "", **settings: Any) -> Recipe:
    """Fine-tuning of a video transformer, as VideoMAE's (Tong et al., NeurIPS 2022): 16 frames, AdamW, a cosine after a
    warm-up, rates that fall by 0.75 from block to block towards the input, skipped blocks, smoothed labels.

    Ours are 30 epochs, which is what sets of a few thousand clips want, the rate (theirs is 5e-4 for 256 clips, that of
    batches of 8 then next to nothing), frames that are spread over the whole clip, and no mixing of clips
    (`mixup=0.8` is theirs).
    """
    usual: dict[str, Any] = {
        "rgb_frames": 16,
        "epochs": 30,
        "batch_size": 8,
        "optimizer": "adamw",
        "learning_rate": 5e-4,
        "learning_rate_batch": 64,
        "schedule": "cosine",
        "warmup_epochs": 5,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "gradient_clip": None,
    }
    recipe = Recipe(_network(name, f"vits.{file or name}"), reads=("frames",), **{**usual, **settings})
    return recipe.with_(**changes)


def videomae_small(**changes: Any) -> Recipe:
    """VideoMAE-S, fine-tuned; give its weights with `start=`. Needs the extra `video`, as all of VideoMAE."""
    return _transformer("videomae", changes, width=384, heads=6)


def videomae_base(**changes: Any) -> Recipe:
    """VideoMAE-B, fine-tuned."""
    return _transformer("videomae", changes)


def videomae_large(**changes: Any) -> Recipe:
    """VideoMAE-L, fine-tuned."""
    return _transformer("videomae", changes, width=1024, blocks=24, heads=16, drop_path=0.2)


def vjepa2_large(**changes: Any) -> Recipe:
    """V-JEPA 2 ViT-L (Assran et al., 2025), fine-tuned whole, which its authors do not: they train the pooling alone
    (`layer_decay` close to 0 does about that). Needs the extra `video`."""
    return _transformer("vjepa2", changes, rgb_size=256, drop_path=0.2)


def videoprism_base(**changes: Any) -> Recipe:
    """VideoPrism-B (Zhao et al., ICML 2024), fine-tuned whole. Needs the extra `video`."""
    return _transformer("videoprism", changes, rgb_size=288)


def mvit_v2_small(**changes: Any) -> Recipe:
    """MViT v2-S (Li et al., CVPR 2022), fine-tuned as the others are; torchvision has its layers and weights."""
    return _transformer("mvit_v2", changes, "mvit")


# --- PoseConv3D with a semantic loss --------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _vectors(names: tuple[str, ...], source: str, changed: int) -> ClassVectors:
    """Vectors of class names; a file of word vectors, as it was `changed`, takes a minute to read."""
    return class_vectors(names, source)


def semantic_loss(class_names: list[str], *, vectors: str) -> Any:
    """`SemanticLoss` with the vectors of the class names.

    Args:
        class_names: in the order of the labels.
        vectors: where the vectors come from, see `mgkit.data.word_vectors.class_vectors`.
    """
    from mgkit.models.losses.semantic import SemanticLoss

    file = Path(vectors)
    found = _vectors(tuple(class_names), vectors, file.stat().st_mtime_ns if file.is_file() else 0)
    loss: Any = SemanticLoss(found.vectors)
    loss.report = str(found)
    loss.fingerprint = hashlib.sha256(found.vectors.tobytes()).hexdigest()
    return loss


def poseconv3d_semantic(vectors: str | Path = "", **changes: Any) -> Recipe:
    """PoseConv3D that also learns the vectors of the class names (Li et al., MiGA 2023, the winner).

    Train it with `heatmap="joint"` and with `heatmap="limb"`; the authors fuse the two at 0.4 to 0.6 (`mg.ensemble`).
    Settings are those of the authors' code: 48 frames, the last stage halves time, Gaussians of 0.6 pixels, 100 epochs
    of SGD from 0.4/6 for 2 GPUs of 16 clips, cosine. They test with 10 views and their mirror images
    (`views=10, flip=True`).

    Args:
        vectors: where the vectors come from: a file in GloVe's text format, or "sentence:" and a model of
            sentence-transformers, see `mgkit.data.word_vectors.class_vectors`. Their width is `semantic_dim`, 300.
        changes: of the recipe.
    """
    if not str(vectors):
        raise MgkitError(
            "poseconv3d_semantic needs vectors of the class names: give a file of word vectors in GloVe's text format "
            '(--set vectors=glove.6B.300d.txt), or "sentence:all-MiniLM-L6-v2" with semantic_dim=384.'
        )
    recipe = Recipe(
        _network("pose_resnet"),
        reads=("heatmaps",),
        head=part("mgkit.models.losses.semantic:SemanticHead"),
        losses=[part(semantic_loss, vectors=str(vectors), weight=20.0, name="semantic")],
        pose_frames=48,
        halve_time=True,
        sigma=0.6,
        epochs=100,
        batch_size=32,
        learning_rate=0.4 / 6,
        learning_rate_batch=32,
        schedule="cosine",
        weight_decay=3e-4,
        gradient_clip=None,
    )
    return recipe.with_(**changes)


# --- narrow ---------------------------------------------------------------------------------------------------------

_NARROW_GRAPH = {"pose_frames": 32, "width": 16, "blocks": (1, 1, 1), "learning_rate": 0.1}
# Networks of pictures and heatmaps want more steps than those of key-points.
_NARROW_CNN = {"batch_size": 8, "learning_rate_batch": 8}
_NARROW_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "videomae": {"width": 48, "blocks": 2, "heads": 2, "patch": 8},
    "vjepa2": {"width": 48, "blocks": 2, "heads": 2, "patch": 8, "pool_blocks": None},
    "videoprism": {"width": 48, "blocks": 2, "time_blocks": 1, "heads": 2, "patch": 8},
    "mvit_v2": {"width": 16, "blocks": (1, 1, 1)},
}
_NARROW: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn"), _NARROW_GRAPH),
    "hyperformer": {"pose_frames": 32, "width": 48, "blocks": (1, 1, 1), "learning_rate": 0.02},
    "tsm": {
        **_NARROW_CNN, "rgb_size": 80, "width": 16, "blocks": (1, 1, 1, 1), "learning_rate": 0.05, "backbone_rate": 1.0,
        "epochs": 16,
    },
    "video_swin": {
        **_NARROW_CNN, "rgb_frames": 8, "rgb_size": 64, "width": 24, "blocks": (1, 1), "learning_rate": 2e-3,
        "backbone_rate": 1.0, "epochs": 16,
    },
    **{
        name: {
            **_NARROW_CNN, "rgb_frames": 8, "rgb_size": 64, **sizes, "layer_decay": 1.0, "drop_path": 0.0,
            "learning_rate": 1e-3, "epochs": 16,
        }
        for name, sizes in _NARROW_TRANSFORMERS.items()
    },
    "rgb_resnet": {
        **_NARROW_CNN, "pose_frames": 32, "rgb_width": 8, "rgb_blocks": (1, 1, 1, 1), "zero_init_blocks": False,
        "rgb_size": 80, "learning_rate": 0.05, "crop_area": (0.8, 1.0),
    },
    "pose_resnet": {
        **_NARROW_CNN, "pose_frames": 32, "pose_width": 8, "pose_blocks": (1, 1, 1), "zero_init_blocks": False,
        "heatmap_size": 20, "learning_rate": 0.05, "crop_area": (0.8, 1.0),
    },
}  # fmt: skip


NARROWED = tuple(_NARROW)  # the networks that `narrow` knows


def narrow(recipe: Recipe, **changes: Any) -> Recipe:
    """The same system made narrow enough for two CPU cores and a small set of clips, in minutes.

    Same code, fewer channels, blocks, frames and epochs: to try things out and for the notebooks, not for results. What
    the recipe was given stays.

    >>> from mgkit.training.recipes import ctrgcn
    >>> recipe = narrow(ctrgcn(stream="bone", epochs=300))
    >>> recipe["stream"], recipe["epochs"], recipe["width"]
    ('bone', 300, 16)
    """
    network = recipe.network.target.__name__
    if network not in _NARROW or recipe.network.own:
        raise MgkitError(
            f"narrow() does not know {network}: it is for mgkit's networks of one pathway; mg.recipes.demo() is the "
            "narrow two-pathway one."
        )
    usual: dict[str, Any] = {
        "embedding_dim": 64, "epochs": 12, "batch_size": 16, "learning_rate_batch": 16, "schedule": "cosine",
        "warmup_epochs": 1, "dropout": min(recipe["dropout"], 0.2),
    }  # fmt: skip
    if changes.get("prototypes", recipe["prototypes"]):
        usual |= {"prototypes": True, "alpha": 0.05}
    usual |= _NARROW[network]
    # A rate is for a batch of so many clips, and steps are at their milestones: such pairs are taken together.
    pairs = (("learning_rate", "learning_rate_batch"), ("schedule", "milestones"))
    given = {name for name in usual if recipe.has(name) and recipe.is_given(name)}
    given |= {name for pair in pairs if any(map(recipe.is_given, pair)) for name in pair}
    return recipe.with_(**{name: value for name, value in usual.items() if name not in given}).with_(
        **changes
    )


def masked(recipe: Recipe, **settings: Any) -> Recipe:
    """The masked pre-training of a recipe's network: hidden parts of its input are predicted, labels are ignored.

    Inputs, augmentation and optimisation are the recipe's; every part of the network learns at one rate, and the last
    epoch is kept. `mg.pretrain` trains it.

    Args:
        recipe: of one pathway, of key-points or frames.
        settings: of `mgkit.models.masking.masked_keypoints` (hide_joints, hide_frames, span, targets, width) or
            `masked_frames` (share, patch, width).

    Raises:
        MgkitError: a recipe of two pathways, or of heatmaps.
    """
    builders = {("keypoints",): "masked_keypoints", ("frames",): "masked_frames"}
    if recipe.inputs.reads not in builders:
        raise MgkitError(
            f"masked pre-training is for recipes of key-points or of frames, not of {' and '.join(recipe.inputs.reads)}"
            ": pre-train the RGB branch alone, mg.recipes.branch(recipe, 'rgb'), or a skeleton network."
        )
    alone: dict[str, Any] = {
        "keep": "last",
        "patience": 0,
        "sampling": "all",
        "mixup": 0.0,
        "backbone_rate": 1.0,
    }
    tuning = {"layer_decay": 1.0, "drop_path": 0.0}  # are of fine-tuning
    network = recipe.network.with_(**{k: v for k, v in tuning.items() if k in recipe.network.settings})
    return Recipe(
        _network(builders[recipe.inputs.reads], "masking", network=network, **settings),
        labels=False,
        inputs=recipe.inputs,
        losses=[part("mgkit.models.masking:masked_error", name="masked")],
        augment=recipe.augment,
        optimisation=recipe.optimisation,
        given=recipe.given,
    ).with_(**alone)


_READY: tuple[Callable[..., Recipe], ...] = (
    paper, fusion, rgb_only, pose_only, pose_small, demo, small, small_skeleton, stgcn, stgcnpp, stgcnpp_strong,
    aagcn, ctrgcn, dgstgcn, hyperformer, ehct, tsm, video_swin_tiny, video_swin_small, video_swin_base,
    mvit_v2_small, videomae_small, videomae_base, videomae_large, vjepa2_large, videoprism_base,
    poseconv3d_semantic,
)  # fmt: skip
RECIPES = {one.__name__.replace("_", "-"): one for one in _READY}


# --- what a recipe makes --------------------------------------------------------------------------------------------


def outline(
    recipe: Recipe | Run | str | Path,
    clips: Clips | None = None,
    *,
    classes: int | None = None,
    joints: int | None = None,
    skeleton: Skeleton | None = None,
) -> dict[str, Any]:
    """The network and the losses of a recipe, or of a run (or its folder), as plain values.

    `mg.figures.architecture` draws them.

    >>> import mgkit as mg
    >>> mg.recipes.outline(mg.recipes.paper(), classes=32, joints=22)["pathways"][1]["stages"][-1]["shape"]
    [512, 32, 7, 7]

    Args and result as of `mgkit.training.build.outline`.
    """
    from mgkit.training.build import outline as outlined  # imports torch

    return outlined(recipe, clips, classes=classes, joints=joints, skeleton=skeleton)
