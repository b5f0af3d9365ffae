"""Every setting of a training: what goes in, the network, the losses, the optimisation, the stages.

The defaults are the paper's (method pages D1 to D10). `recipes.py` has recipes that are ready.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mgkit.data.batches.spec import Inputs
from mgkit.errors import MgkitError
from mgkit.parts import Part, load_target, part
from mgkit.settings import Settings, close_to, find, plain, setting, shortest_names

__all__ = ["METRICS", "CrossEntropy", "Optimisation", "Recipe", "Refinement"]

# What `keep` and `stop_on` may name besides "best": columns of the history.
METRICS = ("val_top1_fused", "val_top1_rgb", "val_top1_pose", "val_macro_f1", "val_loss", "loss")


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Settings):
    """Settings of the cross-entropy of each pathway.

    Attributes:
        label_smoothing: 0 to 1.
        class_weights: "none", "sqrt" (one over the square root of a class's training clips) or "effective" (one over
            its effective number of clips, Cui et al., CVPR 2019, with `class_weight_beta`); scaled to a mean of 1 over
            the classes.
        class_weight_beta: see there; 0 is no weighting, close to 1 is one over the number.
        ce_rgb_weight, ce_pose_weight: factor of each pathway's cross-entropy.
    """

    label_smoothing: float = setting(0.0, low=0, high=1)
    class_weights: str = setting("none", one_of=("none", "sqrt", "effective"))
    class_weight_beta: float = setting(0.999, low=0, high=1 - 1e-12)
    ce_rgb_weight: float = setting(1.0, low=0)
    ce_pose_weight: float = setting(1.0, low=0)


@dataclass(frozen=True, kw_only=True)
class Refinement(Settings):
    """Settings of prototypical refinement (D5 to D8), see `PrototypicalRefinement`.

    Attributes:
        alpha: weight of the refinement loss (D8).
        alpha_warmup: epochs over which the weight rises from 0: prototypes move from the first one on, and the loss
            waits until they are where their classes are. 0 is the paper's.
        temperature, prototype_momentum, prototype_memory, margin, shift, detach_probability: see there (D5 to D7).
        pr_rgb_weight, pr_pose_weight: factor of each pathway's loss, in addition to alpha.
    """

    alpha: float = setting(0.2, low=0)
    alpha_warmup: int = setting(0, low=0)
    temperature: float = setting(0.125, above=0)
    prototype_momentum: float = setting(0.9, low=0, high=1)
    prototype_memory: int = setting(0, low=0)
    margin: float = setting(1.0, low=0)
    shift: str = setting("tp", one_of=("tp", "all"))
    detach_probability: bool = setting(True)
    pr_rgb_weight: float = setting(1.0, low=0)
    pr_pose_weight: float = setting(1.0, low=0)

    def alpha_at(self, epoch: int) -> float:
        """Weight of the refinement loss in an epoch (counted from 0).

        >>> [Refinement(alpha=0.2, alpha_warmup=2).alpha_at(epoch) for epoch in range(4)]
        [0.0, 0.1, 0.2, 0.2]
        """
        return self.alpha * min(1.0, epoch / self.alpha_warmup) if self.alpha_warmup else self.alpha


@dataclass(frozen=True, kw_only=True)
class Optimisation(Settings):
    """Optimiser, schedule and batches, and which epoch's weights are kept.

    Attributes:
        epochs: passes over the training clips.
        steps: at least this many steps of the optimiser: on few clips, which give few steps per pass, there are as many
            more epochs, see `Recipe.for_clips`; 0 leaves the epochs as they are.
        batch_size: clips per step.
        learning_rate: for a batch of `learning_rate_batch` clips; scaled in proportion to `batch_size`.
        schedule: "step" divides by 10 after each of the epochs `milestones`, "cosine" falls to 0.
        warmup_epochs: linear rise from a tenth at the beginning.
        optimizer: "sgd" or "adamw".
        momentum, nesterov: of SGD.
        weight_decay: of either; AdamW leaves biases, norms and position tables without.
        backbone_rate: factor of the learning rate for all parameters but those of the module `heads`, as fine-tuning
            of published weights wants.
        gradient_clip: largest gradient norm (D9); None = off.
        accumulation: take each batch in this many parts, one after the other, to need less memory; losses and gradients
            are those of the whole batch. BatchNorm, and the sets, centres and prototypes of the refinement, see the
            parts, so prototypes move (with the same momentum) after each of them.
        batch_norm: "batch" normalises in training over the clips of all processes, so that the number of processes
            changes nothing; "local" over those of each process; "frozen" by the running statistics that the training
            starts with (from published weights), of which only scale and shift are trained.
        sampling: "all" takes every clip once per epoch, "balanced" draws each class equally often.
        keep: "best" takes the weights of the epoch with the best validation Top-1 (ties: the later), "last" the last;
            or of the best one by a column of the history, see METRICS ("val_macro_f1", "val_loss", ...).
        patience: stop after this many epochs without a better `stop_on`; 0 never does.
        stop_on: what that looks at, "best" or one of METRICS.
        mixup: the clips of a batch are mixed in pairs (Zhang et al., ICLR 2018), each with a share drawn from
            Beta(mixup, mixup), and have the losses of both labels in these shares; 0 mixes none, 0.1 to 0.4 are usual.
            Only without prototypes.
        average: share of the last epochs over which the weights are averaged (Izmailov et al., UAI 2018): the mean of
            the weights at the end of each of them is what is validated and kept, and what a next stage starts from.
            0 averages none, above 0 it is one epoch at least. Epochs that `patience` cuts off are not made up for.
    """

    epochs: int = setting(30, low=1)
    steps: int = setting(0, low=0)
    batch_size: int = setting(10, low=1)
    learning_rate: float = setting(0.0075, above=0)
    learning_rate_batch: int = setting(10, low=1)
    schedule: str = setting("step", one_of=("step", "cosine"))
    milestones: tuple[int, ...] = setting((8, 22))
    warmup_epochs: int = setting(0, low=0)
    optimizer: str = setting("sgd", one_of=("sgd", "adamw"))
    momentum: float = setting(0.9, low=0, high=1)
    nesterov: bool = setting(False)
    weight_decay: float = setting(1e-4, low=0)
    backbone_rate: float = setting(1.0, low=0)
    gradient_clip: float | None = setting(40.0, above=0, optional=True)
    accumulation: int = setting(1, low=1)
    batch_norm: str = setting("batch", one_of=("batch", "local", "frozen"))
    sampling: str = setting("all", one_of=("all", "balanced"))
    keep: str = setting("best", one_of=("best", "last", *METRICS))
    patience: int = setting(0, low=0)
    stop_on: str = setting("best", one_of=("best", *METRICS))
    mixup: float = setting(0.0, low=0)
    average: float = setting(0.0, low=0, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulation > self.batch_size:
            raise MgkitError(
                f"accumulation is {self.accumulation}, more parts than the batch has clips ({self.batch_size})."
            )
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise MgkitError("nesterov is of SGD with a momentum above 0: turn it off, or change these.")

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch (counted from 0), for this batch size."""
        rate = self.learning_rate * self.batch_size / self.learning_rate_batch
        if epoch < self.warmup_epochs:
            return rate * (0.1 + 0.9 * epoch / self.warmup_epochs)
        if self.schedule == "cosine":
            share = (epoch - self.warmup_epochs) / max(1, self.epochs - self.warmup_epochs)
            return rate * 0.5 * (1 + math.cos(math.pi * share))
        return rate / 10 ** sum(epoch >= milestone for milestone in self.milestones)

    @property
    def averaged_from(self) -> int:
        """The first epoch (counted from 0) whose weights are averaged; `epochs` where none are.

        >>> [Optimisation(epochs=10, average=share).averaged_from for share in (0, 0.01, 0.3, 1)]
        [10, 9, 7, 0]
        """
        return self.epochs - max(int(self.average > 0), round(self.average * self.epochs))

    def to_dict(self) -> dict[str, Any]:
        """Plain values of the settings in use: no milestones of a cosine, no momentum of AdamW, no 0 of what is off."""
        unused = {"milestones"} if self.schedule == "cosine" else set()
        unused |= {name for name in ("mixup", "average") if not getattr(self, name)}
        unused |= {"momentum", "nesterov"} if self.optimizer == "adamw" else set()
        return {name: value for name, value in super().to_dict().items() if name not in unused}


_GROUPS = ("inputs", "network", "cross_entropy", "refinement", "losses", "augment", "optimisation")
_SWITCHES = {"cross_entropy": "labels", "refinement": "prototypes"}  # groups that there may be none of


@dataclass(frozen=True, init=False, repr=False)
class Recipe:
    """All settings of one training.

    Any setting of its parts can be given by its name, wherever it lives: `Recipe(part(my_net), epochs=20, alpha=0.1,
    prototypes=True)`. A name that two parts have is qualified, `**{"fusion.axis": "time"}`.

    Attributes:
        network: builds the network, `(classes, inputs, *, settings, generator=None) -> nn.Module`, whose forward takes
            {"rgb": ..., "pose": ...}, as far as `inputs` reads them, to {"rgb": PathwayOutput, ...} of the same names.
        inputs: what the network is fed; `reads` says which inputs there are.
        cross_entropy: settings of the cross-entropies; None (or `labels=False`) where labels mean nothing:
            the further losses alone are trained, and no accuracy is counted.
        refinement: settings of prototypical refinement, or None; `prototypes=True` or `False` stands for either.
        losses: further terms of the loss, each a function (outputs, labels) or a class or builder of one, which returns
            a loss per clip (N,), or {pathway: (N,)}. Their parts may have a `weight` and a `name`.
        augment: functions (keypoints, generator) that change the key-points (M, T, V, 3) of a training clip.
        optimisation: optimiser, schedule, batches, and what is kept.
        stages: recipes trained first, an "rgb" and a "pose" one, whose weights a two-pathway recipe starts from.
        given: paths of the settings that were changed by `with_`, as those given to `mg.recipes.rgb_only(epochs=300)`
            are; `mg.recipes.narrow` leaves them alone. Two recipes that differ in it alone are equal.
    """

    network: Part
    inputs: Inputs = field(default_factory=Inputs)
    cross_entropy: CrossEntropy | None = field(default_factory=CrossEntropy)
    refinement: Refinement | None = None
    losses: tuple[Part, ...] = ()
    augment: tuple[Part, ...] = ()
    optimisation: Optimisation = field(default_factory=Optimisation)
    stages: tuple[Recipe, ...] = ()
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __init__(
        self,
        network: Part | Callable[..., Any] | str,
        *,
        inputs: Inputs | None = None,
        cross_entropy: CrossEntropy | None = CrossEntropy(),
        refinement: Refinement | None = None,
        losses: Sequence[Part] = (),
        augment: Sequence[Part] = (),
        optimisation: Optimisation | None = None,
        stages: Sequence[Recipe] = (),
        given: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        groups: dict[str, Any] = {
            "inputs": inputs or Inputs(),
            "network": network if isinstance(network, Part) else part(network),
            "cross_entropy": cross_entropy,
            "refinement": refinement,
            "losses": _as_parts(losses),
            "augment": _as_parts(augment),
            "optimisation": optimisation or Optimisation(),
        }
        for name, value in _changed(groups, settings).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "stages", tuple(stages))
        object.__setattr__(self, "given", frozenset(given))
        self._check()

    def _check(self) -> None:
        """Refuse parts that do not go together."""
        for terms, kind in ((self.losses, "losses"), (self.augment, "augmentations")):
            names = [one.name for one in terms]
            if twice := [name for name in names if names.count(name) > 1]:
                raise MgkitError(
                    f"two {kind} are called {twice[0]}: give one another name, part(..., name=...)."
                )
        for one in self.losses:
            if one.name.startswith(("ce_", "pr_")):
                raise MgkitError(f"the loss {one.name} must not begin with ce_ or pr_: give it another name.")
        for one in self.augment:
            if not one.takes("keypoints"):
                raise MgkitError(
                    f"the augmentation {one.name} must take `keypoints`: (keypoints, generator, *, ...)."
                )
            if "pose" not in self.pathways:
                raise MgkitError(
                    f"the augmentation {one.name} works on key-points, which this recipe does not read."
                )
        if self.cross_entropy is None:
            sampling = self.optimisation.sampling
            if self.refinement is not None or sampling != "all":
                raise MgkitError(
                    "labels=False trains the further losses alone, on all clips: prototypes and sampling by class "
                    f"need labels (here prototypes={self.refinement is not None}, sampling={sampling!r})."
                )
        if self.optimisation.mixup and self.refinement is not None:
            raise MgkitError(
                f"mixup is {self.optimisation.mixup}: a mixed clip is of two classes, and prototypes are made of clips "
                "of one. Use prototypes=False, or mixup=0."
            )
        if self.stages and [stage.pathways for stage in self.stages] != [(name,) for name in self.pathways]:
            raise MgkitError(
                'the stages of a two-pathway recipe are one "rgb" and one "pose" recipe, in this order.'
            )

    @property
    def pathways(self) -> tuple[str, ...]:
        """Names of the network's inputs and outputs, of "rgb" and "pose"."""
        return self.inputs.pathways

    @property
    def two_pathway(self) -> bool:
        return len(self.pathways) == 2

    @property
    def name(self) -> str:
        """ "rgb", "pose" or "joint": how the stage is called in folders and bars."""
        return "joint" if self.two_pathway else self.pathways[0]

    def parts(self) -> Iterator[Part]:
        """All parts, nested ones and those of the stages included."""
        for one in (self.network, *self.losses, *self.augment, *self.inputs.parts):
            yield from one.nested()
        for stage in self.stages:
            yield from stage.parts()

    # --- settings by name ---

    def settings(self) -> dict[str, Any]:
        """Every setting by its path, such as "optimisation.epochs" or "network.fusion.axis", without the stages'."""
        return dict(_leaves({name: getattr(self, name) for name in _GROUPS}))

    def has(self, name: str) -> bool:
        """Whether the recipe itself, rather than one of its stages, has a setting of this name."""
        return name in _GROUPS or bool(find(name, _named(self.settings())))

    def __getitem__(self, name: str) -> Any:
        """A setting by its name: `recipe["epochs"]`."""
        settings = self.settings()
        return settings[_one_path(name, _named(settings), self.refinement)]

    def with_(self, **changes: Any) -> Recipe:
        """The recipe with other settings, in every stage that has them.

        A name means what it means in the constructor. "rgb.epochs" changes that stage alone, "joint.epochs" the recipe
        without its stages; `network` and `stages` replace those of the recipe itself.

        Raises:
            MgkitError: no such setting, or a name that several parts have; the message names them.
        """
        if "rgb_stream" in changes and len(changes) > 1:  # first: others may be settings of it
            return self.with_(rgb_stream=changes.pop("rgb_stream")).with_(**changes)
        stages = changes.pop("stages", None)
        mine: dict[str, Any] = {}
        theirs: dict[str, dict[str, Any]] = {stage.name: {} for stage in self.stages}
        for name, value in changes.items():
            first, _, rest = name.partition(".")
            if rest and first in theirs:
                theirs[first][rest] = value
            elif rest and first == self.name:
                mine[rest] = value
            else:
                takers = [stage for stage in self.stages if name != "network" and stage.has(name)]
                takers = [stage for stage in takers if name != "augment" or "pose" in stage.pathways]
                if self.has(name) or not takers:
                    mine[name] = value
                for stage in takers if stages is None else ():
                    theirs[stage.name][name] = value
        if stages is None:
            stages = [
                stage.with_(**theirs[stage.name]) if theirs[stage.name] else stage for stage in self.stages
            ]
        groups = _changed({name: getattr(self, name) for name in _GROUPS}, mine)
        paths = [path for path, _ in _leaves(groups)]
        given = {path for name in mine for path in ([name] if name in _GROUPS else find(name, paths))}
        return Recipe(**groups, stages=stages, given=self.given | given)

    def for_clips(self, count: int) -> Recipe:
        """The recipe with as many epochs over `count` training clips as its `steps` want, in every stage.

        >>> from mgkit.training.recipes import pose_small
        >>> pose_small(epochs=10, batch_size=16, steps=2000).for_clips(320)["epochs"]
        100
        """
        settings = self.optimisation
        epochs = max(settings.epochs, -(-settings.steps // max(1, -(-count // settings.batch_size))))
        longer = epochs / settings.epochs
        milestones = tuple(round(longer * epoch) for epoch in settings.milestones)
        made = replace(self, optimisation=replace(settings, epochs=epochs, milestones=milestones))
        return replace(made, stages=tuple(stage.for_clips(count) for stage in self.stages))

    def is_given(self, name: str) -> bool:
        """Whether a setting was changed by `with_`, alone or with the whole group it is in."""
        path = _one_path(name, _named(self.settings()), self.refinement)
        return path in self.given or path.partition(".")[0] in self.given

    def show(self, *, all: bool = True) -> str:
        """One setting per line; with `all=False` only those that differ from the defaults."""
        lines = []
        for path, value in self.settings().items():
            default = _default_of(path, self)
            same = (
                value.target is default.target
                if isinstance(value, Part) and isinstance(default, Part)
                else value == default
            )
            if all or not same:
                lines.append(f"{path} = {value.path if isinstance(value, Part) else plain(value)}")
        lines = [f"Recipe of {' and '.join(self.inputs.reads)}", *(f"  {line}" for line in lines)]
        for stage in self.stages:
            mine, its = self.settings(), stage.settings()
            own = [
                f"{path} = {value.path if isinstance(value, Part) else plain(value)}"
                for path, value in its.items()
                if path not in mine or mine[path] != value
            ]
            lines += [f"  stage {stage.name}, trained first, differs in", *(f"    {line}" for line in own)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.show()

    # --- plain values ---

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as they are saved in a run; `from_dict` is the inverse. Settings in use alone."""
        refinement = None
        if self.refinement is not None:
            unused = [f"pr_{name}_weight" for name in ("rgb", "pose") if name not in self.pathways]
            refinement = {k: v for k, v in self.refinement.to_dict().items() if k not in unused}
        entropy = None
        if self.cross_entropy is not None:
            unused = [f"ce_{name}_weight" for name in ("rgb", "pose") if name not in self.pathways]
            entropy = {k: v for k, v in self.cross_entropy.to_dict().items() if k not in unused}
        return {
            "inputs": self.inputs.to_dict(),
            "network": self.network.to_dict(),
            "cross_entropy": entropy,
            "refinement": refinement,
            "losses": plain(self.losses),
            "augment": plain(self.augment),
            "optimisation": self.optimisation.to_dict(),
            "stages": plain(self.stages),
        }

    @classmethod
    def from_dict(
        cls, value: Mapping[str, Any], where: str = "recipe", load: Callable[[str], Any] = load_target
    ) -> Recipe:
        """The recipe that `to_dict` recorded.

        Args:
            value: the dictionary.
            where: the file that it is from, named in errors.
            load: gives the target of a part's path.
        """
        if "baseline" in value:
            raise MgkitError(f"{where}: this run is a baseline and has no network: use the run of a network.")
        if {"imported", "ensemble", "tested"} & set(value):
            raise MgkitError(
                f"{where}: this run was made of scores and has no network: use the run that the scores came from."
            )
        if unknown := sorted(set(value) - {*_GROUPS, "stages"}):
            raise MgkitError(f"{where}: unknown setting {unknown[0]!r}; it was written by another mgkit.")
        if "network" not in value:
            raise MgkitError(f"{where}: the recipe names no network.")

        def parts_of(key: str) -> list[Part]:
            items = value.get(key, ())
            if not isinstance(items, list | tuple):
                raise MgkitError(f"{where}: {key} must be a list.")
            return [Part.from_dict(item, f"{where}: {key}", load) for item in items]

        stages = value.get("stages", ())
        if not isinstance(stages, list | tuple):
            raise MgkitError(f"{where}: stages must be a list of recipes.")
        refined, entropy = value.get("refinement"), value.get("cross_entropy", {})
        inputs = value.get("inputs", {})
        if isinstance(inputs, Mapping) and isinstance(inputs.get("rgb_stream"), Mapping):
            stream = Part.from_dict(inputs["rgb_stream"], f"{where}: rgb_stream", load)
            inputs = {**inputs, "rgb_stream": stream}
        try:
            return cls(
                Part.from_dict(value["network"], f"{where}: network", load),
                inputs=Inputs.from_dict(inputs, "inputs"),
                cross_entropy=None if entropy is None else CrossEntropy.from_dict(entropy, "cross_entropy"),
                refinement=None if refined is None else Refinement.from_dict(refined, "refinement"),
                losses=parts_of("losses"),
                augment=parts_of("augment"),
                optimisation=Optimisation.from_dict(value.get("optimisation", {}), "optimisation"),
                stages=[cls.from_dict(stage, where, load) for stage in stages],
            )
        except MgkitError as error:
            text = str(error)
            raise MgkitError(text if text.startswith(where) else f"{where}: {text}") from None


# --- where a setting lives ------------------------------------------------------------------------------------------


def _as_parts(given: Iterable[Any]) -> tuple[Part, ...]:
    if isinstance(given, Part):
        given = (given,)
    return tuple(one if isinstance(one, Part) else part(one) for one in given)


def _leaves(groups: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Path and value of every setting of the groups of a recipe."""
    for name, group in groups.items():
        if name in _SWITCHES:
            yield _SWITCHES[name], group is not None
        if isinstance(group, Settings):
            names = group.in_use if isinstance(group, Inputs) else group.names()
            for one in names:
                value = getattr(group, one)
                if isinstance(value, Part):
                    yield from _of_part(f"{name}.{one}", value)
                else:
                    yield f"{name}.{one}", value
        elif isinstance(group, Part):
            yield from _of_part(name, group)
        elif isinstance(group, tuple):
            for one in group:
                yield from _of_part(f"{name}.{one.name}", one)
                if name == "losses" and "weight" not in one.settings:
                    yield f"{name}.{one.name}.weight", one.weight


def _of_part(path: str, one: Part) -> Iterator[tuple[str, Any]]:
    yield path, one
    for name, value in one.settings.items():
        if isinstance(value, Part):
            yield from _of_part(f"{path}.{name}", value)
        else:
            yield f"{path}.{name}", value


def _named(paths: Iterable[str]) -> list[str]:
    """The paths that a name can mean: a loss or augmentation as a whole is replaced in its list."""
    return [path for path in paths if path.count(".") != 1 or not path.startswith(("losses.", "augment."))]


def _one_path(name: str, paths: Iterable[str], refinement: Refinement | None) -> str:
    """The only path that a name means."""
    paths = list(paths)
    found = find(name, paths)
    if len(found) == 1:
        return found[0]
    if found:
        ways = [path.removeprefix("network.") if path.count(".") > 1 else path for path in found]
        raise MgkitError(f"{name} is a setting of several parts: say which, {' or '.join(map(repr, ways))}.")
    if refinement is None and name in Refinement.names():
        raise MgkitError(
            f"{name} is a setting of the refinement, which this recipe does without: give prototypes=True, too."
        )
    raise MgkitError(f"the recipe has no setting {name!r}: {close_to(name, paths, by_group=True)}")


def _changed(groups: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The groups of a recipe after changes by name; whole groups are replaced first."""
    groups, changes = dict(groups), dict(changes)
    for name in [name for name in changes if name in _GROUPS]:
        value = changes.pop(name)
        if name in ("losses", "augment"):
            value = _as_parts(value)
        elif name == "network" and not isinstance(value, Part):
            value = part(value)
        groups[name] = value
    for name, switch in _SWITCHES.items():
        if switch in changes:
            wanted = changes.pop(switch)
            if not isinstance(wanted, bool):
                raise MgkitError(f"{switch} is {wanted!r}; use true or false.")
            usual = CrossEntropy() if name == "cross_entropy" else Refinement()
            groups[name] = (groups[name] or usual) if wanted else None
    # First, since they decide which inputs have settings, and which settings the stream has.
    first = {name: changes.pop(name) for name in ("reads", "rgb_stream") if name in changes}
    if first:
        groups["inputs"] = replace(groups["inputs"], **first)
    paths = _named(path for path, _ in _leaves(groups))
    # Settings of inputs that are not read: Inputs itself says why they are refused.
    paths += [
        f"inputs.{name}" for name in Inputs.names() if f"inputs.{name}" not in paths and name in changes
    ]
    by_group: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        group, _, rest = _one_path(name, paths, groups["refinement"]).partition(".")
        by_group.setdefault(group, {})[rest] = value
    for name, settings in by_group.items():
        group = groups[name]
        if isinstance(group, Settings):
            plainly = {key: value for key, value in settings.items() if "." not in key}
            for inner in dict.fromkeys(key.partition(".")[0] for key in settings if "." in key):
                plainly[inner] = _part_with(getattr(group, inner), _below(inner, settings))
            groups[name] = replace(group, **plainly)
        elif isinstance(group, Part):
            groups[name] = _part_with(group, settings)
        else:
            groups[name] = tuple(_part_with(one, _below(one.name, settings)) for one in group)
    return groups


def _part_with(one: Part, settings: Mapping[str, Any]) -> Part:
    """A part after changes whose names may lead into the parts among its settings."""
    here = {name: value for name, value in settings.items() if "." not in name}
    one = one.with_(**here) if here else one
    for name in dict.fromkeys(name.partition(".")[0] for name in settings if "." in name):
        inner = one.settings.get(name)
        if not isinstance(inner, Part):
            raise MgkitError(f"{one.name} has no part {name!r} that could have settings.")
        one = one.with_(**{name: _part_with(inner, _below(name, settings))})
    return one


def _below(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key.removeprefix(f"{name}."): value for key, value in settings.items() if key.startswith(f"{name}.")
    }


def _default_of(path: str, recipe: Recipe) -> Any:
    """The default of a setting; a part's own is none of a recipe's."""
    if path in _SWITCHES.values():
        return path == "labels"
    group, _, name = path.partition(".")
    value = getattr(recipe, group)
    if isinstance(value, Settings) and "." not in name:
        return value.default(name)
    if isinstance(value, Settings):
        inner, _, name = name.partition(".")
        value = getattr(value, inner)
    if isinstance(value, tuple):
        first, _, name = name.partition(".")
        value = next(one for one in value if one.name == first)
        if name == "weight" and "weight" not in value.settings:
            return 1.0
    if not name:
        return None
    for word in name.split(".")[:-1]:
        value = value.settings[word]
    return Part(value.target).settings.get(name.rpartition(".")[2])


def differences(one: Recipe, other: Recipe) -> list[str]:
    """The settings in which two recipes differ, as `name: other -> one`; stages are not looked at."""
    ours, theirs = one.settings(), other.settings()
    paths = dict.fromkeys([*ours, *theirs])

    def shown(settings: Mapping[str, Any], path: str) -> str:
        value = settings.get(path, "none")
        return value.target.__name__ if isinstance(value, Part) else str(plain(value))

    names = shortest_names(paths)
    return [
        f"{names[path]}: {shown(theirs, path)} -> {shown(ours, path)}"
        for path in paths
        if shown(theirs, path) != shown(ours, path)
    ]


def parse_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """`["epochs=12", "fusion=none"]` as changes of a recipe by name, each value read as JSON where it is JSON."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise MgkitError(f"{pair!r} is not a setting: write name=value.")
        try:
            value = json.loads("null" if text.lower() == "none" else text)
        except json.JSONDecodeError:
            value = {"True": True, "False": False}.get(text, text)
        changes[name] = value
    return changes
