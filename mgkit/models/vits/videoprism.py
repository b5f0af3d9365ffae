"""VideoPrism: attention within frames, then along time, whose published weights were learnt from videos and captions.

Zhao et al., "VideoPrism: A Foundational Visual Encoder for Video Understanding", ICML 2024, with the layers and names
of `transformers`.
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

__all__ = ["VideoPrism", "videoprism"]


class VideoPrism(VideoTransformer):
    """The layers before the classifier. Arguments: see videoprism, and VideoTransformer.

    Features are the tokens after the last norm.
    """

    MODEL_TYPES: ClassVar[tuple[str, ...]] = ("videoprism_vision_model",)
    FACTS: ClassVar[Mapping[str, str]] = {
        "hidden_size": "width", "num_spatial_layers": "blocks", "num_temporal_layers": "time_blocks",
        "num_attention_heads": "heads", "tubelet_size": "patch", "image_size": "rgb_size",
        "num_frames": "rgb_frames", "intermediate_size": "", "hidden_act": "", "layer_norm_eps": "",
        "qkv_bias": "", "attn_logit_softcapping": "",
    }  # fmt: skip

    def __init__(
        self,
        *,
        frames: int,
        size: int,
        width: int,
        blocks: int,
        time_blocks: int,
        heads: int,
        patch: int,
        drop_path: float,
        layer_decay: float,
        pixels: str,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__("VideoPrism", frames=frames, size=size, pixels=pixels)
        check_tokens(
            "VideoPrism", width=width, blocks=min(blocks, time_blocks), heads=heads, frames=frames, size=size,
            tubelet=1, patch=patch,
        )  # fmt: skip
        layers = library("VideoPrism", "videoprism.modeling_videoprism")
        config = library("VideoPrism", "videoprism.configuration_videoprism")
        self.config = config.VideoPrismVisionConfig(
            image_size=size, num_frames=frames, tubelet_size=[1, patch, patch], hidden_size=width,
            num_attention_heads=heads, intermediate_size=4 * width, num_spatial_layers=blocks,
            num_temporal_layers=time_blocks,
        )  # fmt: skip
        self.config._attn_implementation = (
            "eager"  # the fused one cannot bound the scores as this network does
        )
        with torch.device("meta"):
            self.spatial_embeddings = layers.VideoPrismSpatialEmbeddings(self.config)
            self.temporal_embeddings = layers.VideoPrismTemporalEmbeddings(self.config)
            self.spatial_layers = nn.ModuleList(layers.VideoPrismLayer(self.config) for _ in range(blocks))
            self.temporal_layers = nn.ModuleList(
                layers.VideoPrismLayer(self.config) for _ in range(time_blocks)
            )
            norm = layers.VideoPrismLayerNorm
            self.layernorm1, self.layernorm2 = (norm(width, eps=self.config.layer_norm_eps) for _ in range(2))
            self.pool = nn.ModuleDict(
                {
                    "attention": layers.VideoPrismMultiheadAttentionPoolingHead(self.config),
                    "norm": norm(width, eps=self.config.layer_norm_eps),
                }
            )
        every = [*self.spatial_layers, *self.temporal_layers]
        for block, skip in zip(every, skipping(every, drop_path), strict=True):
            cast(Any, block).dropout = skip  # ends both branches of the block
        for block in self.spatial_layers:
            block.within_frames = True  # type: ignore[assignment]
        self.finish(width, layer_decay, generator)
        # Positions in time, and the norm before them, go with the first block that looks along it.
        first = self.temporal_layers[0].learning_rate_factor
        self.temporal_embeddings.learning_rate_factor = first
        self.layernorm1.learning_rate_factor = first
        self.grid = (frames, size // patch, size // patch)

    @property
    def stem(self) -> list[nn.Module]:
        return [self.spatial_embeddings]

    @property
    def stages(self) -> list[list[nn.Module]]:
        return [list(self.spatial_layers), list(self.temporal_layers)]

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames, patches = self.grid[0], self.grid[1] * self.grid[2]
        shape = x.transpose(1, 2).shape  # (N, T, 3, H, W)
        tokens = self.spatial_embeddings(x.transpose(1, 2))  # (N T, H' W', C)
        for block in self.spatial_layers:
            tokens = self.through(block, tokens)
        tokens = self.temporal_embeddings(self.layernorm1(tokens), shape)  # (N H' W', T, C)
        for block in self.temporal_layers:
            tokens = self.through(block, tokens)
        tokens = self.layernorm2(tokens).view(len(x), patches, frames, self.out_channels[0])
        tokens = tokens.transpose(1, 2).flatten(1, 2)  # (N, T H' W', C)
        pool = cast(nn.ModuleDict, self.pool)
        return as_map(tokens, self.grid), pool["norm"](pool["attention"](tokens)[0].squeeze(1))


def videoprism(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 768,
    blocks: int = 12,
    time_blocks: int = 4,
    heads: int = 12,
    patch: int = 18,
    drop_path: float = 0.1,
    layer_decay: float = 0.75,
    pixels: str = "unit",
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """VideoPrism, with its head: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Features are (N, width, T, H / patch, W / patch). A clip skips the branches of a block frame by frame (within
    frames) or place by place (along time).

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway.
        width, blocks, time_blocks, heads: 768, 12, 4, 12 of VideoPrism-B: blocks within frames, then along time.
        patch, drop_path, layer_decay, pixels: see videomae; patches are of one frame.

    Raises:
        MgkitError: without `transformers`, or with one that does not have VideoPrism, or if the settings describe no
            network.
    """
    return single(
        "videoprism", VideoPrism, classes, inputs,
        width=width, blocks=blocks, time_blocks=time_blocks, heads=heads, patch=patch, drop_path=drop_path,
        layer_decay=layer_decay, pixels=pixels, head=head, generator=generator, class_counts=class_counts,
    )  # fmt: skip
