"""Requirements of every skeleton graph network, and their equality with the published ones."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mgkit.errors import MgkitError
from mgkit.models.gcns.aagcn import aagcn_features as aagcn
from mgkit.models.gcns.blocks import SkeletonGraph
from mgkit.models.gcns.ctrgcn import ctrgcn_features as ctrgcn
from mgkit.models.gcns.dgstgcn import dgstgcn_features as dgstgcn
from mgkit.models.gcns.stgcn import stgcn_features as stgcn
from mgkit.models.gcns.stgcn import stgcnpp_features as stgcnpp
from mgkit.models.heads import PathwayHead
from tests.models.layouts import COCO, FOREST, LONE, NTU

NETWORKS = {"stgcn": stgcn, "stgcnpp": stgcnpp, "aagcn": aagcn, "ctrgcn": ctrgcn, "dgstgcn": dgstgcn}
BEGIN_UNCHANGED = ("aagcn", "ctrgcn")  # blocks pass on their shortcuts at first

every_network = pytest.mark.parametrize("name", NETWORKS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clips(graph, *, n=2, m=1, t=8):
    return torch.randn(n, m, t, graph.num_joints, 3, generator=seeded(1))


def small(name, graph, **settings):
    return NETWORKS[name](graph, **{"width": 8, "blocks": (1, 1), "generator": seeded(), **settings})


# Parity with the published implementations


def published(reference_dir, name):
    """The reference, and our network and head with its weights, in float64."""
    reference = torch.load(reference_dir / f"{name}_tiny.pt", weights_only=True)
    network = NETWORKS[name](COCO, width=16, persons=2)
    head = PathwayHead(64, 32, embedding_dim=None, dropout=0.0)
    state = reference["state_dict"]
    network.load_state_dict(
        {key.removeprefix("backbone."): state[key] for key in state if key.startswith("backbone.")}
    )
    head.classifier.load_state_dict({key: state[f"cls_head.fc_cls.{key}"] for key in ("weight", "bias")})
    return reference, network.double(), head.double()


@pytest.mark.slow
@every_network
def test_matches_the_published_network(reference_dir, name):
    """All names and shapes (the state is loaded strictly), features and logits; in float32, too."""
    reference, network, head = published(reference_dir, name)
    (x,) = reference["inputs"]
    for mode in ("eval", "train"):
        network.train(mode == "train")
        output = head(network(x.double()))
        features = output.features.permute(0, 4, 1, 2, 3)  # the published order is (N, M, C, T, V)
        for ours, kind, tolerance in ((features, "feat", 1e-5), (output.logits, "logits", 2e-6)):
            theirs = reference[mode][kind]
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    reference, network, head = published(reference_dir, name)
    logits, theirs = head.float()(network.float().eval()(x)).logits, reference["eval"]["logits"]
    assert (logits - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.slow
@every_network
def test_gradients_match_the_published_networks(reference_dir, name):
    """The norm of every parameter's gradient, to 1e-4 of the largest; half of them to 1e-5 of their own.

    Where a value is within rounding of zero, rounding decides whether a ReLU lets its gradient pass; the reference,
    computed in float32, has a few such values. Inputs a rounding apart go the other way. Ours, in float64 and thus the
    same on every machine, must match the reference for one of some such inputs.
    """
    reference, network, head = published(reference_dir, name)
    (x,) = reference["inputs"]
    theirs = {
        key.removeprefix("backbone."): norm
        for key, norm in reference["grads"].items()
        if "cls_head" not in key
    }
    largest = max(theirs.values())
    network.train()
    parameters = dict(network.named_parameters())
    assert set(theirs) <= set(parameters)
    found = []
    for seed in (9, 6, 12, 0, 1, 2, 3, 4):
        rounding = 1e-7 * torch.randn(x.shape, generator=seeded(seed), dtype=torch.float64)
        network.zero_grad()
        head(network(x * (1 + rounding))).logits.square().mean().backward()
        off = {key: abs(parameters[key].grad.norm().item() - norm) for key, norm in theirs.items()}
        relative = torch.tensor([off[key] / norm for key, norm in theirs.items() if norm > 1e-5])
        found.append((max(off.values()) / largest, relative.median().item()))
        if found[-1][0] <= 1e-4 and found[-1][1] <= 1e-5:
            return
    raise AssertionError(f"worst of the largest, median of their own: {found}")


def test_mean_over_features_is_the_published_pooling():
    """Over frames and joints of each person, then over persons."""
    features = stgcn(COCO, width=8, blocks=(1, 1), persons=3)(clips(COCO, m=3))
    of_persons = features.permute(0, 4, 1, 2, 3).mean(dim=(3, 4))
    torch.testing.assert_close(features.mean(dim=(2, 3, 4)), of_persons.mean(dim=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "graph", "millions", "gmac"),
    [
        ("stgcn", COCO, 3.1, 3.8),
        ("stgcn", NTU, 3.1, 5.7),
        ("stgcnpp", COCO, 1.39, 1.95),
        ("stgcnpp", NTU, 1.4, 2.96),
        ("ctrgcn", NTU, 1.46, None),
    ],
)
def test_full_size_is_the_published_one(name, graph, millions, gmac):
    """Parameters with a classifier of 60 classes, and multiply-adds of 100 frames of two persons.

    As MMAction2's model zoo states them for NTU RGB+D 60, and CTR-GCN's paper its parameters. CTR-GCN's multiply-adds
    are fewer here than in the paper: two of its projections are made of the mean over time instead of each frame.
    """
    network = NETWORKS[name](graph, persons=2).eval()
    parameters = sum(p.numel() for p in network.parameters()) + 61 * network.out_channels[-1]
    assert parameters / 1e6 == pytest.approx(millions, rel=0.015)
    if gmac is not None:
        network.to("meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.empty(1, 2, 100, graph.num_joints, 3, device="meta"))
        assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.015)


# Shapes and layouts


@pytest.mark.slow
@every_network
@pytest.mark.parametrize("graph", [COCO, FOREST, LONE, SkeletonGraph(2, 1, ()), SkeletonGraph(30, 0, ())])
def test_any_layout_trains(name, graph):
    network = small(name, graph)
    features = network(clips(graph))
    assert features.shape == (2, 16, 4, graph.num_joints, 1)
    assert features.isfinite().all()
    assert (features >= 0).all()
    features.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.slow
@every_network
@pytest.mark.parametrize("frames", [1, 2, 3, 7, 9])
def test_each_stage_after_the_first_halves_time_rounding_up(name, frames):
    network = small(name, FOREST, blocks=(2, 1, 1)).eval()
    assert network.out_channels == (8, 16, 32)
    assert network(clips(FOREST, t=frames)).shape == (2, 32, -(-frames // 4), 7, 1)


@every_network
def test_shapes_and_sizes_can_be_had_without_numbers(name):
    with torch.device("meta"):
        network = small(name, FOREST)
        assert network(torch.empty(2, 1, 9, 7, 3)).shape == (2, 16, 5, 7, 1)
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in small(name, FOREST).state_dict().items()
    }


@every_network
def test_a_missing_person_and_empty_clips_are_finite(name):
    network = small(name, FOREST, persons=2)
    x = clips(FOREST, m=2)
    x[:, 1] = 0
    assert network(x).isfinite().all()
    assert network(torch.zeros_like(x)).isfinite().all()


@every_network
@pytest.mark.parametrize(
    "shape",
    [(2, 8, 7, 3), (2, 1, 8, 6, 3), (2, 1, 8, 7, 2), (2, 1, 0, 7, 3), (2, 0, 8, 7, 3), (2, 7, 8, 3, 1)],
)
def test_other_shapes_are_refused(name, shape):
    with pytest.raises(MgkitError, match=r"7 joints, 3 values per joint.*got \("):
        small(name, FOREST)(torch.zeros(shape))


@every_network
@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": ()},
        {"blocks": (1, 0)},
        {"width": 0},
        {"in_channels": 0},
        {"persons": 0},
        {"data_norm": "CV"},
    ],
)
def test_impossible_settings_are_refused(name, wrong):
    with pytest.raises(MgkitError, match=next(iter(wrong))):
        small(name, FOREST, **wrong)


@pytest.mark.parametrize(("name", "least"), [("stgcnpp", 6), ("aagcn", 4), ("ctrgcn", 4), ("dgstgcn", 8)])
def test_networks_say_how_narrow_they_may_be(name, least):
    small(name, FOREST, width=least)(clips(FOREST))
    with pytest.raises(MgkitError, match="width"):
        small(name, FOREST, width=least - 1)


# Persons and the normalisation of the input


@every_network
def test_persons_are_normalised_together_or_each_on_its_own(name):
    x = clips(FOREST, n=4, m=2)
    x[:, 1] = 5 + 3 * x[:, 1]
    together, apart = small(name, FOREST, data_norm="VC"), small(name, FOREST, data_norm="MVC", persons=2)
    for network in (together, apart):
        network.data_bn.momentum = 1.0
        network(x)
    # channels are (joint, value), and (person, joint, value)
    torch.testing.assert_close(together.data_bn.running_mean, x.mean(dim=(0, 1, 2)).flatten())
    torch.testing.assert_close(apart.data_bn.running_mean, x.mean(dim=(0, 2)).flatten())
    torch.testing.assert_close(apart.data_bn.running_var, x.var(dim=(0, 2)).flatten())


@every_network
def test_without_normalisation_the_input_is_left_alone(name):
    network = small(name, FOREST, data_norm="none").eval()
    assert not list(network.data_bn.parameters())
    seen = []
    (network.net if name == "ctrgcn" else network.gcn)[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    x = clips(FOREST, n=3, m=2)
    network(x)
    assert torch.equal(seen[0].view(3, 2, 3, 8, 7), x.permute(0, 1, 4, 2, 3))


@every_network
def test_clips_and_persons_do_not_mix(name):
    """In evaluation the features of a clip's person are those of that person alone, in its place."""
    network = small(name, FOREST, data_norm="VC", persons=2).eval()
    x = clips(FOREST, n=3, m=2)
    features = network(x)
    torch.testing.assert_close(network(x[1:2, 1:]), features[1:2, ..., 1:])
    torch.testing.assert_close(network(x.flip(1)), features.flip(4))


def test_each_person_has_its_place_where_each_is_normalised_on_its_own():
    network = small("ctrgcn", FOREST, persons=2)
    with pytest.raises(MgkitError, match=r"\(clips, 2, frames"):
        network(clips(FOREST, m=1))


# Initial weights


@every_network
def test_initial_weights_are_the_generators(name):
    states = [small(name, COCO, generator=seeded(seed)).state_dict() for seed in (3, 3, 4)]
    torch.manual_seed(0)
    again = small(name, COCO, generator=seeded(3)).state_dict()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert torch.equal(value, again[key])
    convolutions = [key for key in states[0] if "conv" in key and key.endswith("weight")]
    assert not any(
        torch.equal(states[0][key], states[2][key]) for key in convolutions if "conv_ta" not in key
    )


@every_network
def test_adjacencies_begin_as_the_graph_says(name):
    network = small(name, COCO)
    adjacencies = [value for key, value in network.state_dict().items() if key.endswith(".A")]
    assert len(adjacencies) == 2
    for adjacency in adjacencies:
        if name == "dgstgcn":
            assert adjacency.shape == (8, 17, 17)
            assert adjacency.mean().item() == pytest.approx(0.04, abs=2e-3)
            assert adjacency.std().item() == pytest.approx(0.02, abs=2e-3)
        else:
            assert torch.equal(adjacency, COCO.partitioned() if name == "stgcn" else COCO.spatial())
    # Each block's own: what one learns does not change another.
    assert len({value.data_ptr() for value in adjacencies}) == 2


@pytest.mark.parametrize("name", BEGIN_UNCHANGED)
def test_graph_convolutions_begin_as_their_shortcut(name):
    network = small(name, COCO, width=64, blocks=(2,))
    norms = [m for key, m in network.named_modules() if key.endswith(("gcn.bn", "gcn1.bn"))]
    assert len(norms) == 2
    assert all(norm.weight.eq(1e-6).all() for norm in norms)


def test_convolutions_begin_with_the_stated_spread():
    uniform = stgcn(COCO, width=64, blocks=(2,), generator=seeded()).gcn[1].tcn.conv
    bound = (64 * 9) ** -0.5
    assert uniform.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert uniform.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert uniform.bias.abs().max().item() <= bound
    normal = aagcn(COCO, width=64, blocks=(2,), generator=seeded()).gcn[1].tcn.conv
    assert normal.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert not normal.bias.any()


@every_network
def test_everything_that_is_used_learns(name):
    """No parameter is cut off, once the zeros that hide branches at first are gone.

    But for the biases that a BatchNorm takes away again.
    """
    network = small(name, COCO, width=16)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if not parameter.any() or "bn.weight" in key:
                parameter.uniform_(0.02, 0.1, generator=seeded())
    network(clips(COCO)).square().sum().backward()
    biases = {f"{key}.bias" for key, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    still = {key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert not still - biases


@pytest.mark.slow
@every_network
def test_a_small_one_learns_a_task(name):
    """Which of two joints moves; from chance to all in some steps."""
    x = 0.01 * torch.randn(32, 1, 16, 7, 3, generator=seeded(5))
    labels = torch.arange(32) % 2
    wave = torch.sin(torch.arange(16) * 0.9)
    for clip, label in zip(x, labels, strict=True):
        clip[0, :, 2 + 2 * int(label), 0] += wave
    network, head = small(name, FOREST), PathwayHead(16, 2, embedding_dim=None, dropout=0, generator=seeded())
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(25):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(network(x)).logits, labels).backward()
        optimiser.step()
    assert (head(network(x)).logits.argmax(dim=1) == labels).float().mean() > 0.9


@every_network
def test_blocks_can_keep_only_their_input(name):
    """Recomputing changes neither outputs nor gradients nor the running statistics."""
    plain, sparing = small(name, COCO), small(name, COCO)
    units = [module for module in sparing.modules() if hasattr(module, "recompute")]
    assert len(units) == 2
    for unit in units:
        unit.recompute = True
    for network in (plain, sparing):
        network(clips(COCO)).square().sum().backward()
    for (key, ours), theirs in zip(sparing.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), key
    for ours, theirs in zip(sparing.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@every_network
def test_half_precision_gives_about_the_same(name):
    """The output of a network in bfloat16 under autocast; the weights stay float32."""
    network = small(name, COCO, width=16).eval()
    x = clips(COCO, t=32)
    exact = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(x)
    assert (rough - exact).norm() <= 0.02 * exact.norm()
