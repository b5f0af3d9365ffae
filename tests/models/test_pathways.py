import pytest
import torch
from torch import nn

from mgkit.errors import MgkitError
from mgkit.models import merge_branches
from mgkit.models.weights.load import from_mmaction2, to_mmaction2
from tests.models.nets import pose_only, rgb_only, two_pathway

TINY = {"rgb_width": 8, "pose_width": 8, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}
TINY_RGB = {"width": 8, "blocks": (1, 1, 1, 1)}
TINY_POSE = {"width": 8, "blocks": (1, 1, 1)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny_inputs(n=2, t=2, size=24, joints=5):
    return {
        "rgb": torch.randn(n, 3, t, size, size, generator=seeded(1)),
        "pose": torch.rand(n, joints, 4 * t, size // 4, size // 4, generator=seeded(2)),
    }


def randomise(model):
    """Random weights and BatchNorm statistics, so that nothing hides behind a zero initialisation."""
    generator = seeded(11)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(std=0.3, generator=generator)
    return model


# Shapes and sizes


@pytest.mark.slow
def test_full_size_two_pathway_shapes_and_parameter_count():
    with torch.device("meta"):
        model = two_pathway(33, 22)
        outputs = model({"rgb": torch.empty(2, 3, 8, 224, 224), "pose": torch.empty(2, 22, 32, 56, 56)})
        branches = rgb_only(33), pose_only(33, 22)
    assert model.pathways == ("rgb", "pose")
    assert outputs["rgb"].features.shape == (2, 2048, 8, 7, 7)
    assert outputs["pose"].features.shape == (2, 512, 32, 7, 7)
    assert outputs["rgb"].logits.shape == outputs["pose"].logits.shape == (2, 33)
    assert outputs["rgb"].embedding.shape == outputs["pose"].embedding.shape == (2, 256)
    # What the two-pathway net has beyond its branches: the laterals and their BatchNorms,
    laterals = 7 * (128 * 128 + 256 * 256) + 7 * (512 * 32 + 1024 * 64) + 2 * (32 + 64)
    # the input channels that take them (first convolution, 3x1x1 in all four stages, and shortcut),
    widened = 128 * (3 * 256 + 1024) + 256 * (3 * 512 + 2048) + 32 * (3 * 64 + 256) + 64 * (3 * 128 + 512)
    # and two fusion modules: projections, gates, two attentions of four linear layers.
    fusion = sum(
        (c1 * h + h) + (4 * c2 * h + h) + (h * c1 + c1) + (4 * h * c2 + c2) + 8 * (h * h + h)
        for c1, c2, h in ((512, 128, 128), (1024, 256, 256))
    )
    size = [sum(p.numel() for p in m.parameters()) for m in (model, *branches)]
    assert size[0] == size[1] + size[2] + laterals + widened + fusion
    assert model.backbones["rgb"].stages[2][0].conv1.conv.in_channels == 640
    assert model.backbones["rgb"].stages[3][0].conv1.conv.in_channels == 1280
    assert model.backbones["pose"].stages[1][0].conv1.conv.in_channels == 160
    assert model.backbones["pose"].stages[2][0].conv1.conv.in_channels == 320


def test_published_single_pathway_size():
    with torch.device("meta"):
        model = rgb_only(400, embedding_dim=None)
    # 32.45 M, as published for SlowOnly ResNet-50 on Kinetics-400.
    assert sum(p.numel() for p in model.parameters()) == 31_634_496 + 2048 * 400 + 400


@pytest.mark.parametrize("laterals", [True, False])
@pytest.mark.parametrize("fusion", [None, "channel", "time"])
def test_every_variant_runs_and_trains_every_parameter(laterals, fusion):
    model = randomise(two_pathway(4, 5, laterals=laterals, fusion=fusion, zero_init_gates=False, **TINY))
    outputs = model(tiny_inputs())
    assert list(outputs) == ["rgb", "pose"]
    assert outputs["rgb"].features.shape == (2, 256, 2, 1, 1)
    assert outputs["pose"].features.shape == (2, 128, 8, 1, 1)
    sum(o.logits.square().sum() + o.embedding.square().sum() for o in outputs.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("t", "frames", "heatmaps"), [(1, (40, 56), (10, 14)), (3, (33, 47), (9, 12)), (5, (30, 30), (8, 8))]
)
def test_odd_lengths_and_sizes(t, frames, heatmaps):
    model = two_pathway(4, 5, **TINY).eval()
    outputs = model({"rgb": torch.randn(1, 3, t, *frames), "pose": torch.rand(1, 5, 4 * t, *heatmaps)})
    assert outputs["rgb"].features.shape[2] == t
    assert outputs["pose"].features.shape[2] == 4 * t
    assert model.rgb_to_pose[0](torch.randn(1, 64, t, 3, 5)).shape == (1, 8, 4 * t, 3, 5)
    assert model.pose_to_rgb[0](torch.randn(1, 32, 4 * t, 3, 5)).shape == (1, 32, t, 3, 5)


def test_rgb_to_pose_lateral_by_hand():
    """Frame u of the output collects w[k] * frame t of the input for u = 4 t + k - 3."""
    module = two_pathway(4, 5, **TINY).rgb_to_pose[0].conv
    x = torch.randn(1, 64, 3, 1, 1)
    expected = torch.zeros(1, 8, 12, 1, 1)
    with torch.no_grad():
        for t in range(3):
            for k in range(7):
                if 0 <= (u := 4 * t + k - 3) < 12:
                    expected[0, :, u, 0, 0] += x[0, :, t, 0, 0] @ module.weight[:, :, k, 0, 0]
        torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)


def test_halve_time_reaches_the_pose_head_only():
    outputs = two_pathway(4, 5, halve_time=True, **TINY)(tiny_inputs())
    assert outputs["rgb"].features.shape[2] == 2
    assert outputs["pose"].features.shape[2] == 4


def test_builders_draw_from_the_generator():
    a, b = (
        two_pathway(4, 5, zero_init_gates=False, generator=seeded(5), **TINY).state_dict() for _ in range(2)
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_state_dict_round_trip():
    model, other = randomise(two_pathway(4, 5, **TINY)).eval(), two_pathway(4, 5, **TINY).eval()
    other.load_state_dict(model.state_dict())
    a, b = model(tiny_inputs()), other(tiny_inputs())
    assert torch.equal(a["rgb"].logits, b["rgb"].logits)
    assert torch.equal(a["pose"].embedding, b["pose"].embedding)


# Laterals


def test_detached_laterals_stop_the_gradient():
    for detach in (False, True):
        model = randomise(two_pathway(4, 5, fusion=None, lateral_detach=detach, **TINY))
        model(tiny_inputs())["rgb"].logits.square().sum().backward()
        reached = model.backbones["pose"].stem.conv.weight.grad
        assert (reached is None) == detach
        assert model.pose_to_rgb[0].weight.grad is not None


def test_lateral_dropout_hides_the_other_pathway_in_training_only():
    inputs = tiny_inputs(n=3)
    changed = {**inputs, "pose": torch.rand_like(inputs["pose"])}
    model = randomise(two_pathway(4, 5, fusion=None, lateral_dropout=1.0, dropout=0.0, **TINY))
    assert torch.equal(model(inputs)["rgb"].logits, model(changed)["rgb"].logits)
    model.eval()
    assert not torch.allclose(model(inputs)["rgb"].logits, model(changed)["rgb"].logits)


# Merging


@pytest.mark.parametrize("laterals", [True, False])
@pytest.mark.parametrize("fusion", [None, "channel", "time"])
def test_merged_branches_are_their_late_fusion(laterals, fusion):
    rgb = randomise(rgb_only(4, generator=seeded(1), **TINY_RGB)).eval()
    pose = randomise(pose_only(4, 5, generator=seeded(2), **TINY_POSE)).eval()
    model = randomise(two_pathway(4, 5, laterals=laterals, fusion=fusion, **TINY)).eval()
    padded = merge_branches(model, rgb=rgb.state_dict(), pose=pose.state_dict())
    assert len(padded) == (8 if laterals else 0)
    # In float64: with laterals the longer sums over zero-padded channels may be grouped differently.
    inputs = {name: value.double() for name, value in tiny_inputs().items()}
    merged, alone = model.double()(inputs), {**rgb.double()(inputs), **pose.double()(inputs)}
    for name in ("rgb", "pose"):
        tolerance = {"atol": 1e-12, "rtol": 1e-12} if laterals else {"atol": 0, "rtol": 0}
        torch.testing.assert_close(merged[name].logits, alone[name].logits, **tolerance)
        torch.testing.assert_close(merged[name].embedding, alone[name].embedding, **tolerance)


@pytest.mark.parametrize("fusion", ["channel", "time"])
def test_merged_branches_differ_from_their_late_fusion_once_gates_open(fusion):
    rgb, pose = randomise(rgb_only(4, **TINY_RGB)).eval(), randomise(pose_only(4, 5, **TINY_POSE)).eval()
    model = two_pathway(4, 5, fusion=fusion, zero_init_gates=False, **TINY).eval()
    merge_branches(model, rgb=rgb.state_dict(), pose=pose.state_dict())
    inputs = tiny_inputs()
    merged, alone = model(inputs), {**rgb(inputs), **pose(inputs)}
    for name in ("rgb", "pose"):
        assert (merged[name].logits - alone[name].logits).abs().max() > 1e-3


def test_merging_explains_misfits_and_leaves_the_model_alone():
    rgb, pose = rgb_only(4, **TINY_RGB).state_dict(), pose_only(4, 5, **TINY_POSE).state_dict()
    model = two_pathway(4, 7, **TINY)  # two joints more than the pose branch
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MgkitError, match=r"backbones\.pose\.stem\.conv\.weight"):
        merge_branches(model, rgb=rgb, pose=pose)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(MgkitError, match=r"lack backbones\.rgb\.stem"):
        merge_branches(two_pathway(4, 5, **TINY), rgb=pose, pose=pose)


def test_merging_branches_without_embedding_keeps_the_models():
    rgb = rgb_only(4, embedding_dim=None, **TINY_RGB).state_dict()
    pose = pose_only(4, 5, embedding_dim=None, **TINY_POSE).state_dict()
    model = two_pathway(4, 5, **TINY)
    before = model.heads["rgb"].embedding.weight.clone()
    merge_branches(model, rgb=rgb, pose=pose)
    assert torch.equal(model.heads["rgb"].embedding.weight, before)


# Parity with the published implementations


@pytest.mark.parametrize(
    ("file", "build"),
    [
        pytest.param(
            "rgbposeconv3d_tiny",
            lambda: two_pathway(
                32, 17, rgb_width=16, pose_width=8, fusion=None, embedding_dim=None, dropout=0.0
            ),
            marks=pytest.mark.slow,
        ),
        ("slowonly_pose_tiny", lambda: pose_only(32, 17, width=8, embedding_dim=None, dropout=0.0)),
        pytest.param(
            "slowonly_pose_li_tiny",
            lambda: pose_only(32, 22, width=8, halve_time=True, embedding_dim=None, dropout=0.0),
            marks=pytest.mark.slow,
        ),
        ("slowonly_rgb_tiny", lambda: rgb_only(32, width=16, embedding_dim=None, dropout=0.0)),
    ],
)
def test_matches_the_published_network(reference_dir, file, build):
    """Outputs, gradients by name and BatchNorm's statistics, in float64.

    The reference was computed in float32, by other kernels than any machine here has, so that a match is a match up to
    its rounding. That is what the tolerances are: in float64 ours adds none, and the distance is the same everywhere.
    After some fifty layers the features are 2 to 4e-5 away (of their norm), the logits, which average them, less than
    1e-5. A gradient's norm also depends on which of two nearly equal values a ReLU or maximum passes on, which the
    rounding decides: half of them agree to 2e-3, the worst to 5e-2. A wrong stride, padding or order of channels is
    beyond all of these by far.
    """
    reference = torch.load(reference_dir / f"{file}.pt", weights_only=True)
    model = build()
    state, report = from_mmaction2(reference["state_dict"], model)
    assert not report.left
    assert not report.initialised
    assert not report.adapted
    model.load_state_dict(state)
    single = {name: value.float() for name, value in zip(model.pathways, reference["inputs"], strict=True)}
    with torch.no_grad():
        in_float32 = model.eval()(single)
    model.double()
    inputs = {name: value.double() for name, value in single.items()}
    inner = _watch_batchnorms(model)
    for mode in ("eval", "train"):
        model.train(mode == "train")
        outputs = model(inputs)
        for name, output in outputs.items():
            suffix = f"_{name}" if len(outputs) == 2 else ""
            for ours, kind, tolerance in ((output.features, "feat", 5e-5), (output.logits, "logits", 1e-5)):
                theirs = reference[mode][kind + suffix]
                assert ours.shape == theirs.shape
                assert (ours - theirs).norm() <= tolerance * theirs.norm()
            if mode == "eval":
                for ours, exact in zip(in_float32[name][:3], output[:3], strict=True):
                    assert ours is None or (ours - exact).norm() <= 1e-4 * exact.norm()
    sum(output.logits.square().mean() for output in outputs.values()).backward()
    for norm, batches in inner.items():
        _check_running_statistics(norm, batches, state, model)
    # The gradients travel under the published names by way of the weights.
    for parameter in model.parameters():
        parameter.data = parameter.grad
    norms = {
        name: value.norm().item() for name, value in to_mmaction2(model).items() if name in reference["grads"]
    }
    assert norms == pytest.approx(reference["grads"], rel=5e-2, abs=1e-6)
    off = torch.tensor([abs(norms[name] / value - 1) for name, value in reference["grads"].items()])
    assert off.median() <= 2e-3


def _watch_batchnorms(model):
    """{BatchNorm: inputs in training}, filled by hooks while the model runs."""
    seen = {module: [] for module in model.modules() if isinstance(module, nn.BatchNorm3d)}
    for module, batches in seen.items():
        module.register_forward_pre_hook(
            lambda m, x, kept=batches: kept.append(x[0].detach()) if m.training else None
        )
    return seen


def _check_running_statistics(norm, batches, state, model):
    """One step moved them by a tenth towards the batch's mean and unbiased variance, as in the published training."""
    (batch,) = batches
    name = next(key for key, module in model.named_modules() if module is norm)
    values = batch.transpose(0, 1).flatten(1)
    for kind, now in (("mean", values.mean(dim=1)), ("var", values.var(dim=1))):
        before, after = state[f"{name}.running_{kind}"].double(), getattr(norm, f"running_{kind}")
        torch.testing.assert_close(after, 0.9 * before + 0.1 * now, atol=1e-9, rtol=1e-9)
    assert norm.num_batches_tracked == state[f"{name}.num_batches_tracked"] + 1


# Messages


def test_wrong_inputs_are_explained():
    model, inputs = two_pathway(4, 5, **TINY), tiny_inputs()
    with pytest.raises(MgkitError, match="needs the input 'pose', but got rgb"):
        model({"rgb": inputs["rgb"]})
    with pytest.raises(MgkitError, match=r"7 pose frames do not go with 2 RGB frames.*here 8"):
        model({**inputs, "pose": inputs["pose"][:, :, :7]})
    with pytest.raises(MgkitError, match=r"Heatmaps of 4 x 4 do not go with frames of 24 x 24.*quarter"):
        model({**inputs, "pose": inputs["pose"][..., :4, :4]})
    with pytest.raises(MgkitError, match="heatmaps one a joint"):
        model({**inputs, "pose": inputs["pose"][:, :4]})
    with pytest.raises(MgkitError, match="same clips"):
        model({**inputs, "pose": inputs["pose"][:1]})


def test_wrong_arguments_are_explained():
    with pytest.raises(MgkitError, match="one stage more"):
        two_pathway(4, 5, rgb_blocks=(1, 1, 1), pose_blocks=(1, 1, 1))
    with pytest.raises(MgkitError, match="heads do not divide"):
        two_pathway(4, 5, fusion_heads=7, **TINY)
    with pytest.raises(MgkitError, match="probability"):
        two_pathway(4, 5, lateral_dropout=1.5, **TINY)
