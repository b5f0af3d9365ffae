"""VideoMAE: a plain transformer on patches of two frames, whose published weights learnt to fill in masked ones.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training", NeurIPS
2022, with the layers and names of `transformers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mgkit.models.builders import Inputs
from mgkit.models.pathways import HEAD, SinglePathway
from mgkit.models.vits.transformer import VideoTransformer, as_map, check_tokens, library, single, skipping
from mgkit.parts import Part

__all__ = ["VideoMAE", "sinusoids", "videomae"]


class VideoMAE(VideoTransformer):
    """The layers before the classifier. Arguments: see videomae, and VideoTransformer.

    Features are the last block's tokens after the norm (of each token) that the classifier's input, the mean of all
    tokens, goes through.
    """

    MODEL_TYPES: ClassVar[tuple[str, ...]] = ("videomae",)
    FACTS: ClassVar[Mapping[str, str]] = {
        "hidden_size": "width", "num_hidden_layers": "blocks", "num_attention_heads": "heads", "patch_size": "patch",
        "tubelet_size": "tubelet", "image_size": "rgb_size", "num_frames": "rgb_frames", "intermediate_size": "",
        "hidden_act": "", "layer_norm_eps": "", "qv_bias": "",
    }  # fmt: skip

    positions: Tensor

    def __init__(
        self,
        *,
        frames: int,
        size: int,
        width: int,
        blocks: int,
        heads: int,
        patch: int,
        tubelet: int,
        drop_path: float,
        layer_decay: float,
        pixels: str,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__("VideoMAE", frames=frames, size=size, pixels=pixels)
        check_tokens(
            "VideoMAE", width=width, blocks=blocks, heads=heads, frames=frames, size=size, tubelet=tubelet,
            patch=patch,
        )  # fmt: skip
        layers = library("VideoMAE", "videomae.modeling_videomae")
        self.config = library("VideoMAE", "videomae.configuration_videomae").VideoMAEConfig(
            image_size=size, patch_size=patch, num_frames=frames, tubelet_size=tubelet, hidden_size=width,
            num_hidden_layers=blocks, num_attention_heads=heads, intermediate_size=4 * width,
        )  # fmt: skip
        self.config._attn_implementation = "sdpa"
        with torch.device("meta"):
            self.embeddings = nn.ModuleDict({"patch_embeddings": layers.VideoMAEPatchEmbeddings(self.config)})
            self.encoder = nn.ModuleDict(
                {"layer": nn.ModuleList(layers.VideoMAELayer(self.config) for _ in range(blocks))}
            )
            self.pool = nn.LayerNorm(width)
        every = self.stages[0]
        for block, skip in zip(every, skipping(every, drop_path), strict=True):
            # These dropouts, which are off, end the two branches of a block.
            cast(Any, block).attention.output.dropout = skip
            cast(Any, block).output.dropout = skip
        self.finish(width, layer_decay, generator)
        self.grid = (frames // tubelet, size // patch, size // patch)
        table = sinusoids(self.grid[0] * self.grid[1] * self.grid[2], width)
        self.register_buffer("positions", table.to(torch.get_default_device()), persistent=False)

    @property
    def stem(self) -> list[nn.Module]:
        return [cast(Any, self.embeddings["patch_embeddings"]).projection]

    @property
    def stages(self) -> list[list[nn.Module]]:
        return [list(cast(nn.ModuleList, self.encoder["layer"]))]

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """The last block's tokens (N, L, C) of normalised frames, before any norm.

        Args:
            x: (N, 3, T, size, size).
            visible: (N, all tokens) of type bool, the same number in each clip: only these are looked at, for
                pre-training. Tokens are in the order of the grid: frames, rows, columns.
        """
        patches = self.stem[0](x)  # (N, C, T', H', W')
        found = patches.flatten(2).transpose(1, 2) + self.positions.to(patches.dtype)  # (N, L, C)
        if visible is not None:
            found = found[visible].view(len(found), -1, found.shape[2])
        for block in self.stages[0]:
            found = self.through(block, found)
        return found

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens, norm = self.tokens(x), cast(nn.LayerNorm, self.pool)
        return as_map(norm(tokens), self.grid), norm(tokens.mean(1))


def sinusoids(count: int, width: int) -> Tensor:
    """(count, width) sines (even columns) and cosines of positions, as Vaswani et al. (NeurIPS 2017) section 3.5."""
    columns = torch.arange(width, dtype=torch.float64, device="cpu")
    angles = torch.arange(count, dtype=torch.float64, device="cpu")[:, None] / 10000 ** (
        2 * (columns // 2) / width
    )
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()


def videomae(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 768,
    blocks: int = 12,
    heads: int = 12,
    patch: int = 16,
    tubelet: int = 2,
    drop_path: float = 0.1,
    layer_decay: float = 0.75,
    pixels: str = "imagenet",
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """VideoMAE, with its head: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Features are (N, width, T / tubelet, H / patch, W / patch).

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway.
        width, blocks, heads: 384, 12, 6 of VideoMAE-S; 768, 12, 12 of B; 1024, 24, 16 of L. The perceptrons between
            have four times the width.
        patch: side of a patch, pixels.
        tubelet: frames of a patch.
        drop_path: probability that a clip skips the last block's branches in training; for earlier blocks it is lower,
            in proportion to their depth.
        layer_decay: the block n from the end learns at layer_decay^n of the rate.
        pixels: how the weights want pixels normalised, one of `PIXELS`.

    Raises:
        MgkitError: without `transformers`, or if the settings describe no network.
    """
    return single(
        "videomae", VideoMAE, classes, inputs,
        width=width, blocks=blocks, heads=heads, patch=patch, tubelet=tubelet, drop_path=drop_path,
        layer_decay=layer_decay, pixels=pixels, head=head, generator=generator, class_counts=class_counts,
    )  # fmt: skip
