"""Functions of prototypical refinement: sets of confused clips, their centres, prototype updates, the loss.

`refinement.PrototypicalRefinement` combines them and keeps the prototypes.

Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge, section 2.3, equations 5
to 9, after Zhou et al., "Learning Discriminative Representations for Skeleton Based Action Recognition" (FR-Head),
CVPR 2023. Test-time rectification: Li et al., "Prototypical Calibrating Ambiguous Samples for Micro-Action Recognition"
(PCAN), AAAI 2025.

The paper writes "cosine distance" where its equations need cosine *similarity*, which is used here. Everything is
computed in float32 (float64 stays), under autocast, too.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models.layers import (
    at_least_float32,
    cosine_similarity,
    no_autocast,
    shortest,
    sum_over_processes,
    unit,
)

__all__ = [
    "ConfusionSets",
    "RefinementTerms",
    "SetCentres",
    "Shift",
    "checked_labels",
    "confusion_sets",
    "join_centres",
    "label_sets",
    "rectify",
    "refinement_loss",
    "set_centres",
    "update_prototypes",
]

Shift = Literal["tp", "all"]


class ConfusionSets(NamedTuple):
    """True positives, false negatives and false positives of K classes among N clips: three (N, K) boolean tensors.

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
    """Two cross-entropies of each clip, (N,) each: with the true class's score lowered by the FN and the FP term."""

    fn: Tensor
    fp: Tensor


def checked_labels(labels: Tensor, num_classes: int, device: torch.device) -> Tensor:
    """The labels as int64.

    Args:
        labels: (N,) integers in 0..num_classes-1.
        num_classes: K.
        device: where the model's outputs are.

    Raises:
        MgkitError: if they have another shape, type or device, or are out of range.
    """
    if labels.ndim != 1:
        raise MgkitError(
            f"labels must be a tensor (N,) of one class index per clip, but are of shape {tuple(labels.shape)}"
        )
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise MgkitError(
            f"labels must be integers, the class of each clip, but are {labels.dtype}: use labels.long()"
        )
    if labels.device != device:
        raise MgkitError(
            f"labels are on {labels.device}, the model's outputs on {device}: move one to the other"
        )
    labels = labels.long()
    # This makes the CPU wait once for a GPU; a label out of range would end the process with a device assertion.
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        raise MgkitError(
            f"labels must be 0 to {num_classes - 1} for {num_classes} classes, but clip {int(wrong.nonzero()[0])} of "
            f"the batch has {int(labels[wrong][0])}: build the model and the loss with the data's number of classes"
        )
    return labels


def confusion_sets(logits: Tensor, labels: Tensor) -> ConfusionSets:
    """True positives, false negatives and false positives of every class in a batch.

    Shapes:
        logits (N, K), labels (N,) integers in 0..K-1 -> three (N, K) boolean tensors.

    Example:
        >>> logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])  # predicted as 0 and as 1
        >>> sets = confusion_sets(logits, torch.tensor([0, 0]))
        >>> [[bool(x) for x in one] for one in (sets.tp[0], sets.fn[1], sets.fp[1])]
        [[True, False], [True, False], [False, True]]
    """
    return label_sets(labels, logits.argmax(dim=1), logits.shape[1])


def label_sets(labels: Tensor, predicted: Tensor, num_classes: int) -> ConfusionSets:
    """Confusion sets from predicted classes. A label or prediction of -1 belongs to no class.

    Shapes:
        labels, predicted (N,) integers in -1..num_classes-1 -> three (N, num_classes) boolean tensors.
    """
    classes = torch.arange(num_classes, device=labels.device)
    is_of, is_called = labels[:, None] == classes, predicted[:, None] == classes  # (N, K)
    return ConfusionSets(is_of & is_called, is_of & ~is_called, ~is_of & is_called)


def set_centres(embeddings: Tensor, sets: Tensor, *, across_processes: bool = False) -> SetCentres:
    """Mean embedding of each set (equation 5), with gradient.

    Args:
        embeddings: (N, D), finite.
        sets: (N, M) boolean, which clip is in which set.
        across_processes: average over the clips of all processes, which may have different numbers of clips.

    Returns:
        centres (M, D) and counts (M,) int64.
    """
    with no_autocast(embeddings):
        z = at_least_float32(embeddings)
        members = sets.to(z.dtype)
        # The counts travel with the sums, in one exchange instead of two. They are exact below 2**24 clips.
        totals = torch.cat((members.T @ z, members.sum(dim=0)[:, None]), dim=1)  # (M, D + 1)
        if across_processes:
            totals = sum_over_processes(totals)
        counts = totals[:, -1].detach()
        return SetCentres(totals[:, :-1] / counts.clamp(min=1)[:, None], counts.long())


def join_centres(one: SetCentres, other: SetCentres) -> SetCentres:
    """Centres of the unions of disjoint sets, pair by pair. The gradient flows to both.

    Shapes:
        (M, D) and (M,), twice -> (M, D) and (M,).
    """
    counts = one.counts + other.counts
    share = (one.counts.to(one.centres.dtype) / counts.clamp(min=1))[:, None]
    return SetCentres(share * one.centres + (1 - share) * other.centres.to(one.centres.dtype), counts)


def update_prototypes(prototypes: Tensor, tp: SetCentres, *, momentum: float) -> tuple[Tensor, Tensor]:
    """Move each prototype towards the centre of its class's true positives (equation 6).

    P_k <- (1 - momentum) * centre_k + momentum * P_k. The gradient flows through the centre, not through the previous
    prototype. Classes without a true positive keep theirs, and so do classes whose centre is not finite: one overflow
    in half precision would otherwise stay in the average for ever. `PrototypicalRefinement` stores the result.

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

    Two cross-entropies over the scores sim(z_i, P_k) / temperature, each with the true class's score lowered: by
    margin * (1 - p_i) * (1 - sim(z_i, centre of FN)) and by margin * (1 - p_i) * (1 + sim(z_i, centre of FP)). The sets
    are those of the clip's class, p_i is the probability of that class, and an empty set lowers nothing.

    Args:
        embeddings: (N, D), finite.
        labels: (N,) integers in 0..K-1.
        logits: (N, K) of the classifier, finite.
        prototypes: (K, D).
        fn, fp: centres (K, D) and counts (K,) of the false negatives and false positives.
        temperature: positive; a smaller one gives a sharper softmax.
        margin: factor of both terms.
        shift: "tp" lowers the scores of the true positives only (the paper), "all" those of every clip.
        detach_probability: let no gradient flow through p_i.

    Returns:
        the FN and FP cross-entropies, (N,) each; a clip's loss is their sum.
    """
    with no_autocast(embeddings):
        least = shortest(embeddings.dtype)
        z = unit(at_least_float32(embeddings), least)  # (N, D)
        scores = z @ unit(prototypes.to(z.dtype), least).T / temperature  # (N, K)
        p = at_least_float32(logits).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)  # (N,)
        doubt = margin * (1 - (p.detach() if detach_probability else p))
        shifted = (
            logits.argmax(dim=1) == labels if shift == "tp" else torch.ones_like(labels, dtype=torch.bool)
        )
        own = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)  # (N, K)

        def term(sets: SetCentres, sign: float) -> Tensor:
            similarity = (z * unit(sets.centres.to(z.dtype), least)[labels]).sum(dim=1)
            lowered = torch.where(shifted & (sets.counts[labels] > 0), doubt * (1 + sign * similarity), 0.0)
            return F.cross_entropy(scores - own * lowered[:, None], labels, reduction="none")

        return RefinementTerms(term(fn, -1.0), term(fp, +1.0))


def rectify(logits: Tensor, embeddings: Tensor, prototypes: Tensor, seen: Tensor, weight: float) -> Tensor:
    """Test-time rectification: logits + weight * similarity to each class's prototype.

    A class without any true positive so far has no prototype and keeps its logit.

    Shapes:
        logits (N, K), embeddings (N, D), prototypes (K, D), seen (K,) boolean -> (N, K).

    Example:
        >>> prototypes, seen = torch.eye(3), torch.tensor([True, True, False])
        >>> rectify(torch.zeros(1, 3), torch.tensor([[2.0, 0.0, 0.0]]), prototypes, seen, weight=0.5)
        tensor([[0.5000, 0.0000, 0.0000]])
    """
    similarity = cosine_similarity(embeddings, prototypes)
    return at_least_float32(logits) + weight * torch.where(seen, similarity, 0.0)
