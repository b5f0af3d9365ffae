"""Video Swin Transformer: attention within windows of space and time that shift from block to block.

Liu et al., "Video Swin Transformer", CVPR 2022, with torchvision's layers and names. The classifier is left out, as a
pathway has its own head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError
from mgkit.models.builders import Inputs, check_reads
from mgkit.models.layers import recomputed
from mgkit.models.pathways import HEAD, SinglePathway
from mgkit.parts import Part

__all__ = ["SWIN_SIZES", "SwinSize", "VideoSwin", "swin_features", "video_swin"]


class SwinSize(NamedTuple):
    """Channels of the first stage (each further one has twice as many), and blocks and heads of each stage."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]


# The paper's, section 3.2.
SWIN_SIZES = {
    "tiny": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


class VideoSwin(nn.Module):
    """The layers before the classifier. Arguments: see video_swin.

    Shapes:
        (N, 3, T, H, W) -> (N, out_channels[-1], ceil(T / 2), ceil(H / 32), ceil(W / 32)) with four stages. The features
        are normalised and have both signs. Any size works: torchvision pads it with zeros.

    Raises:
        MgkitError: if the arguments do not describe a network, or `forward` gets another shape.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: tuple[int, int, int],
        stochastic_depth: float,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(embed_dim, depths, heads, window, stochastic_depth)
        from torchvision.models.video.swin_transformer import SwinTransformer3d

        # torchvision draws initial weights from the global generator; on "meta" nothing is drawn.
        with torch.device("meta"):
            net = SwinTransformer3d(
                patch_size=[2, 4, 4],
                embed_dim=embed_dim,
                depths=list(depths),
                num_heads=list(heads),
                window_size=list(window),
                stochastic_depth_prob=stochastic_depth,
                num_classes=1,
            )
        self.in_channels = 3
        self.out_channels = tuple(embed_dim * 2**stage for stage in range(len(depths)))
        self.patch_embed: nn.Module = net.patch_embed
        self.pos_drop: nn.Module = net.pos_drop
        self.features: nn.Module = net.features
        self.norm: nn.Module = net.norm
        self.recompute = False  # see recompute_blocks
        self.to_empty(device=torch.get_default_device())
        for module in self.modules():
            if _is_attention(module):
                cast(Any, module).define_relative_position_index()  # a buffer, empty on "meta"
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw torchvision's initial weights.

        Linear layers and position biases are N(0, 0.02) cut at 2, biases 0, LayerNorm 1 and 0. The patch embedding is
        uniform in +- 1 / sqrt(inputs), as torch initialises convolutions.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Conv3d):
                assert module.bias is not None
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            elif _is_attention(module):
                nn.init.trunc_normal_(
                    cast(Tensor, module.relative_position_bias_table), std=0.02, generator=generator
                )

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape[2:]:
            raise MgkitError(
                f"Video Swin needs frames (clips, 3, frames, height, width), but got {tuple(x.shape)}"
            )
        x = self.pos_drop(self.patch_embed(x))  # (N, T', H', W', C)
        recompute = self.recompute and self.training and torch.is_grad_enabled()
        for layer in cast(nn.Sequential, self.features):  # a stage of blocks, or what merges patches
            for block in layer if isinstance(layer, nn.Sequential) else (layer,):
                x = recomputed(block, block, x) if recompute else block(x)
        return cast(Tensor, self.norm(x)).permute(0, 4, 1, 2, 3)  # (N, C, T', H', W')


def _is_attention(module: nn.Module) -> bool:
    return hasattr(module, "define_relative_position_index")


def _check(
    embed_dim: int,
    depths: Sequence[int],
    heads: Sequence[int],
    window: tuple[int, int, int],
    stochastic_depth: float,
) -> None:
    if len(depths) != len(heads) or not depths:
        raise MgkitError(f"depths and heads need one value per stage; got {tuple(depths)} and {tuple(heads)}")
    if min(embed_dim, *depths, *heads) < 1 or sum(depths) < 2:
        raise MgkitError(
            "embed_dim and every entry of depths and heads must be at least 1, with at least two blocks in all; got "
            f"{embed_dim}, {tuple(depths)} and {tuple(heads)}"
        )
    for stage, number in enumerate(heads):
        channels = embed_dim * 2**stage
        if channels % number:
            raise MgkitError(
                f"stage {stage + 1} has {channels} channels, which cannot be divided among {number} heads: choose "
                "another embed_dim or other heads"
            )
    if len(window) != 3 or min(window) < 1:
        raise MgkitError(
            f"window is (frames, height, width) in patches, each at least 1; got {tuple(window)}"
        )
    if not 0 <= stochastic_depth < 1:
        raise MgkitError(
            f"stochastic_depth is a probability of at least 0 and less than 1; got {stochastic_depth}"
        )


def swin_features(
    size: Literal["tiny", "small", "base"] | SwinSize = "tiny",
    *,
    window: tuple[int, int, int] = (8, 7, 7),
    stochastic_depth: float = 0.1,
    generator: torch.Generator | None = None,
) -> VideoSwin:
    """Video Swin T, S or B, or a narrower one: (N, 3, T, H, W) -> (N, 768, T / 2, H / 32, W / 32); B has 1024 channels.

    A patch is 2 frames of 4 x 4 pixels. Where the map is not larger than the window in a dimension, the window covers
    all of it.

    Args:
        size: the published size, or SwinSize(embed_dim, depths, heads).
        window: of the attention, in patches.
        stochastic_depth: probability that a clip skips the last block's branches in training; for earlier blocks it is
            lower, in proportion to their depth. 0.1 in torchvision; 0.1, 0.2 and 0.3 for T, S and B in the paper.
        generator: source of the initial weights; torch's own when omitted. It must live on the device on which the
            network is built.

    Raises:
        MgkitError: if there is no such size, or the arguments do not describe a network.

    >>> net = swin_features(SwinSize(12, (1, 1), (1, 2)), window=(2, 4, 4))
    >>> net(torch.rand(2, 3, 5, 30, 40)).shape
    torch.Size([2, 24, 3, 4, 5])
    """
    if isinstance(size, str):
        if size not in SWIN_SIZES:
            raise MgkitError(f"Video Swin comes as {', '.join(SWIN_SIZES)}, not {size!r}")
        size = SWIN_SIZES[size]
    return VideoSwin(
        embed_dim=size.embed_dim,
        depths=size.depths,
        heads=size.heads,
        window=window,
        stochastic_depth=stochastic_depth,
        generator=generator,
    )


def video_swin(
    classes: int,
    inputs: Inputs,
    *,
    width: int = 96,
    blocks: Sequence[int] = (2, 2, 6, 2),
    stochastic_depth: float = 0.1,
    head: Part = HEAD,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> SinglePathway:
    """Video Swin, with its head: {"rgb": (N, 3, T, H, W)} -> {"rgb": PathwayOutput}.

    Args:
        classes, inputs, head, generator, class_counts: as in two_pathway.
        width: channels of the first stage, whose attention heads have 32 each, as published.
        blocks: of each stage.
        stochastic_depth: see swin_features.
    """
    check_reads("video_swin", inputs, "frames")
    heads = max(1, width // 32)
    size = SwinSize(width, tuple(blocks), tuple(heads << stage for stage in range(len(blocks))))
    backbone = swin_features(size, stochastic_depth=stochastic_depth, generator=generator)
    return SinglePathway("rgb", backbone, classes, head=head, class_counts=class_counts, generator=generator)
