"""A memory of recent clips, so that a small batch's sets of ambiguous clips are not empty. Ours, not the paper's.

A batch of 10 clips over 32 classes has a false negative and a false positive of very few classes, and without one the
refinement lowers nothing. Remembered clips fill those sets up, in the manner of the cross-batch memory of Wang et
al., CVPR 2020: their embeddings are a few steps old, and no gradient reaches them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mgkit.models.prototypes import SetCentres, label_sets, set_centres

__all__ = ["ClipMemory"]


class ClipMemory(nn.Module):
    """The embeddings of the `size` most recent clips with their labels and predicted classes, newest first.

    All three are buffers, so a training that goes on from a state dict remembers the same clips.

    Args:
        size: how many clips to remember, 1 or more.
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
        """Centres of the remembered false negatives and false positives, without gradient: (K, D) and (K,) twice."""
        sets = label_sets(self.labels, self.predicted, num_classes)
        # A copy: a later step changes the buffer in place while this step's graph may still need it.
        embeddings = self.embeddings.clone()
        return set_centres(embeddings, sets.fn), set_centres(embeddings, sets.fp)

    @torch.no_grad()
    def remember(self, embeddings: Tensor, labels: Tensor, predicted: Tensor) -> None:
        """Take in clips, the last of them as the newest, and forget the oldest.

        Shapes:
            (N, D), (N,), (N,); a clip whose label and prediction are -1 takes a place but is in no set.
        """
        for buffer, new in (
            (self.embeddings, embeddings),
            (self.labels, labels),
            (self.predicted, predicted),
        ):
            buffer.copy_(torch.cat((new.to(buffer.dtype).flip(0), buffer))[: len(buffer)])
