"""Every setting of a training in one frozen dataclass, printable, comparable, saved with the run.

The defaults are the paper's (method pages D1 to D10). `recipes.py` makes recipes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from mgkit.data.batches.samplers import SAMPLINGS
from mgkit.data.batches.spec import RGB_NETWORKS, SKELETON_NETWORKS, STREAMS, InputSpec
from mgkit.errors import MgkitError, some

_TINY, _HUGE = 1e-6, 1e6
_RANGES: dict[str, tuple[float, float]] = {
    "rgb_frames": (1, _HUGE), "pose_frames": (1, _HUGE), "rgb_size": (1, _HUGE), "heatmap_size": (1, _HUGE),
    "sigma": (_TINY, _HUGE), "flip": (0, 1), "dropout": (0, 1), "alpha": (0, _HUGE), "temperature": (_TINY, _HUGE),
    "prototype_momentum": (0, 1), "prototype_memory": (0, _HUGE), "margin": (0, _HUGE),
    "label_smoothing": (0, 1), "lateral_dropout": (0, 1), "momentum": (0, 1), "weight_decay": (0, _HUGE),
    "gradient_clip": (_TINY, _HUGE), "warmup_epochs": (0, _HUGE), "class_weight_beta": (0, 1 - 1e-12),
    "ce_rgb_weight": (0, _HUGE), "ce_pose_weight": (0, _HUGE), "pr_rgb_weight": (0, _HUGE),
    "pr_pose_weight": (0, _HUGE), "patience": (0, _HUGE), "rotation": (0, 180), "scaling": (0, 0.99),
    "stochastic_depth": (0, 0.99), "backbone_rate": (0, _HUGE), "class_groups": (0, _HUGE), "group_weight": (0, _HUGE),
    "group_share": (0, 1), "semantic_weight": (0, _HUGE),
}  # fmt: skip

# Settings that came later: at these values they change nothing, and a run's config.json does without them, so that a
# run begun before goes on as the same run.
_LATER: dict[str, Any] = {
    "class_weights": "none", "class_weight_beta": 0.999, "sampling": "all", "accumulation": 1, "batch_norm": "batch",
    "ce_rgb_weight": 1.0, "ce_pose_weight": 1.0, "pr_rgb_weight": 1.0, "pr_pose_weight": 1.0, "stop_on": "best",
    "patience": 0, "network": "cnn", "stream": "joint", "persons": 1, "rotation": 0.0, "scaling": 0.0,
    "optimizer": "sgd", "nesterov": False, "backbone_rate": 1.0, "stochastic_depth": 0.1, "class_groups": 0,
    "group_weight": 1.0, "group_share": 0.5, "semantic": "", "semantic_dim": 300, "semantic_weight": 20.0,
}  # fmt: skip

# Settings of some networks only: elsewhere they would be passed over in silence, so they are refused.
_ONLY_FOR: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("stream", "persons"), SKELETON_NETWORKS),
    "stochastic_depth": ("video-swin",),
    **dict.fromkeys(("heatmap", "sigma", "heatmap_size", "halve_time", "zero_init_blocks"), ("cnn",)),
}

# What `keep` and `stop_on` may name beside "best": columns of the history.
METRICS = ("val_top1_fused", "val_top1_rgb", "val_top1_pose", "val_macro_f1", "val_loss", "loss")


def _check_type(name: str, value: Any, default: Any) -> None:
    """Refuse a value of another type than the field's default."""
    if isinstance(default, bool):
        good, need = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        good, need = isinstance(value, int) and not isinstance(value, bool), "a whole number, 1 or more"
    elif isinstance(default, float):
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
        good, need = good or (value is None and name == "gradient_clip"), "a number"
    elif isinstance(default, tuple) and name in ("rgb_blocks", "pose_blocks", "milestones"):
        good = isinstance(value, tuple) and all(type(item) is int for item in value)
        need = "a list of whole numbers, like [8,22]"
    elif isinstance(default, tuple):
        good, need = isinstance(value, tuple), "a list"
    else:
        return
    if not good:
        raise MgkitError(f"recipe: {name} is {value!r}; use {need}.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one training.

    Attributes:
        network: "cnn", the 3D CNN (of one pathway or two) that all settings up to `dropout` are of; a skeleton network
            ("stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn", "hyperformer"), which is a pose pathway alone, or an RGB
            network ("tsm", "video-swin"), an RGB pathway alone. Their size is `pose_width` and `pose_blocks`, or
            `rgb_width` and `rgb_blocks`.
        pathways: ("rgb", "pose"), ("rgb",) or ("pose",).
        rgb_frames, pose_frames, rgb_size, heatmap_size, heatmap, sigma, time_sampling, crop_area, flip, stream,
            persons, rotation, scaling: the network's input, see `mgkit.data.batches.spec.InputSpec`.
        rgb_width, pose_width, rgb_blocks, pose_blocks: size of the pathways; the defaults are full size.
        zero_init_blocks: residual blocks begin as the identity (method section 2); turn it off for networks of one
            block a stage, which learn several times slower with it.
        halve_time: let the last pose stage halve time.
        laterals: connect the pathways by lateral convolutions.
        lateral_detach, lateral_dropout: stop the gradient across them; the chance that a clip does without them.
        fusion: attention axis of the cross-modal fusion, "channel" (D1), "time", or None for no fusion module.
        fusion_sequential: pose attends to the already updated RGB tokens (D2).
        fusion_heads: attention heads of the fusion.
        zero_init_gates: the fusion begins as the identity (D3).
        dropout: before each classifier.
        stochastic_depth: of Video Swin: the chance that a clip skips its last block in training, less for those before.
        prototypes: train with prototypical refinement.
        embedding_dim, embedding_pool: width of the embeddings; "mean" or "max" over time, then over space (D4).
        alpha: weight of the refinement loss (D8).
        temperature, prototype_momentum, prototype_memory, margin, shift, detach_probability: see
            `PrototypicalRefinement` (D5 to D7).
        label_smoothing: of the cross-entropies.
        epochs: passes over the training clips.
        batch_size: clips a step.
        learning_rate: for a batch of `learning_rate_batch` clips; scaled in proportion to `batch_size`.
        schedule: "step" divides by 10 after each of the epochs `milestones`, "cosine" falls to 0.
        warmup_epochs: linear rise from a tenth at the beginning.
        optimizer: "sgd" or "adamw".
        momentum, nesterov: of SGD.
        weight_decay: of either; AdamW leaves biases, norms and position tables without.
        backbone_rate: factor of the learning rate for all but the heads, as fine-tuning of published weights wants.
        gradient_clip: largest gradient norm (D9); None = off.
        accumulation: take each batch in so many parts, one after the other, to need less memory; losses and gradients
            are those of the whole batch. BatchNorm, and the sets, centres and prototypes of the refinement, see the
            parts, so prototypes move (with the same momentum) after each of them.
        batch_norm: "batch" normalises in training over the clips of all processes, so that the number of processes
            changes nothing; "local" over those of each process; "frozen" by the running statistics that the training
            starts with (from published weights), of which only scale and shift learn on.
        sampling: "all" takes every clip once an epoch, "balanced" as many draws of each class.
        class_weights: of the cross-entropies: "none", "sqrt" (one over the square root of a class's training clips) or
            "effective" (one over its effective number of clips, Cui et al., CVPR 2019, with `class_weight_beta`);
            scaled to a mean of 1 over the classes.
        class_weight_beta: see there; 0 is no weighting, close to 1 is one over the number.
        ce_rgb_weight, ce_pose_weight, pr_rgb_weight, pr_pose_weight: factors of the cross-entropy and the refinement
            loss (beside alpha) of each pathway.
        keep: "best" takes the weights of the epoch with the best validation Top-1 (ties: the later), "last" the last;
            or of the best one by a column of the history, see METRICS ("val_macro_f1", "val_loss", ...).
        patience: stop after so many epochs without a better `stop_on`; 0 never does.
        stop_on: what that looks at, "best" or one of METRICS.
        class_groups: 0, or the number of groups of classes alike in frequency that get a classifier each beside the
            main one, against the long tail; see `mgkit.models.losses.extra`.
        group_weight: of their losses. group_share: their part in the predictions, 0 to 1.
        semantic: "", or where vectors of the class names come from, which an extra head then learns to tell: a file
            of word vectors (GloVe's text format), or "sentence:" and a model of sentence-transformers.
        semantic_dim: numbers in such a vector. semantic_weight: of that mean-squared error.
        stages: recipes trained first, whose weights this one starts from.
    """

    network: str = "cnn"
    pathways: tuple[str, ...] = ("rgb", "pose")
    rgb_frames: int = 8
    pose_frames: int = 32
    rgb_size: int = 224
    heatmap_size: int = 56
    heatmap: str = "joint"
    sigma: float = 0.7
    time_sampling: str = "subset"
    crop_area: tuple[float, float] = (0.56, 1.0)
    flip: float = 0.5
    stream: str = "joint"
    persons: int = 1
    rotation: float = 0.0
    scaling: float = 0.0
    rgb_width: int = 64
    pose_width: int = 32
    rgb_blocks: tuple[int, ...] = (3, 4, 6, 3)
    pose_blocks: tuple[int, ...] = (4, 6, 3)
    zero_init_blocks: bool = True
    halve_time: bool = False
    laterals: bool = True
    lateral_detach: bool = False
    lateral_dropout: float = 0.0
    fusion: str | None = "channel"
    fusion_sequential: bool = False
    fusion_heads: int = 8
    zero_init_gates: bool = True
    dropout: float = 0.5
    stochastic_depth: float = 0.1
    prototypes: bool = True
    embedding_dim: int = 256
    embedding_pool: tuple[str, str] = ("mean", "max")
    alpha: float = 0.2
    temperature: float = 0.125
    prototype_momentum: float = 0.9
    prototype_memory: int = 0
    margin: float = 1.0
    shift: str = "tp"
    detach_probability: bool = True
    label_smoothing: float = 0.0
    epochs: int = 30
    batch_size: int = 10
    learning_rate: float = 0.0075
    learning_rate_batch: int = 10
    schedule: str = "step"
    milestones: tuple[int, ...] = (8, 22)
    warmup_epochs: int = 0
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    backbone_rate: float = 1.0
    gradient_clip: float | None = 40.0
    accumulation: int = 1
    batch_norm: str = "batch"
    sampling: str = "all"
    class_weights: str = "none"
    class_weight_beta: float = 0.999
    ce_rgb_weight: float = 1.0
    ce_pose_weight: float = 1.0
    pr_rgb_weight: float = 1.0
    pr_pose_weight: float = 1.0
    class_groups: int = 0
    group_weight: float = 1.0
    group_share: float = 0.5
    semantic: str = ""
    semantic_dim: int = 300
    semantic_weight: float = 20.0
    keep: str = "best"
    patience: int = 0
    stop_on: str = "best"
    stages: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            _check_type(f.name, getattr(self, f.name), f.default)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise MgkitError(f"recipe: {name} is {value!r}; use {low:g} to {high:g}.")
        numbers = all(isinstance(share, int | float) for share in self.crop_area)
        if len(self.crop_area) != 2 or not numbers or not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise MgkitError(
                f"recipe: crop_area is {self.crop_area!r}; use two shares, above 0 and up to 1, in order."
            )

        def one_of(name: str, *known: Any) -> None:
            value = getattr(self, name)
            if value not in known:
                raise MgkitError(f"recipe: {name} is {value!r}; use {' or '.join(map(repr, known))}.")

        one_of("network", "cnn", *SKELETON_NETWORKS, *RGB_NETWORKS)
        if self.network == "cnn":
            one_of("pathways", ("rgb", "pose"), ("rgb",), ("pose",))
        else:
            one_of("pathways", ("pose",) if self.network in SKELETON_NETWORKS else ("rgb",))
        for name, networks in _ONLY_FOR.items():
            value, usual = getattr(self, name), type(self).__dataclass_fields__[name].default
            if self.network not in networks and value != usual:
                raise MgkitError(
                    f"recipe: {name} is {value!r}, but it is a setting of {some(networks)}, not of {self.network}: "
                    f"leave it at {usual!r}."
                )
        one_of("stream", *STREAMS)
        one_of("optimizer", "sgd", "adamw")
        one_of("fusion", "channel", "time", None)
        one_of("shift", "tp", "all")
        one_of("schedule", "step", "cosine")
        one_of("keep", "best", "last", *METRICS)
        one_of("stop_on", "best", *METRICS)
        one_of("batch_norm", "batch", "local", "frozen")
        one_of("sampling", *SAMPLINGS)
        one_of("class_weights", "none", "sqrt", "effective")
        for name in (
            "epochs",
            "batch_size",
            "accumulation",
            "learning_rate_batch",
            "rgb_width",
            "pose_width",
            "embedding_dim",
            "fusion_heads",
            "persons",
            "semantic_dim",
        ):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise MgkitError(f"recipe: {name} is {getattr(self, name)!r}; use a whole number, 1 or more.")
        for name in ("rgb_blocks", "pose_blocks"):
            value = getattr(self, name)
            if not value or min(value) < 1:
                raise MgkitError(
                    f"recipe: {name} is {list(value)}; use the number of blocks of each stage, each 1 or more."
                )
        if len(self.embedding_pool) != 2 or not set(self.embedding_pool) <= {"mean", "max"}:
            raise MgkitError(
                f"recipe: embedding_pool is {list(self.embedding_pool)}; use 'mean' or 'max' twice: over time and over "
                "space."
            )
        if self.accumulation > self.batch_size:
            raise MgkitError(
                f"recipe: accumulation is {self.accumulation}, more parts than the batch has clips ({self.batch_size})."
            )
        if not self.learning_rate > 0:
            raise MgkitError(f"recipe: learning_rate is {self.learning_rate!r}; use a number above 0.")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise MgkitError(
                "recipe: nesterov is of SGD with a momentum above 0: turn it off, or change these."
            )
        if self.class_groups and self.semantic:
            raise MgkitError(
                "recipe: class_groups and semantic are two kinds of head, and a pathway has one: leave one out."
            )
        if (self.class_groups or self.semantic) and self.two_pathway:
            raise MgkitError(
                "recipe: class_groups and semantic are for a network of one pathway: train it, and fuse its scores "
                "with others' (mg.ensemble)."
            )
        if self.two_pathway and self.pose_frames != 4 * self.rgb_frames:
            raise MgkitError(
                f"recipe: the two-pathway net takes 4 pose frames an RGB frame; got pose_frames={self.pose_frames}, "
                f"rgb_frames={self.rgb_frames}."
            )
        if self.two_pathway and self.rgb_size != 4 * self.heatmap_size:
            raise MgkitError(
                f"recipe: the pathways meet only if rgb_size is 4 x heatmap_size; got {self.rgb_size} and "
                f"{self.heatmap_size}."
            )
        if self.stages and [stage.pathways for stage in self.stages] != [(name,) for name in self.pathways]:
            raise MgkitError(
                'recipe: the stages of a two-pathway recipe are one "rgb" and one "pose" recipe, in order.'
            )
        self.input_spec()

    @property
    def two_pathway(self) -> bool:
        return len(self.pathways) == 2

    @property
    def name(self) -> str:
        """ "rgb", "pose" or "joint": how the stage is called in folders and bars."""
        return "joint" if self.two_pathway else self.pathways[0]

    def input_spec(self) -> InputSpec:
        """The part of the recipe that says what the network is fed."""
        return InputSpec(**{f.name: getattr(self, f.name) for f in fields(InputSpec)})

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch (counted from 0), for this batch size."""
        rate = self.learning_rate * self.batch_size / self.learning_rate_batch
        if epoch < self.warmup_epochs:
            return rate * (0.1 + 0.9 * epoch / self.warmup_epochs)
        if self.schedule == "cosine":
            share = (epoch - self.warmup_epochs) / max(1, self.epochs - self.warmup_epochs)
            return float(rate * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * share)).item()))
        return rate / 10 ** sum(epoch >= milestone for milestone in self.milestones)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as they are saved in a run; `from_dict` is the inverse.

        Settings that came later are left out as long as they change nothing.
        """
        value = {key: item for key, item in asdict(self).items() if key not in _LATER or item != _LATER[key]}
        value["stages"] = [stage.to_dict() for stage in self.stages]
        return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], where: str = "recipe") -> Recipe:
        if "imported" in value or "ensemble" in value:
            raise MgkitError(
                f"{where}: this run was made of scores and has no network: do it with a run that the scores came from."
            )
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise MgkitError(
                f"{where}: unknown setting {unknown[0]!r}: it was written by another version of mgkit."
            )
        if not isinstance(value.get("stages", []), list | tuple):
            raise MgkitError(f"{where}: stages must be a list of recipes.")
        plain: dict[str, Any] = {
            key: tuple(item) if isinstance(item, list) else item for key, item in value.items()
        }
        plain["stages"] = tuple(cls.from_dict(stage, where) for stage in value.get("stages", ()))
        try:
            return cls(**plain)
        except TypeError as error:
            raise MgkitError(f"{where}: a setting has the wrong type ({error}).") from None
