import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import Objective, PathwayHead, SinglePathway
from mgkit.models.cnns.tsm import tsm_resnet
from mgkit.models.cnns.video_swin import SWIN_SIZES, SwinSize, swin_features
from mgkit.models.weights.names import video_swin_names
from mgkit.parts import part

NARROW = SwinSize(12, (2, 1, 2), (1, 2, 4))


def torchvision_net(size, window=(8, 7, 7), num_classes=5):
    """torchvision's own, with the classifier."""
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    return SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=size.embed_dim,
        depths=list(size.depths),
        num_heads=list(size.heads),
        window_size=list(window),
        num_classes=num_classes,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "size, weights, channels", [("tiny", 28158070, 768), ("small", 49816678, 768), ("base", 88048984, 1024)]
)
def test_published_sizes_have_torchvisions_weights(size, weights, channels):
    from torchvision.models import video

    with torch.device("meta"):
        ours = swin_features(size)
        theirs = getattr(video, f"swin3d_{size[0]}")(weights=None)
        shape = ours(torch.empty(2, 3, 32, 224, 224)).shape
    assert shape == (2, channels, 16, 7, 7)
    assert ours.out_channels == tuple(channels // 8 * 2**i for i in range(4))
    state = {n: v.shape for n, v in theirs.state_dict().items() if not n.startswith("head.")}
    assert {n: v.shape for n, v in ours.state_dict().items()} == state
    count = sum(p.numel() for p in ours.parameters())
    assert count + sum(p.numel() for p in theirs.head.parameters()) == weights  # as on torchvision's pages
    assert count + channels * 400 + 400 == weights


@torch.no_grad()
@pytest.mark.parametrize("size", [(4, 32, 32), (1, 7, 9), (7, 33, 47), (16, 64, 36)])
def test_features_are_torchvisions(size):
    window = (4, 3, 3)
    theirs, ours = torchvision_net(NARROW, window).eval(), swin_features(NARROW, window=window).eval()
    generator = torch.Generator().manual_seed(0)
    for p in theirs.parameters():  # far from the start, where all branches are near zero
        p.normal_(0, 0.3, generator=generator)
    left = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not left.missing_keys
    assert left.unexpected_keys == ["head.weight", "head.bias"]
    x = torch.randn(2, 3, *size)
    features = ours(x)
    t, h, w = size
    assert features.shape == (2, 48, -(-t // 2), -(-h // 16), -(-w // 16))
    seen = []
    theirs.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    theirs(x)
    torch.testing.assert_close(features.permute(0, 2, 3, 4, 1), seen[0])
    torch.testing.assert_close(
        ours(x.contiguous(memory_format=torch.channels_last_3d)), features, rtol=1e-4, atol=1e-4
    )


def test_initial_weights_are_the_generators_and_like_torchvisions():
    state = torch.random.get_rng_state()
    nets = [swin_features(NARROW, generator=torch.Generator().manual_seed(s)).state_dict() for s in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state)  # and nobody else's
    theirs = torchvision_net(NARROW).state_dict()
    for name, value in nets[0].items():
        assert torch.equal(value, nets[1][name])
        assert value.isfinite().all()
        if not value.is_floating_point() or len(theirs[name].unique()) == 1:
            assert torch.equal(value, theirs[name])  # biases, norms, the table of relative positions
            continue
        assert not torch.equal(value, nets[2][name])
        few = value.numel() < 200
        assert value.std().item() == pytest.approx(theirs[name].std().item(), rel=0.8 if few else 0.2)
        assert abs(value.mean().item()) < 5 * value.std().item() / value.numel() ** 0.5
    assert len(nets[0]) == len(theirs) - 2


def test_without_a_generator_it_is_torchs_own():
    torch.manual_seed(5)
    a = swin_features(NARROW).features[0][0].attn.qkv.weight
    b = swin_features(NARROW).features[0][0].attn.qkv.weight
    assert not torch.equal(a, b)


def test_it_trains():
    net = swin_features(
        SwinSize(8, (1, 1), (1, 1)), window=(2, 2, 2), generator=torch.Generator().manual_seed(0)
    )
    net(torch.randn(2, 3, 4, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: tsm_resnet(blocks=(1, 1), width=8), lambda: swin_features(NARROW)])
def test_rgb_backbones_learn_in_a_pathway_with_prototypes(make):
    torch.manual_seed(0)
    model = SinglePathway("rgb", make(), 3, head=part(PathwayHead, embedding_dim=6, dropout=0.0))
    objective = Objective(model.pathways, num_classes=3, embedding_dim=6)
    labels = torch.tensor([0, 1, 2, 0])
    inputs = {"rgb": torch.randn(4, 3, 4, 32, 32) + labels.view(4, 1, 1, 1, 1)}
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        step = objective(model(inputs), labels)
        step.loss.backward()
        optimiser.step()
        losses.append(float(step.terms["ce_rgb"]))
    assert all(p.grad is not None for p in model.parameters())
    assert losses[-1] < 0.5 * losses[0]
    assert objective.refinement["rgb"].updates.sum() > 0


def test_stochastic_depth_grows_to_the_last_block():
    def probabilities(p):
        net = swin_features(NARROW, stochastic_depth=p)
        return [m.stochastic_depth.p for m in net.modules() if hasattr(m, "stochastic_depth")]

    assert probabilities(0.2) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert probabilities(0.0) == [0] * 5


@pytest.mark.parametrize(
    "size, options, message",
    [
        ("huge", {}, "tiny, small, base, not 'huge'"),
        (SwinSize(8, (1, 1), (1,)), {}, "one value per stage"),
        (SwinSize(8, (), ()), {}, "one value per stage"),
        (SwinSize(8, (1,), (1,)), {}, "at least two blocks"),
        (SwinSize(8, (1, 0), (1, 1)), {}, "at least 1"),
        (SwinSize(9, (1, 1), (1, 4)), {}, "stage 2 has 18 channels, which cannot be divided among 4 heads"),
        ("tiny", {"window": (8, 7)}, r"\(frames, height, width\) in patches"),
        ("tiny", {"window": (8, 7, 0)}, "each at least 1"),
        ("tiny", {"stochastic_depth": 1.0}, "less than 1; got 1.0"),
    ],
)
def test_wrong_arguments_are_explained(size, options, message):
    with pytest.raises(MgkitError, match=message):
        swin_features(size, **options)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 4, 8, 8), (2, 3, 0, 8, 8)])
def test_wrong_input_is_explained(shape):
    net = swin_features(SwinSize(8, (1, 1), (1, 1)))
    with pytest.raises(MgkitError, match=r"frames \(clips, 3, frames, height, width\), but got"):
        net(torch.zeros(shape))


def as_authors(name):
    """A name of torchvision's as the authors and MMAction2 write it."""
    match name.split("."):
        case ["features", place, *rest] if int(place) % 2 == 0:
            text = ".".join(["layers", str(int(place) // 2), "blocks", *rest])
            return text.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        case ["features", place, *rest]:
            return ".".join(["layers", str(int(place) // 2), "downsample", *rest])
        case ["head", kind]:
            return f"cls_head.fc_cls.{kind}"
    return name


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_published_names_become_torchvisions(prefix):
    with torch.device("meta"):
        names = list(swin_features("tiny").state_dict())
    published = [prefix + as_authors(name) for name in names]
    assert any("blocks.5.mlp.fc2" in name for name in published)
    assert video_swin_names(dict(zip(published, names, strict=True))) == dict(zip(names, names, strict=True))
    assert video_swin_names(dict.fromkeys(names)) == dict.fromkeys(names)


def test_two_networks_in_one_file_are_refused():
    with pytest.raises(MgkitError, match=r"norm\.bias twice"):
        video_swin_names({"norm.bias": 1, "backbone.norm.bias": 2})


def test_the_sizes_are_the_papers():
    assert {name: sum(size.depths) for name, size in SWIN_SIZES.items()} == {
        "tiny": 12,
        "small": 24,
        "base": 24,
    }
