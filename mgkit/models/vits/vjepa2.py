"""V-JEPA 2: a transformer with rotary positions, whose published weights were learnt by predicting features of video.

Assran et al., "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and Planning", 2025, with the
layers and names of `transformers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError
from mgkit.models.builders import Inputs
from mgkit.models.pathways import HEAD, SinglePathway
from mgkit.models.vits.transformer import VideoTransformer, as_map, check_tokens, library, single
from mgkit.parts import Part

__all__ = ["VJEPA2", "vjepa2"]


class VJEPA2(VideoTransformer):
    """The layers before the classifier. Arguments: see vjepa2, and VideoTransformer.

    Features are the tokens after the encoder's last norm.
    """

    MODEL_TYPES: ClassVar[tuple[str, ...]] = ("vjepa2",)
    # Positions are rotations, so other sizes and numbers of frames are the same weights.
    FACTS: ClassVar[Mapping[str, str]] = {
        "hidden_size": "width", "num_hidden_layers": "blocks", "num_attention_heads": "heads", "patch_size": "patch",
        "tubelet_size": "tubelet", "mlp_ratio": "", "hidden_act": "", "layer_norm_eps": "", "qkv_bias": "",
    }  # fmt: skip

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
        pool_blocks: int | None,
        drop_path: float,
        layer_decay: float,
        pixels: str,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__("V-JEPA 2", frames=frames, size=size, pixels=pixels)
        check_tokens(
            "V-JEPA 2", width=width, blocks=blocks, heads=heads, frames=frames, size=size, tubelet=tubelet,
            patch=patch,
        )  # fmt: skip
        if width // heads < 6 or (pool_blocks is not None and pool_blocks < 0) or not 0 <= drop_path < 1:
            raise MgkitError(
                f"V-JEPA 2: a head needs 6 channels or more, which it turns by time, row and column; got width={width} "
                f"and heads={heads}. pool_blocks ({pool_blocks}) is at least 0, or None; drop_path ({drop_path}) at "
                "least 0 and less than 1"
            )
        layers = library("V-JEPA 2", "vjepa2.modeling_vjepa2")
        self.config = library("V-JEPA 2", "vjepa2.configuration_vjepa2").VJEPA2Config(
            crop_size=size, patch_size=patch, frames_per_clip=frames, tubelet_size=tubelet, hidden_size=width,
            num_hidden_layers=blocks, num_attention_heads=heads, drop_path_rate=drop_path,
            num_pooler_layers=pool_blocks or 0,
        )  # fmt: skip
        self.config._attn_implementation = "sdpa"
        with torch.device("meta"):
            self.encoder: Any = layers.VJEPA2Encoder(self.config)
            self.pool = None if pool_blocks is None else layers.VJEPA2AttentivePooler(self.config)
        self.finish(width, layer_decay, generator)
        self.grid = (frames // tubelet, size // patch, size // patch)

    @property
    def stem(self) -> list[nn.Module]:
        return [self.encoder.embeddings.patch_embeddings]

    @property
    def stages(self) -> list[list[nn.Module]]:
        return [list(self.encoder.layer)]

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.encoder.embeddings.patch_embeddings(x)  # (N, L, C)
        for block in self.encoder.layer:
            tokens = self.through(block, tokens, None)[0]
        tokens = self.encoder.layernorm(tokens)
        pooled = tokens.mean(1) if self.pool is None else self.pool(tokens)
        return as_map(tokens, self.grid), cast(Tensor, pooled)


def vjepa2(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 1024,
    blocks: int = 24,
    heads: int = 16,
    patch: int = 16,
    tubelet: int = 2,
    pool_blocks: int | None = 3,
    drop_path: float = 0.1,
    layer_decay: float = 0.75,
    pixels: str = "imagenet",
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """V-JEPA 2, with its head: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Features are (N, width, T / tubelet, H / patch, W / patch).

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway.
        width, blocks, heads: 1024, 24, 16 of ViT-L; the perceptrons between have four times the width.
        patch, tubelet, drop_path, layer_decay, pixels: see videomae.
        pool_blocks: blocks of the attention that makes one vector of the tokens, before its last layer, in which a
            learnt query looks at them; 3 as published. None takes the mean of the tokens instead.

    Raises:
        MgkitError: without `transformers`, or if the settings describe no network.
    """
    return single(
        "vjepa2", VJEPA2, classes, inputs,
        width=width, blocks=blocks, heads=heads, patch=patch, tubelet=tubelet, pool_blocks=pool_blocks,
        drop_path=drop_path, layer_decay=layer_decay, pixels=pixels, head=head, generator=generator,
        class_counts=class_counts,
    )  # fmt: skip
