"""What the video transformers have in common: pixels, tokens, blocks that are skipped, rates that fall with depth.

Their layers are those of the libraries `transformers` (the extra `video`) and torchvision, put together here so that
initial weights come from a generator, each clip may skip a block, and features come back as a map.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from mgkit.errors import MgkitError, some
from mgkit.models.builders import Inputs, check_reads
from mgkit.models.layers import recomputed
from mgkit.models.pathways import SinglePathway
from mgkit.parts import Part

__all__ = ["PIXELS", "VideoTransformer", "check_pixels", "library", "single", "skipping"]

NEEDED = "5.24"  # of transformers: the first release whose layers were compared with these networks

# Mean and standard deviation of red, green and blue on the scale of 0 to 1, which published weights subtract from
# pixels and divide them by.
PIXELS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "kinetics": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class VideoTransformer(nn.Module):
    """Frames to a map of tokens, and to one vector a clip.

    Subclasses make their layers in the constructor, within `torch.device("meta")`, and call `finish`; they define
    `stem`, `stages` and `encoded`.

    Args:
        name: of the network, for messages.
        frames, size: of the clips: T frames of size x size pixels.
        pixels: how the weights want pixels normalised, one of `PIXELS`. mgkit's inputs are normalised by ImageNet's
            means and deviations, and are converted here.

    Attributes:
        config: the settings as `transformers` calls them, or None.
        FACTS: of them those that weights must share with the network, with the name of the recipe's setting.
        pool: what makes one vector of the tokens; it is new where a file has none, as that of a pre-training.

    Shapes:
        (N, 3, T, size, size) -> features (N, C, T', H', W') and the pooled vector (N, C).

    Raises:
        MgkitError: if `forward` gets another shape.
    """

    FACTS: ClassVar[Mapping[str, str]] = {}
    MODEL_TYPES: ClassVar[tuple[str, ...]] = ()

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, *, frames: int, size: int, pixels: str) -> None:
        super().__init__()
        check_pixels(name, pixels)
        self.name, self.frames, self.size, self.pixels = name, frames, size, pixels
        self.in_channels = 3
        self.out_channels: tuple[int, ...] = ()
        self.config: Any = None
        self.pool: nn.Module | None = None
        self.recompute = False  # see recompute_blocks

    @property
    def stem(self) -> list[nn.Module]:
        """What comes before the blocks; the last one returns a map or tokens."""
        raise NotImplementedError

    @property
    def stages(self) -> list[list[nn.Module]]:
        """The blocks in order, in one or several stages."""
        raise NotImplementedError

    def finish(self, out_channels: int, layer_decay: float, generator: torch.Generator | None) -> None:
        """Take the layers off the meta device, draw the initial weights, and set the rates of the layers.

        Args:
            out_channels: C.
            layer_decay: the n-th block from the end learns at layer_decay^n of the rate, and the stem like one before
                the first block (Bao et al., "BEiT", ICLR 2022).
            generator: source of the weights.
        """
        if not 0 < layer_decay <= 1:
            raise MgkitError(f"layer_decay is a factor above 0 and up to 1; got {layer_decay}")
        self.out_channels = (out_channels,)
        device = torch.get_default_device()
        self.to_empty(device=device)
        (ours, spread), (mean, deviation) = PIXELS["imagenet"], PIXELS[self.pixels]
        scale = [a / b for a, b in zip(spread, deviation, strict=True)]
        shift = [(a - b) / c for a, b, c in zip(ours, mean, deviation, strict=True)]
        for key, values in (("scale", scale), ("shift", shift)):
            self.register_buffer(
                key, torch.tensor(values, device=device).view(1, 3, 1, 1, 1), persistent=False
            )
        self.reset_parameters(generator)
        blocks = [[block] for stage in self.stages for block in stage]
        for depth, modules in enumerate([*reversed(blocks), self.stem], 1):
            for module in modules:
                module.learning_rate_factor = layer_decay**depth  # type: ignore[assignment]

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw initial weights as MAE does (He et al., CVPR 2022).

        Linear layers and patch embeddings are Xavier uniform, biases 0, norms 1 and 0, and whatever else is learnt
        (positions, queries, tokens) N(0, 0.02), cut at 2 deviations.
        """
        done: set[nn.Parameter] = set()
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                # VideoPrism's norms multiply by one more than their weight.
                one = 1.0 if type(module) is nn.LayerNorm else 0.0
                nn.init.constant_(module.weight, one)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear | nn.Conv3d):
                weight = module.weight.data.flatten(1) if module.weight.ndim > 2 else module.weight
                nn.init.xavier_uniform_(weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            else:
                continue
            done |= set(module.parameters(recurse=False))
        for parameter in self.parameters():
            if parameter not in done:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim != 5 or tuple(x.shape[1:]) != (3, self.frames, self.size, self.size):
            raise MgkitError(
                f"this {self.name} was built for clips (clips, 3, {self.frames}, {self.size}, {self.size}), but got "
                f"{tuple(x.shape)}"
            )
        if not len(x):  # the libraries cannot tell shapes of no clips; gradients are then zeros
            features, pooled = self.forward(x.new_zeros(1, *x.shape[1:]))
            return features[:0], pooled[:0]
        if self.pixels != "imagenet":
            x = torch.addcmul(self.shift, x, self.scale)
        return self.encoded(x)

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(features, pooled) of normalised frames."""
        raise NotImplementedError

    def through(self, block: nn.Module, x: Tensor, *others: Any) -> Any:
        """What a block makes of tokens and of what else it is given, keeping only these where memory is to be saved."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return recomputed(lambda tokens: block(tokens, *others), block, x)
        return block(x, *others)


def single(
    name: str,
    backbone: Callable[..., VideoTransformer],
    classes: int,
    inputs: Inputs,
    *,
    head: Part,
    generator: torch.Generator | None,
    class_counts: Any,
    **settings: Any,
) -> SinglePathway:
    """The network of one video transformer with its head, what every builder here ends with."""
    check_reads(name, inputs, "frames")
    made = backbone(frames=inputs.rgb_frames, size=inputs.rgb_size, generator=generator, **settings)
    return SinglePathway("rgb", made, classes, head=head, class_counts=class_counts, generator=generator)


def as_map(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """Tokens (N, L, C) in the order of a grid (T, H, W), as a map (N, C, T, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, tuple(grid))


def skipping(blocks: Sequence[nn.Module], drop_path: float) -> list[nn.Module]:
    """A layer for each block that zeroes a clip's branch in training, with a probability that grows to `drop_path`.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016. What is kept is divided by its probability.
    """
    from torchvision.ops import StochasticDepth

    if not 0 <= drop_path < 1:
        raise MgkitError(f"drop_path is a probability of at least 0 and less than 1; got {drop_path}")
    last = max(1, len(blocks) - 1)
    return [cast(nn.Module, StochasticDepth(drop_path * i / last, "row")) for i in range(len(blocks))]


def check_pixels(name: str, pixels: str) -> None:
    """Refuse a way of normalising pixels that is not known."""
    if pixels not in PIXELS:
        raise MgkitError(f"{name}: pixels is {pixels!r}; use {some(map(repr, PIXELS))}")


def check_tokens(
    name: str, *, width: int, blocks: int, heads: int, frames: int, size: int, tubelet: int, patch: int
) -> None:
    """Refuse settings that describe no network, before the library says so in its own way."""
    if min(width, blocks, heads, tubelet, patch) < 1 or width % heads:
        raise MgkitError(
            f"{name}: width ({width}) must be a multiple of heads ({heads}), and blocks ({blocks}), tubelet "
            f"({tubelet}) and patch ({patch}) at least 1"
        )
    if frames % tubelet or size % patch:
        raise MgkitError(
            f"{name} cuts clips into patches of {tubelet} frames and {patch} x {patch} pixels, which {frames} frames "
            f"of {size} pixels are no multiple of: change rgb_frames or rgb_size"
        )


def library(name: str, module: str) -> ModuleType:
    """The module of `transformers` that has a network's layers; imported when the first such network is built.

    Raises:
        MgkitError: without the library, or where it is older than the network; the message has the command.
    """
    install = "pip install 'mgkit[video]' (from a checkout '.[video]')"
    if importlib.util.find_spec("transformers") is None:
        raise MgkitError(f"{name} needs the package transformers: {install}.")
    try:
        return importlib.import_module(f"transformers.models.{module}")
    except ImportError as error:
        there = importlib.metadata.version("transformers")
        raise MgkitError(
            f"{name} needs transformers {NEEDED} or newer, and {there} cannot be used ({error}): {install}."
        ) from None
