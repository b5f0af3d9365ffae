"""MViT v2: attention whose maps grow coarser from stage to stage, as those of a CNN do.

Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022, with
torchvision's layers and names.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError
from mgkit.models.builders import Inputs
from mgkit.models.pathways import HEAD, SinglePathway
from mgkit.models.vits.transformer import VideoTransformer, as_map, single
from mgkit.parts import Part

__all__ = ["MViT", "mvit_v2"]


class MViT(VideoTransformer):
    """The layers before the classifier. Arguments: see mvit_v2, and VideoTransformer.

    Features are the tokens of patches after the last norm; the pooled vector is the token of the class, which the
    published classifier reads.
    """

    def __init__(
        self,
        *,
        frames: int,
        size: int,
        width: int,
        blocks: Sequence[int],
        heads: int,
        drop_path: float,
        layer_decay: float,
        pixels: str,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__("MViT v2", frames=frames, size=size, pixels=pixels)
        if not blocks or min(blocks) < 1 or sum(blocks) < 2 or min(width, heads) < 1 or width % heads:
            raise MgkitError(
                f"MViT v2 needs one block a stage and two in all, and a width that is a multiple of heads; got blocks="
                f"{tuple(blocks)}, width={width}, heads={heads}"
            )
        if not 0 <= drop_path < 1:
            raise MgkitError(f"drop_path is a probability of at least 0 and less than 1; got {drop_path}")
        if frames % 2 or size % 2 ** (1 + len(blocks)):
            raise MgkitError(
                f"MViT v2 with {len(blocks)} stages needs an even number of frames and a size that is a multiple of "
                f"{2 ** (1 + len(blocks))}; got {frames} frames of {size} pixels: change rgb_frames or rgb_size"
            )
        from torchvision.models.video import mvit

        with torch.device("meta"):
            net = mvit.MViT(
                spatial_size=(size, size),
                temporal_size=frames,
                block_setting=[mvit.MSBlockConfig(**one) for one in _settings(width, blocks, heads)],
                residual_pool=True,
                residual_with_cls_embed=False,
                rel_pos_embed=True,
                proj_after_attn=True,
                stochastic_depth_prob=drop_path,
                num_classes=1,
            )
        self.conv_proj: nn.Module = net.conv_proj
        self.pos_encoding: nn.Module = net.pos_encoding
        self.blocks: nn.ModuleList = net.blocks
        self.norm: nn.Module = net.norm
        self.depths = tuple(blocks)
        self.finish(width * 2 ** (len(blocks) - 1), layer_decay, generator)

    @property
    def stem(self) -> list[nn.Module]:
        return [self.pos_encoding, self.conv_proj]

    @property
    def stages(self) -> list[list[nn.Module]]:
        blocks = iter(self.blocks)
        return [list(islice(blocks, count)) for count in self.depths]

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.conv_proj(x)  # (N, C, T', H', W')
        grid = tuple(patches.shape[2:])
        tokens = self.pos_encoding(patches.flatten(2).transpose(1, 2))  # (N, 1 + L, C)
        for block in self.blocks:
            tokens, grid = self.through(block, tokens, grid)
        tokens = self.norm(tokens)
        return as_map(tokens[:, 1:], grid), cast(Tensor, tokens[:, 0])


def _settings(width: int, blocks: Sequence[int], heads: int) -> list[dict[str, Any]]:
    """torchvision's settings of each block: channels and heads double, and maps are halved, from stage to stage."""
    settings = []
    for stage, count in enumerate(blocks):
        for i in range(count):
            begins = stage > 0 and i == 0
            keys = max(1, 2 ** (len(blocks) - 1 - stage))  # keys of all stages have the last one's grid
            settings.append(
                {
                    "num_heads": heads * 2**stage,
                    "input_channels": width * 2 ** (stage - begins),
                    "output_channels": width * 2**stage,
                    "kernel_q": [3, 3, 3],
                    "kernel_kv": [3, 3, 3],
                    "stride_q": [1, 2, 2] if begins else [1, 1, 1],
                    "stride_kv": [1, keys, keys],
                }
            )
    return settings


def mvit_v2(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 96,
    blocks: Sequence[int] = (1, 2, 11, 2),
    heads: int = 1,
    drop_path: float = 0.2,
    layer_decay: float = 0.75,
    pixels: str = "kinetics",
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """MViT v2, with its head: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Features are (N, 8 width, T / 2, H / 32, W / 32) with four stages.

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway.
        width, heads: channels and heads of the attention in the first stage; each further stage has twice as many.
        blocks: of each stage; MViT v2-S by default.
        drop_path, layer_decay, pixels: see videomae.

    Raises:
        MgkitError: if the settings describe no network.
    """
    return single(
        "mvit_v2", MViT, classes, inputs,
        width=width, blocks=tuple(blocks), heads=heads, drop_path=drop_path, layer_decay=layer_decay, pixels=pixels,
        head=head, generator=generator, class_counts=class_counts,
    )  # fmt: skip
