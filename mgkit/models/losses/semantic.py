"""A head that also learns the word vector of the class name.

Li et al., "Joint Skeletal and Semantic Embedding Loss for Micro-gesture Classification", MiGA challenge at IJCAI 2023
(first place): in addition to the classifier, a linear layer on the same pooled features is drawn to the word vector of
the clip's class by the mean squared error, with 20 times the weight of the cross-entropy. Word vectors come from
`mgkit.data.word_vectors`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError, counted
from mgkit.models.heads import PathwayHead, PathwayOutput, Pool, auxiliary_of, pooled_features
from mgkit.models.losses.prototypes import checked_labels


class SemanticHead(PathwayHead):
    """PathwayHead with one more linear layer, `semantic`, on the pooled features (before the dropout).

    Args:
        channels, classes, embedding_dim, embedding_pool, dropout, generator: see PathwayHead. With the same
            generator, classifier and embedding begin as they do there.
        semantic_dim: width of the class vectors, 300 for the GloVe vectors of the paper's code.

    Shapes:
        (N, channels, T, H, W) -> PathwayOutput with auxiliary["semantic"] (N, semantic_dim).

    Example:
        >>> head = SemanticHead(8, 3, semantic_dim=5)
        >>> output = head(torch.rand(2, 8, 4, 7, 7))
        >>> loss = SemanticLoss(torch.rand(3, 5))({"pose": output}, torch.tensor([0, 2]))
        >>> loss["pose"].shape
        torch.Size([2])
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        semantic_dim: int = 300,
        embedding_dim: int | None = 256,
        embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        if semantic_dim < 1:
            raise MgkitError(
                f"semantic_dim is the width of the class vectors, 1 or more; got {semantic_dim}."
            )
        super().__init__(
            channels,
            classes,
            embedding_dim=embedding_dim,
            embedding_pool=embedding_pool,
            dropout=dropout,
            generator=generator,
        )
        self.semantic = nn.Linear(channels, semantic_dim)
        self._reset_semantic(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """As in PathwayHead, and the semantic layer N(0, 0.01) with biases 0, as in the paper's code."""
        super().reset_parameters(generator)
        if hasattr(self, "semantic"):  # PathwayHead's constructor calls this before there is one
            self._reset_semantic(generator)

    def _reset_semantic(self, generator: torch.Generator | None) -> None:
        nn.init.normal_(self.semantic.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.semantic.bias)

    def forward(self, features: Tensor, pooled: Tensor | None = None) -> PathwayOutput:
        output = super().forward(features, pooled)
        semantic = self.semantic(pooled_features(features, pooled))  # (N, semantic_dim)
        return output._replace(auxiliary={**output.auxiliary, "semantic": semantic})


class SemanticLoss(nn.Module):
    """Mean squared error of each clip's semantic output to its class's vector.

    The vectors are a buffer: they are saved with the training, so that it resumes where their file is not at hand.

    Args:
        vectors: (K, D), one per class in the order of the labels: `class_vectors(...).vectors`.

    Shapes:
        forward: {pathway: PathwayOutput} of a SemanticHead, labels (N,) integers in 0..K-1 -> {pathway: (N,)} float32,
        the mean over D of the squared errors.

    Raises:
        MgkitError: if vectors, outputs or labels have another shape, type or range.
    """

    vectors: Tensor

    def __init__(self, vectors: Tensor | np.ndarray) -> None:
        super().__init__()
        vectors = torch.as_tensor(vectors, dtype=torch.float32).clone()
        if vectors.ndim != 2 or 0 in vectors.shape or not bool(vectors.isfinite().all()):
            raise MgkitError(
                f"The class vectors must be finite numbers (classes, width), but are of shape {tuple(vectors.shape)}"
                f"{' and not all finite' if vectors.numel() else ''}."
            )
        self.register_buffer("vectors", vectors)

    def forward(self, outputs: Mapping[str, PathwayOutput], labels: Tensor) -> dict[str, Tensor]:
        return {name: self._of(tensor, labels) for name, tensor in auxiliary_of(outputs, "semantic").items()}

    def _of(self, tensor: Tensor, labels: Tensor) -> Tensor:
        """(N,) losses of the outputs (N, D)."""
        classes, width = self.vectors.shape
        labels = checked_labels(labels, classes, tensor.device)
        if tensor.shape != (len(labels), width):
            raise MgkitError(
                f"The semantic output must have the shape ({len(labels)}, {width}) for "
                f"{counted(len(labels), 'label')} and class vectors of width {width}, but has {tuple(tensor.shape)}: "
                f"build the head with semantic_dim={width}."
            )
        return (tensor.float() - self.vectors[labels]).square().mean(dim=1)
