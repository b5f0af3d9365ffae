"""Prototypical refinement as a loss module: it keeps the prototypes and combines the functions of `prototypes`.

Chen et al., "Prototype Learning for Micro-gesture Classification", IJCAI 2024 MiGA challenge, section 2.3, equations 5
to 9; docs/method.md shows them next to the code.

The memory of recent clips is ours, not the paper's. A batch of 10 clips over 32 classes has a false negative or a false
positive of very few classes, and without one the refinement lowers nothing. Remembered clips fill up those sets, in the
manner of the cross-batch memory of Wang et al., CVPR 2020: their embeddings are a few steps old and get no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist

from mgkit.errors import MgkitError, counted
from mgkit.models.layers import at_least_float32, gather_over_processes, world_size
from mgkit.models.losses.prototypes import (
    SetCentres,
    Shift,
    checked_labels,
    confusion_sets,
    join_centres,
    label_sets,
    refinement_loss,
    set_centres,
    update_prototypes,
)

__all__ = ["ClipMemory", "PrototypicalRefinement", "RefinementOutput", "remap_classes"]


class ClipMemory(nn.Module):
    """The embeddings of the `size` most recent clips with their labels and predicted classes, newest first.

    All three are buffers, so that a resumed training remembers the same clips.

    Args:
        size: number of clips to remember, at least 1.
        embedding_dim: D.

    Shapes:
        embeddings: buffer (size, D); labels, predicted: buffers (size,) int64, both -1 where nothing is remembered.
    """

    embeddings: Tensor
    labels: Tensor
    predicted: Tensor

    def __init__(self, size: int, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, embedding_dim))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("predicted", torch.full((size,), -1))

    def __len__(self) -> int:
        return len(self.labels)

    def centres(self, num_classes: int) -> tuple[SetCentres, SetCentres]:
        """Centres of the remembered false negatives and false positives, twice (K, D) and (K,), without gradient."""
        sets = label_sets(self.labels, self.predicted, num_classes)
        # A copy: a later step changes the buffer in place while this step's graph may still need it.
        embeddings = self.embeddings.clone()
        return set_centres(embeddings, sets.fn), set_centres(embeddings, sets.fp)

    @torch.no_grad()
    def remember(self, embeddings: Tensor, labels: Tensor, predicted: Tensor) -> None:
        """Add clips, the last of them as the newest, and forget the oldest.

        Shapes:
            (N, D), (N,), (N,); a clip whose label and prediction are -1 takes a place but is in no set.
        """
        for buffer, new in (
            (self.embeddings, embeddings),
            (self.labels, labels),
            (self.predicted, predicted),
        ):
            buffer.copy_(torch.cat((new.to(buffer.dtype).flip(0), buffer))[: len(buffer)])


class RefinementOutput(NamedTuple):
    """The result of a refinement step. Only `loss` carries a gradient.

    Attributes:
        loss: (), the mean over the batch of both terms; in multi-process training scaled as described in the class.
        fn_term, fp_term: (), its two parts.
        per_clip: (N,) the loss of each clip of this process.
        tp, fn, fp: (K,) int64, number of clips of the (global) batch in each set.
        lowered_fn, lowered_fp: (K,) int64, number of clips of each class whose score was lowered by the FN and by the
            FP term: those that `shift` selects, where the set of their class is not empty.
        left_out: (N,) boolean, clips of this process whose embedding (its squared length) or logits are not finite.
            They are in no set, their loss is 0, and the mean is over the others.
    """

    loss: Tensor
    fn_term: Tensor
    fp_term: Tensor
    per_clip: Tensor
    tp: Tensor
    fn: Tensor
    fp: Tensor
    lowered_fn: Tensor
    lowered_fp: Tensor
    left_out: Tensor


class PrototypicalRefinement(nn.Module):
    """Prototypes of each class and the loss that refines an embedding with them.

    Call it with a batch's embeddings, labels and classifier logits, and add the loss, times a small weight (0.2 in the
    paper's family), to the classification loss. In training mode each call first moves the prototypes towards the
    batch's true positives, then computes the loss with the moved ones. In evaluation mode nothing changes.

    Loss and gradients are finite for every batch: an empty one (loss 0), one clip, one class, empty sets, vectors of
    length 0 (no direction, no gradient), half precision (everything is computed in float32). A clip whose embedding or
    logits overflowed is left out and marked in the output.

    In multi-process training sets, centres and prototypes are those of the clips of all processes, which may have
    different numbers of clips. The loss is scaled by processes * (own clips / all clips), so that the mean of the
    gradients over the processes, which DistributedDataParallel computes, is the gradient of the whole batch's loss.
    Every process must make every call in training mode; in evaluation mode each one sees its own clips only.

    With `memory` the false negatives and false positives of a class are those of the batch and of the last `memory`
    clips of earlier training steps, whose embeddings are kept as they were and get no gradient; in evaluation mode,
    too. The memory affects the two centres only: prototypes and the counts in the output are the batch's.

    Args:
        num_classes: K.
        embedding_dim: D.
        momentum: share of the previous prototype in the update, 0..1.
        temperature, margin, shift, detach_probability: see refinement_loss.
        memory: number of recent clips to remember, of all processes together; 0 for none.
        generator: source of the random initial prototypes; torch's own when omitted. In multi-process training those
            of the first process are used.

    Shapes:
        forward: embeddings (N, D), labels (N,) integers in 0..K-1, logits (N, K) -> RefinementOutput.
        prototypes: buffer (K, D), updates: buffer (K,) int64. Both are saved in the state dict, and so is the memory
        (see ClipMemory). A state dict without a memory loads into a module with one, which then begins empty; one for
        another number of classes needs `remap_classes`.

    Raises:
        MgkitError: if an argument is out of range, or shapes, devices or labels do not fit.

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
        >>> refinement.seen.shape  # which classes have a prototype so far
        torch.Size([5])
    """

    prototypes: Tensor
    updates: Tensor
    memory: ClipMemory | None

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
        memory: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1 or embedding_dim < 1 or memory < 0:
            raise MgkitError(
                "num_classes and embedding_dim must be at least 1, and memory not negative; got "
                f"{num_classes}, {embedding_dim} and {memory}"
            )
        if not 0 <= momentum <= 1 or not 0 < temperature < math.inf or not 0 <= margin < math.inf:
            raise MgkitError(
                "momentum must be in 0..1, temperature positive and margin not negative; got "
                f"{momentum}, {temperature} and {margin}"
            )
        if shift not in ("tp", "all"):
            raise MgkitError(f"shift must be 'tp' or 'all', not {shift!r}")
        self.momentum = momentum
        self.temperature = temperature
        self.margin = margin
        self.shift: Shift = shift
        self.detach_probability = detach_probability
        self.register_buffer("prototypes", torch.empty(num_classes, embedding_dim))
        self.register_buffer("updates", torch.zeros(num_classes, dtype=torch.int64))
        nn.init.normal_(self.prototypes, generator=generator)
        self.memory = ClipMemory(memory, embedding_dim) if memory else None
        self._agreed = False  # whether all processes have the first one's prototypes

    @property
    def seen(self) -> Tensor:
        """Classes that had a true positive and so have a prototype, (K,) boolean."""
        return self.updates > 0

    def forward(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> RefinementOutput:
        labels = self._check(embeddings, labels, logits)
        together = self.training and world_size() > 1
        # All processes begin with the prototypes of the first.
        if together and not self._agreed:
            for buffer in self.buffers():
                dist.broadcast(buffer, src=0)
            self._agreed = True

        # Leave out clips that overflowed: one would reach every centre, as 0 times infinity is not 0. The square leaves
        # room for sums.
        usable = at_least_float32(embeddings.detach()).square().sum(dim=1).isfinite()
        usable &= logits.isfinite().all(dim=1)  # (N,)
        embeddings = torch.where(usable[:, None], embeddings, 0.0)
        logits = torch.where(usable[:, None], logits, 0.0)

        # Centres of the true positives, false negatives and false positives, in one exchange between processes.
        sets = torch.cat(confusion_sets(logits, labels), dim=1) & usable[:, None]  # (N, 3 K)
        centres, counts = set_centres(embeddings, sets, across_processes=together)
        tp, fn, fp = (SetCentres(*pair) for pair in zip(centres.chunk(3), counts.chunk(3), strict=True))
        all_fn, all_fp = fn, fp
        if self.memory is not None:
            remembered = self.memory.centres(len(self.prototypes))
            all_fn, all_fp = join_centres(fn, remembered[0]), join_centres(fp, remembered[1])

        # Move the prototypes (a copy: a later step changes the buffer while this step's graph may still need it).
        prototypes = self.prototypes.clone()
        if self.training:
            prototypes, changed = update_prototypes(self.prototypes, tp, momentum=self.momentum)
            with torch.no_grad():
                self.prototypes.copy_(prototypes)
                self.updates.add_(changed)
            if self.memory is not None:
                predicted = torch.where(usable, logits.argmax(dim=1), -1)
                self._remember(self.memory, embeddings, torch.where(usable, labels, -1), predicted)

        terms = refinement_loss(
            embeddings,
            labels,
            logits,
            prototypes,
            all_fn,
            all_fp,
            temperature=self.temperature,
            margin=self.margin,
            shift=self.shift,
            detach_probability=self.detach_probability,
        )
        fn_terms, fp_terms = (torch.where(usable, term, 0.0) for term in terms)

        # The mean over all clips: each is a true positive or a false negative of its own class.
        clips = (tp.counts.sum() + fn.counts.sum()).clamp(min=1)
        scale = (world_size() if together else 1) / clips
        named = tp.counts if self.shift == "tp" else tp.counts + fn.counts  # (K,)
        fn_term, fp_term = fn_terms.sum() * scale, fp_terms.sum() * scale
        return RefinementOutput(
            loss=fn_term + fp_term,
            fn_term=fn_term.detach(),
            fp_term=fp_term.detach(),
            per_clip=(fn_terms + fp_terms).detach(),
            tp=tp.counts,
            fn=fn.counts,
            fp=fp.counts,
            lowered_fn=named * (all_fn.counts > 0),
            lowered_fp=named * (all_fp.counts > 0),
            left_out=~usable,
        )

    @staticmethod
    def _remember(memory: ClipMemory, embeddings: Tensor, labels: Tensor, predicted: Tensor) -> None:
        # One exchange for the three: classes are exact in float32 below 2**24.
        z = at_least_float32(embeddings.detach())
        rows = gather_over_processes(torch.cat((z, labels[:, None], predicted[:, None]), dim=1))
        memory.remember(rows[:, :-2], rows[:, -2].long(), rows[:, -1].long())

    def _check(self, embeddings: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """The labels as int64, after shapes and devices of all three have been checked."""
        k, d = self.prototypes.shape
        for name, x, width in (("embeddings", embeddings, d), ("logits", logits, k)):
            if x.device != self.prototypes.device:
                raise MgkitError(
                    f"{name} are on {x.device}, the prototypes on {self.prototypes.device}: move the loss with "
                    f"`.to({str(x.device)!r})`"
                )
            if x.ndim != 2 or x.shape[1] != width:
                raise MgkitError(f"{name} must have the shape (N, {width}), but have {tuple(x.shape)}")
        labels = checked_labels(labels, k, logits.device)
        n = len(labels)
        if len(embeddings) != n or len(logits) != n:
            raise MgkitError(
                f"{counted(n, 'label')} do not go with {len(embeddings)} embeddings and {len(logits)} logits"
            )
        return labels

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored, own = state_dict.get(f"{prefix}prototypes"), self.prototypes
        if isinstance(stored, Tensor) and stored.shape != own.shape:
            raise MgkitError(
                f"the saved prototypes are of shape {tuple(stored.shape)} (classes, embedding width), the loss has "
                f"{tuple(own.shape)}: for other classes convert them with mgkit.models.remap_classes, for another "
                "embedding width start again"
            )
        remembered = state_dict.get(f"{prefix}memory.labels")
        there, here = (0 if m is None else len(m) for m in (remembered, self.memory))
        if there and there != here:
            raise MgkitError(
                f"the saved loss remembers {there} clips, this one {here}: make it with memory={there}, or remove the "
                "entries named memory from the state dict to begin with an empty one"
            )
        if here and not there and stored is not None:  # saved without a memory: begin with an empty one
            for name, buffer in ClipMemory(here, own.shape[1]).named_buffers():
                state_dict[f"{prefix}memory.{name}"] = buffer
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def remap_classes(
    state: Mapping[str, Tensor],
    mapping: Sequence[int | None],
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The state of a refinement for other classes: a subset, another order, more of them.

    A new class that comes from an old one takes over its prototype and number of updates. One that comes from none gets
    a random prototype that was never updated, as at the beginning of a training. Remembered labels and predictions
    follow their class; those of a class that is gone, or that became several, are forgotten.

    Args:
        state: state dict of a PrototypicalRefinement, or of an Objective (then of all its pathways).
        mapping: for each new class the index of the old class it comes from, or None. By name:
            `[old.index(name) if name in old else None for name in new]`.
        generator: source of the random prototypes, on the CPU; torch's own when omitted.

    Returns:
        a new state dict for `len(mapping)` classes; `state` is unchanged.

    Raises:
        MgkitError: if there are no prototypes in the state, or no new class, or an index is not an old class.

    Example:
        >>> old = PrototypicalRefinement(num_classes=3, embedding_dim=16)
        >>> new = PrototypicalRefinement(num_classes=4, embedding_dim=16)  # one class more, before the others
        >>> _ = new.load_state_dict(remap_classes(old.state_dict(), [None, 0, 1, 2]))
        >>> bool((new.prototypes[1:] == old.prototypes).all())
        True
    """
    places = [name.removesuffix("prototypes") for name in state if name.split(".")[-1] == "prototypes"]
    if not places or not mapping:
        raise MgkitError(
            "remap_classes needs the state dict of a loss with prototypes and at least one new class; got "
            f"{len(places)} sets of prototypes and {len(mapping)} classes"
        )
    remapped = dict(state)
    for place in places:
        prototypes, updates = state[f"{place}prototypes"], state[f"{place}updates"]
        count = len(prototypes)
        for new, old in enumerate(mapping):
            # A list of booleans selects classes elsewhere; here it would pass as the classes 0 and 1.
            index = isinstance(old, Integral) and not isinstance(old, bool)
            if old is not None and not (index and 0 <= old < count):
                raise MgkitError(
                    f"mapping gives class {new} the old class {old!r}, but there are only 0 to {count - 1}: use "
                    "None for a new class"
                )
        kept = torch.tensor([old is not None for old in mapping], device=prototypes.device)
        source = torch.tensor([old or 0 for old in mapping], device=prototypes.device)
        fresh = torch.empty(len(mapping), prototypes.shape[1]).normal_(generator=generator).to(prototypes)
        remapped[f"{place}prototypes"] = torch.where(kept[:, None], prototypes[source], fresh)
        remapped[f"{place}updates"] = torch.where(kept, updates[source], 0)
        # The last entry is what -1, no class, becomes.
        becomes = [new[0] if len(new) == 1 else -1 for new in _inverse(mapping, count)] + [-1]
        for name in ("labels", "predicted"):
            if (remembered := state.get(f"{place}memory.{name}")) is not None:
                remapped[f"{place}memory.{name}"] = torch.tensor(becomes, device=remembered.device)[
                    remembered
                ]
    return remapped


def _inverse(mapping: Sequence[int | None], count: int) -> list[list[int]]:
    """For each old class the new ones that come from it."""
    return [[new for new, old in enumerate(mapping) if old == index] for index in range(count)]
