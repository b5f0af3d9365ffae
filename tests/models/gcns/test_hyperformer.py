"""The hypergraph transformer against the published one, and its attention against loops over the equations."""

import math

import pytest
import torch
from torch import nn

from mgkit.data.skeletons import LAYOUTS
from mgkit.errors import MgkitError
from mgkit.models import PathwayHead
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.gcns.hyperformer import Hyperformer, HypergraphAttention, hop_distances
from mgkit.models.gcns.hyperformer import hyperformer_features as hyperformer

# The COCO skeleton that the reference was made with: hips hang on the shoulders, and not on each other.
COCO = SkeletonGraph(
    17,
    0,
    ((15, 13), (13, 11), (16, 14), (14, 12), (11, 5), (12, 6), (9, 7), (7, 5), (10, 8), (8, 6), (5, 0), (6, 0))
    + ((1, 0), (3, 1), (2, 0), (4, 2)),
)  # fmt: skip
ARM = SkeletonGraph(5, 0, ((1, 0), (2, 1), (3, 2)))  # the fifth joint is on its own


def small(generator=None, **options):
    options = {"width": 12, "heads": 3, "strides": (1, 2)} | options
    return Hyperformer(ARM, (0, 0, 1, 1, 2), generator=generator, **options)


def randomised(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(scope="module")
def reference(reference_dir):
    return torch.load(reference_dir / "hyperformer.pt")


def test_published_network_gives_the_same_logits(reference):
    config, published = reference["config"], reference["state_dict"]
    network = hyperformer(
        COCO, partition=config["joint_label"], persons=2, width=144, heads=config["num_heads"]
    )
    network.load_state_dict({k: v for k, v in published.items() if not k.startswith("fc.")})
    head = PathwayHead(network.out_channels[-1], 32, embedding_dim=None)
    head.classifier.load_state_dict({k: published[f"fc.{k}"] for k in ("weight", "bias")})
    x = reference["inputs"][0].permute(0, 4, 2, 3, 1)  # (N, 3, T, V, M) as published
    with torch.no_grad():
        output = head.eval()(network.eval()(x))
    torch.testing.assert_close(output.logits, reference["eval"]["logits"], rtol=1e-5, atol=1e-5)
    assert output.features.shape == (2, 144, 8, 17, 2)
    assert output.features.min() >= 0


def test_names_and_shapes_are_the_published_ones(reference):
    network = hyperformer(COCO, partition=reference["config"]["joint_label"], persons=2, width=144, heads=6)
    ours = {name: value.shape for name, value in network.state_dict().items()}
    assert ours == {k: v.shape for k, v in reference["state_dict"].items() if not k.startswith("fc.")}


@pytest.mark.parametrize("in_channels, heads, groups", [(3, 2, 2), (8, 4, 1)])
def test_attention_is_the_equation(in_channels, heads, groups):
    """One score at a time, from the weights of the convolutions."""
    width, joints, frames = 8, 5, 2
    hops = hop_distances(ARM)
    attention = HypergraphAttention(
        in_channels, width, heads=heads, num_joints=joints, distances=int(hops.max()) + 1, groups=groups
    )
    attention = randomised(attention).double()
    x = torch.randn(1, in_channels, frames, joints, dtype=torch.float64)
    parts = torch.randn(1, width, frames, joints, dtype=torch.float64)
    q = attention.q.weight[:, :, 0, 0]
    k, v = attention.kv.weight[:, :, 0, 0].split(width)
    each = width // heads
    expected = torch.zeros(width, frames, joints, dtype=torch.float64)
    for t in range(frames):
        for head in range(heads):
            of = slice(head * each, (head + 1) * each)
            for i in range(joints):
                scores = []
                for j in range(joints):
                    query, key, edge = (q @ x[0, :, t, i])[of], (k @ x[0, :, t, j])[of], parts[0, of, t, j]
                    relation = attention.rpe[hops[i, j]][of]
                    scores.append(query @ (key + edge + relation) + attention.w1[head] @ edge)
                attended = (torch.stack(scores) / math.sqrt(each)).softmax(0)
                for j in range(joints):
                    mix = attention.alpha[0] * attended[j] + attention.outer[head, i, j]
                    expected[of, t, i] += mix * (v @ x[0, :, t, j])[of]
    torch.testing.assert_close(attention(x, parts, hops)[0], attention.proj(expected[None])[0])


def test_a_part_speaks_with_the_mean_of_its_joints():
    """With the identity as projection, what attention is given for a joint is its part's mean, before the norm."""
    network = small(in_channels=12)
    unit = network.get_submodule("l1.vit1")
    given = []
    unit.attn.register_forward_pre_hook(lambda module, args: given.append(args[1]))
    with torch.no_grad():
        unit.pe_proj.weight.copy_(torch.eye(12)[:, :, None, None])
    x = torch.randn(2, 12, 3, 5)
    unit(x, network.members, network.hops)
    means = torch.stack((x[..., :2].mean(-1), x[..., 2:4].mean(-1), x[..., 4]), dim=-1)
    torch.testing.assert_close(given[0], means[..., [0, 0, 1, 1, 2]])


def test_numbers_of_parts_mean_nothing():
    a, b = small(), Hyperformer(ARM, (2, 2, 0, 0, 1), width=12, heads=3, strides=(1, 2))
    b.load_state_dict(randomised(a).state_dict())
    a, b = a.double(), b.double()
    x = torch.randn(2, 1, 6, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(a.eval()(x), b.eval()(x))
    other = Hyperformer(ARM, (0, 1, 1, 1, 2), width=12, heads=3, strides=(1, 2))
    other.load_state_dict(a.state_dict())
    assert not torch.allclose(other.double().eval()(x), a(x))


def test_persons_are_seen_apart():
    network = randomised(small(persons=2)).double().eval()
    network.data_bn.reset_parameters()
    x = torch.randn(3, 2, 6, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(network(x.flip(1)), network(x).flip(4))
    changed = x.clone()
    changed[:, 1] = 0
    torch.testing.assert_close(network(changed)[..., 0], network(x)[..., 0])


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_a_network_that_learns(name):
    layout = LAYOUTS[name]
    graph = SkeletonGraph(len(layout), layout.root, layout.inward)
    network = hyperformer(graph, width=12, heads=2, blocks=(1, 1))
    x = torch.rand(2, 1, 5, len(layout), 3)
    x[1] = 0  # nobody was seen
    features = network(x)
    assert features.shape == (2, 12, 3, len(layout), 1)
    features.square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_everything_learns_once_attention_is_open():
    """`alpha` begins at 0, which keeps scores out of the first step; nothing keeps them out of the later ones."""
    network = small(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("alpha"):
                parameter.fill_(0.5)
    network(torch.randn(4, 1, 8, 5, 3)).square().mean().backward()
    unused = {name for name, p in network.named_parameters() if not p.grad.any()}
    # A bias before BatchNorm, or one that the softmax does not see, has no effect; these have.
    assert not {name for name in unused if name.endswith(("weight", "rpe", "w1", "alpha", "outer"))}


@pytest.mark.parametrize("frames, expected", [(1, 1), (7, 2), (8, 2), (9, 3)])
def test_time_is_halved_and_rounded_up(frames, expected):
    network = small(strides=(2, 1, 2)).eval()
    assert network(torch.rand(1, 1, frames, 5, 3)).shape == (1, 12, expected, 5, 1)
    assert network.out_channels == (12, 12, 12)


def test_published_defaults():
    network = hyperformer(COCO)
    assert network.out_channels == (216,) * 10
    assert network.get_submodule("l8.tcn1.branches.0.3.conv").stride == (2, 1)
    assert network.get_submodule("l2.vit1.attn.proj").weight.shape == (216, 36, 1, 1)
    assert network.get_submodule("l2.vit1.attn").rpe.shape == (9, 216)


def test_weights_follow_from_the_generator():
    one, two, other = (small(torch.Generator().manual_seed(seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {name for name in one if one[name].ndim == 4 and torch.equal(one[name], other[name])} == set()
    assert torch.equal(one["l1.vit1.attn.outer"], torch.eye(5).expand(3, 5, 5))
    assert not one["l1.vit1.attn.alpha"].any()


def test_weights_begin_as_published():
    network = small(torch.Generator().manual_seed(0), width=240, heads=6, strides=(1,))
    time = network.get_submodule("l1.tcn1.branches.0.3")
    assert time.conv.weight.std().item() == pytest.approx(math.sqrt(2 / (60 * 5)), rel=0.05)
    assert time.bn.weight.std().item() == pytest.approx(0.02, rel=0.4)
    values = network.get_submodule("l1.vit1.attn.proj").weight
    fan_in = values[0].numel()
    assert values.abs().max() <= 1 / math.sqrt(fan_in)
    assert values.std().item() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.05)
    norms = [m for m in network.modules() if isinstance(m, nn.LayerNorm)]
    assert all(torch.equal(m.weight, torch.ones_like(m.weight)) for m in norms)


def test_weights_come_back_bit_for_bit(tmp_path):
    network = randomised(small()).train()
    x = torch.randn(2, 1, 6, 5, 3)
    network(x)  # the running statistics have moved
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    again = small()
    again.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(again.eval()(x), network.eval()(x))


@pytest.mark.parametrize(
    "shape", [(2, 1, 6, 5), (2, 2, 6, 5, 3), (2, 1, 6, 4, 3), (2, 1, 6, 5, 2), (2, 1, 0, 5, 3)]
)
def test_other_shapes_are_explained(shape):
    with pytest.raises(MgkitError, match=r"1 person, frames, 5 joints, 3\), but got"):
        small()(torch.zeros(shape))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 16}, "a multiple of 12"),
        ({"heads": 5}, "a multiple of 60"),
        ({"strides": ()}, "there must be a layer"),
        ({"strides": (1, 0)}, "at least 1"),
        ({"persons": 0}, "at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(options, message):
    with pytest.raises(MgkitError, match=message):
        small(**options)


def test_a_width_that_fits_other_groups():
    assert small(width=16, heads=2, groups=2).out_channels == (16, 16)


def test_a_partition_of_another_skeleton_is_explained():
    with pytest.raises(MgkitError, match="5 joints, but has 3"):
        Hyperformer(ARM, (0, 1, 2), width=12, heads=3)
