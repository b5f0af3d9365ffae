"""Prototypical refinement: pull apart the clips that a classifier confuses.

Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge, section 2.3,
equations 5 to 9, after Zhou et al., "Learning Discriminative Representations for Skeleton Based Action
Recognition" (FR-Head), CVPR 2023. Test-time rectification: Li et al., "Prototypical Calibrating Ambiguous
Samples for Micro-Action Recognition" (PCAN), AAAI 2025.

The paper writes "cosine distance" where its equations need cosine *similarity*; similarity is what is used
here. Everything is computed in float32 (float64 stays), under autocast too.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models.distributed import sum_over_processes, world_size
from mgkit.models.similarity import at_least_float32, cosine_similarity, no_autocast, unit

__all__ = [
    "ConfusionSets",
    "PrototypicalRefinement",
    "RefinementOutput",
    "RefinementTerms",
    "SetCentres",
    "Shift",
    "confusion_sets",
    "rectify",
    "refinement_loss",
    "set_centres",
    "update_prototypes",
]

Shift = Literal["tp", "all"]


class ConfusionSets(NamedTuple):
    """Which of N clips are in which set of which of K classes: three (N, K) boolean tensors.

    `tp[i, k]`: clip i is of class k and predicted as k. `fn[i, k]`: of class k, predicted as another.
    `fp[i, k]`: of another class, predicted as k.
    """

    tp: Tensor
    fn: Tensor
    fp: Tensor


class SetCentres(NamedTuple):
    """Mean embedding (K, D) and size (K,) of K sets; the centre of an empty set is 0."""

    centres: Tensor
    counts: Tensor


class RefinementTerms(NamedTuple):
    """The two cross-entropies of each clip, (N,) each: the true-class score lowered by the FN and by the FP
    term."""

    fn: Tensor
    fp: Tensor


class RefinementOutput(NamedTuple):
    """What a refinement step gives back. Only `loss` carries a gradient.

    Attributes:
        loss: (), the mean over the batch of both terms; in multi-process training scaled as the class says.
        fn_term, fp_term: (), its two parts.
        per_clip: (N,) the loss of each clip of this process.
        tp, fn, fp: (K,) int64, how many clips of the (global) batch are in each set.
    """

    loss: Tensor
    fn_term: Tensor
    fp_term: Tensor
    per_clip: Tensor
    tp: Tensor
    fn: Tensor
    fp: Tensor


def confusion_sets(logits: Tensor, labels: Tensor) -> ConfusionSets:
    """True positives, false negatives and false positives of every class in a batch.

    Shapes:
        logits (N, K), labels (N,) integers in 0..K-1 -> three (N, K) boolean tensors.
    """
    classes = torch.arange(logits.shape[1], device=logits.device)
    actual = labels[:, None] == classes  # (N, K)
    predicted = logits.argmax(dim=1)[:, None] == classes
    return ConfusionSets(actual & predicted, actual & ~predicted, ~actual & predicted)


def set_centres(embeddings: Tensor, sets: Tensor, *, across_processes: bool = False) -> SetCentres:
    """Mean embedding of each set (equation 5), with gradient.

    Args:
        embeddings: (N, D).
        sets: (N, M) boolean, which clip is in which set.
        across_processes: average over the clips of all processes, whose numbers of clips may differ.

    Returns:
        centres (M, D) and counts (M,) int64.
    """
    with no_autocast(embeddings):
        z = at_least_float32(embeddings)
        members = sets.to(z.dtype)
        # The counts travel with the sums: one exchange instead of two. They are exact below 2**24 clips.
        totals = torch.cat((members.T @ z, members.sum(dim=0)[:, None]), dim=1)  # (M, D + 1)
        if across_processes:
            totals = sum_over_processes(totals)
        counts = totals[:, -1].detach()
        return SetCentres(totals[:, :-1] / counts.clamp(min=1)[:, None], counts.long())


def update_prototypes(prototypes: Tensor, tp: SetCentres, *, momentum: float) -> tuple[Tensor, Tensor]:
    """Move each prototype towards the centre of its class's true positives (equation 6).

    P_k <- (1 - momentum) * centre_k + momentum * P_k. The gradient flows through the centre, not through the
    previous prototype. Classes without a true positive keep theirs, and so do classes whose centre is not
    finite: one overflow in half precision would otherwise stay in the average for ever.

    Shapes:
        prototypes (K, D), tp (K, D) and (K,) -> new prototypes (K, D), which of them changed (K,) boolean.
    """
    previous = prototypes.detach().to(tp.centres.dtype)
    moved = (1 - momentum) * tp.centres + momentum * previous
    changed = (tp.counts > 0) & tp.centres.detach().isfinite().all(dim=1)
    return torch.where(changed[:, None], moved, previous), changed


def refinement_loss(
    embeddings: Tensor,
    labels: Tensor,
    logits: Tensor,
    prototypes: Tensor,
    fn: SetCentres,
    fp: SetCentres,
    *,
    temperature: float = 0.125,
    margin: float = 1.0,
    shift: Shift = "tp",
    detach_probability: bool = True,
) -> RefinementTerms:
    """The loss of each clip (equations 7 to 9).

    Two cross-entropies over the scores sim(z_i, P_k) / temperature, each with the true class's score lowered:
    by margin * (1 - p_i) * (1 - sim(z_i, centre of FN)) and by margin * (1 - p_i) * (1 + sim(z_i, centre of
    FP)), where the sets are those of the clip's class, p_i is the probability of that class, and an empty set
    lowers nothing.

    Args:
        embeddings: (N, D).
        labels: (N,) integers in 0..K-1.
        logits: (N, K) of the classifier.
        prototypes: (K, D).
        fn, fp: centres (K, D) and counts (K,) of the false negatives and false positives.
        temperature: positive; the smaller, the sharper.
        margin: factor of both terms.
        shift: "tp" lowers the scores of the true positives only (the paper), "all" those of every clip.
        detach_probability: let no gradient flow through p_i.

    Returns:
        the FN and FP cross-entropies, (N,) each; a clip's loss is their sum.
    """
    with no_autocast(embeddings):
        z = unit(at_least_float32(embeddings))  # (N, D)
        scores = z @ unit(prototypes.to(z.dtype)).T / temperature  # (N, K)
        p = at_least_float32(logits).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)  # (N,)
        doubt = margin * (1 - (p.detach() if detach_probability else p))
        shifted = (
            logits.argmax(dim=1) == labels if shift == "tp" else torch.ones_like(labels, dtype=torch.bool)
        )
        own = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)  # (N, K)

        def term(sets: SetCentres, sign: float) -> Tensor:
            similarity = (z * unit(sets.centres.to(z.dtype))[labels]).sum(dim=1)
            lowered = torch.where(shifted & (sets.counts[labels] > 0), doubt * (1 + sign * similarity), 0.0)
            return F.cross_entropy(scores - own * lowered[:, None], labels, reduction="none")

        return RefinementTerms(term(fn, -1.0), term(fp, +1.0))


def rectify(logits: Tensor, embeddings: Tensor, prototypes: Tensor, seen: Tensor, weight: float) -> Tensor:
    """Test-time rectification: logits + weight * similarity to each class's prototype.

    A class that never had a true positive has no prototype yet and keeps its logit.

    Shapes:
        logits (N, K), embeddings (N, D), prototypes (K, D), seen (K,) boolean -> (N, K).
    """
    similarity = cosine_similarity(embeddings, prototypes)
    return at_least_float32(logits) + weight * torch.where(seen, similarity, 0.0)


class PrototypicalRefinement(nn.Module):
    """Prototypes of each class and the loss that refines an embedding with them.

    Call it with a batch's embeddings, labels and classifier logits; add the loss, times a small weight (0.2
    in the paper's family), to the classification loss. In training mode each call first moves the prototypes
    towards the batch's true positives, then computes the loss with the moved ones. In evaluation mode nothing
    changes.

    In multi-process training the sets, centres and prototypes are those of the clips of all processes, whose
    numbers may differ, and the loss is scaled by processes * (own clips / all clips): the mean of the
    gradients over the processes, which is what DistributedDataParallel computes, is then the gradient of the
    whole batch's loss. Every process must make every call in training mode; in evaluation mode each process
    looks at its own clips only.

    Args:
        num_classes: K.
        embedding_dim: D.
        momentum: share of the previous prototype in the update, 0..1.
        temperature, margin, shift, detach_probability: see refinement_loss.
        generator: source of the random initial prototypes; torch's own when omitted. In multi-process
            training those of the first process are used.

    Shapes:
        forward: embeddings (N, D), labels (N,) integers in 0..K-1, logits (N, K) -> RefinementOutput.
        prototypes: buffer (K, D), updates: buffer (K,) int64. Both are saved with the state dict.

    Raises:
        MgkitError: if an argument is out of range or the shapes do not fit.

    Example:
        >>> import torch
        >>> classifier, embed = torch.nn.Linear(32, 5), torch.nn.Linear(32, 16)
        >>> refinement = PrototypicalRefinement(num_classes=5, embedding_dim=16)
        >>> features, labels = torch.randn(12, 32), torch.randint(0, 5, (12,))
        >>> logits = classifier(features)
        >>> output = refinement(embed(features), labels, logits)
        >>> loss = torch.nn.functional.cross_entropy(logits, labels) + 0.2 * output.loss
        >>> loss.backward()
        >>> int(output.tp.sum() + output.fn.sum())  # every clip is right or wrong about its own class
        12
        >>> refinement.seen.shape  # which classes have a prototype by now
        torch.Size([5])
    """

    prototypes: Tensor
    updates: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        momentum: float = 0.9,
        temperature: float = 0.125,
        margin: float = 1.0,
        shift: Shift = "tp",
        detach_probability: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= momentum <= 1 or not temperature > 0:
            raise MgkitError(
                f"momentum must be in 0..1 and temperature positive; got {momentum} and {temperature}."
            )
        if shift not in ("tp", "all"):
            raise MgkitError(f"shift must be 'tp' or 'all', not {shift!r}.")
        self.momentum = momentum
        self.temperature = temperature
        self.margin = margin
        self.shift: Shift = shift
        self.detach_probability = detach_probability
        self.register_buffer("prototypes", torch.empty(num_classes, embedding_dim))
        self.register_buffer("updates", torch.zeros(num_classes, dtype=torch.int64))
        nn.init.normal_(self.prototypes, generator=generator)
        self._agreed = False  # whether all processes have the first one's prototypes

    @property
    def seen(self) -> Tensor:
        """(K,) boolean: the classes that had a true positive, and so have a prototype."""
        return self.updates > 0

    def forward(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> RefinementOutput:
        self._check(embeddings, labels, logits)
        together = self.training and world_size() > 1
        if together and not self._agreed:
            dist.broadcast(self.prototypes, src=0)
            dist.broadcast(self.updates, src=0)
            self._agreed = True
        sets = confusion_sets(logits, labels)
        centres, counts = set_centres(embeddings, torch.cat(sets, dim=1), across_processes=together)
        tp, fn, fp = (SetCentres(*pair) for pair in zip(centres.chunk(3), counts.chunk(3), strict=True))
        # A copy: a later step changes the buffer in place while this step's graph may still need it.
        prototypes = self.prototypes.clone()
        if self.training:
            prototypes, changed = update_prototypes(self.prototypes, tp, momentum=self.momentum)
            with torch.no_grad():
                self.prototypes.copy_(prototypes)
                self.updates.add_(changed)
        terms = refinement_loss(
            embeddings,
            labels,
            logits,
            prototypes,
            fn,
            fp,
            temperature=self.temperature,
            margin=self.margin,
            shift=self.shift,
            detach_probability=self.detach_probability,
        )
        # Every clip is a true positive or a false negative of its own class.
        clips = (tp.counts.sum() + fn.counts.sum()).clamp(min=1)
        scale = (world_size() if together else 1) / clips
        fn_term, fp_term = terms.fn.sum() * scale, terms.fp.sum() * scale
        return RefinementOutput(
            loss=fn_term + fp_term,
            fn_term=fn_term.detach(),
            fp_term=fp_term.detach(),
            per_clip=(terms.fn + terms.fp).detach(),
            tp=tp.counts,
            fn=fn.counts,
            fp=fp.counts,
        )

    def _check(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> None:
        n, (k, d) = len(labels), self.prototypes.shape
        if labels.ndim != 1 or embeddings.shape != (n, d) or logits.shape != (n, k):
            raise MgkitError(
                f"With labels of shape {tuple(labels.shape)}, {k} classes and {d} dimensions, embeddings and logits "
                f"must be ({n}, {d}) and ({n}, {k}); got {tuple(embeddings.shape)} and {tuple(logits.shape)}."
            )
