import re

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models.cnns.tsm import temporal_shift, tsm_resnet
from mgkit.models.weights.names import tsm_names


def slow_shift(x, segments, shift_div):
    """Frame by frame and channel by channel, from the definition."""
    fold, result = x.shape[1] // shift_div, x * 0
    for i in range(len(x)):
        t = i % segments
        for c in range(x.shape[1]):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < segments:
                result[i, c] = x[i - t + source, c]
    return result


def test_shift_is_the_published_one(reference_dir):
    reference = torch.load(reference_dir / "tsm_shift.pt", weights_only=True)
    ours = temporal_shift(reference["input"], reference["n_segment"], reference["fold_div"])
    assert torch.equal(ours, reference["output"])


@pytest.mark.parametrize("segments", [1, 2, 5])
@pytest.mark.parametrize("channels, shift_div", [(16, 8), (9, 4), (6, 2), (3, 8)])
def test_shift_follows_its_definition_and_so_does_its_gradient(segments, channels, shift_div):
    x = torch.randn(3 * segments, channels, 2, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = temporal_shift(x, segments, shift_div), slow_shift(x, segments, shift_div)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(x)
    (a,), (b,) = (torch.autograd.grad((y * weights).sum(), x) for y in (ours, theirs))
    assert torch.equal(a, b)


def test_shift_has_second_derivatives():
    x = torch.randn(4, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda y: temporal_shift(y, 4, 4) ** 2, x)


def test_shift_keeps_the_memory_format_and_its_input():
    x = torch.randn(4, 8, 3, 3).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    assert temporal_shift(x, 2).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before)


def test_shift_says_what_it_needs():
    with pytest.raises(MgkitError, match=r"\(clips \* 4, channels, height, width\), but got \(6, 8, 1, 1\)"):
        temporal_shift(torch.zeros(6, 8, 1, 1), 4)
    with pytest.raises(MgkitError, match="shift_div must be at least 2"):
        temporal_shift(torch.zeros(4, 8, 1, 1), 4, 1)


@pytest.fixture(scope="module")
def resnet50():
    """torchvision's ResNet-50 with weights and statistics that leave no branch near zero, as a feature map."""
    from torchvision.models import resnet50

    net = resnet50(weights=None).eval().double()
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
    return net


def torchvision_features(net, frames):
    x = net.maxpool(net.relu(net.bn1(net.conv1(frames))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


@pytest.mark.slow
@torch.no_grad()
def test_without_neighbours_it_is_torchvisions_resnet50(resnet50):
    state = {name: value for name, value in resnet50.state_dict().items() if not name.startswith("fc.")}
    x = torch.randn(2, 3, 2, 33, 40, dtype=torch.float64)
    unshifted = tsm_resnet(shift_div=None).eval().double()
    unshifted.load_state_dict(state)  # every name, and no other
    theirs = torchvision_features(resnet50, x.transpose(1, 2).flatten(0, 1))
    theirs = theirs.unflatten(0, (2, 2)).transpose(1, 2)
    ours = unshifted(x)
    assert ours.shape == (2, 2048, 2, 2, 2)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(unshifted(x.contiguous(memory_format=torch.channels_last_3d)), theirs)
    shifted = tsm_resnet().eval().double()
    shifted.load_state_dict(state)
    assert not torch.allclose(shifted(x), theirs, rtol=0.1)
    # One frame has no neighbours: what comes from them is zero, as if the first convolutions did not look at it.
    for block in (name for name in state if name.endswith(".conv1.weight")):
        state[block] = state[block].clone()
        state[block][:, : state[block].shape[1] // 8 * 2] = 0
    unshifted.load_state_dict(state)
    torch.testing.assert_close(shifted(x[:, :, :1]), unshifted(x[:, :, :1]))


@torch.no_grad()
def test_a_frame_reaches_as_far_as_there_are_blocks():
    net = tsm_resnet(blocks=(2, 1), width=16, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(1, 3, 9, 32, 32)
    other = x.clone()
    other[:, :, 4] += 1
    changed = (net(x) != net(other)).flatten(3).any(3).any(1)[0]
    assert changed.tolist() == [False, True, True, True, True, True, True, True, False]
    both = net(torch.cat([x, other]))  # clips do not leak into each other
    torch.testing.assert_close(both[0], net(x)[0])


def test_full_size_network_has_the_specified_shapes_and_size():
    with torch.device("meta"):
        net = tsm_resnet()
        assert net(torch.empty(2, 3, 8, 224, 224)).shape == (2, 2048, 8, 7, 7)
    assert net.out_channels == (256, 512, 1024, 2048)
    assert sum(p.numel() for p in net.parameters()) == 23_508_032  # ResNet-50 without its classifier


def test_resnet101_shifts_in_every_second_block():
    with torch.device("meta"):
        net = tsm_resnet(blocks=(3, 4, 23, 3))
    assert [block.shift_div for block in net.layer3][:4] == [8, None, 8, None]
    assert [block.shift_div for block in net.layer1] == [8, None, 8]


@pytest.mark.parametrize("size", [(1, 33, 45), (5, 16, 31)])
def test_odd_sizes_round_up(size):
    t, h, w = size
    x = tsm_resnet(blocks=(1, 1, 1, 1), width=4)(torch.randn(2, 3, t, h, w))
    assert x.shape == (2, 128, t, -(-h // 32), -(-w // 32))


def test_initial_weights_are_the_generators():
    nets = [tsm_resnet(blocks=(1, 1), width=8, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(nets[0].conv1.weight, nets[2].conv1.weight)
    # Kaiming normal, fan out, ReLU: standard deviation sqrt(2 / (out * 3 * 3)).
    weight = (
        tsm_resnet(blocks=(1,), width=64, generator=torch.Generator().manual_seed(0)).layer1[0].conv2.weight
    )
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_wrong_arguments_are_explained():
    with pytest.raises(MgkitError, match="at least 1"):
        tsm_resnet(blocks=(1, 0))
    with pytest.raises(MgkitError, match="at least 1"):
        tsm_resnet(blocks=())
    with pytest.raises(MgkitError, match="shift_div must be at least 2, or None"):
        tsm_resnet(shift_div=0)
    net = tsm_resnet(blocks=(1,), width=4)
    for wrong in [(2, 3, 8, 8), (2, 1, 4, 8, 8), (2, 3, 0, 8, 8)]:
        with pytest.raises(MgkitError, match=r"frames \(clips, 3, frames, height, width\), but got"):
            net(torch.zeros(wrong))


def as_mmaction2(name):
    """A name of ours as MMAction2 writes it: one unit of convolution and norm, the shift around the first."""
    if name.startswith("fc."):
        return "cls_head.fc_cls." + name[3:]
    name = re.sub(r"^(layer\d\.\d\.)?conv(\d)\.", lambda m: f"{m[1] or ''}conv{m[2]}.conv.", name)
    name = re.sub(r"^(layer\d\.\d\.conv1\.conv)\.", r"\1.net.", name)
    name = re.sub(r"^(layer\d\.\d\.)?bn(\d)\.", lambda m: f"{m[1] or ''}conv{m[2]}.bn.", name)
    name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
    return f"backbone.{name}"


def as_authors(name):
    if name.startswith("fc."):
        return "module.new_fc." + name[3:]
    return "module.base_model." + re.sub(r"^(layer\d\.\d\.conv1)\.", r"\1.net.", name)


@pytest.mark.parametrize("theirs", [as_mmaction2, as_authors, str])
def test_published_names_become_ours(resnet50, theirs):
    names = list(resnet50.state_dict())
    published = [theirs(name) for name in names]
    assert theirs is str or not set(published) & set(names)
    assert tsm_names(dict(zip(published, names, strict=True))) == dict(zip(names, names, strict=True))


def test_names_of_other_networks_are_left_alone():
    # "Place" shift wraps whole blocks: another computation, which must not load as this one.
    others = ["layer1.0.net.conv1.weight", "layer2.0.non_local_block.g.weight", "cls_head.fc_rgb.weight"]
    assert list(tsm_names(dict.fromkeys(others))) == others
    with pytest.raises(MgkitError, match=r"conv1\.weight twice"):
        tsm_names({"backbone.conv1.conv.weight": 1, "conv1.weight": 2})
