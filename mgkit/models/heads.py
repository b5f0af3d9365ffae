"""What a pathway puts out, and how the pathways' predictions become one.

Chen et al., IJCAI 2024 MiGA challenge, sections 2.1 (prediction: 1:1 mean of the two softmax outputs) and 2.3
(embedding: pooling and a linear layer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError

__all__ = ["PathwayHead", "PathwayOutput", "Pool", "fuse_probabilities"]

Pool = Literal["mean", "max"]


class PathwayOutput(NamedTuple):
    """What one pathway says about N clips.

    Attributes:
        logits: (N, K) class scores before the softmax.
        embedding: (N, D) for prototypes and maps, or None.
        features: (N, C, T, H, W) last feature map, non-negative but for transformers of video, or None.
        auxiliary: what the head puts out besides these, by name, (N, ...) each, for further losses.
    """

    logits: Tensor
    embedding: Tensor | None = None
    features: Tensor | None = None
    auxiliary: Mapping[str, Tensor] = {}


class PathwayHead(nn.Module):
    """Classifier and embedding on a pathway's last feature map.

    Logits: global average pool, dropout, linear. Embedding: mean over time, maximum over space (method D4), linear.
    A backbone that pools its map in a way of its own (a token for the class, attention) gives the pooled vector along.

    Args:
        channels: channels of the feature map.
        classes: K.
        embedding_dim: D, or None for no embedding.
        embedding_pool: how the map is pooled for the embedding, "mean" or "max", over time and then over space.
        dropout: probability before the classifier.
        generator: source of the initial weights; torch's own when omitted.

    Shapes:
        (N, channels, T, H, W), and (N, channels) where the backbone pools -> PathwayOutput.

    Raises:
        MgkitError: if a pooling is neither "mean" nor "max".
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        embedding_dim: int | None = 256,
        embedding_pool: tuple[Pool, Pool] = ("mean", "max"),
        dropout: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(embedding_pool) != 2 or not set(embedding_pool) <= {"mean", "max"}:
            raise MgkitError(
                f"embedding_pool is how to pool over time and over space, 'mean' or 'max' each; got {embedding_pool!r}."
            )
        self.embedding_pool = embedding_pool
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        self.embedding = nn.Linear(channels, embedding_dim) if embedding_dim is not None else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Classifier N(0, 0.01), embedding Xavier uniform, biases 0."""
        nn.init.normal_(self.classifier.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.classifier.bias)
        if self.embedding is not None:
            nn.init.xavier_uniform_(self.embedding.weight, generator=generator)
            nn.init.zeros_(self.embedding.bias)

    def forward(self, features: Tensor, pooled: Tensor | None = None) -> PathwayOutput:
        logits = self.classifier(self.dropout(pooled_features(features, pooled)))  # (N, K)
        embedding = None
        if self.embedding is not None:
            over_time, over_space = self.embedding_pool
            reduced = _pool(_pool(features, over_time, (2,)), over_space, (2, 3))  # (N, channels)
            embedding = cast(Tensor, self.embedding(reduced))  # (N, D)
        return PathwayOutput(logits, embedding, features)


def pooled_features(features: Tensor, pooled: Tensor | None) -> Tensor:
    """(N, C) what a classifier reads of a map (N, C, T, H, W): the backbone's own vector, or the mean."""
    return features.mean(dim=(2, 3, 4)) if pooled is None else pooled


def _pool(x: Tensor, how: Pool, dims: tuple[int, ...]) -> Tensor:
    return x.mean(dim=dims) if how == "mean" else x.amax(dim=dims)


def fuse_probabilities(
    outputs: Mapping[str, PathwayOutput], weights: Mapping[str, float] | None = None
) -> dict[str, Tensor]:
    """Each pathway's softmax and their weighted mean under the key "fused".

    Args:
        outputs: a model's outputs by pathway.
        weights: weight of each pathway, not negative, at least one positive; they are normalised to sum to 1.
            Equal weights when omitted (1:1, the paper's section 2.1).

    Returns:
        {pathway: (N, K), ..., "fused": (N, K)}, float32 whatever the model computed in; rows sum to 1.

    Raises:
        MgkitError: if a pathway has no weight, or the weights are negative, all zero or not finite.

    Example:
        >>> sure, unsure = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> outputs = {"rgb": PathwayOutput(sure, None, sure), "pose": PathwayOutput(unsure, None, unsure)}
        >>> int(fuse_probabilities(outputs)["fused"].argmax())
        0
    """
    if weights is None:
        weights = dict.fromkeys(outputs, 1.0)
    missing = [name for name in outputs if name not in weights]
    if missing:
        raise MgkitError(f"No weight for {', '.join(missing)}: give one for each of {', '.join(outputs)}.")
    total = sum(weights[name] for name in outputs)
    if not 0 < total < math.inf or min(weights[name] for name in outputs) < 0:
        raise MgkitError(
            f"Fusion weights must be finite, not negative, and at least one positive; got {dict(weights)}."
        )
    probabilities = {name: output.logits.float().softmax(dim=1) for name, output in outputs.items()}
    fused = torch.stack([p * (weights[name] / total) for name, p in probabilities.items()]).sum(dim=0)
    return {**probabilities, "fused": fused}


def auxiliary_of(outputs: Mapping[str, PathwayOutput], kind: str) -> dict[str, Tensor]:
    """What the heads put out besides logits under a name, per pathway."""
    found = {name: output.auxiliary[kind] for name, output in outputs.items() if kind in output.auxiliary}
    if not found:
        raise MgkitError(
            f"There is a loss of {kind!r}, but no head with such an output: give the network one."
        )
    return found
