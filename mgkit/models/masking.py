"""Masked pre-training: a network is shown a part of a clip and learns to predict the rest, without any label.

Key-points: joints and spans of frames are hidden, and their places and motions predicted (Wu et al., "SkeletonMAE:
Spatial-Temporal Masked Autoencoders for Self-Supervised Skeleton Action Recognition", ICMEW 2023; motion as the
target: Mao et al., "Masked Motion Predictors are Strong 3D Action Representation Learners", ICCV 2023). Frames: tubes
of patches are hidden, and their normalised pixels predicted (Tong et al., "VideoMAE", NeurIPS 2022).

A builder here takes a network as a setting and puts a light decoder on its features, which is thrown away afterwards.
What is hidden is 0, as a joint that was not seen is, so that any network of a recipe can be pre-trained. It is drawn
from torch's random state, like dropout, and only in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgkit.errors import MgkitError, some
from mgkit.models.builders import Inputs
from mgkit.models.heads import PathwayOutput
from mgkit.models.outline import traced_somehow
from mgkit.models.vits.videomae import VideoMAE, sinusoids
from mgkit.parts import Part

__all__ = [
    "hidden_joints",
    "hidden_tubes",
    "masked_error",
    "masked_frames",
    "masked_keypoints",
    "moved",
    "patches",
]

TARGETS = ("place", "motion")


def masked_error(outputs: Mapping[str, PathwayOutput], labels: Tensor) -> dict[str, Tensor]:
    """The loss of a masked network, {pathway: (N,)}: the mean squared error of what was hidden, 1 for always guessing
    the mean. Labels are not looked at."""
    return {name: output.auxiliary["error"] for name, output in outputs.items()}


class Masked(nn.Module):
    """A network with a decoder on its features.

    Its outputs are the network's own, with the mean of the features as embedding and `auxiliary["error"]` (N,). The
    classifier is not trained.

    Args:
        network: of one pathway.
        name: the pathway.
        shape: of one clip's input.
    """

    def __init__(self, network: nn.Module, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.pathways: tuple[str, ...] = (name,)
        self.network = network
        trace = traced_somehow(network, {name: shape})
        self.shape = tuple(self._seen(trace.outputs[name]).shape[1:])  # (C, ...) of the features

    def _seen(self, output: PathwayOutput) -> Tensor:
        """What the decoder reads: the feature map, or the embedding of a network that gives no map."""
        found = output.embedding if output.features is None else output.features
        if found is None:
            raise MgkitError(
                "masked pre-training needs features or an embedding, but the network gives neither: let it return "
                "PathwayOutput(logits, embedding)."
            )
        return found

    def encode(self, x: Tensor) -> tuple[PathwayOutput, Tensor]:
        """The network's output for an input, and the features in it."""
        (name,) = self.pathways
        output = cast(PathwayOutput, self.network({name: x})[name])
        return output, self._seen(output)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, PathwayOutput]:
        x = inputs[self.pathways[0]]
        return self.predicted(x) if self.training else self.whole(x)

    def predicted(self, x: Tensor) -> dict[str, PathwayOutput]:
        """The output for an input of which a part is hidden, with the error of what was predicted there."""
        raise NotImplementedError

    def whole(self, x: Tensor) -> dict[str, PathwayOutput]:
        """The output for an input that is shown whole: nothing is predicted, so there is no error."""
        output, features = self.encode(x)
        return self.put_out(output, features, x.new_zeros(len(x)))

    def put_out(self, output: PathwayOutput, features: Tensor, error: Tensor) -> dict[str, PathwayOutput]:
        """The output with the error, (N,)."""
        embedding = features.flatten(2).mean(2) if features.ndim > 2 else features
        return {self.pathways[0]: output._replace(embedding=embedding, auxiliary={"error": error})}


# --- key-points -----------------------------------------------------------------------------------------------------


class MaskedKeypoints(Masked):
    """See `masked_keypoints`."""

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        *,
        hide_joints: float,
        hide_frames: float,
        span: int,
        targets: tuple[str, ...],
        width: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(network, "pose", shape)
        self.shares, self.span, self.targets = (hide_joints, hide_frames), span, targets
        persons, times, count, _ = shape  # (M, T, V, 3)
        values = 2 * len(targets)
        # A graph network's features are of each joint at some of the times: one decoder for all of them.
        self.by_joint = len(self.shape) == 4 and self.shape[2:] == (count, persons)
        self.each = -(-times // self.shape[1]) if self.by_joint else times
        out = self.each * values * (1 if self.by_joint else persons * count)
        channels = self.shape[0]
        self.decoder = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, out))
        draw_linear(self.decoder, generator)

    def predicted(self, x: Tensor) -> dict[str, PathwayOutput]:  # (N, M, T, V, 3)
        hidden = hidden_joints(x.shape[:4], *self.shares, self.span, x.device)
        output, features = self.encode(x * ~hidden[..., None])
        seen = x.any(-1)
        errors = []
        guesses = self._decoded(features, x.shape).float().chunk(len(self.targets), dim=-1)
        for target, guess in zip(self.targets, guesses, strict=True):
            wanted, there = (moved if target == "motion" else placed)(x.float(), seen)
            counted = hidden & there
            squared = (guess - wanted).square().mean(-1) * counted
            errors.append(squared.sum((1, 2, 3)) / counted.sum((1, 2, 3)).clamp(min=1))
        return self.put_out(output, features, torch.stack(errors).mean(0))

    def _decoded(self, features: Tensor, shape: torch.Size) -> Tensor:
        """What the decoder makes of the features, (N, M, T, V, 2 x targets)."""
        n, persons, times, count, _ = shape
        if not self.by_joint:
            pooled = features.flatten(2).mean(2) if features.ndim > 2 else features
            return cast(Tensor, self.decoder(pooled)).view(n, persons, times, count, -1)
        guess = self.decoder(features.permute(0, 4, 2, 3, 1))  # (N, M, T', V, each x values)
        guess = guess.unflatten(-1, (self.each, -1)).transpose(3, 4)  # (N, M, T', each, V, values)
        return guess.flatten(2, 3)[:, :, :times]


def masked_keypoints(
    classes: int,
    inputs: Inputs,
    *,
    network: Part,
    hide_joints: float = 0.5,
    hide_frames: float = 0.2,
    span: int = 8,
    targets: tuple[str, ...] = TARGETS,
    width: int = 64,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> MaskedKeypoints:
    """A skeleton network that predicts hidden joints and frames.

    Args:
        classes, inputs, generator, class_counts: as of any builder.
        network: that is pre-trained, of key-points. Of a network with features (N, C, T', V, M) each joint's are
            decoded on their own, of any other their mean over all but C, or its embedding.
        hide_joints: share of the joints that are hidden in each span of frames.
        hide_frames: share of the spans in which all joints are.
        span: frames that are hidden together, of those the network is fed.
        targets: of "place", relative to the clip's middle, and "motion" to the next frame; either is divided by its
            root mean square over the clip, so that large and small motions count alike.
        width: of the decoder's hidden layer.

    Shapes:
        {"pose": (N, M, T, V, 3)} -> {"pose": PathwayOutput}, see `Masked`.

    Raises:
        MgkitError: inputs that are not key-points, a share outside 0 to 1, or nothing to hide or to predict.
    """
    if "keypoints" not in inputs.reads or len(inputs.reads) > 1:
        raise MgkitError(f"masked_keypoints reads keypoints, not {' and '.join(inputs.reads)}.")
    shares = (hide_joints, hide_frames)
    if not all(0 <= one <= 1 for one in shares) or not any(shares) or span < 1 or width < 1:
        raise MgkitError(
            f"hide_joints and hide_frames are shares, not both 0, and span and width 1 or more; got {hide_joints}, "
            f"{hide_frames}, {span} and {width}."
        )
    if not targets or not set(targets) <= set(TARGETS) or len(set(targets)) < len(targets):
        raise MgkitError(f"targets is {list(targets)}: use {some(map(repr, TARGETS))}, or one of them.")
    built = network.build(classes=classes, inputs=inputs, generator=generator, class_counts=class_counts)
    shape = cast(Any, inputs).shapes["pose"]
    return MaskedKeypoints(
        built, shape, hide_joints=hide_joints, hide_frames=hide_frames, span=span, targets=targets, width=width,
        generator=generator,
    )  # fmt: skip


def hidden_joints(
    shape: tuple[int, ...], joints: float, frames: float, span: int, device: torch.device | None = None
) -> Tensor:
    """What is hidden of key-points, (N, M, T, V) bool: in each span each joint with one probability, all with another.

    Args:
        shape: (N, M, T, V).
        joints, frames, span: see `masked_keypoints`.
        device: to draw on, from torch's random state.
    """
    n, persons, times, count = shape
    spans = -(-times // span)
    one = torch.rand(n, persons, spans, count, device=device) < joints
    every = torch.rand(n, 1, spans, 1, device=device) < frames
    return (one | every).repeat_interleave(span, dim=2)[:, :, :times]


def placed(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Places (N, M, T, V, 2) relative to the clip's middle, in its root mean square distance from there, and which of
    them there are, (N, M, T, V)."""
    places, counted = points[..., :2], seen[..., None]
    middle = (places * counted).sum((1, 2, 3), keepdim=True) / counted.sum((1, 2, 3), keepdim=True).clamp(
        min=1
    )
    return _scaled(places - middle, seen)


def moved(points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Motions (N, M, T, V, 2) to the next frame, in the root mean square of the clip's, and which of them there are.

    The last frame has none.
    """
    motions, there = torch.zeros_like(points[..., :2]), torch.zeros_like(seen)
    motions[:, :, :-1] = points[:, :, 1:, :, :2] - points[:, :, :-1, :, :2]
    there[:, :, :-1] = seen[:, :, 1:] & seen[:, :, :-1]
    return _scaled(motions, there)


def _scaled(values: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    values = values * there[..., None]
    mean = values.square().sum((1, 2, 3, 4), keepdim=True) / (
        2 * there.sum((1, 2, 3), keepdim=True)[..., None]
    ).clamp(min=1)
    return values / (mean.sqrt() + 1e-6), there


# --- frames ---------------------------------------------------------------------------------------------------------


class MaskedFrames(Masked):
    """See `masked_frames`."""

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        *,
        classes: int,
        share: float,
        patch: int,
        width: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(network, "rgb", shape)
        if len(self.shape) != 4:
            raise MgkitError("masked_frames needs a network that gives its feature map (N, C, T, H, W).")
        self.classes, self.frames = classes, shape[1]
        self.share, self.patch, self.grid = share, patch, shape[2] // patch
        self.make_decoder(width, generator)

    def make_decoder(self, width: int, generator: torch.Generator | None) -> None:
        """Add the decoder, and decide how many frames a cube has."""
        self.deep = 2 if self.frames % 2 == 0 else 1  # as in VideoMAE
        out = 3 * self.deep * self.patch**2
        self.decoder: nn.Module = nn.Sequential(
            nn.Linear(self.shape[0], width), nn.ReLU(), nn.Linear(width, out)
        )
        draw_linear(self.decoder, generator)

    def predicted(self, x: Tensor) -> dict[str, PathwayOutput]:  # (N, 3, T, S, S)
        hidden = hidden_tubes(len(x), self.grid, self.share, x.device)  # (N, g, g)
        pixels = hidden.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)[:, None, None]
        output, features = self.encode(x * ~pixels)
        size = (x.shape[2] // self.deep, self.grid, self.grid)
        at_cubes = F.interpolate(features.float(), size, mode="trilinear", align_corners=False).to(
            features.dtype
        )
        guess = self.decoder(at_cubes.permute(0, 2, 3, 4, 1)).float()  # (N, T', g, g, values)
        wanted = patches(x.float(), self.patch, self.deep)
        squared = (guess - wanted).square().mean(-1) * hidden[:, None]
        error = squared.sum((1, 2, 3)) / (hidden.sum((1, 2)) * size[0]).clamp(min=1)
        return self.put_out(output, features, error)


class MaskedTokens(MaskedFrames):
    """VideoMAE's own way: its blocks see the tokens that are not hidden, and a narrow transformer fills in the others.

    Tong et al., NeurIPS 2022, section 3.3. Arguments and shapes as of `MaskedFrames`.
    """

    positions: Tensor

    def make_decoder(self, width: int, generator: torch.Generator | None) -> None:
        grid = self.backbone.grid
        self.deep = self.frames // grid[0]
        self.narrow = nn.Linear(self.shape[0], width)
        self.mask = nn.Parameter(torch.zeros(width))
        layer = nn.TransformerEncoderLayer(
            width, max(1, width // 32), 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.fill = nn.TransformerEncoder(layer, 1, nn.LayerNorm(width), enable_nested_tensor=False)
        self.decoder = nn.Linear(width, 3 * self.deep * self.patch**2)
        table = sinusoids(math.prod(grid), width).to(torch.get_default_device())
        self.register_buffer("positions", table, persistent=False)
        for module in (self.narrow, self.fill, self.decoder):
            draw_linear(module, generator)

    @property
    def backbone(self) -> Any:
        return cast(Any, self.network).backbones["rgb"]

    def predicted(self, x: Tensor) -> dict[str, PathwayOutput]:  # (N, 3, T, S, S)
        if x.is_meta:  # which tokens are seen is decided by numbers
            return self.whole(x)
        if not len(x):  # the blocks cannot tell shapes of no clips; gradients are then zeros
            found = self.predicted(x.new_zeros(1, *x.shape[1:]))["rgb"]
            assert found.embedding is not None
            none = {"error": found.auxiliary["error"][:0]}
            return {"rgb": PathwayOutput(found.logits[:0], found.embedding[:0], auxiliary=none)}
        hidden = hidden_tubes(len(x), self.grid, self.share, x.device)  # (N, g, g)
        visible = ~hidden[:, None].expand(-1, self.backbone.grid[0], -1, -1).flatten(1)  # (N, L)
        seen = self.backbone.tokens(x, visible)  # (N, seen, C)
        every = self.mask.to(seen.dtype).expand(*visible.shape, -1).clone()  # (N, L, width)
        every[visible] = self.narrow(seen).flatten(0, 1).to(every.dtype)
        guess = self.decoder(self.fill(every + self.positions.to(every.dtype))).float()  # (N, L, values)
        squared = (guess - patches(x.float(), self.patch, self.deep).flatten(1, 3)).square().mean(-1)
        error = (squared * ~visible).sum(1) / (~visible).sum(1)
        embedding = seen.mean(1)
        logits = embedding.new_zeros(len(x), self.classes)
        return {"rgb": PathwayOutput(logits, embedding, auxiliary={"error": error})}


def masked_frames(
    classes: int,
    inputs: Inputs,
    *,
    network: Part,
    share: float = 0.9,
    patch: int = 16,
    width: int = 128,
    generator: torch.Generator | None = None,
    class_counts: Any = None,
) -> MaskedFrames:
    """An RGB network that predicts the pixels of hidden tubes.

    Any network with a feature map can be pre-trained so; it sees zeros. VideoMAE's is spared the hidden patches, which
    makes a step several times cheaper, see `MaskedTokens`.

    Args:
        classes, inputs, generator, class_counts: as of any builder.
        network: that is pre-trained, of frames.
        share: of the patches of a frame that are hidden, the same ones in all frames.
        patch: side of a patch, pixels; `rgb_size` is a multiple.
        width: of the decoder's hidden layer.

    Shapes:
        {"rgb": (N, 3, T, S, S)} -> {"rgb": PathwayOutput}, see `Masked`.

    Raises:
        MgkitError: inputs that are not frames, a size that patches do not divide, or a share that hides none or all.
    """
    if inputs.reads != ("frames",):
        raise MgkitError(f"masked_frames reads frames, not {' and '.join(inputs.reads)}.")
    shape = cast(Any, inputs).shapes["rgb"]
    if patch < 1 or shape[2] % patch:
        raise MgkitError(f"rgb_size ({shape[2]}) must be a multiple of patch ({patch}): change one of them.")
    count = (shape[2] // patch) ** 2
    if not 0 < round(share * count) < count:
        raise MgkitError(
            f"share is {share}: of {count} patches of {patch} pixels it hides {round(share * count)}, which leaves "
            "nothing to predict, or to predict from."
        )
    built = network.build(classes=classes, inputs=inputs, generator=generator, class_counts=class_counts)
    settings: dict[str, Any] = {
        "classes": classes, "share": share, "patch": patch, "width": width, "generator": generator,
    }  # fmt: skip
    backbone: Any = (
        built.backbones["rgb"] if isinstance(getattr(built, "backbones", None), nn.ModuleDict) else None
    )
    if not isinstance(backbone, VideoMAE):
        return MaskedFrames(built, shape, **settings)
    if backbone.grid[1] * patch != shape[2]:
        raise MgkitError(
            f"patch is {patch}, but the network's patches have {shape[2] // backbone.grid[1]} pixels."
        )
    return MaskedTokens(built, shape, **settings)


def hidden_tubes(clips: int, grid: int, share: float, device: torch.device | None = None) -> Tensor:
    """The patches (N, g, g) bool that are hidden in all frames of a clip: the same number in each clip."""
    order = torch.rand(clips, grid * grid, device=device).argsort(1).argsort(1)  # ranks
    return (order < round(share * grid * grid)).view(clips, grid, grid)


def patches(frames: Tensor, patch: int, deep: int) -> Tensor:
    """Cubes of `deep` frames and `patch` pixels, each normalised on its own, channel by channel, as VideoMAE does.

    Shapes:
        (N, 3, T, S, S) -> (N, T / deep, S / patch, S / patch, deep * patch * patch * 3).
    """
    n, channels, times, size, _ = frames.shape
    grid = size // patch
    cubes = frames.reshape(n, channels, times // deep, deep, grid, patch, grid, patch)
    cubes = cubes.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6)  # (N, T', g, g, deep * patch * patch, 3)
    mean = cubes.mean(-2, keepdim=True)
    deviation = (cubes.var(-2, keepdim=True) + 1e-6).sqrt()
    return ((cubes - mean) / deviation).flatten(4)


def draw_linear(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of linear layers and attention: Xavier uniform, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            nn.init.xavier_uniform_(layer.in_proj_weight, generator=generator)
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
