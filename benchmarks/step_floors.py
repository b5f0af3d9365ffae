"""What a step of a network needs at least, computed from the network, and how fast this machine could do it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mgkit.data.skeletons import Skeleton
from mgkit.models import layers, recompute_blocks
from mgkit.training.build import build_model
from mgkit.training.recipe import Recipe


@dataclass(frozen=True)
class Floors:
    """Of one step: floating-point operations, and bytes that the layers read and write, forward."""

    operations: int
    bytes: int

    def seconds(self, kind: str, speed: float) -> tuple[float, float]:
        """Least seconds of a training step and of a test step, at this many operations or bytes a second.

        Backward costs twice as much as forward: the gradients of the inputs and those of the weights.
        """
        forward = (self.operations if kind == "arithmetic" else self.bytes) / speed
        return 3 * forward, forward


def on_meta(
    recipe: Recipe, classes: int, joints: int | Skeleton, batch: int
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network of a recipe with inputs of this batch size, without memory."""
    with torch.device("meta"):
        fed = recipe.inputs.on(joints)
        model = build_model(recipe, classes, fed)
        inputs = {name: torch.zeros(batch, *shape) for name, shape in fed.shapes.items()}
    return model, inputs


def network_floors(recipe: Recipe, classes: int, joints: int | Skeleton, batch: int, item: int) -> Floors:
    """Floors of one step, with activations of `item` bytes a value; every layer reads and writes its values once."""
    model, inputs = on_meta(recipe, classes, joints, batch)
    moved = 0

    def count(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal moved
        moved += item * (sum(x.numel() for x in given) + result.numel())

    for module in model.modules():
        if isinstance(
            module, nn.Conv3d | nn.ConvTranspose3d | nn.BatchNorm3d | nn.ReLU | nn.MaxPool3d | nn.Linear
        ):
            module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.train()(inputs)
    return Floors(counter.get_total_flops(), moved)


def matrix_speed(device: torch.device) -> float:
    """Floating-point operations a second of a large matrix product: bfloat16 on a GPU, float32 on a CPU."""
    side, kind = (8192, torch.bfloat16) if device.type == "cuda" else (2048, torch.float32)
    one, two = torch.rand(2, side, side, device=device).to(kind)
    return 2 * side**3 / _best(lambda: one @ two, device)


def copy_speed(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy."""
    source = torch.rand(2**29 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


# --- activation memory ------------------------------------------------------------------------------------------------


def kept_bytes(call: Callable[[], object], parameters: set[int]) -> int:
    """Bytes that a call keeps for its backward pass beside the parameters, each storage once."""
    storages: dict[int, tuple[object, int]] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in parameters:
            storages[storage._cdata] = (
                storage,
                storage.nbytes(),
            )  # held, so that its address is not used again
        return value

    hooks: AbstractContextManager[None] = saved_tensors_hooks(keep, lambda value: value)
    with hooks:
        result = call()
    assert result is not None
    return sum(size for _, size in storages.values())


class FusedAttention(torch.autograd.Function):
    """What PyTorch's fused attention keeps on a GPU; on the meta device PyTorch keeps the products of all tokens."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        clips, heads, tokens, _ = query.shape
        result = query.new_empty(clips, tokens, heads, value.shape[-1]).transpose(
            1, 2
        )  # in this order in memory
        ctx.save_for_backward(query, key, value, result, query.new_empty(query.shape[:-1]))
        return result


def activation_bytes(recipe: Recipe, classes: int, joints: int | Skeleton, *, recomputed: bool) -> int:
    """Float32 bytes a clip that a training step holds: what is kept, and with recomputation the largest block too."""
    largest = 0

    def kept(batch: int) -> int:
        nonlocal largest
        model, inputs = on_meta(recipe, classes, joints, batch)
        own = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
        largest = 0
        if recomputed:
            recompute_blocks(model)

        def block(function: Callable[[Tensor], Tensor], x: Tensor, **options: Any) -> Any:
            nonlocal largest
            largest = max(largest, kept_bytes(lambda: function(x.detach().requires_grad_()), own))
            return checkpoint(function, x, **options)

        def fused(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Any:
            return FusedAttention.apply(query, key, value)

        with (
            mock.patch.object(layers, "checkpoint", block),
            mock.patch("torch.nn.functional.scaled_dot_product_attention", fused),
        ):
            return kept_bytes(lambda: model.train()(inputs), own) + largest

    return kept(2) - kept(1)


def memory_table(recipe: Recipe, classes: int, joints: int, gigabytes: float = 24) -> list[str]:
    """Markdown: activations a clip, and the largest batch that a GPU of this size holds, estimated."""
    model, _ = on_meta(recipe, classes, joints, 1)
    values = sum(p.numel() for p in model.parameters())
    fixed = 3 * 4 * values  # weights, gradients and momentum in float32
    room = 0.85 * gigabytes * 1e9 - fixed  # the rest: CUDA itself, workspaces of convolutions, fragmentation
    lines = [
        f"{values / 1e6:.1f} M parameters: {fixed / 1e9:.2f} GB with gradients and momentum. Estimates from the "
        f"tensors that autograd keeps, for a GPU of {gigabytes:g} GB of which 85 % can be used.",
        "",
        "| activations | per clip, float32 | largest batch | per clip, bfloat16 | largest batch |",
        "|---|---|---|---|---|",
    ]
    for name, recomputed in (("all kept", False), ("blocks recomputed", True)):
        clip = activation_bytes(recipe, classes, joints, recomputed=recomputed)
        lines.append(
            f"| {name} | {clip / 1e6:,.0f} MB | {int(room // clip)} "
            f"| {clip / 2e6:,.0f} MB | {int(room // (clip / 2))} |"
        )
    return lines
