import pytest
import torch
from torch import nn

from mgkit.errors import MgkitError
from mgkit.models import pose_pathway, rgb_pathway
from mgkit.models.cnns.resnet3d import ResNet3d


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def derived_count(*, in_channels, width, blocks, inflate, lateral=None):
    """Weights of a bottleneck ResNet, layer by layer: convolutions k * in * out, BatchNorm 2 * out."""

    def conv_norm(i, o, k):
        return k * i * o + 2 * o

    lateral = lateral or [0] * len(blocks)
    total, channels = conv_norm(in_channels, width, 49), width
    for stage, number in enumerate(blocks):
        inner = width * 2**stage
        for block in range(number):
            i = channels + (lateral[stage] if block == 0 else 0)
            total += conv_norm(i, inner, 3 if inflate[stage] else 1)
            total += conv_norm(inner, inner, 9) + conv_norm(inner, 4 * inner, 1)
            if block == 0:
                total += conv_norm(i, 4 * inner, 1)  # shortcut
            channels = 4 * inner
    return total


def test_full_size_rgb_pathway_has_the_specified_shapes_and_size():
    with torch.device("meta"):
        net = rgb_pathway()
        x = net.stem(torch.empty(2, 3, 8, 224, 224))
        shapes = [tuple(x.shape)]
        for i in range(4):
            x = net.run_stage(i, x)
            shapes.append(tuple(x.shape))
    assert shapes == [
        (2, 64, 8, 56, 56),
        (2, 256, 8, 56, 56),
        (2, 512, 8, 28, 28),
        (2, 1024, 8, 14, 14),
        (2, 2048, 8, 7, 7),
    ]
    derived = derived_count(in_channels=3, width=64, blocks=(3, 4, 6, 3), inflate=(0, 0, 1, 1))
    # A 2D ResNet-50 without its classifier has 23,508,032 weights (25,557,032 - 2048 * 1000 - 1000). Inflation adds
    # two more time steps to the first convolution of each block of stages 3 and 4.
    inflated = 512 * 256 + 5 * 1024 * 256 + 1024 * 512 + 2 * 2048 * 512
    assert count(net) == derived == 23_508_032 + 2 * inflated == 31_634_496


def test_full_size_pose_pathway_has_the_specified_shapes_and_size():
    with torch.device("meta"):
        net = pose_pathway(22)
        x = net.stem(torch.empty(2, 22, 32, 56, 56))
        shapes = [tuple(x.shape)]
        for i in range(3):
            x = net.run_stage(i, x)
            shapes.append(tuple(x.shape))
    assert shapes == [(2, 32, 32, 56, 56), (2, 128, 32, 28, 28), (2, 256, 32, 14, 14), (2, 512, 32, 7, 7)]
    assert count(net) == derived_count(in_channels=22, width=32, blocks=(4, 6, 3), inflate=(0, 1, 1))


def test_lateral_channels_widen_the_first_block_of_their_stage():
    with torch.device("meta"):
        net = rgb_pathway(lateral_channels=(0, 0, 128, 256))
    assert net.stages[2][0].conv1.conv.in_channels == 640
    assert net.stages[3][0].shortcut.conv.in_channels == 1280
    assert count(net) == derived_count(
        in_channels=3, width=64, blocks=(3, 4, 6, 3), inflate=(0, 0, 1, 1), lateral=(0, 0, 128, 256)
    )


def test_lateral_features_come_after_the_pathways_own():
    net = rgb_pathway(width=2, blocks=(1, 1, 1, 1), lateral_channels=(0, 0, 3, 0)).eval()
    x, lateral = torch.randn(1, 16, 2, 4, 4), torch.randn(1, 3, 2, 4, 4)
    assert torch.equal(net.run_stage(2, x, lateral), net.stages[2](torch.cat((x, lateral), dim=1)))


def test_halve_time_halves_it_in_the_last_stage_only():
    net = pose_pathway(5, width=2, blocks=(1, 1, 1), halve_time=True)
    x = net.run_stage(1, net.run_stage(0, net.stem(torch.randn(1, 5, 12, 8, 8))))
    assert x.shape[2] == 12
    assert net.run_stage(2, x).shape[2] == 6


@pytest.mark.parametrize("size", [(7, 33, 45), (1, 32, 32), (3, 17, 64)])
def test_odd_sizes_round_up(size):
    t, h, w = size
    x = rgb_pathway(width=2, blocks=(1, 1, 1, 1))(torch.randn(2, 3, t, h, w))
    assert x.shape == (2, 64, t, -(-h // 32), -(-w // 32))


def test_initialisation_is_the_generators_and_starts_as_identity_blocks():
    nets = [rgb_pathway(width=2, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    other = rgb_pathway(width=2, generator=torch.Generator().manual_seed(4))
    assert not torch.equal(nets[0].stem.conv.weight, other.stem.conv.weight)
    block = nets[0].stages[0][1]
    assert not block.conv3.norm.weight.any()
    assert block.conv2.norm.weight.eq(1).all()
    x = torch.rand(1, 8, 2, 4, 4)
    assert torch.equal(block(x), x)
    # Kaiming normal, fan out, ReLU: standard deviation sqrt(2 / (out * 7 * 7)).
    std = rgb_pathway(width=64, blocks=(1,)).stem.conv.weight.std().item()
    assert std == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


def test_nothing_touches_the_global_seed():
    torch.manual_seed(7)
    state = torch.random.initial_seed()
    rgb_pathway(width=2, blocks=(1,), generator=torch.Generator().manual_seed(0))
    assert torch.random.initial_seed() == state


def test_wrong_arguments_are_explained():
    arguments = {
        "in_channels": 3,
        "width": 2,
        "blocks": (1, 1),
        "inflate": (False, True),
        "spatial_strides": (1, 2),
        "temporal_strides": (1, 1),
        "stem_stride": 2,
        "stem_pool": 2,
    }
    with pytest.raises(MgkitError, match="one value per stage"):
        ResNet3d(**{**arguments, "inflate": (True,)})
    with pytest.raises(MgkitError, match="at least 1"):
        ResNet3d(**{**arguments, "width": 0})
    with pytest.raises(MgkitError, match="run_stage"):
        ResNet3d(**arguments, lateral_channels=(0, 4))(torch.zeros(1, 3, 1, 8, 8))
