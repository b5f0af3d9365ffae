"""Classifiers for groups of classes of similar frequency, and their ensemble: our reading of EHCT.

Huang, Guo, Peng and Xia, "Micro-gesture Classification Based on Ensemble Hypergraph-convolution Transformer", MiGA
challenge at IJCAI 2023 (second place). From the abstract: hypergraph transformers; several models, each focused on some
of the categories; training on grouped data, and an ensemble of the models, against the imbalance of the categories.
Ours, where the abstract is silent: the models are classifiers on one shared network, in addition to the ordinary one;
classes are grouped by their frequency in training; each group's classifier separates its classes from each other and
from "another group"; and the ensemble is that of `GroupedHead`. The head takes the features of any network.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from operator import index

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgkit.errors import MgkitError, counted
from mgkit.models.heads import PathwayHead, PathwayOutput, Pool, auxiliary_of, pooled_features
from mgkit.models.layers import at_least_float32
from mgkit.models.losses.prototypes import checked_labels


def class_groups(counts: Sequence[int] | npt.NDArray[np.integer] | Tensor, groups: int) -> Tensor:
    """Put classes that are about equally frequent into one group.

    Classes are sorted by their clips and cut into runs such that the largest ratio between the most and the least
    frequent class of a run is as small as that many runs allow; among such cuts, the one whose numbers of classes
    differ least (their squares sum to the least), and of several the one whose frequent groups are smallest. A class
    without clips counts as one that is as rare as the rarest with some: it joins the rarest.

    Args:
        counts: K numbers of training clips, not negative, at least one positive.
        groups: G, from 1 to K.

    Returns:
        (K,) int64, the group of each class: 0 holds the most frequent classes, G - 1 the rarest. None is empty.

    Raises:
        MgkitError: if the counts or the number of groups are out of range.

    Example:
        >>> class_groups([9, 800, 100, 0, 1000, 70], groups=3)
        tensor([2, 0, 1, 2, 0, 1])
    """
    values = [index(value) for value in counts]
    if not values or min(values) < 0 or max(values) == 0:
        raise MgkitError(
            f"counts must be the training clips of each class, not negative and not all 0; got {values}."
        )
    if not 1 <= groups <= len(values):
        raise MgkitError(f"{len(values)} classes make 1 to {len(values)} groups; got groups={groups}.")
    rarest = min(value for value in values if value)
    values = [max(value, rarest) for value in values]
    order = sorted(range(len(values)), key=lambda k: (-values[k], k))
    sizes = _even_runs([values[k] for k in order], groups)
    group = torch.empty(len(values), dtype=torch.int64)
    group[torch.tensor(order)] = torch.arange(groups).repeat_interleave(torch.tensor(sizes))
    return group


def _even_runs(values: list[int], groups: int) -> list[int]:
    """Lengths of the runs into which descending values are cut, see class_groups."""
    count = len(values)

    def runs(ratio: Fraction) -> int:
        """How few runs do not exceed the ratio: each goes on as long as it may."""
        needed, first = 0, None
        for value in values:
            if first is None or first > ratio * value:
                needed, first = needed + 1, value
        return needed

    ratios = sorted({Fraction(values[i], values[j]) for i in range(count) for j in range(i, count)})
    ratio = ratios[bisect_left(ratios, True, key=lambda candidate: runs(candidate) <= groups)]
    # best[i]: (sum of squares, lengths) of values[i:], in one run more with each pass; an endless sum where none fits.
    nothing: tuple[float, list[int]] = (math.inf, [])
    best = [nothing] * count + [(0, [])]
    for _ in range(groups):
        before, best = best, [nothing] * (count + 1)
        for start in range(count):
            for end in range(start + 1, count + 1):
                if values[start] > ratio * values[end - 1]:
                    break
                squares, lengths = before[end]
                best[start] = min(best[start], ((end - start) ** 2 + squares, [end - start, *lengths]))
    return best[0][1]


class GroupedHead(PathwayHead):
    """A PathwayHead with a second classifier for each group of classes, and the ensemble of all of them.

    The classifier of group g scores its own classes and "another group". A class is scored by its own group's
    classifier alone, so all of them together are one linear layer of K + G scores. With one group there is no other,
    and its classifier is an ordinary one.

    In evaluation mode the logits are the logarithm of the ensemble's probability

        p(k) = (1 - share) * softmax(main)_k + share * q_g(k)(k) / sum over j of q_g(j)(j)

    with g(k) the group of class k and q_g(k) the probability that group g's classifier gives it: were all classifiers
    right about their posteriors, both halves would be the posterior of the class. In training mode the logits are the
    main classifier's, for the cross-entropy; GroupLoss is for the others.

    Args:
        channels: channels of the feature map.
        classes: K.
        groups: G, how many groups.
        class_counts: (K,) training clips of each class, from which class_groups makes the groups. Without them the head
            is one into which a state dict will be loaded: the group of each class is a buffer, saved with the weights.
        class_group: the group of each class instead; each of 0 to G - 1 at least once.
        share: part of the group classifiers in the ensemble, 0..1; 0 is the main classifier alone.
        embedding_dim, embedding_pool, dropout, generator: see PathwayHead.

    Shapes:
        (N, channels, T, H, W) -> PathwayOutput whose `auxiliary["groups"]` is (N, G, K + 1): the scores of each group's
        classifier before its softmax, the last for "another group"; -inf for classes of other groups and, if there
        is one group only, for "another group". In evaluation mode logits are float32 or wider.

    Raises:
        MgkitError: if an argument is out of range, or `forward` is called before the groups are known.
    """

    class_group: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        groups: int,
        *,
        class_counts: npt.NDArray[np.integer] | None = None,
        class_group: Sequence[int] | None = None,
        share: float = 0.5,
        embedding_dim: int | None = 256,
        embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            channels,
            classes,
            embedding_dim=embedding_dim,
            embedding_pool=embedding_pool,
            dropout=dropout,
            generator=generator,
        )
        if not 1 <= groups <= classes:
            raise MgkitError(f"{classes} classes make 1 to {classes} groups; got groups={groups}.")
        if not 0 <= share <= 1:
            raise MgkitError(f"share is the part of the group classifiers, 0 to 1; got {share}.")
        self.groups, self.share = groups, share
        self.group_classifier = nn.Linear(channels, classes + groups)
        nn.init.normal_(self.group_classifier.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.group_classifier.bias)
        group = [-1] * classes
        if class_group is not None:
            group = [index(value) for value in class_group]
        elif class_counts is not None:
            group = class_groups(class_counts, groups).tolist()
        self.register_buffer("class_group", torch.tensor(group))
        self._known = False  # looked at once: reading the buffer makes the CPU wait for a GPU
        if class_group is not None:
            self._check_groups()

    def forward(self, features: Tensor, pooled: Tensor | None = None) -> PathwayOutput:
        if (
            not self._known and not self.class_group.is_meta
        ):  # there nothing can be read, and shapes do not need it
            self._check_groups()
        output = super().forward(features, pooled)
        scores = self.group_classifier(self.dropout(pooled_features(features, pooled)))  # (N, K + G)
        classes, others = scores.split((len(self.class_group), self.groups), dim=1)
        numbers = torch.arange(self.groups, device=scores.device)
        foreign = self.class_group != numbers[:, None]  # (G, K)
        own = classes[:, None].masked_fill(foreign, -math.inf)  # (N, G, K)
        if self.groups == 1:
            others = torch.full_like(others, -math.inf)
        grouped = torch.cat((own, others[:, :, None]), dim=2)  # (N, G, K + 1)
        logits = output.logits if self.training else self._ensemble(output.logits, grouped)
        return output._replace(logits=logits, auxiliary={"groups": grouped})

    def _ensemble(self, main: Tensor, grouped: Tensor) -> Tensor:
        """(N, K) logarithms of the ensemble's probabilities."""
        main = at_least_float32(main).log_softmax(dim=1)
        if self.share == 0:
            return main
        each = at_least_float32(grouped).log_softmax(dim=2)
        column = self.class_group.expand(len(each), 1, -1)
        own = each[:, :, :-1].gather(1, column)[:, 0].log_softmax(dim=1)  # normalised: divided by their sum
        if self.share == 1:
            return own
        return torch.logaddexp(main + math.log1p(-self.share), own + math.log(self.share))

    def _check_groups(self) -> None:
        wanted, found = set(range(self.groups)), self.class_group.tolist()
        if -1 in found:
            raise MgkitError(
                "The head does not know the group of each class: give class_counts, or load the weights of a trained "
                "head, which have it."
            )
        if len(found) != self.classifier.out_features or set(found) != wanted:
            raise MgkitError(
                f"class_group needs a group of 0 to {self.groups - 1} for each of {self.classifier.out_features} "
                f"classes, and a class in each group; got {found}."
            )
        self._known = True


def others_weights(counts: Tensor, member: Tensor) -> Tensor:
    """For GroupLoss: weights with which the clips of other groups amount to no more than a group's own.

    For a rare group almost every clip is one of another group, and a classifier that says so each time is nearly always
    right. With these weights it learns from both alike, and so a rare class is chosen at a smaller probability.
    A weight for all groups together would not do that: it raises the probabilities of frequent classes as well.

    Args:
        counts: (K,) training clips of each class.
        member: (G, K) whether a class is of a group.

    Returns:
        (G,) the clips of each group over those of all others, at most 1.

    Example:
        >>> others_weights(torch.tensor([800.0, 150, 50]), torch.tensor([[True, False, False], [False, True, True]]))
        tensor([1.0000, 0.2500])
    """
    own = (member * counts).sum(dim=1)
    return (own / (counts.sum() - own).clamp(min=1)).clamp(max=1)


def group_loss(scores: Tensor, labels: Tensor, others: Tensor | float = 1.0) -> Tensor:
    """Cross-entropy of every group's classifier: of the class in the group that has it, else of "another group".

    Args:
        scores: (N, G, K + 1) as `auxiliary["groups"]` of a GroupedHead.
        labels: (N,) integers in 0..K-1.
        others: weight of a classifier's loss on a clip of another group, one for all or (G,). With `others_weights`
            rare classes gain; with one weight for all, the ensemble finds even fewer of them than the main classifier.
            A clip of its own group has weight 1. With 0 a classifier learns from the clips of its group alone, and
            never what another group is.

    Returns:
        (N,) float32 or wider, each clip's mean over the groups of the weighted losses. With one group it is the plain
        cross-entropy.

    Raises:
        MgkitError: if shapes or labels do not fit.
    """
    if scores.ndim != 3 or scores.shape[1] < 1 or scores.shape[2] < 2 or len(scores) != len(labels):
        raise MgkitError(
            f"The scores of groups must have the shape ({len(labels)}, groups, classes + 1) for "
            f"{counted(len(labels), 'label')}, but have {tuple(scores.shape)}."
        )
    clips, groups, columns = scores.shape
    labels = checked_labels(labels, columns - 1, scores.device)
    at_label = labels[:, None, None].expand(clips, groups, 1)
    own = (
        scores.detach().gather(2, at_label)[:, :, 0] != -math.inf
    )  # (N, G): whose classifier scores the class
    target = torch.where(own, labels[:, None], columns - 1)
    losses = F.cross_entropy(at_least_float32(scores).flatten(0, 1), target.flatten(), reduction="none")
    weights = torch.where(own, 1.0, torch.as_tensor(others, dtype=losses.dtype, device=losses.device))
    return (losses.view(clips, groups) * weights).mean(dim=1)


class GroupLoss(nn.Module):
    """`group_loss` of every pathway with a GroupedHead, with `others_weights` of the training clips.

    The groups are read from the outputs, since weights that a training starts from bring theirs along.

    Args:
        class_counts: (K,) training clips of each class.

    Shapes:
        forward: {pathway: PathwayOutput}, labels (N,) -> {pathway: (N,)}.

    Example:
        >>> head = GroupedHead(8, 4, groups=2, class_group=[0, 0, 1, 1])
        >>> outputs = {"pose": head(torch.rand(5, 8, 2, 3, 3))}
        >>> GroupLoss([9, 9, 2, 1])(outputs, torch.tensor([0, 1, 2, 3, 0]))["pose"].shape
        torch.Size([5])
    """

    counts: Tensor

    def __init__(self, class_counts: Sequence[int] | npt.NDArray[np.integer]) -> None:
        super().__init__()
        # Not saved: they come from the training clips, not from the training.
        counts = torch.tensor([float(count) for count in class_counts])
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, outputs: Mapping[str, PathwayOutput], labels: Tensor) -> dict[str, Tensor]:
        losses = {}
        for name, scores in auxiliary_of(outputs, "groups").items():
            member = (scores.detach()[:, :, :-1] != -math.inf).any(dim=0)  # (G, K)
            losses[name] = group_loss(scores, labels, others_weights(self.counts, member))
        return losses
