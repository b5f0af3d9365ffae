"""Flat convolutions in two dimensions are those in three."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mgkit.models.layers import Conv3d

SHAPES = [
    # kernel, stride, padding, groups
    ((1, 3, 3), (1, 1, 1), (0, 1, 1), 1),
    ((1, 7, 7), (1, 2, 2), (0, 3, 3), 1),
    ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1),
    ((1, 1, 1), (1, 2, 2), (0, 0, 0), 2),
    ((1, 1, 1), (2, 2, 2), (0, 0, 0), 1),
    ((1, 1, 1), (2, 1, 1), (0, 0, 0), 1),
    ((1, 3, 3), (2, 1, 1), (0, 1, 1), 1),
    ((1, 3, 3), (1, 1, 1), (1, 1, 1), 1),
    ((3, 1, 1), (1, 1, 1), (1, 0, 0), 1),
    ((7, 1, 1), (4, 1, 1), (3, 0, 0), 2),
    ((4, 1, 1), (4, 1, 1), (0, 0, 0), 1),
    ((3, 1, 1), (1, 2, 2), (1, 0, 0), 1),
    ((3, 3, 3), (1, 1, 1), (1, 1, 1), 1),
]


def both(
    conv: Conv3d, x: torch.Tensor, weights: torch.Tensor | None = None
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Output, gradient of the weight and of the input, of ours and of torch's own."""
    found = []
    for forward in (Conv3d.forward, nn.Conv3d.forward):
        given = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        conv.zero_grad()
        out = forward(conv, given)
        weights = torch.randn_like(out) if weights is None else weights
        (out * weights).sum().backward()
        assert conv.weight.grad is not None
        assert given.grad is not None
        found.append((out.detach(), conv.weight.grad.clone(), given.grad))
    return found


@pytest.mark.parametrize("size", [(2, 4, 9, 6, 5), (1, 4, 7, 8, 8), (3, 4, 8, 7, 7)], ids=str)
@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "groups"), SHAPES, ids=str)
def test_the_same_sums(
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    groups: int,
    last: bool,
    size: tuple[int, ...],
) -> None:
    conv = Conv3d(4, 6, kernel, stride, padding, groups=groups).double()  # type: ignore[arg-type]
    x = torch.randn(size, dtype=torch.float64)
    if last:
        conv, x = conv.to(memory_format=torch.channels_last_3d), x.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    for ours, theirs in zip(*both(conv, x), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 15])
def test_strides_of_a_kernel_of_one_do_not_damage_memory(channels: int) -> None:
    """torch's own 2D convolution does, in gradients of shapes that a vector does not fill."""
    for stride in ((1, 2, 2), (2, 1, 1), (2, 2, 2)):
        for clips, size in ((1, 4), (3, 10), (8, 4)):
            conv = Conv3d(channels, 16, 1, stride).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,arg-type]
            x = torch.randn(clips, channels, 8, size, size).to(memory_format=torch.channels_last_3d)
            for ours, theirs in zip(*both(conv, x), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_the_same_sums_in_float32() -> None:
    for kernel, padding in (((1, 3, 3), (0, 1, 1)), ((3, 1, 1), (1, 0, 0)), ((1, 1, 1), (0, 0, 0))):
        conv = Conv3d(4, 6, kernel, padding=padding).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        for clips in (1, 2):
            x = torch.randn(clips, 4, 7, 8, 8).to(memory_format=torch.channels_last_3d)
            for ours, theirs in zip(*both(conv, x), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(2, 4, 1, 6, 5), (2, 4, 5, 1, 1), (1, 4, 1, 1, 1)], ids=str)
def test_one_frame_and_one_place(size: tuple[int, ...]) -> None:
    for kernel, padding in (((1, 3, 3), (0, 1, 1)), ((3, 1, 1), (1, 0, 0)), ((1, 1, 1), (0, 0, 0))):
        conv = Conv3d(4, 6, kernel, padding=padding).double()
        for ours, theirs in zip(*both(conv, torch.randn(size, dtype=torch.float64)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "padding"), [((1, 3, 3), (0, 1, 1)), ((3, 1, 1), (1, 0, 0)), ((1, 1, 1), (0, 0, 0))]
)
def test_a_flat_kernel_is_never_computed_in_3d_and_copies_nothing(
    kernel: tuple[int, int, int], padding: tuple[int, int, int]
) -> None:
    conv = Conv3d(4, 6, kernel, padding=padding)
    x = torch.randn(2, 4, 5, 6, 7).to(memory_format=torch.channels_last_3d)
    seen = []

    def spy(given: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        seen.append(given)
        return conv2d(given, *rest, **options)  # type: ignore[arg-type]

    conv2d = F.conv2d
    with (
        patch.object(nn.Conv3d, "forward", side_effect=AssertionError("in 3D")),
        patch.object(F, "conv2d", spy),
    ):
        out = conv(x)
    assert seen[0].untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert out.is_contiguous(memory_format=torch.channels_last_3d)


def test_what_it_does_not_know_is_left_to_torch() -> None:
    for options in (
        {"groups": 2},
        {"dilation": 2},
        {"padding": "same"},
        {"padding": (0, 1, 1), "padding_mode": "circular"},
    ):
        conv = Conv3d(2, 4, (1, 3, 3), **options)  # type: ignore[arg-type]
        x = torch.randn(1, 2, 3, 8, 8)
        torch.testing.assert_close(conv(x), nn.Conv3d.forward(conv, x))
    conv, clip = Conv3d(2, 3, (1, 3, 3)), torch.randn(2, 3, 8, 8)  # without the dimension of the batch
    torch.testing.assert_close(conv(clip), nn.Conv3d.forward(conv, clip))
    assert Conv3d(2, 3, (1, 3, 3), device="meta")(torch.empty(1, 2, 3, 8, 8, device="meta")).shape == (
        1,
        3,
        3,
        6,
        6,
    )


def test_autocast_lowers_the_precision_as_in_3d() -> None:
    conv = Conv3d(2, 3, (1, 3, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(torch.randn(1, 2, 3, 8, 8)).dtype == torch.bfloat16
