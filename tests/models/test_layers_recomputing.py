"""Recomputed blocks: the same results, gradients and running statistics, with fewer activations kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mgkit.models import SinglePathway, TwoPathway, recompute_blocks
from mgkit.models.cnns.tsm import tsm_resnet
from mgkit.models.cnns.video_swin import SwinSize, swin_features
from tests.models.nets import pose_only, two_pathway

SMALL = {"rgb_width": 4, "pose_width": 4, "rgb_blocks": (1, 2, 1, 1), "pose_blocks": (2, 1, 1)}


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "rgb": torch.rand(3, 3, 2, 32, 32, generator=generator),
        "pose": torch.rand(3, 5, 8, 8, 8, generator=generator),
    }


def networks() -> list[SinglePathway | TwoPathway]:
    generator = torch.Generator().manual_seed(0)
    swin = swin_features(
        SwinSize(8, (2, 2), (1, 2)), window=(2, 2, 2), stochastic_depth=0.5, generator=generator
    )
    return [
        two_pathway(3, 5, **SMALL, generator=generator),  # type: ignore[arg-type]
        pose_only(3, 5, width=4, blocks=(2, 1, 1), generator=generator),
        SinglePathway("rgb", tsm_resnet(blocks=(2, 1), width=8, generator=generator), 3),  # type: ignore[arg-type]
        SinglePathway("rgb", swin, 3),  # type: ignore[arg-type]
    ]


NAMES = ["two pathways", "pose", "TSM", "Video Swin"]


def step(model: nn.Module) -> Tensor:
    torch.manual_seed(3)  # dropout
    outputs = model(inputs())
    loss = sum(output.logits.square().sum() + output.embedding.sum() for output in outputs.values())
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("which", range(4), ids=NAMES)
def test_a_recomputed_step_is_the_same_step(which: int) -> None:
    plain = networks()[which].train()
    # Blocks that begin as the identity would pass no gradient to their inner layers.
    for name, value in plain.named_parameters():
        if name.endswith("conv3.norm.weight"):
            nn.init.constant_(value, 0.7)
    saving = copy.deepcopy(plain)
    recompute_blocks(saving)
    for _ in range(2):  # the second step sees the running statistics and counters of the first
        assert torch.equal(step(plain), step(saving))
    for (name, one), (_, other) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        assert one.grad is not None, name
        assert torch.equal(one.grad, other.grad), name  # type: ignore[arg-type]
    ours = dict(saving.named_buffers())
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, ours[name]), name
    counters = [int(value) for name, value in ours.items() if name.endswith("num_batches_tracked")]
    assert set(counters) == (set() if which == 3 else {2})  # Video Swin has no BatchNorm


def kept(model: nn.Module) -> int:
    """Bytes that a step keeps for its backward pass, each memory once."""
    storages: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        outputs = model(inputs())
    assert outputs
    return sum(storages.values())


@pytest.mark.parametrize("which", range(4), ids=NAMES)
def test_fewer_activations_are_kept(which: int) -> None:
    plain = networks()[which].train()
    saving = copy.deepcopy(plain)
    recompute_blocks(saving)
    assert kept(saving) < 0.7 * kept(plain)


@pytest.mark.parametrize("which", range(4), ids=NAMES)
def test_evaluation_is_left_alone(which: int) -> None:
    plain = networks()[which].eval()
    saving = copy.deepcopy(plain)
    recompute_blocks(saving)
    with torch.no_grad():
        ours, theirs = saving(inputs()), plain(inputs())
    for name, output in theirs.items():
        assert torch.equal(ours[name].logits, output.logits)


def test_statistics_are_counted_again_after_an_error_in_the_second_computation() -> None:
    model = networks()[1].train()
    recompute_blocks(model)
    outputs = model(inputs())
    block = next(module for module in model.modules() if type(module).__name__ == "Bottleneck")

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    block.conv1.register_forward_pre_hook(broken)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="broken"):
        outputs["pose"].logits.sum().backward()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm3d)]
    assert all(norm.momentum == 0.1 and norm.num_batches_tracked is not None for norm in norms)
