"""The whole training objective: classification and prototypical refinement of every pathway.

Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge, equation 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models.heads import PathwayOutput
from mgkit.models.layers import sum_over_processes, world_size
from mgkit.models.losses.prototypes import Shift, checked_labels
from mgkit.models.losses.refinement import PrototypicalRefinement, RefinementOutput

__all__ = ["Loss", "Mixing", "Objective", "ObjectiveOutput"]

Loss = Callable[[Mapping[str, PathwayOutput], Tensor], Tensor | Mapping[str, Tensor]]


class Mixing(NamedTuple):
    """What clips were mixed with (mixup, Zhang et al., ICLR 2018).

    Attributes:
        others: (N,) int64, label of the other clip.
        share: (N,) float32, share of the clip itself, and so of its own label, 0..1.
    """

    others: Tensor
    share: Tensor

    def of(self, own: Tensor, other: Tensor) -> Tensor:
        """Values (N,) of the clips' own labels and of the others, in their shares."""
        return self.share * own + (1 - self.share) * other

    def greater(self, labels: Tensor) -> Tensor:
        """(N,) the label with the greater share."""
        return torch.where(self.share >= 0.5, labels, self.others)


class ObjectiveOutput(NamedTuple):
    """What one step's objective is made of. Only `loss` carries a gradient.

    Attributes:
        loss: (), sum of the cross-entropies plus alpha times the sum of the refinement losses.
        terms: {"ce_rgb": (), "pr_rgb": (), ...}, each pathway's cross-entropy and (unweighted) refinement
            loss, and further losses under their names, "name" or "name_pathway", unweighted, too.
        refinement: {pathway: RefinementOutput}; empty without prototypes.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    refinement: dict[str, RefinementOutput]


class Objective(nn.Module):
    """Cross-entropy of each pathway plus `alpha` times each pathway's prototypical refinement.

    Like PrototypicalRefinement it has a training mode, in which the prototypes move, and in multi-process
    training its loss is scaled so that the mean over the processes is that of the whole batch, however
    unevenly it is split.

    Args:
        pathways: names of the model's outputs, `model.pathways`.
        num_classes: K.
        embedding_dim: D of the model's embeddings, of each pathway if they differ.
        alpha: weight of the refinement, >= 0.
        cross_entropy: leave the cross-entropies out when False, where labels mean nothing.
        prototypes: leave the refinement out when False; the model then needs no embedding.
        label_smoothing: of the cross-entropies, 0..1.
        class_weights: K positive weights of the cross-entropies, or None.
        term_weights: factors of single terms, by their name in ObjectiveOutput, such as {"ce_rgb": 0.5}; 1 for the
            others. That of a refinement loss comes on top of `alpha`.
        losses: further terms, {name: (function or module, weight)}. Each is called with ({pathway: PathwayOutput},
            labels) and returns a loss per clip (N,), or {pathway: (N,)}; the means of these are added.
        momentum, temperature, margin, shift, detach_probability, memory, generator: see PrototypicalRefinement.

    Shapes:
        forward: {pathway: PathwayOutput}, labels (N,) integers in 0..K-1 -> ObjectiveOutput. Where a batch is taken
        in several parts (gradient accumulation), `whole` (B,) are the labels of all of it, in all processes: the
        losses are then the part's share of the whole batch's, so that sums over the parts are those of the batch.
        The sets, centres and prototypes are always those of the part. Of mixed clips `mixing` has the second labels:
        each term is that of both labels in their shares, and a weighted mean is over the weights of both. It goes with
        `whole_mixing` as `labels` with `whole`, and not with prototypes.

    Raises:
        MgkitError: if the outputs lack a pathway or an embedding, shapes, types, devices or labels do not fit,
            `class_weights` has not one value a class, `term_weights` names an unknown term, or clips are mixed that
            have prototypes.

    Example:
        >>> import torch
        >>> from mgkit.models import pose_resnet
        >>> model = pose_resnet(3, 5, pose_width=4, pose_blocks=(1, 1, 1))
        >>> objective = Objective(model.pathways, num_classes=3)
        >>> step = objective(model({"pose": torch.rand(6, 5, 4, 8, 8)}), torch.tensor([0, 0, 1, 1, 2, 2]))
        >>> step.loss.backward()
        >>> sorted(step.terms)
        ['ce_pose', 'pr_pose']
    """

    class_weights: Tensor | None

    def __init__(
        self,
        pathways: Sequence[str],
        num_classes: int,
        embedding_dim: int | Mapping[str, int] | None = 256,
        *,
        alpha: float = 0.2,
        prototypes: bool = True,
        cross_entropy: bool = True,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | Tensor | None = None,
        term_weights: Mapping[str, float] | None = None,
        losses: Mapping[str, tuple[Loss, float]] | None = None,
        momentum: float = 0.9,
        temperature: float = 0.125,
        margin: float = 1.0,
        shift: Shift = "tp",
        detach_probability: bool = True,
        memory: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if isinstance(pathways, str):
            raise MgkitError(f"pathways are a list of names: give ({pathways!r},), or model.pathways.")
        if not 0 <= alpha < math.inf or not 0 <= label_smoothing <= 1:
            raise MgkitError(
                f"alpha must be finite and not negative and label_smoothing in 0..1; got {alpha} and {label_smoothing}."
            )
        self.pathways = tuple(pathways)
        self.num_classes = num_classes
        self.alpha = alpha
        self.label_smoothing = label_smoothing
        terms = [f"ce_{name}" for name in self.pathways] if cross_entropy else []
        terms += [f"pr_{name}" for name in self.pathways] if prototypes else []
        self.term_weights = dict.fromkeys(terms, 1.0) | dict(term_weights or {})
        for term, factor in self.term_weights.items():
            if term not in terms or not 0 <= factor < math.inf:
                raise MgkitError(
                    f"term_weights has {factor!r} for {term!r}: give numbers, 0 or more, for {', '.join(terms)}."
                )
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        if weights is not None and (
            weights.shape != (num_classes,) or not bool(((weights > 0) & weights.isfinite()).all())
        ):
            raise MgkitError(
                f"class_weights needs {num_classes} positive values; got {tuple(weights.tolist())}."
            )
        losses = losses or {}
        self.losses = nn.ModuleDict(
            {name: one for name, (one, _) in losses.items() if isinstance(one, nn.Module)}
        )
        self._functions = {name: one for name, (one, _) in losses.items() if not isinstance(one, nn.Module)}
        self.loss_weights = {name: weight for name, (_, weight) in losses.items()}
        # Not saved: they come from the training clips, not from the training.
        self.register_buffer("class_weights", weights, persistent=False)
        self.refinement = nn.ModuleDict()
        if prototypes:
            if embedding_dim is None:
                raise MgkitError("Prototypes need an embedding: give embedding_dim, or prototypes=False.")
            for name in self.pathways:
                self.refinement[name] = PrototypicalRefinement(
                    num_classes,
                    embedding_dim if isinstance(embedding_dim, int) else embedding_dim[name],
                    momentum=momentum,
                    temperature=temperature,
                    margin=margin,
                    shift=shift,
                    detach_probability=detach_probability,
                    memory=memory,
                    generator=generator,
                )

    def forward(
        self,
        outputs: Mapping[str, PathwayOutput],
        labels: Tensor,
        whole: Tensor | None = None,
        mixing: Mixing | None = None,
        whole_mixing: Mixing | None = None,
    ) -> ObjectiveOutput:
        if mixing is not None and len(self.refinement):
            raise MgkitError("mixed clips are of two classes, prototypes of one: use prototypes=False.")
        missing = [name for name in self.pathways if name not in outputs]
        if missing:
            raise MgkitError(
                f"The objective expects an output for {', '.join(self.pathways)}, but the model gave none for "
                f"{', '.join(missing)}. Build it with pathways=model.pathways."
            )
        labels = self._check(outputs, labels)
        terms: dict[str, Tensor] = {}
        refinement: dict[str, RefinementOutput] = {}
        total = outputs[self.pathways[0]].logits.new_zeros((), dtype=torch.float32)
        counted = self._weight(labels, mixing) if whole is None else self._weight(whole, whole_mixing)
        for name in self.pathways:
            output = outputs[name]
            if f"ce_{name}" in self.term_weights:
                cross_entropy = self._mean(self._cross_entropy(output.logits, labels, mixing), counted, whole)
                terms[f"ce_{name}"] = cross_entropy.detach()
                total = total + self.term_weights[f"ce_{name}"] * cross_entropy
            if name in self.refinement:
                if output.embedding is None:
                    raise MgkitError(
                        f"Prototypes need an embedding, but the {name} pathway has none: build the model with an "
                        "embedding_dim, or the objective with prototypes=False."
                    )
                refined = self.refinement[name](output.embedding, labels, output.logits)
                refinement[name] = cast(RefinementOutput, refined)
                loss = refined.loss
                if whole is not None:  # every clip of the part is a TP or an FN of its class
                    loss = loss * ((refined.tp.sum() + refined.fn.sum()) / len(whole))
                terms[f"pr_{name}"] = loss.detach()
                total = total + self.alpha * self.term_weights[f"pr_{name}"] * loss
        for name, weight in self.loss_weights.items():
            each = self._further(name, outputs, labels)
            if mixing is not None:
                others = self._further(name, outputs, mixing.others)
                each = {term: mixing.of(value, others[term]) for term, value in each.items()}
            for term, per_clip in each.items():
                count = per_clip.new_tensor(float(len(labels if whole is None else whole)))
                loss = self._mean(per_clip, count, whole)
                terms[term] = loss.detach()
                total = total + weight * loss
        return ObjectiveOutput(total, terms, refinement)

    def _further(self, name: str, outputs: Mapping[str, PathwayOutput], labels: Tensor) -> dict[str, Tensor]:
        """The losses per clip (N,) of a further term, by the name of their column."""
        found = (self.losses[name] if name in self.losses else self._functions[name])(outputs, labels)
        each = (
            {f"{name}_{key}": value for key, value in found.items()}
            if isinstance(found, Mapping)
            else {name: found}
        )
        for term, value in each.items():
            if (
                not isinstance(value, Tensor)
                or value.shape != (len(labels),)
                or not value.is_floating_point()
            ):
                got = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)
                raise MgkitError(
                    f"the loss {name} must return a number per clip, ({len(labels)},) or {{pathway: "
                    f"({len(labels)},)}}, but {term} is {got}."
                )
            if (
                "_" in term
                and isinstance(found, Mapping)
                and term.removeprefix(f"{name}_") not in self.pathways
            ):
                raise MgkitError(
                    f"the loss {name} returned a term for {term.removeprefix(f'{name}_')!r}: its keys must be "
                    f"{' or '.join(map(repr, self.pathways))}."
                )
        return {term: value.float() for term, value in each.items()}

    def _check(self, outputs: Mapping[str, PathwayOutput], labels: Tensor) -> Tensor:
        """The labels as int64, after they and the logits were looked at."""
        labels = checked_labels(labels, self.num_classes, outputs[self.pathways[0]].logits.device)
        for name in self.pathways:
            logits = outputs[name].logits
            if logits.shape != (len(labels), self.num_classes):
                raise MgkitError(
                    f"The {name} logits must have the shape ({len(labels)}, {self.num_classes}) for {len(labels)} "
                    f"labels and {self.num_classes} classes, but have {tuple(logits.shape)}."
                )
        return labels

    def _cross_entropy(self, logits: Tensor, labels: Tensor, mixing: Mixing | None) -> Tensor:
        """torch's cross-entropy of each clip, (N,), not yet divided by the weights of their classes."""
        per_clip = F.cross_entropy(
            logits.float(),
            labels,
            weight=self.class_weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        if mixing is None:
            return per_clip
        return mixing.of(per_clip, self._cross_entropy(logits, mixing.others, None))

    def _weight(self, labels: Tensor, mixing: Mixing | None) -> Tensor:
        """The sum of the class weights of clips, (): what their cross-entropies are divided by."""
        if self.class_weights is None:
            return torch.full((), float(len(labels)), device=labels.device)
        weights = self.class_weights[labels]
        return (weights if mixing is None else mixing.of(weights, self.class_weights[mixing.others])).sum()

    def _mean(self, per_clip: Tensor, total: Tensor, whole: Tensor | None) -> Tensor:
        """Losses (N,) divided by `total`, what all their weights add up to: their share of the batch's mean."""
        scale = 1
        if self.training and world_size() > 1:
            total, scale = (sum_over_processes(total) if whole is None else total), world_size()
        return per_clip.sum() * scale / total.clamp(min=torch.finfo(total.dtype).tiny)
